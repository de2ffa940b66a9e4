"""The calls that submit jobs and show them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import bottle

from _jobqueue.errors import OtherQueue, ParentGone, WebhooksOff
from _jobqueue.records import ENDED, JOB_ID, STATUSES, Warned
from _jobqueue.web import inputs
from _jobqueue.web.backend import Backend
from _jobqueue.web.diagnosis import explanation_of_remembered
from _jobqueue.web.problems import problem_of
from jobqueue import Filter, Invalid, Job, JobQueueError, NewJob, NotFound, Submitted

FILTERS = ("status", "type", "queue", "tag", "kind")
LIST_FILTERS = (*FILTERS, "error", "operation")  # of what the queues have
PAGE, MAX_PAGE = 50, 200
MAX_OFFSET = 10_000  # further on, a cursor
MAX_WAIT_S = 20.0
WAIT_STEP_S = 0.1
CANONICAL = "canonical"

# ------------------------------------------------------------------------------------------------------------ submit


def submit(backend: Backend) -> dict[str, Any]:
    stored = _stored(backend, NewJob.of_json(inputs.body(backend.config.max_body_bytes)))
    answer = _job_of(stored)
    if warned := next(_warnings(backend, [stored]), None):
        answer["warning"] = warned.text
    return answer


def submit_new(backend: Backend, job: NewJob) -> Job:
    """Store a job under the request's idempotency key, and say so in status and headers."""
    stored = _stored(backend, job).job
    assert stored is not None
    return stored


def _stored(backend: Backend, job: NewJob) -> Submitted:
    stored = backend.jobs.submit_one(inputs.in_trace(job), inputs.idempotency_key())
    assert stored.job is not None
    bottle.response.status = _status(stored)
    bottle.response.set_header("Location", f"/jobs/{stored.job.id}")
    if stored.replayed:
        bottle.response.set_header("Idempotent-Replayed", "true")
    if stored.existing:
        bottle.response.set_header("Unique-Existing", "true")
    return stored


def submit_batch(backend: Backend) -> dict[str, Any]:
    """201 when all jobs were stored, 200 when all had been before, 202 when none is confirmed as DURABILITY asks. Else 207; an
    error when none is there."""
    sent = inputs.rows(backend.config.max_batch_bytes)
    rows = [_checked(row) for row in sent]
    good = [row for row in rows if isinstance(row, NewJob)]
    if len(good) < len(rows) and any(_waits(row) for row in sent):  # stored whole or not at all
        wrong = [_placed(Submitted(None, error=row), at) for at, row in enumerate(rows) if not isinstance(row, NewJob)]
        raise _in_one([each.error for each in wrong if each.error])
    stored = iter(backend.jobs.submit_many(good, key=inputs.idempotency_key()))
    answers = [next(stored) if isinstance(row, NewJob) else Submitted(None, error=row) for row in rows]
    answers = [_placed(answer, index) for index, answer in enumerate(answers)]
    if not any(answer.job for answer in answers):
        raise _in_one([answer.error for answer in answers if answer.error])
    results = [_result(answer) for answer in answers]
    statuses = {result["status"] for result in results}
    bottle.response.status = statuses.pop() if len(statuses) == 1 else 207
    if all(answer.replayed for answer in answers):
        bottle.response.set_header("Idempotent-Replayed", "true")
    return {"results": results, "warnings": [warned.text for warned in _warnings(backend, answers)]}


def _checked(row: Any) -> NewJob | Invalid:
    try:
        return inputs.in_trace(NewJob.of_json(row))
    except Invalid as error:
        return error


def _waits(row: Any) -> bool:
    """Whether a job would wait for others, as somebody has sent it: perhaps it is wrong."""
    return isinstance(row, dict) and bool(row.get("after"))


def _placed(answer: Submitted, index: int) -> Submitted:
    """With the row in the pointers of its error."""
    if not isinstance(answer.error, Invalid):
        return answer
    problems = [(f"/jobs/{index}{pointer}", detail) for pointer, detail in answer.error.problems]
    kind = type(answer.error) if isinstance(answer.error, (OtherQueue, ParentGone, WebhooksOff)) else Invalid
    return Submitted(None, error=kind(problems))


def _in_one(errors: Sequence[JobQueueError]) -> JobQueueError:
    """One error for a batch of which no job was stored."""
    invalid = [error for error in errors if isinstance(error, Invalid)]
    if len(invalid) < len(errors):
        return next(error for error in errors if not isinstance(error, Invalid))
    kinds = {type(error) for error in invalid if error.problems}
    kind = kinds.pop() if len(kinds) == 1 else Invalid
    return kind([problem for error in invalid for problem in error.problems])


def _result(answer: Submitted) -> dict[str, Any]:
    if answer.error:
        problem = problem_of(answer.error)
        return {"status": problem.status, "error": problem.body}
    listed = answer._replace(job=answer.job.listed()) if answer.job and not answer.job.truncated else answer
    return {"status": _status(answer), "job": _job_of(listed)}


def _status(answer: Submitted) -> int:
    if answer.unconfirmed:
        return 202
    return 200 if answer.replayed or answer.existing else 201


def _job_of(answer: Submitted) -> dict[str, Any]:
    assert answer.job is not None  # without an error there is a job
    confirmed = answer.job.durability or ("fast" if answer.unconfirmed else None)
    return answer.job.as_dict() | ({"durability": confirmed} if confirmed else {})


def _warnings(backend: Backend, answers: Sequence[Submitted]) -> Iterator[Warned]:
    """What is not confirmed; then who is missing to do the new jobs, which costs a look at Redis now and then."""
    yield from dict.fromkeys([Warned("unconfirmed", each.unconfirmed) for each in answers if each.unconfirmed])
    yield from backend.advice.on([each.job for each in answers if each.job and not (each.replayed or each.existing)])


# -------------------------------------------------------------------------------------------------------------- look


def page(backend: Backend) -> dict[str, Any]:
    """Jobs that match."""
    given = inputs.query(*LIST_FILTERS, "since", "until", "limit", "offset", "cursor")
    check_status(given)
    return page_of(backend, Filter(**{name: given.get(name) for name in LIST_FILTERS}), given)  # type: ignore[arg-type]


def counts(backend: Backend) -> dict[str, Any]:
    """How many jobs match, by status."""
    given = inputs.query(*LIST_FILTERS[1:], "since", "until")
    wanted = _timed(Filter(**{name: given.get(name) for name in LIST_FILTERS[1:]}), given)  # type: ignore[arg-type]
    found = backend.jobs.counts.of(wanted)
    return {"jobs": found.jobs, "at_least": found.at_least}


def check_status(given: dict[str, str]) -> None:
    if given.get("status", STATUSES[0]) not in STATUSES:
        raise Invalid([("/status", f"must be one of {', '.join(STATUSES)}")])


def page_of(backend: Backend, wanted: Filter, given: dict[str, str]) -> dict[str, Any]:
    """The page that a query asks for: ``since``, ``until``, ``limit``, ``offset``, ``cursor``."""
    wanted = _timed(wanted, given)
    limit = inputs.whole(given, "limit", PAGE, 1, MAX_PAGE)
    offset = inputs.whole(given, "offset", 0, 0, MAX_OFFSET)
    found = backend.jobs.page(wanted, limit=limit, offset=offset, cursor=given.get("cursor"))
    return {
        "jobs": [job.as_dict() for job in found.jobs],
        "total": found.total,
        "next_cursor": found.cursor,
        "looked": found.looked,
        "there": found.there,
    }


def _timed(wanted: Filter, given: dict[str, str]) -> Filter:
    return replace(wanted, since_ms=inputs.moment(given, "since"), until_ms=inputs.moment(given, "until"))


def get(backend: Backend, job_id: str) -> dict[str, Any]:
    """The job; with ``wait_s``, as soon as it has ended or that time has passed."""
    given = inputs.query("wait_s", "words")
    wait_s = inputs.seconds(given, "wait_s", MAX_WAIT_S)
    if given.get("words", CANONICAL) != CANONICAL:
        raise Invalid([("/words", f"must be {CANONICAL}")])
    try:
        job = backend.jobs.get(job_id)
    except NotFound:
        job = remembered(backend, job_id)
        return _in_words(backend, job, given, job.as_dict() | {"source": "history"})
    if wait_s and job.status not in ENDED:
        backend.waiters.sleep(bottle.request.environ, job_id, wait_s)
    return _in_words(backend, job, given, job.as_dict())


def _in_words(backend: Backend, job: Job, given: dict[str, str], answer: dict[str, Any]) -> dict[str, Any]:
    """The answer as the system says it whose call has made the job, unless ours is asked for."""
    told = backend.words.get(job.words) if job.words and "words" not in given else None
    return told(answer) if told else answer


def remembered(backend: Backend, job_id: str) -> Job:
    """A job that the queue has forgotten, from the record. NotFound where that has none, or it was deleted, or the record has not
    learned yet what became of it."""
    if backend.record and backend.jobs.is_leaving(job_id):  # first: the record is written before this ceases to be so
        raise NotFound(f"there is no job {job_id}")
    row = backend.record.ask(lambda record: record.get(job_id)) if backend.record and JOB_ID.fullmatch(job_id) else None
    if row is None or row.deleted or not backend.shows(row.job.queue):
        raise NotFound(f"there is no job {job_id}")
    return row.job


def explain(backend: Backend, job_id: str) -> dict[str, Any]:
    """Why a job is not running yet, or what happened to it."""
    try:
        return backend.overview.explain(job_id)
    except NotFound:
        job = remembered(backend, job_id)
        code, text = explanation_of_remembered(job)
        return {"code": code, "explanation": text, "job": job.as_dict() | {"source": "history"}}
