"""The queue: keys, records, errors, operations. The only file that knows Redis.

    submit ─┬─> queued ──claim──> processing ──finish ok──────────────> done
            └─> scheduled ─promote─┘ ^  │ ├──error, attempts left─> scheduled (backoff)
                                     │  │ └──error, none left─────> failed ──retry──> queued
                                     │  └──lease ran out: reap ────> queued, or failed when attempts are spent
                                     └──release (drain, give back)
    queued, scheduled, processing ──cancel──> cancelled

Every key of queue q starts with ``jq:{q}:`` (one Redis Cluster slot for each queue):

    job:<id>           hash    the job: the truth. No TTL: the reaper trims it together with its index entry
    queue              zset    queued ids by (9 - priority) * 2^43 + seq: strict priority, FIFO inside
    scheduled          zset    id -> due time
    leases             zset    ids in processing -> when the lease ends
    done failed cancelled zset id -> when it ended; failed is the dead-letter queue
    bell               list    at most one wake token: "look at the queue"
    processing:<slot>  list    what one worker thread holds: BLMOVE's destination, then the ids it claimed
    slots              hash    slot -> sequence number of its last claim
    workers            zset    worker -> last beat
    worker:<worker>    string  what it is and runs, JSON
    types              hash    type -> "max_attempts timeout_ms backoff_ms", published by the workers
    totals stats:<minute> hash counters, written inside the transitions; of a minute also the oldest waiting job's age
    idem:<key>         hash    what was asked under an idempotency key, and how many of its jobs are still kept
    unique:<key>       string  the job that holds a unique key, whether or not it has ended
    tag:<tag>          zset    ids with a tag -> when they were submitted
    kind:<kind>        zset    dead letters whose last error is of that kind -> when they failed
    kinds              set     the kinds that have any
    meta               hash    seq, paused, reaper (its last tick), checked (the checker's verdict), confirmed (a write to wait for)

and some belong to no queue: ``jq:queues``, hash, queue -> number; ``jq:{jq:queues}:meta``, hash, as above; ``jq:rate:<client>``,
list, times of its last requests.
A status is membership: each status has one index, each id is in exactly one.

The clock is Redis TIME, read inside the scripts; no client's clock is ever stored. Every transition is one Lua script in
``lua/``: it checks, then writes, and may be sent twice. A claim's token ``<slot>:<seq>`` is the fence: whoever
no longer holds it is refused. Success is recorded at most once.
"""

from __future__ import annotations

import base64
import hashlib
import importlib
import itertools
import json
import math
import random
import re
import secrets
import socket
import ssl
import struct
import sys
import threading
import time
import uuid
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar

import redis
from redis.backoff import ExponentialWithJitterBackoff, NoBackoff
from redis.cluster import ClusterNode, RedisCluster
from redis.connection import parse_url
from redis.crc import key_slot
from redis.retry import Retry as RedisRetry
from redis.sentinel import MasterNotFoundError, Sentinel, SentinelConnectionPool

__version__ = "0.1.0"

STATUSES = ("queued", "scheduled", "processing", "done", "failed", "cancelled")
INDEX_OF = {status: status for status in STATUSES} | {"queued": "queue", "processing": "leases"}
PRIORITIES = {"low": 1, "normal": 5, "high": 9}
FAILURES = ("error", "timeout", "lease_expired", "interrupted", "dropped", "no_handler", "bad_result")  # of attempts
DEFAULT_TYPE = "echo"
DEFAULT_QUEUE = "default"

NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
NAME_RULE = "must be 1 to 64 of the characters A-Z a-z 0-9 _ . -"
MAX_QUEUES = 4096  # 12 bits of a job id
MAX_KEY_CHARS = 255
MAX_TAGS = 10
MAX_DEPTH = 64
MAX_PAYLOAD_BYTES = 2**20
MAX_MESSAGE_CHARS = 8000
MAX_KIND_CHARS = 64
MAX_ATTEMPTS = 100
DAY_MS = 86_400_000
MAX_DELAY_MS = 365 * DAY_MS
PAGE_STEP = 200  # jobs that a page reads at most
LOOK_STEP = 2000  # jobs that a page with a filter looks at in one script
LOOKS = 5  # such scripts for one page
ENDED_MOST = 250  # jobs that one script looks at, to see which have ended
ACT_MOST = 1000  # jobs that one call operates on, and one script looks at for it
ACT_STEP = 200  # of them in one script
COUNT_MOST = 10_000  # jobs that one dry run counts
SWEEP_LOOKS = 20  # scripts that look for them
REQUEUE_CALLS = 100  # of ACT_MOST each
REAPER_LOST_MS = 15_000
BEAT_LOST_MS = 15_000
# Upper bounds of the histograms of waiting and running times.
BUCKETS_MS = (1, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000, 60_000, 300_000, 1_800_000)
JOBS_PER_SCRIPT = 250  # no script runs long
PUBLISHED_KEPT_S = 2
BLOCK_S = 2  # an idle slot looks at the queue at least this often, rung or not
LINK_TIMEOUT_S = 5.0  # above BLOCK_S
CONNECT_S = 2.0
SENTINEL_S = 0.5  # a Sentinel that does not answer sooner is passed over
CONFIRM_MS = 1500  # above the second that appendfsync everysec takes
SENTINELS_KEPT_S = 1.0  # how long their word is believed
DURABILITY_KEPT_S = 3.0  # how long what Redis said of its settings is believed
REPLICAS_KEPT_S = 10.0  # how long a replica that has left is still waited for; above the length of a failover

# Redis keeps a hash compact, at half of the memory, while no value is longer than 64 bytes
# (hash-max-listpack-value). Longer strings are stored in pieces, up to where the overhead stops mattering.
PIECE_BYTES = 64
MAX_IN_PIECES_BYTES = 512

SAME: Any = object()  # a payload that stays as it is

# Delays of a failed attempt, as in lua/prelude.lua.
NEVER, BACKOFF, IN_PLACE = -3, -2, -1


# ---------------------------------------------------------------------------------------------------------- errors


class JobQueueError(Exception):
    """Base of all errors of this module."""


class Invalid(JobQueueError, ValueError):
    """The request is wrong and nothing was stored. ``problems`` names each field by JSON pointer: correct them."""

    def __init__(self, problems: Sequence[tuple[str, str]]) -> None:
        self.problems = list(problems)
        super().__init__("; ".join(f"{pointer or 'the body'}: {detail}" for pointer, detail in self.problems))


class NotFound(JobQueueError):
    """There is no such job, or its retention has ended."""


class Conflict(JobQueueError):
    """The job's status forbids the operation. ``status`` is what it is now."""

    def __init__(self, status: str, detail: str) -> None:
        self.status = status
        super().__init__(detail)


class KeyReused(JobQueueError):
    """The idempotency key was used with another request. Choose a new key, or repeat the first request exactly."""


class Unavailable(JobQueueError):
    """Redis cannot answer now. Whether a write arrived is unknown: repeat it, with the same key or token."""


class Fail(Exception):
    """Raised by a handler: the job has failed for good and is not retried."""


class Retry(Exception):
    """Raised by a handler: try again ``after`` seconds from now (default: the backoff), while attempts are left."""

    def __init__(self, message: str = "the handler asked for a retry", *, after: float | None = None) -> None:
        self.after = after
        super().__init__(message)


# ------------------------------------------------------------------------------------------------------- job types


@dataclass(frozen=True)
class JobType:
    """What a worker knows of a type. None: the worker's own default."""

    name: str
    function: Callable[[Any, Any], Any]
    timeout: float | None = None
    max_attempts: int | None = None
    backoff: float | None = None


F = TypeVar("F", bound=Callable[[Any, Any], Any])


def handler(
    name: str, *, timeout: float | None = None, max_attempts: int | None = None, backoff: float | None = None
) -> Callable[[F], F]:
    """Mark ``def f(payload, ctx)`` as the handler of a job type; seconds. Several types may share a function."""
    if not NAME.fullmatch(name):
        raise ValueError(f"job type {name!r} must match {NAME.pattern}")
    options = NewJob(type=name, timeout_s=timeout, max_attempts=max_attempts, backoff_s=backoff)  # checks the ranges

    def mark(function: F) -> F:
        job_type = JobType(options.type, function, timeout, max_attempts, backoff)
        vars(function).setdefault("job_types", []).append(job_type)
        return function

    return mark


def load_handlers(module_name: str) -> dict[str, JobType]:
    """Import a module (or ``file.py``) and collect the functions that it marks with ``handler``."""
    if "" not in sys.path:
        sys.path.insert(0, "")
    module = importlib.import_module(module_name.removesuffix(".py").replace("/", "."))
    found: dict[str, JobType] = {}
    for function in vars(module).values():
        for job_type in getattr(function, "job_types", ()) if callable(function) else ():
            if found.get(job_type.name, job_type) is not job_type:
                raise ValueError(f"two handlers for the type {job_type.name!r} in {module_name}")
            found[job_type.name] = job_type
    if not found:
        raise ValueError(f"{module_name} has no handlers: decorate a function with @handler('my.type')")
    return found


# ------------------------------------------------------------------------------------------------------ strict JSON

# A string without its end matches too: the search must not start again at each of its quotes.
_STRING = re.compile(r'"(?:[^"\\]|\\.?)*"?', re.DOTALL)


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"the number {text[:20]} is too large")
    return number


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise ValueError(f"the key {name[:50]!r} appears twice in one object")
            seen.add(name)
    return members


_strict = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_finite, object_pairs_hook=_no_duplicates)


def _depth(text: str) -> int:
    deepest = depth = 0
    for character in _STRING.sub("", text):
        if character in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif character in "]}":
            depth -= 1
    return deepest


def parse_json(raw: bytes) -> Any:
    """The value of strict JSON: UTF-8 without BOM or lone surrogates, no NaN or Infinity, no key twice, depth <= 64."""
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Invalid([("", f"not valid UTF-8 at byte {error.start}")]) from None
    if text.startswith("\ufeff"):
        raise Invalid([("", "starts with a byte order mark; send plain UTF-8")])
    if text.count("[") + text.count("{") > MAX_DEPTH and _depth(text) > MAX_DEPTH:
        raise Invalid([("", f"nested deeper than {MAX_DEPTH} levels")])
    try:
        value = _strict.decode(text)
        if "\\u" in text:
            json.dumps(value, ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise Invalid([("", f"not valid JSON: {error.msg} at {where}")]) from None
    except UnicodeEncodeError:
        raise Invalid([("", "a string holds half of a surrogate pair")]) from None
    except ValueError as error:
        raise Invalid([("", "a number has too many digits" if "digits" in str(error) else str(error))]) from None
    return value


_to_json = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


def encode_json(value: Any, max_bytes: int, pointer: str = "") -> bytes:
    """Strict JSON as bytes. Invalid, saying why, for anything that parse_json would not give back."""
    try:
        raw = _to_json(value).encode()
    except RecursionError:
        raise Invalid([(pointer, f"nested deeper than {MAX_DEPTH} levels")]) from None
    except UnicodeEncodeError:
        raise Invalid([(pointer, "a string holds half of a surrogate pair")]) from None
    except (TypeError, ValueError, OverflowError) as error:
        raise Invalid([(pointer, f"not JSON: {error}")]) from None
    if len(raw) > max_bytes:
        raise Invalid([(pointer, f"{len(raw)} bytes of JSON are more than {max_bytes}")])
    if b"{" in raw or raw.count(b"[") > MAX_DEPTH:  # a dict may hold the keys 1 and "1"; depth
        try:
            parse_json(raw)
        except Invalid as error:
            raise Invalid([(pointer, error.problems[0][1])]) from None
    return raw


# --------------------------------------------------------------------------------------------------------- records


@dataclass(frozen=True, slots=True)
class Policy:
    """How often, how long and how far apart a job may run where neither it nor its type says so."""

    max_attempts: int = 2
    timeout_ms: int = 10_000
    backoff_ms: int = 1_000


@dataclass(frozen=True, slots=True)
class NewJob:
    """A job to submit. Seconds; None means the type's default. Invalid, with all problems, for what cannot be."""

    type: str = DEFAULT_TYPE
    payload: Any = None
    queue: str = DEFAULT_QUEUE
    priority: int | str = 5
    delay_s: float | None = None
    run_at: str | datetime | None = None
    max_attempts: int | None = None
    timeout_s: float | None = None
    backoff_s: float | None = None
    unique_key: str | None = None
    tags: Sequence[str] = ()

    def __post_init__(self) -> None:
        if problems := list(self._problems()):
            raise Invalid(problems)
        if isinstance(self.priority, str):
            object.__setattr__(self, "priority", PRIORITIES[self.priority])

    def _problems(self) -> Iterator[tuple[str, str]]:
        if not _is_name(self.type):
            yield "/type", NAME_RULE
        if not _is_name(self.queue):
            yield "/queue", NAME_RULE
        if not (self.priority in PRIORITIES if isinstance(self.priority, str) else _integer(self.priority, 0, 9)):
            yield "/priority", "must be 0 to 9, or low, normal or high"
        if self.unique_key is not None and not (
            isinstance(self.unique_key, str) and 1 <= len(self.unique_key) <= MAX_KEY_CHARS
        ):
            yield "/unique_key", f"must be 1 to {MAX_KEY_CHARS} characters"
        if self.tags != ():
            yield from self._tag_problems()
        if self.max_attempts is not None and not _integer(self.max_attempts, 1, MAX_ATTEMPTS):
            yield "/max_attempts", f"must be a whole number from 1 to {MAX_ATTEMPTS}"
        if (self.delay_s, self.timeout_s, self.backoff_s, self.run_at) != (None, None, None, None):
            yield from self._time_problems()

    def _tag_problems(self) -> Iterator[tuple[str, str]]:
        if not isinstance(self.tags, (list, tuple)) or len(self.tags) > MAX_TAGS:
            yield "/tags", f"must be a list of at most {MAX_TAGS} tags"
            return
        for number, tag in enumerate(self.tags):
            if not _is_name(tag):
                yield f"/tags/{number}", NAME_RULE

    def _time_problems(self) -> Iterator[tuple[str, str]]:
        for name, low, high in (("delay_s", 0, MAX_DELAY_MS), ("timeout_s", 100, DAY_MS), ("backoff_s", 0, DAY_MS)):
            value = getattr(self, name)
            if value is not None and not _number(value, low / 1000, high / 1000):
                yield f"/{name}", f"must be a number of seconds from {low / 1000:g} to {high / 1000:g}"
        if self.run_at is not None:
            if self.delay_s is not None:
                yield "/run_at", "give either run_at or delay_s"
            when = _epoch_ms(self.run_at)
            if when is None:
                yield "/run_at", "must be a time with its offset, like 2027-01-31T08:00:00Z"
            elif when > time.time() * 1000 + MAX_DELAY_MS:
                yield "/run_at", "must be within 365 days"

    def due(self) -> str:
        """When it runs, as lua/submit.lua takes it."""
        if self.run_at is not None:
            return str(_epoch_ms(self.run_at))
        return f"+{round(self.delay_s * 1000)}" if self.delay_s else ""

    def fields(self) -> list[str | bytes | int]:
        """What its hash holds besides status, score and times: field, value ..."""
        pairs: list[str | bytes | int] = ["type", self.type]
        if self.max_attempts is not None:
            pairs += ["max_attempts", self.max_attempts]
        if self.timeout_s is not None:
            pairs += ["timeout_ms", round(self.timeout_s * 1000)]
        if self.backoff_s is not None:
            pairs += ["backoff_ms", round(self.backoff_s * 1000)]
        return pairs + _pieces("payload", encode_json(self.payload, MAX_PAYLOAD_BYTES, "/payload"))


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
    cancel_asked: bool = False  # its handler was asked to stop
    progress: dict[str, Any] | None = None
    log: list[str] = field(default_factory=list)
    errors: list[dict[str, Any]] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)
    # fsync or replicated, where a submit has confirmed that
    durability: str | None = field(default=None, compare=False)

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
            "error": self.errors[-1]["message"] if self.errors and self.status != "done" else None,
            "errors": self.errors,
            "progress": self.progress,
            "log": self.log,
            "created_at": rfc3339(self.created_ms),
            "started_at": rfc3339(self.started_ms),
            "finished_at": rfc3339(self.finished_ms),
            "run_at": rfc3339(self.run_at_ms),
            "timeout_s": self.timeout_ms / 1000,
            "position": self.position,
            "worker": self.worker,
            "tags": self.tags,
        }


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


@dataclass(slots=True)
class Settlement:
    """The end of an attempt. ``outcome``: done, failed, cancelled or released (given back, not counted).

    ``kind`` is a word, or is made one; ``message`` may be followed by a NUL and a traceback."""

    id: str
    token: str
    outcome: str
    delay_ms: int = BACKOFF
    kind: str = ""
    message: str = ""
    fields: list[str | bytes | int] = field(default_factory=list)

    def args(self) -> list[str | bytes | int]:
        message = self.message[:MAX_MESSAGE_CHARS].encode(errors="replace")
        kind = _NO_WORD.sub("_", self.kind[:MAX_KIND_CHARS]) or "error"
        n = len(self.fields) // 2
        return [self.id, self.token, self.outcome, self.delay_ms, kind, message, n, *self.fields]


_NO_WORD = re.compile(r"[^\w.-]")  # a kind becomes a part of a key, and may be whatever an exception's class is called


@dataclass(frozen=True, slots=True)
class Held:
    """A running attempt, as a beat reports it: ms left of its timeout, and what it wants to show."""

    id: str
    token: str
    left_ms: int
    fields: list[str | bytes | int] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Filter:
    """Which jobs to list. None: any. ``kind`` is that of the last error; only dead letters have one."""

    status: str | None = None
    type: str | None = None
    queue: str | None = None
    tag: str | None = None
    kind: str | None = None


class Page(NamedTuple):
    """Some of the jobs that match. ``total`` is None where only a scan could tell; ``cursor`` is None at the end."""

    jobs: list[Job]
    total: int | None
    cursor: str | None


@dataclass(frozen=True, slots=True)
class Kind:
    """The dead letters whose last error is of one kind: how many, and the latest of them."""

    kind: str
    count: int
    job_id: str
    at_ms: int
    type: str
    message: str  # its beginning


@dataclass(frozen=True, slots=True)
class Action:
    """What may be done to many jobs: the statuses that allow it, and what its script, of the same name, says when it is done."""

    statuses: tuple[str, ...]
    good: tuple[str, ...]


ACTIONS = {
    "retry": Action(("failed", "cancelled"), ("retried",)),
    "cancel": Action(("processing", "queued", "scheduled"), ("cancelled", "asked")),
    "delete": Action(("queued", "scheduled", "failed", "cancelled", "done"), ("deleted",)),
    "run": Action(("scheduled",), ("queued",)),
}


class Acted(NamedTuple):
    """What became of those of many jobs that matched: so many changed (or would have, in a dry run), and the others did not:
    reason -> how many, the reason being their status, taken or not_found. ``cursor`` leads on; None at the end."""

    matched: int
    changed: int
    skipped: dict[str, int]
    cursor: str | None = None


class Expired(NamedTuple):
    id: str
    token: bytes
    lease_end: bytes


@dataclass(frozen=True, slots=True)
class Books:
    """All counts of one queue at one instant."""

    sizes: dict[str, int]
    totals: dict[str, int]
    bell: int
    reaper_ms: int | None
    paused: bool
    waits_since_ms: int | None  # since when the job could run that has waited longest in the queue
    now_ms: int
    checked_ms: int | None  # when the checker last looked at it, and how much it found
    problems: int | None

    @property
    def missing(self) -> int:
        """submitted - (jobs there + deleted + trimmed): 0 when the books balance."""
        totals = self.totals
        gone = totals.get("deleted", 0) + totals.get("trimmed", 0)
        return totals.get("submitted", 0) - gone - sum(self.sizes.values())

    @property
    def reaper_lives(self) -> bool:
        return self.reaper_ms is not None and self.now_ms - self.reaper_ms < REAPER_LOST_MS

    @property
    def oldest_age_ms(self) -> int | None:
        return None if self.waits_since_ms is None else self.now_ms - self.waits_since_ms


@dataclass(frozen=True, slots=True)
class Look:
    """What there is to know of one queue at one instant."""

    books: Books
    types: list[str]  # of the next jobs
    workers: dict[str, dict[str, Any]]  # what each said of itself at its last beat, beat_ms
    # minutes since the epoch -> counters, and oldest_ms: the oldest waiting job's age
    minutes: dict[int, dict[str, int]]

    def lives(self, worker: str) -> bool:
        return worker in self.workers and self.books.now_ms - self.workers[worker]["beat_ms"] < BEAT_LOST_MS

    def living(self) -> list[dict[str, Any]]:
        return [info for worker, info in self.workers.items() if self.lives(worker)]


_BUCKETS = {kind: [f"{kind}:{bound}" for bound in (*BUCKETS_MS, "inf")] for kind in ("wait", "run")}
_SUMS = {kind: f"{kind}:sum" for kind in _BUCKETS}


def times(kind: str, ms: float) -> tuple[tuple[str, int], tuple[str, int]]:
    """What a duration adds to the counters: 1 to its bucket's (``<kind>:<upper bound in ms>``), itself to the sum."""
    return (_BUCKETS[kind][bisect_left(BUCKETS_MS, ms)], 1), (_SUMS[kind], round(ms))


def result_fields(value: Any, max_bytes: int) -> list[str | bytes | int]:
    """A handler's result as fields of its hash. Invalid when it is not strict JSON or is too large."""
    return _pieces("result", encode_json(value, max_bytes))


def rfc3339(ms: int | None) -> str | None:
    if ms is None:
        return None
    when = datetime(1970, 1, 1, tzinfo=timezone.utc) + timedelta(milliseconds=ms)
    return when.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and NAME.fullmatch(value) is not None


def _integer(value: Any, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _number(value: Any, low: float, high: float) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and low <= value <= high


_RFC3339 = re.compile(r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)")


def _epoch_ms(when: Any) -> int | None:
    try:
        if isinstance(when, str):
            parts = _RFC3339.fullmatch(when)
            if not parts:
                return None
            day, clock, fraction, offset = parts.groups()
            micros = f"{fraction or '.'}000000"[:7]
            when = datetime.fromisoformat(f"{day}T{clock}{micros}{'+00:00' if offset in 'Zz' else offset}")
        if isinstance(when, datetime) and when.tzinfo is not None:
            return max(0, round(when.timestamp() * 1000))
    except (ValueError, OverflowError):
        pass
    return None


def _pieces(name: str, value: bytes) -> list[str | bytes | int]:
    if not PIECE_BYTES < len(value) <= MAX_IN_PIECES_BYTES:
        return [name, value]
    pairs: list[str | bytes | int] = [name, value[:PIECE_BYTES]]
    for number, start in enumerate(range(PIECE_BYTES, len(value), PIECE_BYTES), 1):
        pairs += [f"{name}.{number}", value[start : start + PIECE_BYTES]]
    return pairs


def _joined(name: str, fields: dict[bytes, bytes]) -> bytes:
    value, number = fields.get(name.encode(), b"null"), 1
    while piece := fields.get(b"%s.%d" % (name.encode(), number)):
        value, number = value + piece, number + 1
    return value


def _pairs(flat: Sequence[Any]) -> dict[Any, Any]:
    return dict(zip(flat[::2], flat[1::2], strict=True))


def _job(job_id: str, queue: str, flat: Sequence[bytes], ahead: int, policy: Sequence[int]) -> Job:
    fields: dict[bytes, bytes] = _pairs(flat)

    def number(name: bytes) -> int | None:
        return int(fields[name]) if name in fields else None

    status = fields[b"status"].decode()
    token = fields.get(b"token", b"").decode()
    progress = fields.get(b"progress")
    max_attempts, timeout_ms, _ = policy
    return Job(
        id=job_id,
        status=status,
        type=fields.get(b"type", DEFAULT_TYPE.encode()).decode(),
        queue=queue,
        priority=9 - (number(b"score") or 0) // 2**43,
        payload=json.loads(_joined("payload", fields)),
        result=json.loads(_joined("result", fields)) if status == "done" else None,
        attempts=number(b"attempts") or 0,
        max_attempts=max_attempts,
        timeout_ms=timeout_ms,
        created_ms=number(b"created") or 0,
        started_ms=number(b"started"),
        finished_ms=number(b"finished") if status in ("done", "failed", "cancelled") else None,
        run_at_ms=number(b"due"),
        position=ahead + 1 if status == "queued" and ahead >= 0 else None,
        worker=token.rpartition("-")[0] or None,
        cancel_asked=b"cancel" in fields,
        progress=json.loads(progress) if progress else None,
        log=fields.get(b"log", b"").decode(errors="replace").splitlines(),
        errors=[_error(fields[name]) for name in _error_names(fields)],
        tags=fields.get(b"tags", b"").decode().split(),
    )


def _books(answer: Sequence[Any]) -> Books:
    sizes, totals, bell, reaper, paused, oldest, now, checked = answer
    checked_ms, problems = map(int, checked.split()) if checked else (None, None)
    return Books(
        dict(zip(STATUSES, sizes, strict=True)),
        {name.decode(): int(value) for name, value in _pairs(totals).items()},
        bell,
        int(reaper) if reaper else None,
        bool(paused),
        int(oldest) if oldest else None,
        int(now),
        checked_ms,
        problems,
    )


def _kind(row: Sequence[Any]) -> Kind:
    kind, count, job_id, at_ms, job_type, record = row
    message = _error(record)["message"].rstrip("\ufffd") if record else ""  # it may have been cut inside a character
    return Kind(kind.decode(), count, job_id.decode(), int(at_ms), job_type.decode() or DEFAULT_TYPE, message)


def _error_names(fields: dict[bytes, bytes]) -> list[bytes]:
    return sorted((name for name in fields if name.startswith(b"error:")), key=lambda name: int(name[6:]))


def _error(record: bytes) -> dict[str, Any]:
    head, _, text = record.decode(errors="replace").partition("\n")
    at, attempt, kind, worker, *started = head.split(" ")  # older records do not have the start
    message, _, traceback = text.partition("\0")
    return {
        "attempt": int(attempt),
        "started_at": rfc3339(int(started[0])) if started and started[0] != "-" else None,
        "at": rfc3339(int(at)),
        "kind": kind,
        "message": message,
        "traceback": traceback or None,
        "worker": None if worker == "-" else worker,
    }


# ------------------------------------------------------------------------------------------------------------- ids


def new_id(queue_number: int, bits: bytes | None = None) -> str:
    """A UUID of version 8 (RFC 9562): random but for the 12 bits behind the version, the queue's number."""
    digits = (bits or secrets.token_bytes(16)).hex()  # by hand: class UUID takes twice as long
    variant = "89ab"[int(digits[16], 16) & 3]
    return f"{digits[:8]}-{digits[8:12]}-8{queue_number:03x}-{variant}{digits[17:20]}-{digits[20:]}"


def queue_number_of(job_id: str) -> int | None:
    """The queue's number in a job id; None for what cannot be one of ours."""
    try:
        parsed = uuid.UUID(job_id)
    except ValueError:
        return None
    if str(parsed) != job_id or parsed.version != 8:
        return None
    return parsed.int >> 64 & 0xFFF


# ----------------------------------------------------------------------------------------------------------- Redis


class Script:
    """One file of ``lua/`` behind the prelude, sent by its SHA-1."""

    folder = Path(__file__).resolve().parent / "lua"

    def __init__(self, name: str) -> None:
        self.text = (self.folder / "prelude.lua").read_text() + (self.folder / f"{name}.lua").read_text()
        self.sha = hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()


class _Scripts(dict[str, Script]):
    def __missing__(self, name: str) -> Script:
        script = self[name] = Script(name)
        return script


class _Weather:
    """Whatever Redis or the way to it does wrong is Unavailable: the caller waits, or says 503. A class, because a generator as
    context manager costs a microsecond a call."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if isinstance(error, (redis.RedisError, redis.exceptions.RedisClusterException, OSError)):
            raise Unavailable(_reason(error)) from error


_weather = _Weather()
_SILENT = (redis.ConnectionError, redis.TimeoutError, redis.exceptions.RedisClusterException, OSError)


def _reason(error: BaseException) -> str:
    text = " ".join(str(error).split())[:200]
    return f"Redis does not answer: {text}" if isinstance(error, _SILENT) else f"Redis refused: {text}"


Args = Iterable[str | bytes | int]
R = TypeVar("R")
T = TypeVar("T")


# ----------------------------------------------------------------------------------------------------- connections

# What REDIS_URL names is one Redis, the primary of which Sentinels know, or a Cluster. A *place* is one server of it: ""
# where there is but one. ``call`` gives the pooled client of the place that holds a key to a function; ``connect`` makes a
# connection for one thread; ``note`` hears what went wrong at a place, so that the next call may go elsewhere.


def _is_replica(error: redis.ResponseError) -> bool:
    """What has answered takes no writes. redis-py cuts the code off its own class; Redis 6 puts it inside another error."""
    return isinstance(error, redis.exceptions.ReadOnlyError) or "READONLY" in str(error)


def _wait_in_the_kernel(connection: Any) -> None:
    """Once it is connected: the kernel ends a wait that lasts too long. Python would ask it before each read and each write
    whether that would block: twice as many system calls."""
    connection.on_connect()
    wire, timeout_s = connection._sock, connection.socket_timeout
    if not isinstance(wire, ssl.SSLSocket):
        timeval = struct.pack("ll", int(timeout_s), int(timeout_s % 1 * 1_000_000))
        for direction in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            wire.setsockopt(socket.SOL_SOCKET, direction, timeval)
        wire.settimeout(None)


def _nothing(_: Any = None) -> None:
    pass


class _Client(redis.Redis):
    """Runs scripts on a connection that the calling thread keeps, and tries again as redis-py does. To lend one from the pool
    and to wrap each command costs redis-py as much as all the rest of a call."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._own = threading.local()
        self._hung_up = 0  # so many times; a connection from before is not used again

    def evalsha(self, sha: str, numkeys: int, *keys_and_args: Any) -> Any:
        return self.evalsha_while(_nothing, sha, numkeys, *keys_and_args)

    def evalsha_while(self, meanwhile: Callable[[], None], *args: Any) -> Any:
        """The same; ``meanwhile`` is called while Redis works, again if the script is sent again."""
        connection = self._connection()
        command = connection.pack_command(b"EVALSHA", *args)
        if self._own.in_use:
            try:
                return self._exchange(connection, command, meanwhile)
            except redis.ConnectionError:
                pass  # Redis has hung up since the last call: what follows on a new connection is the first try
        connection.connect()
        return connection.retry.call_with_retry(lambda: self._exchange(connection, command, meanwhile), _nothing)

    def hang_up(self) -> None:
        """The connections of all threads, each before it is used again, and those of the pool."""
        self._hung_up += 1
        self.connection_pool.disconnect(inuse_connections=False)

    def _connection(self) -> Any:
        """The calling thread's, perhaps not connected."""
        own, hung_up = self._own, self._hung_up
        if not hasattr(own, "connection"):
            options = self.connection_pool.connection_kwargs | {"redis_connect_func": _wait_in_the_kernel}
            own.connection = self.connection_pool.connection_class(**options)
            own.since, own.in_use = hung_up, False
        elif own.since != hung_up:
            self._drop(own.connection)
            own.since = hung_up
        return own.connection

    def _exchange(self, connection: Any, command: list[bytes], meanwhile: Callable[[], None]) -> Any:
        try:
            connection.send_packed_command(command, check_health=False)
            meanwhile()
            answer = connection.read_response()
            self._own.in_use = True
            return answer
        except redis.ResponseError:
            raise
        except BaseException as error:  # an answer may still be on its way: this connection must not be used again
            self._drop(connection)
            if isinstance(error.__context__, BlockingIOError):
                raise redis.TimeoutError("no answer in time") from error
            raise

    def _drop(self, connection: Any) -> None:
        connection.disconnect()
        self._own.in_use = False


class _OneServer:
    """A Redis of its own."""

    kind = "standalone"

    def __init__(self, client: Any, links: redis.ConnectionPool) -> None:
        self._client, self._links = client, links

    def call(self, key: str, function: Callable[[Any, str], R]) -> R:
        try:
            return function(self._client, key)
        except redis.ResponseError as error:
            if _is_replica(error):  # it is no longer the primary, and what else is connected to it is as wrong
                self._client.hang_up()
            raise

    def owner(self, key: str) -> str:
        return ""

    def client(self, place: str) -> Any:
        return self._client

    def primaries(self) -> dict[str, Any]:
        return {"": self._client}

    def connect(self, place: str, timeout_s: float) -> Any:
        connection = self._links.connection_class(**self._links.connection_kwargs | {"socket_timeout": timeout_s})
        connection.connect()
        return connection

    def note(self, place: str, error: Exception) -> None:
        pass


class _Primary(_OneServer):
    """The primary that Sentinels name. Each new connection asks them, and somebody once a second: one that was demoted in favour
    of another may take jobs for seconds before it hears of it, and all of them are lost."""

    kind = "sentinel"

    def __init__(self, client: Any, links: redis.ConnectionPool) -> None:
        super().__init__(client, links)
        self._place, self._ask_at = "", 0.0

    def call(self, key: str, function: Callable[[Any, str], R]) -> R:
        self.owner(key)
        return super().call(key, function)

    def owner(self, key: str) -> str:
        now = time.monotonic()
        if now >= self._ask_at:
            self._ask_at = now + SENTINELS_KEPT_S
            try:
                host, port = self._client.connection_pool.get_master_address()
                if self._place not in ("", place := f"{host}:{port}"):
                    self._client.hang_up()
                self._place = place
            except redis.RedisError:
                self._ask_at = now + 5 * SENTINELS_KEPT_S  # they are away: the primary may be there all the same
        return self._place


class _Cluster:
    """A Redis Cluster. redis-py's client keeps the map of its slots; the calls are made here.

    An ASK is not followed. While a slot moves, what it holds is spread over two nodes, and a script that ran on one of
    them would see a part of its queue. Every script names the queue's prefix as its key, which never exists, so Redis
    answers ASK from the first moment of a move to the last: the queue stands still, and is all there afterwards."""

    kind = "cluster"

    def __init__(self, nodes: Sequence[tuple[str, int]], options: dict[str, Any], timeouts: _Timeouts) -> None:
        self._nodes, self._options, self._timeouts = nodes, options, timeouts
        self._lock = threading.Lock()
        self._cluster: Any = None
        self._failed = ""  # a place that did not answer: the map is read anew before it is used again

    def call(self, key: str, function: Callable[[Any, str], R]) -> R:
        for left in range(self._timeouts.retries, -1, -1):
            place = self.owner(key)
            try:
                return function(self.client(place), key)
            except _ELSEWHERE as error:
                self.note(place, error)
                if not left:
                    raise
                time.sleep(random.uniform(0.05, 0.1))
        raise AssertionError("unreachable")

    def owner(self, key: str) -> str:
        try:
            return str(self._map().get_node_from_slot(key_slot(key.encode())).name)
        except redis.exceptions.SlotNotCoveredError:
            self._failed = "nobody"
            raise

    def client(self, place: str) -> Any:
        node = self._map().get_node(node_name=place)
        if node is None:
            raise redis.ConnectionError(f"{place} has left the Cluster")
        return self._cluster.get_redis_connection(node)

    def primaries(self) -> dict[str, Any]:
        self._map()
        return {node.name: self._cluster.get_redis_connection(node) for node in self._cluster.get_primaries()}

    def connect(self, place: str, timeout_s: float) -> Any:
        host, _, port = place.rpartition(":")
        kind = redis.SSLConnection if self._options.get("ssl") else redis.Connection
        options = {name: value for name, value in self._options.items() if name != "ssl"}
        connection = kind(host=host, port=int(port), **options, **self._timeouts.of_a_link(timeout_s))
        connection.connect()
        return connection

    def note(self, place: str, error: Exception) -> None:
        if isinstance(error, redis.exceptions.MovedError):
            with suppress(KeyError):  # of a slot that the map does not have just now
                self._map().move_slot(error)
        elif isinstance(error, (OSError, redis.ConnectionError, redis.TimeoutError, redis.exceptions.ClusterDownError)):
            self._failed = place

    def _map(self) -> Any:
        """Which node has which slots. Made when it is first asked for: the Cluster may come up after us."""
        with self._lock:
            try:
                if self._cluster is None:
                    self._cluster = RedisCluster(
                        startup_nodes=[ClusterNode(host, port) for host, port in self._nodes],
                        require_full_coverage=False,  # the queues of the other shards go on
                        **self._options,
                        **self._timeouts.of_a_client(),
                    )
                elif self._failed:
                    self._cluster.nodes_manager.initialize(last_failed_node_name=self._failed)
                    self._failed = ""
            except IndexError:  # redis-py takes it for granted that there is a first one
                raise redis.ConnectionError("no node of the Cluster has any slots yet") from None
            return self._cluster.nodes_manager


_ELSEWHERE = (
    redis.ConnectionError,
    redis.TimeoutError,
    redis.exceptions.AskError,  # and MOVED, which is one
    redis.exceptions.TryAgainError,
    redis.exceptions.ClusterDownError,
)


class _Sentinels(Sentinel):
    """Sentinels, asked as their guide for clients says. redis-py asks for the state of all they know, which names the old
    primary until a failover is over."""

    _first = 0  # the one that answered last

    def discover_master(self, service_name: str) -> tuple[str, int]:
        for at in sorted(range(len(self.sentinels)), key=lambda at: at != self._first):
            with suppress(redis.ConnectionError, redis.TimeoutError):
                found: Any = self.sentinels[at].sentinel_get_master_addr_by_name(service_name)
                if found:
                    self._first = at
                    return found[0].decode(), found[1]
        raise MasterNotFoundError(f"no Sentinel that answers knows a primary of {service_name!r}")


@dataclass(frozen=True, slots=True)
class _Timeouts:
    """How long a call of the pooled client may take, and how often it is tried again."""

    timeout_s: float
    retries: int

    def of_a_client(self) -> dict[str, Any]:
        backoff = ExponentialWithJitterBackoff(cap=0.5, base=0.05)
        return self._common(self.timeout_s, RedisRetry(backoff, self.retries))

    def of_a_link(self, timeout_s: float = LINK_TIMEOUT_S) -> dict[str, Any]:
        return self._common(timeout_s, RedisRetry(NoBackoff(), 0)) | {"redis_connect_func": _wait_in_the_kernel}

    def _common(self, timeout_s: float, retry: RedisRetry) -> dict[str, Any]:
        return {
            "socket_timeout": timeout_s,
            "socket_connect_timeout": min(timeout_s, CONNECT_S),
            "retry": retry,
            "protocol": 2,
            "client_name": "jobqueue",
        }


def _servers(url: str, timeouts: _Timeouts) -> _OneServer | _Cluster:
    """What a REDIS_URL leads to. Asks nothing yet. ValueError for a URL that is none."""
    scheme = url.partition("://")[0]
    if "+" not in scheme:
        keepalive = {} if scheme == "unix" else {"socket_keepalive": True}
        return _OneServer(
            _Client.from_url(url, **keepalive, **timeouts.of_a_client()),
            redis.ConnectionPool.from_url(url, **keepalive, **timeouts.of_a_link()),
        )
    nodes, service, options = _addresses(url)
    if scheme.endswith("+cluster"):
        return _Cluster(nodes, options, timeouts)
    login = {name: options.pop(f"sentinel_{name}", None) for name in ("username", "password")}
    tls = {name: value for name, value in options.items() if name.startswith("ssl")}
    kind: Any = _Sentinels  # redis-py's Sentinel has no types
    sentinels = kind(nodes, sentinel_kwargs={**timeouts.of_a_link(SENTINEL_S), **login, **tls}, **options)
    primary = sentinels.master_for(service, redis_class=_Client, **timeouts.of_a_client())
    return _Primary(primary, SentinelConnectionPool(service, sentinels, **options, **timeouts.of_a_link()))


def _addresses(url: str) -> tuple[list[tuple[str, int]], str, dict[str, Any]]:
    """The addresses, the name of the service and the connection's options in the URL of Sentinels or a Cluster."""
    scheme, _, rest = url.partition("://")
    rest, _, query = rest.partition("?")
    hosts, _, path = rest.partition("/")
    login, at, hosts = hosts.rpartition("@")
    service, _, db = path.partition("/")
    options = parse_url(f"redis://{login}{at}localhost/{db}?{query}")
    for name in ("host", "port"):
        options.pop(name, None)
    if scheme.startswith("rediss"):
        options["ssl"] = True
    nodes = [(host.strip("[]"), int(port)) for host, _, port in (each.rpartition(":") for each in hosts.split(","))]
    return nodes, service, {"socket_keepalive": True, **options}


class Link:
    """Connections of one thread, one to each place it needs: no pool, no re-sends of its own. Its calls may be repeated by
    the caller; after an error the next one may go to another server."""

    def __init__(self, servers: _OneServer | _Cluster, scripts: _Scripts, timeout_s: float = LINK_TIMEOUT_S) -> None:
        self._servers, self._scripts, self._timeout_s = servers, scripts, timeout_s
        self._connections: dict[str, Any] = {}
        self.blocked_as: tuple[str, int] | None = None  # where it waits for the bell, and its client id there

    def run(self, name: str, prefix: str, args: Args) -> Any:
        with _weather:
            return self._run(self._servers.owner(prefix), name, prefix, args)

    def run_and_confirm(
        self, name: str, prefix: str, args: Args, touch: str, confirm: Sequence[str | int]
    ) -> tuple[Any, Any]:
        """A script, and then on the same connection WAIT or WAITAOF: the script's answer, and the counts or why there are none."""
        with _weather:
            place = self._servers.owner(prefix)
            answer = self._run(place, name, prefix, args)
        try:
            # A repeated submit writes nothing, and there would be nothing to wait for.
            self._call(place, "HSET", touch, "confirmed", "1")
            # Never on a new connection: a call that loses the old one raises. It might lead to another server.
            return answer, self._call(place, *confirm)
        except (redis.RedisError, OSError) as error:
            return answer, _reason(error)

    def wait_and_run(self, prefix: str, slot: str, name: str, args: Args) -> Any:
        """Block until the bell rings, BLOCK_S pass, or somebody unblocks ``blocked_as``; Redis then runs the script, which has
        been sent along, without waiting for us. Its answer, or None when Redis does not have the script."""
        with _weather:
            place = self._servers.owner(prefix)
            if self.blocked_as is None or self.blocked_as[0] != place:
                self._identify(place)
            rung, answer = self._ask(
                place,
                ("BLMOVE", f"{prefix}bell", f"{prefix}processing:{slot}", "RIGHT", "LEFT", BLOCK_S),
                (b"EVALSHA", self._scripts[name].sha, 1, prefix, *args),
            )
            if isinstance(answer, redis.exceptions.NoScriptError):
                return None
            if isinstance(answer, Exception):
                raise answer
            if isinstance(rung, Exception) and not answer[1] and not str(rung).startswith("UNBLOCKED"):
                raise rung
            return answer

    def close(self) -> None:
        self.blocked_as = None
        while self._connections:
            self._connections.popitem()[1].disconnect()

    def _identify(self, place: str) -> None:
        try:
            self.blocked_as = place, int(self._call(place, "CLIENT", "ID"))
        except redis.ResponseError:
            self.blocked_as = place, 0  # not permitted: blocked calls then end by themselves

    def _run(self, place: str, name: str, prefix: str, args: Args) -> Any:
        script = self._scripts[name]
        try:
            return self._call(place, b"EVALSHA", script.sha, 1, prefix, *args)
        except redis.exceptions.NoScriptError:
            return self._call(place, "EVAL", script.text, 1, prefix, *args)

    def _call(self, place: str, *args: str | bytes | int) -> Any:
        answer = self._ask(place, args)[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def _ask(self, place: str, *commands: tuple[str | bytes | int, ...]) -> list[Any]:
        """The answers to commands that are sent at once, refusals among them."""
        answers: list[Any] = []
        try:
            connection = self._connections.get(place)
            if connection is None:
                connection = self._connections[place] = self._servers.connect(place, self._timeout_s)
            packed = b"".join([part for command in commands for part in connection.pack_command(*command)])
            connection.send_packed_command([packed], check_health=False)
            for _ in commands:
                try:
                    answers.append(connection.read_response(disable_decoding=True))
                except redis.ResponseError as refusal:
                    answers.append(refusal)
        except BaseException as error:  # an answer may still be on its way: this connection must not be used again
            self.close()
            if isinstance(error, Exception):
                self._servers.note(place, error)
            raise
        for answer in answers:
            if isinstance(answer, redis.ResponseError):
                self._servers.note(place, answer)
                if _is_replica(answer):  # it is no longer the primary
                    self.close()
        return answers


class _Durability:
    """What a submit waits for before it is answered: nothing (fast), an fsync, or a replica (replicated)."""

    def __init__(self, wanted: str, servers: _OneServer | _Cluster) -> None:
        self.wanted, self._servers = wanted, servers
        self._kept: dict[str, tuple[float, tuple[str | int, ...], str]] = {}
        self._replicas: dict[str, list[tuple[float, int]]] = defaultdict(list)  # when there were how many

    def means(self, place: str) -> tuple[tuple[str | int, ...], str]:
        """The command whose answer confirms (none: a write's own answer does), or why nothing can."""
        if self.wanted == "fast":
            return (), ""
        seen_at, command, why_not = self._kept.get(place, (-math.inf, (), ""))
        if time.monotonic() - seen_at > DURABILITY_KEPT_S:
            command, why_not = self._look(place, self._servers.client(place))
            self._kept[place] = time.monotonic(), command, why_not
        return command, why_not

    def _look(self, place: str, client: Any) -> tuple[tuple[str | int, ...], str]:
        try:
            version = str(client.info("server")["redis_version"])
            settings = client.config_get("*append*")
            replicas = self._to_wait_for(place, client.info("replication"))
        except redis.ResponseError:
            return ((), _NO_RIGHT) if self.wanted == "fsync" else (("WAIT", 1, CONFIRM_MS), "")
        new = tuple(int(part) for part in version.split(".")[:2]) >= (7, 2)
        logged = settings.get("appendonly") == "yes"
        if self.wanted == "replicated":
            if not replicas:
                return (), "no replica follows this primary"
            return (("WAITAOF", 1, replicas, CONFIRM_MS) if new and logged else ("WAIT", replicas, CONFIRM_MS)), ""
        if not logged:
            return (), "Redis keeps no append-only file; set appendonly yes"
        if new:
            return ("WAITAOF", 1, 0, CONFIRM_MS), ""
        if settings.get("appendfsync") != "always" or settings.get("no-appendfsync-on-rewrite") != "no":
            return (
                (),
                f"Redis {version} can only confirm an fsync under appendfsync always (from 7.2 on, under everysec too)",
            )
        return (), ""

    def _to_wait_for(self, place: str, info: dict[str, Any]) -> int:
        """All replicas that follow, or did a moment ago: any of them may become the primary, and it is just when one is
        being made the primary that the others go on to confirm to the old one what will be lost."""
        now, states = time.monotonic(), [value for name, value in info.items() if re.fullmatch(r"slave\d+", name)]
        online = sum(state["state"] == "online" for state in states)
        seen = [each for each in self._replicas[place] if now - each[0] < REPLICAS_KEPT_S]
        self._replicas[place] = [*seen, (now, online)]
        return max(count for _, count in self._replicas[place])

    def missing(self, command: Sequence[str | int], counts: Any) -> str:
        """Why the answer to ``command`` confirms nothing; '' when it does."""
        if isinstance(counts, str):
            return counts
        counts = counts if isinstance(counts, list) else [counts]
        if all(count >= asked for count, asked in zip(counts, command[1:-1], strict=True)):
            return ""
        after = f"after {CONFIRM_MS / 1000:g} s"
        if self.wanted == "fsync":
            return f"it is not on disk {after}"
        return f"{counts[-1]} of {command[-2]} replicas have it {after}"


_NO_RIGHT = "this user of Redis may not ask for its version and settings (INFO, CONFIG GET)"


class Stop(Protocol):
    """What a threading.Event gives: wait a while, or until it is set."""

    def wait(self, timeout: float | None = None) -> bool: ...
    def is_set(self) -> bool: ...


class JobQueue:
    """The queues of one Redis. Thread-safe; every method may raise Unavailable."""

    def __init__(
        self,
        url: str = "redis://localhost:6379/0",
        *,
        defaults: Policy | None = None,
        timeout_s: float = 3.0,
        retries: int = 2,
        durability: str = "fast",
    ) -> None:
        """``url``: redis://, rediss://, unix://, or redis+sentinel://, redis+cluster:// and their rediss+ forms.
        ``durability``: what submits wait for, fast, fsync or replicated; see Submitted.unconfirmed."""
        policy = defaults or Policy()
        self._defaults = (str(policy.max_attempts), str(policy.timeout_ms), str(policy.backoff_ms))
        self.policy = policy
        self._timeout_s, self._retries = timeout_s, retries
        self._servers = _servers(url, _Timeouts(timeout_s, retries))
        self._durability = _Durability(durability, self._servers)
        self._confirmed_queues: set[str] = set()
        self._confirming: list[Link] = []  # idle links of submits that wait for more than the script
        self._scripts = _Scripts()
        self._numbers: dict[str, int] = {}
        self._names: dict[int, str] = {}
        self._numbered_at = -math.inf
        self._types: dict[str, tuple[float, dict[str, Policy]]] = {}

    # -- submit

    def submit(self, type: str = DEFAULT_TYPE, payload: Any = None, *, key: str | None = None, **options: Any) -> Job:
        """Store one job and return it. ``options`` are those of NewJob; ``key`` makes a repeat harmless."""
        return self.submit_one(NewJob(type, payload, **options), key).job  # type: ignore[return-value]

    def submit_one(self, job: NewJob, key: str | None = None) -> Submitted:
        """Store one job. Raises what ``Submitted.error`` would hold."""
        _check_key(key)
        (submitted,) = self._submit_to(job.queue, [job], [job.fields()], key)
        if submitted.error:
            raise submitted.error
        return submitted

    def submit_many(self, jobs: Sequence[NewJob], *, key: str | None = None) -> list[Submitted]:
        """Store jobs; for each queue, all of a chunk of 250 or none of it. Under a key, ids follow from it: repeating the
        same call stores what is missing and gives back the rest. Errors are told for each job; none is raised."""
        _check_key(key)
        answers: dict[int, Submitted] = {}
        encoded: dict[int, list[str | bytes | int]] = {}
        by_queue: dict[str, list[int]] = {}
        for index, job in enumerate(jobs):  # all of them are checked before any is stored
            try:
                encoded[index] = job.fields()
                by_queue.setdefault(job.queue, []).append(index)
            except Invalid as error:
                answers[index] = Submitted(None, error=error)
        away: Unavailable | None = None
        for queue, indexes in by_queue.items():
            if away:  # one timeout is enough: a batch may name as many queues as it has jobs
                stored = [Submitted(None, error=away)] * len(indexes)
            else:
                stored = self._submit_to(queue, [jobs[i] for i in indexes], [encoded[i] for i in indexes], key)
            if isinstance(stored[-1].error, Unavailable):
                away = stored[-1].error
            answers.update(zip(indexes, stored, strict=True))
        return [answers[index] for index in range(len(jobs))]

    def _submit_to(
        self, queue: str, jobs: list[NewJob], encoded: list[list[str | bytes | int]], key: str | None
    ) -> list[Submitted]:
        """Store the jobs of one queue, chunk by chunk: the next is made ready while Redis stores one. What stops a chunk stops
        those behind it."""
        stored: list[Submitted] = []
        try:
            chunks = _Ahead(_chunks_to_store(self.register(queue), queue, jobs, encoded, key))
            published = self.published(queue)  # before the script: it must not fail after the jobs are stored
            for chunk in chunks:
                answer, unconfirmed = self._run_durably("submit", queue, chunk.args, chunks.fetch)
                unconfirmed = unconfirmed or self._registry_unconfirmed(queue)
                stored += self._results(chunk, answer, published, key is not None, unconfirmed)
        except JobQueueError as error:
            stored += [Submitted(None, error=error)] * (len(jobs) - len(stored))
        return stored

    def _results(
        self, chunk: _Chunk, answer: Any, published: dict[str, Policy], keyed: bool, unconfirmed: str
    ) -> list[Submitted]:
        if answer[0] == b"conflict":
            raise KeyReused(
                "this Idempotency-Key was used for another request; use a new one, or repeat the first exactly"
            )
        # Replayed without a key: redis-py sent it twice because the first answer was lost.
        stored, now, ahead = answer[0] == b"stored", int(answer[1]), int(answer[2])
        submitted = []
        for job_id, job, existing in zip(chunk.ids, chunk.jobs, answer[3], strict=True):
            if existing:
                submitted.append(self._found(existing.decode(), keyed and not stored, existing=True))
            elif stored:
                policy = published.get(job.type, self.policy)
                submitted.append(Submitted(_fresh(job_id, job, now, ahead, policy)))
            else:
                submitted.append(self._found(job_id, keyed))
        return submitted if self._durability.wanted == "fast" else [self._told(each, unconfirmed) for each in submitted]

    def _told(self, submitted: Submitted, unconfirmed: str) -> Submitted:
        if not submitted.job:
            return submitted
        wanted = self._durability.wanted
        job = replace(submitted.job, durability=None if unconfirmed else wanted)
        why = f"stored, but not confirmed as {wanted}: {unconfirmed}" if unconfirmed else ""
        return submitted._replace(job=job, unconfirmed=why)

    def _found(self, job_id: str, replayed: bool, existing: bool = False) -> Submitted:
        try:
            return Submitted(self.get(job_id), replayed, existing)
        except NotFound:
            return Submitted(None, error=NotFound(f"job {job_id}, submitted before, is past its retention"))

    # -- read

    def get(self, job_id: str) -> Job:
        """The job. NotFound for any other id."""
        queue = self.queue_of(job_id)
        answer = self._run("get", queue, [job_id, *self._defaults])
        if answer is None:
            raise NotFound(f"there is no job {job_id}")
        return _job(job_id, queue, answer[0], answer[1], answer[2:])

    def ended(self, job_ids: Iterable[str], seen: dict[str, str]) -> list[str]:
        """Those of some jobs that have ended or are gone. ``seen`` is for the next call with the same jobs, so that it looks at
        them only when some job of their queue has ended; for other jobs, give an empty one. One script for up to ENDED_MOST
        jobs of a server; in a Cluster, of a queue."""
        jobs: dict[str, list[str]] = {}
        gone: list[str] = []
        for job_id in job_ids:
            try:
                jobs.setdefault(self.queue_of(job_id), []).append(job_id)
            except NotFound:
                gone.append(job_id)
        rows = [
            (queue, ids[at : at + ENDED_MOST]) for queue, ids in jobs.items() for at in range(0, len(ids), ENDED_MOST)
        ]
        before = dict(seen)
        seen.clear()
        for part in _in_scripts(rows, apart=self._servers.kind == "cluster"):
            args: list[str | int] = []
            for queue, ids in part:
                args += [_prefix(queue), before.get(queue, ""), len(ids), *ids]
            answers = self._run("ended", part[0][0], args)
            for (queue, _), (totals, *ended) in zip(part, answers, strict=True):
                seen.setdefault(
                    queue, totals.decode()
                )  # of several scripts, the first: what ends meanwhile is new to it
                gone += [job_id.decode() for job_id in ended]
        return gone

    def page(
        self, wanted: Filter | None = None, *, limit: int = 50, offset: int = 0, cursor: str | None = None
    ) -> Page:
        """One page of the jobs that match: what runs, what waits in its order, then what ended, newest first; of a tag, all
        newest first. ``cursor`` continues a page and stays valid while jobs come and go. Invalid for another's cursor."""
        wanted = wanted or Filter()
        if cursor is None and offset:
            return self._skip(wanted, limit, offset)
        queues = self._queues_of(wanted)
        return _Pager(self, wanted, queues, cursor).page(limit)._replace(total=self._total(wanted, queues))

    def _skip(self, wanted: Filter, limit: int, offset: int) -> Page:
        page = self.page(wanted, limit=min(offset, PAGE_STEP))
        left = offset - len(page.jobs)
        while left > 0 and page.cursor:
            page = self.page(wanted, limit=min(left, PAGE_STEP), cursor=page.cursor)
            left -= len(page.jobs)
        return self.page(wanted, limit=limit, cursor=page.cursor) if page.cursor else Page([], page.total, None)

    def _queues_of(self, wanted: Filter) -> list[str]:
        queues = self.queues()
        return [queue for queue in queues if wanted.queue in (None, queue)]

    def _total(self, wanted: Filter, queues: list[str]) -> int | None:
        """From the sizes of the indexes, never from a scan."""
        if wanted.type or (wanted.tag and (wanted.status or wanted.kind)):
            return None
        if wanted.kind and wanted.status not in (None, "failed"):
            return 0
        if wanted.tag or wanted.kind:
            keys = [f"{_prefix(queue)}{_indexes(wanted)[0]}" for queue in queues]
            return sum(self._at(key, lambda client, key: client.zcard(key)) for key in keys)
        sizes = [self.books(queue).sizes for queue in queues]
        return sum(n for size in sizes for status, n in size.items() if wanted.status in (None, status))

    def kinds(self, queue: str | None = None) -> list[Kind]:
        """The kinds of error among the dead letters (of one queue), the most frequent first."""
        found: dict[str, Kind] = {}
        for name in self._queues_of(Filter(queue=queue)):
            for row in self._run("kinds", name, []):
                kind = _kind(row)
                other = found.get(kind.kind, replace(kind, count=0))
                latest = max(kind, other, key=lambda each: each.at_ms)
                found[kind.kind] = replace(latest, count=kind.count + other.count)
        return sorted(found.values(), key=lambda kind: (-kind.count, kind.kind))

    def published(self, queue: str) -> dict[str, Policy]:
        """What the workers published of their types, at most PUBLISHED_KEPT_S old."""
        read_at, types = self._types.get(queue, (-math.inf, {}))
        if time.monotonic() - read_at > PUBLISHED_KEPT_S:
            rows = self._at(f"{_prefix(queue)}types", lambda client, key: client.hgetall(key))
            types = {name.decode(): Policy(*map(int, row.split())) for name, row in rows.items()}
            self._types[queue] = time.monotonic(), types
        return types

    def books(self, queue: str) -> Books:
        return _books(self._run("books", queue, []))

    def look(self, queue: str, *, minutes: int = 0, jobs: int = 0) -> Look:
        """All counts, the workers, the counters of the last minutes (this one included) and the types of the next ``jobs``."""
        answer = self._run("books", queue, [minutes, jobs])
        books, (types, workers, rows) = _books(answer[:8]), answer[8:]
        last = books.now_ms // 60_000
        return Look(
            books,
            [name.decode() for name in types],
            {name.decode(): json.loads(info) | {"beat_ms": int(beat)} for name, beat, info in workers},
            {last - ago: {name.decode(): int(n) for name, n in _pairs(row).items()} for ago, row in enumerate(rows)},
        )

    def queues(self) -> list[str]:
        """All queues that were ever used, by number."""
        rows = self._at("jq:queues", lambda client, key: client.hgetall(key))
        numbers = {name.decode(): int(number) for name, number in rows.items()}
        self._numbers, self._names = numbers, {number: name for name, number in numbers.items()}
        self._numbered_at = time.monotonic()
        return sorted(numbers, key=numbers.__getitem__)

    def queue_of(self, job_id: str) -> str:
        """The queue that a job id belongs to. NotFound when there is none."""
        number = queue_number_of(job_id)
        if number is not None and (number not in self._names or self._registry_is_old()):
            self.queues()
        if number not in self._names:
            raise NotFound(f"there is no job {job_id}")
        return self._names[number]

    def workers(self, queue: str) -> dict[str, dict[str, Any]]:
        """What each worker of the queue said of itself at its last beat."""
        return self.look(queue).workers

    # -- operate

    def cancel(self, job_id: str) -> str:
        """Cancel a job: 'cancelled' when it waited, 'asked' when its handler was asked to stop. Conflict when it has ended."""
        return self._operate("cancel", job_id)

    def retry(self, job_id: str, payload: Any = SAME) -> str:
        """Queue a failed or cancelled job again with fresh attempts, and perhaps another payload: 'retried'. Conflict for any
        other status."""
        changes = [] if payload is SAME else _pieces("payload", encode_json(payload, MAX_PAYLOAD_BYTES, "/payload"))
        return self._operate("retry", job_id, changes)

    def run_now(self, job_id: str) -> str:
        """Make a scheduled job due now: 'queued'. Conflict for a job that has started or ended."""
        return self._operate("run", job_id)

    def delete(self, job_id: str) -> None:
        """Forget a job. Conflict while it is processing."""
        key = f"{_prefix(self.queue_of(job_id))}job:{job_id}"
        if not self._at(key, lambda client, key: client.exists(key)):
            raise NotFound(f"there is no job {job_id}")
        try:  # if it is gone by now it was deleted, perhaps by a copy of this call
            self._operate("delete", job_id)
        except NotFound:
            pass

    def act_on(self, action: str, job_ids: Iterable[str], *, dry_run: bool = False) -> Acted:
        """Do one of ACTIONS to each of some jobs, or count those that allow it. Repeating is harmless."""
        changed, skipped = 0, Counter[str]()
        by_queue = defaultdict[str, list[str]](list)
        for job_id in dict.fromkeys(job_ids):
            try:
                by_queue[self.queue_of(job_id)].append(job_id)
            except NotFound:
                skipped["not_found"] += 1
        for queue, ids in by_queue.items():
            changed += self._act(action, queue, ids, dry_run, skipped)
        return Acted(changed + skipped.total(), changed, dict(skipped))

    def sweep(
        self,
        action: str,
        wanted: Filter,
        *,
        cursor: str | None = None,
        dry_run: bool = False,
        most: int = ACT_MOST,
    ) -> Acted:
        """Do one of ACTIONS to jobs that match, oldest first: to a bounded number (``most``; COUNT_MOST in a dry run) of those
        that were there at the first call. ``cursor`` continues. Without a status, only the statuses that allow the action
        count as matching. Repeating is harmless. Invalid for another's cursor."""
        sweep, changed, skipped = _Sweep(self, action, wanted, cursor), 0, Counter[str]()
        left = COUNT_MOST if dry_run else most
        for _ in range(SWEEP_LOOKS):
            if not left or sweep.ended:
                break
            queue, ids = sweep.look(min(left, ACT_MOST))
            left -= len(ids)
            changed += self._act(action, queue, ids, dry_run, skipped)
        if not wanted.status:
            skipped = Counter({reason: n for reason, n in skipped.items() if reason not in STATUSES})
        return Acted(changed + skipped.total(), changed, dict(skipped), sweep.cursor())

    def _act(self, action: str, queue: str, ids: Sequence[str], dry_run: bool, skipped: Counter[str]) -> int:
        """Returns how many jobs were changed; the others are added to ``skipped``."""
        ready = []
        for job_id, (status, taken) in zip(ids, self._run("look", queue, ids) if ids else (), strict=True):
            if status.decode() not in ACTIONS[action].statuses:
                skipped[status.decode() or "not_found"] += 1
            elif action == "retry" and taken:
                skipped["taken"] += 1
            else:
                ready.append(job_id)
        if dry_run:
            return len(ready)
        # A job that was there when it was looked at and is gone was deleted, perhaps by a copy of this call.
        gone = "deleted" if action == "delete" else "not_found"
        said = [s or gone for ids in _chunks(iter(ready), ACT_STEP) for s in self._answers(action, queue, ids)]
        skipped.update(answer for answer in said if answer not in ACTIONS[action].good)
        return sum(answer in ACTIONS[action].good for answer in said)

    def requeue_dead(self, queue: str, *, most: int = 10_000) -> tuple[int, int]:
        """Retry the queue's dead letters, oldest first, in bounded steps. Returns how many, and how many are left."""
        done, cursor = 0, None
        for _ in range(REQUEUE_CALLS):  # many may be left that cannot run: another job has their unique key
            acted = self.sweep("retry", Filter("failed", queue=queue), cursor=cursor, most=min(ACT_MOST, most - done))
            done, cursor = done + acted.changed, acted.cursor
            if done == most or not cursor:
                break
        return done, self.books(queue).sizes["failed"]

    def pause(self, queue: str, paused: bool = True) -> None:
        """Stop a queue from giving out jobs, or let it go on. NotFound for a queue that was never used."""
        if queue not in self.queues():
            raise NotFound(f"there is no queue {queue}")
        self._run("pause", queue, [int(paused)])

    def admit(self, client: str, limit: int, window_ms: int) -> tuple[bool, int, int]:
        """Count a client's request against its limit. Returns whether it is within it, how many are left, and ms until
        there is room for another."""
        answer = self._run_at(f"jq:rate:{client}", "rate", [limit, window_ms])
        return bool(answer[0]), int(answer[1]), int(answer[2])

    def _operate(self, action: str, job_id: str, changes: Args = ()) -> str:
        [status] = self._answers(action, self.queue_of(job_id), [job_id], changes)
        if status is None:
            raise NotFound(f"there is no job {job_id}")
        if status not in ACTIONS[action].good:
            if status == "taken":
                raise Conflict("taken", "another job that has not ended has its unique key")
            raise Conflict(status, f"cannot {action} a job that is {status}")
        return status

    def _answers(self, action: str, queue: str, ids: Sequence[str], changes: Args = ()) -> list[str | None]:
        """What the action's script says of each job."""
        args = [secrets.token_urlsafe(12), len(ids), *ids, *changes] if action == "retry" else ids
        return [answer.decode() if answer else None for answer in self._run(action, queue, args)]

    # -- work: what a worker's threads call

    def link(self) -> Link:
        """A connection for one thread."""
        return Link(self._servers, self._scripts)

    def exchange(
        self,
        link: Link,
        queue: str,
        slot: str,
        seq: int,
        seen: int,
        want: int,
        lease_ms: int,
        ended: Sequence[Settlement],
    ) -> tuple[list[bool], list[Claimed]]:
        """Settle attempts and claim up to ``want`` jobs under the token ``<slot>:<seq>``; seq 0 only settles.
        Safe to repeat. Returns whether each attempt was accepted (its token was still the job's), and the jobs."""
        args: list[str | bytes | int] = [slot, seq, seen, want, lease_ms, *self._defaults, 0, len(ended)]
        for settlement in ended:
            args += settlement.args()
        answer = link.run("exchange", _prefix(queue), args)
        if not answer:
            raise Unavailable("a newer claim of this slot has been made")
        return [bool(accepted) for accepted in answer[0]], [_claimed(row, f"{slot}:{seq}") for row in answer[1]]

    def wait_and_claim(
        self, link: Link, queue: str, slot: str, seq: int, seen: int, want: int, lease_ms: int, alive_ms: int
    ) -> list[Claimed]:
        """Wait for the bell and claim in one trip; [] when it did not ring, or somebody else was quicker. Redis claims when it
        rings, even for a worker that has died while it waited: only for one whose last beat is at most ``alive_ms`` old."""
        args: list[str | bytes | int] = [slot, seq, seen, want, lease_ms, *self._defaults, alive_ms, 0]
        answer = link.wait_and_run(_prefix(queue), slot, "exchange", args)
        return [_claimed(row, f"{slot}:{seq}") for row in answer[1]] if answer else []

    def unblock(self, links: Iterable[Link]) -> None:
        """End the waiting of other threads' links."""
        with _weather:
            for place, client_id in [link.blocked_as for link in links if link.blocked_as]:
                if client_id:
                    self._servers.client(place).execute_command("CLIENT", "UNBLOCK", client_id)

    def beat(
        self,
        link: Link,
        queue: str,
        worker: str,
        info: dict[str, Any],
        lease_ms: int,
        types: dict[str, Policy],
        held: Sequence[Held],
        counts: dict[str, int] | None = None,
    ) -> tuple[bool, list[str]]:
        """Say that a worker lives, renew its leases and add to the counters. Returns whether a reaper lives, and for each attempt
        'ok', 'cancel' (asked to stop) or 'lost' (taken back)."""
        args: list[str | bytes | int] = [worker, json.dumps(info), lease_ms, len(types)]
        for name, policy in types.items():
            args += [name, f"{policy.max_attempts} {policy.timeout_ms} {policy.backoff_ms}"]
        args.append(len(counts or {}))
        for name, n in (counts or {}).items():
            args += [name, n]
        for h in held:
            args += [h.id, h.token, h.left_ms, len(h.fields) // 2, *h.fields]
        now, reaper, answers = link.run("extend", _prefix(queue), args)
        reaper_lives = bool(reaper) and int(now) - int(reaper) < REAPER_LOST_MS
        return reaper_lives, [answer.decode() for answer in answers]

    def leave(self, queue: str, worker: str, slots: Iterable[str], beat: bytes = b"") -> bool:
        """Forget a worker whose slots hold nothing (``beat``: only if it has not beaten since)."""
        return bool(self._run("leave", queue, [worker, beat, *slots]))

    # -- recover: what a reaper calls

    def expired(self, queue: str, limit: int) -> tuple[int, list[Expired], dict[str, bytes]]:
        """Redis's time, leases that ran out, and the last beat of each worker."""
        now, rows, beats = self._run("expired", queue, [limit])
        expired = [Expired(row[0].decode(), row[1], row[2]) for row in rows]
        return int(now), expired, {name.decode(): beat for name, beat in _pairs(beats).items()}

    def recover(
        self, queue: str, expired: Sequence[Expired], message: str, limit: int, retention_ms: dict[str, int]
    ) -> tuple[list[str], int, int]:
        """One transaction: promote due jobs, reap ``expired``, trim what is past its retention, ring.
        Returns the outcome for each of ``expired``, and how many were promoted and trimmed (``limit`` of either: maybe more)."""
        calls: list[tuple[str, list[Any]]] = [("promote", [limit])]
        calls += [("trim", [status, ms, limit]) for status, ms in retention_ms.items()]
        for start in range(0, len(expired), JOBS_PER_SCRIPT):
            chunk = expired[start : start + JOBS_PER_SCRIPT]
            calls.append(("reap", [*self._defaults, message, *(part for e in chunk for part in e)]))
        answers = self._transaction(queue, calls)
        outcomes = [outcome.decode() for answer in answers[1 + len(retention_ms) :] for outcome in answer]
        return outcomes, answers[0], sum(answers[1 : 1 + len(retention_ms)])

    def lower(self, queue: str, worker: str, beat: bytes) -> int:
        """End the leases of a worker that has not beaten since ``beat``. Returns how many."""
        return int(self._run("lower", queue, [worker, beat, *self.slots(queue, worker)]))

    def slots(self, queue: str, worker: str) -> list[str]:
        def scan(client: Any, key: str) -> list[str]:
            return [slot.decode() for slot, _ in client.hscan_iter(key, match=f"{worker}-*", count=500)]

        return self._at(f"{_prefix(queue)}slots", scan)

    # -- look after

    def ping(self) -> None:
        """Return when Redis answers; of a Cluster, any primary."""
        with _weather:
            clients = list(self._servers.primaries().values())
            for left, client in zip(range(len(clients) - 1, -1, -1), clients, strict=True):
                try:
                    client.ping()
                    return
                except (redis.RedisError, OSError):
                    if not left:
                        raise

    def wait_until_ready(self, stop: Stop, say: Callable[[str], None]) -> None:
        """Return when Redis answers or ``stop`` is set. Says once that it waits."""
        waiting = False
        while not stop.is_set():
            try:
                self.ping()
                return
            except Unavailable as error:
                if not waiting:
                    say(f"waiting for Redis: {error}")
                waiting = True
                stop.wait(0.5)

    def server(self) -> dict[str, Any]:
        """What Redis is and keeps (of a Cluster, all primaries together), with ``warnings``: sentences on what that means for
        the jobs."""
        with _weather:
            clients = self._servers.primaries()
        reports, warnings = [], list[str]()
        for place, client in clients.items():
            try:
                with _weather:
                    reports.append(_report(client, self._servers.kind))
            except Unavailable as error:
                if len(clients) == 1:
                    raise
                warnings.append(f"{place}: {error}; the queues of this shard wait.")
                continue
            if why_not := self._durability.means(place)[1]:
                reports[-1]["warnings"].append(f"no submit is confirmed as {self._durability.wanted}: {why_not}.")
            told = reports[-1].pop("warnings")
            warnings += [f"{place}: {text}" for text in told] if len(clients) > 1 else told
        if not reports:
            raise Unavailable("Redis does not answer: " + "; ".join(warnings))
        return _together(reports) | {"primaries": len(clients), "warnings": warnings}

    # -- check

    def check(self, queue: str, *, repair: bool = False) -> list[str]:
        """Sentences on what is wrong in a live queue; [] when every invariant holds. Reads in bounded steps, and notes in the
        queue that it was checked."""
        wrong = _Checker(self, queue).run(repair)
        with suppress(Unavailable):  # a replica can be checked too, but takes no note
            self._run("verdict", queue, [len(wrong)])
        return wrong

    # -- inside

    def register(self, queue: str) -> int:
        """Make a queue known, to the reaper too, and return its number."""
        if self._registry_is_old():
            try:
                self.queues()
            except Unavailable:  # on a Cluster the queue itself may be within reach
                if queue not in self._numbers:
                    raise
                self._numbered_at = time.monotonic()
        if queue not in self._numbers:
            number = int(self._run_at("jq:queues", "register", [queue, MAX_QUEUES]))
            if number < 0:
                raise Invalid([("/queue", f"there are {MAX_QUEUES} queues already")])
            self._numbers[queue], self._names[number] = number, queue
        return self._numbers[queue]

    def _registry_unconfirmed(self, queue: str) -> str:
        """Why the queue's number is not as durable as wanted. On a Cluster the registry may live on another shard than the job;
        elsewhere it is older than the job, and replicas copy in order."""
        if self._durability.wanted == "fast" or self._servers.kind != "cluster" or queue in self._confirmed_queues:
            return ""
        _, unconfirmed = self._confirmed_at("jq:queues", "jq:{jq:queues}:meta", "register", [queue, MAX_QUEUES])
        if not unconfirmed:
            self._confirmed_queues.add(queue)
        return unconfirmed

    def _registry_is_old(self) -> bool:
        """A Redis that has lost data numbers its queues anew: nobody may go by the old numbers for long."""
        return time.monotonic() - self._numbered_at > PUBLISHED_KEPT_S

    def _run(self, name: str, queue: str, args: Args) -> Any:
        return self._run_at(_prefix(queue), name, args)

    def _run_at(self, key: str, name: str, args: Args, meanwhile: Callable[[], None] | None = None) -> Any:
        script = self._scripts[name]

        def run(client: Any, key: str) -> Any:
            try:
                if meanwhile and isinstance(client, _Client):
                    return client.evalsha_while(meanwhile, script.sha, 1, key, *args)
                return client.evalsha(script.sha, 1, key, *args)
            except redis.exceptions.NoScriptError:
                return client.eval(script.text, 1, key, *args)

        return self._at(key, run)

    def _at(self, key: str, function: Callable[[Any, str], R]) -> R:
        """Call ``function`` with the client of the Redis that holds a key, and the key."""
        with _weather:
            return self._servers.call(key, function)

    def _run_durably(
        self, name: str, queue: str, args: Args, meanwhile: Callable[[], None] | None = None
    ) -> tuple[Any, str]:
        """The script's answer, and why it is not as durable as wanted; '' when it is."""
        if self._durability.wanted == "fast":
            return self._run_at(_prefix(queue), name, args, meanwhile), ""
        return self._confirmed_at(_prefix(queue), f"{_prefix(queue)}meta", name, args)

    def _confirmed_at(self, key: str, touch: str, name: str, args: Args) -> tuple[Any, str]:
        """``touch``: a hash in the same slot as the key, to be written to."""
        with _weather:
            command, why_not = self._durability.means(self._servers.owner(key))
        if not command:
            return self._run_at(key, name, args), why_not
        link = self._confirming.pop() if self._confirming else self._confirming_link()
        try:
            for left in range(self._retries, -1, -1):
                try:
                    answer, counts = link.run_and_confirm(name, key, args, touch, command)
                    return answer, self._durability.missing(command, counts)
                except Unavailable:
                    if not left:
                        raise
                    time.sleep(random.uniform(0.05, 0.1))
            raise AssertionError("unreachable")
        finally:
            self._confirming.append(link)

    def _confirming_link(self) -> Link:
        return Link(self._servers, self._scripts, self._timeout_s + CONFIRM_MS / 1000)

    def _transaction(self, queue: str, calls: Sequence[tuple[str, Sequence[Any]]]) -> list[Any]:
        """Run scripts in one MULTI/EXEC; each may be sent twice."""

        def run(client: Any, prefix: str) -> list[Any]:
            pipe = client.pipeline(transaction=True)
            for name, args in calls:
                pipe.execute_command("EVALSHA", self._scripts[name].sha, 1, prefix, *args)
            try:
                return list(pipe.execute())
            except redis.ResponseError:
                client.connection_pool.disconnect()  # who refused an EXEC for Redis has left the transaction open
                raise

        try:
            with _weather:
                return self._servers.call(_prefix(queue), run)
        except Unavailable as error:
            # A full Redis refuses even to queue what would drain it, and one that has forgotten a script is told it again.
            if isinstance(error.__cause__, (redis.exceptions.OutOfMemoryError, redis.exceptions.NoScriptError)):
                return [self._run(name, queue, args) for name, args in calls]
            raise


def _prefix(queue: str) -> str:
    return f"jq:{{{queue}}}:"


def _in_scripts(rows: Sequence[tuple[str, list[str]]], apart: bool) -> Iterator[list[tuple[str, list[str]]]]:
    """Rows of (queue, ids), as many together as one script may look at."""
    part: list[tuple[str, list[str]]] = []
    size = 0
    for row in rows:
        if part and (apart or size + len(row[1]) > ENDED_MOST):
            yield part
            part, size = [], 0
        part.append(row)
        size += len(row[1])
    if part:
        yield part


def _check_key(key: str | None) -> None:
    if key is not None and not 1 <= len(key) <= MAX_KEY_CHARS:
        raise Invalid([("/Idempotency-Key", f"must be 1 to {MAX_KEY_CHARS} characters")])


class _Chunk(NamedTuple):
    """What one script stores: all or none."""

    jobs: list[NewJob]
    ids: list[str]
    args: list[str | bytes | int]


def _chunks_to_store(
    number: int, queue: str, jobs: list[NewJob], encoded: list[list[str | bytes | int]], key: str | None
) -> Iterator[_Chunk]:
    request = _fingerprint(jobs, encoded) if key else ""
    for start in range(0, len(jobs), JOBS_PER_SCRIPT):
        chunk = slice(start, start + JOBS_PER_SCRIPT)
        # No header can hold a NUL: nobody's own key.
        chunk_key = f"{key}\0{start // JOBS_PER_SCRIPT}" if key and start else key
        yield _chunk(number, queue, jobs[chunk], encoded[chunk], chunk_key, request)


def _chunk(
    number: int,
    queue: str,
    jobs: list[NewJob],
    encoded: list[list[str | bytes | int]],
    key: str | None,
    request: str,
) -> _Chunk:
    args: list[str | bytes | int] = [key or "", request, len(jobs)]
    ids: list[str] = []
    for index, (job, pairs) in enumerate(zip(jobs, encoded, strict=True)):
        bits = hashlib.sha256(f"{queue}\0{key}\0{index}".encode(errors="replace")).digest()[:16] if key else None
        ids.append(new_id(number, bits))
        if key:
            pairs = ["idem", key, *pairs]
        tags = " ".join(dict.fromkeys(job.tags)) if job.tags else ""
        args += (ids[-1], int(job.priority), job.due(), job.unique_key or "", tags, len(pairs) // 2)
        args += pairs
    return _Chunk(jobs, ids, args)


class _Ahead(Iterator[T]):
    """The items of an iterator. ``fetch`` has the next one made before it is asked for."""

    def __init__(self, items: Iterator[T]) -> None:
        self._items, self._fetched = items, list[T]()

    def __next__(self) -> T:
        return self._fetched.pop() if self._fetched else next(self._items)

    def fetch(self) -> None:
        if not self._fetched:
            self._fetched = list(itertools.islice(self._items, 1))


def _fingerprint(jobs: Sequence[NewJob], encoded: Sequence[Sequence[str | bytes | int]]) -> str:
    digest = hashlib.sha256()
    for job, pairs in zip(jobs, encoded, strict=True):
        for part in (job.priority, job.due(), job.unique_key or "", " ".join(job.tags), *pairs):
            raw = part if isinstance(part, bytes) else str(part).encode()
            digest.update(b"%d:%s" % (len(raw), raw))
    return digest.hexdigest()[:32]


def _fresh(job_id: str, job: NewJob, now: int, ahead: int, policy: Policy) -> Job:
    """The job as lua/submit.lua has just stored it."""
    due = job.due()
    due_ms = now + int(due) if due.startswith("+") else int(due or 0)
    waits = due_ms > now
    return Job(
        id=job_id,
        status="scheduled" if waits else "queued",
        type=job.type,
        queue=job.queue,
        priority=int(job.priority),
        payload=job.payload,
        result=None,
        attempts=0,
        max_attempts=job.max_attempts or policy.max_attempts,
        timeout_ms=round(job.timeout_s * 1000) if job.timeout_s else policy.timeout_ms,
        created_ms=now,
        run_at_ms=due_ms if waits else None,
        position=ahead + 1 if ahead >= 0 else None,
        tags=list(dict.fromkeys(job.tags)),
    )


def _claimed(row: Sequence[bytes], token: str) -> Claimed:
    job_id, job_type, attempts, timeout_ms, waited_ms, *payload = row
    return Claimed(
        job_id.decode(),
        token,
        job_type.decode() or DEFAULT_TYPE,
        b"".join(payload),
        int(attempts) + 1,
        int(timeout_ms) if timeout_ms else None,
        int(waited_ms) if waited_ms else None,
    )


def _report(client: Any, kind: str) -> dict[str, Any]:
    """What one Redis is and keeps, with its warnings. What its user has no right to ask is None."""

    def setting(name: str) -> str | None:
        try:
            value: str | None = client.config_get(name).get(name)
            return value
        except redis.RedisError:
            return None

    try:
        info = client.info()
    except redis.ResponseError:
        info = {}
    report = {
        "kind": kind,
        "version": info.get("valkey_version") or info.get("redis_version"),
        "role": info.get("role"),
        "replicas": info.get("connected_slaves"),
        "used_memory_bytes": info.get("used_memory"),
        "maxmemory_bytes": info.get("maxmemory"),
        "maxmemory_policy": info.get("maxmemory_policy"),
        "appendonly": {1: "yes", 0: "no"}.get(info.get("aof_enabled")),
        "appendfsync": setting("appendfsync"),
        "min_replicas_to_write": setting("min-replicas-to-write"),
    }
    full = setting("cluster-require-full-coverage") if kind == "cluster" else None
    return report | {"warnings": [*_server_warnings(report), *_replication_warnings(report, full)]}


def _together(reports: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The reports of all primaries as one: sums of numbers, and elsewhere the first one's word or, where they differ, all of them."""
    together = dict(reports[0])
    for name in together:
        values = [report[name] for report in reports]
        if name in ("used_memory_bytes", "maxmemory_bytes", "replicas"):
            together[name] = sum(value or 0 for value in values) if any(v is not None for v in values) else None
        elif len(set(values)) > 1:
            together[name] = ", ".join(dict.fromkeys(str(value) for value in values))
    return together


def _replication_warnings(report: dict[str, Any], full_coverage: str | None) -> Iterator[str]:
    if report["kind"] == "standalone" or report["role"] not in ("master", None):
        return
    if report["replicas"] == 0:
        yield "this primary has no replica: when it is lost, nothing takes its place."
    if report["min_replicas_to_write"] == "0":
        yield (
            "this primary also takes jobs while no replica follows it: one that is cut off goes on to acknowledge jobs, which "
            "are all lost when another has taken its place. Set min-replicas-to-write 1 and min-replicas-max-lag 2."
        )
    if full_coverage == "yes":
        yield "while one shard is away the others refuse their queues too. Set cluster-require-full-coverage no."


def _server_warnings(report: dict[str, Any]) -> list[str]:
    warnings = []
    if report["appendonly"] == "no":
        warnings.append("Redis keeps no append-only file: jobs are lost when it stops. Set appendonly yes.")
    elif report["appendfsync"] == "no":
        warnings.append(
            "Redis never syncs its append-only file: a power failure may lose the last half minute. Set appendfsync everysec."
        )
    if report["maxmemory_bytes"] and report["maxmemory_policy"] != "noeviction":
        warnings.append(
            f"Redis may delete jobs when memory is full ({report['maxmemory_policy']}). Set maxmemory-policy noeviction."
        )
    if report["role"] not in ("master", None):
        warnings.append(f"this Redis is a {report['role']}: nothing can be written. Point REDIS_URL at the primary.")
    if report["maxmemory_bytes"] and (report["used_memory_bytes"] or 0) > 0.8 * report["maxmemory_bytes"]:
        warnings.append("Redis uses more than 80 % of its maxmemory: when it is full, submits are refused.")
    return warnings


# ----------------------------------------------------------------------------------------------------------- pages

LISTED = ("processing", "queued", "scheduled", "failed", "cancelled", "done")
NEXT_FIRST = (INDEX_OF["processing"], INDEX_OF["queued"], INDEX_OF["scheduled"])


class _Pager:
    """Reads one index after the other, each merged over all queues. A cursor is the number of the index and, for each queue,
    the place from which to read on."""

    END = ""

    def __init__(self, jobs: JobQueue, wanted: Filter, queues: list[str], cursor: str | None) -> None:
        self.jobs, self.wanted, self.queues = jobs, wanted, queues
        self.indexes = _indexes(wanted)
        self.at: int = 0
        self.places: dict[str, str] = {}
        if cursor:
            self._read(cursor)

    def page(self, limit: int) -> Page:
        found: list[Job] = []
        for _ in range(LOOKS + len(self.indexes)):
            if len(found) == limit or self.at == len(self.indexes):
                break
            found += self._rows(limit - len(found))
            if all(self.places.get(queue) == self.END for queue in self.queues):
                self.at, self.places = self.at + 1, {}
        return Page(found, None, self._cursor() if self.at < len(self.indexes) else None)

    def _rows(self, want: int) -> list[Job]:
        """The next jobs of the index over all queues."""
        newest = self.indexes[self.at] not in NEXT_FIRST
        following: dict[str, str] = {}
        rows: list[tuple[float, str, str, str, Job]] = []
        for queue in self.queues:
            place = self.places.get(queue, "0")
            if place != self.END:
                following[queue], found = self._look(queue, place, want)
                rows += [
                    (-score if newest else score, job.id, queue, f"{score:.0f} {job.id}", job) for score, job in found
                ]
        rows.sort(key=lambda row: row[0])
        for queue, further in following.items():
            shown = [place for _, _, q, place, _ in rows[:want] if q == queue]
            if len(shown) == sum(q == queue for _, _, q, _, _ in rows):
                self.places[queue] = further
            elif shown:
                self.places[queue] = shown[-1]
        return [row[-1] for row in rows[:want]]

    def _look(self, queue: str, place: str, want: int) -> tuple[str, list[tuple[float, Job]]]:
        index = self.indexes[self.at]
        order = "next" if index in NEXT_FIRST else "newest"
        args = _page_args(self.wanted, index, order, want, place)
        further, rows = self.jobs._run("page", queue, [*args, *self.jobs._defaults])
        in_queue = index == INDEX_OF["queued"]
        return further.decode(), [
            (float(row[1]), _job(row[0].decode(), queue, row[2], row[3] if in_queue else -1, row[4:])) for row in rows
        ]

    def _cursor(self) -> str:
        return _cursor_of(self.at, self.places)

    def _read(self, cursor: str) -> None:
        self.at, self.places, _ = _read_cursor(cursor, len(self.indexes))


class _Sweep:
    """Reads the ids of matching jobs for an action: queue after queue and index after index, each from its oldest on. What has
    ended since the queue's turn began is left out: a job that is retried and fails again would be met without end. A cursor is
    the number of the index, the place in the queue whose turn it is, and when that began."""

    def __init__(self, jobs: JobQueue, action: str, wanted: Filter, cursor: str | None) -> None:
        self.jobs, self.wanted = jobs, wanted
        self.indexes = _indexes(wanted, ACTIONS[action].statuses)
        self.queues = jobs._queues_of(wanted)
        self.at, self.place, self.until = 0, "0", 0
        if cursor:
            self.at, places, self.until = _read_cursor(cursor, len(self.indexes))
            if len(places) > 1 or _Pager.END in places.values():
                raise Invalid(_NO_CURSOR)
            for queue, self.place in places.items():
                self.queues = self.queues[self.queues.index(queue) :] if queue in self.queues else []

    @property
    def ended(self) -> bool:
        return not self.queues

    def look(self, want: int) -> tuple[str, list[str]]:
        """At most ``want`` of the next ids, of one queue. There may be more when there are none."""
        queue, index = self.queues[0], self.indexes[self.at]
        if not self.until:
            self.until = self.jobs.books(queue).now_ms
        place, rows = self.jobs._run("page", queue, _page_args(self.wanted, index, "next", want, self.place))
        self.place = place.decode()
        ids = [job_id.decode() for job_id, score in rows if index in NEXT_FIRST or float(score) <= self.until]
        if len(ids) < len(rows) or not self.place:
            self._next_index()
        return queue, ids

    def cursor(self) -> str | None:
        return None if self.ended else _cursor_of(self.at, {self.queues[0]: self.place}, self.until)

    def _next_index(self) -> None:
        self.at, self.place = self.at + 1, "0"
        if self.at == len(self.indexes):
            self.at, self.queues, self.until = 0, self.queues[1:], 0


def _indexes(wanted: Filter, statuses: Sequence[str] = LISTED) -> list[str]:
    """Where to look for the jobs that match. ``statuses``: those to look at where none is wanted."""
    if wanted.tag:
        return [f"tag:{wanted.tag}"]
    if wanted.kind:
        return [f"kind:{wanted.kind}"]
    return [INDEX_OF[status] for status in ([wanted.status] if wanted.status else statuses)]


def _page_args(wanted: Filter, index: str, order: str, want: int, place: str) -> list[str | int]:
    """What lua/page.lua takes, but for the defaults."""
    filtered = wanted.type or wanted.tag or wanted.kind
    status = wanted.status or "" if wanted.tag or wanted.kind else ""
    look_at = LOOK_STEP if filtered else want
    return [index, order, want, look_at, place, status, wanted.type or "", wanted.kind or ""]


def _cursor_of(*parts: Any) -> str:
    raw = json.dumps(parts, separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _read_cursor(cursor: str, indexes: int) -> tuple[int, dict[str, str], int]:
    """The number of an index, places in queues, and a time or 0."""
    try:
        at, places, *until = parse_json(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        good = _integer(at, 0, indexes - 1) and all(_PLACE.fullmatch(place) for place in places.values())
        if good and len(until) <= 1 and all(_integer(ms, 0, 2**53) for ms in until):
            return at, places, sum(until)
    except (ValueError, TypeError, AttributeError):
        pass
    raise Invalid(_NO_CURSOR)


_NO_CURSOR = [("/cursor", "is not one that this list has given out")]
_PLACE = re.compile(r"|0|[0-9]{1,17} [0-9a-f-]{36}")


# --------------------------------------------------------------------------------------------------------- checker


class _Checker:
    """Compares every job of a queue with every index, in steps of SCAN_STEP keys.

    A scan is not atomic but each look at some jobs is, and so is each transition: what is seen half-way was so at no
    instant. A suspect is still looked at twice, because hands (and tests) also write to Redis without a script."""

    SCAN_STEP = 500
    LATE_MS = 60_000
    AGAIN_S = 0.3

    def __init__(self, queue: JobQueue, name: str) -> None:
        self.queue, self.name, self.prefix = queue, name, _prefix(name)

    def run(self, repair: bool) -> list[str]:
        suspects = self._suspects(self._ids())
        if suspects:
            time.sleep(self.AGAIN_S)
            suspects = self._suspects(iter(suspects))
        wrong = [f"{self.name}: {problem}" for problems in suspects.values() for problem in problems]
        missing = self.queue.books(self.name).missing
        if missing:
            wrong.append(f"{self.name}: the books do not balance: {missing:+d} submitted jobs are nowhere")
        strays = [*self._stray_lists(repair), *self._stray_kinds(repair)]
        wrong += [f"{self.name}: {problem}" for problem in strays]
        if repair and (suspects or missing):
            for ids in _chunks(iter([*suspects, ""]), self.SCAN_STEP):  # "" ends the last step, which closes the books
                self.queue._run("repair", self.name, [int(ids[-1] == ""), *filter(None, ids)])
        return wrong

    def _client(self) -> Any:
        """Of the Redis that has the queue: the others of a Cluster have none of its keys."""
        servers = self.queue._servers
        return servers.client(servers.owner(self.prefix))

    def _ids(self) -> Iterator[str]:
        """Every id in the hashes and in the indexes, many of them more than once."""
        with _weather:
            client = self._client()
            start = len(f"{self.prefix}job:")
            for key in client.scan_iter(match=f"{self.prefix}job:*", count=self.SCAN_STEP):
                yield key[start:].decode(errors="replace")
            for index in INDEX_OF.values():
                for member, _ in client.zscan_iter(f"{self.prefix}{index}", count=self.SCAN_STEP):
                    yield member.decode(errors="replace")

    def _suspects(self, ids: Iterator[str]) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for chunk in _chunks(ids, self.SCAN_STEP):
            for job_id, row in zip(chunk, self.queue._run("inspect", self.name, chunk), strict=True):
                if problems := list(self._problems(job_id, row)):
                    found[job_id] = problems
        return found

    def _problems(self, job_id: str, row: Sequence[Any]) -> Iterator[str]:
        status, token, score = (part.decode() for part in row[:3])
        attempts, max_attempts, now = int(row[3]), int(row[4]), int(row[5])
        scores = {name: value for name, value in zip(STATUSES, row[6:12], strict=True) if value != b""}
        held, kind, shown = row[12], row[13].decode(), f"job {job_id}"
        if not status:
            yield from (f"{shown} is in {INDEX_OF[name]} but has no hash" for name in scores)
            return
        if list(scores) != [status]:
            where = ", ".join(INDEX_OF[name] for name in scores) or "no index"
            yield f"{shown} is {status} but stands in {where}"
        if (status == "failed") != bool(kind):
            yield f"{shown} is {status} but stands under {kind or 'no'} kind of error"
        if status == "queued" and scores.get("queued", score.encode()) != score.encode():
            yield f"{shown} is queued at {scores['queued'].decode()} but its place is {score or 'unknown'}"
        if status in ("queued", "scheduled") and 0 < max_attempts <= attempts:
            yield f"{shown} waits with all of its {max_attempts} attempts spent"
        if attempts < 0 or 0 < max_attempts < attempts:
            yield f"{shown} has made {attempts} of {max_attempts} attempts"
        if status in ("processing", "done") and attempts < 1:
            yield f"{shown} is {status} without an attempt"
        if status == "processing":
            if held != 1:
                yield f"{shown} runs under token {token!r} but stands {held} times in its slot's processing list"
            if "processing" in scores and float(scores["processing"]) < now - self.LATE_MS:
                yield f"{shown}: its lease ran out over a minute ago and nobody reaped it; is a reaper running?"

    def _stray_lists(self, repair: bool) -> Iterator[str]:
        """Processing lists of slots that no living worker owns, where the reaper cannot see them."""
        with _weather:
            client = self._client()
            start = len(f"{self.prefix}processing:")
            for key in client.scan_iter(match=f"{self.prefix}processing:*", count=self.SCAN_STEP):
                slot = key[start:].decode(errors="replace")
                if client.hexists(f"{self.prefix}slots", slot):
                    continue
                time.sleep(self.AGAIN_S)
                if client.exists(key) and not client.hexists(f"{self.prefix}slots", slot):
                    yield f"the list processing:{slot} belongs to no slot"
                    if repair and not self.queue.leave(self.name, "", [slot]):  # it runs a job: the reaper must see it
                        client.hsetnx(f"{self.prefix}slots", slot, 0)

    def _stray_kinds(self, repair: bool) -> Iterator[str]:
        """What stands under a kind of error and is no dead letter of that kind."""
        with _weather:
            client = self._client()
            for kind in sorted(name.decode(errors="replace") for name in client.smembers(f"{self.prefix}kinds")):
                members = client.zscan_iter(f"{self.prefix}kind:{kind}", count=self.SCAN_STEP)
                chunks = [[], *_chunks((member.decode(errors="replace") for member, _ in members), self.SCAN_STEP)]
                found = [self.queue._run("strays", self.name, [kind, 0, *chunk]) for chunk in chunks]
                if not any(empty or strays for empty, strays in found):
                    continue
                time.sleep(self.AGAIN_S)
                for _, strays in found:
                    empty, still = self.queue._run("strays", self.name, [kind, int(repair), *strays])
                    for stray in still:
                        yield f"job {stray.decode(errors='replace')} is no dead letter of the kind {kind} but stands there"
                if empty:
                    yield f"the kind of error {kind} has no dead letters"


def _chunks(items: Iterator[T], size: int) -> Iterator[list[T]]:
    chunk: list[T] = []
    for item in items:
        chunk.append(item)
        if len(chunk) == size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def main(arguments: list[str] | None = None) -> int:
    """``python jobqueue.py check``: 0 and one line when all is well, else 1 and a line per violation."""
    import argparse

    from config import Config

    parser = argparse.ArgumentParser(prog="jobqueue.py", description="Look after the queues of a live Redis.")
    commands = parser.add_subparsers(dest="command", required=True)
    check = commands.add_parser("check", help="say whether every invariant holds and the books balance")
    check.add_argument("--repair", action="store_true", help="put right what can be")
    check.add_argument("--queue", action="append", help="only this queue (again for more)")
    check.add_argument("--redis-url", help="default: REDIS_URL")
    options = parser.parse_args(arguments)
    try:
        flags = {"redis_url": options.redis_url} if options.redis_url else {}
        queue = JobQueue(Config.from_environment(flags=flags).redis_url)
    except ValueError as error:
        parser.error(str(error))
    try:
        names = options.queue or queue.queues()
        wrong = [line for name in names for line in queue.check(name, repair=options.repair)]
        sizes = sum(sum(queue.books(name).sizes.values()) for name in names)
    except Unavailable as error:
        print(f"cannot check: {error}", file=sys.stderr)
        return 2
    for line in wrong:
        print(line + ("  (repaired where possible; check again)" if options.repair else ""))
    if not wrong:
        print(f"ok: {sizes} jobs in {len(names)} queues, every invariant holds and the books balance")
    return 1 if wrong else 0


if __name__ == "__main__":
    # Run as a script this module is __main__; its classes must be those that handlers and config import.
    from jobqueue import main as imported_main

    sys.exit(imported_main())
