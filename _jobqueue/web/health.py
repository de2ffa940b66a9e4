"""What is wrong and what to do about it, in sentences."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from _jobqueue.books import Look
from _jobqueue.by_type import ByType
from _jobqueue.records import DELIVERY, ENDED, NO_REAPER, STATUSES, Warned
from _jobqueue.sentences import jobs_wait, no_handler, none_serves, span
from _jobqueue.store.new_dead import NewDead
from _jobqueue.web import backlog, fullness
from _jobqueue.web.diagnosis import Patience
from _jobqueue.web.findings import About, Finding, of_no_queue, ranked
from _jobqueue.web.long_runs import long_runs
from _jobqueue.web.rates import crew, last, types_of

UNENDED = tuple(status for status in STATUSES if status not in ENDED)
OLD_MS = 60_000
KINDS_TOLD = 3  # kinds of error of a queue that have a finding of their own


class Seen(NamedTuple):
    """What was read beside the looks. ``lease_s``: this program's setting."""

    lease_s: float
    due: Mapping[str, tuple[str, int]]  # of queues that have schedules, which is due first, and when
    types: Mapping[str, ByType]
    dead: Mapping[str, Sequence[NewDead]]  # of queues in which jobs have failed for good lately


def health(
    looks: dict[str, Look], server_warnings: Iterable[Warned], patience: Patience, seen: Seen
) -> list[dict[str, Any]]:
    """What is wrong, the worst first, each with what to do; [] when all is well."""
    unended = sum(_unended(look) for look in looks.values())
    found = of_no_queue([*server_warnings, *backlog.warnings(looks, span)], unended)
    found += _without_reaper(looks, patience, unended)
    for queue, look in looks.items():
        types = seen.types.get(queue)
        found += (
            *_of_workers(queue, look, types),
            *_of_jobs(queue, look),
            *long_runs(queue, look, types, span),
            *_dead(queue, seen.dead.get(queue, ())),
            *_settings(queue, look, seen.lease_s),
            *_clock(queue, look, seen.due.get(queue)),
        )
    now_ms = max((look.books.now_ms for look in looks.values()), default=0)
    return [each.as_dict() for each in ranked(found, now_ms)]


def fails_since(looks: Mapping[str, Look]) -> tuple[list[str], int]:
    """The queues in which jobs have failed for good in the last minutes, and when these began, in ms."""
    first = min((minute for look in looks.values() for minute in last(look.minutes)), default=0)
    failing = [queue for queue, look in looks.items() if look.books.sizes["failed"] and _lately(look, "failed")]
    return failing, first * 60_000


def _unended(look: Look) -> int:
    return sum(look.books.sizes[status] for status in UNENDED)


def _lately(look: Look, counter: str) -> int:
    return sum(counts.get(counter, 0) for counts in last(look.minutes).values())


def _first_ms(look: Look, counter: str) -> int | None:
    """When the first of the last minutes began in which it was counted."""
    return min((60_000 * minute for minute, counts in last(look.minutes).items() if counts.get(counter)), default=None)


def _waits_since(look: Look, name: str, types: ByType | None) -> tuple[int | None, int | None]:
    """How many jobs of a type wait, and since when the oldest one does, where that is known."""
    waiting = types.waiting.get(name) if types else None
    return (round(waiting.jobs), waiting.since_ms) if waiting else (None, None)


# ---------------------------------------------------------------------------------------------------------- who is missing


def _without_reaper(looks: Mapping[str, Look], patience: Patience, unended: int) -> Iterator[Finding]:
    missed = [queue for queue, look in looks.items() if patience.misses_reaper(queue, look.books)]
    if not any(look.books.reaper_lives for look in looks.values()):
        ticked = [each for look in looks.values() if (each := look.books.reaper_ms) is not None]
        if missed:
            yield Finding(
                "no_reaper", NO_REAPER, short="no reaper runs", jobs=unended, since_ms=max(ticked, default=None)
            )
        return
    for queue in missed:
        ticked_ms = looks[queue].books.reaper_ms
        if ticked_ms is not None:  # else it is new to the reaper that lives, which will find it
            text = f"queue {queue}: {NO_REAPER}"
            yield Finding("no_reaper", text, queue, "no reaper runs", _unended(looks[queue]), ticked_ms)


def _of_workers(queue: str, look: Look, types: ByType | None) -> Iterator[Finding]:
    """What no worker does, and workers that are not heard of any more."""
    books, waiting = look.books, look.books.sizes["queued"]
    if waiting and not crew(look)[0] and not books.paused:
        short = f"{jobs_wait(waiting)}, no worker"
        yield Finding(
            "no_worker", f"{jobs_wait(waiting)}: {none_serves(queue)}", queue, short, waiting, books.waits_since_ms
        )
    elif waiting and crew(look)[0]:
        for name in sorted(set(look.types) - types_of(look)):
            jobs, since_ms = _waits_since(look, name, types)
            short = f"no handler for the type {name}"
            yield Finding("no_handler", no_handler(queue, name), queue, short, jobs, since_ms, About(name))
    if books.untold.queued and DELIVERY not in types_of(look) and DELIVERY not in look.types:
        short = "no worker delivers webhooks"
        about = About(DELIVERY)
        yield Finding("no_handler", no_handler(queue, DELIVERY), queue, short, books.untold.queued, about=about)
    for worker, info in look.workers.items():
        if not look.lives(worker):
            process = "over HTTP from" if info.get("http") else f"pid {info.get('pid')} on"
            ago = span(books.now_ms - info["beat_ms"])
            yield Finding(
                "worker_lost",
                f"worker {worker} of the queue {queue} ({process} {info.get('host')}) was last heard of {ago} ago: "
                "what it ran is taken back once its leases have ended; see on its host why it has stopped",
                queue,
                f"a worker on {info.get('host')} is lost",
                len(info.get("running", ())),
                info["beat_ms"],
                About(worker=worker),
            )


# ---------------------------------------------------------------------------------------------------------- what waits


def _of_jobs(queue: str, look: Look) -> Iterator[Finding]:
    books, (workers, threads, busy) = look.books, crew(look)
    waiting, since_ms = books.sizes["queued"], books.waits_since_ms
    if books.missing:
        yield Finding(
            "books",
            f"queue {queue}: the books do not balance, {books.missing:+d} submitted jobs are nowhere: find out which "
            f"(python jobqueue.py check --queue {queue})",
            queue,
            "the books do not balance",
            abs(books.missing),
        )
    if books.paused:
        lacks = f"; {none_serves(queue)}" if waiting and not workers else ""
        text = f"queue {queue} is paused: {jobs_wait(waiting)} until it is resumed{lacks}"
        yield Finding("paused", text, queue, f"paused: {jobs_wait(waiting)}", waiting, since_ms)
    for name in books.paused_types:
        text = f"queue {queue}: the type {name} is paused: its jobs wait until it is resumed"
        yield Finding("paused", text, queue, f"the type {name} is paused", about=About(name))
    if waiting and workers and not books.paused and (books.oldest_age_ms or 0) > OLD_MS:
        age = span(books.oldest_age_ms)
        yield Finding(
            "old_job",
            f"queue {queue}: the oldest job has waited for {age}, {busy} of {threads} threads are busy: "
            f"{_for_old_jobs(queue, all_busy=busy >= threads)}",
            queue,
            f"{jobs_wait(waiting)}, the oldest for {age}",
            waiting,
            (since_ms or 0) + OLD_MS,
        )
    if full := fullness.warning(queue, look):
        jobs = max(_lately(look, "turned_away"), books.waiting)
        yield Finding("queue_full", full, queue, "full", jobs, _first_ms(look, "turned_away"))
    if books.stuck:
        more = f" and {len(books.stuck) - 1} more" if len(books.stuck) > 1 else ""
        yield Finding(
            "blocked",
            f"queue {queue}: jobs wait for the dead letter {books.stuck[0]}{more}: retry it, and they go on; or cancel them",
            queue,
            "jobs wait for a dead letter",
            books.sizes["blocked"],
            about=About(job_id=books.stuck[0]),
        )
    if n := books.untold.failed:
        told = "1 webhook was" if n == 1 else f"{n:,} webhooks were"
        text = (
            f"queue {queue}: {told} given up: see why in the dead letters of the type {DELIVERY}, put it right, retry"
        )
        yield Finding("webhooks", text, queue, f"{told} given up", n)


def _for_old_jobs(queue: str, all_busy: bool) -> str:
    more = f"start more workers (python worker.py --queues {queue})"
    return f"{more}, or see what keeps these" if all_busy else f"see on its page why it does not start, or {more}"


def _dead(queue: str, kinds: Sequence[NewDead]) -> Iterator[Finding]:
    """A finding for each of the kinds of error that have the most new dead letters, and one for all others."""
    advice = "see why, put it right, retry"
    for kind, in_all, new, since_ms in kinds[:KINDS_TOLD]:
        more = f" ({in_all:,} in all)" if in_all > new else ""
        text = f"queue {queue}: {_letters(new)} of the kind {kind} in the last minutes{more}: {advice}"
        yield Finding("dead_letters", text, queue, f"{_letters(new)}{more}: {kind}", in_all, since_ms, About(kind=kind))
    if others := kinds[KINDS_TOLD:]:
        kinds_of = f"{len(others)} other kinds" if len(others) > 1 else "another kind"
        new = sum(each.new for each in others)
        text = f"queue {queue}: {_letters(new)} of {kinds_of} in the last minutes: {advice}"
        since_ms = min(each.since_ms for each in others)
        yield Finding("dead_letters", text, queue, f"{_letters(new)} of {kinds_of}", new, since_ms)


def _letters(n: int) -> str:
    return "1 new dead letter" if n == 1 else f"{n:,} new dead letters"


# ---------------------------------------------------------------------------------------------------------- settings, clocks


def _settings(queue: str, look: Look, lease_s: float) -> Iterator[Finding]:
    """Each worker goes by its own lease, but a job without a timeout of its own gets its worker's."""
    named: dict[float, str] = {lease_s: "this API"}
    if look.books.reaper_lives and look.books.reaper_lease_ms:
        named.setdefault(look.books.reaper_lease_ms / 1000, "the reaper")
    for worker, info in look.workers.items():
        if look.lives(worker) and isinstance(info.get("lease_s"), (int, float)) and not info.get("http"):
            named.setdefault(info["lease_s"], f"worker {worker}")
    if len(named) > 1:
        said = ", ".join(f"{lease:g} for {who}" for lease, who in named.items())
        text = f"queue {queue}: PROCESSING_TIMEOUT_S is {said}: set it alike for all processes"
        yield Finding("leases_differ", text, queue, "PROCESSING_TIMEOUT_S differs between processes")


def _clock(queue: str, look: Look, first: tuple[str, int] | None) -> Iterator[Finding]:
    """What the schedules of a queue did not do."""
    if first and look.books.now_ms - first[1] > OLD_MS:
        name, due_ms = first
        ago = span(look.books.now_ms - due_ms)
        why = "no reaper fires it: start one (python reaper.py), or see in its log what keeps it"
        text = f"queue {queue}: the schedule {name} was due {ago} ago, and {why}"
        yield Finding("schedule_late", text, queue, f"the schedule {name} was due {ago} ago", 1, due_ms)
    if missed := _lately(look, "schedules_missed"):
        times = "1 due time of a schedule" if missed == 1 else f"{missed} due times of schedules"
        passed = f"{times} passed without a job"
        text = f"queue {queue}: {passed} in the last minutes: no reaper was there in time, or the queue took no job"
        yield Finding("schedules_missed", text, queue, passed, missed, _first_ms(look, "schedules_missed"))
