"""An operator's calls: retry, cancel, run now, delete, of one job or of many; dead letters."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import bottle

from _jobqueue.alike import Alike
from _jobqueue.errors import pointer_to
from _jobqueue.listed import ACTIONS, Kind
from _jobqueue.record.errors import RecordMissing
from _jobqueue.records import ACT_MOST, NAME, NAME_RULE, STATUSES
from _jobqueue.rfc3339 import rfc3339
from _jobqueue.web import inputs
from _jobqueue.web.backend import Backend
from _jobqueue.web.jobs import LIST_FILTERS, page_of, remembered
from _jobqueue.web.operators import operator
from jobqueue import Filter, Invalid, NotFound

GROUPS_MOST = 100  # groups of dead letters that one answer tells of

# ----------------------------------------------------------------------------------------------------------- one job


def retry(backend: Backend, job_id: str) -> dict[str, Any]:
    sent = inputs.body(backend.config.max_body_bytes) if inputs.body_bytes() else {}
    backend.jobs.retry(job_id, **inputs.members(sent, "payload"), by=operator())
    return backend.jobs.get(job_id).as_dict()


def cancel(backend: Backend, job_id: str) -> dict[str, Any]:
    sent = inputs.members(inputs.body(backend.config.max_body_bytes) if inputs.body_bytes() else {}, "force")
    if not isinstance(force := sent.get("force", False), bool):
        raise Invalid([("/force", "must be true or false")])
    if backend.jobs.cancel(job_id, force=force, by=operator()) in ("asked", "stopped"):
        bottle.response.status = 202
    return backend.jobs.get(job_id).as_dict()


def run_now(backend: Backend, job_id: str) -> dict[str, Any]:
    inputs.no_body()
    backend.jobs.run_now(job_id, by=operator())
    return backend.jobs.get(job_id).as_dict()


def delete(backend: Backend, job_id: str) -> None:
    try:
        backend.jobs.delete(job_id)
    except NotFound:
        remembered(backend, job_id)  # else it is nowhere
        _erase(backend, job_id)
    else:
        if backend.record and not backend.jobs.is_leaving(job_id):  # no record is kept now: nobody tells it
            with suppress(NotFound, RecordMissing):
                remembered(backend, job_id)
                _erase(backend, job_id)
    bottle.response.status = 204


def _erase(backend: Backend, job_id: str) -> None:
    assert backend.record
    backend.record.change(lambda record: record.erase_job(job_id))


# --------------------------------------------------------------------------------------------------------- many jobs


def bulk(backend: Backend) -> dict[str, Any]:
    """Retry, cancel, delete or run now the jobs that are named, or a bounded number of those that match a filter."""
    asked = _bulk_of(inputs.body(backend.config.max_body_bytes))
    action, dry_run = asked["action"], asked.get("dry_run", False)
    how: dict[str, Any] = {"dry_run": dry_run, "by": operator(), "operation": asked.get("operation", "")}
    if "ids" in asked:
        acted = backend.jobs.act_on(action, asked["ids"], **how)
    else:
        acted = backend.jobs.sweep(action, _filter_of(asked["filter"]), cursor=asked.get("cursor"), **how)
    return {
        "action": action,
        "dry_run": dry_run,
        "matched": acted.matched,
        "changed": acted.changed,
        "skipped": acted.skipped,
        "next_cursor": acted.cursor,
    }


def _filter_of(given: dict[str, str]) -> Filter:
    named: dict[str, Any] = {name: given[name] for name in LIST_FILTERS if name in given}
    try:
        return Filter(**named, since_ms=inputs.moment(given, "since"), until_ms=inputs.moment(given, "until"))
    except Invalid as error:
        raise Invalid([(f"/filter{pointer}", detail) for pointer, detail in error.problems]) from None


def _bulk_of(body: Any) -> dict[str, Any]:
    asked = inputs.members(body, "action", "ids", "filter", "cursor", "dry_run", "operation")
    problems = []
    if not isinstance(action := asked.get("action"), str) or action not in ACTIONS:
        problems.append(("/action", f"must be one of {', '.join(ACTIONS)}"))
    if ("ids" in asked) == ("filter" in asked):
        problems.append(("", "give either ids or a filter"))
    ids = asked.get("ids", [""])
    if not isinstance(ids, list) or not 1 <= len(ids) <= ACT_MOST or not all(isinstance(each, str) for each in ids):
        problems.append(("/ids", f"must be a list of 1 to {ACT_MOST} job ids"))
    if "filter" in asked:
        problems += _filter_problems(asked["filter"])
    if not isinstance(asked.get("cursor", ""), str) or ("cursor" in asked and "ids" in asked):
        problems.append(("/cursor", "must be the next_cursor of an answer to the same filter"))
    if not isinstance(asked.get("dry_run", False), bool):
        problems.append(("/dry_run", "must be true or false"))
    operation = asked.get("operation", "x")
    if not isinstance(operation, str) or not NAME.fullmatch(operation):
        problems.append(("/operation", NAME_RULE))
    if problems:
        raise Invalid(problems)
    return asked


def _filter_problems(wanted: Any) -> list[tuple[str, str]]:
    names = (*LIST_FILTERS, "since", "until")
    if not isinstance(wanted, dict) or not wanted:
        return [("/filter", f"must name at least one of {', '.join(names)}")]
    problems = [(f"/filter{pointer_to(name)}", "is not a filter") for name in wanted if name not in names]
    wrong = [name for name, value in wanted.items() if not isinstance(value, str)]
    problems += [(f"/filter{pointer_to(name)}", "must be a string") for name in wrong]
    if "status" not in wrong and wanted.get("status", STATUSES[0]) not in STATUSES:
        problems.append(("/filter/status", f"must be one of {', '.join(STATUSES)}"))
    return problems


# ------------------------------------------------------------------------------------------------------ dead letters


def dead_letters(backend: Backend) -> dict[str, Any]:
    given = inputs.query("type", "queue", "kind", "since", "until", "limit", "offset", "cursor")
    wanted = Filter("failed", given.get("type"), given.get("queue"), kind=given.get("kind"))
    return page_of(backend, wanted, given)


def kinds(backend: Backend) -> dict[str, Any]:
    """The dead letters by the kind of their last error."""
    return {"kinds": [_kind(kind) for kind in backend.jobs.kinds(inputs.query("queue").get("queue"))]}


def _kind(kind: Kind) -> dict[str, Any]:
    latest = {"job_id": kind.job_id, "at": rfc3339(kind.at_ms), "type": kind.type, "message": kind.message}
    return {"kind": kind.kind, "count": kind.count, "first_at": rfc3339(kind.first_ms), "latest": latest}


def errors(backend: Backend) -> dict[str, Any]:
    """The dead letters by what their last errors say."""
    queue = inputs.query("queue").get("queue")
    found, kinds = backend.jobs.letters.errors(queue), backend.jobs.kinds(queue)
    return {
        "errors": [_alike(group) for group in found.groups[:GROUPS_MOST]],
        "more": max(0, len(found.groups) - GROUPS_MOST),
        "kinds": [_kind(kind) | {"looked": found.looked.get(kind.kind, 0)} for kind in kinds],
    }


def _alike(group: Alike) -> dict[str, Any]:
    return {
        "kind": group.kind,
        "type": group.type,
        "error": group.error,
        "count": group.count,
        "first_at": rfc3339(group.first_ms),
        "latest": {"job_id": group.job_id, "at": rfc3339(group.last_ms), "type": group.type, "message": group.message},
        "minutes": group.minutes,
    }


def requeue_all(backend: Backend) -> dict[str, Any]:
    """Retry dead letters of all queues, a bounded number: again while some are left."""
    inputs.no_body()
    dead = [queue for queue, books in backend.jobs.all_books().items() if books.sizes["failed"]]
    moved = [backend.jobs.requeue_dead(queue, by=operator()) for queue in dead]
    return {"requeued": sum(done for done, _ in moved), "left": sum(left for _, left in moved)}
