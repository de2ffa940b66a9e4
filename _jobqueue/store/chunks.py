"""A submit, cut into what one script stores."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Sequence, Set
from typing import NamedTuple, TypeVar

from _jobqueue.new_job import NewJob
from _jobqueue.pieces import Field
from _jobqueue.store.ids import new_id

JOBS_PER_SCRIPT = 250  # no script runs long

T = TypeVar("T")


class Chunk(NamedTuple):
    """What one script stores: all or none."""

    jobs: list[NewJob]
    ids: list[str]
    args: list[Field]


class Request(NamedTuple):
    """A submit to one queue. ``encoded``: each job's fields. Under a key the ids follow from it. ``known``: types that some worker
    has a handler for, or had."""

    queue: str
    jobs: list[NewJob]
    encoded: list[list[Field]]
    key: str | None
    known: Set[str] = frozenset()


def chunks_to_store(request: Request, number: int, *, sure: bool = False, start: int = 0) -> Iterator[Chunk]:
    """A submit to one queue, from its job ``start`` on, cut into scripts. ``number``: the queue's; ``sure``: the registry has
    just said so."""
    fingerprint = _fingerprint(request.jobs, request.encoded) if request.key else ""
    for first in range(start, len(request.jobs), JOBS_PER_SCRIPT):
        chunk = slice(first, first + JOBS_PER_SCRIPT)
        jobs, ids, args = request.jobs[chunk], list[str](), list[Field]()
        # No header can hold a NUL: nobody's own key.
        key = f"{request.key}\0{first // JOBS_PER_SCRIPT}" if request.key and first else request.key
        for index, (job, pairs) in enumerate(zip(jobs, request.encoded[chunk], strict=True)):
            ids.append(new_id(number, _bits(request.queue, key, index) if key else None))
            args += _args(ids[-1], job, ["idem", key, *pairs] if key else pairs)
        strange = " ".join(sorted({job.type for job in jobs} - request.known))
        yield Chunk(
            jobs, ids, [key or "", fingerprint, len(jobs), number, int(sure and first == start), strange, *args]
        )


def _bits(queue: str, key: str, index: int) -> bytes:
    return hashlib.sha256(f"{queue}\0{key}\0{index}".encode(errors="replace")).digest()[:16]


def _args(job_id: str, job: NewJob, pairs: list[Field]) -> list[Field]:
    """What lua/submit.lua takes for a job."""
    tags = " ".join(dict.fromkeys(job.tags)) if job.tags else ""
    return [job_id, int(job.priority), job.due(), job.unique_key or "", tags, len(pairs) // 2, *pairs]


def _fingerprint(jobs: Sequence[NewJob], encoded: Sequence[Sequence[str | bytes | int]]) -> str:
    digest = hashlib.sha256()
    for job, pairs in zip(jobs, encoded, strict=True):
        for part in (job.priority, job.due(), job.unique_key or "", " ".join(job.tags), *pairs):
            raw = part if isinstance(part, bytes) else str(part).encode()
            digest.update(b"%d:%s" % (len(raw), raw))
    return digest.hexdigest()[:32]


class Ahead(Iterator[T]):
    """The items of an iterator. ``fetch`` has the next one made before it is asked for."""

    def __init__(self, items: Iterator[T]) -> None:
        self._items, self._fetched = items, list[T]()

    def __next__(self) -> T:
        return self._fetched.pop() if self._fetched else next(self._items)

    def fetch(self) -> None:
        if not self._fetched:
            self._fetched = list(itertools.islice(self._items, 1))
