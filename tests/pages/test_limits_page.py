"""The dashboard's view of limits in a real browser."""

from __future__ import annotations

from tests.harness import System, eventually
from tests.pages.browser import Browser
from tests.pages.dashboard import button, says, show


def write(tab: Browser, label: str, text: str) -> None:
    tab.click(f'dialog input[aria-label="{label}"]')
    tab.run(f"document.querySelector('dialog input[aria-label=\"{label}\"]').select()")
    tab.write(text)


def test_a_limit_is_set_seen_to_hold_changed_and_removed(whole: System, tab: Browser) -> None:
    ids = [whole.post("/jobs", {"type": "task", "limits": ["tenant:7"]}).json()["job_id"] for _ in range(2)]
    show(tab, whole, "limits")
    says(tab, "No limits")
    button(tab, "New limit", "main")
    write(tab, "Limit", "tenant:*")
    write(tab, "Starts", "5")
    write(tab, "In seconds", "3600")
    button(tab, "Save", "dialog")
    says(tab, "tenant:*", "5 in 3,600 s")
    for job_id in ids:
        eventually(lambda job_id=job_id: whole.get(f"/jobs/{job_id}").json()["status"], equals="done")  # type: ignore[misc]
    button(tab, "Edit", "main")
    write(tab, "Jobs at once", "1")
    button(tab, "Save", "dialog")
    says(tab, "0 of 1")
    for _ in range(6):  # the last one waits for the rate
        whole.post("/jobs", {"type": "task", "limits": ["tenant:7"]})
    eventually(lambda: whole.get("/queues/default/limits/tenant:7").json()["waiting"], equals=lambda n: n > 0)
    says(tab, "tenant:7", "by tenant:*", "min")
    button(tab, "Remove", "main")
    button(tab, "Remove it", "dialog")
    says(tab, "No limits")
    assert whole.get("/queues/default/limits").json()["limits"] == []
