"""The worker as a real process: what handlers may do to it, and how it leaves."""

from __future__ import annotations

import itertools
import json
import math
import os
import random
import signal
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from _jobqueue.config import Config
from _jobqueue.job_types import JobType
from _jobqueue.logs import Log
from _jobqueue.records import AGAIN, BACKOFF, NEVER, Claimed, Settlement
from _jobqueue.store.leases import Conversation
from _jobqueue.work.attempts import Attempts
from _jobqueue.work.reports import Reports
from _jobqueue.work.run import Run, TimedOut
from _jobqueue.work.shift import Shift
from _jobqueue.work.slot import Slot
from _jobqueue.work.watch import Watch
from jobqueue import Job, JobQueue, NewJob, Policy, Retry, Unavailable
from tests.harness import Program, Server, System, eventually
from worker import Loop, Worker

pytestmark = pytest.mark.usefixtures("server")


@pytest.fixture
def odd(system: System) -> Callable[..., Program]:
    """Starts a worker with the handlers of tests/odd_handlers.py; waits until it is ready."""

    def start(*flags: str, **environment: str) -> Program:
        return system.worker("--handlers", "tests.odd_handlers", *flags, **{"BACKOFF_S": "0"} | environment)

    return start


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    return Gate(tmp_path / "gate")


class Gate:
    """What the handler ``hold`` waits for."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.payload = {"gate": str(path)}

    def open(self) -> None:
        self.path.touch()

    def starts(self) -> list[str]:
        """The attempts that started: id, attempt, process."""
        path = Path(f"{self.path}.starts")
        return path.read_text().splitlines() if path.exists() else []

    def held(self, n: int, within_s: float = 15.0) -> None:
        eventually(lambda: len(self.starts()), equals=n, within_s=within_s)


def ends(queue: JobQueue, job_id: str, status: str = "done", within_s: float = 20.0) -> Job:
    eventually(lambda: queue.get(job_id).status, equals=status, within_s=within_s)
    return queue.get(job_id)


def last_error(job: Job) -> tuple[str, str]:
    return job.errors[-1]["kind"], job.errors[-1]["message"]


def keys_left(server: Server) -> list[str]:
    """Keys of workers and slots: none when all workers have left properly."""
    prefix = "jq:{default}:"
    found = [key for part in ("processing:*", "worker:*") for key in server.client.scan_iter(f"{prefix}{part}")]
    return found + [key for key in (f"{prefix}workers", f"{prefix}slots") if server.client.exists(key)]


# ------------------------------------------------------------------------------------------------ timeouts and leases


def test_a_job_longer_than_its_lease_keeps_it_while_the_worker_lives(odd, system, queue, server, gate):
    system.reaper(PROCESSING_TIMEOUT_S="1")
    odd(PROCESSING_TIMEOUT_S="1")
    job = queue.submit("hold", gate.payload, timeout_s=60)
    gate.held(1)
    lease = lambda: server.client.zscore("jq:{default}:leases", job.id)  # noqa: E731
    first = lease()
    eventually(lease, equals=lambda end: end is None or end > first + 3000)
    gate.open()
    ended = ends(queue, job.id)
    assert (ended.attempts, ended.errors) == (1, [])


def test_a_reaper_with_a_shorter_lease_takes_nothing_from_a_healthy_worker(odd, system, queue, server, gate):
    system.reaper(PROCESSING_TIMEOUT_S="1")
    odd(PROCESSING_TIMEOUT_S="300")
    job = queue.submit("hold", gate.payload)
    gate.held(1)
    for _ in range(2):
        beat = server.client.zscore("jq:{default}:workers", *queue.look("default").workers)
        eventually(
            lambda last=beat: server.client.zscore("jq:{default}:workers", *queue.look("default").workers) > last
        )
    gate.open()
    ended = ends(queue, job.id)
    assert (ended.attempts, ended.errors) == (1, [])


@pytest.mark.parametrize(("lease_s", "beat_s"), [(1, 0.1), (10, 1.0), (300, 2.0)])
def test_a_worker_beats_ten_times_a_lease_and_at_least_every_two_seconds(lease_s: int, beat_s: float):
    ours = shift({}, lease_s * 1000)
    assert ours.beat_s == beat_s and ours.alive_ms == 2000 * beat_s


def test_a_loop_in_python_is_interrupted_at_its_timeout(odd, queue):
    worker = odd("--threads", "1")
    job = queue.submit("spin", timeout_s=0.3, max_attempts=1)
    kind, message = last_error(ends(queue, job.id, "failed"))
    assert (kind, message) == ("timeout", "stopped after 0.3 s, its timeout_s; submit it with a longer one")
    assert ends(queue, queue.submit("say", "still here").id).result == "still here"
    assert "does not yield" not in worker.log


def test_the_message_of_a_timeout_says_what_to_change(odd, queue):
    odd(PROCESSING_TIMEOUT_S="1")
    by_default, by_type = (queue.submit(name, max_attempts=1) for name in ("spin", "spin.briefly"))
    assert last_error(ends(queue, by_type.id, "failed"))[1] == (
        "stopped after 0.3 s, the timeout of the type spin.briefly; give the type a longer one"
    )
    assert last_error(ends(queue, by_default.id, "failed"))[1] == (
        "stopped after 1 s, the default PROCESSING_TIMEOUT_S; give the type a longer timeout"
    )


def shift(types: dict[str, JobType], lease_ms: int = 10_000) -> Shift:
    """What a worker's threads share, without a worker."""
    return Shift("w", Attempts(types, Policy(), 2**20), Reports(Log("test"), ["default"]), lease_ms)


def watching(ours: Shift) -> Watch:
    """A watch that starts, wakes and ends nobody."""
    return Watch(ours, lambda queue, ended: None, lambda: None, lambda code: None, spare=1)


def test_results_that_the_beat_has_not_delivered_yet_are_not_given_up_by_the_next_claim(queue: JobQueue):
    go_on = threading.Event()
    ours = shift(
        {
            "quick": JobType("quick", lambda payload, ctx: 1),
            "slow": JobType("slow", lambda payload, ctx: go_on.wait(5)),
        }
    )
    slot = Slot("default", queue.conversation("default", "w-1", 10_000))
    loop = Loop(slot, ours)
    loop.batch = 3
    jobs = [queue.submit(name) for name in ("quick", "slow", "quick")]
    turn = threading.Thread(target=loop.turn)
    turn.start()
    run = eventually(slot.running, equals=lambda run: run and run.job.type == "slow")
    # It overruns: what has ended and what has not begun is for the beat, of which there is none.
    watching(ours).look_at(slot, run.started + 1)
    go_on.set()
    turn.join()
    loop.turn()
    loop.turn()
    assert [(queue.get(job.id).status, queue.get(job.id).attempts) for job in jobs] == [("done", 1)] * 3
    slot.talk.close()


def test_a_timeout_hits_the_handler_and_never_the_code_around_it():
    """Thousands of handlers that end at the very moment at which they are interrupted."""

    def busy(payload: object, ctx: object) -> str:
        until = time.perf_counter() + random.uniform(0, 200e-6)
        while time.perf_counter() < until:
            pass
        return "result"

    ours = shift({"busy": JobType("busy", busy)})
    slot = Slot("default", SimpleNamespace(slot="w-1", seen=1))  # type: ignore[arg-type]
    watch, over = watching(ours), threading.Event()

    def look() -> None:
        while not over.is_set():
            watch.look_at(slot, time.monotonic())

    ends, astray = Counter[str](), 0
    watcher = threading.Thread(target=look)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    watcher.start()
    try:
        for n in range(200_000):
            if n >= 5000 and ends["timeout"] > 100:  # on a busy machine few are hit
                break
            try:
                slot.take([Claimed("id", "w-1:1", "busy", b"null", 1, None)])
                run = slot.start(lambda job: 100e-6, stopping=False)
                end = ours.attempts.attempt(run)
                slot.finish(run, end)
                ends[end.kind or end.outcome] += 1
                assert end.outcome == "failed" or end.fields == ["result", b'"result"']
            except TimedOut:
                astray += 1
    finally:
        over.set()
        watcher.join()
        sys.setswitchinterval(interval)
    assert astray == 0
    assert set(ends) == {"done", "timeout"} and ends["timeout"] > 100


def test_a_handler_blocked_in_c_loses_its_job_and_its_place_goes_to_a_new_slot(odd, queue, server, gate):
    worker = odd("--threads", "2")
    hung = queue.submit("sleep", 600, timeout_s=0.2, max_attempts=1)
    assert last_error(ends(queue, hung.id, "failed"))[0] == "timeout"
    jobs = [queue.submit("hold", gate.payload) for _ in range(3)]
    gate.held(2)
    assert queue.books("default").sizes["processing"] == 2
    gate.open()
    for job in jobs:
        ends(queue, job.id)
    worker.says("does not yield")
    assert worker.stop() == 0
    assert keys_left(server) == []


# Where it hangs, and how the attempt ends when it is stopped there; Python itself swallows what is raised in some of these.
HANGS = {
    "error": "timeout",
    "cause": "RuntimeError",
    "result": "timeout",
    "log": "timeout",
    "dropped with the result": "done",
    "dropped with the error": "RuntimeError",
}


@pytest.mark.parametrize("in_c", [False, True], ids=["in Python", "in C"])
@pytest.mark.parametrize("where", HANGS)
def test_what_hangs_after_the_handler_is_stopped_or_replaced_as_a_handler_is(odd, queue, where, in_c):
    worker = odd("--threads", "2")
    job = queue.submit("hang", [where, in_c])
    eventually(lambda: queue.get(job.id).status, equals=lambda status: status in ("done", "failed"))
    ended = queue.get(job.id)
    kind = last_error(ended)[0] if ended.errors else ended.status
    assert kind == ("timeout" if in_c else HANGS[where])
    for _ in range(4):
        assert ends(queue, queue.submit("say", "still here").id).result == "still here"
    if in_c:
        worker.says("does not yield")
    else:
        assert "does not yield" not in worker.log
    assert "went wrong" not in worker.log


def test_the_text_of_an_error_brings_no_code_of_the_handlers_along(odd, queue):
    odd("--threads", "1")
    assert last_error(ends(queue, queue.submit("hang", ["text", False]).id, "failed")) == ("Fail", "shown")


def test_slots_whose_handlers_end_too_late_are_dropped(odd, queue, server):
    odd("--threads", "2", PROCESSING_TIMEOUT_S="1")
    for _ in range(3):
        job = queue.submit("sleep", 0.8, timeout_s=0.1, max_attempts=1)
        assert last_error(ends(queue, job.id, "failed"))[0] == "timeout"
        eventually(lambda: server.client.hlen("jq:{default}:slots"), equals=2)


def test_a_hung_handler_that_ends_at_last_changes_nothing(odd, queue, gate):
    worker = odd("--threads", "2")
    job = queue.submit("spin.stubborn", gate.payload, timeout_s=0.2, max_attempts=1)
    ends(queue, job.id, "failed")
    gate.open()
    worker.says("a handler that hung has ended; its result is dropped")
    assert queue.get(job.id).status == "failed" and queue.get(job.id).result is None


def test_a_worker_with_too_many_hung_handlers_leaves_for_its_supervisor(odd, queue, server):
    worker = odd("--threads", "2")
    jobs = [queue.submit("sleep", 600, timeout_s=0.2, max_attempts=1) for _ in range(2)]
    assert worker.exits() == 1
    assert "too many handlers hang" in worker.log
    assert [queue.get(job.id).status for job in jobs] == ["failed", "failed"]
    assert keys_left(server) == []


# --------------------------------------------------------------------------------------------------------- the context


def test_progress_and_log_lines_show_while_the_job_runs(odd, system, gate):
    system.api()
    odd(PROCESSING_TIMEOUT_S="1")
    said = {"progress": 0.25, "note": "a quarter ½", "lines": ["first", "two\nlines"]}
    job_id = system.submit({**gate.payload, **said}, type="tell")
    eventually(lambda: system.job(job_id)["progress"], equals={"fraction": 0.25, "note": "a quarter ½"})
    job = system.job(job_id)
    assert (job["status"], job["log"]) == ("processing", ["first", "two lines"])
    gate.open()
    assert system.ends(job_id)["log"] == ["first", "two lines"]


def test_a_running_job_that_is_cancelled_stops_at_its_next_check(odd, queue, gate):
    odd(PROCESSING_TIMEOUT_S="1")
    job = queue.submit("hold.politely", gate.payload)
    gate.held(1)
    assert queue.cancel(job.id) == "asked"
    ended = ends(queue, job.id, "cancelled")
    assert (ended.attempts, ended.result) == (1, None)
    assert [(error["kind"], error["attempt"]) for error in ended.errors] == [("cancelled", 1)]


# -------------------------------------------------------------------------------------------------- how attempts fail


def test_whatever_a_handler_raises_fails_its_attempt_and_the_thread_lives(odd, queue):
    from tests.odd_handlers import EXCEPTIONS

    worker = odd("--threads", "1")
    jobs = {name: queue.submit("raise", name, max_attempts=1) for name in ("sys.exit", *EXCEPTIONS)}
    ended = {name: ends(queue, job.id, "failed") for name, job in jobs.items()}
    assert {name: job.attempts for name, job in ended.items()} == dict.fromkeys(jobs, 1)
    kinds = {name: job.errors[-1]["kind"] for name, job in ended.items()}
    named = [name for name in EXCEPTIONS if name not in ("MuteFail", "Surrogate", "RetrySoon", "RetryNever")]
    assert [kinds[name] for name in named] == named
    assert kinds["sys.exit"] == "SystemExit" and kinds["Surrogate"] == "ValueError"
    assert last_error(ended["Surrogate"])[1] == "ValueError: half ? of a pair\nand\0more"
    assert ended["Surrogate"].errors[-1]["traceback"].startswith("Traceback (most recent call last):")
    assert "dropped" not in kinds.values()
    assert "went wrong" not in worker.log and "ended unasked" not in worker.log


def test_a_result_that_cannot_be_stored_fails_the_attempt_and_says_why(odd, queue):
    from tests.odd_handlers import RESULTS

    worker = odd("--threads", "1", MAX_RESULT_BYTES="100000")
    jobs = {name: queue.submit("return", name, max_attempts=3) for name in RESULTS}  # no further attempt would help
    errors = {name: last_error(ends(queue, job.id, "failed")) for name, job in jobs.items()}
    assert {name: kind for name, (kind, _) in errors.items()} == dict.fromkeys(RESULTS, "bad_result")
    for name, reason in {
        "bytes": "bytes is not JSON serializable",
        "set": "set is not JSON serializable",
        "NaN": "not JSON",
        "object": "object is not JSON serializable",
        "large": "are more than 100000",
        "endless": "Circular reference",
        "deep": "nested deeper than 64 levels",
        "surrogate": "half of a surrogate pair",
        "key twice": "appears twice",
        "coroutine": "it is a coroutine; run it in the handler, with asyncio.run(...)",
    }.items():
        assert reason in errors[name][1]
    assert {queue.get(job.id).attempts for job in jobs.values()} == {1}
    assert "went wrong" not in worker.log


def test_fail_ends_a_job_although_attempts_are_left(odd, queue):
    odd()
    job = ends(queue, queue.submit("fail.for.good").id, "failed")
    assert (job.attempts, job.max_attempts) == (1, 5)
    assert last_error(job) == ("Fail", "no use in trying again")


def test_retry_chooses_its_delay(odd, queue, system):
    system.reaper()
    odd()
    soon, later = queue.submit("retry.after", 0.2), queue.submit("retry.after", 1800)
    assert ends(queue, soon.id).result == "now"
    waiting = ends(queue, later.id, "scheduled")
    assert waiting.run_at_ms and waiting.started_ms
    assert 1_799_000 < waiting.run_at_ms - waiting.started_ms < 1_830_000


def attempt(function: Callable[..., Any]) -> Settlement:
    """One attempt at a job of a handler, in this process."""
    ours = shift({"it": JobType("it", function)})
    end = ours.attempts.attempt(Run(Claimed("id", "w-1:1", "it", b"1", 1, None), 10))
    assert end
    return end


@pytest.mark.parametrize(
    ("after", "kind", "message"),
    [
        ("30", "TypeError", "Retry(after='30'): after must be a number of seconds"),
        (timedelta(seconds=30), "TypeError", "Retry(after=datetime.timedelta(seconds=30)): after must be a number"),
        (True, "TypeError", "Retry(after=True): after must be a number of seconds"),
        (math.nan, "ValueError", "Retry(after=nan): after must be at most 31536000 seconds"),
        (1e30, "ValueError", "Retry(after=1e+30): after must be at most 31536000 seconds"),
        (math.inf, "ValueError", "Retry(after=inf): after must be at most 31536000 seconds"),
        (10**400, "ValueError", "after must be at most 31536000 seconds"),
    ],
)
@pytest.mark.parametrize("set_later", [False, True])
def test_a_retry_after_what_is_no_time_is_refused_in_its_own_words(after, kind, message, set_later):
    def handler(payload: object, ctx: object) -> None:
        if not set_later:
            raise Retry(after=after)
        retry = Retry()
        retry.after = after
        raise retry

    end = attempt(handler)
    assert (end.kind, end.delay_ms) == (kind, BACKOFF)
    assert end.message.startswith(f"{kind}: Retry(after=") and message in end.message


@pytest.mark.parametrize(
    ("after", "delay_ms"),
    [(None, AGAIN), (0, 0), (0.0015, 2), (-5, 0), (-1e30, 0), (30, 30_000), (31_536_000, 31_536_000_000)],
)
def test_a_retry_waits_as_long_as_it_says(after, delay_ms):
    def handler(payload: object, ctx: object) -> None:
        raise Retry(after=after)

    assert (attempt(handler).kind, attempt(handler).delay_ms) == ("Retry", delay_ms)


def test_a_handler_that_cannot_be_called_is_not_tried_again():
    def fails_inside(payload: Any, ctx: object) -> Any:
        return payload + "1"

    ends = [attempt(function) for function in (lambda payload: payload, fails_inside)]
    assert [(end.kind, end.delay_ms) for end in ends] == [("TypeError", NEVER), ("TypeError", BACKOFF)]


def test_a_type_without_a_handler_waits_and_what_is_behind_it_runs(odd, queue):
    odd()
    strange = queue.submit("image.process", priority=9)
    assert ends(queue, queue.submit("say", "hello").id).result == "hello"
    waits = queue.get(strange.id)
    assert (waits.status, waits.attempts, waits.errors, waits.position) == ("queued", 0, [], 1)


def test_a_worker_that_comes_later_takes_what_was_parked(odd, queue, system):
    odd()
    strange = queue.submit("noop", priority=9)
    assert ends(queue, queue.submit("say", "hello").id).result == "hello"
    system.worker()
    assert ends(queue, strange.id).attempts == 1


def test_the_delay_between_attempts_doubles(odd, queue, system):
    system.reaper()
    odd()
    job = ends(queue, queue.submit("fail", backoff_s=0.2, max_attempts=4).id, "failed")
    assert [error["message"].partition("\n")[0] for error in job.errors] == [
        f"RuntimeError: attempt {n} failed" for n in (1, 2, 3, 4)
    ]
    at = [datetime.fromisoformat(error["at"].replace("Z", "+00:00")).timestamp() for error in job.errors]
    gaps = [later - earlier for earlier, later in itertools.pairwise(at)]
    for gap, delay in zip(gaps, (0.2, 0.4, 0.8), strict=True):
        assert delay - 0.01 <= gap < delay + 3


# ------------------------------------------------------------------------------------- what handlers do to the process


def test_a_fork_that_returns_from_the_child_counts_once(odd, queue):
    worker = odd("--threads", "2")
    jobs = [queue.submit("fork", timeout_s=20, max_attempts=1) for _ in range(10)]
    assert [ends(queue, job.id).result for job in jobs] == [worker.pid] * 10
    totals = queue.books("default").totals
    assert totals["done"] == 10 and "refused" not in totals
    assert children(worker.pid) == []


def test_a_pool_of_processes_that_a_handler_leaves_ends_at_once(odd, queue):
    odd("--threads", "2")
    left = ends(queue, queue.submit("leave.pool").id).result
    assert left["heard"] == ["ends", "interrupts"]
    assert left["left_after_s"] < 1


def test_children_of_a_handler_use_no_connection_of_their_parent(odd, queue, system):
    odd("--threads", "2")
    assert ends(queue, queue.submit("submit.in.children").id).result is True
    eventually(lambda: queue.books("default").sizes["queued"], equals=0)
    system.check()


def children(pid: int) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            if int(path.read_text().rpartition(")")[2].split()[1]) == pid:
                found.append(int(path.parent.name))
        except OSError:
            pass
    return found


def test_a_handler_that_closes_the_workers_files_is_survived(odd, queue, system):
    system.reaper(PROCESSING_TIMEOUT_S="2")
    odd("--threads", "4", PROCESSING_TIMEOUT_S="2")
    jobs = [queue.submit("close.files")] + [queue.submit("say", n, max_attempts=5) for n in range(50)]
    for job in jobs:
        ends(queue, job.id, within_s=60)
    system.check()


def test_a_handler_that_meddles_with_the_process_does_not_stop_it_from_draining(odd, queue):
    worker = odd("--threads", "2")
    assert "main thread" in ends(queue, queue.submit("meddle").id).result
    assert ends(queue, queue.submit("say", 1).id).result == 1
    assert worker.stop() == 0


def test_a_poison_job_that_kills_its_worker_ends_in_the_dead_letters(queue, system):
    flags = ["--handlers", "tests.odd_handlers", "--threads", "2"]
    system.reaper(PROCESSING_TIMEOUT_S="1")
    pill = queue.submit("die", 9, max_attempts=2)
    for _ in range(2):  # it may die before its first line is written
        worker = system.start("worker.py", *flags, PROCESSING_TIMEOUT_S="1", BACKOFF_S="0")
        assert worker.exits() == 9
        eventually(lambda: queue.get(pill.id).status, equals=lambda status: status in ("queued", "failed"))
    assert [error["kind"] for error in ends(queue, pill.id, "failed").errors] == ["lease_expired"] * 2


# ----------------------------------------------------------------------------------------------------------- leaving


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_idle_worker_leaves_at_once(odd, queue, server, number):
    worker = odd()
    ends(queue, queue.submit("noop").id)
    began = time.monotonic()
    worker.signal(number)
    assert worker.exits() == 0
    assert time.monotonic() - began < 1.5  # a thread in BLMOVE would take two seconds by itself
    assert keys_left(server) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_worker_finishes_what_it_runs_before_it_leaves(odd, queue, gate, number):
    worker = odd("--threads", "1")
    running = queue.submit("hold", gate.payload)
    gate.held(1)
    waiting = queue.submit("noop")
    worker.signal(number)
    worker.says("draining")
    gate.open()
    assert worker.exits() == 0
    assert (ends(queue, running.id).attempts, queue.get(waiting.id).status, queue.get(waiting.id).attempts) == (
        1,
        "queued",
        0,
    )


def test_a_handler_that_outlasts_the_drain_is_an_interrupted_attempt(odd, queue, server):
    worker = odd("--threads", "2", "--drain", "1")
    job = queue.submit("sleep", 600, timeout_s=900)
    eventually(lambda: any(info["running"] for info in queue.look("default").workers.values()))
    began = time.monotonic()
    assert worker.stop() == 0
    assert time.monotonic() - began < 6
    back = queue.get(job.id)
    assert (back.status, back.attempts) == ("queued", 1)
    assert last_error(back)[0] == "interrupted"
    assert keys_left(server) == []


def test_a_second_signal_hurries(odd, queue):
    worker = odd("--threads", "2", "--drain", "600")
    job = queue.submit("sleep", 600, timeout_s=900)
    eventually(lambda: any(info["running"] for info in queue.look("default").workers.values()))  # as its beat says
    worker.signal(signal.SIGTERM)
    worker.says("draining")
    worker.signal(signal.SIGINT)
    assert worker.exits(8) == 0
    assert last_error(queue.get(job.id))[0] == "interrupted"


class Told:
    """Stands for a process's signals."""

    def __init__(self) -> None:
        self.event = threading.Event()
        self.stop, self.is_set, self.wait = self.event.set, self.event.is_set, self.event.wait

    @property
    def count(self) -> int:
        return int(self.is_set())


@pytest.mark.parametrize("call", ["exchange", "wait_and_claim"])
def test_jobs_that_arrive_after_the_drains_deadline_go_back_unharmed(queue: JobQueue, call: str):
    submitted, arrived, go_on = threading.Event(), threading.Event(), threading.Event()

    def conversation(*slot: Any) -> Conversation:
        talk = JobQueue.conversation(queue, *slot)
        claim = getattr(talk, call)

        def slowly(*args: Any, **more: Any) -> Any:
            assert submitted.wait(10)
            answer = claim(*args, **more)
            arrived.set()
            assert go_on.wait(30)
            return answer

        setattr(talk, call, slowly)
        return talk

    queue.conversation = conversation  # type: ignore[method-assign]
    signals, ours = Told(), shift({"never": JobType("never", lambda payload, ctx: None)})
    worker = Worker(Config(worker_threads=1, drain_s=0.0), queue, ours, signals)  # type: ignore[arg-type]
    main = threading.Thread(target=worker.run)
    main.start()
    eventually(lambda: len(ours.slots), equals=1)
    eventually(lambda: ours.slots[0].idle, equals=call == "wait_and_claim")
    job = queue.submit("never")
    submitted.set()
    assert arrived.wait(10) and queue.get(job.id).status == "processing"
    signals.stop()
    main.join(20)
    assert not main.is_alive()
    for _ in range(2):
        back = queue.get(job.id)
        assert (back.status, back.attempts, back.errors) == ("queued", 0, [])
        go_on.set()
        worker.pool.shutdown()


def test_a_signal_that_the_kernel_gives_to_another_thread_is_heard(odd):
    worker = odd("--threads", "4")
    others = eventually(
        lambda: [int(t) for t in os.listdir(f"/proc/{worker.pid}/task") if int(t) != worker.pid], equals=bool
    )
    os.kill(others[0], signal.SIGTERM)  # for the process, and this thread is the first that may take it
    assert worker.exits() == 0


@pytest.mark.long(18)
def test_workers_that_come_and_go_leave_nothing_behind(odd, queue, server, system):
    """Each wave is told to leave while submits ring the bell that its threads wait for."""
    submitting, stop = list[str](), threading.Event()

    def submit() -> None:
        while not stop.wait(0.002):
            submitting.append(queue.submit("noop").id)

    submitter = threading.Thread(target=submit)
    submitter.start()
    try:
        for _ in range(7):
            wave = [odd("--threads", "4") for _ in range(3)]
            for worker in wave:
                worker.signal(signal.SIGTERM)
            assert [worker.exits() for worker in wave] == [0, 0, 0]
    finally:
        stop.set()
        submitter.join()
    assert keys_left(server) == []
    assert odd("--burst").exits(30) == 0
    assert {(queue.get(job_id).status, queue.get(job_id).attempts) for job_id in submitting} == {("done", 1)}
    system.check()


# --------------------------------------------------------------------------------------------------------- batches


def test_neighbours_of_a_slow_job_in_a_batch_are_handed_back(odd, queue, gate):
    worker = odd("--threads", "2")
    for _ in range(40):  # the threads learn that these take no time, and claim many at once
        queue.submit_many([NewJob("noop")] * 50)
    eventually(lambda: queue.books("default").sizes["queued"], equals=0)
    mixed = queue.submit_many([NewJob("noop")] * 30 + [NewJob("hold", gate.payload)] + [NewJob("noop")] * 30)
    ids = [submitted.job.id for submitted in mixed if submitted.job]
    gate.held(1)
    others = [ends(queue, job_id, within_s=10) for job_id in ids[:30] + ids[31:]]
    assert {job.attempts for job in others} == {1}
    slow = queue.get(ids[30])
    assert slow.status == "processing"
    delay_ms = max(job.finished_ms for job in others) - slow.started_ms
    assert delay_ms < 1000, "on a machine with nothing else to do it is less than 100"
    gate.open()
    assert ends(queue, ids[30]).attempts == 1
    assert "refused" not in worker.log


def test_slow_jobs_behind_light_ones_leave_the_other_threads_to_the_rest(odd, queue, gate):
    """The first two were claimed in batches of light jobs; whatever waits behind them still runs."""
    odd("--threads", "4")
    for _ in range(40):
        queue.submit_many([NewJob("noop")] * 50)
    slow = [queue.submit("hold", gate.payload) for _ in range(2)]
    more = [queue.submit("noop") for _ in range(20)]
    gate.held(2)
    for job in more:
        ends(queue, job.id, within_s=10)
    gate.open()
    for job in slow:
        assert ends(queue, job.id).attempts == 1


# ------------------------------------------------------------------------------------------------- the command line


def test_a_worker_can_be_kept_on_one_core(odd, queue):
    worker = odd(ONE_CORE="1")
    cores = {
        os.sched_getaffinity(int(task)) == os.sched_getaffinity(worker.pid)
        for task in os.listdir(f"/proc/{worker.pid}/task")
    }
    assert cores == {True} and len(os.sched_getaffinity(worker.pid)) == 1


def test_burst_ends_when_the_queue_is_empty(system, queue, odd):
    assert odd("--burst").exits() == 0
    jobs = [queue.submit("say", n) for n in range(100)]
    assert odd("--burst").exits() == 0
    assert [queue.get(job.id).result for job in jobs] == list(range(100))


def test_burst_ends_when_nothing_of_its_types_is_queued_and_says_what_stays(queue, odd):
    strange = queue.submit_many([NewJob("strange", priority=9)] * 600)
    ours = queue.submit("say", 1)
    worker = odd("--burst")
    assert worker.exits() == 0
    assert queue.get(ours.id).status == "done"
    assert queue.get(strange[0].job.id).attempts == 0
    assert "others stay queued" in worker.log and "stay=600" in worker.log


def test_idle_workers_beside_jobs_that_nobody_handles_ask_as_seldom_as_without_them(queue, odd, server):
    """Eight threads look once each BLOCK_S, and their beat says little more."""
    queue.submit_many([NewJob("strange")] * 1000)
    odd("--threads", "8")
    eventually(lambda: server.client.zcard("jq:{default}:held"), equals=1000)
    assert queue.get(queue.submit("say").id).type == "say"

    def scripts() -> int:
        return int(server.client.info("commandstats")["cmdstat_evalsha"]["calls"])

    eventually(lambda: queue.books("default").sizes["done"], equals=1)
    began, before = time.monotonic(), scripts()
    eventually(lambda: time.monotonic() - began > 4)
    assert (scripts() - before) / (time.monotonic() - began) < 8 / 2 + 8


def test_a_handler_says_which_queue_its_jobs_go_to(queue, system, tmp_path):
    (tmp_path / "video.py").write_text(
        "from jobqueue import handler\n@handler('video', queue='cpu')\ndef video(payload, ctx):\n    return 'cut'\n"
    )
    worker = system.start("worker.py", "--handlers", "video", "--queues", "cpu", cwd=tmp_path)
    worker.says("ready")
    eventually(lambda: system.server.client.hget("jq:types", "video"), equals="cpu")
    eventually(lambda: JobQueue(system.url).submit("video").queue, equals="cpu")
    job = JobQueue(system.url).submit("video")
    assert (job.queue, ends(queue, job.id).result) == ("cpu", "cut")
    assert "does not serve" not in worker.log
    beside = system.start("worker.py", "--handlers", "video", cwd=tmp_path)
    beside.says("go to queues that this worker does not serve (--queues) types={'video': 'cpu'}")


def test_burst_empties_every_queue_that_it_serves(queue, odd):
    jobs = [queue.submit("say", n, queue=name) for n in range(10) for name in ("default", "email", "report")]
    assert odd("--burst", "--queues", "default,email,report").exits() == 0
    assert {queue.get(job.id).status for job in jobs} == {"done"}


NEWCOMER = """
from jobqueue import Fail, Retry, handler

@handler("greet")
def greet(payload, ctx):
    if not payload:
        raise Fail("nobody to greet")
    if ctx.attempt == 1:
        raise Retry(after=0)
    return f"VERSION, {payload}"
"""


def test_a_newcomers_own_module_in_another_folder(system, queue, tmp_path):
    (tmp_path / "my_jobs.py").write_text(NEWCOMER.replace("VERSION", "hello"))
    system.reaper()
    worker = system.start("worker.py", "--handlers", "my_jobs", cwd=tmp_path, PYTHONPATH="")
    worker.says("types=['greet']")
    assert ends(queue, queue.submit("greet", "world").id).result == "hello, world"
    assert last_error(ends(queue, queue.submit("greet", "").id, "failed")) == ("Fail", "nobody to greet")


BROKEN = {
    "missing": (None, "No module named 'mine'"),
    "a dependency is missing": ("import not_installed", "No module named 'not_installed'"),
    "empty": ("", "mine has no handlers"),
    "two for one type": (
        "from jobqueue import handler\n@handler('a')\ndef f(p, c): ...\n@handler('a')\ndef g(p, c): ...",
        "two handlers for the type 'a'",
    ),
    "not a name": ("from jobqueue import handler\n@handler('a b')\ndef f(p, c): ...", "job type 'a b' must match"),
    "syntax": ("def f(:\n", "mine.py, line 1"),
    "raises": ("x = 1\nundefined_name\n", "NameError: name 'undefined_name' is not defined"),
}


@pytest.mark.parametrize("flags", [[], ["--processes", "2"]], ids=["one", "two processes"])
@pytest.mark.parametrize("case", BROKEN)
def test_handlers_that_cannot_be_loaded_are_one_clear_line(system, tmp_path, case, flags):
    text, reason = BROKEN[case]
    if text is not None:
        (tmp_path / "mine.py").write_text(text)
    worker = system.start("worker.py", "--handlers", "mine", *flags, cwd=tmp_path)
    assert worker.exits() == 2
    said = set(worker.log.splitlines())  # two processes say the same
    assert len(said) == 1
    line = said.pop()
    assert line.startswith("worker.py: --handlers mine: ") and reason in line


HANDLER = "from jobqueue import handler\n{more}\n@handler('{name}')\ndef f(payload, ctx): return {result}\n"


def test_handlers_come_from_modules_and_files_of_any_place(system, queue, tmp_path):
    here, there = tmp_path / "here", tmp_path / "there"
    for folder in (here / "jobs", there / "package"):
        folder.mkdir(parents=True)
    files = {
        here / "plain.py": ("plain", "", "__name__"),
        here / "json.py": ("named.like.a.library", "", "__name__"),
        here / "jobs/mail.py": ("in.a.package", "from . import texts", "texts.HELLO"),
        there / "plain.py": ("elsewhere", "import beside", "beside.HELLO"),
        there / "package/__init__.py": ("a.package", "from package.part import HELLO", "HELLO"),
    }
    for path, (name, more, result) in files.items():
        path.write_text(HANDLER.format(name=name, more=more, result=result))
    for path, text in ((here / "jobs/texts.py", 1), (there / "beside.py", 2), (there / "package/part.py", 3)):
        path.write_text(f"HELLO = {text}")
    names = f"plain, ./json.py,jobs/mail.py,{there}/plain.py,{there}/package"
    system.worker("--handlers", names, cwd=here)
    results = {name: ends(queue, queue.submit(name).id).result for name, _, _ in files.values()}
    assert results == {
        "plain": "plain",
        "named.like.a.library": "json_",
        "in.a.package": 1,
        "elsewhere": 2,
        "a.package": 3,
    }


def test_two_processes_and_a_killed_one_is_replaced(system, queue, server):
    parent = system.start("worker.py", "--processes", "2", "--threads", "2")
    eventually(lambda: len(queue.look("default").workers), equals=2, within_s=20)
    first = {worker["pid"] for worker in queue.look("default").workers.values()}
    killed = min(first)
    os.kill(killed, signal.SIGKILL)
    parent.says("a process ended; starting another")
    pids = lambda: {worker["pid"] for worker in queue.look("default").workers.values()}  # noqa: E731
    eventually(lambda: len(pids() - {killed}), equals=2, within_s=20)
    ends(queue, queue.submit("echo").id)
    assert parent.stop() == 0
    eventually(lambda: pids() <= {killed})


def test_children_drain_when_their_parent_is_killed(system, queue, server):
    parent = system.start("worker.py", "--processes", "2", "--threads", "1")
    eventually(lambda: len(queue.look("default").workers), equals=2, within_s=20)
    parent.kill()
    eventually(lambda: keys_left(server), equals=[])


def test_reload_runs_the_new_code_when_a_file_changes(system, queue, tmp_path):
    folder = tmp_path / ".hidden" / "project"
    folder.mkdir(parents=True)
    code = NEWCOMER.replace("ctx.attempt == 1", "False")
    (folder / "my_jobs.py").write_text(code.replace("VERSION", "old"))
    worker = system.start("worker.py", "--handlers", "my_jobs", "--reload", "--threads", "2", cwd=folder)
    assert ends(queue, queue.submit("greet", "world").id).result == "old, world"
    (folder / "my_jobs.py").write_text(code.replace("VERSION", "new"))
    worker.says("a file has changed: restarting")
    eventually(
        lambda: ends(queue, queue.submit("greet", "world").id).result,
        equals="new, world",
        within_s=20,
    )
    assert worker.stop() == 0


def test_reload_waits_for_the_next_change_after_a_mistake(system, queue, tmp_path):
    code = NEWCOMER.replace("ctx.attempt == 1", "False").replace("VERSION", "good")
    (tmp_path / "my_jobs.py").write_text("def broken(:")
    worker = system.start("worker.py", "--handlers", "my_jobs", "--reload", "--threads", "2", cwd=tmp_path)
    worker.says("--handlers my_jobs")
    eventually(lambda: children(worker.pid), equals=[])  # the parent has seen that it ended, and starts no other
    (tmp_path / "my_jobs.py").write_text(code)
    assert ends(queue, queue.submit("greet", "world").id).result == "good, world"
    assert worker.log.count("worker.py: --handlers") == 1
    assert worker.stop() == 0


# --------------------------------------------------------------------------------------------------- Redis goes away


def test_a_worker_waits_for_redis_at_its_start_and_says_so_once(own_system):
    own_system.server.kill()
    worker = own_system.start("worker.py")
    worker.says("waiting for Redis")
    with socket.create_server(("127.0.0.1", own_system.server.port)) as door:
        for _ in range(3):
            door.accept()[0].close()
    own_system.server.start()
    worker.says("ready")
    assert worker.log.count("waiting for Redis") == 1 and len(worker.log.splitlines()) == 3


def test_a_worker_that_waits_for_redis_leaves_when_told(own_system):
    own_system.server.kill()
    worker = own_system.start("worker.py")
    worker.says("waiting for Redis")
    assert worker.stop(5) == 0


def test_an_outage_of_redis_is_logged_when_it_begins_and_when_it_ends(own_system, gate):
    queue = JobQueue(own_system.server.url)
    worker = own_system.worker("--handlers", "tests.odd_handlers")
    jobs = [queue.submit("hold", gate.payload) for _ in range(4)]  # of eight threads: some run, some wait
    gate.held(4)
    own_system.server.kill()
    worker.says("no work until Redis is back")
    own_system.server.start()
    worker.says("Redis is back")
    beats = queue.look("default").workers
    eventually(
        lambda: queue.look("default").workers != beats
    )  # each thread finds its old connection broken in its own time
    gate.open()
    for one in jobs:
        assert ends(queue, one.id).attempts == 1
    for _ in range(16):
        ends(queue, queue.submit("noop").id)
    assert worker.log.count("no work until Redis is back") == worker.log.count("Redis is back after_s") == 1


def test_a_result_is_kept_while_redis_is_away(own_system, gate):
    queue = JobQueue(own_system.server.url)
    worker = own_system.worker("--handlers", "tests.odd_handlers")
    running = queue.submit("hold", gate.payload)
    gate.held(1)
    own_system.server.kill()
    worker.says("no work until Redis is back")
    gate.open()
    worker.says("done")
    own_system.server.start()
    ended = ends(queue, running.id)
    assert (ended.result, ended.attempts) == (worker.pid, 1)


def test_an_idle_worker_leaves_during_an_outage_without_waiting_for_its_end(own_system):
    worker = own_system.worker()
    own_system.server.kill()
    worker.says("no work until Redis is back")
    worker.signal(signal.SIGTERM)
    assert worker.exits(within_s=25) == 0


def test_a_worker_that_leaves_during_an_outage_still_delivers_its_result(own_system, gate):
    queue = JobQueue(own_system.server.url)
    worker = own_system.worker("--handlers", "tests.odd_handlers", "--drain", "1")
    running = queue.submit("hold", gate.payload)
    gate.held(1)
    own_system.server.kill()
    gate.open()
    worker.says("done")
    worker.signal(signal.SIGTERM)
    worker.says("the drain is over")
    own_system.server.start()
    assert worker.exits() == 0
    assert (queue.get(running.id).status, queue.get(running.id).attempts) == ("done", 1)


def test_a_full_redis_still_runs_what_waits_and_nobody_calls_it_an_outage(own_system, gate):
    queue, client = JobQueue(own_system.server.url), own_system.server.client
    own_system.reaper()
    worker = own_system.worker("--handlers", "tests.odd_handlers", "--threads", "4")
    held = [queue.submit("hold", gate.payload) for _ in range(2)]
    gate.held(2)
    waiting = [queue.submit("say", n, delay_s=1.5) for n in range(20)]
    client.config_set("maxmemory", "100kb")
    with pytest.raises(Unavailable):
        queue.submit("say", "refused")
    gate.open()
    for job in held + waiting:
        assert ends(queue, job.id).attempts == 1
    assert "no work until Redis is back" not in worker.log
    assert worker.stop() == 0


def test_a_line_that_a_handler_logs_names_its_job_and_keeps_what_is_extra(odd, queue):
    worker = odd(LOG_FORMAT="json")
    job = queue.submit("log.line", 42)
    ends(queue, job.id)
    worker.says("a line of a handler")
    [line] = [json.loads(line) for line in worker.log.splitlines() if "a line of a handler" in line]
    assert (line["job"], line["type"], line["attempt"], line["order"]) == (job.id, "log.line", 1, 42)
