"""Tags count: what each transition does to the counts, who waits for them, and how jobs of the release before are counted."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from _jobqueue.logs import Log
from _jobqueue.records import IN_PLACE
from _jobqueue.schedules import Schedule
from _jobqueue.store import recounts, tags
from _jobqueue.tally import COUNTED, Wait
from jobqueue import Filter, JobQueue, NewJob
from reaper import Reaper
from tests.harness import Server
from tests.played import DAY_MS, RETENTION_MS, UNHANDLED_MS, Q, Worker, ids, now_ms, passes, tick
from tests.queue.tagging import assert_counted, counted, living, programs_before, there

pytestmark = pytest.mark.usefixtures("in_the_end_all_is_well")
T = ("t",)


def said(queue: JobQueue, tag: str = "t") -> dict[str, int]:
    """What the tag counts, without zeros."""
    return {name: n for name, n in queue.tags.tally(tag).jobs.items() if n}


def forget_the_counts(server: Server) -> None:
    """The jobs are as a program of the release before has made them."""
    for key in server.client.scan_iter(f"{Q}job:*"):
        server.client.hdel(key, "tallied")
    for key in server.client.scan_iter(f"{Q}tally:*"):
        server.client.delete(key)


# -------------------------------------------------------------------------------------------------- every transition


def test_submit_counts_what_is_queued_delayed_and_blocked(queue: JobQueue, server: Server) -> None:
    first = queue.submit(tags=["t", "u"])
    queue.submit(tags=T, delay_s=60)
    queue.submit(tags=T, after=[first.id])
    queue.submit()
    queue.submit(tags=["u", "u"])
    assert said(queue) == {"queued": 1, "scheduled": 1, "blocked": 1}
    assert said(queue, "u") == {"queued": 2} and said(queue, "nobody's") == {}
    assert_counted(server)


def test_a_repeated_submit_and_one_that_another_stands_for_count_nothing(queue: JobQueue, server: Server) -> None:
    for _ in range(2):
        queue.submit_many([NewJob(tags=T)] * 3, key="k")
    for _ in range(2):
        queue.submit(tags=T, unique_key="one")
    assert said(queue) == {"queued": 4}
    assert_counted(server)


@pytest.mark.parametrize(
    ("outcome", "delay_ms", "status"),
    [
        ("done", 0, "done"),
        ("failed", -3, "failed"),
        ("failed", 5000, "scheduled"),
        ("failed", IN_PLACE, "queued"),
        ("cancelled", 0, "cancelled"),
        ("released", 0, "queued"),
    ],
)
def test_claim_and_settlement(
    outcome: str, delay_ms: int, status: str, queue: JobQueue, worker: Worker, server: Server
) -> None:
    queue.submit(tags=T, max_attempts=3)
    [job] = worker.claim()
    assert said(queue) == {"processing": 1}
    assert_counted(server)
    worker.end(outcome, job, delay_ms=delay_ms)
    assert said(queue) == {status: 1}
    assert_counted(server)


def test_one_exchange_settles_some_and_claims_others(queue: JobQueue, worker: Worker, server: Server) -> None:
    queue.submit_many([NewJob(tags=T), NewJob(tags=["u"]), NewJob(), NewJob(tags=T)])
    worker.claim(3)
    worker.end("done", worker.running[0])
    worker.exchange(want=0)  # the others are dropped
    worker.again()
    assert said(queue) == {"done": 1, "queued": 1}
    assert_counted(server)


def test_a_settlement_without_a_claim_and_its_copy(queue: JobQueue, worker: Worker, server: Server) -> None:
    queue.submit(tags=T)
    [job] = worker.claim()
    for _ in range(2):
        worker.running = [job]
        worker.end("done")
    assert said(queue) == {"done": 1}
    assert_counted(server)


def test_reap_and_promote(queue: JobQueue, worker: Worker, server: Server) -> None:
    queue.submit_many([NewJob(tags=T, max_attempts=2), NewJob(tags=T, max_attempts=1)])
    jobs = worker.claim(2)
    passes(server, "leases", *jobs)
    assert sorted(tick(queue)) == ["failed", "queued"]
    assert said(queue) == {"queued": 1, "failed": 1}
    late = queue.submit(tags=T, delay_s=60)
    passes(server, "scheduled", late)
    tick(queue)
    assert said(queue) == {"queued": 2, "failed": 1}
    assert_counted(server)


def test_an_operator_runs_cancels_retries_and_deletes(queue: JobQueue, worker: Worker, server: Server) -> None:
    one = queue.submit(tags=T, delay_s=60)
    queue.submit(tags=T)
    queue.run_now(one.id)
    assert said(queue) == {"queued": 2}
    queue.cancel(one.id)
    assert said(queue) == {"queued": 1, "cancelled": 1}
    queue.retry(one.id)
    assert said(queue) == {"queued": 2}
    queue.delete(one.id)
    assert said(queue) == {"queued": 1, "deleted": 1}
    tally = queue.tags.tally("t")
    assert (tally.total, tally.ended, tally.first_ms) == (2, 1, one.created_ms)
    assert_counted(server, deleted=1)
    worker.give("done")
    assert queue.tags.tally("t").has_ended(None)


def test_children_are_released_cancelled_and_blocked_again(queue: JobQueue, worker: Worker, server: Server) -> None:
    parent, other = queue.submit(), queue.submit(delay_s=60)
    children = [queue.submit(tags=T, after=[parent.id]), queue.submit(tags=T, after=[parent.id], delay_s=9)]
    lost = queue.submit(tags=T, after=[other.id])
    worker.give("done")
    assert said(queue) == {"queued": 1, "scheduled": 1, "blocked": 1}
    queue.cancel(other.id)
    assert said(queue) == {"queued": 1, "scheduled": 1, "cancelled": 1}
    queue.retry(lost.id)
    assert said(queue) == {"queued": 1, "scheduled": 1, "blocked": 1}
    assert_counted(server)
    assert len(children) == 2


def test_what_is_trimmed_stays_counted_until_the_tag_holds_none(
    queue: JobQueue, worker: Worker, server: Server
) -> None:
    first = queue.submit(tags=T)
    queue.submit(tags=T)
    worker.give("done")
    server.client.zadd(f"{Q}done", {first.id: 1})
    tick(queue)
    assert said(queue) == {"queued": 1, "trimmed": 1}
    tally = queue.tags.tally("t")
    assert (tally.total, tally.ended, tally.first_ms) == (2, 1, first.created_ms)
    assert_counted(server, trimmed=1)
    [last] = worker.give("done")
    server.client.zadd(f"{Q}done", {last: 1})
    tick(queue)
    assert queue.tags.tally("t").total == 0
    assert not list(server.client.scan_iter(f"{Q}ta*"))
    queue.submit(tags=T)
    assert said(queue) == {"queued": 1}


def test_a_job_that_nobody_handles(queue: JobQueue, worker: Worker, server: Server) -> None:
    job = queue.submit("strange", tags=T)
    worker.handles("echo")
    worker.claim()  # parks it
    assert said(queue) == {"queued": 1}
    long_ago = now_ms(server) - 2 * UNHANDLED_MS
    server.client.hset(f"{Q}job:{job.id}", mapping={"created": long_ago, "due": long_ago})
    server.client.hset(f"{Q}meta", "untold", long_ago)
    tick(queue)
    assert said(queue) == {"failed": 1}
    assert_counted(server)


def test_a_schedule_counts_its_job(queue: JobQueue, server: Server) -> None:
    queue.schedules.put("default", "often", Schedule.of_json({"every_s": 60, "tags": ["t"]}))
    queue.schedules.run("default", "often")
    assert said(queue) == {"queued": 1}
    assert_counted(server)


def test_times_and_sums_over_queues(queue: JobQueue, worker: Worker) -> None:
    first, _, elsewhere = queue.submit(tags=T), queue.submit(tags=T), queue.submit(tags=T, queue="mail")
    [done] = worker.give("done")
    tally = queue.tags.tally("t")
    assert (tally.total, tally.ended, tally.exact) == (3, 1, True)
    assert tally.first_ms == first.created_ms and tally.last_ms == queue.get(done).finished_ms
    assert queue.tags.tally("t", "mail").jobs["queued"] == 1
    assert queue.tags.tally("t", "mail").first_ms == elsewhere.created_ms
    assert tally.as_dict().keys() == {"tag", "jobs", "total", "ended", "first_at", "last_at", "exact"}
    assert tuple(tally.jobs) == COUNTED


def test_a_list_by_tag_and_status_knows_its_total(queue: JobQueue, worker: Worker) -> None:
    queue.submit_many([NewJob(tags=T) for _ in range(5)])
    worker.give("done", 2)
    assert queue.page(Filter(tag="t", status="done"), limit=1).total == 2
    assert queue.page(Filter(tag="t", status="queued", queue="mail")).total == 0
    assert queue.page(Filter(tag="t", status="done", type="echo")).total is None
    assert queue.page(Filter(tag="t", status="done", since_ms=0)).total is None


def test_a_job_without_tags_writes_nothing_of_them(queue: JobQueue, worker: Worker, server: Server) -> None:
    queue.submit()
    [job_id] = worker.give("done")
    assert "tallied" not in server.client.hgetall(f"{Q}job:{job_id}")
    assert not list(server.client.scan_iter(f"{Q}ta*"))


def test_what_a_hand_has_made_of_the_counts_stops_no_job(queue: JobQueue, worker: Worker, server: Server) -> None:
    queue.submit(tags=T)
    server.client.set(f"{Q}tally:t", "of the wrong type")
    worker.give("done")
    assert queue.books("default").sizes["done"] == 1
    server.client.delete(f"{Q}tally:t")
    assert queue.check("default", repair=True)


# ------------------------------------------------------------------------------------------------------------- waits


def test_waits_are_over_when_all_or_so_many_have_ended(queue: JobQueue, worker: Worker) -> None:
    queue.submit_many([NewJob(tags=T) for _ in range(3)])
    queue.submit(tags=T, queue="mail")
    waits = [Wait("t", None, None), Wait("t", None, 2), Wait("t", "default", None), Wait("u", None, None)]
    seen = tags.Seen()
    assert queue.tags.ended(waits, seen) == [waits[3]]
    worker.give("done", 2)
    assert queue.tags.ended(waits, seen) == waits[1:2] + waits[3:]
    worker.give("failed")
    assert queue.tags.ended(waits, seen) == waits[1:]
    Worker(queue, queue="mail").give("done")
    assert queue.tags.ended(waits, seen) == waits


def test_a_look_of_those_who_wait_costs_one_script_for_all_queues(queue: JobQueue, server: Server) -> None:
    for name in ("default", "mail", "shop"):
        queue.submit(tags=T, queue=name)
    waits = [Wait("t", None, None), Wait("u", None, 5)]
    seen = tags.Seen()
    queue.tags.ended(waits, seen)
    server.client.config_resetstat()
    queue.tags.ended(waits, seen)
    calls = {name: stats["calls"] for name, stats in server.client.info("commandstats").items()}
    assert calls["cmdstat_evalsha"] == 1
    assert calls.get("cmdstat_zcard", 0) == 0  # nothing has ended


# ------------------------------------------------------------------------------------------- the release before


def test_jobs_from_before_are_counted_at_the_first_look(queue: JobQueue, worker: Worker, server: Server) -> None:
    queue.submit_many([NewJob(tags=["t", "u"]) for _ in range(4)])
    worker.give("done", 2)
    finished = queue.tags.tally("t").last_ms
    forget_the_counts(server)
    tally = queue.tags.tally("t")
    assert (tally.jobs["done"], tally.jobs["queued"], tally.exact) == (2, 2, True)
    assert tally.last_ms == finished
    assert_counted(server)
    assert said(queue, "u") == {"done": 2, "queued": 2}


def test_a_large_tag_from_before_is_counted_by_the_reaper(
    queue: JobQueue, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recounts, "STEP", 3)
    monkeypatch.setattr(tags, "READ_STEPS", 1)
    monkeypatch.setattr(tags, "TICK_STEPS", 2)
    monkeypatch.setattr(tags, "OLD_MS", 0)
    jobs = [answer.job for answer in queue.submit_many([NewJob(tags=T) for _ in range(20)])]
    forget_the_counts(server)
    assert queue.tags.tally("t").exact is False
    assert queue.page(Filter(tag="t", status="queued")).total is None
    assert jobs[0]
    queue.cancel(jobs[0].id)  # one that has been counted
    assert jobs[19]
    queue.cancel(jobs[19].id)  # one that has not
    reaper = Reaper(queue, 10, RETENTION_MS, Log("reaper"))
    for _ in range(4):
        reaper.tick()
    tally = queue.tags.tally("t")
    assert (tally.exact, tally.jobs["queued"], tally.jobs["cancelled"]) == (True, 18, 2)
    assert not server.client.exists(f"{Q}recounts")
    assert queue.page(Filter(tag="t", status="queued")).total == 18


def test_counts_are_not_exact_while_an_old_worker_lives(queue: JobQueue, server: Server) -> None:
    queue.submit(tags=T)
    server.client.hset(f"{Q}meta", "untold", now_ms(server) + 1000)
    assert queue.tags.tally("t").exact is False
    assert server.client.smembers(f"{Q}recounts") == {"t"}
    Reaper(queue, 10, RETENTION_MS, Log("reaper")).tick()
    assert server.client.smembers(f"{Q}recounts") == {"t"}
    server.client.hset(f"{Q}meta", "untold", now_ms(server) - 100)
    assert queue.tags.tally("t").exact is True


@pytest.mark.parametrize("step", [pytest.param(recounts.STEP, marks=pytest.mark.long(2)), 3])
def test_programs_of_both_releases_side_by_side(
    step: int, queue: JobQueue, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What they did is counted in the end, whoever did it."""
    monkeypatch.setattr(recounts, "STEP", step)
    monkeypatch.setattr(tags, "OLD_MS", 0)
    old, chance = programs_before(server.url, tmp_path, monkeypatch), random.Random(step)
    workers = [Worker(queue, "new"), Worker(old, "old")]
    for _ in range(300):
        either = chance.choice([queue, old])
        living_ids = ids(queue.page(limit=50).jobs)
        some = chance.sample(living_ids, min(len(living_ids), 2))
        match chance.choice(["submit", "submit", "work", "work", "act", "tick", "look"]):
            case "submit":
                options = [NewJob(tags=chance.choice([T, ("u",), ("t", "u"), ()]), max_attempts=2) for _ in range(3)]
                either.submit_many(options)
            case "work":
                worker = chance.choice(workers)
                if worker.running:
                    worker.end(chance.choice(["done", "failed", "released", "cancelled"]))
                worker.claim(chance.choice([1, 3]))
            case "act":
                either.act_on(chance.choice(["cancel", "retry", "delete"]), some)
            case "tick":
                for job_id in some:
                    server.client.zadd(f"{Q}done", {job_id: 1}, xx=True)
                tick(either)
            case "look":
                queue.tags.tally("t")
    server.client.hset(f"{Q}meta", "untold", now_ms(server))
    reaper = Reaper(queue, 10, RETENTION_MS, Log("reaper"))
    for _ in range(20):
        exact = [queue.tags.tally(tag).exact for tag in "tu"]
        reaper.tick()
    assert exact == [True, True]
    assert living(counted(server.client)) == there(server.client)
    assert queue.check("default") == []


# ------------------------------------------------------------------------------------------------------- the checker


@pytest.mark.long(2)
@pytest.mark.parametrize("step", [recounts.STEP, 3])
@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda redis, _: redis.hincrby(f"{Q}tally:t", "queued", 2), "counts 10 queued, 2 done, but should count 8"),
        (lambda redis, _: redis.hincrby(f"{Q}tally:t", "blocked", 1), "counts 8 queued, 1 blocked, 2 done"),
        (lambda redis, _: redis.delete(f"{Q}tally:t"), "counts nothing, but should count 8 queued, 2 done"),
        (lambda redis, job: redis.hset(job, "tallied", "done"), "but should count 7 queued, 3 done"),
        (lambda redis, _: redis.zadd(f"{Q}tag:t", {"nobody": 5}), "nobody stands under the tag t"),
    ],
    ids=["too many", "another status", "nothing", "a job", "a stray"],
)
def test_wrong_counts_are_found_and_put_right(
    step: int, spoil: Any, says: str, queue: JobQueue, worker: Worker, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recounts, "STEP", step)
    jobs = [answer.job for answer in queue.submit_many([NewJob(tags=T) for _ in range(10)])]
    worker.give("done", 2)
    assert queue.check("default") == []
    assert jobs[9]
    spoil(server.client, f"{Q}job:{jobs[9].id}")
    assert any(says in line for line in queue.check("default")), queue.check("default")
    assert queue.check("default", repair=True)
    assert queue.check("default") == []
    assert_counted(server)


def test_moved_without_being_counted_is_found(queue: JobQueue, server: Server) -> None:
    """A tag whose counts say that they are exact counts every job as what it is."""
    job = queue.submit(tags=T)
    tick(queue)
    queue.tags.tally("t")
    server.client.hset(f"{Q}job:{job.id}", "status", "scheduled")
    server.client.zrem(f"{Q}queue", job.id)
    server.client.zadd(f"{Q}scheduled", {job.id: now_ms(server) + DAY_MS})
    [wrong] = queue.check("default", repair=True)
    assert "counts 1 of its jobs as something else than they are" in wrong
    assert said(queue) == {"scheduled": 1}


def test_counts_of_a_tag_that_is_gone_are_found(queue: JobQueue, server: Server) -> None:
    queue.submit()
    server.client.hset(f"{Q}tally:t", "queued", 3)
    [wrong] = queue.check("default", repair=True)
    assert "the tag t counts 3 queued, but should count nothing" in wrong
    assert not server.client.exists(f"{Q}tally:t")


def test_a_repaired_job_is_counted_as_what_it_has_become(queue: JobQueue, server: Server) -> None:
    job = queue.submit(tags=T)
    server.client.hset(f"{Q}job:{job.id}", "status", "nonsense")
    assert queue.check("default", repair=True)
    queue.check("default", repair=True)
    assert said(queue) == {"failed": 1}
    assert_counted(server)


def test_a_queue_that_is_forgotten_leaves_no_counts(queue: JobQueue, server: Server) -> None:
    job = queue.submit(tags=T)
    server.client.sadd(f"{Q}recounts", "t")
    queue.delete(job.id)
    queue.delete_queue("default")
    assert not list(server.client.scan_iter(f"{Q}*ta*")) and not server.client.exists(f"{Q}recounts")
