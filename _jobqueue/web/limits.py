"""The calls for limits, and their description."""

from __future__ import annotations

from typing import Any

import bottle

from _jobqueue.errors import Conflict, Invalid
from _jobqueue.limits import (
    LIMIT,
    MAX_LIMITS,
    MAX_PATTERNS,
    MAX_PER_S,
    MAX_RUNNING,
    MAX_STARTS,
    MAX_STARTS_OF_PATTERN,
    PATTERN,
    Limit,
)
from _jobqueue.records import NAME, NAME_RULE
from _jobqueue.store.cursors import NO_CURSOR
from _jobqueue.web import inputs
from _jobqueue.web.backend import Backend
from _jobqueue.web.jobs import MAX_PAGE, PAGE
from _jobqueue.web.openapi import Route
from _jobqueue.web.problems import Problem
from _jobqueue.web.shapes import TEXT, TIME, WHOLE, Schema, full, listed, maybe, said, shape

# ------------------------------------------------------------------------------------------------------------- calls


def put(backend: Backend, queue: str, name: str) -> dict[str, Any]:
    """Define or change a limit."""
    _check(queue)
    limit = Limit.of_json(name, inputs.body(backend.config.max_body_bytes))
    try:
        is_new = backend.jobs.limits.put(queue, name, limit)
    except Conflict as error:
        raise Problem(409, "old_worker", str(error)) from None
    bottle.response.status = 201 if is_new else 200
    return backend.jobs.limits.get(queue, name).as_dict()


def get(backend: Backend, queue: str, name: str) -> dict[str, Any]:
    _check(queue)
    return backend.jobs.limits.get(queue, name).as_dict()


def delete(backend: Backend, queue: str, name: str) -> None:
    _check(queue)
    backend.jobs.limits.delete(queue, name)
    bottle.response.status = 204


def page(backend: Backend, queue: str) -> dict[str, Any]:
    """What is defined in a queue, and the names of patterns that run or wait, by name."""
    _check(queue)
    given = inputs.query("limit", "cursor")
    most, after = inputs.whole(given, "limit", PAGE, 1, MAX_PAGE), given.get("cursor", "")
    if "cursor" in given and not (LIMIT.fullmatch(after) or PATTERN.fullmatch(after)):
        raise Invalid(NO_CURSOR)
    found = backend.jobs.limits.page(queue, most + 1, after)
    shown = [limited for limited in found[:most] if limited.by]
    return {
        "limits": [limited.as_dict() for limited in shown],
        "next_cursor": found[most - 1].name if len(found) > most else None,
    }


def _check(queue: str) -> None:
    if not NAME.fullmatch(queue):
        raise Invalid([("/queue", NAME_RULE)])


# ------------------------------------------------------------------------------------------------------- description

_MOST: Schema = said(
    {"type": "integer", "minimum": 1, "maximum": MAX_RUNNING}, "At most so many of its jobs run at once."
)
_RATE = shape(
    {
        "starts": said({"type": "integer", "minimum": 1, "maximum": MAX_STARTS}, "So many jobs may start"),
        "per_s": said({"type": "integer", "minimum": 1, "maximum": MAX_PER_S}, "within so many seconds."),
    },
    ("starts", "per_s"),
    additionalProperties=False,
    description=f"No more starts than these in any window of so many seconds; {MAX_STARTS_OF_PATTERN:,} for a name that ends in *.",
)
NEW_LIMIT = shape(
    {"max_running": _MOST, "rate": _RATE},
    (),
    additionalProperties=False,
    minProperties=1,
    example={"max_running": 2},
)
LIMITED = shape(
    {
        "name": TEXT,
        "max_running": maybe(_MOST),
        "rate": said({"oneOf": [_RATE, {"type": "null"}]}, _RATE["description"]),
        "running": said(WHOLE, "Jobs that run under it."),
        "waiting": said(WHOLE, "Jobs that a worker has met and left for it."),
        "opens_at": said(maybe(TIME), "When its rate lets the next job start."),
        "pattern": said(TEXT, "Of a name that has no definition of its own: the one that counts."),
    },
    ("name", "max_running", "rate", "running", "waiting", "opens_at"),
)
LIMITS = full(limits=listed(LIMITED), next_cursor=maybe(TEXT))

TAG = "Limits"
TAGS = {
    TAG: f"How many jobs run at once, or start in a time. {MAX_LIMITS:,} names and {MAX_PATTERNS} patterns a queue, which need not exist yet."
}
ALL = "/queues/<queue>/limits"
ONE = ALL + "/<name>"

# fmt: off
ROUTES = (
    Route("GET", ALL, "read", TAG, "limits", "List the limits of a queue; of a name that ends in *, those that run or wait",
          {200: LIMITS}, page, ("limit", "name")),
    Route("PUT", ONE, "admin", TAG, "putLimit", "Define or change a limit; one that ends in * is the default for names that begin so",
          {201: LIMITED, 200: LIMITED}, put, (), NEW_LIMIT, also=(409,)),
    Route("GET", ONE, "read", TAG, "limit", "See a limit, or a name that a pattern limits",
          {200: LIMITED}, get, also=(422,)),
    Route("DELETE", ONE, "admin", TAG, "deleteLimit", "Forget a limit: who waits for it may start",
          {204: None}, delete, also=(422,)),
)
# fmt: on
