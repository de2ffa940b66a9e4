"""A worker process: N threads that claim, run and finish jobs.

    thread      owns                                        stopped by
    main        start, drain, exit                          SIGTERM or SIGINT; the second one hurries it
    slot (N)    its Link, its batch and its seq             `stopping`, after the job it runs
    watch       timeouts, overruns, hung slots, liveness    `closed`
    beat        the control Link: leases, hand-backs        `closed`

What two threads touch of a slot (`pending`, `running`, `ended`, `handed`, `abandoned`) is guarded by the slot's lock. A slot
settles what it ran and claims the next in one round trip; when there is nothing it waits in BLMOVE, with a claim behind it
that Redis runs as soon as the bell rings. A lost answer is asked for again under the same token, so an outage of Redis
delays a result but never doubles it.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import math
import os
import random
import secrets
import socket
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter, deque
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import jobqueue
from _jobqueue.config import Config
from _jobqueue.logs import Log, announce, start_logging
from _jobqueue.processes import MISTAKE, Parent, Signals, end, is_orphan, keep_to_one_core
from jobqueue import (
    BACKOFF,
    IN_PLACE,
    NEVER,
    Claimed,
    Fail,
    Held,
    Invalid,
    JobQueue,
    JobType,
    Policy,
    Retry,
    Settlement,
    TooOld,
    Unavailable,
    load_handlers,
    result_fields,
    times,
)

WATCH_S = 0.025
BEATS_PER_LEASE = 10  # a stall of Redis may last nine tenths of a lease before a healthy job is taken back
ALIVE_BEATS = 2  # who has not beaten for longer may be frozen: Redis gives an idle slot of his nothing
HUNG_S = 0.5  # after its timeout a handler has this long to yield; below the reaper's second of grace
OVERRUN_S = 0.02  # a batch is expected to last 5 ms: past this, its neighbours are given back
BATCH_S = 0.005
MAX_BATCH = 64
SWITCH_S = 0.001  # watch and beat wait so long for a handler that computes; with Python's 5 ms a hand-back took 140 ms
LIGHT_S = 0.002  # a job that takes less, and computes for COMPUTING of it, is light
COMPUTING = 0.3
LIGHT_SLOTS = 2  # of a queue run light jobs: one computes while the other talks to Redis
SETTLED_S = 0.02  # after so long, those who run without a turn have finished
NOT_LIGHT = 3  # so many batches in a row tell: one may have met a busy machine
NO_TURNS_S = 1.0  # jobs that turned out not to be light are not tried again sooner
STALE_S = 15.0  # above the longest that one turn of a slot's loop can take: BLMOVE, or a call that times out
LOG_LINES, LOG_LINE_CHARS = 100, 200
REAPER_MISSED_S = 5.0  # without a reaper for so long, the log says so: it may be starting
SETTLE_S = 3.0  # how long an exiting worker tries to reach Redis
END_S = 5.0  # and how long after its drain it is gone, whatever hangs
LIVENESS = Path(tempfile.gettempdir()) / f"jobqueue-{os.getuid()}"


from_json = json.JSONDecoder().decode


class Interrupted(BaseException):
    """Raised inside a handler by ``ctx.check()``. Not an Exception, so that ``except Exception`` lets it pass."""


class TimedOut(Interrupted):
    """Raised inside a handler at its timeout, by ``ctx.check()`` or between any two of its bytecodes."""


class Context:
    """What a handler can ask and tell about its job."""

    def __init__(self, job: Claimed) -> None:
        self.job_id, self.attempt = job.id, job.attempt
        self.stopped_for: str | None = None  # timeout, cancelled or lost
        self._lines: deque[str] = deque(maxlen=LOG_LINES)
        self._changed: dict[str, str] = {}
        self._lock = threading.Lock()

    def progress(self, fraction: float, note: str = "") -> None:
        """Show how far the job is, 0 to 1. Stored with the next beat."""
        shown = json.dumps({"fraction": min(1.0, max(0.0, float(fraction))), "note": str(note)[:LOG_LINE_CHARS]})
        with self._lock:
            self._changed["progress"] = shown

    def log(self, text: str) -> None:
        """Add a line to the job's log (the last 100 are kept). Stored with the next beat."""
        with self._lock:
            self._lines.append(" ".join(str(text).splitlines())[:LOG_LINE_CHARS])
            self._changed["log"] = "\n".join(self._lines)

    def check(self) -> None:
        """Raise when the job was cancelled, has timed out or was taken back; return at once otherwise."""
        if self.stopped_for == "timeout":
            raise TimedOut
        if self.stopped_for:
            raise Interrupted

    def changes(self) -> list[str | bytes | int]:
        """What is new since the last call, as fields of the job's hash."""
        if not self._changed:
            return []
        with self._lock:
            changed, self._changed = self._changed, {}
        return [part.encode(errors="replace") for pair in changed.items() for part in pair]


class Run:
    """One attempt while it runs. Monotonic seconds."""

    def __init__(self, job: Claimed, timeout_s: float) -> None:
        self.job, self.timeout_s = job, timeout_s
        self.context = Context(job)
        self.started = time.monotonic()
        self.deadline = self.started + timeout_s
        self.armed = False  # a TimedOut is on its way into the thread
        self.inside = False  # the handler runs: only now may something be thrown into the thread


class Turns:
    """Lets only two slots of a queue at a time run light jobs: more threads would only take the interpreter from each other.

    Whether short jobs compute or wait for something cannot be seen while many threads compete: they are tried with turns."""

    def __init__(self) -> None:
        self.on = False
        self._changed = threading.Condition()
        self._taken = self._not_light = 0
        self._on_since = self._off_until = 0.0

    def full(self) -> bool:
        return self._taken >= LIGHT_SLOTS

    def take(self, timeout_s: float) -> bool:
        """Wait a while for a turn. False when there is none, or none is needed any more."""
        with self._changed:
            if self.on and self.full():
                self._changed.wait(timeout_s)
            taken = self.on and not self.full()
            self._taken += taken
            return taken

    def give_back(self) -> None:
        with self._changed:
            self._taken -= 1
            self._changed.notify()

    def weigh(self, mean_s: float, computing: float, in_turn: bool) -> None:
        """After a batch: how long its jobs took, which part of that they computed, and whether that was in a turn."""
        now = time.monotonic()
        if not self.on:
            if mean_s < LIGHT_S and now >= self._off_until:
                self.on, self._on_since, self._not_light = True, now, 0
        elif in_turn and now >= self._on_since + SETTLED_S:
            light = mean_s < LIGHT_S and computing >= COMPUTING
            self._not_light = 0 if light else self._not_light + 1
            if self._not_light == NOT_LIGHT:
                self.turn_off()

    def turn_off(self) -> None:
        with self._changed:
            self.on, self._off_until = False, time.monotonic() + NO_TURNS_S
            self._changed.notify_all()


class Slot:
    """One thread: exchange, run, wait. Its id is never used again."""

    _NOTHING = object()

    def __init__(self, worker: Worker, number: int, queue: str) -> None:
        self.worker, self.queue = worker, queue
        self.id = f"{worker.id}-{number}"
        self.link = worker.jobs.link()
        self.lock = threading.Lock()
        self.pending: deque[Claimed] = deque()  # claimed, not started
        self.running: Run | None = None
        self.ended: list[Settlement] = []
        self.handed: list[Settlement] = []  # what the beat is to deliver, or the slot itself if it comes first
        self.abandoned = False  # its handler hangs: another slot has taken its place
        self.thread_id = 0
        self.seq = self.seen = 0
        self.batch = 1
        self.counts: Counter[str] = Counter()  # waiting and running times, until the next beat takes them
        self.turned = time.monotonic()
        self.idle = False
        self.turns, self.has_turn = worker.turns[queue], False

    def loop(self) -> None:
        self.thread_id = threading.get_ident()
        try:
            while not self.abandoned and not (self.worker.stopping.is_set() and not self.ended):
                try:
                    self._turn()
                except Unavailable:  # while it waited; the next exchange tells whether this is an outage
                    self.worker.hurry.wait(_jitter(0.2))
                except Exception:
                    self.worker.log.failure("a slot went wrong and goes on", slot=self.id)
                    self.link.close()  # it may hold an answer to something else
                    self.worker.hurry.wait(_jitter(1.0))
        finally:
            self.give_up_turn()
            self.link.close()

    def _turn(self) -> None:
        if self.turns.on and not self.has_turn:
            self._take_turn()
        self.idle = False  # what this exchange brings counts for --burst before it is here
        jobs = self._exchange()
        self.idle = not jobs
        if not (jobs and self.turns.on):
            self.give_up_turn()
        if not jobs and self.worker.burst and self.worker.nothing_left():
            self.worker.signals.stop()
            self.worker.stopping.wait()
        elif not (jobs or self.worker.stopping.is_set()):
            jobs = self._wait()
        if jobs:
            self._run_batch(jobs)

    def _wait(self) -> list[Claimed]:
        """For the bell, and what it brings. With --burst nobody may be given a job while he counts as idle."""
        worker = self.worker
        self.seq += 1
        want = 0 if worker.burst else self.batch
        jobs = worker.jobs.wait_and_claim(
            self.link, self.queue, self.id, self.seq, self.seen, want, worker.lease_ms, worker.alive_ms
        )
        self.seen = self.seq
        self.idle = False
        return self._unless_stopping(jobs)

    def _take_turn(self) -> None:
        if self.ended and self.turns.full():
            self._exchange(0)  # these results shall not wait
        while self.turns.on and not self.has_turn and not self.worker.stopping.is_set():
            self.idle, self.turned = True, time.monotonic()
            self.has_turn = self.turns.take(0.5)

    def give_up_turn(self) -> None:
        """From this slot's thread, or from `watch` when a job takes longer than was expected."""
        with self.lock:
            had, self.has_turn = self.has_turn, False
        if had:
            self.turns.give_back()

    def _exchange(self, most: int = MAX_BATCH) -> list[Claimed]:
        worker = self.worker
        with self.lock:
            # A claim that overtook them would give them up as dropped; sent twice, they do no harm.
            handed = list(self.handed)
            ended = handed + self.ended  # stays there until it has arrived, for main to hand in at the end of an outage
        self.seq += 1
        delay, failures = 0.05, 0
        while True:
            self.turned = time.monotonic()
            want = 0 if worker.stopping.is_set() else min(self.batch, most)
            try:
                accepted, jobs = worker.jobs.exchange(
                    self.link, self.queue, self.id, self.seq, self.seen, want, worker.lease_ms, ended
                )
                break
            except Unavailable as error:
                failures += 1
                worker.outages[self.queue].begin(error, failures)
                if worker.hurry.wait(_jitter(delay)) or (not ended and worker.stopping_for_s() > SETTLE_S):
                    return []
                delay = min(delay * 2, 2.0)
            except Exception:
                self.ended, self.handed = (
                    [],
                    [],
                )  # they may be the cause: the next claim gives these attempts up as dropped
                raise
        with self.lock:
            self.ended = self.ended[len(ended) - len(handed) :]
        self.delivered(handed)
        self.seen = self.seq
        worker.outages[self.queue].end()
        worker.report_refused(ended, accepted)
        return self._unless_stopping(jobs)

    def _unless_stopping(self, jobs: list[Claimed]) -> list[Claimed]:
        if not self.worker.stopping.is_set():
            return jobs
        self.ended += [Settlement(job.id, job.token, "released") for job in jobs]
        return []

    def delivered(self, handed: list[Settlement]) -> None:
        with self.lock:
            self.handed = [settlement for settlement in self.handed if settlement not in handed]

    def _run_batch(self, jobs: list[Claimed]) -> None:
        """Run jobs one after the other, until one overruns and `watch` has given the rest back."""
        began, computed = time.monotonic(), time.thread_time()
        with self.lock:
            self.pending.extend(jobs)
        ran = 0
        while True:
            with self.lock:
                if self.abandoned or not self.pending:
                    break
                if self.worker.stopping.is_set():
                    self.ended += [Settlement(job.id, job.token, "released") for job in self.pending]
                    self.pending.clear()
                    break
                job = self.pending.popleft()
                run = self.running = Run(job, self.worker.timeout_s(job))
            settlement = self._attempt(run)
            ran += 1
            with self.lock:
                self.running = None
                if self.abandoned:
                    self.worker.log("a handler that hung has ended; its result is dropped", job=job.id)
                    return
                if settlement:
                    self.ended.append(settlement)
                self._count(run)
            self.worker.report(run, settlement)
        took_s = time.monotonic() - began
        mean = took_s / max(ran, 1)
        self.turns.weigh(mean, (time.thread_time() - computed) / took_s, self.has_turn)
        self.batch = max(1, min(self.batch * 2, MAX_BATCH, int(BATCH_S / max(mean, 1e-6))))

    def _count(self, run: Run) -> None:
        waited = times("wait", run.job.waited_ms) if run.job.waited_ms is not None else ()
        for name, n in (*waited, *times("run", (time.monotonic() - run.started) * 1000)):
            self.counts[name] += n

    def _attempt(self, run: Run) -> Settlement | None:
        """Run the handler, whatever it does. None when the job was taken back meanwhile."""
        worker, job = self.worker, run.job
        job_type = worker.types.get(job.type)
        if job_type is None:
            known = ", ".join(sorted(worker.types))
            message = f"no handler for the type {job.type!r}; this worker has {known}"
            return self._failed(run, "no_handler", message)
        result, error = self._call(run, job_type)
        try:
            if error is not None:
                return self._unsuccessful(run, error)
            fields = result_fields(result, worker.config.max_result_bytes)
            return Settlement(job.id, job.token, "done", fields=fields + run.context.changes())
        except Invalid as invalid:
            return self._failed(run, "bad_result", f"the result cannot be stored: {invalid.problems[0][1]}")
        except BaseException as odd:  # code of the handler's classes: __str__ of an exception, items() of a result
            return self._failed(run, "bad_result", f"what the handler gave back cannot be read: {type(odd).__name__}")

    def _call(self, run: Run, job_type: JobType) -> tuple[Any, BaseException | None]:
        """The handler's result or exception. A TimedOut thrown by `watch` lands inside the outer try or not at all."""
        result, error, called = self._NOTHING, None, False
        while True:
            try:
                if not called:
                    called = run.inside = True
                    try:
                        result = job_type.function(from_json(run.job.payload.decode()), run.context)
                    except BaseException as raised:
                        error = raised
                if os.getpid() != self.worker.pid:
                    os._exit(0)  # a child that the handler forked; it may wait for ever for a lock held at the fork
                with self.lock:
                    run.inside = False  # from here on nobody arms
                if run.armed:
                    _throw(self.thread_id, None)  # take back what has not landed yet
                break
            except TimedOut:
                pass  # it came as the handler ended, or was its end: told apart below
        if result is self._NOTHING and error is None:
            error = TimedOut()
        return result, error

    def _unsuccessful(self, run: Run, error: BaseException) -> Settlement | None:
        reason = run.context.stopped_for
        if isinstance(error, TimedOut):
            return self.worker.timed_out(run)
        if isinstance(error, Interrupted):
            return Settlement(run.job.id, run.job.token, "cancelled") if reason == "cancelled" else None
        if isinstance(error, Fail):
            return self._failed(run, "Fail", str(error), NEVER)
        if isinstance(error, Retry):
            delay = BACKOFF if error.after is None else max(0, round(error.after * 1000))
            return self._failed(run, "Retry", str(error), delay)
        kind = "".join(c for c in type(error).__name__ if c.isalnum() or c == "_")[:64] or "error"
        return self._failed(run, kind, _described(error))

    def _failed(self, run: Run, kind: str, message: str, delay_ms: int = BACKOFF) -> Settlement:
        return Settlement(run.job.id, run.job.token, "failed", delay_ms, kind, message, run.context.changes())


def _described(error: BaseException) -> str:
    try:
        text = str(error)
    except Exception:
        text = "(its text cannot be shown)"
    lines = traceback.format_exception(type(error), error, error.__traceback__, limit=-8)
    return f"{type(error).__name__}: {text}"[:2000] + "\0" + "".join(lines)[-5000:]


def _throw(thread_id: int, exception: type[BaseException] | None) -> None:
    """Make a thread raise at its next bytecode; None takes back what has not been raised yet."""
    argument = ctypes.py_object(exception) if exception else None
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread_id), argument)


def _jitter(seconds: float) -> float:
    return seconds * random.uniform(0.5, 1.0)


class Outage:
    """Logs an outage of a queue's Redis twice: when it begins, and when it ends, with its length.

    The first failure of a thread is none yet: its connection may have broken while nobody used it."""

    def __init__(self, log: Log) -> None:
        self._log, self._since, self._lock = log, 0.0, threading.Lock()

    def begin(self, error: Unavailable, failures: int) -> None:
        with self._lock:
            if failures > 1 and not self._since:
                self._since = time.monotonic()
                self._log.warning(f"no work until Redis is back: {error}")

    def end(self) -> None:
        if self._since:
            with self._lock:
                if self._since:
                    self._log("Redis is back", after_s=round(time.monotonic() - self._since, 1))
                    self._since = 0.0


class Worker:
    """Starts the threads, watches them, and takes them down in order."""

    def __init__(
        self, config: Config, jobs: JobQueue, types: dict[str, JobType], log: Log, signals: Signals, burst: bool
    ) -> None:
        self.config, self.jobs, self.types, self.log, self.signals, self.burst = (
            config,
            jobs,
            types,
            log,
            signals,
            burst,
        )
        self.id = secrets.token_urlsafe(16)  # 128 random bits: tokens are never reused
        self.pid = os.getpid()
        self.lease_ms = round(config.processing_timeout_s * 1000)
        self.alive_ms = self.lease_ms * ALIVE_BEATS // BEATS_PER_LEASE
        self.shares = config.shares
        threads = sum(self.shares.values())
        self.spare = threads
        self.pool = ThreadPoolExecutor(threads + self.spare, thread_name_prefix="slot")
        self.slots: list[Slot] = []  # changed by main before, and by watch after the start
        self.futures: dict[Slot, Future[None]] = {}
        self.numbers = 0
        self.outages = {queue: Outage(log) for queue in self.shares}  # on a Cluster, each may have another Redis
        self.control = jobs.link()  # of the beat thread
        self.wake_beat = threading.Event()
        self.turns = {queue: Turns() for queue in self.shares}
        self.stopping, self.hurry, self.closed = threading.Event(), threading.Event(), threading.Event()
        self.pause = threading.Event()  # never set
        self.exit_code = 0
        self.reaper_seen = time.monotonic()
        self.reaper_missed = False
        self.orphaned = False
        self.stopping_since = math.inf
        self.policies = {name: self._policy(job_type) for name, job_type in types.items()}

    def _policy(self, job_type: JobType) -> Policy:
        default = self.jobs.policy
        return Policy(
            job_type.max_attempts or default.max_attempts,
            round(job_type.timeout * 1000) if job_type.timeout else default.timeout_ms,
            default.backoff_ms if job_type.backoff is None else round(job_type.backoff * 1000),
        )

    def timeout_s(self, job: Claimed) -> float:
        policy = self.policies.get(job.type, self.jobs.policy)
        return (job.timeout_ms or policy.timeout_ms) / 1000

    # -- main

    def run(self) -> int:
        self._persist(self._introduce)
        for queue, threads in self.shares.items():
            for _ in range(threads):
                self._start_slot(queue)
        helpers = [threading.Thread(target=target, daemon=True) for target in (self._watch, self._beat)]
        for helper in helpers:
            helper.start()
        if not self.signals.is_set():
            self.signals.wait()
        self._drain()
        self.closed.set()
        self.wake_beat.set()
        leaving = threading.Thread(target=self._leave, args=(helpers,), daemon=True)
        leaving.start()
        leaving.join(SETTLE_S)
        if leaving.is_alive():
            self.log.warning("going on without a word to Redis; the reaper recovers what is left")
        (LIVENESS / str(self.pid)).unlink(missing_ok=True)
        self.pool.shutdown(wait=False)
        return self.exit_code

    def _introduce(self) -> None:
        """Before the first claim, whose attempts and timeouts follow from what the beat publishes of the types."""
        for queue in self.shares:
            self.jobs.register(queue)
            self._beat_for(queue)

    def _start_slot(self, queue: str, ended: list[Settlement] | None = None) -> None:
        self.numbers += 1
        slot = Slot(self, self.numbers, queue)
        slot.ended = ended or []
        self.futures[slot] = self.pool.submit(slot.loop)
        self.slots.append(slot)  # from here on others see it, and look up its future

    def stopping_for_s(self) -> float:
        return time.monotonic() - self.stopping_since

    def nothing_left(self) -> bool:
        """For --burst: every slot has looked in vain, and none runs a job that may still bring work."""
        started = len(self.slots) >= sum(self.shares.values())
        return started and all(slot.idle or slot.abandoned for slot in self.slots)

    def _drain(self) -> None:
        self.stopping_since = time.monotonic()
        self.stopping.set()
        for turns in self.turns.values():
            turns.turn_off()
        deadline = time.monotonic() + self.config.drain_s
        running = [slot for slot in self.slots if slot.running]
        if running:
            self.log("draining", running=len(running), at_most_s=self.config.drain_s)
        threading.Thread(target=self._unblock, daemon=True).start()
        while self._busy() and time.monotonic() < deadline and self.signals.count < 2:
            self.signals.wait(0.02)
        self.hurry.set()
        for slot in self._busy():
            if not slot.idle:
                self._take_back(slot)

    def _busy(self) -> list[Slot]:
        return [slot for slot in self.slots if not slot.abandoned and not self.futures[slot].done()]

    def _unblock(self) -> None:
        """End the waiting of idle slots. In a thread of its own: a Redis that does not answer delays no stop."""
        while self._busy():
            try:
                self.jobs.unblock(slot.link for slot in self._busy() if slot.idle)
            except Unavailable:
                pass  # then nothing is blocked for long: BLMOVE ends with its connection or its timeout
            self.pause.wait(0.02)

    def _take_back(self, slot: Slot) -> None:
        """Settle for a slot that does not end in time: its job goes back as an interrupted attempt, the rest unharmed."""
        with slot.lock:
            slot.abandoned = True
            slot.handed += slot.ended + [Settlement(job.id, job.token, "released") for job in slot.pending]
            slot.pending.clear()
            if run := slot.running:
                message = "the worker was told to stop before the handler had finished"
                slot.handed.append(Settlement(run.job.id, run.job.token, "failed", IN_PLACE, "interrupted", message))
                self.report(run, slot.handed[-1])

    def _leave(self, helpers: list[threading.Thread]) -> None:
        for helper in helpers:
            helper.join(SETTLE_S)
        while self._busy():  # a slot that still waits at the bell would take what is handed back
            self.pause.wait(0.01)
        self.control = self.jobs.link()  # the beat thread may still wait for an answer on the old one
        for queue in self.shares:
            self._persist(partial(self._hand_back, queue))
            self._persist(partial(self._beat_for, queue))  # what was counted since the last one
            slots = [slot.id for slot in self.slots if slot.queue == queue]
            self._persist(lambda queue=queue, slots=slots: self.jobs.leave(queue, self.id, slots))

    def _persist(self, action: Any) -> None:
        deadline = time.monotonic() + SETTLE_S
        while True:
            try:
                action()
                return
            except Unavailable as error:
                if time.monotonic() > deadline:
                    self.log.warning(f"going on without a word to Redis; the reaper recovers what is left: {error}")
                    return
                self.pause.wait(0.1)

    # -- watch: never waits for the network

    def _watch(self) -> None:
        ticks_per_s = round(1 / WATCH_S)
        tick = 0
        while not self.closed.wait(WATCH_S):
            try:
                for slot in list(self.slots):
                    self._watch_slot(slot, time.monotonic())
                if tick % ticks_per_s == 0:
                    self._watch_threads()
                    self._show_life()
            except Exception:
                self.log.failure("the watch went wrong and goes on")
            tick += 1

    def _watch_slot(self, slot: Slot, now: float) -> None:
        run = slot.running
        if run is None or slot.abandoned:
            return
        if now >= run.deadline and not run.armed:
            with slot.lock:
                if slot.running is run and run.inside:
                    run.armed = True
                    run.context.stopped_for = "timeout"
                    _throw(slot.thread_id, TimedOut)
        elif now >= run.deadline + HUNG_S:
            self._replace(slot, run)
        elif now >= run.started + OVERRUN_S and (slot.pending or slot.ended or slot.has_turn):
            if slot.has_turn:
                slot.turns.turn_off()
                slot.give_up_turn()
            with slot.lock:
                slot.handed += slot.ended + [Settlement(job.id, job.token, "released") for job in slot.pending]
                slot.ended = []
                slot.pending.clear()
            self.wake_beat.set()

    def _replace(self, slot: Slot, run: Run) -> None:
        """A handler that does not yield keeps its thread; its job and its place go to a new slot."""
        with slot.lock:
            if slot.running is not run:
                return
            slot.abandoned = True
            ended = slot.ended + [Settlement(job.id, job.token, "released") for job in slot.pending]
            slot.pending.clear()
        hung = sum(not self.futures[s].done() for s in self.slots if s.abandoned)
        self.log.warning(
            "a handler does not yield after its timeout; its thread is lost",
            job=run.job.id,
            type=run.job.type,
            lost=hung,
        )
        late = self.timed_out(run)
        self.report(run, late)
        self._start_slot(slot.queue, [*ended, late])
        if hung >= self.spare:
            self.log.warning("too many handlers hang: leaving, so that a new worker starts afresh")
            self.exit_code = 1
            self.signals.stop()

    def _watch_threads(self) -> None:
        for slot in list(self.slots):
            if self.futures[slot].done() and not slot.abandoned and not self.stopping.is_set():
                self.log.warning("a slot ended unasked; a new one takes its place", slot=slot.id)
                self._start_slot(slot.queue)
                slot.abandoned = True
        if is_orphan() and not self.orphaned:
            self.log.warning("the parent is gone: draining")
            self.orphaned = True
            self.signals.stop()

    def _show_life(self) -> None:
        """Note the time for --check, when every slot has turned lately or runs a job within its timeout."""
        now = time.monotonic()
        for slot in self.slots:
            run = slot.running
            if (
                not slot.abandoned
                and now - slot.turned > STALE_S
                and not (run and now < run.deadline + STALE_S)
                and not self.stopping.is_set()
            ):
                return
        try:
            LIVENESS.mkdir(mode=0o700, exist_ok=True)
            fresh = LIVENESS / f"{self.pid}.new"
            fresh.write_text(f"{now:.3f} {_started(self.pid)}")
            fresh.replace(LIVENESS / str(self.pid))
        except OSError:
            pass  # a read-only file system: --check says that there is no worker

    # -- beat: the only helper that talks to Redis

    def _beat(self) -> None:
        every = self.config.processing_timeout_s / BEATS_PER_LEASE
        next_beat, failures = 0.0, Counter[str]()
        while not self.closed.is_set():
            due = time.monotonic() >= next_beat
            if due:
                next_beat = time.monotonic() + every
            for queue in self.shares:
                try:
                    self._hand_back(queue)
                    if due:
                        self._beat_for(queue)
                    failures[queue] = 0
                except Unavailable as error:
                    failures[queue] += 1
                    self.outages[queue].begin(error, failures[queue])
                    if failures[queue] == 1:
                        next_beat = 0.0  # at once, on a new connection
                except Exception:
                    self.log.failure("the beat went wrong and goes on")
                    self.control.close()  # it may hold an answer to something else
            self.wake_beat.wait(max(0.0, next_beat - time.monotonic()))
            self.wake_beat.clear()

    def _hand_back(self, queue: str) -> None:
        """Settle for slots that are busy. Repeated until it has arrived."""
        for slot in list(self.slots):
            with slot.lock:
                ended = list(slot.handed) if slot.queue == queue else []
            if ended:
                accepted, _ = self.jobs.exchange(self.control, queue, f"{self.id}-0", 0, 0, 0, self.lease_ms, ended)
                slot.delivered(ended)
                self.report_refused(ended, accepted)

    def _beat_for(self, queue: str) -> None:
        runs, held = self._held(queue)
        counts = self._counted(queue)
        info = {
            "host": socket.gethostname(),
            "pid": self.pid,
            "version": jobqueue.__version__,
            "threads": self.shares[queue],
            "types": sorted(self.types),
            "running": [
                {"job_id": run.job.id, "type": run.job.type, "for_s": round(time.monotonic() - run.started, 1)}
                for run in runs
            ],
        }
        reaper_lives, answers = self.jobs.beat(
            self.control, queue, self.id, info, self.lease_ms, self.policies, held, counts
        )
        self.outages[queue].end()
        for run, answer in zip(runs, answers, strict=False):
            if answer != "ok" and not run.context.stopped_for:
                run.context.stopped_for = "cancelled" if answer == "cancel" else "lost"
        self._tell_of_reaper(reaper_lives)

    def _counted(self, queue: str) -> Counter[str]:
        """What the queue's slots have counted since the last beat. A beat that fails loses it: nothing hangs on it."""
        counted: Counter[str] = Counter()
        for slot in list(self.slots):
            if slot.queue == queue:
                with slot.lock:
                    counted += slot.counts
                    slot.counts = Counter()
        return counted

    def _held(self, queue: str) -> tuple[list[Run], list[Held]]:
        """What runs, and its leases followed by those of what waits in a batch and of what has ended but is not settled."""
        runs: list[Run] = []
        waiting: list[Held] = []
        for slot in list(self.slots):
            if slot.queue == queue and not slot.abandoned:
                with slot.lock:
                    runs += [slot.running] if slot.running else []
                    waiting += [Held(job.id, job.token, round(self.timeout_s(job) * 1000)) for job in slot.pending]
                    waiting += [Held(end.id, end.token, self.lease_ms) for end in slot.ended]
        now = time.monotonic()
        held = [
            Held(run.job.id, run.job.token, round((run.deadline - now) * 1000), run.context.changes()) for run in runs
        ]
        return runs, held + waiting

    def _tell_of_reaper(self, lives: bool) -> None:
        now = time.monotonic()
        if lives:
            self.reaper_seen = now
        missed = now - self.reaper_seen > REAPER_MISSED_S
        if missed and not self.reaper_missed:
            self.log.warning(
                "no reaper is running: retries, delayed jobs and lost workers' jobs wait until one is started (python reaper.py)"
            )
        if self.reaper_missed and not missed:
            self.log("a reaper is running")
        self.reaper_missed = missed

    # -- reports

    def timed_out(self, run: Run) -> Settlement:
        job, policy = run.job, self.policies.get(run.job.type)
        if job.timeout_ms:
            advice = "its timeout_s; submit it with a longer one"
        elif policy and policy.timeout_ms != self.jobs.policy.timeout_ms:
            advice = f"the timeout of the type {job.type}; give the type a longer one"
        else:
            advice = "the default PROCESSING_TIMEOUT_S; give the type a longer timeout"
        message = f"stopped after {run.timeout_s:g} s, {advice}"
        return Settlement(job.id, job.token, "failed", BACKOFF, "timeout", message, run.context.changes())

    def report(self, run: Run, end: Settlement | None) -> None:
        job = run.job
        ms = round((time.monotonic() - run.started) * 1000, 1)
        if end is None:
            self.log("stopped: the job had been taken back", job=job.id, type=job.type, attempt=job.attempt, ms=ms)
        elif end.outcome == "failed":
            error = end.message.partition("\0")[0][:500]
            self.log("failed", job=job.id, type=job.type, attempt=job.attempt, ms=ms, kind=end.kind, error=error)
        elif end.outcome != "done" or self.config.log_jobs == "all":
            self.log(end.outcome, job=job.id, type=job.type, attempt=job.attempt, ms=ms)

    def report_refused(self, ended: list[Settlement], accepted: list[bool]) -> None:
        for settlement, ok in zip(ended, accepted, strict=True):
            if not ok and settlement.outcome != "released":
                self.log.warning(
                    "a late result was refused: the job had been taken back",
                    job=settlement.id,
                    token=settlement.token,
                    outcome=settlement.outcome,
                )


# ------------------------------------------------------------------------------------------------- parent and check


def check_life() -> int:
    """For liveness probes: 0 when the loops of every worker process here have turned in the last seconds."""
    workers = [worker for path in LIVENESS.glob("*") if path.name.isdigit() and (worker := _life(path))]
    if not workers:
        print("no worker is running here", file=sys.stderr)
        return 1
    for pid, turned in workers:
        age = time.monotonic() - turned
        if age > STALE_S:
            print(f"worker {pid} last turned {age:.0f} s ago", file=sys.stderr)
            return 1
    return 0


def _life(path: Path) -> tuple[int, float] | None:
    """A worker and when its loops last turned. None when it has gone, or another process got its number."""
    pid = int(path.name)
    try:
        os.kill(pid, 0)
        turned, started = path.read_text().split(" ")
    except OSError:
        return None
    return (pid, float(turned)) if started == _started(pid) else None


def _started(pid: int) -> str:
    """When a process started, in the kernel's ticks; '' where there is no /proc."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return ""


def _mistake(error: Exception) -> str:
    """On one line, with the place in the module."""
    text = " ".join(str(error).split())
    if isinstance(error, (ImportError, SyntaxError, ValueError)):
        return text
    place = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {text} ({place.filename}, line {place.lineno})"


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
        return check_life()
    log, signals = start_logging(config, "worker"), Signals()
    signals.end_within(config.drain_s + END_S, log)
    if config.worker_processes > 1 or options.reload:
        return Parent(__file__, config.worker_processes, log, signals, burst=options.burst, reload=options.reload).run()
    try:
        types = load_handlers(config.handlers)
    except Exception as error:  # whatever the module does while it is imported
        print(f"worker.py: --handlers {config.handlers}: {_mistake(error)}", file=sys.stderr)
        return MISTAKE
    announce(config, log)
    if config.one_core:
        keep_to_one_core()
    sys.setswitchinterval(SWITCH_S)
    jobs = JobQueue(config.redis_url, defaults=config.policy)
    try:
        jobs.wait_until_ready(signals, log.warning)
    except TooOld as error:
        print(f"worker.py: {error}", file=sys.stderr)
        return MISTAKE
    if signals.is_set():
        return 0
    worker = Worker(config, jobs, types, log, signals, options.burst)
    log("ready", worker=worker.id, types=sorted(types), queues=worker.shares)
    code = worker.run()
    log("stopped", code=code)
    return end(code, log)


if __name__ == "__main__":
    sys.exit(main())
