"""A worker process: N threads that claim, run and finish jobs.

    thread      owns                                        stopped by
    main        start, drain, exit                          SIGTERM or SIGINT; the second one hurries it
    slot (N)    its conversation with Redis, its batch      `stopping`, after the job it runs
    watch       timeouts, overruns, hung slots, liveness    `closed`
    beat        the control link: leases, hand-backs        `closed`

What two threads touch of a slot is guarded by the slot's lock (`_jobqueue/work/slot.py`). A slot settles what it ran and
claims the next in one round trip. When there is nothing it waits in BLMOVE, with a claim behind it that Redis runs as soon
as the bell rings. A lost answer is asked for again under the same token, so an outage of Redis delays a result but never
doubles it.
"""

from __future__ import annotations

import argparse
import itertools
import os
import random
import secrets
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from _jobqueue import hooks, liveness
from _jobqueue.config import Config
from _jobqueue.loading import load_handlers
from _jobqueue.logs import Log, announce, start_logging
from _jobqueue.processes import MISTAKE, Parent, Signals, end, keep_to_one_core
from _jobqueue.records import DELIVERY, Settlement
from _jobqueue.spans import with_spans
from _jobqueue.webhooks.call import Caller
from _jobqueue.work.attempts import Attempts
from _jobqueue.work.beat import Beat
from _jobqueue.work.deliveries import Deliveries, Turns
from _jobqueue.work.event_loop import EventLoop
from _jobqueue.work.family import Family
from _jobqueue.work.reports import Reports
from _jobqueue.work.shift import Shift
from _jobqueue.work.slot import Slot
from _jobqueue.work.watch import Watch
from jobqueue import JobQueue, TooNew, TooOld, Unavailable

BATCH_S = 0.005  # a batch is expected to last this long
MAX_BATCH = 64
SWITCH_S = 0.001  # watch and beat wait so long for a handler that computes; with Python's 5 ms a hand-back took 140 ms
SETTLE_S = 3.0  # how long an exiting worker tries to reach Redis
END_S = 5.0  # and how long after its drain it is gone, whatever hangs
BURST_LOOK_S = 0.02


class Loop:
    """What the thread of a slot does, from its first claim to the worker's end."""

    def __init__(self, slot: Slot, shift: Shift) -> None:
        self.slot, self.shift = slot, shift
        self.batch = 1

    def run(self) -> None:
        try:
            while self.slot.goes_on(self.shift.stopping.is_set()):
                try:
                    self.turn()
                except Unavailable:  # while it waited; the next exchange tells whether this is an outage
                    self.shift.hurry.wait(_jitter(0.2))
                except Exception:
                    self.shift.reports.log.failure("a slot went wrong and goes on", slot=self.slot.id)
                    self.slot.talk.close()  # it may hold an answer to something else
                    self.shift.hurry.wait(_jitter(1.0))
        finally:
            if self.shift.turns:
                self.shift.turns.give_back(self.slot)
            self.slot.talk.close()

    def turn(self) -> None:
        """Settle what has ended and claim; when there is nothing, wait for the bell; run what has come."""
        turns = self.shift.turns
        if turns:
            turns.take(self.slot)
        self.slot.idle = False  # what this exchange brings counts for --burst before it is here
        if not self._exchange() and not self.slot.talk.more and not self.shift.stopping.is_set():
            self.slot.idle = True
            self._wait_in_blmove()
            self.slot.idle = False
        if turns and not self.slot.delivers():
            turns.give_back(self.slot)
        self._run_batch()

    def _exchange(self) -> bool:
        """Until Redis answers, or the worker must leave. Returns whether it brought jobs."""
        shift, slot = self.shift, self.slot
        ended = slot.unsettled()
        delay, failures = 0.05, 0
        while True:
            slot.turned = time.monotonic()
            want = 0 if shift.stopping.is_set() else self.batch
            try:
                accepted, jobs = slot.talk.exchange(ended, want, again=failures > 0)
                break
            except Unavailable as error:
                failures += 1
                shift.reports.outages[slot.queue].begin(error, failures)
                if shift.hurry.wait(_jitter(delay)) or (not ended and shift.stopping_for_s() > SETTLE_S):
                    return False
                delay = min(delay * 2, 2.0)
            except Exception:
                slot.forget_ended()  # it may be the cause
                raise
        slot.settled(ended)
        shift.reports.outages[slot.queue].end()
        shift.reports.refused(ended, accepted)
        return slot.take(jobs)

    def _wait_in_blmove(self) -> None:
        """For the bell, and take what it brings. With --burst nobody may be given a job while counted as idle."""
        want = 0 if self.shift.burst else self.batch
        self.slot.take(self.slot.talk.wait_and_claim(want, self.shift.alive_ms))

    def _run_batch(self) -> None:
        """Run jobs one after the other, until one overruns and the watch has given the rest back."""
        attempts, stopping = self.shift.attempts, self.shift.stopping
        attempt = with_spans(attempts.attempt, self.slot.queue)
        began, ran = time.monotonic(), 0
        while run := self.slot.start(attempts.timeout_s, stopping.is_set()):
            end = attempt(run)
            ran += 1
            if not self.slot.finish(run, end):
                self.shift.reports.log("a handler that hung has ended; its result is dropped", job=run.job.id)
                return
            self.shift.reports.attempt(run, end)
        if ran:
            mean_s = (time.monotonic() - began) / ran
            self.batch = max(1, min(self.batch * 2, MAX_BATCH, int(BATCH_S / max(mean_s, 1e-6))))


def _jitter(seconds: float) -> float:
    return seconds * random.uniform(0.5, 1.0)


class Worker:
    """Starts the threads and takes them down in order."""

    def __init__(self, config: Config, jobs: JobQueue, shift: Shift, signals: Signals) -> None:
        self.jobs, self.shift, self.signals, self.drain_s = jobs, shift, signals, config.drain_s
        self.log = shift.reports.log
        self.threads = config.shares  # of each queue
        count = sum(self.threads.values())
        # As many to spare, for the slots that replace those whose handlers hang.
        self.pool = ThreadPoolExecutor(2 * count, thread_name_prefix="slot")
        self.beat = Beat(shift, jobs, self.threads, os.getpid())
        self.watch = Watch(shift, self.start_slot, self.beat.wake, self.end, spare=count)
        self.exit_code = 0
        self._numbers = itertools.count(1)  # of slots
        self._pause = threading.Event()  # never set

    def run(self) -> int:
        self._persist(self._introduce, time.monotonic() + SETTLE_S)
        for queue, threads in self.threads.items():
            for _ in range(threads):
                self.start_slot(queue)
        helpers = [threading.Thread(target=helper.run, daemon=True) for helper in (self.watch, self.beat)]
        for helper in helpers:
            helper.start()
        self._wait_for_the_end()
        taken_back = self._drain()
        self.shift.closed.set()
        self.beat.wake()
        leaving = threading.Thread(target=self._leave, args=(helpers, taken_back), daemon=True)
        leaving.start()
        leaving.join(SETTLE_S)
        if leaving.is_alive():
            self.log.warning("going on without a word to Redis; the reaper recovers what is left")
        self.watch.life.forget()
        self.pool.shutdown(wait=False)
        return self.exit_code

    def end(self, code: int) -> None:
        """As if a signal had arrived; from any thread."""
        self.exit_code = max(self.exit_code, code)
        self.signals.stop()

    def start_slot(self, queue: str, ended: Sequence[Settlement] = ()) -> None:
        """``ended``: what a slot that it replaces has left to settle. Called by main at the start, then by the watch alone."""
        name = f"{self.shift.worker}-{next(self._numbers)}"
        talk = self.jobs.conversation(queue, name, self.shift.lease_ms)
        talk.kit = self.shift.attempts.kit
        slot = Slot(queue, talk, ended)
        slot.future = self.pool.submit(Loop(slot, self.shift).run)
        self.shift.slots.append(slot)  # from here on others see it

    def _introduce(self) -> None:
        """Before the first claim, which names what the beat has published: the kit, and attempts and timeouts of the types."""
        self.jobs.publish_routes(self.shift.attempts.routes, self.shift.attempts.types)
        for queue in self.threads:
            self.jobs.register(queue)
            self.beat.beat(queue)

    def _wait_for_the_end(self) -> None:
        if self.signals.is_set():
            return
        while not self.signals.wait(BURST_LOOK_S if self.shift.burst else None):
            if self._nothing_left():
                self._say_what_stays()
                return

    def _nothing_left(self) -> bool:
        """For --burst: at one instant no slot runs a job that may still bring work, and each has looked in vain."""
        slots = [slot for slot in self.shift.slots if not slot.abandoned]
        turned = [slot.turned for slot in slots]
        return all(slot.idle for slot in slots) and turned == [slot.turned for slot in slots]

    def _say_what_stays(self) -> None:
        """Of --burst: jobs of other types, and of paused ones, are not its business."""
        for queue in self.threads:
            try:
                if stays := self.jobs.books(queue).sizes["queued"]:
                    self.log("nothing of these types is left; others stay queued", queue=queue, stay=stays)
            except Unavailable:
                pass  # it is said at the next outage

    def _drain(self) -> list[Slot]:
        """Let what runs finish. Returns the slots that did not within ``drain_s``, those that wait at the bell first: else they
        would take what the others give back. What they hold is for main to settle."""
        self.shift.stop()
        deadline = time.monotonic() + self.drain_s
        running = [slot for slot in self.shift.slots if slot.running()]
        if running:
            self.log("draining", running=len(running), at_most_s=self.drain_s)
        threading.Thread(target=self._unblock, daemon=True).start()
        while self._busy() and time.monotonic() < deadline and self.signals.count < 2:
            self.signals.wait(0.02)
        self.shift.hurry.set()
        idle = [slot for slot in self._busy() if slot.idle]
        busy = [slot for slot in self._busy() if slot not in idle]
        if busy:
            self.log.warning("the drain is over: taking back what has not ended", slots=len(busy))
        for slot in idle + busy:
            if interrupted := slot.take_back():
                self.shift.reports.attempt(*interrupted)
        return idle + busy

    def _busy(self) -> list[Slot]:
        return [slot for slot in list(self.shift.slots) if not slot.abandoned and not slot.future.done()]

    def _unblock(self) -> None:
        """End the waiting of idle slots. In a thread of its own: a Redis that does not answer delays no stop."""
        while waiting := [slot for slot in list(self.shift.slots) if not slot.future.done()]:
            try:
                self.jobs.unblock(slot.talk.link for slot in waiting if slot.idle)
            except Unavailable:
                pass  # then nothing is blocked for long: BLMOVE ends with its connection or its timeout
            self._pause.wait(0.02)

    def _leave(self, helpers: Sequence[threading.Thread], taken_back: Sequence[Slot]) -> None:
        for helper in helpers:
            helper.join(SETTLE_S)
        self.beat.connect()  # the beat thread may still wait for an answer on the old link
        until = time.monotonic() + SETTLE_S
        for queue in self.threads:  # on a Cluster, one may be away and the others not
            self._persist(partial(self._leave_queue, queue, taken_back), until)

    def _leave_queue(self, queue: str, taken_back: Sequence[Slot]) -> None:
        """May be repeated from its start."""
        for slot in taken_back:
            if slot.queue == queue:
                self.beat.take_over(slot)
        self.beat.hand_back(queue)
        self.beat.beat(queue)  # what was counted since the last one
        slots = [slot.id for slot in self.shift.slots if slot.queue == queue]
        self.beat.leave(queue, slots)

    def _persist(self, action: Callable[[], object], until: float) -> None:
        while True:
            try:
                action()
                return
            except Unavailable as error:
                if time.monotonic() > until:
                    self.log.warning(f"going on without a word to Redis; the reaper recovers what is left: {error}")
                    return
                self._pause.wait(0.1)


def _mistake(error: Exception) -> str:
    """On one line, with the place in the module."""
    text = " ".join(str(error).split())
    if isinstance(error, (SyntaxError, ValueError)):
        return text
    place = traceback.extract_tb(error.__traceback__)[-1]
    kind = "" if isinstance(error, ImportError) else f"{type(error).__name__}: "
    return f"{kind}{text} ({place.filename}, line {place.lineno})"


def _flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--burst", action="store_true", help="end when the queue is empty")
    parser.add_argument("--reload", action="store_true", help="for development: restart when a .py file here changes")
    parser.add_argument(
        "--check", action="store_true", help="liveness probe: exit 0 when the worker's loops here really turn"
    )


def main() -> int:
    names = ("worker_threads", "queues", "handlers", "worker_processes", "drain_s", "processing_timeout_s")
    config, options = Config.parse("worker", "Runs jobs.", names, _flags)
    if options.check:
        return liveness.check("worker")
    log, signals = start_logging(config, "worker"), Signals()
    if config.worker_processes > 1 or options.reload:
        return Parent(__file__, config.worker_processes, log, signals, burst=options.burst, reload=options.reload).run()
    signals.end_within(config.drain_s + END_S, log)
    try:
        types = load_handlers(config.handlers)
    except Exception as error:  # whatever the module does while it is imported
        print(f"worker.py: --handlers {config.handlers}: {_mistake(error)}", file=sys.stderr)
        return MISTAKE
    announce(config, log)
    if config.one_core:
        keep_to_one_core()
    sys.setswitchinterval(SWITCH_S)
    jobs = JobQueue(config.redis_url, defaults=config.policy, webhooks=config.webhooks)
    try:
        jobs.wait_until_ready(liveness.Life("worker", log).while_waiting(signals), log.warning)
    except (TooNew, TooOld) as error:
        print(f"worker.py: {error}", file=sys.stderr)
        return MISTAKE
    if signals.is_set():
        return 0
    if config.webhook_secrets:
        types[DELIVERY] = Deliveries(jobs, config.webhook_secrets, Caller(config.webhook_allow)).job_type()
    loop = EventLoop()
    attempts = Attempts(types, jobs.policy, config.max_result_bytes, partial(Family, jobs), loop)
    shift = Shift(
        secrets.token_urlsafe(16),  # 128 random bits: tokens are never used again
        attempts,
        Reports(log, config.shares, config.log_jobs == "all"),
        round(config.processing_timeout_s * 1000),
        options.burst,
        Turns(config.shares, attempts.kit, attempts.plain_kit) if config.webhook_secrets else None,
    )
    code = _between_hooks(lambda: _work(Worker(config, jobs, shift, signals)), loop, log)
    log("stopped", code=code)
    return end(code, log)


def _work(worker: Worker) -> int:
    shift = worker.shift
    worker.log("ready", worker=shift.worker, types=sorted(shift.attempts.types), queues=worker.threads)
    if elsewhere := {name: queue for name, queue in shift.attempts.routes.items() if queue not in worker.threads}:
        worker.log.warning(
            "jobs of these types go to queues that this worker does not serve (--queues)", types=elsewhere
        )
    return worker.run()


def _between_hooks(work: Callable[[], int], loop: EventLoop, log: Log) -> int:
    """The exit code: of the work, or 1 when something that is to be done once at its start or its end goes wrong."""
    try:
        with liveness.Life("worker", log).throughout():  # it may load a model for minutes
            hooks.start(hooks.HOOKS, loop.run)
    except hooks.HookFailed as error:
        log.failure(str(error), error)
        return 1
    code = work()
    for failed in hooks.stop(hooks.HOOKS, loop.run):
        log.failure(str(failed), failed)
        code = max(code, 1)
    loop.close()
    return code


if __name__ == "__main__":
    sys.exit(main())
