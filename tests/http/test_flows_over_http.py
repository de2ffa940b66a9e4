"""Workflows over HTTP: submit, look, explain, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
import requests

from jobqueue import JobQueue, NewJob
from tests.answers import invalid, refused
from tests.harness import System
from tests.played import Worker


def batch(system: System, *jobs: dict[str, Any]) -> requests.Response:
    return system.post("/jobs/batch", {"jobs": list(jobs)})


@pytest.fixture
def report(system: System, jobs: JobQueue) -> list[dict[str, Any]]:
    """Two parts, a sum of them, and a mail."""
    answer = batch(
        system,
        *({"type": "part", "name": name} for name in ("north", "south")),
        {"type": "sum", "name": "sum", "after": ["*"]},
        {"type": "mail", "after": ["sum"], "when": "ended"},
    )
    assert answer.status_code == 201, answer.text
    return [row["job"] for row in answer.json()["results"]]


def test_batch_says_who_waits_for_whom(report: list[dict[str, Any]]) -> None:
    assert [job["status"] for job in report] == ["queued", "queued", "blocked", "blocked"]
    north, south, total, mail = report
    assert (total["after"], total["blocked_by"], total["when"]) == ([north["job_id"], south["job_id"]], 2, "done")
    assert (mail["after"], mail["when"], "after" in north) == ([total["job_id"]], "ended", False)


def test_parents_and_flow_are_shown(system: System, report: list[dict[str, Any]], hand: Worker) -> None:
    hand.give("done")
    total = report[2]["job_id"]
    parents = system.get(f"/jobs/{total}/parents").json()
    assert parents["north"] == {"job_id": report[0]["job_id"], "status": "done", "result": "a result", "error": None}
    assert (parents["south"]["status"], parents["south"]["result"]) == ("queued", None)
    flow = system.get(f"/jobs/{report[0]['job_id']}/flow").json()
    assert not flow["truncated"] and {job["job_id"] for job in flow["jobs"]} == {job["job_id"] for job in report}
    assert {job["name"]: job["status"] for job in flow["jobs"]}["north"] == "done"


def test_blocked_jobs_are_listed_counted_and_explained(
    system: System, report: list[dict[str, Any]], hand: Worker
) -> None:
    total, mail = report[2]["job_id"], report[3]["job_id"]
    assert {job["job_id"] for job in system.get("/jobs?status=blocked").json()["jobs"]} == {total, mail}
    assert system.get("/stats").json()["jobs"]["blocked"] == 2
    said = system.get(f"/jobs/{total}/explain").json()
    assert (said["code"], "2 of 2 jobs" in said["explanation"]) == ("blocked", True)
    hand.give("failed")
    said = system.get(f"/jobs/{total}/explain").json()
    assert said["code"] == "parent_failed" and report[0]["job_id"] in said["explanation"]
    [finding] = [each for each in system.get("/stats").json()["health"] if each["code"] == "blocked"]
    assert report[0]["job_id"] in finding["text"]
    assert 'jobqueue_jobs{queue="default",status="blocked"} 2' in system.get("/metrics?format=prometheus").text
    assert refused(system.post(f"/jobs/{total}/run"), 409, "wrong_status")


def test_cancelled_parent_is_named_by_its_child(system: System, report: list[dict[str, Any]]) -> None:
    assert system.post(f"/jobs/{report[0]['job_id']}/cancel").status_code == 200
    total = system.get(f"/jobs/{report[2]['job_id']}").json()
    assert (total["status"], total["errors"][0]["kind"]) == ("cancelled", "parent_gone")
    assert report[0]["job_id"] in system.get(f"/jobs/{report[2]['job_id']}/explain").json()["explanation"]
    assert system.get(f"/jobs/{report[3]['job_id']}").json()["status"] == "queued", "it wants the sum ended"


def test_wrong_batch_is_refused_whole(system: System, report: list[dict[str, Any]]) -> None:
    before = system.get("/stats").json()["jobs"]
    wrong = refused(batch(system, {"name": "a"}, {"after": ["a"]}, {"after": ["b"]}), 422, "invalid_request")
    assert [each["pointer"] for each in wrong["errors"]] == ["/jobs/2/after/0"]
    wrong = refused(batch(system, {"name": "a"}, {"after": ["a"]}, {"priority": 77}), 422, "invalid_request")
    assert [each["pointer"] for each in wrong["errors"]] == ["/jobs/2/priority"]
    wrong = refused(batch(system, {"name": "a"}, {"after": ["a"], "priority": 77}), 422, "invalid_request")
    assert [each["pointer"] for each in wrong["errors"]] == ["/jobs/1/priority"], "the one that waits is the wrong one"
    wrong = refused(batch(system, {"name": "a"}, {"after": ["a", "*"]}), 422, "invalid_request")
    assert [each["pointer"] for each in wrong["errors"]] == ["/jobs/1/after"]
    wrong = refused(batch(system, {"name": "a"}, {"after": ["a"], "queue": "other"}), 422, "other_queue")
    assert [each["pointer"] for each in wrong["errors"]] == ["/jobs/1/queue"]
    system.post(f"/jobs/{report[1]['job_id']}/cancel")
    wrong = refused(system.post("/jobs", {"after": [report[1]["job_id"]]}), 422, "parent_gone")
    assert [each["pointer"] for each in wrong["errors"]] == ["/after/0"]
    after = system.get("/stats").json()["jobs"]
    assert sum(after.values()) == sum(before.values())


def test_wait_ends_when_a_blocked_job_has_ended_and_not_before(
    system: System, report: list[dict[str, Any]], hand: Worker
) -> None:
    total = report[2]["job_id"]
    assert system.get(f"/jobs/{total}?wait_s=0.3").json()["status"] == "blocked"


def test_old_worker_is_named(system: System, report: list[dict[str, Any]], hand: Worker) -> None:
    hand.beat()
    refused(system.post("/jobs", {"after": [report[0]["job_id"]]}), 409, "old_worker")


def test_bulk_cancel_and_retry_keep_the_order(system: System, report: list[dict[str, Any]]) -> None:
    """The mail wants the sum ended, and that it has: it was cancelled."""
    ids = [job["job_id"] for job in reversed(report)]
    for action in ("cancel", "retry"):
        answer = system.post("/jobs/bulk", {"action": action, "ids": ids})
        assert answer.json()["changed"] == 4, answer.text
    now = [system.get(f"/jobs/{job['job_id']}").json()["status"] for job in report]
    assert now == ["queued", "queued", "blocked", "queued"]


def test_the_newest_workflows_are_listed_in_short(
    system: System, jobs: JobQueue, report: list[dict[str, Any]], hand: Worker
) -> None:
    hand.give("done")
    batch(system, {"type": "part", "queue": "other"}, {"type": "whole", "queue": "other", "after": ["*"]})
    jobs.submit("alone", webhook="https://hooks.example.org/jobs")
    jobs.submit("alone")
    hand.give("failed")
    other, first = system.get("/flows").json()["flows"]
    assert (first["queue"], first["job_id"], first["type"], first["name"]) == (
        "default",
        report[3]["job_id"],
        "mail",
        None,
    )
    assert (first["jobs"], first["total"], first["truncated"]) == ({"done": 1, "failed": 1, "blocked": 2}, 4, False)
    assert (other["queue"], other["type"], other["jobs"]) == ("other", "whole", {"queued": 1, "blocked": 1})
    assert other["created_at"] >= first["created_at"]


def test_a_job_that_only_tells_a_webhook_is_no_workflow(system: System, jobs: JobQueue, hand: Worker) -> None:
    jobs.submit("echo", webhook="https://hooks.example.org/jobs")
    hand.give("done")
    assert system.get("/flows").json() == {"flows": [], "next_cursor": None}
    assert invalid(system.get("/flows?queue=default")) == ["/queue"], "it is of all queues"


def all_flows(system: System) -> tuple[list[dict[str, Any]], int]:
    """Of all pages, and how many these are."""
    found: list[dict[str, Any]] = []
    query, pages = "", 0
    while pages < 50:
        page = system.get(f"/flows{query}").json()
        found, pages = found + page["flows"], pages + 1
        if page["next_cursor"] is None:
            break
        query = f"?cursor={page['next_cursor']}"
    return found, pages


def test_older_workflows_are_on_further_pages_each_in_one(
    system: System, jobs: JobQueue, report: list[dict[str, Any]], hand: Worker
) -> None:
    """The oldest has its jobs in two indexes: in one of them it is among the newest, in the other behind 200 others."""
    hand.give("done")
    for start in range(0, 220, 110):
        pairs = [(NewJob("part", name=f"n{n}"), NewJob(f"t{n}", after=[f"n{n}"])) for n in range(start, start + 110)]
        jobs.submit_many([job for pair in pairs for job in pair])
    found, pages = all_flows(system)
    types = [each["type"] for each in found]
    assert len(types) == 221 and {*types} == {"mail", *(f"t{n}" for n in range(220))}
    assert pages == 13, "11 of 200 pairs and the report, then 20 pairs, then jobs of the report alone"
    first = system.get("/flows").json()
    assert len(first["flows"]) == 20
    jobs.submit_many([NewJob("part", name="a"), NewJob("late", after=["a"])])
    more = system.get(f"/flows?cursor={first['next_cursor']}").json()["flows"]
    assert not {each["job_id"] for each in more} & {each["job_id"] for each in first["flows"]}
    assert "late" not in [each["type"] for each in more] and system.get("/flows").json()["flows"][0]["type"] == "late"


def test_a_list_of_workflows_goes_on_only_with_its_own_cursor(system: System, report: list[dict[str, Any]]) -> None:
    other = system.get("/jobs?limit=1").json()["next_cursor"]
    for wrong in (other, "x", "", "WzIwMCwwLDAsMCwiIl0"):
        assert invalid(system.get(f"/flows?cursor={wrong}")) == ["/cursor"], wrong
