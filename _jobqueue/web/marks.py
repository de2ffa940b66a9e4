"""The calls that set and show marks in charts."""

from __future__ import annotations

from typing import Any

import bottle

from _jobqueue.rfc3339 import rfc3339
from _jobqueue.store.chart_marks import MAX_CHARS, MOST, TEXT, ChartMark
from _jobqueue.web import inputs
from _jobqueue.web.backend import Backend
from _jobqueue.web.openapi import Route
from _jobqueue.web.operators import operator
from _jobqueue.web.security import Refused
from _jobqueue.web.shapes import TEXT as WORDS
from _jobqueue.web.shapes import TIME, full, listed, maybe, said, shape
from jobqueue import Invalid


def add(backend: Backend) -> dict[str, Any]:
    if backend.queues is not None:
        raise Refused(403, "key_of_queues", "a mark is for all queues, and this key is for some of them")
    sent = inputs.members(inputs.body(backend.config.max_body_bytes), "text")
    if not sent:
        raise Invalid([("/text", "is missing")])
    mark = backend.jobs.chart_marks.add(sent["text"], operator())
    bottle.response.status = 201
    return _row(mark, mark.by)


def marks(backend: Backend) -> dict[str, Any]:
    """To a key of some queues it is not told who set them: names of other keys tell of other queues."""
    since_ms = inputs.moment(inputs.query("since"), "since")
    found = backend.jobs.chart_marks.all()
    shown = [mark for mark in found if since_ms is None or mark.at_ms >= since_ms]
    return {"marks": [_row(mark, mark.by if backend.queues is None else "") for mark in shown]}


def _row(mark: ChartMark, by: str) -> dict[str, Any]:
    return {"at": rfc3339(mark.at_ms), "text": mark.text, "by": by or None}


# ------------------------------------------------------------------------------------------------------- description

_TEXT = {"type": "string", "minLength": 1, "maxLength": MAX_CHARS, "pattern": f"^{TEXT}$"}
NEW_MARK = shape({"text": _TEXT}, ("text",), additionalProperties=False, example={"text": "deploy 3f2a"})
MARK = full(at=TIME, text=WORDS, by=said(maybe(WORDS), "The name of the key that set it."))
MARKS = full(marks=listed(MARK, maxItems=MOST, description="The latest first."))

TAGS: dict[str, str] = {}

# fmt: off
ROUTES = (
    Route("POST", "/marks", "admin", "Health", "addMark", "Mark this moment in the charts, as for a deploy",
          {201: MARK}, add, (), NEW_MARK),
    Route("GET", "/marks", "read", "Health", "marks", f"See the last {MOST} marks",
          {200: MARKS}, marks, ("marks_since",)),
)
# fmt: on
