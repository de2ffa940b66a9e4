"""The words, limits and records that everything else speaks in."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from _jobqueue.errors import JobQueueError
from _jobqueue.rfc3339 import rfc3339

__version__ = "0.2.0"

STATUSES = ("queued", "scheduled", "blocked", "processing", "done", "failed", "cancelled")
ENDED = ("done", "failed", "cancelled")
INDEX_OF = {status: status for status in STATUSES} | {"queued": "queue", "processing": "leases"}
PRIORITIES = {"low": 1, "normal": 5, "high": 9}
FAILURES = (  # of attempts
    *("error", "timeout", "lease_expired", "interrupted", "dropped", "no_handler", "bad_result"),
    "too_many_snoozes",
)
DURABILITIES = ("fast", "fsync", "replicated")  # what a submit may wait for
DEFAULT_TYPE = "echo"
RESERVED = "jobqueue."  # types that begin so are ours
DELIVERY = "jobqueue.webhook"  # the type of a job that tells of the end of another
MAX_WEBHOOK_CHARS = 2000
DEFAULT_QUEUE = "default"
DEFAULT_PRIORITY, MAX_PRIORITY = 5, 9

NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
NAME_RULE = "must be 1 to 64 of the characters A-Z a-z 0-9 _ . -"
TAG = re.compile(r"[A-Za-z0-9_.:@=-]{1,64}")
TAG_RULE = "must be 1 to 64 of the characters A-Z a-z 0-9 _ . : @ = -"
JOB_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
MAX_KEY_CHARS = 255
MAX_TAGS = 10
MAX_PARENTS = 1000  # jobs that one waits for
MAX_EDGES, MAX_EDGES_BYTES = 2000, 2**21  # of a batch in which jobs wait for others
FAIR_KEY = re.compile(r"[A-Za-z0-9_.:@-]{1,64}")
FAIR_KEY_RULE = "must be 1 to 64 of the characters A-Z a-z 0-9 _ . : @ -"
MAX_MAX_QUEUED = 1_000_000_000
WHEN = ("done", "ended")  # what a job may wait for
MAX_PAYLOAD_BYTES = 2**20
MAX_MESSAGE_CHARS = 8000
MAX_KIND_CHARS = 64
MAX_ATTEMPTS = 100
MIN_TIMEOUT_MS = 100
DAY_MS = 86_400_000
MAX_DELAY_MS = 365 * DAY_MS
MAX_QUEUES = 4096  # 12 bits of a job id
QUEUES_MAX = 256  # unless it is set otherwise
PAGE_BYTES = 2**20  # of a list's answer
SHOWN_BYTES = 2048  # of a payload or a result in lists, as in lua/rows.lua
HITS_MOST = 20  # jobs that one search shows
ACT_MOST = 1000  # jobs that one call operates on, and one script looks at for it
LOG_LINES, LOG_LINE_CHARS = 100, 200  # of a job
ANOTHER_PAYLOAD = "+payload"  # ends the name of a retry's request that brings one, among the steps of a job
REQUEUE_MOST = 10_000  # dead letters of a queue that one call retries
REAPER_LOST_MS = 15_000
HISTORY_LOST_MS = 15_000  # the same for a process of the record
FORMAT = 2  # of the data in Redis; a queue that says nothing of it has 1
BEAT_LOST_MS = 15_000
REAPER_MISSED_S = 5.0  # without a reaper for so long, people are told: it may be starting, on a busy machine
NO_REAPER = (
    "no reaper is running: retries, delayed jobs and lost workers' jobs wait until one is started (python reaper.py)"
)

_to_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode

SAME: Any = object()  # a payload that stays as it is

PRIORITY_STEP = 2**43  # between the scores of two priorities, as in lua/parts/places.lua

# Delays of a failed attempt, as in lua/parts/failures.lua.
AGAIN, NEVER, BACKOFF, IN_PLACE = -4, -3, -2, -1


@dataclass(frozen=True, slots=True)
class Policy:
    """How often, how long and how far apart a job may run where neither it nor its type says so."""

    max_attempts: int = 2
    timeout_ms: int = 10_000
    backoff_ms: int = 1_000
    max_backoff_ms: int | None = None  # None: an hour, or the first backoff if that is longer
    jitter: float = 0.0  # the share of a backoff that is random


@dataclass(slots=True)
class Job:
    """A job as it is now. Times are ms since the epoch by Redis's clock."""

    id: str
    status: str
    type: str
    queue: str
    priority: int
    payload: Any
    result: Any
    attempts: int
    max_attempts: int
    timeout_ms: int
    created_ms: int
    started_ms: int | None = None
    finished_ms: int | None = None
    run_at_ms: int | None = None
    position: int | None = None
    worker: str | None = None
    cancel_requested_ms: int | None = None  # since when its handler is asked to stop
    progress: dict[str, Any] | None = None
    log: list[str] = field(default_factory=list)
    log_times_ms: list[int | None] = field(default_factory=list)  # of each line; None where that is not known
    log_dropped: int = 0  # lines before these that are not kept
    errors: list[dict[str, Any]] = field(default_factory=list)
    first_error: int = 1  # the number of the first of these: older ones are not kept
    tags: list[str] = field(default_factory=list)
    limits: list[str] = field(default_factory=list)  # the names that it is limited by, beside its type's
    name: str | None = None  # in its workflow
    fair_key: str | None = None  # with whom it shares its turns
    unique_key: str | None = None
    # Its own, where it has been submitted with one
    backoff_ms: int | None = None
    max_backoff_ms: int | None = None
    jitter: float | None = None
    after: list[str] = field(default_factory=list)  # the jobs that it waits for, or has waited for; in lists the first
    when: str = "done"  # of WHEN: what of these it waits for
    blocked_by: int = 0  # how many of these are still to end
    snoozes: int = 0  # how often its handler has put it off, since it was submitted or an operator retried it
    snoozed_ms: int | None = None  # when it last did
    expires_ms: int | None = None  # how long after its submit, or its release, it may start for the first time
    expires_at_ms: int | None = None  # when that time is over; None while it is blocked, and once it was
    # The schedule that has made it, and the due time that it is for; an operator's run has none
    schedule: str | None = None
    scheduled_for_ms: int | None = None
    traceparent: str | None = None  # the trace that it belongs to
    tracestate: str | None = None
    words: str | None = None  # of another system, in which HTTP shows it
    actions: list[dict[str, Any]] = field(default_factory=list)  # of operators: at, action, by
    # In lists: what of payload, result, errors and log is cut; of the first two the beginning of their text, instead of them
    truncated: Sequence[str] = ()
    previews: Mapping[str, str] | None = None
    webhook: str | None = None  # who is told of its end
    # fsync or replicated, where a submit has confirmed that
    durability: str | None = field(default=None, compare=False)

    @property
    def cancel_asked(self) -> bool:
        """Its handler was asked to stop."""
        return self.cancel_requested_ms is not None

    @property
    def error(self) -> str | None:
        """The message of the last error, unless it was done in the end."""
        return self.errors[-1]["message"] if self.errors and self.status != "done" else None

    @property
    def has_started(self) -> bool:
        """A handler has begun, since it was submitted or an operator retried it."""
        return self.attempts > 0 or self.snoozes > 0

    def listed(self) -> Job:
        """A new job as lists show it."""
        text = _to_json(self.payload).encode()
        if len(text) <= SHOWN_BYTES:
            return self
        shown = text[:SHOWN_BYTES].decode(errors="ignore")  # it may be cut inside a character
        return replace(self, payload=None, truncated=("payload",), previews={"payload": shown})

    def as_dict(self) -> dict[str, Any]:
        """The job in the words of the HTTP API."""
        return {
            "job_id": self.id,
            "status": self.status,
            "type": self.type,
            "queue": self.queue,
            "priority": self.priority,
            "payload": self.payload,
            "result": self.result,
            "attempts": self.attempts,
            "max_attempts": self.max_attempts,
            "error": self.error,
            "errors": self.errors,
            "progress": self.progress,
            "log": self.log,
            **self._log_times(),
            "created_at": rfc3339(self.created_ms),
            "started_at": rfc3339(self.started_ms),
            "finished_at": rfc3339(self.finished_ms),
            "run_at": rfc3339(self.run_at_ms),
            "cancel_requested_at": rfc3339(self.cancel_requested_ms),
            "timeout_s": self.timeout_ms / 1000,
            "position": self.position,
            "worker": self.worker,
            "tags": self.tags,
            **({"limits": self.limits} if self.limits else {}),
            **({"name": self.name} if self.name else {}),
            **({"fair_key": self.fair_key} if self.fair_key else {}),
            **({"webhook": self.webhook} if self.webhook else {}),
            **({"unique_key": self.unique_key} if self.unique_key else {}),
            **({} if self.backoff_ms is None else {"backoff_s": self.backoff_ms / 1000}),
            **({} if self.max_backoff_ms is None else {"max_backoff_s": self.max_backoff_ms / 1000}),
            **({} if self.jitter is None else {"jitter": self.jitter}),
            **({"after": self.after, "when": self.when, "blocked_by": self.blocked_by} if self.after else {}),
            **({"snoozes": self.snoozes, "snoozed_at": rfc3339(self.snoozed_ms)} if self.snoozes else {}),
            **(
                {"expires_s": self.expires_ms / 1000, "expires_at": rfc3339(self.expires_at_ms)}
                if self.expires_ms
                else {}
            ),
            **({"schedule": self.schedule, "scheduled_for": rfc3339(self.scheduled_for_ms)} if self.schedule else {}),
            **({"traceparent": self.traceparent} if self.traceparent else {}),
            **({"tracestate": self.tracestate} if self.tracestate else {}),
            **({"actions": self.actions} if self.actions else {}),
            **{f"{name}_preview": text for name, text in (self.previews or {}).items()},
            **({"truncated": list(self.truncated)} if self.truncated else {}),
        }

    def _log_times(self) -> dict[str, Any]:
        """Of a log that is cut, as of one without times, nothing."""
        if not self.log or len(self.log_times_ms) != len(self.log) or not any(self.log_times_ms):
            return {}
        return {"log_times": [rfc3339(at) for at in self.log_times_ms], "log_dropped": self.log_dropped}


class Submitted(NamedTuple):
    """What became of one job of a submit: the job, or the error that kept it from being stored."""

    job: Job | None
    replayed: bool = False  # an earlier request under the same idempotency key had stored it
    existing: bool = False  # it is another job, which lives under the same unique key
    error: JobQueueError | None = None
    unconfirmed: str = ""  # a sentence: it is stored, but not confirmed to be as durable as the JobQueue was told


@dataclass(slots=True)
class Claimed:
    """A job that a slot holds under a token. None: the type's default."""

    id: str
    token: str
    type: str
    payload: bytes
    attempt: int
    timeout_ms: int | None
    waited_ms: int | None = None  # from when it could run to this claim; None when it has run before
    traceparent: str | None = None  # the trace that it belongs to
    tracestate: str | None = None


@dataclass(slots=True)
class Settlement:
    """The end of an attempt. ``outcome``: done, failed, cancelled, released or snoozed (given back, put off: not counted).

    ``kind`` is a word, or is made one."""

    id: str
    token: str
    outcome: str
    delay_ms: int = BACKOFF
    kind: str = ""
    message: str = ""
    fields: list[str | bytes | int] = field(default_factory=list)
    traceback: str = ""

    def args(self) -> list[str | bytes | int]:
        message = said_with(self.message[:MAX_MESSAGE_CHARS], self.traceback).encode(errors="replace")
        kind = _NO_WORD.sub("_", self.kind[:MAX_KIND_CHARS]) or "error"
        n = len(self.fields) // 2
        return [self.id, self.token, self.outcome, self.delay_ms, kind, message, n, *self.fields]


def said_with(message: str, traceback: str) -> str:
    """A message and a traceback as one text: a NUL stands between them, and two for each NUL of the message."""
    return message.replace("\0", "\0\0") + ("\0" + traceback if traceback else "")


def told_apart(text: str) -> tuple[str, str]:
    """The message and the traceback that said_with has put together; a part of the message, when the text has been cut there."""
    message = _MESSAGE.match(text)
    assert message
    return message[0].replace("\0\0", "\0"), text[message.end() + 1 :]


_MESSAGE = re.compile(r"(?:[^\0]|\0\0)*")
_NO_WORD = re.compile(r"[^\w.-]")  # a kind becomes a part of a key, and may be whatever an exception's class is called


@dataclass(frozen=True, slots=True)
class Held:
    """A running attempt, as a beat reports it: ms left of its timeout, and what it wants to show."""

    id: str
    token: str
    left_ms: int
    fields: list[str | bytes | int] = field(default_factory=list)


class Warned(NamedTuple):
    """A warning: a code for programs, and sentences for people."""

    code: str
    text: str
