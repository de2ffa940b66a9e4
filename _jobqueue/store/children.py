"""Jobs that a running job submits. Their ids follow from it and from what they are, so that its next attempt makes none twice."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence

from _jobqueue.errors import JobQueueError, NotFound
from _jobqueue.new_job import NewJob
from _jobqueue.pieces import Field
from _jobqueue.records import Submitted
from _jobqueue.spans import sending
from _jobqueue.store.chunks import Request
from _jobqueue.store.flows import Reference
from _jobqueue.store.ids import new_id
from _jobqueue.store.registry import Registry
from _jobqueue.store.store import Store, prefix_of
from _jobqueue.store.submits import Submits

TRIES = 3  # another attempt of the same job, which nobody has stopped, may submit the same at the same time


class Children:
    """Stores the jobs that other jobs submit."""

    def __init__(self, store: Store, registry: Registry, submits: Submits) -> None:
        self._store, self._registry, self._submits = store, registry, submits

    def life_of(self, job_id: str) -> str:
        """What an operator's retry changes: from then on the job makes children anew."""

        def ask(queue: str) -> str | None:
            there, life = self._store.ask("HMGET", f"{prefix_of(queue)}job:{job_id}", "status", "retry")
            return (life or b"").decode() if there else None

        return self._registry.find(job_id, ask)

    def submit(
        self, parent: str, life: str, jobs: Sequence[NewJob], key: str, before: Counter[bytes]
    ) -> list[Submitted]:
        """Store what is not there yet. ``before``: the equal ones that this attempt has submitted; it is counted on. Raises what
        is wrong with one of them."""
        with sending(jobs) as sent:
            return sent.answered(self._submit((parent, life, key), sent.jobs, before))

    def _submit(self, of: Sequence[str], jobs: Sequence[NewJob], before: Counter[bytes]) -> list[Submitted]:
        """``of``: the job that submits them, its life, and the key that it gives."""
        answers: dict[int, Submitted] = {}
        for request, places in self._submits.requests(jobs):
            bits = [bits_of(of, pairs, before) for pairs in request.encoded]
            answers |= zip(places, self._store_missing(request._replace(bits=bits)), strict=True)
        return [answers[place] for place in range(len(jobs))]

    def _store_missing(self, request: Request) -> list[Submitted]:
        answers: list[Submitted] = []
        for _ in range(TRIES):
            try:
                answers = self._try(request)
            except JobQueueError as error:
                return [Submitted(None, error=error)] * len(request.jobs)
            if not any(isinstance(answer.error, NotFound) for answer in answers):
                break
        return answers

    def _try(self, request: Request) -> list[Submitted]:
        number, _ = self._registry.register(request.queue)
        ids = [new_id(number, bits) for bits in request.bits]
        found = self._submits.found(request.queue, ids)
        missing = [place for place, job_id in enumerate(ids) if job_id not in found]
        stored = iter(self._submits.store(_part_of(request, missing, dict(enumerate(ids)))) if missing else ())
        return [Submitted(found[job_id], replayed=True) if job_id in found else next(stored) for job_id in ids]


def bits_of(of: Sequence[str], pairs: Sequence[Field], before: Counter[bytes]) -> bytes:
    """Of the id of a child. ``pairs``: the fields of the new job, its type and payload among them."""
    named = [part if isinstance(part, bytes) else str(part).encode() for part in (*of, *pairs[:2], *_payload(pairs))]
    digest = hashlib.sha256(b"".join(b"%d:%s" % (len(part), part) for part in named)).digest()
    before[digest] += 1
    return hashlib.sha256(b"%s %d" % (digest, before[digest])).digest()[:16]


def _payload(pairs: Sequence[Field]) -> Sequence[Field]:
    start = list(pairs).index("payload")
    return [b"".join(part for part in pairs[start + 1 :: 2] if isinstance(part, bytes))]


def _part_of(request: Request, places: Sequence[int], ids: Mapping[int, str]) -> Request:
    """Those of its jobs that stand at some places; the others are known by their ids."""
    new = {place: number for number, place in enumerate(places)}

    def moved(reference: Reference) -> Reference:
        parent = reference.parent
        return reference._replace(parent=new.get(parent, ids[parent])) if isinstance(parent, int) else reference

    references = [[moved(each) for each in request.references[place]] for place in places if request.references]
    return request._replace(
        jobs=[request.jobs[place] for place in places],
        encoded=[request.encoded[place] for place in places],
        bits=[request.bits[place] for place in places],
        references=references if any(references) else (),
    )
