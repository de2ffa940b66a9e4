"""Lists of jobs, page by page."""

from __future__ import annotations

from collections.abc import Sequence

from _jobqueue.records import INDEX_OF, Filter, Job, Page
from _jobqueue.store.cursors import END, cursor_of, read_cursor
from _jobqueue.store.reads import Reads
from _jobqueue.store.registry import Registry
from _jobqueue.store.rows import job_of
from _jobqueue.store.store import Store, prefix_of

PAGE_STEP = 200  # jobs that a page reads at most
LOOK_STEP = 2000  # jobs that a page with a filter looks at in one script
LOOKS = 5  # such scripts for one page

LISTED = ("processing", "queued", "scheduled", "failed", "cancelled", "done")
NEXT_FIRST = (INDEX_OF["processing"], INDEX_OF["queued"], INDEX_OF["scheduled"])


class Pages:
    """Lists over all queues. Their cost depends on the page, not on the number of jobs."""

    def __init__(self, store: Store, registry: Registry, reads: Reads) -> None:
        self._store, self._registry, self._reads = store, registry, reads

    def page(self, wanted: Filter, limit: int, offset: int = 0, cursor: str | None = None) -> Page:
        """One page of the jobs that match: what runs, what waits in its order, then what ended, newest first; of a tag, all
        newest first. ``cursor`` continues a page and stays valid while jobs come and go. Invalid for another's cursor."""
        if cursor is None and offset:
            return self._skip(wanted, limit, offset)
        queues = self._registry.queues_of(wanted)
        return _Pager(self._store, wanted, queues, cursor).page(limit)._replace(total=self._total(wanted, queues))

    def _skip(self, wanted: Filter, limit: int, offset: int) -> Page:
        page = self.page(wanted, min(offset, PAGE_STEP))
        left = offset - len(page.jobs)
        while left > 0 and page.cursor:
            page = self.page(wanted, min(left, PAGE_STEP), cursor=page.cursor)
            left -= len(page.jobs)
        return self.page(wanted, limit, cursor=page.cursor) if page.cursor else Page([], page.total, None)

    def _total(self, wanted: Filter, queues: list[str]) -> int | None:
        """From the sizes of the indexes, never from a scan."""
        if wanted.type or (wanted.tag and (wanted.status or wanted.kind)):
            return None
        if wanted.kind and wanted.status not in (None, "failed"):
            return 0
        if wanted.tag or wanted.kind:
            return sum(self._store.ask("ZCARD", f"{prefix_of(queue)}{indexes_of(wanted)[0]}") for queue in queues)
        sizes = [self._reads.books(queue).sizes for queue in queues]
        return sum(n for size in sizes for status, n in size.items() if wanted.status in (None, status))


class _Pager:
    """Reads one index after the other, each merged over all queues. A cursor is the number of the index and, for each queue,
    the place from which to read on."""

    def __init__(self, store: Store, wanted: Filter, queues: list[str], cursor: str | None) -> None:
        self.store, self.wanted, self.queues = store, wanted, queues
        self.indexes = indexes_of(wanted)
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
            if all(self.places.get(queue) == END for queue in self.queues):
                self.at, self.places = self.at + 1, {}
        return Page(found, None, self._cursor() if self.at < len(self.indexes) else None)

    def _rows(self, want: int) -> list[Job]:
        """The next jobs of the index over all queues."""
        newest = self.indexes[self.at] not in NEXT_FIRST
        following: dict[str, str] = {}
        rows: list[tuple[float, str, str, str, Job]] = []
        for queue in self.queues:
            place = self.places.get(queue, "0")
            if place != END:
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
        args = page_args(self.wanted, index, order, want, place)
        further, rows = self.store.run("page", queue, [*args, *self.store.defaults])
        in_queue = index == INDEX_OF["queued"]
        return further.decode(), [
            (float(row[1]), job_of(row[0].decode(), queue, row[2], row[3] if in_queue else -1, row[4:])) for row in rows
        ]

    def _cursor(self) -> str:
        return cursor_of(self.at, self.places)

    def _read(self, cursor: str) -> None:
        self.at, self.places, _ = read_cursor(cursor, len(self.indexes))


def indexes_of(wanted: Filter, statuses: Sequence[str] = LISTED) -> list[str]:
    """Where to look for the jobs that match. ``statuses``: those to look at where none is wanted."""
    if wanted.tag:
        return [f"tag:{wanted.tag}"]
    if wanted.kind:
        return [f"kind:{wanted.kind}"]
    return [INDEX_OF[status] for status in ([wanted.status] if wanted.status else statuses)]


def page_args(wanted: Filter, index: str, order: str, want: int, place: str) -> list[str | int]:
    """What lua/page.lua takes, but for the defaults."""
    filtered = wanted.type or wanted.tag or wanted.kind
    status = wanted.status or "" if wanted.tag or wanted.kind else ""
    look_at = LOOK_STEP if filtered else want
    return [index, order, want, look_at, place, status, wanted.type or "", wanted.kind or ""]
