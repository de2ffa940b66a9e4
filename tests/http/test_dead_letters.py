"""Dead letters over HTTP: retried one by one and all together, listed by the kind of their error."""

from __future__ import annotations

import pytest
import requests

from jobqueue import JobQueue, NewJob
from tests.answers import invalid, refused
from tests.harness import System
from tests.http.operating import follow, kinds, listed, listed_ids, operate
from tests.played import Q, Worker, a_moment_passes

# ------------------------------------------------------------------------------------------------- retry, dead letters


@pytest.mark.parametrize("verb", ["retry", "requeue"])
def test_a_dead_letter_runs_again_with_fresh_attempts(verb: str, system: System, jobs: JobQueue, hand: Worker) -> None:
    job_id = system.submit(max_attempts=1)
    hand.give("failed")
    assert (system.job(job_id)["attempts"], system.job(job_id)["error"]) == (1, "it went wrong")
    answer = operate(system, verb, job_id)
    assert (answer.status_code, answer.json()["status"], answer.json()["attempts"]) == (200, "queued", 0)
    refused(operate(system, verb, job_id), 409, "wrong_status")
    assert hand.give("done") == [job_id]
    assert system.job(job_id)["attempts"] == 1
    assert "done" in refused(operate(system, verb, job_id), 409, "wrong_status")["detail"]


def test_the_dead_letter_list_has_what_failed_for_good_and_nothing_else(
    system: System, jobs: JobQueue, hand: Worker
) -> None:
    dead = [system.submit(n, type=kind) for n, kind in enumerate(("a", "b"))]
    hand.give("failed", 2)
    system.submit(), system.submit(delay_s=60), jobs.cancel(system.submit())
    page = system.get("/dlq").json()
    assert sorted(listed_ids(page)) == sorted(dead) and page["total"] == 2
    assert listed_ids(system.get("/dlq?type=a").json()) == dead[:1]
    assert listed_ids(system.get("/dlq?queue=other").json()) == []
    first = system.get("/dlq?limit=1").json()
    second = system.get(f"/dlq?limit=1&cursor={first['next_cursor']}").json()
    assert sorted(listed_ids(first) + listed_ids(second)) == sorted(dead)
    assert listed_ids(system.get("/dlq?limit=1&offset=1").json()) == listed_ids(second)


def test_all_dead_letters_of_all_queues_are_requeued_with_fresh_attempts(system: System, jobs: JobQueue) -> None:
    for queue, n in (("default", 450), ("mail", 3)):
        jobs.submit_many([NewJob(payload=n, queue=queue) for n in range(n)])
        Worker(jobs, queue=queue).give("failed", n)
    answer = system.post("/dlq/requeue")
    assert (answer.status_code, answer.json()) == (200, {"requeued": 453, "left": 0})
    assert {job["attempts"] for job in listed(system, "status=queued&limit=200")["jobs"]} == {0}
    assert system.post("/dlq/requeue").json() == {"requeued": 0, "left": 0}


def test_of_dead_letters_with_one_unique_key_only_the_oldest_is_requeued(
    system: System, jobs: JobQueue, hand: Worker
) -> None:
    dead = []
    for n in range(3):
        dead.append(system.submit(n, unique_key="k"))
        hand.give("failed")
        system.server.client.zadd(f"{Q}failed", {dead[-1]: 1_700_000_000_000 + n}, xx=True)
    assert system.post("/dlq/requeue").json() == {"requeued": 1, "left": 2}
    assert [system.job(job_id)["status"] for job_id in dead] == ["queued", "failed", "failed"]
    assert system.post("/dlq/requeue").json() == {"requeued": 0, "left": 2}


def test_a_retry_over_http_takes_a_payload_and_nothing_else(system: System, jobs: JobQueue, hand: Worker) -> None:
    job_id = system.submit({"n": 1})
    hand.give("failed")
    path = f"/jobs/{job_id}/retry"
    assert invalid(system.post(path, {"payload": 2, "priority": 3})) == ["/priority"]
    assert invalid(system.post(path, [2])) == [""]
    refused(system.post(path, {"payload": "x" * (1 << 20)}), 413, "too_large")
    refused(requests.post(system.api_url + path, "{", headers={"Content-Type": "application/json"}), 400, "not_json")
    assert (system.job(job_id)["status"], system.job(job_id)["payload"]) == ("failed", {"n": 1})
    assert system.post(path, {"payload": None}).json()["payload"] is None
    refused(system.post(path, {"payload": 3}), 409, "wrong_status")
    hand.give("failed")
    assert system.post(path, {}).json()["payload"] is None


# ----------------------------------------------------------------------------------------- dead letters by their error


def test_dead_letters_are_counted_by_the_kind_of_their_last_error(system: System, jobs: JobQueue) -> None:
    dead, hands = {}, {queue: Worker(jobs, queue=queue) for queue in ("default", "mail")}
    for queue, kind, n in (("default", "Boom", 2), ("default", "timeout", 1), ("mail", "timeout", 3)):
        jobs.submit_many([NewJob("mail.send", queue=queue, max_attempts=1)] * n)
        dead[queue, kind] = hands[queue].give("failed", n, kind)
        a_moment_passes(system.server)
    assert list(kinds(system).items()) == [("timeout", 4), ("Boom", 2)]
    assert kinds(system, "queue=default") == {"Boom": 2, "timeout": 1}
    assert kinds(system, "queue=other") == {}
    timeout, boom = system.get("/dlq/kinds").json()["kinds"]
    assert timeout["latest"]["job_id"] in dead["mail", "timeout"]
    failed = system.job(boom["latest"]["job_id"])
    assert boom["latest"] == {
        "job_id": failed["job_id"],
        "at": failed["finished_at"],
        "type": "mail.send",
        "message": "it went wrong",
    }


def test_the_list_of_a_kind_has_its_dead_letters_and_nothing_else(system: System, jobs: JobQueue, hand: Worker) -> None:
    jobs.submit_many([NewJob(type, tags=["t"]) for type in ("a", "b", "a", "b")])
    boom, other = hand.give("failed", 2), hand.give("failed", 2, "Other")
    again = system.submit(max_attempts=2)
    hand.give("failed", 1, "Other")
    jobs.retry(again)
    for path in ("/jobs?", "/dlq?", "/jobs?status=failed&"):
        page = system.get(f"{path}kind=Boom").json()
        assert (sorted(listed_ids(page)), page["total"]) == (sorted(boom), 2)
    assert sorted(follow(system, "kind=Other&limit=1")) == sorted(other)
    assert listed_ids(listed(system, "kind=Boom&type=a")) == boom[:1]
    assert listed_ids(listed(system, "kind=Other&tag=t&type=b")) == other[1:]
    for nothing in ("kind=Boom&status=queued", "kind=Boom&queue=other", "kind=None", "kind=%7Bdefault%7D"):
        assert (listed_ids(listed(system, nothing)), listed(system, nothing)["total"]) == ([], 0)
