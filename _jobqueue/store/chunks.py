"""A submit, cut into what one script stores."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Sequence
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


def chunks_to_store(
    number: int, queue: str, jobs: list[NewJob], encoded: list[list[Field]], key: str | None
) -> Iterator[Chunk]:
    """A submit to one queue, cut into scripts. ``encoded``: each job's fields. Under a key the ids follow from it."""
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
    encoded: list[list[Field]],
    key: str | None,
    request: str,
) -> Chunk:
    args: list[Field] = [key or "", request, len(jobs)]
    ids: list[str] = []
    for index, (job, pairs) in enumerate(zip(jobs, encoded, strict=True)):
        bits = hashlib.sha256(f"{queue}\0{key}\0{index}".encode(errors="replace")).digest()[:16] if key else None
        ids.append(new_id(number, bits))
        if key:
            pairs = ["idem", key, *pairs]
        tags = " ".join(dict.fromkeys(job.tags)) if job.tags else ""
        args += (ids[-1], int(job.priority), job.due(), job.unique_key or "", tags, len(pairs) // 2)
        args += pairs
    return Chunk(jobs, ids, args)


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
