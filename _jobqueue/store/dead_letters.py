"""Dead letters by what their errors say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from _jobqueue.alike import Alike, Errors, pattern_of
from _jobqueue.listed import Filter
from _jobqueue.records import DEFAULT_TYPE
from _jobqueue.store.reads import Reads
from _jobqueue.store.registry import Registry
from _jobqueue.store.rows import message_of
from _jobqueue.store.shares import shares
from _jobqueue.store.store import Store, chunks_of

LETTERS_MOST = 2000  # that one call looks at, over all queues and kinds
LETTERS_STEP = 500  # that one script reads
MINUTE_MS = 60_000


class DeadLetters:
    """Looks at the latest of each kind. It reads what failed jobs say, so those of the release before are told too."""

    def __init__(self, store: Store, registry: Registry, reads: Reads) -> None:
        self._store, self._registry, self._reads = store, registry, reads

    def errors(self, queue: str | None = None) -> Errors:
        """Dead letters (of one queue) by kind, type and what their last errors have in common, the most frequent first."""
        kinds = self._reads.kinds_of_each(queue)
        sizes = {(name, each.kind): each.count for name, its in kinds.items() for each in its}
        groups, looked, seen = dict[tuple[str, str, str], Alike](), Counter[str](), set[bytes]()
        now_ms = max((self._store.now_ms(name) for name, its in kinds.items() if its), default=0)
        for (name, kind), most in shares(sizes, LETTERS_MOST).items():
            steps = [(kind, at, min(LETTERS_STEP, most - at)) for at in range(0, most, LETTERS_STEP)]
            for job_id, *row in (row for rows in self._store.run_each("errors", name, steps) for row in rows):
                if job_id in seen:  # a new one has moved it to the next step
                    continue
                seen.add(job_id)
                looked[kind] += 1
                _add(groups, kind, job_id.decode(), row, now_ms)
        return Errors(sorted(groups.values(), key=lambda each: (-each.count, each.kind, each.type)), dict(looked))


def _add(groups: dict[tuple[str, str, str], Alike], kind: str, job_id: str, row: Sequence[Any], now_ms: int) -> None:
    at, job_type, message = int(row[0]), row[1].decode() or DEFAULT_TYPE, message_of(row[2])
    place = kind, job_type, pattern_of(kind, message)
    group = groups.setdefault(place, Alike(*place, job_id, message, first_ms=at))
    if at > group.last_ms:
        group.job_id, group.message, group.last_ms = job_id, message, at
    group.first_ms = min(group.first_ms, at)
    group.count += 1
    ago = max(0, now_ms // MINUTE_MS - at // MINUTE_MS)
    if ago < len(group.minutes):
        group.minutes[-1 - ago] += 1


def saying(store: Store, wanted: Filter, found: Mapping[str, Sequence[Any]]) -> dict[str, list[Any]]:
    """Those of some rows, queue -> [id, score], of dead letters whose last error says what is wanted."""
    if wanted.error is None:
        return {queue: list(rows) for queue, rows in found.items()}
    kept: dict[str, list[Any]] = {}
    for queue, rows in found.items():
        calls = [("", 0, 0, *(row[0] for row in some)) for some in chunks_of(iter(rows), LETTERS_STEP)]
        said = [row for answer in store.run_each("errors", queue, calls) for row in answer] if calls else []
        kept[queue] = [row for row, each in zip(rows, said, strict=True) if _says(wanted, each)]
    return kept


def _says(wanted: Filter, row: Sequence[Any]) -> bool:
    is_of_type = wanted.type in (None, row[2].decode() or DEFAULT_TYPE)
    return is_of_type and pattern_of(wanted.kind or "", message_of(row[3])) == wanted.error
