"""The verbs that look after the data: check, migrate, and schedules apply."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from _jobqueue.commands import show
from _jobqueue.commands.backend import FAILED, OK, USAGE, Backend
from _jobqueue.commands.direct import OnRedis
from _jobqueue.commands.queues import name
from _jobqueue.errors import Invalid, QueueNotFound
from _jobqueue.records import BEAT_LOST_MS
from _jobqueue.store.schedule_files import apply


def add(verbs: Any, actions: Any, common: argparse.ArgumentParser, on_redis: argparse.ArgumentParser) -> None:
    """``actions``: those of schedules. ``common``: flags of every verb, ``on_redis``: those of one that needs Redis itself."""
    check = verbs.add_parser("check", parents=[common], help="say whether every invariant holds and the books balance")
    check.add_argument("--repair", action="store_true", help="put right what can be; not over --url")
    check.add_argument("--queue", action="append", type=name, help="only this queue (again for more)")
    check.set_defaults(do=_check, doing="check")

    migrate = verbs.add_parser("migrate", parents=[on_redis], help="bring the data to the format of another release")
    migrate.add_argument(
        "--to",
        type=int,
        required=True,
        choices=[1],
        help="1: of the release before, which knows no limits: they are forgotten",
    )
    migrate.add_argument("--queue", action="append", type=name, help="only this queue (again for more)")
    migrate.set_defaults(do=_migrate, doing="migrate")

    file = actions.add_parser("apply", parents=[common], help="make a queue's schedules equal a file's")
    file.add_argument("file", help='JSON: {"queue": name, "schedules": {name: ...}}; - for standard input')
    file.add_argument("--dry-run", action="store_true", help="say what would change, and change nothing")
    file.set_defaults(do=_apply, doing="apply schedules")


def _check(backend: Backend, options: argparse.Namespace) -> int:
    """0 and one line when all is well, else 1 and a line for each violation."""
    there = backend.queues()
    names = _wanted(options.queue, there)
    if options.repair:
        assert isinstance(backend, OnRedis)
        found = {queue: backend.jobs.check(queue, repair=True) for queue in names}
    else:
        found = {queue: backend.check(queue) for queue in names}
    wrong = [line for lines in found.values() for line in lines]
    if options.json:
        show.say(show.to_json({"queues": found, "jobs": sum(there.get(queue, 0) for queue in names)}))
        return FAILED if wrong else OK
    for line in wrong:
        show.say(line + ("  (repaired where possible; check again)" if options.repair else ""))
    if not wrong:
        jobs = sum(there.get(queue, 0) for queue in names)
        show.say(
            f"ok: {_count(jobs, 'job')} in {_count(len(names), 'queue')}, every invariant holds and the books balance"
        )
    return FAILED if wrong else OK


def _wanted(named: Sequence[str] | None, there: Collection[str]) -> list[str]:
    """Those that are named, or all. QueueNotFound: all is well in a queue that is not there, so a wrong name would look good."""
    for queue in named or ():
        if queue not in there:
            raise QueueNotFound(queue)
    return list(named or there)


def _count(n: int, what: str) -> str:
    return f"{n} {what}" if n == 1 else f"{n} {what}s"


def _migrate(backend: OnRedis, options: argparse.Namespace) -> int:
    """0 when the release before can go on; 1 while workers of this one would park jobs again, or jobs are blocked. That is looked for
    in all queues before anything is changed, and again after, for a worker that has started meanwhile."""
    queues = _wanted(options.queue, backend.jobs.queues())
    if [queue for queue in queues if _in_the_way(queue, *backend.jobs.migrate(queue, 0)[1:])]:
        show.warn("nothing was changed")
        return FAILED
    good = True
    for queue in queues:
        limits, most = len(backend.limits(queue)), backend.jobs.books(queue).max_queued
        moved, *left = backend.jobs.migrate(queue)
        show.say(f"{queue}: {moved} parked jobs are back in the queue")
        if limits or most is not None:
            what = " and ".join([_count(limits, "limit")] * (limits > 0) + ["max_queued"] * (most is not None))
            show.say(f"{queue}: forgotten: {what}")
        good &= not _in_the_way(queue, *left)
    return OK if good else FAILED


def _in_the_way(queue: str, workers: int, blocked: int) -> bool:
    """Whether a queue cannot go back now. Says why, and what to do."""
    if workers:
        alive = f"served by {_count(workers, 'worker')} of this release, which would park jobs again"
        show.warn(
            f"{queue} is {alive}: stop them and repeat this; one that was killed counts for {BEAT_LOST_MS // 1000} s"
        )
    if blocked:
        wait = "1 job waits" if blocked == 1 else f"{blocked} jobs wait"
        show.warn(f"{queue}: {wait} for others: let them end or cancel them, and repeat this")
    return bool(workers or blocked)


def _apply(backend: Backend, options: argparse.Namespace) -> int:
    """0 when the file's schedules are the queue's (or would be); 1 for a file that is wrong: nothing has changed."""
    file = options.file
    try:
        text = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
        changes = apply(backend.plans, text, _silent if options.json else show.say, dry_run=options.dry_run)
    except OSError as error:
        show.warn(f"jobqueue.py: {file}: {error.strerror}")
        return USAGE
    except Invalid as error:
        for pointer, detail in error.problems:
            show.warn(f"{file}: {pointer or 'the file'}: {detail}")
        return FAILED
    said = "1 change" if changes == 1 else f"{changes} changes"
    said += ", if this were no dry run" if options.dry_run else ""
    show.answer({"changes": changes, "dry_run": options.dry_run}, options.json, said)
    return OK


def _silent(line: str) -> None:
    pass
