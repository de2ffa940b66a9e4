"""A queue's schedules as a JSON file: {"queue": name, "schedules": {name: what a PUT of it takes}}."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from _jobqueue.errors import Invalid, pointer_to
from _jobqueue.records import MAX_PAYLOAD_BYTES
from _jobqueue.schedules import MAX_SCHEDULES, Planned, Schedule, check_name, job_members
from _jobqueue.strict_json import encode_json, parse_json


class Plans(Protocol):
    """Schedules, in Redis or behind HTTP: what these do in store/schedules.py."""

    def names(self, queue: str) -> list[str]: ...

    def get(self, queue: str, name: str) -> Planned: ...

    def put(self, queue: str, name: str, schedule: Schedule, *, dry_run: bool = False) -> tuple[Planned, bool]: ...

    def delete(self, queue: str, name: str) -> None: ...


def apply(schedules: Plans, text: bytes, say: Callable[[str], None], *, dry_run: bool = False) -> int:
    """Make a queue's set of schedules equal a file's. Says what becomes of each; returns how many change. Invalid, before
    anything has changed, for a file that is wrong anywhere. Repeating it changes nothing."""
    queue, wanted = _read(text)
    there = set(schedules.names(queue))
    planned = _planned(schedules, queue, wanted)
    gone = sorted(there - wanted.keys())
    for name in gone:  # first, for the new ones may need their room
        if not dry_run:
            schedules.delete(queue, name)
        say(f"{queue}/{name} is deleted: the file does not have it")
    changes = len(gone)
    for name, schedule in wanted.items():
        before = schedules.get(queue, name) if name in there else None
        what = "stays" if _is_same(before, planned[name]) else "changes" if before else "is new"
        changes += what != "stays"
        after = planned[name] if what == "stays" or dry_run else schedules.put(queue, name, schedule)[0]
        next_time = "paused" if after.paused else f"next {(after.next_times(1) or ['never'])[0]}"
        say(f"{queue}/{name} {what}: {after.in_words()}; {next_time}")
    return changes


def _planned(schedules: Plans, queue: str, wanted: dict[str, Schedule]) -> dict[str, Planned]:
    """The schedules as they would be. Invalid, with all that never fire."""
    planned, problems = dict[str, Planned](), list[tuple[str, str]]()
    for name, schedule in wanted.items():
        try:
            planned[name] = schedules.put(queue, name, schedule, dry_run=True)[0]
        except Invalid as error:
            problems += _placed(name, error)
    if problems:
        raise Invalid(problems)
    return planned


def _read(text: bytes) -> tuple[str, dict[str, Schedule]]:
    """The queue, and its schedules by name. Invalid, with all problems."""
    found = parse_json(text)
    if not isinstance(found, dict) or found.keys() != {"queue", "schedules"}:
        raise Invalid([("", 'must be {"queue": name, "schedules": {name: ...}} and nothing else')])
    queue, rows = found["queue"], found["schedules"]
    if not isinstance(queue, str) or not isinstance(rows, dict) or len(rows) > MAX_SCHEDULES:
        raise Invalid([("", f"queue must be a name, and schedules an object with at most {MAX_SCHEDULES}")])
    check_name(queue, "/queue")
    wanted, problems = dict[str, Schedule](), list[tuple[str, str]]()
    for name, members in rows.items():
        try:
            check_name(name, "")
            wanted[name] = _checked(members)
        except Invalid as error:
            problems += _placed(name, error)
    if problems:
        raise Invalid(problems)
    return queue, wanted


def _placed(name: str, error: Invalid) -> list[tuple[str, str]]:
    """The problems of one schedule, where they stand in the file."""
    return [(f"/schedules{pointer_to(name)}{pointer}", detail) for pointer, detail in error.problems]


def _checked(members: Any) -> Schedule:
    schedule = Schedule.of_json(members)
    encode_json(schedule.job.payload, MAX_PAYLOAD_BYTES, "/payload")
    return schedule


def _is_same(before: Planned | None, after: Planned) -> bool:
    return before is not None and _told(before) == _told(after)


def _told(planned: Planned) -> tuple[dict[str, Any], bytes]:
    return planned.schedule.rule() | job_members(planned.schedule.job), planned.payload
