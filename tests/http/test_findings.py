"""Which finding is the worst, what each is about, and jobs that run far longer than others of their type."""

from __future__ import annotations

from typing import Any

import pytest

from _jobqueue.web.findings import MAX_FINDINGS, About, Finding, ranked
from jobqueue import JobQueue, NewJob
from tests.harness import Server
from tests.http.overviews import Overview, findings, text_of, waits_since
from tests.played import Q, Worker

NOW_MS = 1_800_000_000_000
MINUTE_MS = 60_000


def told(queue: JobQueue, code: str) -> list[dict[str, Any]]:
    return [each for each in Overview(queue).stats()["health"] if each["code"] == code]


def order(*found: Finding) -> list[str]:
    return [each.id for each in ranked(found, NOW_MS)]


# ------------------------------------------------------------------------------------------------------------ the order


def test_what_hurts_more_jobs_comes_first() -> None:
    few, many = Finding("paused", "", "few", jobs=3), Finding("paused", "", "many", jobs=150)
    assert order(few, many) == ["paused:many", "paused:few"]


def test_of_two_that_hurt_as_many_jobs_the_newer_one_comes_first() -> None:
    new = Finding("dead_letters", "", "new", jobs=100, since_ms=NOW_MS - MINUTE_MS)
    old = Finding("dead_letters", "", "old", jobs=100, since_ms=NOW_MS - 600 * MINUTE_MS)
    unknown = Finding("dead_letters", "", "unknown", jobs=100)
    assert order(old, unknown, new) == ["dead_letters:new", "dead_letters:unknown", "dead_letters:old"]
    more = old._replace(queue="more", jobs=100_000)
    assert order(new, more) == ["dead_letters:more", "dead_letters:new"]


def test_one_job_in_a_test_queue_does_not_hide_150_dead_letters() -> None:
    test = Finding("no_worker", "", "test", jobs=1, since_ms=NOW_MS)
    dead = Finding("dead_letters", "", "email", jobs=150, since_ms=NOW_MS - 2 * MINUTE_MS)
    assert order(test, dead) == ["dead_letters:email", "no_worker:test"]
    assert order(test, dead._replace(jobs=2)) == ["no_worker:test", "dead_letters:email"]


def test_a_list_has_an_end_and_an_order_that_stays() -> None:
    found = [Finding("paused", "", f"q{number:02}") for number in range(30)]
    assert order(*found) == order(*reversed(found)) == [f"paused:q{number:02}" for number in range(MAX_FINDINGS)]


def test_the_worst_is_found_in_what_redis_says(queue: JobQueue, server: Server) -> None:
    queue.submit(queue="test")
    mail = Worker(queue, queue="mail")
    queue.submit_many([NewJob(queue="mail") for _ in range(60)])
    mail.give("failed", 50)
    mail.tend()
    assert findings(queue) == [("dead_letters", "mail"), ("no_worker", "test")]


# ------------------------------------------------------------------------------------------------------ what it is about


def test_each_kind_of_new_dead_letters_is_a_finding_of_its_own(queue: JobQueue, server: Server, worker: Worker) -> None:
    queue.submit_many([NewJob() for _ in range(21)])
    for kind, n in (("SMTPError", 9), ("KeyError", 5), ("Boom", 4), ("Bang", 2), ("Rare", 1)):
        worker.give("failed", n, kind)
    worker.tend()
    found = told(queue, "dead_letters")
    assert [(each["id"], each["kind"], each["jobs"]) for each in found] == [
        ("dead_letters:default:SMTPError", "SMTPError", 9),
        ("dead_letters:default:KeyError", "KeyError", 5),
        ("dead_letters:default:Boom", "Boom", 4),
        ("dead_letters:default", None, 3),
    ]
    assert found[0]["text"].startswith(
        "Queue default: 9 new dead letters of the kind SMTPError in the last minutes: see"
    )
    assert found[0]["short"] == "9 new dead letters: SMTPError" and found[0]["since"]
    assert found[3]["short"] == "3 new dead letters of 2 other kinds"


def test_old_dead_letters_of_a_kind_are_told_beside_the_new_ones(
    queue: JobQueue, server: Server, worker: Worker
) -> None:
    queue.submit_many([NewJob() for _ in range(5)])
    old = worker.give("failed", 3)
    for job_id in old:
        server.client.zincrby(f"{Q}kind:Boom", -3_600_000, job_id)
    worker.give("failed", 2)
    worker.tend()
    [found] = told(queue, "dead_letters")
    assert found["jobs"] == 5 and found["short"] == "2 new dead letters (5 in all): Boom"


def test_only_queues_that_fail_are_asked_for_their_kinds(queue: JobQueue, server: Server, worker: Worker) -> None:
    queue.submit()
    worker.tend()
    overview = Overview(queue)
    overview.stats()  # scripts are there now
    asked = "cmdstat_smembers"
    before = server.client.info("commandstats").get(asked, {}).get("calls", 0)
    overview.stats()
    assert server.client.info("commandstats").get(asked, {}).get("calls", 0) == before


def test_a_finding_says_how_many_jobs_it_hurts_and_since_when(queue: JobQueue, server: Server) -> None:
    job_id = queue.submit("echo").id
    queue.submit("echo")
    waits_since(server, job_id, 120_000)
    [found] = told(queue, "no_worker")
    assert (found["jobs"], found["short"]) == (2, "2 jobs wait, no worker")
    assert found["since"] == Overview(queue).stats()["queues"][0]["oldest_queued_at"]


# -------------------------------------------------------------------------------------------------- runs far too long


def count(worker: Worker, **runs: int) -> None:
    """Say that so many attempts of ``mail`` took at most so long: ``ms250=30``."""
    counts = {f"run:{bound.removeprefix('ms')}": n for bound, n in runs.items()}
    said = {"host": "here", "threads": 1, "types": ["mail"], "running": []}
    worker.presence.beat(said, worker.policies, (), {"mail": counts})


@pytest.fixture
def mailing(queue: JobQueue, worker: Worker) -> Worker:
    """It has begun a job of mail."""
    queue.submit("mail")
    worker.handles("mail")
    worker.claim()
    return worker


def runs_for(worker: Worker, for_s: float) -> None:
    worker.also = {"running": [{"job_id": job.id, "type": job.type, "for_s": for_s} for job in worker.running]}
    worker.tend()


def test_a_job_that_runs_far_longer_than_its_type_does_is_told(queue: JobQueue, mailing: Worker) -> None:
    count(mailing, ms250=30)
    runs_for(mailing, 29)
    assert findings(queue) == []
    runs_for(mailing, 240)
    [job] = mailing.running
    assert text_of(queue, "runs_long") == (
        f"Queue default: 1 job has run far longer than the type mail does ({job.id[:8]}, for 4 min; "
        "95 % of its attempts took 242 ms at most): see what keeps it, or stop it."
    )
    [found] = told(queue, "runs_long")
    assert found["id"] == "runs_long:default:mail" and (found["type"], found["job_id"]) == ("mail", job.id)
    mailing.end("done")
    runs_for(mailing, 0)
    assert findings(queue) == []


def test_several_of_a_type_are_one_finding_that_names_the_longest(queue: JobQueue, mailing: Worker) -> None:
    count(mailing, ms250=30)
    queue.submit_many([NewJob("mail") for _ in range(2)])
    for _ in range(2):
        mailing.claim()
    lengths = [31, 7300, 2]
    mailing.also = {
        "running": [
            {"job_id": job.id, "type": "mail", "for_s": for_s}
            for job, for_s in zip(mailing.running, lengths, strict=True)
        ]
    }
    mailing.tend()
    longest = mailing.running[1].id
    assert f"2 jobs have run far longer than the type mail does (the longest: {longest[:8]}, for 2 h;" in text_of(
        queue, "runs_long"
    )
    [found] = told(queue, "runs_long")
    assert (found["jobs"], found["job_id"]) == (2, longest)


@pytest.mark.parametrize(
    "runs, told_of",
    [
        ({"ms250": 19}, False),  # too few attempts to know
        ({"ms250": 30, "inf": 30}, False),  # they took longer than the histogram can tell
        ({"ms60000": 30}, False),  # 240 s are not far longer
        ({"ms30000": 30}, True),
    ],
    ids=str,
)
def test_how_long_a_type_runs_must_be_known(
    queue: JobQueue, mailing: Worker, runs: dict[str, int], told_of: bool
) -> None:
    count(mailing, **runs)
    runs_for(mailing, 240)
    assert bool(told(queue, "runs_long")) == told_of


def test_what_a_lost_worker_ran_is_not_told_as_running(queue: JobQueue, server: Server, mailing: Worker) -> None:
    count(mailing, ms250=30)
    runs_for(mailing, 240)
    server.client.zincrby(f"{Q}workers", -16_000, "w")
    assert [code for code, _ in findings(queue)] == ["worker_lost"]


def test_findings_that_differ_never_have_the_same_id() -> None:
    both = [
        (
            Finding("dead_letters", "", "q", about=About(kind="A")),
            Finding("dead_letters", "", "q", about=About(kind="B")),
        ),
        (Finding("runs_long", "", "q", about=About("a", job_id="1")), Finding("runs_long", "", "q", about=About("b"))),
        (Finding("redis", "one"), Finding("redis", "another", nth=1)),
        (
            Finding("worker_lost", "", "q", about=About(worker="a")),
            Finding("worker_lost", "", "r", about=About(worker="a")),
        ),
    ]
    assert [one.id != other.id for one, other in both] == [True] * len(both)
