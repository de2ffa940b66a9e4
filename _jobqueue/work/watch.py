"""The thread that never waits for the network: timeouts, batches that overrun, slots that hang, threads that end unasked."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from _jobqueue import liveness
from _jobqueue.processes import is_orphan
from _jobqueue.records import Settlement
from _jobqueue.work.run import Run
from _jobqueue.work.shift import Shift
from _jobqueue.work.slot import Slot

WATCH_S = 0.025
HUNG_S = 0.5  # after its timeout a handler has this long to yield; below the reaper's second of grace
OVERRUN_S = 0.02  # a batch is expected to last 5 ms: past this, its neighbours are given back


class Watch:
    def __init__(
        self,
        shift: Shift,
        start_slot: Callable[[str, Sequence[Settlement]], None],
        wake_beat: Callable[[], None],
        end: Callable[[int], None],
        spare: int,
    ) -> None:
        """``end`` ends the worker with an exit code; ``spare``: threads of its pool that hung handlers may keep."""
        self.shift, self.start_slot, self.wake_beat, self.end, self.spare = shift, start_slot, wake_beat, end, spare
        self._log = shift.reports.log
        self.life = liveness.Life("worker", self._log)
        self._orphaned = False

    def run(self) -> None:
        ticks_per_s = round(1 / WATCH_S)
        tick = 0
        while not self.shift.closed.wait(WATCH_S):
            try:
                for slot in list(self.shift.slots):
                    self.look_at(slot, time.monotonic())
                if tick % ticks_per_s == 0:
                    self._look_at_threads()
                    if self._all_turn(time.monotonic()):
                        self.life.note()
            except Exception:
                self._log.failure("the watch went wrong and goes on")
            tick += 1

    def look_at(self, slot: Slot, now: float) -> None:
        run = slot.running()
        if run is None:
            return
        if now >= run.deadline:
            if not run.interrupt() and now >= run.deadline + HUNG_S:
                self._replace(slot, run)
        elif now >= run.started + OVERRUN_S and slot.hand_over(run):
            self.wake_beat()

    def _replace(self, slot: Slot, run: Run) -> None:
        """A handler that does not yield keeps its thread; its job and its place go to a new slot."""
        ended = slot.abandon(run)
        if ended is None:
            return
        hung = sum(each.abandoned and not each.future.done() for each in self.shift.slots)
        self._log.warning(
            f"a handler does not yield {'when it is stopped' if run.forced else 'after its timeout'}; its thread is lost",
            job=run.job.id,
            type=run.job.type,
            lost=hung,
        )
        late = self.shift.attempts.timed_out(run)
        self.shift.reports.attempt(run, late)
        self.start_slot(slot.queue, [*ended, late])
        if run.task and not run.task.heard:
            self._log.warning("an async handler blocks the event loop: leaving, so that a new worker starts afresh")
            self.end(1)
        if hung >= self.spare:
            self._log.warning("too many handlers hang: leaving, so that a new worker starts afresh")
            self.end(1)

    def _look_at_threads(self) -> None:
        for slot in list(self.shift.slots):
            if slot.future.done() and not slot.abandoned and not self.shift.stopping.is_set():
                self._log.warning("a slot ended unasked; a new one takes its place", slot=slot.id)
                self.start_slot(slot.queue, slot.abandon(slot.running()) or [])
        if is_orphan() and not self._orphaned:
            self._log.warning("the parent is gone: draining")
            self._orphaned = True
            self.end(0)

    def _all_turn(self, now: float) -> bool:
        """Every slot has talked to Redis lately, or runs a job within its timeout."""
        return self.shift.stopping.is_set() or not any(self._is_stale(slot, now) for slot in list(self.shift.slots))

    @staticmethod
    def _is_stale(slot: Slot, now: float) -> bool:
        if slot.abandoned or now - slot.turned <= liveness.STALE_S:
            return False
        run = slot.running()
        return run is None or now >= run.deadline + liveness.STALE_S
