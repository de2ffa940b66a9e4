"""When a schedule is due: by an interval, or by a cron expression in a time zone.

A cron expression whose minute and hour are both given names times of day: one that a change of the clock leaves out runs when
the gap ends, one that comes twice runs the first time. One whose minute or hour begins with * names minutes of the clock on the
wall as they come: what is left out does not run, what comes twice runs twice."""

from __future__ import annotations

import functools
import zoneinfo
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone, tzinfo
from itertools import islice
from typing import Any

from _jobqueue.errors import Invalid, NoCron
from _jobqueue.records import DAY_MS

CRON_FIELDS = 5
COUNTED_MOST = 1000  # due times that are over, one by one
MINUTE_S, DAY_S = 60, DAY_MS // 1000


@dataclass(frozen=True, slots=True)
class Timetable:
    """Due times, in ms since the epoch. Either ``cron`` or ``every_ms``, which counts from ``starts_ms``, or from ``anchor_ms``,
    when the schedule was made."""

    cron: str | None = None
    every_ms: int | None = None
    timezone: str = "UTC"
    starts_ms: int | None = None
    ends_ms: int | None = None
    anchor_ms: int = 0

    def next(self, after_ms: int) -> int | None:
        """The first due time later than that. None when there is none."""
        if self.starts_ms is not None:
            after_ms = max(after_ms, self.starts_ms - 1)
        due = self._next_interval(after_ms) if self.every_ms else self._next_cron(after_ms)
        return None if due is None or (self.ends_ms is not None and due > self.ends_ms) else due

    def times(self, after_ms: int) -> Iterator[int]:
        """All due times later than that."""
        due = self.next(after_ms)
        while due is not None:
            yield due
            due = self.next(due)

    def over(self, due_ms: int, now_ms: int, most: int) -> tuple[list[int], int]:
        """From ``due_ms`` on: the latest due times up to ``now_ms``, ``most`` of them, and how many there are. Of a cron
        expression there may be more, when the number exceeds COUNTED_MOST."""
        if self.every_ms:
            until_ms = now_ms if self.ends_ms is None else max(due_ms, min(now_ms, self.ends_ms))
            count = (until_ms - due_ms) // self.every_ms + 1
            return [due_ms + at * self.every_ms for at in range(max(0, count - most), count)], count
        found, count = deque([due_ms], most), 1
        for due in self.times(due_ms):
            if due > now_ms:
                return list(found), count
            if count == COUNTED_MOST:
                break
            found.append(due)
            count += 1
        else:
            return list(found), count
        return self._last_before(due_ms, now_ms, most), count

    def shown(self, ms: int) -> str:
        """A time as RFC 3339 writes it, with the offset of the time zone."""
        when = datetime.fromtimestamp(ms / 1000, zone_of(self.timezone))
        return when.isoformat(timespec="milliseconds" if ms % 1000 else "seconds")

    def in_words(self) -> str:
        if self.every_ms:
            return f"Every {_length(self.every_ms)}"
        return f"{_cronsim().CronSim(self.cron, datetime(2000, 1, 1)).explain()}, {self.timezone}"

    def _next_interval(self, after_ms: int) -> int:
        every = self.every_ms or 1
        origin, first = (self.anchor_ms, 1) if self.starts_ms is None else (self.starts_ms, 0)
        return origin + max(first, (after_ms - origin) // every + 1) * every

    def _next_cron(self, after_ms: int) -> int | None:
        zone, cron = zone_of(self.timezone), self.cron or ""
        if any_clock_minute(cron) and zone is not timezone.utc:
            return _next_on_the_wall(cron, zone, after_ms // 1000)
        after = datetime.fromtimestamp(after_ms // 1000, zone)
        dues = (round(when.timestamp()) * 1000 for when in _cronsim().CronSim(cron, after))
        return next(
            (due for due in dues if due > after_ms), None
        )  # in an hour that comes twice, it begins with the first

    def _last_before(self, due_ms: int, now_ms: int, most: int) -> list[int]:
        """Looks back further and further: there is one due time a minute at most."""
        back_ms, found = most * MINUTE_S * 1000, list[int]()
        while len(found) < most and back_ms < 2 * (now_ms - due_ms):
            after = max(due_ms - 1, now_ms - back_ms)
            found = list(deque(_until(self.times(after), now_ms), most))
            back_ms *= 2
        return found


def checked(timetable: Timetable) -> Timetable:
    """The same. Invalid, or NoCron, for one that can never be due or that nobody here can read."""
    problems = []
    try:
        zone_of(timetable.timezone)
    except Invalid as error:
        problems += error.problems
    if timetable.cron is not None:
        try:
            _check_cron(timetable.cron)
        except NoCron:
            raise
        except Invalid as error:
            problems += error.problems
    if problems:
        raise Invalid(problems)
    return timetable


def any_clock_minute(cron: str) -> bool:
    """Its minute or its hour begins with *."""
    minute, hour, *_ = cron.split()
    return minute.startswith("*") or hour.startswith("*")


@functools.lru_cache(maxsize=512)
def zone_of(name: str) -> tzinfo:
    """Invalid for a time zone that this system does not know. UTC needs no zone data."""
    if name == "UTC":
        return timezone.utc
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        known = zoneinfo.available_timezones()
        why = "" if known else ": it has no zone data, install tzdata (of the system, or by pip)"
        raise Invalid([("/timezone", f"is not a time zone that this system knows{why}")]) from None


def _check_cron(cron: str) -> None:
    if len(cron.split()) != CRON_FIELDS:
        raise Invalid([("/cron", "must have five fields: minute, hour, day of month, month, day of week")])
    cronsim = _cronsim()
    try:
        next(cronsim.CronSim(cron, datetime(2000, 1, 1)))
    except cronsim.CronSimError as error:
        raise Invalid([("/cron", f"cannot be read: {error}")]) from None
    except StopIteration:
        raise Invalid([("/cron", "never fires")]) from None


def _cronsim() -> Any:
    """Imported when it is first needed. NoCron where it is not installed."""
    try:
        import cronsim
    except ImportError:
        raise NoCron([("/cron", "needs the package cronsim, which is not installed here; every_s does not")]) from None
    return cronsim


# --------------------------------------------------------------------------------------------- the clock on the wall


def _next_on_the_wall(cron: str, zone: tzinfo, after: int) -> int | None:
    """The next minute, in ms, at which the clock of the zone shows what the expression names. ``after``: in s. Counts with one
    offset from UTC at a time, and starts anew where that changes."""
    while True:
        offset = _offset(zone, after + 1)
        wall = datetime(1970, 1, 1) + timedelta(seconds=after + offset)
        found = next(_cronsim().CronSim(cron, wall), None)
        if found is None:
            return None
        due = round((found - datetime(1970, 1, 1)).total_seconds()) - offset
        change = _first_change(zone, after + 1, due)
        if change is None:
            return due * 1000
        after = change - 1


def _first_change(zone: tzinfo, since: int, until: int) -> int | None:
    """The first second later than ``since``, up to ``until``, with another offset from UTC; None when there is none."""
    offset, low = _offset(zone, since), since
    while low < until:
        high = min(low + DAY_S, until)
        if _offset(zone, high) != offset:
            while high - low > 1:
                middle = (low + high) // 2
                low, high = (middle, high) if _offset(zone, middle) == offset else (low, middle)
            return high
        low = high
    return None


def _offset(zone: tzinfo, at: int) -> int:
    """Seconds east of UTC."""
    return round((datetime.fromtimestamp(at, zone).utcoffset() or timedelta()).total_seconds())


def _until(times: Iterator[int], now_ms: int) -> Iterator[int]:
    for due in islice(times, 10 * COUNTED_MOST):
        if due > now_ms:
            return
        yield due


def _length(ms: int) -> str:
    if ms % 1000:
        return f"{ms / 1000:g} s"
    units = [(604_800, "week"), (DAY_S, "day"), (3600, "hour"), (MINUTE_S, "minute"), (1, "second")]
    size, unit = next(each for each in units if ms // 1000 % each[0] == 0)
    n = ms // 1000 // size
    return unit if n == 1 else f"{n} {unit}s"
