"""The schedules behind the HTTP API, as store/schedule_files.py asks for them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from _jobqueue.commands.backend import Members
from _jobqueue.records import MAX_PAYLOAD_BYTES
from _jobqueue.schedules import JOB_MEMBERS, NEXT_SHOWN, RULE_MEMBERS, Planned, Schedule, job_members
from _jobqueue.strict_json import encode_json

if TYPE_CHECKING:
    from _jobqueue.commands.remote import OverHttp


@dataclass(frozen=True, slots=True)
class Told(Planned):
    """A schedule as the API has told it: it knows the times."""

    following: tuple[str, ...] = ()
    words: str = ""

    def next_times(self, n: int = NEXT_SHOWN) -> list[str]:
        return list(self.following[:n])

    def in_words(self) -> str:
        return self.words


class RemoteSchedules:
    """Each call is a request; a list is some."""

    def __init__(self, api: OverHttp) -> None:
        self._api = api

    def names(self, queue: str) -> list[str]:
        return [each["name"] for each in self._api.schedules(queue)]

    def get(self, queue: str, name: str) -> Planned:
        return _told(self._api.schedule("get", queue, name))

    def put(self, queue: str, name: str, schedule: Schedule, *, dry_run: bool = False) -> tuple[Planned, bool]:
        """The second is not told here: False."""
        body = schedule.rule() | job_members(schedule.job) | {"payload": schedule.job.payload}
        return _told(self._api.put_schedule(queue, name, body, dry_run)), False

    def delete(self, queue: str, name: str) -> None:
        self._api.schedule("delete", queue, name)


def _told(answer: Members) -> Told:
    members = {name: answer[name] for name in (*RULE_MEMBERS, *JOB_MEMBERS) if name in answer}
    return Told(
        answer["queue"],
        answer["name"],
        Schedule.of_json(members, stored=True),
        now_ms=0,
        due_ms=None,
        paused=answer["paused"],
        payload=encode_json(answer["payload"], MAX_PAYLOAD_BYTES),
        following=tuple(answer["next"]),
        words=answer["in_words"],
    )
