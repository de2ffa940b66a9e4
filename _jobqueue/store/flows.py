"""Workflows: what the jobs of a submit wait for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from _jobqueue.errors import Invalid, NotWithOthers, OldProgram, OtherQueue, ParentGone
from _jobqueue.new_job import NewJob, is_id
from _jobqueue.pieces import Field
from _jobqueue.records import MAX_EDGES, MAX_EDGES_BYTES, Submitted
from _jobqueue.store.registry import Registry

ALL = "*"
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
        problems = []
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


def old_program(queue: str, what: str) -> OldProgram:
    return OldProgram(
        f"a {what} of the release before serves the queue {queue}: it would tell no job that another has ended. Upgrade it first"
    )
