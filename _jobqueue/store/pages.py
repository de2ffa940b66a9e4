"""Lists of jobs, page by page."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

from _jobqueue.errors import Invalid
from _jobqueue.listed import Filter, Page
from _jobqueue.records import ENDED, INDEX_OF, PAGE_BYTES
from _jobqueue.store.cursors import cursor_of, read_cursor
from _jobqueue.store.dead_letters import saying
from _jobqueue.store.merge import Found, Merge
from _jobqueue.store.reads import Reads, Row
from _jobqueue.store.registry import Registry
from _jobqueue.store.store import Store
from _jobqueue.store.tags import Tags

ROWS_STEP = 50  # jobs that a page reads at once: some MiB at most
SKIP_STEP = 10_000  # ids
LOOK_STEP = 2000  # jobs that are looked at in one trip for a page with a filter
LEAST_LOOK = 50  # of one queue
LOOKS = 10  # such trips for one page
MANY_LOOKS = 1000  # without a filter, each finds something

ROOM_BYTES = PAGE_BYTES - 2**14  # for jobs; the rest is for the cursor
# Of a job as JSON: beside its values, and for each byte of these. The last error is there twice, and a byte may be six there.
ROW_BYTES, MOST_ESCAPED = 1500, 12

LOWEST, HIGHEST = "00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff"  # of ids

LISTED = ("processing", "queued", "scheduled", "blocked", "failed", "cancelled", "done")
NEXT_FIRST = (INDEX_OF["processing"], INDEX_OF["queued"], INDEX_OF["scheduled"], INDEX_OF["blocked"])

_to_json = json.JSONEncoder(ensure_ascii=False).encode


class Pages:
    """Lists over all queues. Their cost depends on the page and on the number of queues, not on the number of jobs."""

    def __init__(self, store: Store, registry: Registry, reads: Reads, tags: Tags) -> None:
        self._store, self._registry, self._reads, self._tags = store, registry, reads, tags

    def page(self, wanted: Filter, limit: int, offset: int = 0, cursor: str | None = None) -> Page:
        """One page of the jobs that match: what runs, what waits in its order, then what ended, newest first; of a tag, all
        newest first. ``cursor`` continues a page and stays valid while jobs come and go. Invalid for another's cursor."""
        check_filter(wanted)
        numbers = self._registry.numbers_of(wanted)
        times = ["" if ms is None else ms for ms in (wanted.since_ms, wanted.until_ms)]
        sizes = self._store.run_all("sizes", {queue: [*times, *indexes_of(wanted)] for queue in numbers})
        pager = _Pager((self._store, self._reads), wanted, numbers, sizes, cursor)
        if offset and cursor is None:
            pager.skip(offset)
        there = sum(map(sum, sizes.values()))
        return pager.page(limit)._replace(total=self._total(wanted, sizes), there=there)

    def _total(self, wanted: Filter, sizes: Mapping[str, Sequence[int]]) -> int | None:
        if wanted.error is not None or wanted.operation:
            return None
        if not (wanted.tag and wanted.status):
            return _total(wanted, sizes)
        if wanted.type or wanted.kind or wanted.since_ms is not None or wanted.until_ms is not None:
            return None
        tally = self._tags.tally(wanted.tag, wanted.queue)
        return tally.jobs[wanted.status] if tally.exact else None


def check_filter(wanted: Filter) -> None:
    """Invalid for what no index can tell."""
    if wanted.error is not None and wanted.kind is None:
        raise Invalid([("/error", "needs a kind")])
    if wanted.operation and (wanted.tag or wanted.error is not None):
        raise Invalid([("/operation", "not together with a tag or an error")])
    if not wanted.operation and (wanted.tag or wanted.kind or wanted.status in ENDED):
        return
    # Indexes of living jobs are ordered by other things than time, or by a time to come.
    for name in ("since", "until"):
        if getattr(wanted, f"{name}_ms") is not None:
            raise Invalid([(f"/{name}", f"needs a status of {', '.join(ENDED)}, a kind, or a tag, and no operation")])


def _total(wanted: Filter, sizes: Mapping[str, Sequence[int]]) -> int | None:
    """From the sizes of the indexes, never from a scan."""
    if wanted.type or (wanted.tag and (wanted.status or wanted.kind)):
        return None
    if wanted.kind and wanted.status not in (None, "failed"):
        return 0
    return sum(map(sum, sizes.values()))


class _Pager:
    """Reads one index after the other, each merged over all queues: first ids, then the jobs that the page shows. ``numbers`` of
    the queues, and ``sizes`` of each index in each of them.

    A cursor is the number of the index and where each queue goes on. Where nothing is filtered, it is the place of the job that
    was shown last and the highest number of a queue: that says the same of all queues, and stays short."""

    def __init__(
        self,
        redis: tuple[Store, Reads],
        wanted: Filter,
        numbers: Mapping[str, int],
        sizes: Mapping[str, Sequence[int]],
        cursor: str | None,
    ) -> None:
        (self._store, self._reads), self._wanted, self._numbers, self._sizes = redis, wanted, numbers, sizes
        self._indexes = indexes_of(wanted)
        since, until = wanted.since_ms, wanted.until_ms
        self._filtered = is_filtered(wanted) or since is not None or until is not None
        self._looked = 0
        self._start = {} if until is None else dict.fromkeys(sizes, f"{until} {LOWEST}")  # behind all of that score
        self._at, self._last = 0, ("", "")  # the queue and the place of the job that was shown last of the index
        places: dict[str, str] = {}
        if cursor:
            self._at, places, _, highest = read_cursor(cursor, len(self._indexes))
            if highest is not None:
                places = self._spread(places, highest)
        self._merge = self._merged(places)
        if self._merge.ended:
            self._next_index()

    def skip(self, offset: int) -> None:
        """Go on behind the first ``offset`` jobs. Of those only ids are read, of whole indexes not even these."""
        while offset and not self._ended:
            here = sum(sizes[self._at] for sizes in self._sizes.values())
            if not self._filtered and not self._last[0] and here <= offset:
                offset -= here
                self._next_index()
                continue
            taken, _ = self._merge.take(min(offset, SKIP_STEP), MANY_LOOKS)
            offset -= len(taken)
            self._shown(taken)

    def page(self, limit: int) -> Page:
        rows: list[Row] = []
        looks = LOOKS if self._filtered else MANY_LOOKS
        while len(rows) < limit and not self._ended and looks:
            taken, looks = self._merge.take(min(limit - len(rows), ROWS_STEP), looks)
            found = self._reads.rows(
                [(each.queue, each.job_id) for each in taken], self._indexes[self._at], self._status
            )
            there = [(each, row) for each, row in zip(taken, found, strict=True) if row]
            fitting = _fitting(rows, [row for _, row in there])
            rows += [row for _, row in there[:fitting]]
            if fitting < len(there):
                cut = taken.index(there[fitting][0])
                self._merge.back(taken[cut:])
                self._shown(taken[:cut])
                break
            self._shown(taken)
        return Page([row.job for row in rows], None, None if self._ended else self._cursor(), self._looked)

    @property
    def _ended(self) -> bool:
        return self._at == len(self._indexes)

    @property
    def _status(self) -> str:
        return _status_in_index(self._wanted)

    def _shown(self, taken: Sequence[Found]) -> None:
        if taken:
            self._last = taken[-1].queue, taken[-1].place
        if self._merge.ended:
            self._next_index()

    def _next_index(self) -> None:
        self._at, self._last = self._at + 1, ("", "")
        if not self._ended:
            self._merge = self._merged({})
            if self._merge.ended:
                self._next_index()

    def _merged(self, places: Mapping[str, str]) -> Merge:
        index = self._indexes[self._at]
        queues = [queue for queue, sizes in self._sizes.items() if sizes[self._at]]
        order = "next" if index in NEXT_FIRST else "newest"

        def look(asked: Mapping[str, tuple[str, int]]) -> Mapping[str, Any]:
            most = max(LEAST_LOOK, LOOK_STEP // len(asked))
            calls = {
                queue: page_args(self._wanted, index, order, want, place, most)
                for queue, (place, want) in asked.items()
            }
            answers = self._store.run_all("page", calls)
            self._looked += sum(looked for _, _, looked in answers.values())
            rows = saying(self._store, self._wanted, {queue: answer[1] for queue, answer in answers.items()})
            return {queue: (answer[0], rows[queue]) for queue, answer in answers.items()}

        return Merge(queues, order == "newest", {**self._start, **places}, look, self._wanted.since_ms)

    def _cursor(self) -> str:
        if self._filtered:
            return cursor_of(self._at, self._merge.places())
        queue, place = self._last
        return cursor_of(self._at, {queue: place} if queue else {}, 0, max(self._numbers.values(), default=0))

    def _spread(self, places: Mapping[str, str], highest: int) -> dict[str, str]:
        """The places of all queues, from that of the job that was shown last. Queues that came later start from the beginning."""
        if not places:
            return {}
        [(last, place)] = places.items()
        score = place.partition(" ")[0]
        first, final = (LOWEST, HIGHEST) if self._indexes[self._at] in NEXT_FIRST else (HIGHEST, LOWEST)
        spread, passed = {}, last in self._numbers
        for queue, number in self._numbers.items():
            if queue == last:
                spread[queue], passed = place, False
            elif number <= highest:  # of jobs with that score, those of the queues in front have been shown
                spread[queue] = f"{score} {final if passed else first}"
        return spread


def _fitting(rows: Sequence[Row], more: Sequence[Row]) -> int:
    """How many more rows fit into a page; of the first, one at least."""
    if sum(ROW_BYTES + MOST_ESCAPED * row.bytes for row in (*rows, *more)) <= ROOM_BYTES:
        return len(more)
    sizes = [len(_to_json(row.job.as_dict()).encode()) + len(", ") for row in (*rows, *more)]
    return max(0 if rows else 1, sum(size <= ROOM_BYTES for size in accumulate(sizes)) - len(rows))


def indexes_of(wanted: Filter, statuses: Sequence[str] = LISTED) -> list[str]:
    """Where to look for the jobs that match. ``statuses``: those to look at where none is wanted."""
    if wanted.operation:
        return [f"acted:{wanted.operation}"]
    if wanted.tag:
        return [f"tag:{wanted.tag}"]
    if wanted.kind:
        return [f"kind:{wanted.kind}"]
    return [INDEX_OF[status] for status in ([wanted.status] if wanted.status else statuses)]


def page_args(
    wanted: Filter, index: str, order: str, want: int, place: str, look_step: int = LOOK_STEP
) -> list[str | int]:
    """What lua/page.lua takes."""
    look_at = look_step if is_filtered(wanted) else want
    return [index, order, want, look_at, place, _status_in_index(wanted), wanted.type or "", wanted.kind or ""]


def is_filtered(wanted: Filter) -> bool:
    return bool(wanted.type or wanted.tag or wanted.kind or wanted.operation)


def _status_in_index(wanted: Filter) -> str:
    """What must be looked for in an index that has jobs of several."""
    return wanted.status or "" if wanted.tag or wanted.kind or wanted.operation else ""
