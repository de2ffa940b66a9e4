"""The reaper: as a process, and its two clocks with time moved by hand."""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Callable
from typing import Any, ClassVar

import pytest

import reaper
from _jobqueue.books import Expired
from _jobqueue.logs import Log
from _jobqueue.records import Settlement
from _jobqueue.store.ids import new_id
from jobqueue import Job, JobQueue, NewJob
from reaper import Reaper
from tests.harness import Server, eventually
from tests.played import HOUR_MS, RETENTION_MS, Worker, now_ms


@pytest.fixture(autouse=True)
def logs(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)


def hour_ago(server: Server) -> float:
    return now_ms(server) - HOUR_MS


def strand(queue: JobQueue, server: Server, n: int = 1, **options: Any) -> list[str]:
    """Jobs in processing whose leases ran out an hour ago."""
    options = {"max_attempts": 2} | options
    jobs = [submitted.job for submitted in queue.submit_many([NewJob("echo", at, **options) for at in range(n)])]
    claimed = 0
    while claimed < n:
        taken = Worker(queue, "gone", claimed).claim(50)
        assert taken
        claimed += len(taken)
    ids = [job.id for job in jobs if job]
    server.client.zadd("jq:{default}:leases", dict.fromkeys(ids, hour_ago(server)))
    return ids


def status(queue: JobQueue, job_id: str) -> str:
    return queue.get(job_id).status


# ------------------------------------------------------------------------------------------------------- the process


def test_a_delayed_job_is_promoted_when_it_is_due(system, queue):
    system.reaper()
    soon, later = queue.submit("echo", delay_s=0.5), queue.submit("echo", delay_s=3600)
    assert (soon.status, later.status) == ("scheduled", "scheduled")
    eventually(lambda: status(queue, soon.id), equals="queued")
    assert status(queue, later.id) == "scheduled"


def test_a_job_whose_lease_ran_out_is_queued_again_in_its_old_place(system, queue, server):
    (first,) = strand(queue, server)
    second = queue.submit("echo")
    process = system.reaper()
    eventually(lambda: status(queue, first), equals="queued")
    back = queue.get(first)
    assert (back.position, back.attempts, queue.get(second.id).position) == (1, 1, 2)
    assert (back.errors[0]["kind"], back.errors[0]["worker"]) == ("lease_expired", "gone")
    process.says("took back a job")
    system.check()


def test_a_job_whose_attempts_are_spent_becomes_a_dead_letter(system, queue, server):
    (job_id,) = strand(queue, server, max_attempts=1)
    system.reaper()
    eventually(lambda: status(queue, job_id), equals="failed")
    assert queue.get(job_id).errors[0]["message"] == reaper.LEASE_EXPIRED


def test_a_stranded_job_that_was_asked_to_cancel_is_cancelled(system, queue, server):
    (job_id,) = strand(queue, server)
    assert queue.cancel(job_id) == "asked"
    system.reaper()
    eventually(lambda: status(queue, job_id), equals="cancelled")
    system.check()


def test_jobs_past_their_retention_are_trimmed_and_the_rest_stays(system, queue, server):
    old, young = (queue.submit("echo").id for _ in range(2))
    for job_id in (old, young):
        queue.cancel(job_id)
    server.client.zadd("jq:{default}:cancelled", {old: hour_ago(server)})
    system.reaper(RESULT_TTL_S="600")
    eventually(lambda: server.client.exists(f"jq:{{default}}:job:{old}"), equals=0)
    assert status(queue, young) == "cancelled"
    assert queue.books("default").totals["trimmed"] == 1
    system.check()


def test_a_tick_takes_more_than_one_script_looks_at(system, queue, server):
    ids = strand(queue, server, n=1200)
    system.reaper()
    eventually(lambda: queue.books("default").sizes["queued"], equals=len(ids), within_s=20)
    system.check()


def test_two_reapers_do_what_one_does(system, queue, server):
    stranded = strand(queue, server, n=300)
    delayed = [queue.submit("echo", delay_s=0.3 + n / 500).id for n in range(200)]
    for _ in range(2):
        system.reaper(REAPER_INTERVAL_S="0.05")
    eventually(lambda: queue.books("default").sizes["queued"], equals=500, within_s=20)
    jobs = [queue.get(job_id) for job_id in stranded]
    assert {(job.attempts, len(job.errors)) for job in jobs} == {(1, 1)}
    assert queue.books("default").totals["reaped"] == 300
    assert {queue.get(job_id).attempts for job_id in delayed} == {0}
    system.check()


def test_a_reaper_looks_after_queues_that_appear_later(system, queue):
    process = system.reaper()
    process.says("starting")
    job = queue.submit("echo", queue="brand.new", delay_s=0.3)
    eventually(lambda: status(queue, job.id), equals="queued")


def test_a_reaper_logs_an_outage_twice_and_goes_on(own_system):
    queue = JobQueue(own_system.server.url)
    job = queue.submit("echo", delay_s=1)
    process = own_system.reaper()
    eventually(lambda: queue.books("default").reaper_lives)
    own_system.server.kill()
    process.says("nothing can be recovered until Redis is back")
    own_system.server.start()
    process.says("Redis is back after_s")
    eventually(lambda: status(queue, job.id), equals="queued")
    assert process.log.count("Redis is back after_s") == process.log.count("until Redis is back:") == 1
    assert process.stop() == 0


# -------------------------------------------------------------------------------------------------------- two clocks


class FakeQueue:
    """A queue with one lease that has run out, on a Redis whose clock can be moved."""

    def __init__(self) -> None:
        self.jump_s = 0.0
        self.on_its_way: Callable[[], None] = lambda: None  # what happens before the answer arrives
        self.reaped: list[Expired] = []

    def queues(self) -> list[str]:
        return ["default"]

    def expired(self, queue: str, limit: int) -> tuple[int, list[Expired], dict[str, bytes]]:
        now_ms = int((time.monotonic() + 1e9 + self.jump_s) * 1000)
        self.on_its_way()
        return now_ms, [Expired(new_id(0), b"worker-1:1", b"%d" % (now_ms - 1))], {}

    @property
    def recovery(self) -> FakeQueue:
        return self

    @property
    def schedules(self) -> FakeQueue:
        return self

    @property
    def sums(self) -> FakeQueue:
        return self

    def note(self, queue: str) -> None:
        pass

    def first_due(self, queues: list[str]) -> dict[str, int]:
        return {}

    def transaction(self, queue: str) -> FakeTransaction:
        return FakeTransaction(self.reaped)


class FakeTransaction:
    spared: ClassVar[list[bool]] = []  # whether each tick spared jobs that nobody handles
    unhandled, given_up, left, vague_tag, expired, looked = (), 0, False, "", (), 0

    def __init__(self, reaped: list[Expired]) -> None:
        self.reaped, self.outcomes = reaped, list[str]()

    def expire(self, limit: int) -> None: ...
    def promote(self, limit: int, lease_ms: int) -> None: ...
    def trim(self, status: str, older_than_ms: int, limit: int) -> None: ...

    def reap(self, expired: list[Expired], message: str) -> None:
        self.reaped += expired
        self.outcomes = ["queued"] * len(expired)

    def tidy(self, limit: int, unhandled_ms: int, *, spare: bool) -> None:
        FakeTransaction.spared.append(spare)

    def tell(self, edges: int) -> None: ...
    def let_in(self, *of_limits: int) -> None: ...

    def execute(self) -> tuple[list[str], int, int]:
        return self.outcomes, 0, 0


@pytest.fixture
def clocks() -> tuple[FakeQueue, Reaper]:
    queue = FakeQueue()
    return queue, Reaper(queue, 10.0, RETENTION_MS, Log("reaper"))  # type: ignore[arg-type]


@pytest.mark.parametrize("jump_s", [3600, -3600, 5])
def test_after_a_jump_of_the_clock_nothing_is_reaped_for_one_lease(clocks, caplog, jump_s):
    queue, one = clocks
    one.tick()
    assert len(queue.reaped) == 1
    queue.jump_s = jump_s
    one.tick()
    one.tick()
    assert len(queue.reaped) == 1
    assert 8 < one.quiet_until - time.monotonic() <= 10
    assert [record.message for record in caplog.records if "jumped" in record.message] == [
        "Redis's clock jumped: not reaping for one lease"
    ]
    one.quiet_until = time.monotonic()  # a lease later
    one.tick()
    assert len(queue.reaped) == 2


def test_nothing_is_given_up_as_unhandled_just_after_a_start_or_a_jump_of_the_clock(clocks):
    """All may have stood still for a week: the workers' beats come first."""
    queue, one = clocks
    FakeTransaction.spared.clear()
    one.tick()
    one.started -= reaper.GRACE_S + 1
    one.tick()
    queue.jump_s = 8 * 86_400
    one.tick()
    assert FakeTransaction.spared == [True, False, True]


def test_a_job_whose_type_nobody_handles_ends_as_a_dead_letter(system, queue, server, monkeypatch, caplog):
    job = queue.submit("nobody.does.it")
    one = Reaper(queue, 10.0, RETENTION_MS, Log("reaper"))
    one.unhandled_ms = 1
    one.tick()
    assert status(queue, job.id) == "queued"
    one.started -= reaper.GRACE_S + 1
    eventually(lambda: one.tick() or status(queue, job.id), equals="failed")
    assert queue.get(job.id).errors[-1]["kind"] == "no_handler"
    assert "a dead letter: nobody handles its type" in caplog.text


def test_a_clock_that_drifts_is_followed_without_a_pause(clocks):
    queue, one = clocks
    for _ in range(50):
        one.tick()
        queue.jump_s += 0.5  # far more than a real clock drifts from tick to tick; 25 s in all
    assert len(queue.reaped) == 50


def test_an_answer_that_was_long_on_its_way_is_no_jump(clocks, monkeypatch):
    queue, one = clocks
    now = itertools.count(1000.0, 0.001)
    monkeypatch.setattr(time, "monotonic", lambda: next(now))

    def five_seconds() -> None:
        nonlocal now
        now = itertools.count(next(now) + 5, 0.001)

    one.tick()
    queue.on_its_way = five_seconds
    one.tick()
    queue.on_its_way = lambda: None
    one.tick()
    assert len(queue.reaped) == 3
    assert one.quiet_until == 0.0 and one.redis_ahead_s == pytest.approx(1e9, abs=0.01)


# ----------------------------------------------------------------------------------------------------- dead workers


@pytest.fixture
def watcher(queue: JobQueue) -> Reaper:
    return Reaper(queue, 10.0, RETENTION_MS, Log("reaper"))


def run_one(queue: JobQueue) -> tuple[Worker, Job]:
    """A job that worker ``w`` runs under a lease of an hour."""
    job, worker = queue.submit("echo"), Worker(queue, lease_ms=HOUR_MS)
    beat(worker)
    assert len(worker.claim()) == 1
    return worker, job


def beat(worker: Worker) -> None:
    """A beat at another millisecond than the last."""

    def beat_at() -> bytes | None:
        worker.beat()
        return worker.jobs.recovery.expired("default", 1)[2]["w"]

    before = worker.jobs.recovery.expired("default", 1)[2].get("w")
    eventually(beat_at, equals=lambda at: at != before)


def pass_time(watcher: Reaper, seconds: float) -> None:
    """As if the beats that the reaper remembers had been seen so much earlier."""
    watcher.beats = {worker: (last, seen - seconds) for worker, (last, seen) in watcher.beats.items()}


def test_a_worker_whose_beat_stopped_loses_its_leases(queue, watcher, server, caplog):
    worker, job = run_one(queue)
    server.client.hset(f"jq:{{default}}:job:{job.id}", "timeout_ms", 2 * HOUR_MS)
    server.client.zadd("jq:{default}:leases", {job.id: hour_ago(server) + 2 * HOUR_MS})
    watcher.tick()
    pass_time(watcher, 9)
    watcher.tick()
    assert status(queue, job.id) == "processing"
    pass_time(watcher, 2)
    watcher.tick()
    assert status(queue, job.id) == "queued"
    assert "a worker's beat has stopped" in caplog.text
    accepted, _ = worker.exchange(Settlement(job.id, "w-1:1", "done"), want=0)
    assert accepted == [False]


@pytest.mark.parametrize("lease_s", [2, 60])
def test_a_worker_is_judged_by_its_own_lease_and_not_by_the_reapers(queue, watcher, server, lease_s):
    worker, job = run_one(queue)
    worker.also = {"lease_s": lease_s}
    beat(worker)
    server.client.zadd("jq:{default}:leases", {job.id: hour_ago(server) + 2 * HOUR_MS})
    watcher.tick()
    pass_time(watcher, lease_s - 1)
    watcher.tick()
    assert status(queue, job.id) == "processing"
    pass_time(watcher, 2)
    watcher.tick()
    assert status(queue, job.id) == "queued"


def test_after_a_jump_of_the_clock_the_longest_lease_is_waited_for(queue, watcher):
    worker, _ = run_one(queue)
    worker.also = {"lease_s": 60}
    beat(worker)
    watcher.tick()
    watcher.redis_ahead_s -= 3600
    watcher.tick()
    assert 55 < watcher.quiet_until - time.monotonic() <= 60


@pytest.mark.parametrize("record", ["{", "[]", "{}", '{"lease_s": null}', None])
def test_a_record_that_says_nothing_of_a_lease_leaves_it_to_the_reapers(queue, watcher, server, record):
    _, job = run_one(queue)
    server.client.delete("jq:{default}:worker:w")
    if record:
        server.client.set("jq:{default}:worker:w", record)
    watcher.tick()
    pass_time(watcher, 11)
    watcher.tick()
    assert status(queue, job.id) == "queued"


def test_a_worker_that_beats_keeps_its_leases(queue, watcher, server):
    worker, job = run_one(queue)
    for _ in range(5):
        watcher.tick()
        pass_time(watcher, 8)
        beat(worker)
    watcher.tick()
    assert status(queue, job.id) == "processing"


def test_a_worker_that_beats_again_is_not_lowered_by_what_was_seen_before(queue, watcher, server):
    worker, job = run_one(queue)
    _, _, beats = queue.recovery.expired("default", 1)
    beat(worker)
    assert queue.recovery.lower("default", "w", beats["w"]) == 0
    assert status(queue, job.id) == "processing"


def test_a_worker_long_gone_is_forgotten_with_its_slots(queue, watcher, server):
    run_one(queue)
    watcher.tick()
    pass_time(watcher, reaper.FORGET_S / 2)
    watcher.tick()  # takes its job back
    assert list(queue.look("default").workers) == ["w"]
    pass_time(watcher, reaper.FORGET_S)
    watcher.tick()
    assert queue.look("default").workers == {} and queue.recovery.slots("default", "w") == []
    assert server.client.keys("jq:{default}:processing:*") == []
    watcher.tick()
    assert watcher.beats == {}


def test_a_worker_that_left_is_not_remembered(queue, watcher):
    worker, _ = run_one(queue)
    watcher.tick()
    assert list(watcher.beats) == [("default", "w")]
    worker.end("released")
    assert queue.recovery.leave("default", "w", ["w-1"])
    watcher.tick()
    assert watcher.beats == {}
