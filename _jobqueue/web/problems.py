"""Errors as HTTP tells them: application/problem+json (RFC 9457), each with a stable ``code``."""

from __future__ import annotations

import http.client
import json
from collections.abc import Sequence
from typing import Any

import bottle

from _jobqueue.errors import (
    LeaseLost,
    LimitNotFound,
    NameTaken,
    NoCron,
    OldProgram,
    OtherQueue,
    ParentGone,
    QueueNotFound,
    ScheduleNotFound,
    SeqUsed,
    TooManyHeld,
    WebhooksOff,
)
from _jobqueue.record.errors import RecordTooNew, RecordUnavailable
from _jobqueue.web.security import Refused
from jobqueue import Conflict, Invalid, KeyReused, NotFound, QueueFull, TooManyNames, TooManyTypes, Unavailable

# The one table from errors to HTTP: the queue's by class, those that Bottle and waitress find by status.
HTTP = {
    NoCron: (422, "no_cron"),
    TooManyNames: (422, "too_many_names"),
    TooManyTypes: (422, "too_many_types"),
    OtherQueue: (422, "other_queue"),
    ParentGone: (422, "parent_gone"),
    WebhooksOff: (422, "webhooks_off"),
    Invalid: (422, "invalid_request"),
    KeyReused: (422, "idempotency_key_reused"),
    QueueFull: (429, "queue_full"),
    QueueNotFound: (404, "queue_not_found"),
    LimitNotFound: (404, "limit_not_found"),
    ScheduleNotFound: (404, "schedule_not_found"),
    NotFound: (404, "job_not_found"),
    OldProgram: (409, "old_worker"),
    LeaseLost: (409, "lease_lost"),
    SeqUsed: (409, "seq_used"),
    NameTaken: (409, "name_taken"),
    TooManyHeld: (409, "too_many_held"),
    Conflict: (409, "wrong_status"),
    Unavailable: (503, "redis_unavailable"),
    RecordUnavailable: (503, "record_unavailable"),
    RecordTooNew: (503, "record_unavailable"),
    Exception: (500, "internal_error"),
}
CODES = {
    400: "bad_request",
    404: "no_such_route",
    405: "method_not_allowed",
    413: "too_large",
    431: "headers_too_large",
    500: "internal_error",
    501: "not_implemented",
}
PROBLEM_JSON = "application/problem+json"
MAX_PROBLEMS = 20  # fields named in one answer
RETRY_AFTER_S = 2  # of a 503
NO_ADDRESS = "there is no such address here: GET /docs shows all"
OURS_TO_FIND = "something went wrong here; the log has the request id"


class Problem(Exception):
    """An error answer. ``fields`` are (pointer, detail); ``headers`` have _ for -."""

    def __init__(
        self, status: int, code: str, detail: str, fields: Sequence[tuple[str, str]] = (), **headers: str
    ) -> None:
        super().__init__(detail)
        self.status, self.headers = status, headers
        self.body: dict[str, Any] = {
            "type": "about:blank",
            "title": http.client.responses[status],
            "status": status,
            "code": code,
            "detail": detail,
        }
        if fields:
            self.body["errors"] = [{"pointer": pointer, "detail": detail} for pointer, detail in fields]

    def encoded(self) -> bytes:
        return json.dumps(self.body).encode()


def problem_of(error: Exception) -> Problem:
    """What HTTP says of an error."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, Refused):
        return Problem(error.status, error.code, str(error), (), **error.headers)
    status, code = next(answer for kind, answer in HTTP.items() if isinstance(error, kind))
    if isinstance(error, Invalid):
        shown, more = error.problems[:MAX_PROBLEMS], len(error.problems) - MAX_PROBLEMS
        return Problem(status, code, str(Invalid(shown)) + (f"; and {more} more" if more > 0 else ""), shown)
    if isinstance(error, QueueFull):
        return Problem(status, code, str(error), Retry_After=str(error.retry_after_s))
    if isinstance(error, Unavailable):
        detail = f"{error.public}. Try again; under an Idempotency-Key that is safe."
        return Problem(status, code, detail, Retry_After=str(RETRY_AFTER_S))
    if isinstance(error, RecordUnavailable):
        return Problem(
            status, code, f"{error.public}. The queue itself is not concerned.", Retry_After=str(RETRY_AFTER_S)
        )
    return Problem(status, code, OURS_TO_FIND if status == 500 else str(error))


def problem_of_status(status: int, detail: str) -> Problem:
    """What HTTP says of an error that Bottle or the server has found by itself."""
    return Problem(status, CODES.get(status, "internal_error"), detail)


def refusal(problem: Problem) -> bytes:
    """Answer the request at hand with a problem. Returns the body."""
    bottle.response.status = problem.status
    bottle.response.content_type = PROBLEM_JSON
    for name, value in problem.headers.items():
        bottle.response.set_header(name.replace("_", "-"), value)
    return problem.encoded()


class App(bottle.Bottle):
    """Bottle, with its own errors as problems and an answer to OPTIONS."""

    def default_error_handler(self, error: bottle.HTTPError) -> bytes:
        status, allowed = error.status_code, error.get_header("Allow")
        if allowed:
            allowed = self._allowed(bottle.request.path, allowed)
            bottle.response.set_header("Allow", allowed)
        if allowed and bottle.request.method == "OPTIONS":
            bottle.response.status = 204
            return b""
        detail = {404: NO_ADDRESS, 405: f"this address takes {allowed}"}.get(status, OURS_TO_FIND)
        return refusal(problem_of_status(status, detail))

    def _allowed(self, path: str, found: str) -> str:
        """The methods of an address. /jobs/batch is an address of its own, not the job of that name."""
        own = [method for method, routes in self.router.static.items() if path in routes] or found.split(",")
        return ", ".join(sorted({*own, "OPTIONS"} | ({"HEAD"} if "GET" in own else set())))
