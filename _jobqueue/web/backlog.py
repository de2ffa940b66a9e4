"""What waits for the record, in sentences and numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from _jobqueue.books import Backlog, Look
from _jobqueue.records import HISTORY_LOST_MS, Warned
from _jobqueue.web.rates import last
from _jobqueue.web.samples import Family

BEHIND_MS = 60_000


def warnings(looks: Mapping[str, Look], span: Callable[[float], str]) -> Iterator[Warned]:
    """Sentences about all queues together; none where no record is kept. ``span``: a length of time in ms for people."""
    kept = [(look, look.books.record) for look in looks.values() if look.books.record]
    given_up = sum(counts.get("unrecorded", 0) for look, _ in kept for counts in last(look.minutes).values())
    if given_up:
        yield Warned(
            "record_lost",
            f"{_changes(given_up)} of the last minutes will not be in the record: more waited than HISTORY_HOLD_MAX",
        )
    size = sum(record.size for _, record in kept)
    age_ms = max((age_of(look, record) for look, record in kept), default=0)
    waits = f"{_changes(size)}, the first for {span(age_ms)}" if size else "none yet"
    away = [(look.books.now_ms - record.away_ms, record.away) for look, record in kept if record.away_ms is not None]
    if away:
        away_ms, why = max(away)
        yield Warned("record_away", f"nothing has been recorded for {span(away_ms)}: {why}; waiting: {waits}")
    elif kept and all(_is_lost(look, record) for look, record in kept):
        yield Warned(
            "record_behind",
            f"no process keeps the record; waiting: {waits}. Start one (python history.py), or end the record (python history.py stop)",
        )
    elif age_ms > BEHIND_MS:
        yield Warned(
            "record_behind", f"the record is behind; waiting: {waits}. Start another history.py, or see its log"
        )
    for queue, look in looks.items():
        record = look.books.record
        if record and record.refused:
            jobs = "1 job" if record.refused == 1 else f"{record.refused} jobs"
            yield Warned(
                "record_refused",
                f"the record has refused {jobs} of the queue {queue}, for instance {record.refused_id}: {record.refused_why}",
            )


def families(looks: Mapping[str, Look]) -> Iterator[Family]:
    """None where no record is kept."""
    kept = {queue: (look, look.books.record) for queue, look in looks.items() if look.books.record}
    if not kept:
        return
    sizes = [({"queue": queue}, float(record.size)) for queue, (_, record) in kept.items()]
    yield "record_waiting", "gauge", "Jobs whose last change is not in the record.", sizes
    ages = [({"queue": queue}, age_of(look, record) / 1000) for queue, (look, record) in kept.items()]
    yield "record_age_seconds", "gauge", "For how long the first of them has waited.", ages
    away = [({"queue": queue}, float(record.away_ms is not None)) for queue, (_, record) in kept.items()]
    yield "record_away", "gauge", "1 while the record's process finds no database.", away
    refused = [({"queue": queue}, float(record.refused)) for queue, (_, record) in kept.items()]
    yield "record_refused", "gauge", "Jobs that the record has refused.", refused
    lost = [({"queue": queue}, float(look.books.totals.get("unrecorded", 0))) for queue, (look, _) in kept.items()]
    yield "record_lost_total", "counter", "Changes that will not be in the record: too many waited.", lost


def age_of(look: Look, record: Backlog) -> int:
    """For how many ms the first change has waited."""
    return max(0, look.books.now_ms - record.since_ms) if record.since_ms else 0


def _is_lost(look: Look, record: Backlog) -> bool:
    return record.seen_ms is None or look.books.now_ms - record.seen_ms > HISTORY_LOST_MS


def _changes(n: int) -> str:
    return "1 change" if n == 1 else f"{n} changes"
