"""Workflows: what the jobs of a submit wait for, and what has become of these."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from _jobqueue.errors import Invalid, NotWithOthers, OtherQueue, ParentGone
from _jobqueue.listed import GONE, Flow, Parent, Step
from _jobqueue.new_job import NewJob, is_id
from _jobqueue.pieces import Field
from _jobqueue.records import DEFAULT_TYPE, DELIVERY, MAX_EDGES, MAX_EDGES_BYTES, Submitted
from _jobqueue.store.registry import Registry
from _jobqueue.store.rows import error_of
from _jobqueue.store.store import Store

HARM = "it would tell no job that another has ended"  # of a program of the release before
ALL = "*"
RESULT_BYTES = 2**16  # of a parent; a longer one is left out
RESULTS_BYTES = 4 * 2**20  # of all parents together
FLOW_MOST, FLOW_EDGES = 1000, 10_000  # jobs of a workflow that one answer tells of, and about how many edges
FLOW_STEP = 50  # jobs that one script reads, with up to a thousand children each
Problems = list[tuple[str, str]]


class Reference(NamedTuple):
    """A job that another waits for: its id, or its place in the same submit; and the name that the other knows it by."""

    parent: str | int
    name: str


def references_of(jobs: Sequence[NewJob]) -> tuple[list[list[Reference]], dict[int, Problems]]:
    """What each of some jobs waits for, and what is wrong with that, by the job's place."""
    places: dict[str, int] = {}
    found: list[list[Reference]] = []
    wrong: dict[int, Problems] = {}
    for index, job in enumerate(jobs):
        problems: Problems = []
        found.append(_of(job, jobs[:index] if ALL in job.after else (), places, problems))
        if job.name is not None and places.setdefault(job.name, index) != index:
            problems.append(("/name", f"another job of this batch has the name {job.name}"))
        if sum(map(len, found)) > MAX_EDGES:
            problems.append(("/after", f"the jobs of one batch wait for {MAX_EDGES:,} others at most: submit several"))
        if problems:
            wrong[index] = problems
            if len(found[-1]) > MAX_EDGES or sum(map(len, found)) > MAX_EDGES:
                break
    return found, wrong


def _of(job: NewJob, before: Sequence[NewJob], places: Mapping[str, int], problems: Problems) -> list[Reference]:
    if ALL in job.after:
        if not before:
            problems.append(("/after/0", "there is no job before this one"))
        return [Reference(place, other.name or "") for place, other in enumerate(before)]
    found = []
    for number, parent in enumerate(job.after):
        if is_id(parent):
            found.append(Reference(parent, ""))
        elif parent in places:
            found.append(Reference(places[parent], parent))
        else:
            problems.append((f"/after/{number}", f"no job before this one has the name {parent[:64]}"))
    return found


def too_large(encoded: Sequence[Sequence[Field]]) -> int | None:
    """The place of the job with which a batch is larger than one script may store whole; None for one that is not."""
    size = 0
    for index, pairs in enumerate(encoded):
        size += sum(len(part) for part in pairs if isinstance(part, (bytes, str)))
        if size > MAX_EDGES_BYTES:
            return index
    return None


def args_of(references: Sequence[Sequence[Reference]], jobs: Sequence[NewJob]) -> list[Field]:
    """What lua/submit.lua takes."""
    args: list[Field] = []
    for number, (found, job) in enumerate(zip(references, jobs, strict=True), 1):
        if found:
            args += (number, job.when, len(found))
            for parent, name in found:
                args += (f"#{parent + 1}" if isinstance(parent, int) else parent, name)
    return args


def refused(answer: Sequence[Any], queue: str, registry: Registry, count: int) -> list[Submitted]:
    """What a submit that Redis has refused for one of its references says of each of its jobs."""
    number, place, reason, parent = int(answer[1]), int(answer[2]) - 1, answer[3], answer[4].decode()
    pointer = f"/after/{place}"
    error: Invalid
    if reason == b"parent_gone":
        error = ParentGone([(pointer, f"the job {parent} is cancelled: retry it first")])
    elif reason == b"full":
        error = Invalid([(pointer, f"the job {parent} has as many jobs waiting for it as it may have")])
    elif registry.is_elsewhere(parent, queue):
        error = OtherQueue([(pointer, f"the job {parent} is in another queue than {queue}")])
    else:
        error = Invalid([(pointer, f"there is no job {parent}")])
    others = Submitted(None, error=NotWithOthers())
    return [Submitted(None, error=error) if index == number else others for index in range(1, count + 1)]


class Flows:
    """Reads workflows, in bounded steps."""

    def __init__(self, store: Store, registry: Registry) -> None:
        self._store, self._registry = store, registry

    def parents(self, job_id: str, results: bool = True) -> dict[str, Parent]:
        """The fate of each job that a job waits for, or has waited for, by the name that it gives it, else by its id. Of long
        results only the fact is told; without ``results``, of all."""
        return self._registry.find(job_id, lambda queue: self._parents(queue, job_id, RESULTS_BYTES if results else 0))

    def _parents(self, queue: str, job_id: str, room: int) -> dict[str, Parent] | None:
        found: dict[str, Parent] = {}
        at = 0
        while answer := self._store.run("parents", queue, [job_id, at, min(RESULT_BYTES, room)]):
            total, rows = answer
            for row in rows:
                parent = _parent_of(row)
                found.setdefault(parent.name or parent.job_id, parent)
                room = max(0, room - sum(map(len, row[4:])))
            at += len(rows)
            if at >= total:
                return found
        return None

    def flow(self, job_id: str) -> Flow:
        """The jobs that are tied to one by edges, over any number of them; the nearest first, up to FLOW_MOST."""
        return self._registry.find(job_id, lambda queue: self.part(queue, job_id))

    def part(self, queue: str, job_id: str, most: int = FLOW_MOST) -> Flow | None:
        """The same of a queue, up to ``most`` jobs; None where there is no such job."""
        found: dict[str, Step] = {}
        waiting, known, edges = [job_id], {job_id}, 0
        while waiting and len(found) < most and edges < FLOW_EDGES:
            step = min(FLOW_STEP, most - len(found))
            some, waiting = waiting[:step], waiting[step:]
            for each, row in zip(some, self._store.run("flow", queue, some), strict=True):
                if not row:
                    continue
                status, job_type, name, parents, children = row
                if job_type == DELIVERY.encode() and each != job_id:
                    continue  # it tells of one, and is no part
                after = [parent.decode() for parent in parents]
                found[each] = Step(
                    each, name.decode() or None, job_type.decode() or DEFAULT_TYPE, status.decode(), after
                )
                edges += len(after)
                near = [other for other in (*after, *(child.decode() for child in children)) if other not in known]
                known.update(near)
                waiting += near
        return Flow(list(found.values()), bool(waiting)) if found else None


def _parent_of(row: Sequence[Any]) -> Parent:
    text, status, error, cut, *pieces = row
    job_id, _, name = text.decode().partition(" ")
    message = error_of(error)["message"].rstrip("\ufffd") if error else None  # it may have been cut inside a character
    return Parent(job_id, name, status.decode() or GONE, json.loads(b"".join(pieces) or b"null"), message, bool(cut))
