"""A job to submit: what it may say, and what its hash will hold."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypedDict

from _jobqueue.errors import Invalid
from _jobqueue.limits import named_problems
from _jobqueue.pieces import Field, pieces
from _jobqueue.records import (
    DAY_MS,
    DEFAULT_PRIORITY,
    DEFAULT_TYPE,
    FAIR_KEY,
    FAIR_KEY_RULE,
    MAX_ATTEMPTS,
    MAX_DELAY_MS,
    MAX_KEY_CHARS,
    MAX_PARENTS,
    MAX_PAYLOAD_BYTES,
    MAX_PRIORITY,
    MAX_TAGS,
    MIN_TIMEOUT_MS,
    NAME,
    NAME_RULE,
    PRIORITIES,
    RESERVED,
    TAG,
    TAG_RULE,
    WHEN,
)
from _jobqueue.rfc3339 import epoch_ms
from _jobqueue.slips import unknown_fields
from _jobqueue.strict_json import encode_json
from _jobqueue.trace_context import packed, parent_of, state_of
from _jobqueue.webhooks.address import problem_with

if TYPE_CHECKING:  # at run time nobody needs it
    from typing_extensions import Unpack

_BESIDE = {"beside": True}  # no member of a request's JSON: it tells of who asks, not of what is asked for


class JobOptions(TypedDict, total=False):
    """What a submit may say of a job beside its type and payload: the other fields of NewJob."""

    queue: str | None
    priority: int | str
    delay_s: float | None
    run_at: str | datetime | None
    expires_s: float | None
    max_attempts: int | None
    timeout_s: float | None
    backoff_s: float | None
    max_backoff_s: float | None
    jitter: float | None
    unique_key: str | None
    limits: Sequence[str]
    fair_key: str | None
    tags: Sequence[str]
    webhook: str | None
    name: str | None
    after: Sequence[str]
    when: str
    traceparent: str | None
    tracestate: str | None


@dataclass(frozen=True, init=False)
class NewJob:
    """A job to submit. Seconds; None means the type's default. Invalid, with all problems, for what cannot be."""

    type: str = DEFAULT_TYPE
    payload: Any = None
    queue: str | None = None  # that of its type's handler, else the default queue
    priority: int | str = DEFAULT_PRIORITY
    delay_s: float | None = None
    run_at: str | datetime | None = None
    expires_s: float | None = None  # cancelled if it has not started then
    max_attempts: int | None = None
    timeout_s: float | None = None
    backoff_s: float | None = None
    max_backoff_s: float | None = None
    jitter: float | None = None
    unique_key: str | None = None
    tags: Sequence[str] = ()
    webhook: str | None = None  # is told of each end: done, failed or cancelled
    fair_key: str | None = None  # within a priority, jobs of different keys take turns
    limits: Sequence[str] = ()  # names; see _jobqueue/limits.py
    name: str | None = None  # in its workflow
    # Ids of jobs that it waits for; in a batch also names of earlier ones, or "*" for all of them
    after: Sequence[str] = ()
    when: str = "done"  # or "ended": in whatever way
    # The trace that it belongs to, as W3C Trace Context writes it; what is not of that form is left out
    traceparent: str | None = field(default=None, compare=False, metadata=_BESIDE)
    tracestate: str | None = field(default=None, compare=False, metadata=_BESIDE)
    # Those of another system, in which HTTP shows it
    words: str | None = field(default=None, compare=False, metadata=_BESIDE)
    _parsed: bool = field(default=False, init=False, repr=False, compare=False)  # parse_json gave the payload

    def __init__(self, type: str = DEFAULT_TYPE, payload: Any = None, **options: Unpack[JobOptions]) -> None:
        """TypeError names an option that there is not."""
        # What is not given is the class's. A dataclass's own way, to set each field of one that is frozen, takes ten times as long.
        members = self.__dict__
        members["type"], members["payload"] = type, payload
        if options:
            members.update(options)
            if not members.keys() <= _ALL:
                unknown = unknown_fields(options, _ALL, "a job")
                raise TypeError("; ".join(f"{pointer[1:]} {detail}" for pointer, detail in unknown))
        if options or not _is_name(type) or type.startswith(RESERVED):
            self._check()

    @classmethod
    def of_json(cls, members: Any) -> NewJob:
        """The job that a request asks for. ``members``: what parse_json gave, unchanged; the payload is not parsed again."""
        if not isinstance(members, dict):
            raise Invalid([("", "must be a JSON object")])
        problems = [] if members.keys() <= MEMBERS else unknown_fields(members, MEMBERS, "a job")
        # NewJob takes None for "not given", so an explicit null is told apart here.
        nulls: list[str] = []
        if None in members.values():
            nulls = [name for name, value in members.items() if value is None and name in MEMBERS and name != "payload"]
        if problems or nulls:
            problems += [(f"/{name}", "must not be null; leave it out") for name in nulls]
            members = {name: value for name, value in members.items() if name in MEMBERS and name not in nulls}
        try:
            job = cls(**members)
        except Invalid as error:
            raise Invalid(problems + error.problems) from None
        if problems:
            raise Invalid(problems)
        job.__dict__["_parsed"] = True
        return job

    def _check(self) -> None:
        if problems := list(self._problems()):
            raise Invalid(problems)
        members = self.__dict__
        if isinstance(self.priority, str):
            members["priority"] = PRIORITIES[self.priority]
        if self.traceparent is not None:
            members["traceparent"] = parent_of(self.traceparent)
            members["tracestate"] = state_of(self.tracestate) if self.traceparent else None

    def _problems(self) -> Iterator[tuple[str, str]]:
        if not _is_name(self.type):
            yield "/type", NAME_RULE
        elif self.type.startswith(RESERVED):
            yield "/type", f"must not begin with {RESERVED}: these are reserved"
        if self.queue is not None and not _is_name(self.queue):
            yield "/queue", NAME_RULE
        if not (
            self.priority in PRIORITIES if isinstance(self.priority, str) else _integer(self.priority, 0, MAX_PRIORITY)
        ):
            yield "/priority", f"must be 0 to {MAX_PRIORITY}, or low, normal or high"
        if self.unique_key is not None and not (
            isinstance(self.unique_key, str) and 1 <= len(self.unique_key) <= MAX_KEY_CHARS
        ):
            yield "/unique_key", f"must be 1 to {MAX_KEY_CHARS} characters"
        if self.webhook is not None and (problem := problem_with(self.webhook)):
            yield "/webhook", problem
        if self.fair_key is not None and not (isinstance(self.fair_key, str) and FAIR_KEY.fullmatch(self.fair_key)):
            yield "/fair_key", FAIR_KEY_RULE
        if self.tags != ():
            yield from self._tag_problems()
        if self.limits != ():
            yield from named_problems(self.limits)
        if self.after != () or self.when != "done" or self.name is not None:
            yield from self._flow_problems()
        if self.max_attempts is not None and not _integer(self.max_attempts, 1, MAX_ATTEMPTS):
            yield "/max_attempts", f"must be a whole number from 1 to {MAX_ATTEMPTS}"
        if self.jitter is not None and not _number(self.jitter, 0, 1):
            yield "/jitter", "must be a number from 0 to 1"
        times = (self.delay_s, self.expires_s, self.timeout_s, self.backoff_s, self.max_backoff_s, self.run_at)
        if times != (None,) * len(times):
            yield from self._time_problems()

    def _tag_problems(self) -> Iterator[tuple[str, str]]:
        if not isinstance(self.tags, (list, tuple)) or len(self.tags) > MAX_TAGS:
            yield "/tags", f"must be a list of at most {MAX_TAGS} tags"
            return
        for number, tag in enumerate(self.tags):
            if not (isinstance(tag, str) and TAG.fullmatch(tag)):
                yield f"/tags/{number}", TAG_RULE

    def _flow_problems(self) -> Iterator[tuple[str, str]]:
        if self.name is not None and (not _is_name(self.name) or is_id(self.name)):
            yield "/name", f"{NAME_RULE}, and no job id"
        if self.when not in WHEN:
            yield "/when", f"must be one of {', '.join(WHEN)}"
        if not isinstance(self.after, (list, tuple)) or len(self.after) > MAX_PARENTS:
            yield "/after", f"must be a list of at most {MAX_PARENTS:,} jobs"
            return
        for number, parent in enumerate(self.after):
            if not (isinstance(parent, str) and (parent == "*" or _is_name(parent))):
                yield f"/after/{number}", "must be the id of a job, or in a batch the name of an earlier one"
        if "*" in self.after and len(self.after) > 1:
            yield "/after", '"*" stands alone: it names all jobs before this one'

    def _time_problems(self) -> Iterator[tuple[str, str]]:
        for name, low, high in (
            ("delay_s", 0, MAX_DELAY_MS),
            ("expires_s", 1, MAX_DELAY_MS),
            ("timeout_s", MIN_TIMEOUT_MS, DAY_MS),
            ("backoff_s", 0, DAY_MS),
            ("max_backoff_s", 0, DAY_MS),
        ):
            value = getattr(self, name)
            if value is not None and not _number(value, low / 1000, high / 1000):
                yield f"/{name}", f"must be a number of seconds from {low / 1000:.10g} to {high / 1000:.10g}"
        if _number(self.delay_s, 0, MAX_DELAY_MS) and _number(self.expires_s, 0, self.delay_s or 0):
            yield "/expires_s", "must be longer than delay_s: the time begins with the submit"
        if self.run_at is not None:
            if self.delay_s is not None:
                yield "/run_at", "give either run_at or delay_s"
            when = epoch_ms(self.run_at)
            if when is None:
                yield "/run_at", "must be a time with its offset, like 2027-01-31T08:00:00Z"
            elif when > time.time() * 1000 + MAX_DELAY_MS:
                yield "/run_at", f"must be within {MAX_DELAY_MS // DAY_MS} days"

    @property
    def given(self) -> Set[str]:
        """The names of what it was made with."""
        return self.__dict__.keys()

    def due(self) -> str:
        """When it runs, as lua/submit.lua takes it."""
        if self.run_at is not None:
            return str(epoch_ms(self.run_at))
        return f"+{round(self.delay_s * 1000)}" if self.delay_s else ""

    def times(self) -> str:
        """The same and, where it must start within some time, that one."""
        return self.due() if self.expires_s is None else f"{self.due()}/{round(self.expires_s * 1000)}"

    def traced(self, traceparent: str | None, tracestate: str | None) -> NewJob:
        """The same job as a part of a trace."""
        job = replace(self, traceparent=traceparent, tracestate=tracestate)
        job.__dict__["_parsed"] = self._parsed
        return job

    def beside(self) -> list[Field]:
        """What its hash holds besides, and what makes it no other request: field, value ..."""
        trace: list[Field] = ["trace", packed(self.traceparent, self.tracestate)] if self.traceparent else []
        return [*trace, "words", self.words] if self.words else trace

    def fields(self) -> list[Field]:
        """What its hash holds besides status, score and times: field, value ..."""
        pairs: list[Field] = ["type", self.type]
        if not self.given <= _ELSEWHERE:
            self._add_options(pairs)
        return pairs + pieces("payload", encode_json(self.payload, MAX_PAYLOAD_BYTES, "/payload", parsed=self._parsed))

    def _add_options(self, pairs: list[Field]) -> None:
        if self.webhook is not None:  # the script looks for it here
            pairs += ["webhook", self.webhook]
        if self.max_attempts is not None:
            pairs += ["max_attempts", self.max_attempts]
        if self.timeout_s is not None:
            pairs += ["timeout_ms", round(self.timeout_s * 1000)]
        if self.backoff_s is not None:
            pairs += ["backoff_ms", round(self.backoff_s * 1000)]
        if self.max_backoff_s is not None:
            pairs += ["max_backoff_ms", round(self.max_backoff_s * 1000)]
        if self.jitter is not None:
            pairs += ["jitter", f"{self.jitter:.6f}"]
        if self.name is not None:
            pairs += ["name", self.name]
        if self.limits:
            pairs += ["limits", " ".join(dict.fromkeys(self.limits))]
        if rooms := ("w" if self.webhook is not None else "") + ("l" if self.limits else ""):
            pairs += ["also", rooms]


_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_ALL = frozenset(each.name for each in fields(NewJob) if each.init)
MEMBERS = frozenset(each.name for each in fields(NewJob) if each.init and not each.metadata)
# What most jobs are made with, if with more than type and payload
PLAIN = frozenset({"type", "payload", "queue", "priority", "delay_s", "run_at", "unique_key", "_parsed"})
_ELSEWHERE = PLAIN | {"expires_s", "tags"}  # options of which its hash says nothing, or not here


def is_id(text: str) -> bool:
    """Whether it looks like the id of a job, and so is no name."""
    return _ID.fullmatch(text) is not None


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and NAME.fullmatch(value) is not None


def _integer(value: Any, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _number(value: Any, low: float, high: float) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and low <= value <= high
