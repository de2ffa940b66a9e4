"""What an operator does over HTTP: look, cancel, run now, retry, delete, pause. Stories on real processes."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests

from _jobqueue.records import STATUSES
from _jobqueue.store.ids import new_id
from _jobqueue.store.scripts import Script
from jobqueue import Conflict, Filter, Invalid, JobQueue, NewJob, NotFound
from tests.answers import invalid, refused
from tests.faults.proxy import APPLIED, Proxy, Strike, strike_at
from tests.harness import Server, System, eventually
from tests.played import Q, Worker, a_moment_passes, run_script

LEASE_MS = 60_000


@pytest.fixture
def jobs(request: pytest.FixtureRequest, queue: JobQueue) -> Iterator[JobQueue]:
    """A queue; with an API, where the test has a system. In the end every invariant must hold, and the books balance."""
    if "system" in request.fixturenames:
        request.getfixturevalue("system").api()
    yield queue
    for name in queue.queues():
        assert queue.check(name) == []


@pytest.fixture
def hand(jobs: JobQueue) -> Worker:
    return Worker(jobs, lease_ms=LEASE_MS)


@pytest.fixture(scope="module")
def bystander(shared_server: Server) -> Iterator[System]:
    """An API for tests that store nothing."""
    system = System(shared_server)
    system.api()
    yield system
    system.close(show_logs=False)


def operate(system: System, verb: str, job_id: str) -> requests.Response:
    if verb == "delete":
        return requests.delete(f"{system.api_url}/jobs/{job_id}", timeout=30)
    return system.post(f"/dlq/{job_id}/requeue" if verb == "requeue" else f"/jobs/{job_id}/{verb}")


def listed(system: System, query: str = "") -> dict[str, Any]:
    answer = system.get(f"/jobs?{query}")
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def ids(page: dict[str, Any]) -> list[str]:
    return [job["job_id"] for job in page["jobs"]]


def follow(system: System, query: str, cursor: str = "") -> list[str]:
    """All pages of a list (from one of its cursors), by their cursors."""
    page = listed(system, f"{query}&cursor={cursor}" if cursor else query)
    found = ids(page)
    while page["next_cursor"]:
        page = listed(system, f"{query}&cursor={page['next_cursor']}")
        found += ids(page)
    return found


# ------------------------------------------------------------------------------------------------------------ lists


def test_each_filter_finds_its_jobs_and_knows_their_number(system: System, jobs: JobQueue, hand: Worker) -> None:
    done, failed = system.submit(1, type="a"), system.submit(2, type="b", tags=["red"])
    hand.give("done"), hand.give("failed")
    queued = system.submit(3, type="a", tags=["red", "blue"])
    later, other = system.submit(4, type="b", delay_s=60), system.submit(5, type="a", queue="mail")
    for query, expected, total in [
        ("status=done", [done], 1),
        ("status=failed", [failed], 1),
        ("status=scheduled", [later], 1),
        ("status=processing", [], 0),
        ("queue=mail", [other], 1),
        ("queue=unknown", [], 0),
        ("tag=red", [queued, failed], 2),
        ("tag=green", [], 0),
        ("type=b", [later, failed], None),
        ("tag=red&status=queued", [queued], None),
        ("status=queued&type=a&queue=default", [queued], None),
    ]:
        page = listed(system, query)
        assert (ids(page), page["total"], page["next_cursor"]) == (expected, total, None), query
    assert set(ids(listed(system))) == {done, failed, queued, later, other}
    assert listed(system)["total"] == 5


def test_a_listed_job_is_the_same_as_the_job_itself(system: System, jobs: JobQueue) -> None:
    for fields in ({}, {"tags": ["b", "a", "b"], "max_attempts": 7}, {"delay_s": 60, "timeout_s": 5}):
        answer = system.post("/jobs", {"payload": "x" * 300, **fields}).json()
        answer.pop("warning")
        assert system.job(answer["job_id"]) == answer
        assert answer in listed(system)["jobs"]


def test_all_jobs_are_listed_those_that_run_and_wait_first_and_the_oldest_end_last(
    system: System, jobs: JobQueue, hand: Worker
) -> None:
    first, second, running = (system.submit() for _ in range(3))
    hand.give("done"), hand.give("done"), hand.claim()
    low, high = system.submit(priority="low"), system.submit(priority="high")
    assert ids(listed(system)) == [running, high, low, *sorted([second, first], key=ended_at(system), reverse=True)]


def ended_at(system: System) -> Callable[[str], str]:
    return lambda job_id: str(system.job(job_id)["finished_at"]) + job_id


def test_limit_offset_and_cursor_cut_the_same_list(system: System, jobs: JobQueue) -> None:
    all_of_it = [system.submit(n) for n in range(12)]
    assert ids(listed(system)) == all_of_it
    assert [ids(listed(system, f"limit=5&offset={n}")) for n in (0, 5, 10, 12)] == [
        all_of_it[:5],
        all_of_it[5:10],
        all_of_it[10:],
        [],
    ]
    for limit in (1, 5, 12, 200):
        assert follow(system, f"limit={limit}") == all_of_it
        assert follow(system, f"limit={limit}&type=echo") == all_of_it


@pytest.mark.parametrize("status", ["queued", "done", None])
def test_pages_are_disjoint_and_complete_while_jobs_come_and_go(
    status: str | None, system: System, jobs: JobQueue, hand: Worker
) -> None:
    there = [job.job.id for job in jobs.submit_many([NewJob(payload=n) for n in range(60)]) if job.job]
    if status == "done":
        hand.give("done", 60)
    gone: list[str] = []

    def meanwhile() -> None:
        """The job just shown and one not shown yet go; another comes."""
        shown = seen[-1]
        last = next(job_id for job_id in (there if status == "done" else there[::-1]) if job_id not in (*gone, *seen))
        for job_id in (shown, last):
            jobs.delete(job_id)
            gone.append(job_id)
        jobs.submit(payload="new", priority=9 if len(gone) % 4 else 0)
        if status == "done":
            hand.give("done")

    query = "limit=7" + (f"&status={status}" if status else "")
    page = listed(system, query)
    seen = ids(page)
    for _ in range(4):
        meanwhile()
        page = listed(system, f"{query}&cursor={page['next_cursor']}")
        seen += ids(page)
    if page["next_cursor"]:
        seen += follow(system, query, page["next_cursor"])
    assert len(seen) == len(set(seen))
    assert set(there) - set(gone) <= set(seen)


def test_jobs_that_ended_in_the_same_millisecond_are_listed_once_each(
    system: System, jobs: JobQueue, hand: Worker
) -> None:
    jobs.submit_many([NewJob(payload=n) for n in range(30)])
    claimed = hand.claim(30)
    hand.end("failed", *claimed)
    system.server.client.zadd(f"{Q}failed", {job.id: 1_700_000_000_000 for job in claimed}, xx=True)
    victims = iter([job.id for job in claimed])
    seen = ids(first := listed(system, "status=failed&limit=4"))
    jobs.delete(seen[-1])  # where the next page would begin
    seen += follow(system, "status=failed&limit=4", first["next_cursor"])
    assert sorted(seen) == sorted(victims)


def test_several_queues_are_merged_newest_first(system: System, jobs: JobQueue) -> None:
    expected = []
    for n in range(12):
        queue = f"q{n % 3}"
        expected.insert(0, system.submit(n, queue=queue))
        Worker(jobs, queue=queue).jobs.cancel(expected[0])
        stamp = 1_700_000_000_000 + n
        system.server.client.zadd(f"jq:{{{queue}}}:cancelled", {expected[0]: stamp}, xx=True)
    assert ids(listed(system, "status=cancelled")) == expected
    assert listed(system, "status=cancelled&limit=2")["total"] == 12
    for limit in (1, 2, 5, 7):
        assert follow(system, f"status=cancelled&limit={limit}") == expected


def test_a_page_knows_of_a_queue_that_came_between(system: System, jobs: JobQueue) -> None:
    there = [system.submit(n) for n in range(4)]
    page = listed(system, "limit=2")
    new = system.submit(queue="late")
    rest = follow(system, "limit=2", page["next_cursor"])
    assert sorted([*ids(page), *rest]) == sorted([*there, new])


@pytest.mark.parametrize("path", ["/jobs", "/dlq"])
@pytest.mark.parametrize(
    "query, pointer",
    [
        ("limit=0", "/limit"),
        ("limit=201", "/limit"),
        ("limit=-1", "/limit"),
        ("limit=ten", "/limit"),
        ("limit=", "/limit"),
        ("limit=%D9%A3", "/limit"),
        ("offset=-1", "/offset"),
        ("offset=10001", "/offset"),
        ("limit=1&limit=2", "/limit"),
        ("colour=red", "/colour"),
        ("Limit=5", "/Limit"),
        ("cursor=!", "/cursor"),
        ("cursor=abc", "/cursor"),
        ("cursor=WzAsWzFdXQ", "/cursor"),  # [0,[1]]
        ("cursor=Wzk5LHt9XQ", "/cursor"),  # [99,{}]
        ("cursor=WzAseyJkZWZhdWx0IjoxfV0", "/cursor"),  # [0,{"default":1}]
        ("cursor=WzAseyJkZWZhdWx0Ijoi2aMgMDAwMDAwMDAtMDAwMC0wMDAwLTAwMDAtMDAwMDAwMDAwMDAwIn1d", "/cursor"),
        ("cursor=" + "W1tb" * 2000, "/cursor"),  # [[[ ...
    ],
)
def test_a_wrong_parameter_is_a_422_that_names_it(bystander: System, path: str, query: str, pointer: str) -> None:
    assert invalid(bystander.get(f"{path}?{query}")) == [pointer]


def test_a_list_knows_its_statuses_and_utf_8(bystander: System) -> None:
    assert invalid(bystander.get("/jobs?status=lost")) == ["/status"]
    assert invalid(bystander.get("/dlq?status=failed")) == ["/status"]
    assert invalid(bystander.get("/jobs?type=%ff")) == [""]
    assert bystander.get("/jobs?type=%C3%BC&tag=%00").json()["jobs"] == []


def test_a_filter_that_matches_nothing_among_20000_jobs_is_answered_soon(system: System, jobs: JobQueue) -> None:
    client = system.server.client
    for _ in range(21):
        jobs.submit_many([NewJob(payload=n) for n in range(1000)])
    client.config_set("slowlog-log-slower-than", 200_000)
    client.slowlog_reset()
    began = time.monotonic()
    page = listed(system, "type=nothing&limit=50")
    took_s = time.monotonic() - began
    assert page["jobs"] == [] and page["total"] is None and page["next_cursor"]
    assert took_s < 5.0
    assert follow(system, "type=nothing&limit=50") == []
    began = time.monotonic()
    assert len(ids(listed(system, "type=echo&limit=50&offset=10000"))) == 50
    assert len(ids(listed(system, "limit=200"))) == 200
    assert listed(system, "type=nothing&offset=10000")["jobs"] == []
    assert time.monotonic() - began < 20.0
    assert [entry["command"][:40] for entry in client.slowlog_get()] == []


# ----------------------------------------------------------------------------------------------------------- cancel


@pytest.mark.parametrize("delay_s", [0, 60])
def test_a_waiting_job_is_cancelled_at_once(delay_s: int, system: System, jobs: JobQueue) -> None:
    job_id = system.submit(delay_s=delay_s)
    for _ in range(2):  # saying it twice is harmless
        answer = operate(system, "cancel", job_id)
        assert (answer.status_code, answer.json()["status"]) == (200, "cancelled")
    assert jobs.books("default").totals["cancelled"] == 1


def test_a_running_job_is_asked_to_stop_and_ends_cancelled(system: System, jobs: JobQueue, tmp_path: Path) -> None:
    system.worker("--handlers", "tests.odd_handlers")
    job_id = system.submit({"gate": str(tmp_path / "gate")}, type="hold.politely")
    system.ends(job_id, "processing")
    answer = operate(system, "cancel", job_id)
    assert (answer.status_code, answer.json()["status"]) == (202, "processing")
    assert system.ends(job_id, "cancelled")["finished_at"]


def test_an_ended_job_cannot_be_cancelled_and_the_answer_names_its_status(
    system: System, jobs: JobQueue, hand: Worker
) -> None:
    for outcome in ("done", "failed"):
        job_id = system.submit()
        hand.give(outcome)
        assert outcome in refused(operate(system, "cancel", job_id), 409, "wrong_status")["detail"]


# ---------------------------------------------------------------------------------------------------------- run now


def test_a_scheduled_job_can_be_run_now_and_saying_it_twice_is_harmless(
    system: System, jobs: JobQueue, hand: Worker
) -> None:
    ahead, job_id = system.submit(), system.submit(delay_s=3600)
    for _ in range(2):
        answer = operate(system, "run", job_id)
        assert (answer.status_code, answer.json()["status"], answer.json()["position"]) == (200, "queued", 2)
    assert [job.id for job in hand.claim(3)] == [ahead, job_id]
    assert "processing" in refused(operate(system, "run", job_id), 409, "wrong_status")["detail"]


def test_a_retry_that_waits_can_be_run_now(system: System, jobs: JobQueue) -> None:
    system.worker("--handlers", "tests.odd_handlers")
    job_id = system.submit(3600, type="retry.after")
    system.ends(job_id, "scheduled")
    operate(system, "run", job_id)
    assert system.ends(job_id)["attempts"] == 2


# -------------------------------------------------------------------------------------------------- retry, dead letters


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
    assert sorted(ids(page)) == sorted(dead) and page["total"] == 2
    assert ids(system.get("/dlq?type=a").json()) == dead[:1]
    assert ids(system.get("/dlq?queue=other").json()) == []
    first = system.get("/dlq?limit=1").json()
    second = system.get(f"/dlq?limit=1&cursor={first['next_cursor']}").json()
    assert sorted(ids(first) + ids(second)) == sorted(dead)
    assert ids(system.get("/dlq?limit=1&offset=1").json()) == ids(second)


def test_all_dead_letters_of_all_queues_are_requeued_with_fresh_attempts(system: System, jobs: JobQueue) -> None:
    for queue, n in (("default", 450), ("mail", 3)):
        jobs.submit_many([NewJob(payload=n, queue=queue) for n in range(n)])
        Worker(jobs, queue=queue).give("failed", n)
    answer = system.post("/dlq/requeue")
    assert (answer.status_code, answer.json()) == (200, {"requeued": 453, "left": 0})
    assert {job["attempts"] for job in listed(system, "status=queued&limit=200")["jobs"]} == {0}
    assert system.post("/dlq/requeue").json() == {"requeued": 0, "left": 0}


def test_a_requeue_is_bounded_and_tells_how_many_are_left(jobs: JobQueue, hand: Worker) -> None:
    jobs.submit_many([NewJob(payload=n) for n in range(10)])
    order = hand.give("failed", 10)
    assert jobs.requeue_dead("default", most=4) == (4, 6)
    assert jobs.requeue_dead("default", most=100) == (6, 0)
    assert sorted(job.id for job in jobs.page(Filter("queued"), limit=10).jobs) == sorted(order)


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


def test_dead_letters_that_cannot_run_do_not_hide_those_behind_them(
    jobs: JobQueue, hand: Worker, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("_jobqueue.store.sweeps.ACT_MOST", 2)
    proxy = Proxy(server.port)
    for _ in range(5):
        jobs.submit(unique_key="k")
        hand.give("failed")
    free = jobs.submit()
    hand.give("failed")
    jobs.submit(unique_key="k", delay_s=60)
    assert JobQueue(proxy.url).requeue_dead("default") == (1, 5)
    assert sum(message.label == "page" for message in proxy.seen) >= 3, "two at a time"
    proxy.close()
    assert jobs.get(free.id).status == "queued"


@pytest.mark.parametrize("payload", [1, None, {"to": "a"}, "a" * 100, "a" * 500, "a" * 600, ["é" * 40]])
@pytest.mark.parametrize("before", [1, "b" * 500, "b" * 3000])
def test_a_retry_may_have_another_payload(payload: Any, before: Any, jobs: JobQueue, hand: Worker) -> None:
    job = jobs.submit(payload=before)
    hand.give("failed")
    jobs.retry(job.id, payload)
    assert jobs.get(job.id).payload == payload
    [claimed] = hand.claim()
    assert json.loads(claimed.payload) == payload
    hand.end("failed", claimed)
    jobs.retry(job.id)
    assert jobs.get(job.id).payload == payload


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


def kinds(system: System, query: str = "") -> dict[str, int]:
    rows = system.get(f"/dlq/kinds?{query}").json()["kinds"]
    return {row["kind"]: row["count"] for row in rows}


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
        assert (sorted(ids(page)), page["total"]) == (sorted(boom), 2)
    assert sorted(follow(system, "kind=Other&limit=1")) == sorted(other)
    assert ids(listed(system, "kind=Boom&type=a")) == boom[:1]
    assert ids(listed(system, "kind=Other&tag=t&type=b")) == other[1:]
    for nothing in ("kind=Boom&status=queued", "kind=Boom&queue=other", "kind=None", "kind=%7Bdefault%7D"):
        assert (ids(listed(system, nothing)), listed(system, nothing)["total"]) == ([], 0)


def test_an_odd_kind_is_made_one_short_word(jobs: JobQueue, hand: Worker) -> None:
    for odd, word in (
        ("a b\n}:{", "a_b____"),
        ("Ошибка", "Ошибка"),
        ("\ud800", "_"),
        ("", "error"),
        ("K" * 100, "K" * 64),
    ):
        job = jobs.submit()
        hand.give("failed", 1, odd)
        assert jobs.get(job.id).errors[0]["kind"] == word
        assert [(kind.kind, kind.job_id) for kind in jobs.kinds()] == [(word, job.id)]
        jobs.retry(job.id)
        hand.give("done")


def test_there_are_never_more_than_some_hundred_kinds(jobs: JobQueue, hand: Worker) -> None:
    jobs.submit_many([NewJob()] * 230)
    for number in range(230):
        hand.give("failed", 1, f"Kind{number}")
    most, *others = jobs.kinds()
    assert (most.kind, most.count, len(others)) == ("other", 30, 200)
    assert jobs.sweep("delete", Filter(kind="other")).changed == 30
    assert len(jobs.kinds()) == 200


def test_the_message_of_a_kind_is_cut_between_characters(jobs: JobQueue, hand: Worker, server: Server) -> None:
    for filler in range(3):
        job = jobs.submit()
        hand.give("failed", 1, "Boom", "x" * filler + "€" * 2000)
        [kind] = jobs.kinds()
        assert kind.message.strip("x") == "€" * len(kind.message.strip("x")) and 300 < len(kind.message) < 1000
        jobs.delete(job.id)


# ------------------------------------------------------------------------------------------------------------- many


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


def status_of(system: System, job_id: str) -> str | None:
    answer = system.get(f"/jobs/{job_id}")
    return answer.json()["status"] if answer.status_code == 200 else None


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


def test_what_fails_again_is_not_retried_again_by_the_same_sweep(jobs: JobQueue, hand: Worker, server: Server) -> None:
    jobs.submit_many([NewJob()] * 3)
    hand.give("failed", 3)
    a_moment_passes(server)
    cursor, changed = None, 0
    for _ in range(10):
        acted = jobs.sweep("retry", Filter("failed"), cursor=cursor, most=1)
        changed, cursor = changed + acted.changed, acted.cursor
        if not cursor:
            break
        a_moment_passes(server)
        hand.give("failed", acted.changed)
    assert (changed, cursor) == (3, None)


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


def test_one_script_retries_one_of_the_jobs_with_a_unique_key(jobs: JobQueue, hand: Worker) -> None:
    dead = []
    for _ in range(2):
        dead.append(jobs.submit(unique_key="k").id)
        hand.give("failed")
    assert run_script(jobs, "retry", "default", ["request", 2, *dead]) == [b"retried", b"taken"]


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


def cursor_of(places: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps([0, places]).encode()).decode()


@pytest.mark.parametrize("places", [{"default": ""}, {"default": "0", "other": "0"}, {"default": "x"}, ["default"]])
def test_a_cursor_of_another_list_is_refused(jobs: JobQueue, places: Any) -> None:
    with pytest.raises(Invalid, match="cursor"):
        jobs.sweep("retry", Filter("failed"), cursor=cursor_of(places))
    jobs.sweep("retry", Filter("failed"), cursor=cursor_of({"default": "0"}))


# ----------------------------------------------------------------------------------------------------------- delete


@pytest.mark.parametrize("status", ["queued", "scheduled", "done", "failed", "cancelled"])
def test_a_deleted_job_is_gone_with_all_that_knew_of_it(
    status: str, system: System, jobs: JobQueue, hand: Worker
) -> None:
    fields = {"unique_key": "k", "tags": ["red", "blue"], "delay_s": 60 if status == "scheduled" else 0}
    body = {"payload": "x" * 300, **fields}
    job_id = system.post("/jobs", body, Idempotency_Key="once").json()["job_id"]
    if status in ("done", "failed"):
        hand.give(status)
    elif status == "cancelled":
        jobs.cancel(job_id)
    answer = operate(system, "delete", job_id)
    assert (answer.status_code, answer.content) == (204, b"")
    refused(operate(system, "delete", job_id), 404, "job_not_found")
    refused(system.get(f"/jobs/{job_id}"), 404, "job_not_found")
    keys = {key for key in system.server.client.scan_iter() if job_id in str(dump(system.server, key)) or job_id in key}
    assert keys <= {f"{Q}processing:hand-1"}
    assert listed(system, "tag=red")["total"] == 0
    assert system.submit(unique_key="k") != job_id
    assert jobs.books("default").totals["deleted"] == 1
    assert system.server.client.pttl(f"{Q}idem:once") > 0  # a late repeat is still known


def dump(server: Server, key: str) -> Any:
    client = server.client
    read = {
        "hash": client.hgetall,
        "string": client.get,
        "list": lambda key: client.lrange(key, 0, -1),
        "set": client.smembers,
    }
    return read.get(client.type(key), lambda key: client.zrange(key, 0, -1))(key)


def test_a_running_job_cannot_be_deleted(system: System, jobs: JobQueue, hand: Worker) -> None:
    job_id = system.submit()
    hand.claim()
    assert "processing" in refused(operate(system, "delete", job_id), 409, "wrong_status")["detail"]
    assert system.job(job_id)["status"] == "processing"


def test_the_unique_key_of_a_younger_job_survives_the_deletion_of_an_older_one(
    system: System, jobs: JobQueue, hand: Worker
) -> None:
    old = system.submit(unique_key="k")
    hand.give("done")
    new = system.submit(unique_key="k")
    operate(system, "delete", old)
    assert system.post("/jobs", {"payload": 1, "unique_key": "k"}).json()["job_id"] == new


@pytest.mark.parametrize("verb", ["cancel", "retry", "run", "delete", "requeue"])
def test_any_other_id_is_a_404_and_a_body_is_refused(verb: str, system: System, jobs: JobQueue) -> None:
    stranger = system.submit()[:-1] + "x"
    for job_id in (stranger, "x", "9f8b1c9e-4f9b-4d53-9d1a-5f6d3a1b2c3d"):
        refused(operate(system, verb, job_id), 404, "job_not_found")
    if verb not in ("delete", "requeue"):
        named = "/why" if verb == "retry" else ""
        assert invalid(system.post(f"/jobs/x/{verb}", {"why": "because"})) == [named]


# ---------------------------------------------------------------------------------------------------- pause and resume


def test_a_paused_queue_gives_out_nothing_and_resume_wakes_its_worker(system: System, jobs: JobQueue) -> None:
    system.submit()
    system.worker()
    eventually(lambda: listed(system, "status=done")["total"], equals=1)
    answer = system.post("/queues/default/pause")
    assert (answer.status_code, answer.json()["paused"]) == (200, True)
    assert system.post("/queues/default/pause").json()["paused"] is True
    waiting = [system.submit(n) for n in range(3)]
    other = Worker(jobs).claim(3)
    assert other == [] and {system.job(job_id)["status"] for job_id in waiting} == {"queued"}
    began = time.monotonic()
    assert system.post("/queues/default/resume").json()["paused"] is False
    for job_id in waiting:
        system.ends(job_id)
    assert time.monotonic() - began < 5.0
    assert system.post("/queues/default/resume").json()["paused"] is False


def test_a_queue_that_was_never_used_cannot_be_paused(system: System, jobs: JobQueue) -> None:
    for verb in ("pause", "resume"):
        assert "nowhere" in refused(system.post(f"/queues/nowhere/{verb}"), 404, "job_not_found")["detail"]
    with pytest.raises(NotFound):
        jobs.pause("nowhere")
    assert jobs.queues() == []


# ------------------------------------------------------------------------------------------- queues, workers and stats


def test_queues_tell_their_sizes_and_what_they_have_done(system: System, jobs: JobQueue, hand: Worker) -> None:
    system.submit()
    hand.give("done")
    oldest, _ = system.submit(priority="low"), system.submit(queue="mail")
    default, mail = system.get("/queues").json()["queues"]
    assert (default["queue"], default["paused"], default["reaper"]) == ("default", False, False)
    assert default["jobs"] == dict.fromkeys(STATUSES, 0) | {"queued": 1, "done": 1}
    assert (default["totals"]["submitted"], default["totals"]["done"]) == (2, 1)
    assert default["oldest_queued_at"] == system.job(oldest)["created_at"]
    assert (mail["queue"], mail["jobs"]["queued"]) == ("mail", 1)


def test_workers_tell_who_they_are_and_what_they_run(system: System, jobs: JobQueue, tmp_path: Path) -> None:
    assert system.get("/workers").json() == {"workers": []}
    worker = system.worker("--handlers", "tests.odd_handlers", "--threads", "3")
    gate = tmp_path / "gate"
    job_id = system.submit({"gate": str(gate)}, type="hold")
    eventually(lambda: [row["running"] for row in system.get("/workers").json()["workers"]], equals=any)
    (row,) = system.get("/workers").json()["workers"]
    assert (row["queue"], row["pid"], row["threads"]) == ("default", worker.pid, 3)
    assert "hold" in row["types"] and row["worker"] and row["host"] and row["last_beat_at"].endswith("Z")
    assert [(run["job_id"], run["type"]) for run in row["running"]] == [(job_id, "hold")]
    assert system.job(job_id)["worker"] == row["worker"]
    gate.touch()
    system.ends(job_id)


# --------------------------------------------------------------------------------------------------------- long polls


def test_a_long_poll_answers_as_soon_as_the_job_has_ended(system: System, jobs: JobQueue, hand: Worker) -> None:
    job_id = system.submit()
    (claimed,) = hand.claim()
    with ThreadPoolExecutor(1) as pool:
        began = time.monotonic()
        answer = pool.submit(system.get, f"/jobs/{job_id}?wait_s=20")
        eventually(lambda: system.get(f"/jobs/{job_id}").json()["status"], equals="processing")
        hand.end("done", claimed)
        job = answer.result(30).json()
    assert (job["status"], job["result"]) == ("done", "a result")
    assert time.monotonic() - began < 10
    assert system.get(f"/jobs/{job_id}?wait_s=20").json()["status"] == "done"


def test_a_long_poll_answers_at_its_deadline(system: System, jobs: JobQueue) -> None:
    job_id = system.submit()
    began = time.monotonic()
    assert system.get(f"/jobs/{job_id}?wait_s=0.5").json()["status"] == "queued"
    assert 0.4 < time.monotonic() - began < 10
    for wrong in ("-1", "21", "x", "", "nan", "inf", "1e999"):
        assert invalid(system.get(f"/jobs/{job_id}?wait_s={wrong}")) == ["/wait_s"], wrong
    refused(system.get("/jobs/x?wait_s=20"), 404, "job_not_found")


def test_long_polls_leave_threads_for_everybody_else(system: System) -> None:
    system.api(API_THREADS="4", API_WAITERS="10")
    job_id = system.submit()
    with ThreadPoolExecutor(12) as pool:
        answers = [pool.submit(system.get, f"/jobs/{job_id}?wait_s=20") for _ in range(12)]
        eventually(lambda: sum(answer.done() for answer in answers), equals=2)  # so many more than may wait
        began = time.monotonic()
        assert system.get("/livez").status_code == 200
        assert system.post("/jobs", {"payload": 1}).status_code == 201
        assert time.monotonic() - began < 3
        assert operate(system, "cancel", job_id).status_code == 200
        assert [answer.result(30).json()["status"] for answer in answers].count("cancelled") >= 10
        assert time.monotonic() - began < 10


def test_a_deleted_job_ends_a_long_poll_with_a_404(system: System, jobs: JobQueue) -> None:
    job_id = system.submit()
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(system.get, f"/jobs/{job_id}?wait_s=20")
        jobs.delete(job_id)
        refused(answer.result(30), 404, "job_not_found")


def test_a_queued_job_knows_its_place(system: System, jobs: JobQueue, hand: Worker) -> None:
    low, normal = system.submit(priority="low"), system.submit()
    high = system.post("/jobs", {"payload": 1, "priority": "high"}).json()
    assert high["position"] == 1
    places = {job_id: system.job(job_id)["position"] for job_id in (high["job_id"], normal, low)}
    assert list(places.values()) == [1, 2, 3]
    assert [job["position"] for job in listed(system, "status=queued")["jobs"]] == [1, 2, 3]
    hand.claim()
    assert [system.job(job_id)["position"] for job_id in places] == [None, 1, 2]


# ---------------------------------------------------------------------------------------------------- tags, unique keys


def test_tags_are_answered_in_their_order_and_each_once(system: System, jobs: JobQueue) -> None:
    answer = system.post("/jobs", {"payload": 1, "tags": ["b", "a", "b"]}).json()
    assert answer["tags"] == system.job(answer["job_id"])["tags"] == ["b", "a"]
    assert invalid(system.post("/jobs", {"payload": 1, "tags": ["ok", "a b", 5]})) == ["/tags/1", "/tags/2"]
    assert invalid(system.post("/jobs", {"payload": 1, "tags": ["t"] * 11})) == ["/tags"]
    assert invalid(system.post("/jobs", {"payload": 1, "tags": "t", "unique_key": ""})) == ["/unique_key", "/tags"]


def unique(system: System, payload: Any = 1, **headers: str) -> requests.Response:
    return system.post("/jobs", {"payload": payload, "unique_key": "k"}, **headers)


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


# --------------------------------------------------------------------------------------------- scripts, said twice


def snapshot(server: Server) -> dict[str, Any]:
    return {key: dump(server, key) for key in sorted(server.client.keys())}


@pytest.mark.parametrize("lost", [False, True])
def test_a_submit_with_unique_keys_sent_twice_gives_the_same_answer(lost: bool, jobs: JobQueue, server: Server) -> None:
    living = jobs.submit(unique_key="k").id
    new = [NewJob(payload=1, unique_key="k"), NewJob(payload=2, unique_key="new", tags=["t"])]
    proxy, applied = Proxy(server.port), list[Any]()
    if lost:
        server.client.script_load(Script("submit").text)
        strike = Strike(APPLIED, lambda: applied.append(snapshot(server)))
        proxy.rule = strike_at("submit", 1, strike)
    first, second = JobQueue(proxy.url).submit_many(new)
    assert first.job and first.job.id == living and first.existing
    assert second.job and second.job.id != living
    proxy.close()
    stored = snapshot(server)
    assert applied == [stored] * lost
    sent = [message.words for message in proxy.seen if message.label == "submit"]
    assert len({tuple(words[1:]) for words in sent[-2:]}) == 1 or not lost
    assert server.client.execute_command(*sent[-1])[3] == [living, ""]
    assert snapshot(server) == stored
    assert jobs.books("default").totals["submitted"] == 2


@pytest.mark.parametrize("script", ["run", "delete", "pause", "cancel"])
def test_an_operation_sent_twice_changes_nothing_the_second_time(
    script: str, jobs: JobQueue, server: Server, hand: Worker
) -> None:
    job = jobs.submit(delay_s=60, tags=["t"], unique_key="k", key="once")
    args = ["1"] if script == "pause" else [job.id]
    assert run_script(jobs, script, "default", args)
    stored = snapshot(server)
    run_script(jobs, script, "default", args)
    assert snapshot(server) == stored


def test_a_retry_sent_twice_retries_once_even_when_the_job_has_run_between(jobs: JobQueue, hand: Worker) -> None:
    job = jobs.submit()
    hand.give("failed")
    assert run_script(jobs, "retry", "default", ["request", 1, job.id]) == [b"retried"]
    hand.give("failed")
    assert run_script(jobs, "retry", "default", ["request", 1, job.id]) == [b"retried"]
    assert jobs.get(job.id).status == "failed"


def test_the_wrong_status_is_refused_by_every_script(jobs: JobQueue, hand: Worker) -> None:
    done = jobs.submit()
    hand.give("done")
    for operation in (jobs.cancel, jobs.retry, jobs.run_now):
        with pytest.raises(Conflict) as refusal:
            operation(done.id)
        assert refusal.value.status == "done"
    waiting, running = jobs.submit(delay_s=60), jobs.submit()
    hand.claim()
    with pytest.raises(Conflict):
        jobs.retry(waiting.id)
    for operation in (jobs.retry, jobs.run_now, jobs.delete):
        with pytest.raises(Conflict) as refusal:
            operation(running.id)
        assert refusal.value.status == "processing"


def test_a_job_given_back_can_be_deleted(jobs: JobQueue, hand: Worker) -> None:
    job = jobs.submit()
    (claimed,) = hand.claim()
    hand.end("released", claimed)
    jobs.delete(job.id)
    with pytest.raises(NotFound):
        jobs.get(job.id)
