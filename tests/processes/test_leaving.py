"""How a worker leaves: drained, hurried, and in any number."""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import Any

import pytest

from _jobqueue.config import Config
from _jobqueue.job_types import JobType
from _jobqueue.store.leases import Conversation
from jobqueue import JobQueue
from tests.harness import eventually
from tests.processes.working import ends, keys_left, last_error, shift
from worker import Worker

pytestmark = pytest.mark.usefixtures("server")


# ---------------------------------------------------------------------------------------------------------------- leaving


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
