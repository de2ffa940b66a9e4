"""What a handler asks the queue about its job's relatives: the jobs that it waited for, and those that it submits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

from _jobqueue.errors import NotWithOthers
from _jobqueue.listed import Parent
from _jobqueue.records import Job
from jobqueue import JobQueue, NewJob, NotFound


class Family:
    """The relatives of one job, for one attempt."""

    def __init__(self, jobs: JobQueue, job_id: str) -> None:
        self._jobs, self._job_id = jobs, job_id
        self._life: str | None = None
        self._before: Counter[bytes] = Counter()

    def parents(self) -> dict[str, ParentView]:
        return {name: ParentView(self._jobs, parent) for name, parent in self._jobs.parents(self._job_id).items()}

    def submit(self, jobs: Sequence[NewJob], key: str) -> list[Job]:
        """Raises the first thing that is wrong."""
        if self._life is None:
            self._life = self._jobs.children.life_of(self._job_id)
        answers = self._jobs.children.submit(self._job_id, self._life, jobs, key, self._before)
        for answer in answers:
            if answer.error and not isinstance(answer.error, NotWithOthers):
                raise answer.error
        return [answer.job for answer in answers if answer.job]


class Reads(Protocol):
    """A JobQueue, or the jobs of a test."""

    def get(self, job_id: str) -> Job: ...


class ParentView(Mapping[str, Any]):
    """A job that another has waited for: job_id, status, result and error, as ``GET /jobs/<id>/parents`` tells them. A long result
    is read when it is asked for."""

    NAMES = ("job_id", "status", "result", "error")

    def __init__(self, jobs: Reads, parent: Parent) -> None:
        self._jobs, self._parent = jobs, parent

    def __getitem__(self, name: str) -> Any:
        if name not in self.NAMES:
            raise KeyError(name)
        if name == "result" and self._parent.cut:
            try:
                result = self._jobs.get(self._parent.job_id).result
            except NotFound:
                result = None
            self._parent = self._parent._replace(result=result, cut=False)
        return getattr(self._parent, name)

    def __iter__(self) -> Iterator[str]:
        return iter(self.NAMES)

    def __len__(self) -> int:
        return len(self.NAMES)

    def __repr__(self) -> str:
        return f"<{self._parent.job_id} is {self._parent.status}>"
