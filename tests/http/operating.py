"""Calls of an operator, as the tests make them."""

from __future__ import annotations

from typing import Any

import requests

from tests.harness import System


def operate(system: System, verb: str, job_id: str) -> requests.Response:
    if verb == "delete":
        return requests.delete(f"{system.api_url}/jobs/{job_id}", timeout=30)
    return system.post(f"/dlq/{job_id}/requeue" if verb == "requeue" else f"/jobs/{job_id}/{verb}")


def listed(system: System, query: str = "") -> dict[str, Any]:
    answer = system.get(f"/jobs?{query}")
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def listed_ids(page: dict[str, Any]) -> list[str]:
    return [job["job_id"] for job in page["jobs"]]


def follow(system: System, query: str, cursor: str = "") -> list[str]:
    """All pages of a list (from one of its cursors), by their cursors."""
    page = listed(system, f"{query}&cursor={cursor}" if cursor else query)
    found = listed_ids(page)
    while page["next_cursor"]:
        page = listed(system, f"{query}&cursor={page['next_cursor']}")
        found += listed_ids(page)
    return found


def bulk(system: System, action: str, **asked: Any) -> dict[str, Any]:
    """The answers of a bulk call and of all that its cursors lead to, added up."""
    total, cursor = {"matched": 0, "changed": 0, "skipped": {}, "calls": 0}, {}
    while True:
        answer = system.post("/jobs/bulk", {"action": action, **asked, **cursor})
        assert answer.status_code == 200, answer.text
        said = answer.json()
        assert (said["action"], said["dry_run"]) == (action, asked.get("dry_run", False))
        assert said["matched"] == said["changed"] + sum(said["skipped"].values())
        total = {name: total[name] + said[name] for name in ("matched", "changed")} | {"calls": total["calls"] + 1}
        total["skipped"] = said["skipped"]
        if not said["next_cursor"]:
            return total
        cursor = {"cursor": said["next_cursor"]}


def unique(system: System, payload: Any = 1, **headers: str) -> requests.Response:
    return system.post("/jobs", {"payload": payload, "unique_key": "k"}, **headers)


def kinds(system: System, query: str = "") -> dict[str, int]:
    rows = system.get(f"/dlq/kinds?{query}").json()["kinds"]
    return {row["kind"]: row["count"] for row in rows}


def status_of(system: System, job_id: str) -> str | None:
    answer = system.get(f"/jobs/{job_id}")
    return answer.json()["status"] if answer.status_code == 200 else None
