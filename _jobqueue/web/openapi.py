"""The description of the API (OpenAPI 3.1), made from the table that Bottle routes by."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jobqueue
from _jobqueue.keys import ANY_KEY
from _jobqueue.records import MAX_KEY_CHARS, TAG
from _jobqueue.web.jobs import CANONICAL, MAX_OFFSET, MAX_PAGE, MAX_WAIT_S, PAGE
from _jobqueue.web.meanings import with_meanings
from _jobqueue.web.problems import PROBLEM_JSON
from _jobqueue.web.schemas import NAMED
from _jobqueue.web.shapes import CURSOR, GIVEN, JOB_ID, LIMIT_NAME, PLACE, STATUS, TEXT, TIME, WHOLE, WORD, Schema, ref

# Instead of the scope that a key needs.
ANYBODY = "anybody"
OUR_HOSTS = "our hosts"  # anybody who calls it by a name of ours


class Route(NamedTuple):
    """A call: how it is reached, who may make it, what it answers, and the function that does it."""

    method: str
    path: str  # as Bottle has it
    scope: str
    tag: str
    name: str
    summary: str
    answers: dict[int, Schema | None]  # None: without a body
    call: Callable[..., Any]  # of the backend and what stands in the path
    takes: tuple[str, ...] = ()  # names of PARAMETERS
    body: Schema | None = None
    needs_body: bool = True
    also: tuple[int, ...] = ()  # refusals that do not follow from the rest

    def is_bare(self) -> bool:
        """Whether it only shows, to callers with a key, and takes nothing: a parameter is a slip, like a filter that it does not have."""
        return self.method == "GET" and self.scope not in (ANYBODY, OUR_HOSTS) and not self.takes

    def refusals(self) -> set[int]:
        """The statuses of its problems."""
        posts, guarded = self.method == "POST", self.scope != ANYBODY
        found = {401, 403, 500, 503, *self.also}
        found |= {400, 413, 415} if self.body else set()
        found |= {422, 429} if posts else {422} if (self.takes or self.body or self.is_bare()) and guarded else set()
        return found | ({404} if "<" in self.path else set())


MEANING = {
    200: "Done, or found.",
    201: "Stored; it will be done.",
    202: "Stored, but not confirmed as DURABILITY asks. Or: the running job was asked to stop.",
    204: "Gone.",
    207: "Some were stored; each has its own status.",
    400: "Not JSON, or not HTTP.",
    401: "No valid API key.",
    403: "The key's scope, the host name or the origin forbids it.",
    404: "There is none; code says of what: job_not_found, queue_not_found, limit_not_found or schedule_not_found.",
    409: "The job's status, or a check that runs, forbids it.",
    413: "Too large.",
    415: "Not sent as JSON.",
    422: "A field is wrong; errors names each.",
    429: "Too many requests; Retry-After tells when.",
    500: "A mistake of ours; the log has the request id.",
    503: "Redis does not answer; Retry-After tells when to try again.",
}


def _in_query(name: str, schema: Schema, **more: Any) -> Schema:
    return {"name": name, "in": "query", "schema": schema, **more}


def _in_path(name: str, schema: Schema, **more: Any) -> Schema:
    return {"name": name, "in": "path", "required": True, "schema": schema, **more}


def _in_header(name: str, description: str) -> Schema:
    return {"name": name, "in": "header", "description": description, "schema": {"type": "string"}}


PARAMETERS = {
    "job_id_path": _in_path("job_id", TEXT, example=JOB_ID),
    "queue_path": _in_path("queue", WORD),
    "job_type_path": _in_path("job_type", WORD),
    "schedule_path": _in_path("schedule", WORD),
    "name_path": _in_path(
        "name", LIMIT_NAME, description="The name of the limit; one that ends in * counts for names that begin so."
    ),
    "tag_path": _in_path("tag", {"type": "string", "pattern": f"^{TAG.pattern}$"}),
    "key": {
        "name": "Idempotency-Key",
        "in": "header",
        "description": "Makes a repeat harmless: the same request under the same key is done once.",
        "schema": {"type": "string", "minLength": 1, "maxLength": MAX_KEY_CHARS, "pattern": "^[!-~]([ -~]*[!-~])?$"},
    },
    "status": _in_query("status", STATUS),
    "type": _in_query("type", GIVEN),
    "queue": _in_query("queue", GIVEN),
    "tag": _in_query("tag", GIVEN),
    "kind": _in_query("kind", GIVEN, description="Dead letters whose last error is of that kind."),
    "error": _in_query(
        "error", TEXT, description="Dead letters of a kind whose last error says that, as `GET /dlq/errors` has it."
    ),
    "operation": _in_query(
        "operation", GIVEN, description="What an action on many jobs has changed, by the name that it was given."
    ),
    "since": _in_query(
        "since",
        TIME,
        description="From then on: when they ended, for a status done, failed or cancelled, or a kind; when they were "
        "submitted, for a tag. Elsewhere it is an error, but in the record, where it is their submit too.",
    ),
    "until": _in_query("until", TIME, description="Before then; otherwise as since."),
    "chart_type": _in_query("type", WORD, description="Of all jobs, where it is not given."),
    "rows_since": _in_query("since", TIME, description="Only the rows from then on."),
    "marks_since": _in_query("since", TIME, description="Only those from then on."),
    "span": _in_query("span", {"enum": ["hour", "two_days"], "default": "hour"}),
    "text": _in_query(
        "text",
        {**GIVEN, "maxLength": 200, "pattern": "^[^\\u0000]+$"},
        description="Stands in the payload, the result or the last error, whatever its case. Needs since, at most 31 days before until.",
    ),
    "history_cursor": _in_query(
        "cursor", {**TEXT, "format": "history-cursor"}, description="next_cursor of the page before."
    ),
    "flow_cursor": _in_query(
        "cursor", {**TEXT, "format": "flow-cursor"}, description="next_cursor of the page before."
    ),
    "q": _in_query("q", {**TEXT, "pattern": r"\S", "maxLength": MAX_KEY_CHARS}, required=True),
    "limit": _in_query("limit", {**WHOLE, "minimum": 1, "maximum": MAX_PAGE, "default": PAGE}),
    "offset": _in_query("offset", {**WHOLE, "maximum": MAX_OFFSET, "default": 0}),
    "cursor": _in_query("cursor", CURSOR, description="next_cursor of the page before."),
    "wait_s": _in_query(
        "wait_s",
        {"type": "number", "minimum": 0, "maximum": MAX_WAIT_S},
        description="Answer when the job has ended, or after that many seconds.",
    ),
    "words": _in_query(
        "words",
        {"enum": [CANONICAL]},
        description="A job that a call of another system has made is told in its words, where this does not ask for ours.",
    ),
    "traceparent": _in_header("traceparent", "The trace that the job belongs to (W3C Trace Context)."),
    "tracestate": _in_header("tracestate", "The same. What is not of the form of these two is left out."),
    "tag_wait_s": _in_query(
        "wait_s",
        {"type": "number", "minimum": 0, "maximum": MAX_WAIT_S},
        description="Answer when all of its jobs have ended, or after that many seconds.",
    ),
    "total": _in_query(
        "total", {**WHOLE, "maximum": 10**9 - 1}, description="Wait until so many have ended: the rest may still come."
    ),
    "format": _in_query("format", {"enum": ["json", "prometheus"]}),
    "name": _in_query("cursor", LIMIT_NAME, description="next_cursor of the page before."),
    "place": _in_query("cursor", PLACE, description="next_cursor of the page before."),
    "dry_run": _in_query(
        "dry_run",
        {**TEXT, "pattern": "^(true|false)?$"},
        description="Say what it would be, and store nothing.",
        allowEmptyValue=True,
    ),
    "verbose": _in_query("verbose", TEXT, description="Say what was found.", allowEmptyValue=True),
}


def description(routes: Iterable[Route], tags: dict[str, str]) -> Schema:
    """The whole of it. ``tags``: their names and what they hold."""
    paths: dict[str, Schema] = {}
    for route in routes:
        paths.setdefault(re.sub(r"<(\w+)>", r"{\1}", route.path), {})[route.method.lower()] = _call(route)
    problem = {PROBLEM_JSON: {"schema": ref("Problem")}}
    told: Schema = {
        "openapi": "3.1.0",
        "info": {
            "title": "jobqueue",
            "version": jobqueue.__version__,
            "description": "Hand over work, have it done exactly as promised, see what happened. Where keys are set, a call takes one as "
            "Authorization: Bearer, with the scope that stands beside it. Errors are application/problem+json: code is for programs, "
            "detail for people.",
        },
        "tags": [{"name": name, "description": text} for name, text in tags.items()],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "key": {"type": "http", "scheme": "bearer", "description": "An API key, where any is set."}
            },
            "parameters": PARAMETERS,
            "responses": {
                f"Problem{status}": {"description": text, "content": problem}
                for status, text in MEANING.items()
                if status >= 400
            },
            "schemas": NAMED,
        },
    }
    return with_meanings(told)


def _call(route: Route) -> Schema:
    answers: Schema = {str(status): _answer(status, schema) for status, schema in route.answers.items()}
    answers |= {str(status): ref(f"Problem{status}", "responses") for status in sorted(route.refusals())}
    names = [f"{name}_path" for name in re.findall(r"<(\w+)>", route.path)] + list(route.takes)
    described: Schema = {"operationId": route.name, "tags": [route.tag], "summary": route.summary}
    described["security"] = _security(route.scope)
    described["parameters"] = [ref(name, "parameters") for name in names]
    if route.body:
        described["requestBody"] = {
            "required": route.needs_body,
            "content": {"application/json": {"schema": route.body}},
        }
    return described | {"responses": answers}


def _security(scope: str) -> list[Schema]:
    """The scope that a key needs, where keys are set; [] for a call that takes none."""
    if scope in (ANYBODY, OUR_HOSTS):
        return []
    return [{}, {"key": [] if scope == ANY_KEY else [scope]}]


def _answer(status: int, schema: Schema | None) -> Schema:
    """A ``schema`` may name the schema of each content type instead."""
    if schema is None:
        return {"description": MEANING[status]}
    schemas = schema if "application/json" in schema else {"application/json": schema}
    content = {kind: {"schema": each} for kind, each in schemas.items()}
    return {"description": MEANING[status], "content": content}
