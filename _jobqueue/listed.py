"""What lists, searches, workflows and operations on many jobs answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from _jobqueue.errors import Invalid
from _jobqueue.records import Job

NAMED = ("status", "type", "queue", "tag", "kind", "operation")  # none of them is ever empty


@dataclass(frozen=True, slots=True)
class Filter:
    """Which jobs to list. None: any. Invalid for an empty text, as a script has it of a variable that is not set. ``kind`` is
    that of the last error; only dead letters have one. ``error``: what that says, as pattern_of has it. ``operation``: the name of
    an action on many jobs, of those that it has changed. ``since_ms`` and ``until_ms`` (not that moment itself): when they ended,
    for a status in ENDED or a kind; when they were submitted, for a tag."""

    status: str | None = None
    type: str | None = None
    queue: str | None = None
    tag: str | None = None
    kind: str | None = None
    since_ms: int | None = None
    until_ms: int | None = None
    error: str | None = None
    operation: str | None = None

    def __post_init__(self) -> None:
        if empty := [name for name in NAMED if getattr(self, name) == ""]:
            raise Invalid([(f"/{name}", "must not be empty; leave it out") for name in empty])


class Hit(NamedTuple):
    """Something that a text names: ``what`` is job, unique_key, idempotency_key, tag, kind, queue or type. A job, or how many
    there are of the others, where that is known."""

    what: str
    job: Job | None = None
    jobs: int | None = None


GONE = "gone"  # the status of a parent that is not there any more


class Parent(NamedTuple):
    """A job that another waits for, or has waited for. ``name``: as that one knows it, or ''. ``cut``: its result is too long to
    be told here."""

    job_id: str
    name: str
    status: str
    result: Any
    error: str | None
    cut: bool


class Step(NamedTuple):
    """A job of a workflow."""

    job_id: str
    name: str | None
    type: str
    status: str
    after: list[str]


class Flow(NamedTuple):
    """Jobs that are tied by edges. ``truncated``: there are more."""

    jobs: list[Step]
    truncated: bool


class Workflow(NamedTuple):
    """A workflow in short. ``job_id``, ``name`` and ``type`` are those of a job for which no other waits. ``created_ms``: when the
    newest of its jobs was submitted that was looked at. ``jobs``: status -> how many. ``truncated``: there are more."""

    queue: str
    job_id: str
    name: str | None
    type: str
    created_ms: int
    jobs: dict[str, int]
    truncated: bool


class WorkflowPage(NamedTuple):
    """Some of the workflows, in short. ``cursor`` continues the list; None at the end."""

    workflows: list[Workflow]
    cursor: str | None


class Page(NamedTuple):
    """Some of the jobs that match, at most PAGE_BYTES as JSON; what is large of each is cut. ``total`` is None where only a scan
    could tell; ``cursor`` is None at the end. ``looked``: how many jobs were looked at for it, of ``there`` in the whole list."""

    jobs: list[Job]
    total: int | None
    cursor: str | None
    looked: int = 0
    there: int = 0


@dataclass(frozen=True, slots=True)
class Kind:
    """The dead letters whose last error is of one kind: how many, and the latest of them."""

    kind: str
    count: int
    job_id: str
    at_ms: int
    type: str
    message: str  # its beginning
    first_ms: int  # when the oldest of them failed


@dataclass(frozen=True, slots=True)
class Action:
    """What may be done to many jobs: the statuses that allow it, and what its script, of the same name, says when it is done."""

    statuses: tuple[str, ...]
    good: tuple[str, ...]


ACTIONS = {
    "retry": Action(("failed", "cancelled"), ("retried",)),
    "cancel": Action(("processing", "queued", "scheduled", "blocked"), ("cancelled", "asked")),
    "delete": Action(("queued", "scheduled", "blocked", "failed", "cancelled", "done"), ("deleted",)),
    "run": Action(("scheduled",), ("queued",)),
}


class Acted(NamedTuple):
    """What became of those of many jobs that matched: so many changed (or would have, in a dry run), and the others did not:
    reason -> how many, the reason being their status, taken or not_found. ``cursor`` leads on; None at the end."""

    matched: int
    changed: int
    skipped: dict[str, int]
    cursor: str | None = None
