"""Schedules: written and read by operators, fired by reapers."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from _jobqueue.errors import Conflict, Invalid, ScheduleNotFound, Unavailable
from _jobqueue.pieces import Field, pieces
from _jobqueue.records import MAX_PAYLOAD_BYTES, MAX_QUEUES, SHOWN_BYTES
from _jobqueue.schedules import COUNTS, MAX_SCHEDULES, ON_TIME_MS, Planned, Schedule, Step, job_members, steps_of
from _jobqueue.store import admission
from _jobqueue.store.chunks import BYTES_PER_SCRIPT, Request, chunks_to_store
from _jobqueue.store.ids import new_id
from _jobqueue.store.registry import Registry
from _jobqueue.store.rows import pairs_of
from _jobqueue.store.store import Store, prefix_of
from _jobqueue.store.webhooks import check_webhook
from _jobqueue.strict_json import encode_json

TRIES = 20  # at a schedule that others change at the same time
READ_AT_ONCE = 100  # that are due
ROUNDS = 100  # of these in one call
ROWS_AT_ONCE = 50
NEVER = "inf"


class Schedules:
    """The schedules of all queues."""

    def __init__(self, store: Store, registry: Registry) -> None:
        self._store, self._registry = store, registry

    @property
    def are_spread(self) -> bool:
        """One queue may be within reach while another is not."""
        return self._store.servers.kind == "cluster"

    # -- operate

    def put(self, queue: str, name: str, schedule: Schedule, *, dry_run: bool = False) -> tuple[Planned, bool]:
        """Make or replace a schedule; its queue need not exist yet. Returns it, and whether it is new. Where its times stay, so
        does the due time that it waits for. Invalid for one that never fires, and above MAX_SCHEDULES. ``dry_run``: store nothing."""

        check_webhook(schedule.job, self._store.webhooks)

        def change(found: Planned | None, now_ms: int) -> tuple[Planned, list[Field]]:
            planned = _replaced(queue, name, schedule, found, now_ms)
            return planned, _fields_of(planned.schedule)

        if dry_run:
            now_ms, found = self._read(queue, name)
            return _replaced(queue, name, schedule, found, now_ms), found is None
        found = self._change(queue, name, change)
        return self.get(queue, name), found is None

    def pause(self, queue: str, name: str, paused: bool = True) -> Planned:
        """Let it not fire, or fire again: from now on, for what was due meanwhile it does not make up. ScheduleNotFound."""

        def change(found: Planned | None, now_ms: int) -> tuple[Planned, list[Field]] | None:
            found = _there(queue, name, found)
            if found.paused == paused:
                return None
            return _aligned(found, paused, now_ms)

        self._change(queue, name, change)
        return self.get(queue, name)

    def realign(self, queue: str, name: str) -> None:
        """Let it be due where its rule says, if it is due at a time and paused, or neither. ScheduleNotFound."""

        def change(found: Planned | None, now_ms: int) -> tuple[Planned, list[Field]] | None:
            found = _there(queue, name, found)
            if found.paused == (found.due_ms is None):
                return None
            return _aligned(found, found.paused, now_ms)

        self._change(queue, name, change)

    def delete(self, queue: str, name: str) -> None:
        """Forget a schedule; the jobs that it has made stay. ScheduleNotFound."""
        if not self._store.run("unplan", queue, [name]):
            raise ScheduleNotFound(queue, name)

    def run(self, queue: str, name: str) -> tuple[str, bool]:
        """Submit its job now, beside its due times. Returns the job's id, and whether it is another one that lives under the same
        unique key. ScheduleNotFound; Conflict when the queue refuses it."""
        numbered: tuple[int, bool] | None = None
        for _ in range(TRIES):
            planned = self.get(queue, name)
            numbered = numbered or self._registry.register(queue)
            job_id = new_id(numbered[0])
            submit = self._submit(planned, job_id, numbered, ["schedule", name])
            args: list[Field] = [name, planned.rev, "", "", "", 0, "", 0, ON_TIME_MS, job_id, *submit]
            said = self._store.run("fire", queue, args)
            if said[0] == b"number":
                numbered = self._registry.renumber(queue, said[1].decode()), True
                continue
            if said[0] == b"moved":
                continue
            if said[0] == b"full":
                raise admission.refused(queue, said)
            if said[0] == b"refused":
                raise Conflict("refused", f"queue {queue} takes no further job of this kind")
            return said[1].decode() or job_id, bool(said[1])
        raise Unavailable("the schedule is being changed all the time")

    # -- read

    def get(self, queue: str, name: str) -> Planned:
        """ScheduleNotFound for any other name."""
        return _there(queue, name, self._read(queue, name)[1])

    def names(self, queue: str) -> list[str]:
        """All of a queue's, in their order."""
        return sorted(name.decode() for name in self._store.ask("ZRANGE", f"{prefix_of(queue)}schedules", 0, -1))

    def page(self, queues: Sequence[str], limit: int, after: tuple[str, str] = ("", "")) -> tuple[list[Planned], int]:
        """Those of some queues behind one, by queue and name, and how many there are; payloads as lists show them."""
        counts = self._store.ask_all("ZCARD", {queue: f"{prefix_of(queue)}schedules" for queue in queues})
        found: list[Planned] = []
        for queue in sorted(queue for queue, n in counts.items() if n and queue >= after[0]):
            names = [name for name in self.names(queue) if (queue, name) > after]
            while names and len(found) < limit:
                asked = names[: min(ROWS_AT_ONCE, limit - len(found))]
                now, rows = self._store.run("schedules", queue, [0, *asked])
                found += [_planned(queue, name, row, int(now)) for name, row in zip(asked, rows, strict=False) if row]
                names = names[len(rows) :]
            if len(found) == limit:
                break
        return found, sum(counts.values())

    def first_due(self, queues: Sequence[str]) -> dict[str, tuple[str, int]]:
        """Of each queue that has any that is due some time: the one that is due first, and when."""
        asked = {queue: f"{prefix_of(queue)}schedules" for queue in queues}
        firsts = self._store.ask_all("ZRANGE", asked, 0, 0, "WITHSCORES") if asked else {}
        return {
            queue: (first[0].decode(), int(first[1]))
            for queue, first in firsts.items()
            if first and first[1] != NEVER.encode()
        }

    # -- fire: what a reaper calls

    def fire(self, queue: str, most: int, say: Callable[[str, Exception], None]) -> Counter[str]:
        """Do for all schedules that are due, up to some ``most`` jobs, what is to be done. Returns what became of them. ``say`` is
        told the name of one that cannot be read here, and why: the others go on."""
        told, broken = Counter[str](), 0
        number, sure = self._registry.register(queue, MAX_QUEUES)
        for _ in range(ROUNDS):
            now, rows = self._store.run("due", queue, [broken, READ_AT_ONCE])
            if not rows or told["fired"] >= most:
                break
            calls: list[list[Field]] = []
            for raw, row in rows:
                try:
                    calls += self._calls(_planned(queue, raw.decode(), row, int(now)), (number, sure))
                except (ValueError, LookupError, TypeError) as error:  # of another release, or no zone data here
                    say(raw.decode(), error)
                    broken += 1
            said = [answer for some in _by_bytes(calls) for answer in self._store.run_each("fire", queue, some)]
            told.update(answer[0].decode() for answer in said)
            own = next((answer[1].decode() for answer in said if answer[0] == b"number"), None)
            if own is not None:
                number, sure = self._registry.renumber(queue, own), True
        return told

    def _calls(self, planned: Planned, numbered: tuple[int, bool]) -> Iterator[list[Field]]:
        assert planned.due_ms is not None
        for step in steps_of(planned.schedule, planned.due_ms, planned.now_ms):
            yield self._call(planned, step, numbered)

    def _call(self, planned: Planned, step: Step, numbered: tuple[int, bool]) -> list[Field]:
        """What lua/fire.lua takes."""
        due_ms, next_ms, over_ms, runs, passed, until_ms = step
        skips = planned.schedule.overlap == "skip"
        args: list[Field] = [planned.name, planned.rev, due_ms, NEVER if next_ms is None else next_ms, over_ms, passed]
        args += ["" if until_ms is None else until_ms, int(skips), ON_TIME_MS]
        if not runs:
            return args
        digest = hashlib.sha256(f"{planned.queue}\0schedule\0{planned.name}\0{over_ms}".encode()).digest()
        job_id = new_id(numbered[0], digest[:16])
        mark: list[Field] = ["schedule", planned.name, "scheduled_for", over_ms]
        return [*args, job_id, *self._submit(planned, job_id, numbered, mark)]

    def _submit(self, planned: Planned, job_id: str, numbered: tuple[int, bool], mark: list[Field]) -> list[Field]:
        """What lua/submit.lua takes for its job, under that id."""
        job, known = planned.schedule.job, self._registry.published(planned.queue).keys()
        fields = [
            *mark,
            *job.fields()[:-2],
            *pieces("payload", planned.payload),
        ]  # the job itself is kept without its payload
        [chunk] = chunks_to_store(Request(planned.queue, [job], [fields]), numbered[0], known, sure=numbered[1])
        return [job_id if arg == chunk.ids[0] else arg for arg in chunk.args]

    # -- inside

    def _read(self, queue: str, name: str) -> tuple[int, Planned | None]:
        now, [row] = self._store.run("schedules", queue, [1, name])
        return int(now), _planned(queue, name, row, int(now)) if row else None

    def _change(self, queue: str, name: str, change: Callable[..., Any]) -> Planned | None:
        """Write what ``change`` makes of what is there, unless that is None. Returns what was there."""
        numbered: tuple[int, bool] | None = None
        for _ in range(TRIES):
            now_ms, found = self._read(queue, name)
            changed = change(found, now_ms)
            if changed is None:
                return found
            planned, fields = changed
            number, sure = numbered = numbered or self._registry.register(queue)
            seen: list[Field] = [found.rev, NEVER if found.due_ms is None else found.due_ms] if found else ["", ""]
            due = NEVER if planned.due_ms is None else planned.due_ms
            said = self._store.run("plan", queue, [name, *seen, due, MAX_SCHEDULES, number, int(sure), *fields])
            if said == b"full":
                raise Invalid([("/name", f"the queue {queue} has {MAX_SCHEDULES} schedules already")])
            if said == b"planned":
                return found
            if isinstance(said, list):
                numbered = self._registry.renumber(queue, said[1].decode()), True
        raise Unavailable("the schedule is being changed all the time")


def _there(queue: str, name: str, found: Planned | None) -> Planned:
    if found is None:
        raise ScheduleNotFound(queue, name)
    return found


def _aligned(found: Planned, paused: bool, now_ms: int) -> tuple[Planned, list[Field]]:
    """The schedule with the due time that its rule gives from now on, or none; and what its hash then holds."""
    due_ms = None if paused else found.schedule.timetable.next(max(now_ms, found.last_due_ms or 0))
    return replace(found, due_ms=due_ms), ["paused", "1" if paused else ""]


def _replaced(queue: str, name: str, schedule: Schedule, found: Planned | None, now_ms: int) -> Planned:
    """The schedule as it will be. Invalid when it never fires."""
    payload = encode_json(schedule.job.payload, MAX_PAYLOAD_BYTES, "/payload")
    same = found is not None and found.schedule.same_times(schedule)
    schedule = schedule.anchored(found.schedule.timetable.anchor_ms if found and same else now_ms)
    due_ms = found.due_ms if found and same else None
    if not same:
        due_ms = schedule.timetable.next(max(now_ms, (found.last_due_ms or 0) if found else 0))
        if due_ms is None:
            raise Invalid([("/ends_at", "never fires: there is no due time from now on")])
    if found is None:
        return Planned(queue, name, schedule, now_ms, due_ms, payload=payload)
    return replace(
        found, schedule=schedule, now_ms=now_ms, due_ms=None if found.paused else due_ms, payload=payload, preview=None
    )


def _fields_of(schedule: Schedule) -> list[Field]:
    """What its hash holds of a schedule."""
    payload = encode_json(schedule.job.payload, MAX_PAYLOAD_BYTES, "/payload")
    rule = schedule.rule() | {"anchor_ms": schedule.timetable.anchor_ms}
    texts = {"rule": json.dumps(rule), "job": json.dumps(job_members(schedule.job))}
    return [
        *(part for pair in texts.items() for part in pair),
        *("payload", payload[:SHOWN_BYTES], "rest", payload[SHOWN_BYTES:]),
    ]


def _planned(queue: str, name: str, row: Sequence[Any], now_ms: int) -> Planned:
    """ValueError, LookupError or TypeError for a row that this release, or this system, cannot read."""
    if not row:
        raise ValueError("its definition is not there")
    due, status, rest, cut = row[:4]
    fields = {field.decode(): value for field, value in pairs_of(row[4:]).items()}

    def number(field: str) -> int | None:
        return int(fields[field]) if field in fields else None

    def text(field: str) -> str | None:
        return fields[field].decode() if field in fields else None

    rule = json.loads(fields["rule"])
    anchor_ms = rule.pop("anchor_ms")
    payload = fields["payload"] + rest
    return Planned(
        queue,
        name,
        Schedule.of_json(rule | json.loads(fields["job"]), stored=True).anchored(anchor_ms),
        now_ms,
        None if due == NEVER.encode() else int(due),
        fields["rev"].decode(),
        fields.get("paused") == b"1",
        number("created"),
        number("updated"),
        {count: number(count) or 0 for count in COUNTS},
        number("last_at"),
        number("last_due"),
        text("last_outcome"),
        text("last_job"),
        status.decode() or None,
        payload,
        payload.decode(errors="ignore") if cut else None,
    )


def _by_bytes(calls: Sequence[list[Field]]) -> Iterator[list[list[Field]]]:
    """What is sent in one trip."""
    some, room = list[list[Field]](), BYTES_PER_SCRIPT
    for call in calls:
        size = sum(len(part) for part in call if isinstance(part, bytes))
        if size > room and some:
            yield some
            some, room = [], BYTES_PER_SCRIPT
        some.append(call)
        room -= size
    if some:
        yield some
