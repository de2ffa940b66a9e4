"""The outbox: a process that submits the jobs that programs have inserted into a table, in their own transactions.

It claims rows of ``jobqueue_outbox``, submits each under its key, and deletes it: one job a row, whatever dies in between, as long
as a row that was tried is tried again within a day. What was tried longer ago is marked ``unsure`` and left alone. On PostgreSQL
any number of relays may run, on SQLite one. One thread does it all; SIGTERM, SIGINT or SIGHUP ends it after the row that it is at.

    outbox.py --database URL             send what is inserted
    outbox.py --database URL --once      send what is there, and end: 1 when rows stay, 75 when something is away
    outbox.py --database URL --create    make the table
"""

from __future__ import annotations

import argparse
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from _jobqueue import liveness
from _jobqueue.config import Config
from _jobqueue.errors import OldProgram
from _jobqueue.logs import Log, announce, start_logging
from _jobqueue.new_job import MEMBERS
from _jobqueue.processes import MISTAKE, Signals
from _jobqueue.record.errors import RecordUnavailable, RecordUrlWrong
from _jobqueue.record.outbox import Fate, Outbox, OutboxRow
from _jobqueue.strict_json import parse_json
from jobqueue import Invalid, JobQueue, JobQueueError, NewJob, NotFound, QueueFull, TooNew, TooOld, Unavailable

STEP_S = 0.5  # between two looks at a table in which nothing was to be sent
AWAY_S = (0.5, 10.0)  # the first and the longest wait for a database that is away
BATCH_S = 60.0  # rows of a claim that are not sent by then are claimed anew
HOLD_S = (1.0, 10.0)  # a queue that takes no job now is asked again after so long
TELL_S = 10.0  # between two lines that say how many were sent
STOP_S, END_S = 5.0, 8.0  # as of history.py
UNAVAILABLE = 75
URL_MISSING = "--database (OUTBOX_URL) must say where the table is, like sqlite:///shop.db"
OPTIONS = {name for name in MEMBERS if name not in ("queue", "type", "payload")}


class Relay:
    """Sends rows, a claim at a time."""

    def __init__(self, jobs: JobQueue, outbox: Outbox, log: Log) -> None:
        self.jobs, self.outbox, self.log = jobs, outbox, log
        self.stopping = threading.Event()
        self.turned: Callable[[], None] = lambda: None  # called all the time
        self._held: dict[str, float] = {}  # queue that takes nothing now -> until when, monotonic
        self._away: set[str] = set()  # queues out of reach; '': all of Redis
        self._away_at = 0.0  # monotonic: the database; 0: it is there
        self._counts, self._told_at = Counter[str](), 0.0

    def run(self) -> None:
        """Step until ``stopping``, whatever goes wrong. Raises RecordUrlWrong where the database's driver is missing."""
        wait_s = AWAY_S[0]
        while not self.stopping.is_set():
            self.turned()
            try:
                if not self.step():
                    self.stopping.wait(STEP_S)
                wait_s = AWAY_S[0]
            except RecordUrlWrong:  # its driver is not installed
                raise
            except RecordUnavailable as error:
                if not self._away_at:
                    self._away_at = time.monotonic()
                    self.log.warning(f"nothing is sent until the database is back: {error}")
                self.stopping.wait(wait_s)
                wait_s = min(2 * wait_s, AWAY_S[1])
            except Unavailable as error:
                self._note_away("", error)
                self.stopping.wait(STEP_S)
            except Exception:
                self.log.failure("a step went wrong; the next one goes on")
                self.stopping.wait(STEP_S)
            self.tell()
        self.tell(at_once=True)

    def step(self) -> bool:
        """Send the rows of one claim. Returns whether there may be more at once. A row that the relay dies over, or
        whose answer is lost, stays marked as tried: under its key it becomes the same job."""
        if self._away:
            self.jobs.ping()  # no row is marked as tried while none can be
            self._is_back("")
        now = time.monotonic()
        self._held = {queue: until for queue, until in self._held.items() if until > now}
        claim = self.outbox.claim(self._held)
        self._database_is_back()
        for key in claim.unsure:
            self._counts["unsure"] += 1
            self.log.warning("a row was tried a day ago, and may have been sent: it is marked unsure", key=key)
        if not claim.ids:
            return bool(claim.unsure)  # they stood in front of others
        fates = [(row, *self._fate(row, now + BATCH_S)) for row in self.outbox.take(claim)]
        self.outbox.settle(claim, fates)
        self._counts.update(fate.value for _, fate, _ in fates)
        return True  # what was not sent is of a queue that is held now: it is not claimed again at once

    def _fate(self, row: OutboxRow, until: float) -> tuple[Fate, str]:
        self.turned()
        if self.stopping.is_set() or time.monotonic() > until or row.queue in self._held:
            return Fate.UNTOUCHED, ""
        try:
            fate, why = self._send(row)
        except Unavailable as error:
            self._note_away(row.queue, error)
            self._hold(row.queue)
            return Fate.UNKNOWN, ""
        except (JobQueueError, TypeError, ValueError) as error:
            fate, why = Fate.REFUSED, str(error)
        except Exception as error:  # a row that nobody foresaw must not stop the others
            self.log.failure("a row cannot be sent", error, key=row.key)
            fate, why = Fate.REFUSED, f"{type(error).__name__}: {error}"
        if fate is Fate.REFUSED:
            self.log.warning("a row is refused: it stays, with its error", key=row.key, queue=row.queue, why=why)
        self._is_back(row.queue)
        return fate, why

    def _send(self, row: OutboxRow) -> tuple[Fate, str]:
        """Submit a row. Raises what refuses it, or Unavailable when nobody knows."""
        try:
            submitted = self.jobs.submit_one(new_job(row), row.key)
        except NotFound:  # the job was stored before, and is past its retention
            return Fate.SENT, ""
        except (QueueFull, OldProgram) as error:  # the script has looked for the key before: there is no job
            self._hold(row.queue, float(getattr(error, "retry_after_s", 0)))
            return Fate.LATER, ""
        if submitted.unconfirmed:
            self._hold(row.queue)
            return Fate.UNKNOWN, ""
        return Fate.SENT, ""

    def _hold(self, queue: str, hold_s: float = 0) -> None:
        self._held[queue] = time.monotonic() + min(max(hold_s, HOLD_S[0]), HOLD_S[1])

    def _note_away(self, queue: str, error: Unavailable) -> None:
        if not self._away:
            self.log.warning(f"what cannot reach Redis waits until it is back: {error}")
        self._away.add(queue)

    def _is_back(self, queue: str) -> None:
        if queue in self._away:
            self._away.discard(queue)
            if not self._away:
                self.log("Redis is back")

    def _database_is_back(self) -> None:
        if self._away_at:
            self.log("the database is back", after_s=round(time.monotonic() - self._away_at, 1))
        self._away_at = 0.0

    def tell(self, *, at_once: bool = False) -> None:
        """How many rows were settled since it was last told, if any were, and not too often."""
        counts = {name: n for name in ("sent", "refused", "unsure") if (n := self._counts[name])}
        if counts and (at_once or time.monotonic() > self._told_at + TELL_S):
            self.log("rows", **counts)
            self._counts, self._told_at = Counter(), time.monotonic()


def new_job(row: OutboxRow) -> NewJob:
    """The job that a row asks for. Invalid, with all problems, for what cannot be."""
    options = _parsed("/options", row.options)
    if options is not None and not isinstance(options, dict):
        raise Invalid([("/options", "must be a JSON object")])
    if wrong := (options or {}).keys() - OPTIONS:
        raise Invalid([(f"/options/{name[:64]}", "is not an option of a job") for name in sorted(wrong)])
    fields: dict[str, Any] = {"queue": row.queue, "type": row.type, "payload": _parsed("/payload", row.payload)}
    return NewJob.of_json(fields | (options or {}))


def _parsed(pointer: str, raw: bytes | None) -> Any:
    if raw is None:
        return None
    try:
        return parse_json(raw)
    except Invalid as error:
        raise Invalid([(pointer, detail) for _, detail in error.problems]) from None


# -------------------------------------------------------------------------------------------------------------- process


def _flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--create", action="store_true", help="make the table jobqueue_outbox, and end")
    parser.add_argument("--once", action="store_true", help="send what is there, and end")
    parser.add_argument(
        "--check", action="store_true", help="liveness probe: exit 0 when the process here really steps"
    )


def create(outbox: Outbox) -> int:
    """Make the table. Returns the exit code."""
    try:
        outbox.create()
    except RecordUrlWrong as error:
        print(f"outbox.py: {error}", file=sys.stderr)
        return MISTAKE
    except RecordUnavailable as error:
        print(f"outbox.py: {error}", file=sys.stderr)
        return UNAVAILABLE
    print("made the table jobqueue_outbox")
    return 0


def once(relay: Relay) -> int:
    """Send what is there. Returns the exit code."""
    try:
        while relay.step() and not relay.stopping.is_set():
            pass
        waiting, refused, unsure = relay.outbox.waiting()
    except (RecordUnavailable, Unavailable) as error:
        print(f"outbox.py: {error}", file=sys.stderr)
        return UNAVAILABLE
    finally:
        relay.tell(at_once=True)
    if waiting + refused + unsure:
        print(f"outbox.py: {waiting} rows wait, {refused} are refused, {unsure} are unsure", file=sys.stderr)
    return 1 if waiting + refused + unsure else 0


def _queues_of(config: Config) -> JobQueue:
    return JobQueue(
        config.redis_url,
        defaults=config.policy,
        durability=config.durability,
        queues_max=config.queues_max,
        webhooks=config.webhooks,
    )


def main() -> int:
    config, options = Config.parse("outbox", "Submits what stands in jobqueue_outbox.", ("outbox_url",), _flags)
    if options.check:
        return liveness.check("outbox")
    if not config.outbox_url:
        print(f"outbox.py: {URL_MISSING}", file=sys.stderr)
        return MISTAKE
    if options.create:
        return create(Outbox(config.outbox_url))
    log, signals = start_logging(config, "outbox"), Signals()
    life = liveness.Life("outbox", log)
    signals.end_within(END_S, log)
    announce(config, log)
    relay = Relay(_queues_of(config), Outbox(config.outbox_url), log)
    try:
        if options.once:
            relay.jobs.check_version()
            relay.jobs.check_format()
        else:
            relay.jobs.wait_until_ready(life.while_waiting(signals), log.warning)
    except Unavailable as error:
        print(f"outbox.py: {error}", file=sys.stderr)
        return UNAVAILABLE
    except (TooNew, TooOld) as error:
        print(f"outbox.py: {error}", file=sys.stderr)
        return MISTAKE
    relay.turned = life.note
    codes: list[int] = []
    sending = threading.Thread(target=_relay, args=(relay, signals, codes, options.once), daemon=True)
    sending.start()
    if not signals.is_set():
        signals.wait()
    relay.stopping.set()
    sending.join(STOP_S)
    life.forget()
    log("stopped")
    return codes[0] if codes else 0


def _relay(relay: Relay, signals: Signals, codes: list[int], ends: bool) -> None:
    try:
        if ends:
            codes.append(once(relay))
        else:
            relay.run()
    except RecordUrlWrong as error:
        print(f"outbox.py: {error}", file=sys.stderr)
        codes.append(MISTAKE)
    finally:
        signals.stop()


if __name__ == "__main__":
    sys.exit(main())
