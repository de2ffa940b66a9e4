"""What Redis would keep of the jobs of a test: their hashes, which become jobs as those from Redis do, and what the scripts in lua/
would make of them. The order of what follows is that of parts/failures.lua and parts/edges.lua."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from _jobqueue.errors import Conflict, Invalid, KeyReused, NotFound, ParentGone
from _jobqueue.listed import ACTIONS, Parent
from _jobqueue.new_job import NewJob
from _jobqueue.pieces import Field, joined, pieces
from _jobqueue.records import (
    AGAIN,
    BACKOFF,
    ENDED,
    IN_PLACE,
    MAX_DELAY_MS,
    MAX_PAYLOAD_BYTES,
    MAX_PRIORITY,
    NEVER,
    PRIORITY_STEP,
    SAME,
    Claimed,
    Job,
    Policy,
    Settlement,
)
from _jobqueue.store.flows import Reference
from _jobqueue.store.ids import new_id
from _jobqueue.store.rows import job_of
from _jobqueue.strict_json import encode_json
from _jobqueue.tokens import make_token
from _jobqueue.trace_context import unpacked

HOUR_MS = 3_600_000
SNOOZES_MOST = 10_000


@dataclass(eq=False)
class Kept:
    """A job: its hash, as Redis has it, and its edges."""

    id: str
    queue: str
    hash: dict[bytes, bytes]
    parents: list[tuple[str, str]] = field(default_factory=list)  # id, and the name that this job knows it by
    open: set[str] = field(default_factory=set)  # those of them that it still waits for
    children: list[Kept] = field(default_factory=list)
    unique: str | None = None

    def set(self, *pairs: Field) -> None:
        of_bytes = [part if isinstance(part, bytes) else str(part).encode(errors="replace") for part in pairs]
        self.hash.update(zip(of_bytes[::2], of_bytes[1::2], strict=True))

    def drop(self, *names: bytes) -> None:
        for name in names:
            self.hash.pop(name, None)

    def number(self, name: bytes, otherwise: int = 0) -> int:
        return int(self.hash.get(name, otherwise))

    @property
    def status(self) -> str:
        return self.hash[b"status"].decode()

    @property
    def type(self) -> str:
        return self.hash[b"type"].decode()


class Ledger:
    """All jobs. Thread-safe: a handler that is async submits from the event loop's thread."""

    def __init__(self, policies: dict[str, Policy], default: Policy) -> None:
        self._policies, self._default = policies, default
        self.lock = threading.RLock()
        self.kept: dict[str, Kept] = {}
        self._living: dict[str, Kept] = {}  # those of them that have not ended
        self._numbers: dict[str, int] = {}  # of queues
        self._under_key: dict[str, tuple[object, list[str]]] = {}
        self._seq = self._claims = self._ahead_ms = 0

    # -- read

    def now(self) -> int:
        return int(time.time() * 1000) + self._ahead_ms

    def find(self, job_id: str) -> Kept:
        if job_id not in self.kept:
            raise NotFound(f"there is no job {job_id}")
        return self.kept[job_id]

    def job(self, job_id: str) -> Job:
        """As a JobQueue would give it. NotFound."""
        with self.lock:
            kept = self.find(job_id)
            policy = self._policy(kept)
            waiting = [each for each in self._living.values() if each.status == "queued" and each.queue == kept.queue]
            ahead = sum(each.number(b"score") < kept.number(b"score") for each in waiting)
            flat = [part for pair in kept.hash.items() for part in pair]
            return job_of(job_id, kept.queue, flat, ahead, (policy.max_attempts, policy.timeout_ms, policy.backoff_ms))

    def parents(self, job_id: str) -> dict[str, Parent]:
        with self.lock:
            found: dict[str, Parent] = {}
            for parent_id, name in self.find(job_id).parents:
                parent = self.job(parent_id)
                error = None if parent.status == "done" or not parent.errors else parent.errors[-1]["message"]
                told = Parent(parent_id, name, parent.status, parent.result, error, False)
                found.setdefault(name or parent_id, told)
            return found

    # -- submit

    def replayed(self, key: str | None, jobs: Sequence[NewJob]) -> list[str] | None:
        """The ids of what was submitted under a key before. KeyReused when that was another request."""
        if key is None or key not in self._under_key:
            return None
        before, ids = self._under_key[key]
        if before != list(jobs):
            raise KeyReused("this idempotency key was used with another request")
        return ids

    def remember(self, key: str | None, jobs: Sequence[NewJob], ids: list[str]) -> None:
        if key is not None:
            self._under_key[key] = (list(jobs), ids)

    def new_id(self, queue: str, bits: bytes | None = None) -> str:
        return new_id(self._numbers.setdefault(queue, len(self._numbers)), bits)

    def holder_of(self, unique: str | None, queue: str) -> Kept | None:
        """The living job that has a unique key."""
        if unique is None:
            return None
        return next((kept for kept in self._living.values() if (kept.unique, kept.queue) == (unique, queue)), None)

    def check(self, job: NewJob, queue: str, references: Iterable[Reference]) -> None:
        """Invalid for a job that waits for what cannot be waited for."""
        for place, (parent, _) in enumerate(references):
            if isinstance(parent, str):
                known = self.kept.get(parent)
                if known is None or known.queue != queue:
                    raise Invalid([(f"/after/{place}", f"there is no job {parent}")])
                if known.status == "cancelled" and job.when == "done":
                    raise ParentGone([(f"/after/{place}", f"the job {parent} is cancelled: retry it first")])

    def store(self, job: NewJob, queue: str, job_id: str, fields: Sequence[Field], parents: dict[str, str]) -> None:
        """``parents``: ids of the jobs that it waits for, each with the name that it knows it by."""
        self._seq += 1
        now = self.now()
        kept = self.kept[job_id] = self._living[job_id] = Kept(job_id, queue, {}, unique=job.unique_key)
        score = (MAX_PRIORITY - int(job.priority)) * PRIORITY_STEP + self._seq
        kept.set("status", "queued", "score", score, "created", now, "delay", job.due(), *fields, *job.beside())
        if job.expires_s is not None:
            kept.set("expires_ms", round(job.expires_s * 1000))
        if job.tags:
            kept.set("tags", " ".join(dict.fromkeys(job.tags)))
        if parents:
            self._tie(kept, parents, job.when)
        if kept.open:
            kept.set("status", "blocked")
        else:
            self._queue(kept)

    def _tie(self, kept: Kept, parents: dict[str, str], when: str) -> None:
        kept.parents = list(parents.items())
        kept.open = {parent for parent in parents if not _satisfies(self.kept[parent].status, when)}
        first, *rest = parents
        kept.set("after", first, "when", when, "needs", len(kept.open))
        if rest:
            kept.set("after:", "\n".join(rest))
        for parent in parents:
            self.kept[parent].children.append(kept)

    def _queue(self, kept: Kept, released: bool = False) -> None:
        """It is free to run, now or after its delay."""
        said, now = kept.hash.get(b"delay", b"").decode(), self.now()
        due = now + int(said) if said.startswith("+") else int(said or 0)
        if b"expires_ms" in kept.hash:  # it starts in time: here nothing waits
            kept.set("expires", now + kept.number(b"expires_ms"))
        if due > now:
            kept.set("status", "scheduled", "due", due)
        else:
            kept.set("status", "queued", *(("due", now) if released else ()))

    # -- run

    def claim(self) -> Claimed | None:
        """The next job of a type that has a handler. Where none can run yet, time passes until one can. None at the end."""
        with self.lock:
            known = [kept for kept in self._living.values() if kept.type in self._policies]
            queued = [kept for kept in known if kept.status == "queued"]
            scheduled = [kept for kept in known if kept.status == "scheduled"]
            if not queued and not scheduled:
                return None
            kept = min(queued or scheduled, key=lambda each: each.number(b"score" if queued else b"due"))
            self._ahead_ms += max(0, kept.number(b"due") - self.now())
            self._claims += 1
            attempt, token = kept.number(b"attempts") + 1, make_token("inline-1", self._claims)
            kept.set("status", "processing", "token", token, "started", self.now(), "attempts", attempt)
            timeout = kept.number(b"timeout_ms") or None
            trace = unpacked(kept.hash.get(b"trace", b"").decode())
            return Claimed(kept.id, token, kept.type, joined("payload", kept.hash), attempt, timeout, None, *trace)

    def settle(self, end: Settlement) -> None:
        """What becomes of a job whose attempt has ended so."""
        with self.lock:
            kept = self.kept[end.id]
            if end.outcome == "done":
                kept.set(*end.fields)
                self._end(kept, "done")
            elif end.outcome == "cancelled":
                self._record(kept, "cancelled", b"it was asked to stop, and did", end.fields)
                self._end(kept, "cancelled")
            elif end.outcome == "snoozed":
                self._put_off(kept, end)
            else:
                args = end.args()
                self._fail(kept, end.delay_ms, str(args[4]), args[5], end.fields)

    def _fail(self, kept: Kept, delay_ms: int, kind: str, message: Field, fields: Sequence[Field]) -> None:
        self._record(kept, kind, message, fields)
        policy, attempts, asked = self._policy(kept), kept.number(b"attempts"), kept.number(b"asked")
        if b"cancel" in kept.hash:
            return self._end(kept, "cancelled")
        if delay_ms == NEVER or attempts >= policy.max_attempts:
            return self._end(kept, "failed")
        if delay_ms == IN_PLACE:
            return kept.set("status", "queued")
        if delay_ms != BACKOFF:
            kept.set("asked", asked + 1)
        if delay_ms in (BACKOFF, AGAIN):
            most = policy.max_backoff_ms if policy.max_backoff_ms is not None else max(HOUR_MS, policy.backoff_ms)
            delay_ms = min(policy.backoff_ms * 2 ** max(0, min(attempts - 1 - asked, 62)), most)
        return kept.set("status", "scheduled", "due", self.now() + min(delay_ms, MAX_DELAY_MS))

    def _put_off(self, kept: Kept, end: Settlement) -> None:
        number = kept.number(b"snoozes") + 1
        if b"cancel" in kept.hash:
            self._record(kept, "cancelled", b"it was asked to stop, and snoozed", end.fields)
            return self._end(kept, "cancelled")
        if number > SNOOZES_MOST:
            message = f"its handler has snoozed {SNOOZES_MOST} times"
            return self._fail(kept, NEVER, "too_many_snoozes", message, end.fields)
        now = self.now()
        kept.set("attempts", kept.number(b"attempts") - 1, "snoozes", number, "snoozed", now, *end.fields)
        return kept.set("status", "scheduled", "due", now + min(end.delay_ms, MAX_DELAY_MS))

    def _record(self, kept: Kept, kind: str, message: Field, fields: Sequence[Field], run: bool = True) -> None:
        """What is kept of an attempt without success; ``run``: it has begun."""
        number, attempt = kept.number(b"errors") + 1, kept.number(b"attempts")
        text = message if isinstance(message, bytes) else str(message).encode()
        who = f"inline {kept.number(b'started')}" if run else "- -"
        kept.set("errors", number, f"error:{number}", f"{self.now()} {attempt} {kind} {who}\n".encode() + text, *fields)

    # -- end

    def _end(self, kept: Kept, status: str) -> None:
        self._living.pop(kept.id, None)
        kept.set("status", status, "finished", self.now())
        for child in kept.children:
            if kept.id not in child.open or child.status in ENDED:
                continue
            if _satisfies(status, child.hash[b"when"].decode()):
                child.open.remove(kept.id)
                child.set("needs", len(child.open))
                if not child.open and child.status == "blocked":
                    self._queue(child, released=True)
            elif status == "cancelled" and child.status == "blocked":
                why = f"it waits for the job {kept.id}, which was cancelled"
                self._record(child, "parent_gone", why, (), run=False)
                self._end(child, "cancelled")

    # -- operate

    def cancel(self, job_id: str) -> str:
        """'cancelled', or 'asked' of one that runs."""
        with self.lock:
            kept = self.find(job_id)
            _check_allowed("cancel", kept.status)
            if kept.status == "processing":
                kept.hash.setdefault(b"cancel", str(self.now()).encode())
                return "asked"
            self._end(kept, "cancelled")
            return "cancelled"

    def retry(self, job_id: str, payload: object) -> str:
        with self.lock:
            kept = self.find(job_id)
            _check_allowed("retry", kept.status)
            changes = () if payload is SAME else pieces("payload", encode_json(payload, MAX_PAYLOAD_BYTES, "/payload"))
            if self.holder_of(kept.unique, kept.queue):
                raise Conflict("taken", "another job that has not ended has its unique key")
            if changes:
                kept.drop(*[name for name in kept.hash if name.split(b".")[0] == b"payload"])
            kept.drop(b"token", b"cancel", b"finished", b"started", b"asked", b"snoozes", b"snoozed")
            self._living[job_id] = kept
            self._seq += 1
            place = kept.number(b"score") // PRIORITY_STEP * PRIORITY_STEP + self._seq
            status = "blocked" if kept.open else "queued"
            kept.set("status", status, "score", place, "attempts", 0, "due", self.now(), "retry", self._seq, *changes)
            return "retried"

    def _policy(self, kept: Kept) -> Policy:
        """Of the job, else of its type, else the default."""
        of_type = self._policies.get(kept.type, self._default)
        most = kept.number(b"max_backoff_ms", -1)
        return Policy(
            kept.number(b"max_attempts") or of_type.max_attempts,
            kept.number(b"timeout_ms") or of_type.timeout_ms,
            kept.number(b"backoff_ms", of_type.backoff_ms),
            of_type.max_backoff_ms if most < 0 else most,
        )


def _satisfies(status: str, when: str) -> bool:
    return status == "done" or (when == "ended" and status in ENDED)


def _check_allowed(action: str, status: str) -> None:
    if status not in ACTIONS[action].statuses:
        raise Conflict(status, f"cannot {action} a job that is {status}")
