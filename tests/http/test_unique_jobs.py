"""Tags, and keys that at most one living job has."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from jobqueue import JobQueue
from tests.answers import invalid, refused
from tests.harness import System
from tests.http.operating import operate, unique
from tests.played import Worker


def test_tags_are_answered_in_their_order_and_each_once(system: System, jobs: JobQueue) -> None:
    answer = system.post("/jobs", {"payload": 1, "tags": ["b", "a", "b"]}).json()
    assert answer["tags"] == system.job(answer["job_id"])["tags"] == ["b", "a"]
    assert invalid(system.post("/jobs", {"payload": 1, "tags": ["ok", "a b", 5]})) == ["/tags/1", "/tags/2"]
    assert invalid(system.post("/jobs", {"payload": 1, "tags": ["t"] * 11})) == ["/tags"]
    assert invalid(system.post("/jobs", {"payload": 1, "tags": "t", "unique_key": ""})) == ["/unique_key", "/tags"]


def test_while_a_job_with_the_key_lives_submitting_gives_it_back(system: System, jobs: JobQueue, hand: Worker) -> None:
    first = unique(system)
    assert first.status_code == 201 and "Unique-Existing" not in first.headers
    job_id = first.json()["job_id"]
    for _ in range(2):  # while it waits, and while it runs
        again = unique(system, "another payload")
        assert (again.status_code, again.headers["Unique-Existing"]) == (200, "true")
        assert (again.json()["job_id"], again.json()["payload"]) == (job_id, 1)
        assert again.headers["Location"] == f"/jobs/{job_id}"
        claimed = hand.claim()
        assert len(claimed) <= 1
    assert jobs.books("default").totals["submitted"] == 1
    assert system.submit(unique_key="k", queue="other") != job_id
    assert system.submit(unique_key="other") != job_id


@pytest.mark.parametrize("outcome", ["done", "failed", "cancelled"])
def test_after_it_has_ended_the_key_is_free(outcome: str, system: System, jobs: JobQueue, hand: Worker) -> None:
    first = unique(system).json()["job_id"]
    if outcome == "cancelled":
        jobs.cancel(first)
    else:
        hand.give(outcome)
    second = unique(system)
    assert second.status_code == 201 and second.json()["job_id"] != first


def test_of_many_at_the_same_instant_one_is_stored(system: System, jobs: JobQueue) -> None:
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda n: unique(system, n), range(16)))
    assert sorted(answer.status_code for answer in answers) == [200] * 15 + [201]
    assert len({answer.json()["job_id"] for answer in answers}) == 1


def test_in_a_batch_a_unique_key_stores_one_job(system: System, jobs: JobQueue) -> None:
    lives = unique(system).json()["job_id"]
    rows = [{"payload": n, "unique_key": key} for n, key in enumerate(["k", "new", "new", "k"])]
    answer = system.post("/jobs/batch", {"jobs": rows})
    results = answer.json()["results"]
    assert answer.status_code == 207 and [result["status"] for result in results] == [200, 201, 200, 200]
    k, new, new_again, k_again = (result["job"]["job_id"] for result in results)
    assert k == k_again == lives and new == new_again != lives
    all_there = system.post("/jobs/batch", {"jobs": rows})
    assert all_there.status_code == 200 and "Idempotent-Replayed" not in all_there.headers
    assert jobs.books("default").totals["submitted"] == 2


def test_a_repeat_under_an_idempotency_key_gives_the_same_answer_when_the_job_has_ended(
    system: System, jobs: JobQueue, hand: Worker
) -> None:
    first = unique(system).json()["job_id"]
    stood_for = unique(system, Idempotency_Key="once")
    assert (stood_for.status_code, stood_for.headers["Unique-Existing"]) == (200, "true")
    hand.give("done")
    again = unique(system, Idempotency_Key="once")
    assert (again.status_code, again.headers["Idempotent-Replayed"]) == (200, "true")
    assert again.json()["job_id"] == stood_for.json()["job_id"] == first
    assert unique(system, Idempotency_Key="another").status_code == 201


@pytest.mark.parametrize("change", [{"tags": ["b"]}, {"unique_key": "l"}, {"tags": []}])
def test_another_tag_or_unique_key_is_another_request(change: dict[str, Any], system: System, jobs: JobQueue) -> None:
    body = {"payload": 1, "tags": ["a"], "unique_key": "k"}
    assert system.post("/jobs", body, Idempotency_Key="once").status_code == 201
    assert system.post("/jobs", body, Idempotency_Key="once").status_code == 200
    refused(system.post("/jobs", body | change, Idempotency_Key="once"), 422, "idempotency_key_reused")


def test_a_retry_waits_for_the_job_that_has_its_unique_key(system: System, jobs: JobQueue, hand: Worker) -> None:
    old = unique(system).json()["job_id"]
    hand.give("failed")
    new = unique(system).json()["job_id"]
    assert "unique key" in refused(operate(system, "retry", old), 409, "wrong_status")["detail"]
    assert system.post("/dlq/requeue").json() == {"requeued": 0, "left": 1}
    hand.give("done")
    assert operate(system, "retry", old).status_code == 200
    assert unique(system).json()["job_id"] == old != new
