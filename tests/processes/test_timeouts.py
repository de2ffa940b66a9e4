"""How long a job may run: leases, timeouts, handlers that hang; and what a handler hears of it."""

from __future__ import annotations

import random
import sys
import threading
import time
from collections import Counter
from types import SimpleNamespace

import pytest

from _jobqueue.job_types import JobType
from _jobqueue.records import Claimed
from _jobqueue.work.run import TimedOut
from _jobqueue.work.slot import Slot
from jobqueue import JobQueue
from tests.harness import eventually
from tests.processes.working import ends, keys_left, last_error, shift, watching
from worker import Loop

pytestmark = pytest.mark.usefixtures("server")


# ---------------------------------------------------------------------------------------------------- timeouts and leases


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


@pytest.mark.long(4)
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


def test_a_timeout_hits_the_handler_and_never_the_code_around_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Thousands of handlers that end at the very moment at which they are interrupted."""
    monkeypatch.setattr("_jobqueue.work.watch.HUNG_S", 60)  # on a busy machine this thread may not run for long

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


@pytest.mark.long(2)
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


# ------------------------------------------------------------------------------------------------------------ the context


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
