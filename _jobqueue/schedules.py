"""Schedules: what one may say, as it is stored and shown, and what is to be done when it is due."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, NamedTuple

from _jobqueue.errors import Invalid
from _jobqueue.new_job import MEMBERS, NewJob
from _jobqueue.records import NAME, NAME_RULE
from _jobqueue.rfc3339 import epoch_ms, rfc3339
from _jobqueue.slips import unknown_fields
from _jobqueue.timetable import Timetable, checked

MAX_SCHEDULES = 1000  # of a queue
MAX_EVERY_S = 366 * 86_400
MAX_GRACE_S = 366 * 86_400
MAX_CRON_CHARS = 200
MAX_ZONE_CHARS = 64
MAX_WORDS_CHARS = 300
ALL_MOST = 100  # runs that are made up for
ON_TIME_MS = 10_000  # above, a run is late
LOOK_MS = 2_000  # a reaper that is there sees a due time within it: it looks once a second
HOUR_MS = 3_600_000
LAST_MS = 7_258_118_400_000  # the year 2200: what is later is a mistake
NEXT_SHOWN, NEXT_PREVIEWED = 3, 5

MISSED = ("one", "none", "all")
OVERLAP = ("skip", "allow")
OUTCOMES = ("fired", "skipped", "missed", "refused")
COUNTS = ("fired", "late", "skipped", "missed")
# What a submit may say and a schedule may not: it says by itself when and where, and its jobs wait for no others.
_NOT_OURS = {"queue", "delay_s", "run_at", "after", "when", "name"}
JOB_MEMBERS = tuple(name for name in MEMBERS if name not in _NOT_OURS)
RULE_MEMBERS = ("cron", "every_s", "timezone", "missed", "grace_s", "overlap", "starts_at", "ends_at")


@dataclass(frozen=True, slots=True)
class Schedule:
    """When which job is submitted. ``grace_ms``: how late it may still be; None where that follows from ``missed``."""

    timetable: Timetable
    job: NewJob
    missed: str = "one"
    grace_ms: int | None = None
    overlap: str = "skip"

    @classmethod
    def of_json(cls, members: Any, *, stored: bool = False) -> Schedule:
        """The schedule that a request asks for. Invalid, with all problems, for what cannot be; NoCron where nobody can read it.
        ``stored``: it was accepted before, perhaps by a system that can read more."""
        if not isinstance(members, dict):
            raise Invalid([("", "must be a JSON object")])
        known = (*RULE_MEMBERS, *JOB_MEMBERS)
        problems = unknown_fields(members, known, "a schedule")
        rule = {name: members[name] for name in RULE_MEMBERS if name in members}
        job: NewJob | None = None
        try:
            job = NewJob.of_json({name: members[name] for name in JOB_MEMBERS if name in members})
        except Invalid as error:
            problems += error.problems
        problems += _rule_problems(rule)
        if problems:
            raise Invalid(problems)
        assert job is not None
        timetable = _timetable_of(rule)
        return cls(
            timetable if stored else checked(timetable),
            job,
            rule.get("missed", MISSED[0]),
            round(rule["grace_s"] * 1000) if "grace_s" in rule else None,
            rule.get("overlap", OVERLAP[0]),
        )

    def rule(self) -> dict[str, Any]:
        """All but the job, as a request has it."""
        table = self.timetable
        every_s = _number_of(table.every_ms)
        said = {
            "cron": table.cron,
            "every_s": every_s,
            "timezone": table.timezone,
            "missed": self.missed,
            "grace_s": _number_of(self.grace_ms),
            "overlap": self.overlap,
            "starts_at": rfc3339(table.starts_ms),
            "ends_at": rfc3339(table.ends_ms),
        }
        return {name: value for name, value in said.items() if value is not None}

    def same_times(self, other: Schedule) -> bool:
        """Whether both are due at the same times, but for when they were made."""
        return replace(self.timetable, anchor_ms=0) == replace(other.timetable, anchor_ms=0)

    def anchored(self, at_ms: int) -> Schedule:
        """The same, made at that time."""
        return replace(self, timetable=replace(self.timetable, anchor_ms=at_ms))


def _timetable_of(rule: Mapping[str, Any]) -> Timetable:
    every_ms = round(rule["every_s"] * 1000) if "every_s" in rule else None
    starts_ms, ends_ms = epoch_ms(rule.get("starts_at")), epoch_ms(rule.get("ends_at"))
    return Timetable(rule.get("cron"), every_ms, rule.get("timezone", "UTC"), starts_ms, ends_ms)


def _rule_problems(rule: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if ("cron" in rule) == ("every_s" in rule):
        yield "", "give either cron or every_s"
    for name, most in (("cron", MAX_CRON_CHARS), ("timezone", MAX_ZONE_CHARS)):
        if not (isinstance(text := rule.get(name, "UTC"), str) and 1 <= len(text) <= most):
            yield f"/{name}", f"must be a text of 1 to {most} characters"
    for name, low, high in (("every_s", 1, MAX_EVERY_S), ("grace_s", 0, MAX_GRACE_S)):
        value = rule.get(name, low)
        if not isinstance(value, (int, float)) or isinstance(value, bool) or not low <= value <= high:
            yield f"/{name}", f"must be a number of seconds from {low} to {high}"
    for name, words in (("missed", MISSED), ("overlap", OVERLAP)):
        if rule.get(name, words[0]) not in words:
            yield f"/{name}", f"must be one of {', '.join(words)}"
    times = {name: epoch_ms(rule[name]) for name in ("starts_at", "ends_at") if name in rule}
    for name, ms in times.items():
        if ms is None or ms >= LAST_MS:
            yield f"/{name}", "must be a time with its offset before the year 2200, like 2027-01-31T08:00:00Z"
    if len(times) == 2 and None not in times.values() and times["ends_at"] <= times["starts_at"]:  # type: ignore[operator]
        yield "/ends_at", "must be later than starts_at"


def check_name(name: str, pointer: str = "/name") -> None:
    if not NAME.fullmatch(name):
        raise Invalid([(pointer, NAME_RULE)])


def _number_of(ms: int | None) -> float | None:
    if ms is None:
        return None
    return ms // 1000 if ms % 1000 == 0 else ms / 1000


# ------------------------------------------------------------------------------------------------------ what is stored


@dataclass(frozen=True, slots=True)
class Planned:
    """A schedule as it is now. ``due_ms``: None when it is paused or has ended. Counts are of its own life."""

    queue: str
    name: str
    schedule: Schedule
    now_ms: int
    due_ms: int | None
    rev: str = ""
    paused: bool = False
    created_ms: int | None = None
    updated_ms: int | None = None
    counts: Mapping[str, int] | None = None
    last_ms: int | None = None
    last_due_ms: int | None = None
    last_outcome: str | None = None
    last_job: str | None = None
    last_status: str | None = None
    payload: bytes = b"null"
    preview: str | None = None  # of a payload that is cut

    def next_times(self, n: int = NEXT_SHOWN) -> list[str]:
        """When it is due next, in its time zone; what is overdue comes first. None where this system cannot read its rule."""
        if self.due_ms is None:
            return []
        table = self.schedule.timetable
        try:
            return [table.shown(ms) for ms in islice(table.times(self.due_ms - 1), n)]
        except Invalid:
            return []

    def in_words(self) -> str:
        try:
            return self.schedule.timetable.in_words()[:MAX_WORDS_CHARS]
        except Invalid as error:
            return f"{self.schedule.timetable.cron} cannot be read here: {error.problems[0][1]}"

    def as_dict(self, times: int = NEXT_SHOWN) -> dict[str, Any]:
        """The schedule in the words of the HTTP API."""
        job = job_members(self.schedule.job)
        payload = None if self.preview is not None else json.loads(self.payload)
        return {
            "name": self.name,
            "queue": self.queue,
            **self.schedule.rule(),
            **job,
            "payload": payload,
            **({"payload_preview": self.preview, "truncated": ["payload"]} if self.preview is not None else {}),
            "paused": self.paused,
            "next": self.next_times(times),
            "in_words": self.in_words(),
            "last": self._last(),
            "counts": dict(self.counts or {}),
            "created_at": rfc3339(self.created_ms),
            "updated_at": rfc3339(self.updated_ms),
        }

    def _last(self) -> dict[str, Any] | None:
        if self.last_outcome is None:
            return None
        return {
            "outcome": self.last_outcome,
            "at": rfc3339(self.last_ms),
            "scheduled_for": rfc3339(self.last_due_ms),
            "job_id": self.last_job,
            "job_status": self.last_status,
        }


def job_members(job: NewJob) -> dict[str, Any]:
    """What a request says of a job, but its payload: what is not the default, and its type."""
    bare = NewJob()
    given = {name: getattr(job, name) for name in JOB_MEMBERS if name != "payload"}
    said = {name: value for name, value in given.items() if name == "type" or value != getattr(bare, name)}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in said.items()}


# ------------------------------------------------------------------------------------------------------- what is to do


class Step(NamedTuple):
    """From the due time that is stored to the next: a job for ``over``, the latest of those between, or none; ``passed`` of them
    go by without one. ``until_ms``: when it is too late for the job."""

    due_ms: int
    next_ms: int | None
    over_ms: int
    runs: bool
    passed: int
    until_ms: int | None = None


def steps_of(schedule: Schedule, due_ms: int, now_ms: int) -> list[Step]:
    """What makes a schedule that is due at ``due_ms`` wait for a time later than ``now_ms``."""
    table = schedule.timetable
    times, count = table.over(due_ms, now_ms, ALL_MOST)
    following = table.next(max(times[-1], now_ms))
    grace_ms = _grace_of(schedule, times[-1], following)
    kept = [each for each in times if grace_ms is None or now_ms - each <= grace_ms]
    if schedule.missed != "all" and now_ms - due_ms > LOOK_MS:
        kept = kept[-1:]  # a reaper was down; where none was, each runs that came between two of its looks
    if not kept:
        return [Step(due_ms, following, times[-1], False, count)]
    nexts = [*kept[1:], following]
    dues = [due_ms, *kept[1:]]
    passed = [count - len(kept)] + [0] * (len(kept) - 1)
    untils = [None if grace_ms is None else each + grace_ms for each in kept]
    return [Step(*each[:3], True, *each[3:]) for each in zip(dues, nexts, kept, passed, untils, strict=True)]


def _grace_of(schedule: Schedule, due_ms: int, following: int | None) -> int | None:
    """How late a run may be; None for any. Never less than a look: else a reaper that is there would come too late."""
    if schedule.grace_ms is not None:
        return max(schedule.grace_ms, LOOK_MS)
    if schedule.missed == "all":
        return None
    interval = HOUR_MS if following is None else following - due_ms
    return max(LOOK_MS, min(interval, ON_TIME_MS if schedule.missed == "none" else HOUR_MS))
