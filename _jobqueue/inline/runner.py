"""Submits jobs and runs them, in the thread that submits."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextvars import Token
from types import ModuleType, TracebackType
from typing import TYPE_CHECKING, Any

from _jobqueue import hooks
from _jobqueue.errors import Invalid, JobQueueError, NotWithOthers
from _jobqueue.inline.ledger import Ledger
from _jobqueue.job_types import JobType, marks_of
from _jobqueue.listed import Parent
from _jobqueue.loading import import_named, types_of
from _jobqueue.new_job import NewJob
from _jobqueue.pieces import Field
from _jobqueue.records import DEFAULT_QUEUE, DEFAULT_TYPE, SAME, Job, Policy, Submitted
from _jobqueue.store.children import bits_of
from _jobqueue.store.flows import Reference, references_of
from _jobqueue.submitting import Submits, inline_jobs
from _jobqueue.work.attempts import Attempts
from _jobqueue.work.event_loop import EventLoop
from _jobqueue.work.family import ParentView
from _jobqueue.work.run import Run

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from _jobqueue.new_job import JobOptions

MAX_RESULT_BYTES = 2**20
ATTEMPTS_MOST = 20_000  # that one submit may lead to: a job that submits itself would never end


def handlers_of(given: Iterable[ModuleType | str | Any]) -> tuple[dict[str, JobType], list[hooks.Hook]]:
    """The job types and hooks of modules, their names, or functions. ValueError for what a worker would refuse."""
    modules, types = list[tuple[str, ModuleType]](), dict[str, JobType]()
    for each in given:
        if isinstance(each, str):
            modules.append((each, import_named(each)))
        elif isinstance(each, ModuleType):
            modules.append((each.__name__, each))
        elif marks_of(each):
            alone = ModuleType("inline")
            vars(alone)[getattr(each, "__name__", "handler")] = each
            types |= types_of([("inline", alone)])
        else:
            raise ValueError(f"{each!r} is no module, no name of one, and no function that is marked with @handler")
    types |= types_of(modules) if modules or not types else {}
    found = {id(hook): hook for _, module in modules for hook in hooks.hooks_of(module)}
    return types, [hook for hook in hooks.HOOKS if id(hook) in found]


class Inline:
    """A JobQueue for tests, see ``inline``: what it submits has ended when the submit returns, with all that this job has
    submitted. Jobs of types without a handler stay queued. A handler that blocks in C outlasts its timeout."""

    def __init__(self, types: dict[str, JobType], its_hooks: Sequence[hooks.Hook] = ()) -> None:
        self._loop, self._hooks, self._closed = EventLoop(), its_hooks, False
        self._attempts = Attempts(types, Policy(), MAX_RESULT_BYTES, self._relatives_of, self._loop)
        self._ledger = Ledger(self._attempts.policies, Policy())
        self._running: Run | None = None
        self._draining = False
        self._outside: Token[Submits | None] | None = None
        hooks.start(its_hooks, self._loop.run)

    # -- submit

    def submit(
        self,
        type: str = DEFAULT_TYPE,
        payload: Any = None,
        *,
        key: str | None = None,
        **options: Unpack[JobOptions],
    ) -> Job:
        """As JobQueue.submit; the job has ended. Inside a handler it is only stored: it runs after that one."""
        return self.submit_one(NewJob(type, payload, **options), key).job  # type: ignore[return-value]

    def submit_one(self, job: NewJob, key: str | None = None) -> Submitted:
        """As JobQueue.submit_one."""
        [submitted] = self.submit_many([job], key=key)
        if submitted.error:
            raise submitted.error
        return submitted

    def submit_many(self, jobs: Sequence[NewJob], *, key: str | None = None) -> list[Submitted]:
        """As JobQueue.submit_many."""
        with self._ledger.lock:
            try:
                ids = self._ledger.replayed(key, jobs)
            except JobQueueError as error:
                return [Submitted(None, error=error)] * len(jobs)
            if ids is not None:
                return [Submitted(self._ledger.job(job_id), replayed=True) for job_id in ids]
            stored = self._store(jobs)
            if not any(each.error for each in stored):
                self._ledger.remember(key, jobs, [each.job.id for each in stored if each.job])
        self.run()
        return [each._replace(job=self.get(each.job.id)) if each.job else each for each in stored]

    def run(self) -> None:
        """Run what waits: after ``retry``. Nothing, inside a handler."""
        if self._draining:
            return
        self._draining, outside = True, inline_jobs.set(self)
        try:
            for _ in range(ATTEMPTS_MOST):
                if not self._attempt():
                    return
            raise RuntimeError(
                f"no end after {ATTEMPTS_MOST:,} attempts: does a job submit itself, or snooze for ever?"
            )
        finally:
            self._draining = False
            inline_jobs.reset(outside)

    def _attempt(self) -> bool:
        job = self._ledger.claim()
        if job is None:
            return False
        run = self._running = Run(job, self._attempts.timeout_s(job))
        watch = threading.Timer(run.timeout_s, run.interrupt)
        watch.daemon = True
        watch.start()
        try:
            end = self._attempts.attempt(run)
        finally:
            watch.cancel()
            self._running = None
        assert end, "nobody takes it back"
        self._ledger.settle(end)
        return True

    def _store(self, jobs: Sequence[NewJob], bits: Sequence[bytes | None] = ()) -> list[Submitted]:
        """Store what is right; where some wait for others, all or none. ``bits``: of ids that follow from something."""
        encoded, wrong = self._checked(jobs)
        whole = any(job.after for job in jobs)
        answers: list[Submitted] = []
        for place, (job, found) in enumerate(zip(jobs, encoded, strict=True)):
            if place in wrong or (whole and wrong):
                answers.append(Submitted(None, error=wrong.get(place) or NotWithOthers()))
                continue
            queue = self._queue_of(job)
            job_id = self._ledger.new_id(queue, bits[place] if bits else None)
            if job_id in self._ledger.kept:
                answers.append(Submitted(self._ledger.job(job_id), replayed=True))
            elif holder := self._ledger.holder_of(job.unique_key, queue):
                answers.append(Submitted(self._ledger.job(holder.id), existing=True))
            else:
                fields, references = found
                before = [each.job.id if each.job else "" for each in answers]
                parents: dict[str, str] = {}
                for parent, name in references:
                    parents.setdefault(before[parent] if isinstance(parent, int) else parent, name)
                self._ledger.store(job, queue, job_id, fields, parents)
                answers.append(Submitted(self._ledger.job(job_id)))
        return answers

    def _checked(
        self, jobs: Sequence[NewJob]
    ) -> tuple[list[tuple[Sequence[Field], Sequence[Reference]]], dict[int, Invalid]]:
        """The fields and references of each, and what is wrong, by place."""
        references, problems = references_of(jobs)
        wrong: dict[int, Invalid] = {place: Invalid(found) for place, found in problems.items()}
        encoded: list[tuple[Sequence[Field], Sequence[Reference]]] = []
        for place, job in enumerate(jobs):
            its = references[place] if place < len(references) else []
            fields: Sequence[Field] = ()
            try:
                fields = job.fields()
                self._ledger.check(job, self._queue_of(job), its)
            except Invalid as error:
                wrong.setdefault(place, error)
            encoded.append((fields, its))
        return encoded, wrong

    def _queue_of(self, job: NewJob) -> str:
        return job.queue or self._attempts.routes.get(job.type) or DEFAULT_QUEUE

    def _relatives_of(self, job_id: str) -> _Relatives:
        return _Relatives(self, job_id)

    # -- read and operate

    def get(self, job_id: str) -> Job:
        """As JobQueue.get."""
        return self._ledger.job(job_id)

    def wait(self, job_id: str, timeout_s: float | None = None) -> Job:
        """As JobQueue.wait, at once."""
        return self.get(job_id)

    def jobs(self) -> list[Job]:
        """All jobs, in the order in which they were submitted."""
        with self._ledger.lock:
            return [self._ledger.job(job_id) for job_id in self._ledger.kept]

    def cancel(self, job_id: str) -> str:
        """As JobQueue.cancel; a job whose handler runs is asked to stop at once."""
        answer = self._ledger.cancel(job_id)
        run = self._running
        if answer == "asked" and run and run.job.id == job_id:
            run.stop("cancelled")
        return answer

    def retry(self, job_id: str, payload: Any = SAME) -> str:
        """As JobQueue.retry; the job has ended again when this returns."""
        answer = self._ledger.retry(job_id, payload)
        self.run()
        return answer

    # -- the end

    def close(self) -> None:
        """Call what the modules have marked with @on_stop. HookFailed for what raises."""
        if not self._closed:
            self._closed = True
            failed = hooks.stop(self._hooks, self._loop.run)
            self._loop.close()
            if failed:
                raise failed[0]

    def __enter__(self) -> Inline:
        """Inside the block, ``.submit`` of the handlers leads here."""
        self._outside = inline_jobs.set(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._outside:
            inline_jobs.reset(self._outside)
        self.close()


class _Relatives:
    """As _jobqueue/work/family.py, for one attempt."""

    def __init__(self, jobs: Inline, job_id: str) -> None:
        self._jobs, self._job_id = jobs, job_id
        self._before: Counter[bytes] = Counter()

    def parents(self) -> Mapping[str, Mapping[str, Any]]:
        parents: dict[str, Parent] = self._jobs._ledger.parents(self._job_id)
        return {name: ParentView(self._jobs, parent) for name, parent in parents.items()}

    def submit(self, jobs: Sequence[NewJob], key: str) -> list[Job]:
        ledger = self._jobs._ledger
        with ledger.lock:
            life = ledger.find(self._job_id).hash.get(b"retry", b"").decode()
            bits = [bits_of((self._job_id, life, key), job.fields(), self._before) for job in jobs]
            answers = self._jobs._store(jobs, bits)
        for answer in answers:
            if answer.error and not isinstance(answer.error, NotWithOthers):
                raise answer.error
        return [answer.job for answer in answers if answer.job]
