"""A submit, cut into what one script stores."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Sequence, Set
from operator import attrgetter
from typing import NamedTuple, TypeVar

from _jobqueue.new_job import NewJob
from _jobqueue.pieces import Field
from _jobqueue.store.flows import Reference, args_of
from _jobqueue.store.ids import new_id

# No script runs long.
JOBS_PER_SCRIPT = 250
BYTES_PER_SCRIPT = 4 * 2**20

# Behind the jobs: a job that there is not waits for nothing. Then the script looks for programs of the release before.
NO_OLD_PROGRAM: tuple[Field, ...] = (0, "done", 0)

_limits_of, _webhook_of = attrgetter("limits"), attrgetter("webhook")
T = TypeVar("T")


class Request(NamedTuple):
    """A submit to one queue. ``encoded``: each job's fields. Under a key the ids follow from it, and it must be the same request
    again. ``record`` is the key that remembers the whole request, over all queues, where that is in the same Redis.

    ``references``: the parents of each job; with them the request is stored whole or not at all. ``bits``: what each id is made of,
    where nothing else says it."""

    queue: str
    jobs: list[NewJob]
    encoded: list[list[Field]]
    key: str | None = None
    fingerprint: str = ""
    record: str = ""
    whole: str = ""
    references: Sequence[Sequence[Reference]] = ()
    bits: Sequence[bytes] = ()


class Chunk(NamedTuple):
    """What one script stores: all or none."""

    jobs: list[NewJob]
    ids: list[str]
    args: list[Field]
    references: Sequence[Sequence[Reference]] = ()


def chunks_to_store(
    request: Request, number: int, known: Set[str], *, sure: bool = False, start: int = 0, name: str = ""
) -> Iterator[Chunk]:
    """A submit to one queue, from its job ``start`` on, cut into scripts. Ids follow from a job's place in the request, not from the
    cut. ``number``: the queue's; ``sure``: the registry has just said so. ``known``: types that some worker has a handler for, or
    had. ``name``: one that no other submit has, where one script may not be enough."""
    queue, jobs, encoded, key, fingerprint, record, whole, references, bits = request
    if references or len(jobs) == 1:
        if not start:
            yield _whole(request, number, known, sure)
        return
    for block in range(0, len(jobs), JOBS_PER_SCRIPT):
        # No header can hold a NUL: nobody's own key.
        block_key = f"{key}\0{block // JOBS_PER_SCRIPT}" if key and block else key
        for part, (first, end) in enumerate(_parts(encoded, block)):
            if first < start:
                continue
            part_key = f"{key}\0{block // JOBS_PER_SCRIPT}.{part}" if key and part else block_key
            some = jobs[first:end]
            limited = any(map(_limits_of, some))
            marks, strange = _marks(some, sure and first == start, limited), _strange(some, known)
            behind = "" if len(some) == len(jobs) else f"{name} {len(jobs) - end}"
            ids: list[str] = []
            args: list[Field] = [part_key or "", fingerprint, len(some), number, marks, record, whole, strange, behind]
            for index in range(first, end):
                own = bits[index] if bits else _bits(queue, block_key, index - block) if block_key else None
                ids.append(new_id(number, own))
                _add(args, ids[-1], jobs[index], ["idem", part_key, *encoded[index]] if part_key else encoded[index])
            if limited:
                args += NO_OLD_PROGRAM
            yield Chunk(some, ids, args)


def _whole(request: Request, number: int, known: Set[str], sure: bool) -> Chunk:
    """A single job, or all of a submit in which some wait for others."""
    queue, jobs, encoded, key, fingerprint, record, whole, references, bits = request
    limited = any(map(_limits_of, jobs))
    ids: list[str] = []
    args: list[Field] = [key or "", fingerprint, len(jobs), number, _marks(jobs, sure, limited), record, whole]
    args += (_strange(jobs, known), "")
    for index, job in enumerate(jobs):
        pairs = encoded[index]
        ids.append(new_id(number, bits[index] if bits else _bits(queue, key, index) if key else None))
        _add(args, ids[-1], job, ["idem", key, *pairs] if key else pairs)
    if references:
        args += args_of(references, jobs)
    elif limited:
        args += NO_OLD_PROGRAM
    return Chunk(jobs, ids, args, references)


def _marks(jobs: Sequence[NewJob], sure: bool, limited: bool) -> str:
    """What lua/submit.lua is told of the whole call."""
    return ("r" if sure else "") + ("w" if any(map(_webhook_of, jobs)) else "") + ("l" if limited else "")


def _strange(jobs: Sequence[NewJob], known: Set[str]) -> str:
    strange = {job.type for job in jobs if job.type not in known}
    return " ".join(sorted(strange)) if strange else ""


def _parts(encoded: Sequence[Sequence[Field]], block: int) -> Iterator[tuple[int, int]]:
    """A block of jobs, cut where a script would be too large."""
    end, first, room = min(block + JOBS_PER_SCRIPT, len(encoded)), block, BYTES_PER_SCRIPT
    for index in range(block, end) if end > block + 1 else ():
        size = sum(len(part) for part in encoded[index] if isinstance(part, bytes))
        if size > room and index > first:
            yield first, index
            first, room = index, BYTES_PER_SCRIPT
        room -= size
    yield first, end


def _bits(queue: str, key: str, index: int) -> bytes:
    return hashlib.sha256(f"{queue}\0{key}\0{index}".encode(errors="replace")).digest()[:16]


def id_under_key(queue: str, number: int, key: str) -> str:
    """The id of the first job that a request under an idempotency key stores in a queue."""
    return new_id(number, _bits(queue, key, 0))


def _add(args: list[Field], job_id: str, job: NewJob, pairs: list[Field]) -> None:
    """Adds what lua/submit.lua takes for a job."""
    tags = " ".join(dict.fromkeys(job.tags)) if job.tags else ""
    if job.traceparent or job.words:
        pairs = [*pairs, *job.beside()]
    if job.fair_key:  # the script looks for it here
        pairs = ["fair_key", job.fair_key, *pairs]
    args += (job_id, int(job.priority), job.times(), job.unique_key or "", tags, len(pairs) // 2)
    args += pairs


class Ahead(Iterator[T]):
    """The items of an iterator. ``fetch`` has the next one made before it is asked for."""

    def __init__(self, items: Iterator[T]) -> None:
        self._items = items
        self._fetched: list[T] = []

    def __next__(self) -> T:
        return self._fetched.pop() if self._fetched else next(self._items)

    def fetch(self) -> None:
        if not self._fetched:
            self._fetched = list(itertools.islice(self._items, 1))
