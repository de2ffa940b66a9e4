"""The calls that show the record, erase from it, and what other calls find there."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

from _jobqueue.errors import QueueNotFound, pointer_to
from _jobqueue.record.database import ERASE_MOST
from _jobqueue.record.row import Row
from _jobqueue.records import DAY_MS
from _jobqueue.rfc3339 import rfc3339
from _jobqueue.web import inputs
from _jobqueue.web.backend import Backend
from _jobqueue.web.jobs import FILTERS, MAX_PAGE, PAGE, check_status
from _jobqueue.web.openapi import Route
from _jobqueue.web.problems import Problem
from _jobqueue.web.record_threads import RecordThreads
from _jobqueue.web.schemas import ERASE, ERASED, HISTORY_PAGE
from jobqueue import Filter, Invalid

TEXT_MOST_MS = 31 * DAY_MS
MAX_TEXT_CHARS = 200
NO_RECORD = "no record of jobs is kept here: set HISTORY_URL and start history.py"


def record_of(backend: Backend) -> RecordThreads:
    if backend.record is None:
        raise Problem(404, "no_record", NO_RECORD)
    return backend.record


def page(backend: Backend) -> dict[str, Any]:
    """Jobs of the record that match, newest first."""
    given = inputs.query(*FILTERS, "since", "until", "text", "limit", "cursor")
    record, wanted = record_of(backend), _ours(backend, filter_of(given), "/queue")
    text, limit = _text(given, wanted), inputs.whole(given, "limit", PAGE, 1, MAX_PAGE)
    found = record.ask(lambda each: each.find(wanted, text=text, limit=limit, cursor=given.get("cursor")))
    return {
        "jobs": [recorded(row) for row in found.rows],
        "next_cursor": found.cursor,
        "looked_to": rfc3339(found.looked_to_ms),
    }


def erase(backend: Backend) -> dict[str, Any]:
    """Remove jobs from the record, a bounded number: again while there is a cursor."""
    asked = inputs.members(inputs.body(backend.config.max_body_bytes), "filter", "cursor")
    wanted, cursor = _ours(backend, _filter_to_erase(asked.get("filter")), "/filter/queue"), asked.get("cursor")
    if cursor is not None and not isinstance(cursor, str):
        raise Invalid([("/cursor", "must be the next_cursor of an answer to the same filter")])
    erased, cursor = record_of(backend).change(lambda each: each.erase(wanted, cursor=cursor))
    return {"erased": erased, "next_cursor": cursor}


def recorded(row: Row) -> dict[str, Any]:
    """A job in the words of the API, as the record has it."""
    return row.job.as_dict() | {"source": "history"} | ({"deleted": True} if row.deleted else {})


def filter_of(given: dict[str, str]) -> Filter:
    """The filter that parameters, or the members of a filter, ask for."""
    check_status(given)
    return Filter(
        **{name: given.get(name) for name in FILTERS},
        since_ms=inputs.moment(given, "since"),
        until_ms=inputs.moment(given, "until"),
    )


def _ours(backend: Backend, wanted: Filter, pointer: str) -> Filter:
    """The same, of queues that there are for the caller. QueueNotFound for another one."""
    if backend.queues is None:
        return wanted
    if wanted.queue is None and len(backend.queues) > 1:
        raise Invalid([(pointer, f"must be one of those of the key: {', '.join(backend.queues)}")])
    queue = wanted.queue or backend.queues[0]
    if not backend.shows(queue):
        raise QueueNotFound(queue)
    return replace(wanted, queue=queue)


def _text(given: dict[str, str], wanted: Filter) -> str | None:
    """The text to look for: it costs a look at each job, so the time must be bounded."""
    text = given.get("text")
    if text is None:
        return None
    if not 1 <= len(text) <= MAX_TEXT_CHARS:
        raise Invalid([("/text", f"must be 1 to {MAX_TEXT_CHARS} characters")])
    if "\0" in text:
        raise Invalid([("/text", "must not hold U+0000, which databases do not tell from the end of a text")])
    if wanted.since_ms is None:
        raise Invalid([("/since", "is needed with text: each job since then is looked at")])
    until_ms = wanted.until_ms if wanted.until_ms is not None else round(time.time() * 1000)
    if until_ms - wanted.since_ms > TEXT_MOST_MS:
        raise Invalid(
            [("/since", f"must be within {TEXT_MOST_MS // DAY_MS} days before until, which is now without one")]
        )
    return text


def _filter_to_erase(given: Any) -> Filter:
    names = (*FILTERS, "since", "until")
    if not isinstance(given, dict) or not given:
        raise Invalid([("/filter", f"must name at least one of {', '.join(names)}")])
    problems = [(f"/filter{pointer_to(name)}", "is not a filter") for name in given if name not in names]
    wrong = [name for name in names if not isinstance(given.get(name, ""), str)]
    if problems or wrong:
        raise Invalid(problems + [(f"/filter/{name}", "must be a string") for name in wrong])
    try:
        return filter_of(given)
    except Invalid as error:
        raise Invalid([(f"/filter{pointer}", detail) for pointer, detail in error.problems]) from None


TAG = "History"
TAGS = {TAG: "The record of jobs in SQL, where one is kept: read, and erased from."}
PARAMETERS_OF_PAGE = (*FILTERS, "since", "until", "text", "limit", "history_cursor")

# fmt: off
ROUTES = (
    Route("GET", "/history", "read", TAG, "history", "List jobs of the record, newest first",
          {200: HISTORY_PAGE}, page, PARAMETERS_OF_PAGE, also=(404,)),
    Route("POST", "/history/erase", "admin", TAG, "eraseHistory", f"Remove up to {ERASE_MOST:,} jobs from the record for good",
          {200: ERASED}, erase, (), ERASE, also=(404,)),
)
# fmt: on
