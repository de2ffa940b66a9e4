"""The record: a process that keeps each job in SQL as it last was. Any number may run at once, and on the same database.

It reads which jobs have changed, writes them in one transaction, and then removes the marks of those that have not changed
since: killed anywhere, it does so once more, and the same rows are there. A database that is away delays nobody; the marks
wait. One thread does all that; SIGTERM, SIGINT or SIGHUP ends it after the step that it is at, or after STOP_S.

    history.py --database URL          keep the record
    history.py check --database URL    name what is open in the record and lost in Redis; exit 1 when there is something
    history.py stop                    keep none any more: marks are no longer made, those that wait are forgotten
"""

from __future__ import annotations

import argparse
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

from _jobqueue import liveness
from _jobqueue.config import Config
from _jobqueue.logs import Log, announce, start_logging
from _jobqueue.processes import MISTAKE, Signals
from _jobqueue.record.database import Record, open_record
from _jobqueue.record.errors import RecordTooNew, RecordUnavailable, RecordUrlWrong
from _jobqueue.record.row import Row
from _jobqueue.records import ENDED
from _jobqueue.store.unsaved import READ_JOBS, STEP, Standing, Unsaved
from jobqueue import JobQueue, TooNew, TooOld, Unavailable

STEP_S = 0.5  # between two looks at queues in which nothing more was waiting
AWAY_S = (0.5, 10.0)  # the first and the longest wait for a database that is away
BUSY = 4 * READ_JOBS  # while more than so many jobs wait, nothing is compared
COMPARE_S = 60.0  # between two comparisons, while a worker of the release before makes no marks
GIVE_UP_STEPS = 200  # at once: above the rate of any queue, also with AWAY_S[1] in between
EXPIRE_S = 60.0
EXPIRE_STEPS = 20  # at once, each of a bounded number of jobs
STOP_S = 5.0  # a step that waits for the database delays a stop no longer
END_S = 8.0  # nor does anything else, above STOP_S
UNAVAILABLE = 75
CHECK_JOBS = 1000  # that `check` reads in one statement, perhaps from all over a disk
NAMED_MOST = 1000  # lost jobs that `check` names
URL_MISSING = "--database (HISTORY_URL) must say where the record is, like sqlite:///data/history.db"


class History:
    """One step of all queues at a time."""

    def __init__(self, jobs: JobQueue, record: Record, config: Config, log: Log) -> None:
        self.jobs, self.marks, self.record, self.config, self.log = jobs, jobs.marks, record, config, log
        self.stopping = threading.Event()
        self.turned: Callable[[], None] = lambda: None  # called all the time
        self.mistake = ""  # why to go on would be useless
        self.kept: set[str] = set()  # queues that were told how their record is to be kept
        self.comparisons: dict[str, Comparison] = {}
        self._migrated = False
        self._redis_away_at = self._away_at = 0.0  # monotonic; 0: it is there
        self._compare_at = self._expire_at = 0.0
        self._read_ms: dict[str, int] = {}  # when each queue was last read, as Redis has noted it
        self._old: set[str] = set()  # queues with workers that make no marks

    def run(self) -> None:
        """Step until ``stopping``, whatever goes wrong, or until there is a ``mistake``."""
        wait_s = AWAY_S[0]
        while not self.stopping.is_set():
            self.turned()
            try:
                busy = self.step()
                self._is_back()
                wait_s = AWAY_S[0]
                if not busy:
                    self.stopping.wait(STEP_S)
            except (RecordTooNew, RecordUrlWrong) as error:
                self.mistake = str(error)
                return
            except RecordUnavailable as error:
                self._migrated = False  # it may come back empty
                self._note_away(error)
                self.stopping.wait(wait_s)
                wait_s = min(2 * wait_s, AWAY_S[1])
            except Unavailable as error:
                if not self._redis_away_at:
                    self._redis_away_at = time.monotonic()
                    self.log.warning(f"nothing can be read until Redis is back: {error}")
                self.stopping.wait(STEP_S)
            except Exception:
                self.log.failure("a step went wrong; the next one goes on")
                self.stopping.wait(STEP_S)

    def step(self) -> bool:
        """Write some of what waits, of each queue. Returns whether there is more to do at once. Raises Unavailable when a queue
        was out of reach; the others, on a Cluster perhaps elsewhere, have had their turn."""
        if not self._migrated:
            for applied in self.record.migrate():
                self.log("brought the record's tables up to date", applied=applied)
            self._migrated = True
        busy, away = False, None
        for queue in self.jobs.queues():
            if self.stopping.is_set():
                return False
            self.turned()
            try:
                busy |= self._step_queue(queue)
            except Unavailable as error:
                away = error
        self._expire()
        if away:
            raise away
        return busy

    def _step_queue(self, queue: str) -> bool:
        if queue not in self.kept:
            self._keep(queue)
        highest = self.record.highest(queue)  # before Redis is asked: another process may be writing
        read = self.marks.read(queue)
        if read.rev is None:  # it was forgotten and is used again, or Redis has lost its data
            self._keep(queue)
            return True
        last_ms, self._read_ms[queue] = self._read_ms.get(queue, 0), read.at_ms
        if read.rev < highest or read.before_ms < last_ms:
            self.log.warning("Redis has lost its latest changes; what it holds is written anew", queue=queue)
            self.marks.raise_above(queue, highest)
            self.comparisons[queue] = Comparison(self, queue, all_of_it=True)
            return True
        self._write(queue, read.jobs)
        if read.size > self.config.history_hold_max:
            self._give_up(queue)
        more = 0 < len(read.jobs) < read.size  # what is set aside counts too, and is not read
        return more or (read.size < BUSY and self._compare(queue))

    def _keep(self, queue: str) -> None:
        every = self.config.history_detail == "all"
        if self.marks.keep(queue, self.config.history_hold_max, claims=every):
            self.log("keeping a record", queue=queue)
        self.marks.try_again(queue)
        self.comparisons[queue] = Comparison(self, queue)
        self.kept.add(queue)

    def _write(self, queue: str, jobs: list[Unsaved]) -> None:
        """Whoever dies between the two leaves the marks: the next one writes the same rows."""
        if not jobs:
            return
        rows = [Row(each.job, each.rev, each.deleted) for each in jobs if each.job]
        why = {each.id: each.why for each in jobs if each.why} | dict(self.record.write(rows))
        for job_id, reason in why.items():
            self.log.warning("the record refuses a job: set aside", job=job_id, queue=queue, why=reason)
        saved = [each for each in jobs if each.id not in why]
        self.marks.confirm(queue, saved, [(each, why[each.id]) for each in jobs if each.id in why])

    def _give_up(self, queue: str) -> None:
        given_up = 0
        for _ in range(GIVE_UP_STEPS):
            given_up += (some := self.marks.give_up(queue))
            self.turned()
            if some < STEP or self.stopping.is_set():
                break
        if given_up:
            self.log.warning("more waits for the record than it may hold: gave up the oldest", n=given_up, queue=queue)

    def _compare(self, queue: str) -> bool:
        """One step of a comparison. Returns whether there are more."""
        if queue not in self.comparisons:
            if time.monotonic() < self._compare_at:
                return False
            self._compare_at = time.monotonic() + COMPARE_S
            return self._compare_for_old_workers()
        if self.comparisons[queue].step():
            return True
        del self.comparisons[queue]
        return False

    def _compare_for_old_workers(self) -> bool:
        """And once more when they have gone."""
        looks = self.jobs.looks()
        old = {queue for queue, look in looks.items() if not all(info.get("marks") for info in look.workers.values())}
        for queue in old | (self._old & looks.keys()):
            self.comparisons[queue] = Comparison(self, queue)
        self._old = old
        return bool(self.comparisons)

    def _expire(self) -> None:
        if time.monotonic() < self._expire_at:
            return
        self._expire_at = time.monotonic() + EXPIRE_S
        for _ in range(EXPIRE_STEPS):
            self.turned()
            if self.stopping.is_set() or not self.record.expire(self.config.history_ttl_days):
                break

    def _note_away(self, error: RecordUnavailable) -> None:
        """Tell health, and see that the marks do not fill Redis."""
        if not self._away_at:
            self._away_at = time.monotonic()
            self.log.warning(f"nothing is written until the database is back: {error}")
        away_s = time.monotonic() - self._away_at
        with suppress(Unavailable):
            for queue in self.jobs.queues():
                since_ms = self.jobs.store.now_ms(queue) - round(1000 * away_s)
                read = self.marks.read(queue, f"{since_ms} {error.public}", most=0)
                if read.size > self.config.history_hold_max:
                    self._give_up(queue)

    def _is_back(self) -> None:
        if self._away_at:
            self.log("the database is back", after_s=round(time.monotonic() - self._away_at, 1))
        if self._redis_away_at:
            self.log("Redis is back", after_s=round(time.monotonic() - self._redis_away_at, 1))
        self._away_at = self._redis_away_at = 0.0


class Comparison:
    """Marks what Redis holds and the record does not hold as it is, though no transition has said so: what was there before the
    record, what a program of the release before has changed, what a failover has brought back (``all_of_it``: mark all)."""

    def __init__(self, history: History, queue: str, *, all_of_it: bool = False) -> None:
        self._history, self._queue, self._all_of_it = history, queue, all_of_it
        self._steps: Iterator[list[str]] = history.marks.held(queue)
        self._marked = 0

    def step(self) -> bool:
        """Compare some jobs. False when it has come to its end."""
        ids = next(self._steps, None)
        if ids is None:
            if self._marked:
                self._history.log("found jobs that the record lacked", n=self._marked, queue=self._queue)
            return False
        if not self._all_of_it:
            # First Redis: a job that changes in between is marked, and what is written in between is newer.
            standing = self._history.marks.standing(self._queue, ids)
            known = self._history.record.statuses(ids)
            ids = [
                job_id
                for job_id, now in standing.items()
                if now.status and not now.marked and not _agree(now, *known.get(job_id, (None, None)))
            ]
        if ids:
            self._marked += self._history.marks.mark(self._queue, ids)
        return True


def _agree(in_redis: Standing, status: str | None, at_ms: int | None) -> bool:
    """A claim makes no mark: what runs may be queued in the record. A job may have ended once more, in the same way."""
    if in_redis.status != status:
        return (in_redis.status, status) == ("processing", "queued")
    return in_redis.at_ms is None or in_redis.at_ms == at_ms


# ------------------------------------------------------------------------------------------------------------ commands


def lost(jobs: JobQueue, record: Record) -> Iterator[str]:
    """Sentences on jobs that have not ended as far as the record knows, and that Redis does not have."""
    after = ""
    while states := record.states(after, CHECK_JOBS):
        after = states[-1].id
        open_: dict[str, dict[str, int]] = {}
        for state in states:
            if state.status not in ENDED and not state.deleted:
                open_.setdefault(state.queue, {})[state.id] = state.rev
        for queue, revs in sorted(open_.items()):
            yield from _lost_of(jobs, record, queue, revs)


def _lost_of(jobs: JobQueue, record: Record, queue: str, revs: dict[str, int]) -> Iterator[str]:
    """``revs``: of jobs that were open when the record was read. Each may have been deleted or trimmed, and written, since."""
    for job_id, now in jobs.marks.standing(queue, list(revs)).items():
        if now.status or now.marked:
            continue
        row = record.get(job_id)
        if row and row.rev == revs[job_id] and not row.deleted:
            yield f"{queue}: job {job_id} is {row.job.status} in the record, and Redis has lost it"


def check(jobs: JobQueue, record: Record) -> int:
    """Print what is lost. Returns the exit code."""
    n = 0
    for n, sentence in enumerate(lost(jobs, record), 1):
        if n <= NAMED_MOST:
            print(sentence)
    if n > NAMED_MOST:
        print(f"and {n - NAMED_MOST} more")
    if not n:
        print("ok: Redis has each job that has not ended in the record")
    return 1 if n else 0


def stop(jobs: JobQueue) -> int:
    """End the marking. Returns the exit code."""
    for queue in jobs.queues():
        if not jobs.marks.stop(queue):
            print(
                "history.py: a process of the record lives, or has ended in the last 15 s, and would start again: stop it first",
                file=sys.stderr,
            )
            return 1
    print("no record is kept any more; what was written stays where it is")
    return 0


def _command(name: str, config: Config) -> int:
    jobs = JobQueue(config.redis_url, defaults=config.policy)
    try:
        if name == "stop":
            return stop(jobs)
        record = open_record(config.history_url, read_only=True)
        try:
            return check(jobs, record)
        finally:
            record.close()
    except (Unavailable, RecordUnavailable) as error:
        print(f"history.py: {error}", file=sys.stderr)
        return UNAVAILABLE
    except (RecordTooNew, RecordUrlWrong) as error:
        print(f"history.py: {error}", file=sys.stderr)
        return MISTAKE


# -------------------------------------------------------------------------------------------------------------- process


def _flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "command",
        nargs="?",
        choices=["check", "stop"],
        help="check: name what is open in the record and lost in Redis; stop: keep none any more",
    )
    parser.add_argument(
        "--check", action="store_true", help="liveness probe: exit 0 when the process here really steps"
    )


def main() -> int:
    config, options = Config.parse("history", "Keeps a record of all jobs in SQL.", ("history_url",), _flags)
    if options.check:
        return liveness.check("history")
    if not config.history_url and options.command != "stop":
        print(f"history.py: {URL_MISSING}", file=sys.stderr)
        return MISTAKE
    if options.command:
        return _command(options.command, config)
    log, signals = start_logging(config, "history"), Signals()
    life = liveness.Life("history", log)
    signals.end_within(END_S, log)
    announce(config, log)
    jobs = JobQueue(config.redis_url, defaults=config.policy)
    try:
        record = open_record(config.history_url, payloads=config.history_payloads)
        jobs.wait_until_ready(life.while_waiting(signals), log.warning)
    except (TooNew, TooOld, RecordUrlWrong) as error:
        print(f"history.py: {error}", file=sys.stderr)
        return MISTAKE
    history = History(jobs, record, config, log)
    history.turned = life.note
    keeping = threading.Thread(target=_keep, args=(history, signals), daemon=True)
    keeping.start()
    if not signals.is_set():
        signals.wait()
    history.stopping.set()
    keeping.join(STOP_S)
    life.forget()
    if history.mistake:
        print(f"history.py: {history.mistake}", file=sys.stderr)
        return MISTAKE
    log("stopped")
    return 0


def _keep(history: History, signals: Signals) -> None:
    history.run()
    signals.stop()


if __name__ == "__main__":
    sys.exit(main())
