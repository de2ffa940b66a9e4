"""Jobs as rows of the record, and back."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from typing import Any

from _jobqueue.records import Job
from _jobqueue.rfc3339 import epoch_ms, rfc3339

COLUMNS = (
    *("id", "rev", "queue", "type", "status", "deleted", "priority", "attempts", "max_attempts", "timeout_ms"),
    *("created_at", "run_at", "started_at", "finished_at", "worker", "kind", "error", "tags"),
    *("payload", "result", "log", "more"),
)
ATTEMPT_COLUMNS = (
    *("job_id", "number", "attempt", "outcome", "kind", "message", "traceback", "worker"),
    *("started_at", "finished_at"),
)
# Of a Job: what has a column, in a form that may be another's, and what is true of a moment only.
_PLACED = {
    *("id", "queue", "type", "status", "priority", "attempts", "max_attempts", "timeout_ms"),
    *(
        "created_ms",
        "run_at_ms",
        "started_ms",
        "finished_ms",
        "worker",
        "errors",
        "first_error",
        "tags",
        "payload",
        "result",
        "log",
    ),
    *("position", "blocked_by", "truncated", "previews", "durability"),
}
_MORE = [each for each in fields(Job) if each.name not in _PLACED]

to_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


@dataclass(frozen=True)
class Row:
    """A job in the state of a revision, to be written. ``deleted``: somebody has deleted it."""

    job: Job
    rev: int
    deleted: bool = False


def values_of(row: Row, json: Callable[[Any], str], payloads: bool = True) -> tuple[Any, ...]:
    """What the row of a job holds, in the order of COLUMNS. Of a deleted job all content is left out. ``json`` encodes."""
    job, kept = row.job, not row.deleted
    last = job.errors[-1] if job.errors and job.status != "done" else None
    more = _more_of(job) if kept else {}
    return (
        *(job.id, row.rev, job.queue, job.type, job.status, row.deleted, job.priority),
        *(job.attempts, job.max_attempts, job.timeout_ms),
        *(rfc3339(job.created_ms), rfc3339(job.run_at_ms), rfc3339(job.started_ms), rfc3339(job.finished_ms)),
        job.worker,
        last["kind"] if last else None,
        last["message"] if last and kept else None,
        " ".join(job.tags),
        json(job.payload) if kept and payloads else None,
        json(job.result) if kept and job.status == "done" else None,
        "\n".join(job.log) if kept and job.log else None,
        json(more) if more else None,
    )


def _more_of(job: Job) -> dict[str, Any]:
    return {each.name: value for each in _MORE if (value := getattr(job, each.name)) != _default_of(each)}


def _default_of(each: Any) -> Any:
    return each.default if each.default_factory is MISSING else each.default_factory()


def attempts_of(row: Row) -> list[tuple[Any, ...]]:
    """The job's attempts that have ended, each in the order of ATTEMPT_COLUMNS. The number of an attempt is that of its error
    record; that of one without a record, the last, follows."""
    job, found = row.job, []
    for number, error in enumerate(job.errors, job.first_error):
        outcome = "cancelled" if error["kind"] in ("cancelled", "parent_gone", "expired") else "failed"
        message, traceback = (None, None) if row.deleted else (error["message"], error["traceback"])
        known = (error["kind"], message, traceback, error["worker"], error["started_at"], error["at"])
        found.append((job.id, number, error["attempt"], outcome, *known))
    if _ended_without_error(job):
        at = rfc3339(job.started_ms), rfc3339(job.finished_ms)
        number = job.first_error + len(job.errors)
        found.append((job.id, number, job.attempts, job.status, None, None, None, job.worker, *at))
    return found


def _ended_without_error(job: Job) -> bool:
    """Its last attempt was done, or was cancelled while it ran."""
    if job.status == "done":
        return True
    if job.status != "cancelled" or not job.attempts or job.started_ms is None:
        return False
    if (job.snoozed_ms or 0) >= job.started_ms:  # that start was no attempt
        return False
    return not job.errors or (epoch_ms(job.errors[-1]["at"]) or 0) < job.started_ms


def job_of(row: Mapping[str, Any], attempts: Sequence[Mapping[str, Any]], **cut: Any) -> Job:
    """The job that a row and its attempts tell of. ``cut``: ``truncated`` and ``previews`` of a listed one."""
    names = {each.name for each in _MORE}
    more = {name: value for name, value in json.loads(row["more"] or "{}").items() if name in names}
    errors = [_error_of(each) for each in attempts if each["outcome"] != "done" and each["kind"] is not None]
    return Job(
        **{name: row[name] for name in ("status", "type", "queue", "priority", "attempts", "max_attempts")},
        id=str(row["id"]),
        timeout_ms=row["timeout_ms"],
        payload=None if row["payload"] is None else json.loads(row["payload"]),
        result=None if row["result"] is None else json.loads(row["result"]),
        created_ms=epoch_ms(row["created_at"]) or 0,
        run_at_ms=epoch_ms(row["run_at"]),
        started_ms=epoch_ms(row["started_at"]),
        finished_ms=epoch_ms(row["finished_at"]),
        worker=row["worker"],
        log=(row["log"] or "").splitlines(),
        errors=errors,
        first_error=attempts[0]["number"] if errors else 1,
        tags=row["tags"].split(),
        **more,
        **cut,
    )


def _error_of(attempt: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "attempt": attempt["attempt"],
        "started_at": rfc3339(epoch_ms(attempt["started_at"])),
        "at": rfc3339(epoch_ms(attempt["finished_at"])),
        "kind": attempt["kind"],
        "message": attempt["message"] or "",
        "traceback": attempt["traceback"],
        "worker": attempt["worker"],
    }
