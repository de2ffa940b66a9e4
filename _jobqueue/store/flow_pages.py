"""The list of workflows, page by page. They have no index: they are found by their jobs, the newest of each status first."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from _jobqueue.errors import Invalid
from _jobqueue.listed import Flow, Workflow, WorkflowPage
from _jobqueue.store.cursors import NO_CURSOR, cursor_of, read_parts
from _jobqueue.store.flows import Flows
from _jobqueue.store.registry import Registry
from _jobqueue.store.shares import of_each
from _jobqueue.store.store import Store

PAGE_MOST, COUNTED_MOST = 20, 200  # workflows of a page, and jobs that are counted of each
TRIED_MOST = 60  # jobs for which a page looks whether they have a workflow
# Jobs of a status that are looked at in one turn: of a queue, of all, of one of many. And turns of a page that finds nothing.
LOOKS, LOOKS_OF_ALL, LOOKS_LEAST = 200, 1000, 20
TURNS = 10
_ID = re.compile(r"[0-9a-f-]{36}|")


class Place(NamedTuple):
    """Behind what a page goes on: how many jobs of a status are looked at in a turn, the turn, when the first page was read (0: this
    is the first), and of the job that was tried last when it was submitted and its id ("": none of this turn)."""

    looks: int
    turn: int = 0
    until_ms: int = 0
    created_ms: int = 0
    job_id: str = ""

    @property
    def args(self) -> list[str | int]:
        """What lua/flows.lua takes."""
        return [self.looks, self.turn, self.until_ms or ""]


class FlowPages:
    """Their cost depends on the page and on the number of queues, not on the number of jobs."""

    def __init__(self, store: Store, registry: Registry, flows: Flows) -> None:
        self._store, self._registry, self._flows = store, registry, flows

    def page(self, cursor: str | None = None) -> WorkflowPage:
        """The newest workflows of a turn, up to PAGE_MOST; each stands in one page. There may be none while there are more."""
        queues = self._registry.queues()
        looks = of_each(len(queues), LOOKS, LOOKS_OF_ALL, LOOKS_LEAST)
        place: Place | None = Place(looks) if cursor is None else read_place(cursor)
        found: list[Workflow] = []
        for _ in range(TURNS):
            if place and not found:
                found, place = self._turn(queues, place)
        return WorkflowPage(found, cursor_of(*place) if place else None)

    def _turn(self, queues: Sequence[str], place: Place) -> tuple[list[Workflow], Place | None]:
        answers = self._store.run_all("flows", dict.fromkeys(queues, place.args))
        now_ms = min((int(now) for _, _, now in answers.values()), default=0)
        is_first = not place.until_ms
        place = place._replace(until_ms=place.until_ms or now_ms)
        rows = [(int(ms), job_id.decode(), queue) for queue, (some, _, _) in answers.items() for job_id, ms in some]
        found: list[Workflow] = []
        seen = set[str]()
        tried = 0
        for created_ms, job_id, queue in sorted(rows, reverse=True):
            if job_id in seen or (place.job_id and (created_ms, job_id) >= (place.created_ms, place.job_id)):
                continue
            if tried == TRIED_MOST or len(found) == PAGE_MOST:
                return found, place
            tried += 1
            place = place._replace(created_ms=created_ms, job_id=job_id)
            flow = self._flows.part(queue, job_id, COUNTED_MOST)
            if flow and len(flow.jobs) > 1:
                seen.update(step.job_id for step in flow.jobs)
                if is_first or not self._was_shown(queue, place, flow):
                    found.append(_in_short(queue, created_ms, flow))
        more = any(more for _, more, _ in answers.values())
        return found, Place(place.looks, place.turn + 1, place.until_ms) if more else None

    def _was_shown(self, queue: str, place: Place, flow: Flow) -> bool:
        ids = [step.job_id for step in flow.jobs]
        return bool(self._store.run("flow_shown", queue, [*place.args, place.created_ms, place.job_id, *ids]))


def read_place(cursor: str) -> Place:
    """Invalid for what is no cursor of this list."""
    try:
        place = Place(*read_parts(cursor, (LOOKS, 2**31, 2**53, 2**53), (_ID,)))
    except (ValueError, TypeError):
        raise Invalid(NO_CURSOR) from None
    if not place.looks or not place.until_ms:
        raise Invalid(NO_CURSOR)
    return place


def _in_short(queue: str, created_ms: int, flow: Flow) -> Workflow:
    waited_for = {parent for step in flow.jobs for parent in step.after}
    last = next((step for step in flow.jobs if step.job_id not in waited_for), flow.jobs[0])
    jobs = Counter(step.status for step in flow.jobs)
    return Workflow(queue, last.job_id, last.name, last.type, created_ms, dict(jobs), flow.truncated)
