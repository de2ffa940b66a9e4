"""Calls that change many jobs: those that are named, and those that match."""

from __future__ import annotations

from typing import Any

import pytest

from _jobqueue.store.ids import new_id
from jobqueue import Filter, JobQueue, NewJob
from tests.answers import invalid
from tests.harness import System
from tests.http.operating import bulk, follow, kinds, status_of
from tests.played import Worker, a_moment_passes, snapshot


def one_of_each(jobs: JobQueue, hand: Worker, **fields: Any) -> dict[str, str]:
    """A job in every status."""
    found = {}
    for status in ("done", "failed", "processing"):
        found[status] = jobs.submit(**fields).id
        hand.claim() if status == "processing" else hand.give(status)
    found["scheduled"], found["queued"] = jobs.submit(delay_s=60, **fields).id, jobs.submit(**fields).id
    found["cancelled"] = jobs.submit(**fields).id
    jobs.cancel(found["cancelled"])
    return found


BECOMES = {
    "retry": {"failed": "queued", "cancelled": "queued"},
    "cancel": {"queued": "cancelled", "scheduled": "cancelled", "processing": "processing"},
    "delete": dict.fromkeys(("queued", "scheduled", "failed", "cancelled", "done")),
    "run": {"scheduled": "queued"},
}


COUNTED = {"retry": [2, 1, 0], "cancel": [0, 3, 0], "delete": [0, 1, 5], "run": [0, 1, 0]}  # one was cancelled before


@pytest.mark.parametrize("action", BECOMES)
def test_of_the_named_jobs_those_are_changed_whose_status_allows_it(
    action: str, system: System, jobs: JobQueue, hand: Worker
) -> None:
    named, becomes = one_of_each(jobs, hand), BECOMES[action]
    asked = {"ids": [*named.values(), *named.values(), "x", named["done"][:-1] + "x", new_id(0)]}
    said = {
        "action": action,
        "dry_run": True,
        "matched": 9,
        "changed": len(becomes),
        "skipped": {status: 1 for status in named if status not in becomes} | {"not_found": 3},
        "next_cursor": None,
    }
    before = snapshot(system.server)
    assert system.post("/jobs/bulk", {"action": action, "dry_run": True, **asked}).json() == said
    assert without_limits(snapshot(system.server)) == without_limits(before)
    assert system.post("/jobs/bulk", {"action": action, **asked}).json() == said | {"dry_run": False}
    for status, job_id in named.items():
        assert status_of(system, job_id) == becomes.get(status, status)
    asked_to_stop = 1 if action == "cancel" else 0
    assert system.post("/jobs/bulk", {"action": action, **asked}).json()["changed"] == asked_to_stop


def without_limits(stored: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in stored.items() if not key.startswith("jq:rate:")}


@pytest.mark.parametrize("action", BECOMES)
@pytest.mark.parametrize("wanted", [{"queue": "default"}, {"type": "red"}, {"tag": "red"}])
def test_of_the_jobs_that_match_those_are_changed_whose_status_allows_it(
    action: str, wanted: dict[str, str], system: System, jobs: JobQueue, hand: Worker
) -> None:
    red = one_of_each(jobs, hand, type="red", tags=["red"])
    jobs.submit("green", queue="other", tags=["green"], delay_s=60)
    before = snapshot(system.server)
    said = bulk(system, action, filter=wanted, dry_run=True)
    assert without_limits(snapshot(system.server)) == without_limits(before)
    assert (said["matched"], said["changed"], said["skipped"]) == (len(BECOMES[action]), len(BECOMES[action]), {})
    assert bulk(system, action, filter=wanted) == said
    for status, job_id in red.items():
        assert status_of(system, job_id) == BECOMES[action].get(status, status)
    counted = jobs.books("default").totals
    assert [counted.get(name, 0) for name in ("requeued", "cancelled", "deleted")] == COUNTED[action]


def test_a_status_in_a_filter_is_looked_at_whether_it_allows_the_action_or_not(
    system: System, jobs: JobQueue, hand: Worker
) -> None:
    one_of_each(jobs, hand, tags=["t"])
    for wanted in ({"status": "done"}, {"status": "done", "tag": "t"}):
        said = system.post("/jobs/bulk", {"action": "cancel", "filter": wanted}).json()
        assert (said["matched"], said["changed"], said["skipped"]) == (1, 0, {"done": 1})


def test_thousands_that_match_are_changed_call_by_call_in_their_order(system: System, jobs: JobQueue) -> None:
    for queue in ("default", "mail"):
        jobs.submit_many([NewJob(payload=n, queue=queue, max_attempts=1) for n in range(1200)])
        hand = Worker(jobs, queue=queue)
        for _ in range(6):
            hand.give("failed", 200, "Boom")
            a_moment_passes(system.server)
    first = [job.payload for job in jobs.page(Filter("failed", queue="mail"), limit=200).jobs]
    assert bulk(system, "retry", filter={"kind": "Boom"}, dry_run=True)["changed"] == 2400
    said = bulk(system, "retry", filter={"kind": "Boom"})
    assert (said["changed"], said["calls"]) == (2400, 3)
    assert kinds(system) == {}
    page = jobs.page(Filter("queued", queue="mail"), limit=200)
    assert {job.payload for job in page.jobs} == set(range(200)) and min(first) >= 1000
    assert bulk(system, "delete", filter={"queue": "mail"})["changed"] == 1200
    assert jobs.books("mail").totals["deleted"] == 1200


def test_of_dead_letters_with_one_unique_key_a_sweep_counts_and_retries_one(
    system: System, jobs: JobQueue, hand: Worker
) -> None:
    for n in range(3):
        system.submit(n, unique_key="k")
        hand.give("failed")
    for dry_run in (True, False):
        said = bulk(system, "retry", filter={"status": "failed"}, dry_run=dry_run)
        assert (said["changed"], said["skipped"]) == (1, {"taken": 2})
    named = {"ids": follow(system, "status=failed"), "dry_run": True}
    assert bulk(system, "retry", **named)["skipped"] == {"taken": 2}


@pytest.mark.parametrize(
    "body, where",
    [
        ([], ""),
        ({"ids": ["x"]}, "/action"),
        ({"action": "explode", "ids": ["x"]}, "/action"),
        ({"action": ["retry"], "ids": ["x"]}, "/action"),
        ({"action": "retry"}, ""),
        ({"action": "retry", "ids": ["x"], "filter": {"type": "a"}}, ""),
        ({"action": "retry", "ids": []}, "/ids"),
        ({"action": "retry", "ids": ["x"] * 1001}, "/ids"),
        ({"action": "retry", "ids": [1]}, "/ids"),
        ({"action": "retry", "ids": "x"}, "/ids"),
        ({"action": "retry", "filter": {}}, "/filter"),
        ({"action": "retry", "filter": "all"}, "/filter"),
        ({"action": "retry", "filter": {"colour": "red"}}, "/filter/colour"),
        ({"action": "retry", "filter": {"type": None}}, "/filter/type"),
        ({"action": "retry", "filter": {"type": ""}}, "/filter/type"),  # of a variable that is not set
        ({"action": "delete", "filter": {"status": "failed", "tag": ""}}, "/filter/tag"),
        ({"action": "cancel", "filter": {"operation": ""}}, "/filter/operation"),
        ({"action": "retry", "filter": {"status": ["failed"]}}, "/filter/status"),
        ({"action": "retry", "filter": {"status": "lost"}}, "/filter/status"),
        ({"action": "retry", "filter": {"type": "a"}, "cursor": "x"}, "/cursor"),
        ({"action": "retry", "filter": {"type": "a"}, "cursor": None}, "/cursor"),
        ({"action": "retry", "ids": ["x"], "cursor": "x"}, "/cursor"),
        ({"action": "retry", "ids": ["x"], "dry_run": 1}, "/dry_run"),
        ({"action": "retry", "ids": ["x"], "now": True}, "/now"),
    ],
)
def test_a_wrong_bulk_call_is_a_422_that_names_what_is_wrong(bystander: System, body: Any, where: str) -> None:
    assert invalid(bystander.post("/jobs/bulk", body)) == [where]
