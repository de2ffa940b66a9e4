"""The worker as a real process: what handlers may do to it, and how they run side by side."""

from __future__ import annotations

import pytest

from jobqueue import NewJob
from tests import guard
from tests.harness import eventually
from tests.processes.working import ends

pytestmark = pytest.mark.usefixtures("server")


# ---------------------------------------------------------------------------------------- what handlers do to the process


def test_a_fork_that_returns_from_the_child_counts_once(odd, queue):
    worker = odd("--threads", "2")
    jobs = [queue.submit("fork", timeout_s=20, max_attempts=1) for _ in range(10)]
    assert [ends(queue, job.id).result for job in jobs] == [worker.pid] * 10
    totals = queue.books("default").totals
    assert totals["done"] == 10 and "refused" not in totals
    assert guard.children(worker.pid) == []


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


# ---------------------------------------------------------------------------------------------------------------- batches


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
