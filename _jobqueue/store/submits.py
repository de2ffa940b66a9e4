"""Submits: jobs go to Redis in chunks, each stored whole or not at all."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from _jobqueue.errors import (
    Invalid,
    JobQueueError,
    KeyReused,
    NotFound,
    NotWithOthers,
    OldProgram,
    OtherQueue,
    TooManyTypes,
    Unavailable,
)
from _jobqueue.new_job import PLAIN, NewJob
from _jobqueue.pieces import Field
from _jobqueue.records import MAX_KEY_CHARS, Job, Policy, Submitted
from _jobqueue.spans import sending
from _jobqueue.store import admission, flows, limits, webhooks
from _jobqueue.store.chunks import Ahead, Chunk, Request, chunks_to_store
from _jobqueue.store.durability import Durability
from _jobqueue.store.idempotency import REUSED, Idempotency
from _jobqueue.store.reads import Reads
from _jobqueue.store.registry import Registry
from _jobqueue.store.store import Store

# times that one submit learns its queue's number: Redis has just lost its data, or got back older ones
NUMBERED_MOST = 5


class Submits:
    """Stores new jobs."""

    def __init__(self, store: Store, registry: Registry, durability: Durability, reads: Reads) -> None:
        self._store, self._policy = store, store.policy
        self._registry, self._durability, self._reads = registry, durability, reads
        self._keys = Idempotency(store, registry)

    def one(self, job: NewJob, key: str | None) -> Submitted:
        """Store one job. Raises what ``Submitted.error`` would hold."""
        with sending([job]) as sent:
            return sent.answered([self._one(sent.jobs[0], key)])[0]

    def _one(self, job: NewJob, key: str | None) -> Submitted:
        _check_key(key)
        queue = self._queue_of(job)
        request = Request(queue, [job], [self._fields(job)])
        if job.after:
            request = _with_references(request)
        [request], created = self._keys.remember([request], [queue], key)
        (submitted,) = self.store(request)
        self._keys.forget_unused(request, created, [submitted])
        if submitted.error:
            raise submitted.error
        return submitted

    def many(self, jobs: Sequence[NewJob], key: str | None) -> list[Submitted]:
        """Store jobs; for each queue, all of a chunk or none of it. Errors are told for each job; none is raised."""
        with sending(jobs) as sent:
            return sent.answered(self._many(sent.jobs, key))

    def _many(self, jobs: Sequence[NewJob], key: str | None) -> list[Submitted]:
        _check_key(key)
        if any(job.after for job in jobs):
            return self._many_whole(jobs, key)
        answers: dict[int, Submitted] = {}
        encoded: dict[int, list[Field]] = {}
        by_queue: dict[str, list[int]] = {}
        for index, job in enumerate(jobs):  # all of them are checked before any is stored
            try:
                encoded[index] = self._fields(job)
                by_queue.setdefault(self._queue_of(job), []).append(index)
            except (Invalid, NotFound, Unavailable) as error:
                encoded.pop(index, None)
                answers[index] = Submitted(None, error=error)
        if encoded:
            self._store_all(jobs, encoded, by_queue, key, answers)
        return [answers[index] for index in range(len(jobs))]

    def requests(self, jobs: Sequence[NewJob]) -> list[tuple[Request, list[int]]]:
        """What is to be stored in each queue, and the places of these jobs. Raises the first thing that is wrong."""
        if any(job.after for job in jobs):
            request = self._whole_request(jobs)
            if isinstance(request, list):
                raise next(each.error for each in request if each.error and not isinstance(each.error, NotWithOthers))
            return [(request, list(range(len(jobs))))]
        by_queue: dict[str, list[int]] = {}
        for place, job in enumerate(jobs):
            by_queue.setdefault(self._queue_of(job), []).append(place)
        encoded = dict(enumerate(self._fields(job) for job in jobs))
        return list(zip(_requests(jobs, encoded, by_queue), by_queue.values(), strict=True))

    def _many_whole(self, jobs: Sequence[NewJob], key: str | None) -> list[Submitted]:
        """The same for jobs some of which wait for others: all are stored, or none."""
        try:
            request = self._whole_request(jobs)
            if isinstance(request, list):
                return request
            [request], created = self._keys.remember([request], [request.queue], key)
        except JobQueueError as error:
            return [Submitted(None, error=error)] * len(jobs)
        stored = self.store(request)
        self._keys.forget_unused(request, created, stored)
        return stored

    def _whole_request(self, jobs: Sequence[NewJob]) -> Request | list[Submitted]:
        """What is to be stored, or what is wrong with it."""
        wrong: dict[int, Invalid] = {}
        encoded: list[list[Field]] = []
        queues = [self._queue_of(job) for job in jobs]
        for index, job in enumerate(jobs):
            try:
                encoded.append(self._fields(job))
            except Invalid as error:
                encoded.append([])
                wrong[index] = error
            if queues[index] != queues[0]:
                wrong[index] = OtherQueue(
                    [("/queue", f"the jobs of a batch with `after` go to one queue, here {queues[0]}")]
                )
        references, problems = flows.references_of(jobs)
        wrong |= {index: Invalid(found) for index, found in problems.items()}
        large = flows.too_large(encoded)
        if large is not None:
            wrong.setdefault(
                large,
                Invalid([("/payload", "with this job the batch is larger than 2 MiB, and `after` needs it whole")]),
            )
        if wrong:
            return [Submitted(None, error=wrong.get(index) or NotWithOthers()) for index in range(len(jobs))]
        return Request(queues[0], list(jobs), encoded, references=references)

    def _fields(self, job: NewJob) -> list[Field]:
        webhooks.check_webhook(job, self._store.webhooks)
        return job.fields()

    def _queue_of(self, job: NewJob) -> str:
        return self._registry.open_to_us(job.queue or self._registry.queue_for(job.type))

    def _store_all(
        self,
        jobs: Sequence[NewJob],
        encoded: dict[int, list[Field]],
        by_queue: dict[str, list[int]],
        key: str | None,
        answers: dict[int, Submitted],
    ) -> None:
        parts = _requests(jobs, encoded, by_queue)
        stop: JobQueueError | None = None
        try:
            queues = [self._queue_of(jobs[index]) for index in encoded] if key else []
            parts, created = self._keys.remember(parts, queues, key)
        except JobQueueError as error:
            stop, created = error, False
        for part, indexes in zip(parts, by_queue.values(), strict=True):
            # One timeout is enough: a batch may name as many queues as it has jobs. And another request stores nothing.
            stored = [Submitted(None, error=stop)] * len(indexes) if stop else self.store(part)
            if isinstance(stored[-1].error, (Unavailable, KeyReused)):
                stop = stored[-1].error
            answers.update(zip(indexes, stored, strict=True))
        self._keys.forget_unused(parts[0], created, list(answers.values()))

    def store(self, request: Request) -> list[Submitted]:
        """Store the jobs of one queue, chunk by chunk: the next is made ready while Redis stores one. An error of a chunk stops
        those behind it."""
        queue = request.queue
        stored: list[Submitted] = []
        try:
            number, sure = self._registry.register(queue)
            published = self._registry.published(queue)  # before the script: it must not fail after the jobs are stored
            name = secrets.token_urlsafe(9) if len(request.jobs) > 1 else ""
            for _ in range(NUMBERED_MOST):
                start = len(stored)
                chunks = chunks_to_store(request, number, published.keys(), sure=sure, start=start, name=name)
                if len(request.jobs) > 1:
                    chunks = (self._packed(queue, chunk) for chunk in chunks)
                own = self._store_chunks(request, Ahead(chunks), published, stored)
                if own is None:
                    return stored
                number, sure = self._registry.renumber(queue, own), True
            raise Unavailable("the queues are being numbered anew")
        except JobQueueError as error:
            stored += [Submitted(None, error=error)] * (len(request.jobs) - len(stored))
        return stored

    def _packed(self, queue: str, chunk: Chunk) -> Chunk:
        return chunk._replace(args=self._store.packed("submit", queue, chunk.args))

    def _store_chunks(
        self, request: Request, chunks: Ahead[Chunk], published: dict[str, Policy], stored: list[Submitted]
    ) -> str | None:
        """Adds to what is stored. None when all is; else Redis has another number of this queue, or none: '' ."""
        queue, keyed = request.queue, request.key is not None
        for chunk in chunks:
            drafts = Drafts(queue, chunk, published, self._policy)

            def meanwhile(drafts: Drafts = drafts) -> None:
                drafts.make()
                chunks.fetch()

            answer, unconfirmed = self._durability.run("submit", queue, chunk.args, meanwhile)
            if isinstance(answer, bytes):  # the text of a submit of which nothing more is to be said
                results = [Submitted(job) for job in drafts.stored(*map(int, answer.split()))]
            elif answer[0] == b"number":
                return str(answer[1].decode())
            else:
                results = self._results(queue, chunk, answer, drafts, keyed)
            stored += self._confirmed(results, unconfirmed or self._registry.unconfirmed(queue))
        return None

    def _results(self, queue: str, chunk: Chunk, answer: Any, drafts: Drafts, keyed: bool) -> list[Submitted]:
        if answer[0] == b"types":
            raise TooManyTypes(
                [("/type", f"the queue {queue} holds jobs of many types that nobody handles, and takes no further one")]
            )
        if answer[0] == b"names":
            raise limits.too_many_names(queue, answer[1].decode())
        if answer[0] == b"full":
            raise admission.refused(queue, answer)
        if answer[0] == b"refused":
            return flows.refused(answer, queue, self._registry, len(chunk.jobs))
        if answer[0] == b"old":
            room: Any = webhooks if answer[2:] else flows if chunk.references else limits
            raise OldProgram(queue, answer[1].decode(), room.HARM)
        if answer[0] == b"conflict":
            raise KeyReused(REUSED)
        # Replayed without a key: the script was sent twice because the first answer was lost.
        stored, now, ahead = answer[0] == b"stored", int(answer[1]), int(answer[2])
        stand_ins = [existing.decode() for existing in answer[3]]
        fresh = drafts.stored(now, ahead) if stored else []
        replayed = keyed and not stored
        ids = [other or job_id for job_id, other in zip(chunk.ids, stand_ins, strict=True)]
        found = {} if stored and not any(stand_ins) else self.found(queue, ids)
        results = [
            Submitted(fresh[n]) if stored and not other else _found(other or job_id, found, replayed, bool(other))
            for n, (job_id, other) in enumerate(zip(chunk.ids, stand_ins, strict=True))
        ]
        return _waiting(results, chunk, stand_ins, answer[4]) if stored and chunk.references else results

    def found(self, queue: str, job_ids: Sequence[str]) -> dict[str, Job]:
        """Those of some jobs that are there: one whole, several as lists show them. A thousand may stand for one of a MiB."""
        if len(job_ids) == 1:
            return self._reads.many(queue, job_ids)
        rows = self._reads.rows([(queue, job_id) for job_id in dict.fromkeys(job_ids)])
        return {row.job.id: row.job for row in rows if row}

    def _confirmed(self, results: list[Submitted], why_not: str) -> list[Submitted]:
        wanted = self._durability.wanted
        if wanted == "fast":
            return results
        why = f"stored, but not confirmed as {wanted}: {why_not}" if why_not else ""
        return [
            each._replace(job=replace(each.job, durability=None if why else wanted), unconfirmed=why)
            if each.job
            else each
            for each in results
        ]


def _requests(
    jobs: Sequence[NewJob], encoded: Mapping[int, list[Field]], by_queue: Mapping[str, Sequence[int]]
) -> list[Request]:
    """One for each queue, of the jobs at these places."""
    return [
        Request(queue, [jobs[place] for place in places], [encoded[place] for place in places])
        for queue, places in by_queue.items()
    ]


def _with_references(request: Request) -> Request:
    """A single job that waits for others. Invalid where it names one."""
    references, problems = flows.references_of(request.jobs)
    if problems:
        raise Invalid(problems[0])
    return request._replace(references=references)


def _waiting(
    results: Sequence[Submitted], chunk: Chunk, stand_ins: Sequence[str], needs: Sequence[int]
) -> list[Submitted]:
    """With what the new ones wait for. ``needs``: how many of these have not ended."""
    ids = [other or own for own, other in zip(chunk.ids, stand_ins, strict=True)]
    waiting = []
    rows = zip(results, chunk.jobs, chunk.references, needs, stand_ins, strict=True)
    for result, new, found, open_, other in rows:
        if found and not other and result.job:
            after = dict.fromkeys(ids[ref.parent] if isinstance(ref.parent, int) else ref.parent for ref in found)
            job = replace(result.job, after=list(after), blocked_by=int(open_), when=new.when)
            if open_:
                job = replace(job, status="blocked", run_at_ms=None, position=None, expires_at_ms=None)
            result = result._replace(job=job)
        waiting.append(result)
    return waiting


def _check_key(key: str | None) -> None:
    if key is not None and not 1 <= len(key) <= MAX_KEY_CHARS:
        raise Invalid([("/Idempotency-Key", f"must be 1 to {MAX_KEY_CHARS} characters")])


def _found(job_id: str, jobs: dict[str, Job], replayed: bool, existing: bool) -> Submitted:
    if job_id in jobs:
        return Submitted(jobs[job_id], replayed, existing)
    return Submitted(None, error=NotFound(f"job {job_id}, submitted before, was deleted or is past its retention"))


_IN_EACH = PLAIN | {"max_attempts", "timeout_s"}  # what each draft says, or none


class Drafts:
    """The jobs of a chunk, made while Redis stores them. What its answer says of them is added then."""

    def __init__(self, queue: str, chunk: Chunk, published: Mapping[str, Policy], policy: Policy) -> None:
        self._queue, self._chunk, self._published, self._policy = queue, chunk, published, policy
        self._jobs: list[Job] = []

    def make(self) -> None:
        if not self._jobs:
            ids, jobs = self._chunk.ids, self._chunk.jobs
            self._jobs = [self._draft(job_id, new) for job_id, new in zip(ids, jobs, strict=True)]

    def stored(self, now: int, ahead: int) -> list[Job]:
        """As lua/submit.lua has just stored them. ``now``: when, in ms; ``ahead``: how many are ahead of it, where that is
        known, else below 0."""
        self.make()
        for job, new in zip(self._jobs, self._chunk.jobs, strict=True):
            job.created_ms = now
            job.position = ahead + 1 if ahead >= 0 else None
            if job.expires_ms:
                job.expires_at_ms = now + job.expires_ms
            if due := new.due():
                due_ms = now + int(due) if due.startswith("+") else int(due)
                if due_ms > now:
                    job.status, job.run_at_ms = "scheduled", due_ms
        return self._jobs

    def _draft(self, job_id: str, new: NewJob) -> Job:
        policy = self._published.get(new.type, self._policy)
        most = new.max_attempts or policy.max_attempts
        timeout_ms = round(new.timeout_s * 1000) if new.timeout_s else policy.timeout_ms
        queue, priority = self._queue, int(new.priority)
        draft = Job(job_id, "queued", new.type, queue, priority, new.payload, None, 0, most, timeout_ms, 0)
        if not new.given <= _IN_EACH:
            draft.expires_ms = round(new.expires_s * 1000) if new.expires_s else None
            draft.tags, draft.limits = list(dict.fromkeys(new.tags)), list(dict.fromkeys(new.limits))
            draft.name, draft.webhook, draft.fair_key = new.name, new.webhook, new.fair_key
            draft.traceparent, draft.tracestate, draft.words = new.traceparent, new.tracestate, new.words
        return draft
