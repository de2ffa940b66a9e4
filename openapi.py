"""The description of the HTTP API (OpenAPI 3.1), as a table: a test holds it against the routes."""

from __future__ import annotations

from typing import Any

import jobqueue
from _jobqueue.records import (
    ACT_MOST,
    ACTIONS,
    DAY_MS,
    DEFAULT_QUEUE,
    DEFAULT_TYPE,
    MAX_ATTEMPTS,
    MAX_DELAY_MS,
    MAX_KEY_CHARS,
    NAME,
    PRIORITIES,
    STATUSES,
)
from overview import LEVELS

JOB_ID = "0f8fad5b-d9cb-8000-a165-70867728950e"
Schema = dict[str, Any]


def _object(properties: Schema, required: tuple[str, ...] = (), **more: Any) -> Schema:
    return {"type": "object", "properties": properties, "required": list(required), **more}


def _ref(kind: str, name: str) -> Schema:
    return {"$ref": f"#/components/{kind}/{name}"}


def _maybe(schema: Schema) -> Schema:
    return {**schema, "type": [schema["type"], "null"]}


def _list(items: Schema) -> Schema:
    return {"type": "array", "items": items}


TEXT: Schema = {"type": "string"}
WHOLE: Schema = {"type": "integer", "minimum": 0}
NUMBER: Schema = {"type": "number", "minimum": 0}
CURSOR: Schema = {"type": "string", "format": "cursor"}
TIME: Schema = {"type": "string", "format": "date-time"}
EMAIL = r"^[^@\x00-\x20]{1,64}@[^@.\x00-\x20]+(\.[^@.\x00-\x20]+)+$"
WORD: Schema = {"type": "string", "pattern": f"^{NAME.pattern}$"}


def _seconds(low_ms: int, high_ms: int, description: str) -> Schema:
    return {"type": "number", "minimum": low_ms / 1000, "maximum": high_ms / 1000, "description": description}


NEW_JOB = _object(
    {
        "payload": {"description": "Any JSON. The handler gets it as it is."},
        "type": {**WORD, "default": DEFAULT_TYPE, "description": "Which handler runs it."},
        "queue": {**WORD, "default": DEFAULT_QUEUE},
        "priority": {
            "oneOf": [{"type": "integer", "minimum": 0, "maximum": 9}, {"enum": list(PRIORITIES)}],
            "default": 5,
            "description": "Higher first; low, normal and high are 1, 5 and 9.",
        },
        "delay_s": _seconds(0, MAX_DELAY_MS, "Run it that much later."),
        "run_at": {**TIME, "description": "Run it at that time, within 365 days. Not together with delay_s."},
        "max_attempts": {"type": "integer", "minimum": 1, "maximum": MAX_ATTEMPTS},
        "timeout_s": _seconds(100, DAY_MS, "One attempt may take that long."),
        "backoff_s": _seconds(0, DAY_MS, "First delay between two attempts; it doubles each time."),
        "unique_key": {
            "type": "string",
            "minLength": 1,
            "maxLength": MAX_KEY_CHARS,
            "description": "While a job of the queue with this key has not ended, submitting another gives that one back.",
        },
        "tags": {"type": "array", "items": WORD, "maxItems": 10},
    },
    ("payload",),
    additionalProperties=False,
    **{"not": {"required": ["delay_s", "run_at"]}},
    example={"type": "email.send", "payload": {"to": "ada@example.org"}, "priority": "high"},
)

FAILURE = _object(
    {
        "attempt": WHOLE,
        "started_at": _maybe(TIME),
        "at": TIME,
        "kind": {
            **TEXT,
            "description": "An exception's class, or timeout, lease_expired, interrupted, no_handler, bad_result, dropped.",
        },
        "message": TEXT,
        "traceback": _maybe(TEXT),
        "worker": _maybe(TEXT),
    }
)

JOB = _object(
    {
        "job_id": {"type": "string", "format": "uuid"},
        "status": {"enum": list(STATUSES)},
        "type": TEXT,
        "queue": TEXT,
        "priority": {"type": "integer", "minimum": 0, "maximum": 9},
        "payload": {},
        "result": {"description": "What the handler returned, once the job is done."},
        "payload_preview": {
            **TEXT,
            "description": "In lists, in the place of a payload above 2 KiB, which is null: the beginning of its JSON.",
        },
        "result_preview": {**TEXT, "description": "The same of a result."},
        "truncated": {
            **_list({"enum": ["payload", "result", "errors", "log"]}),
            "description": "In lists: what is cut; of errors and log the latest are there. The job itself shows all.",
        },
        "attempts": WHOLE,
        "max_attempts": WHOLE,
        "error": {**_maybe(TEXT), "description": "The last failure's message, until the job is done."},
        "errors": _list(_ref("schemas", "Failure")),
        "progress": {
            "type": ["object", "null"],
            "description": "fraction (0 to 1) and note, as the handler tells them.",
        },
        "log": _list(TEXT),
        "created_at": TIME,
        "started_at": _maybe(TIME),
        "finished_at": _maybe(TIME),
        "run_at": {**_maybe(TIME), "description": "When it is or was due."},
        "timeout_s": NUMBER,
        "position": {"type": ["integer", "null"], "description": "Its place in the queue, 1 is next."},
        "worker": _maybe(TEXT),
        "tags": _list(TEXT),
        "durability": {
            "enum": ["fast", "fsync", "replicated"],
            "description": "In the answer to a submit, where DURABILITY is set: what is confirmed.",
        },
        "warning": {
            **TEXT,
            "description": "In the answer to a submit: what is not confirmed, or why it may not run soon.",
        },
    },
    ("job_id", "status", "result", "attempts"),
)

PROBLEM = _object(
    {
        "type": TEXT,
        "title": TEXT,
        "status": {"type": "integer"},
        "code": {**TEXT, "description": "Stable; for programs."},
        "detail": {**TEXT, "description": "For people: what is wrong and what to do."},
        "errors": _list(
            _object(
                {"pointer": {**TEXT, "description": "JSON pointer to the field."}, "detail": TEXT},
                ("pointer", "detail"),
            )
        ),
    },
    ("type", "title", "status", "code", "detail"),
)

PAGE = _object(
    {
        "jobs": _list(_ref("schemas", "Job")),
        "total": {"type": ["integer", "null"], "description": "All that match; null where only a scan could tell."},
        "next_cursor": {**_maybe(TEXT), "description": "Continues the list, while jobs come and go; null at the end."},
    },
    ("jobs", "total", "next_cursor"),
)

QUEUE = _object(
    {
        "queue": TEXT,
        "paused": {"type": "boolean"},
        "jobs": _object(dict.fromkeys(STATUSES, WHOLE)),
        "totals": {"type": "object", "additionalProperties": {"type": "integer"}},
        "oldest_queued_at": _maybe(TIME),
        "reaper": {"type": "boolean", "description": "A reaper looks after it."},
        "reaper_at": {**_maybe(TIME), "description": "The reaper's last tick."},
    },
    ("queue", "paused", "jobs", "totals"),
)

WORKER = _object(
    {
        "worker": TEXT,
        "queue": TEXT,
        "host": TEXT,
        "pid": WHOLE,
        "version": TEXT,
        "threads": WHOLE,
        "types": _list(TEXT),
        "running": _list(_object({"job_id": TEXT, "type": TEXT, "for_s": NUMBER})),
        "last_beat_at": TIME,
        "beat_ms": {**WHOLE, "description": "The same, in ms since the epoch."},
        "lost": {"type": "boolean", "description": "It has missed its beats for 15 s."},
    },
    ("worker", "queue", "last_beat_at", "lost"),
)

PERCENTILES = {
    f"{kind}_p{percent}_ms": {"type": ["integer", "null"], "description": f"{share} of what {what} took no longer."}
    for kind, what in (("wait", "waited"), ("run", "ran"))
    for percent, share in ((50, "Half"), (95, "95 %"))
}

FINDING = _object(
    {
        "code": {"enum": list(LEVELS)},
        "level": {"enum": ["error", "warning"]},
        "text": {**TEXT, "description": "What is wrong, and what to do."},
        "queue": _maybe(TEXT),
    },
    ("code", "level", "text", "queue"),
)

STATS = _object(
    {
        "now": TIME,
        "version": TEXT,
        "health": {**_list(FINDING), "maxItems": 20, "description": "The worst first; [] when all is well."},
        "jobs": _object(dict.fromkeys(STATUSES, WHOLE)),
        "rates": _object(
            {
                "finished_per_minute": NUMBER,
                "failed_per_minute": NUMBER,
                "error_rate": {"type": ["number", "null"], "description": "Failed attempts of all, 0 to 1."},
                **PERCENTILES,
            },
            description="Over the last five minutes and this one, from the first of them in which anything happened.",
        ),
        "minutes": {
            **_list(
                _object(
                    {
                        "at": TIME,
                        **dict.fromkeys(("submitted", "done", "failed", "retried"), WHOLE),
                        **PERCENTILES,
                        "oldest_ms": {
                            "type": ["integer", "null"],
                            "description": "Greatest age of the oldest waiting job, as the reaper saw it; null when none waited.",
                        },
                    }
                )
            ),
            "description": "60 of them over all queues, the oldest first, this one last.",
        },
        "queues": _list(
            {
                "allOf": [
                    _ref("schemas", "Queue"),
                    _object(
                        {
                            "oldest_age_s": _maybe(NUMBER),
                            "done_per_minute": NUMBER,
                            "submitted_per_minute": NUMBER,
                            "drain_s": {
                                **_maybe(NUMBER),
                                "description": "How long what waits takes at the rate of the last minutes; null while nothing is done.",
                            },
                            "workers": WHOLE,
                            "threads": WHOLE,
                            "busy": WHOLE,
                        }
                    ),
                ]
            }
        ),
        "workers": _list(_ref("schemas", "Worker")),
    },
    ("now", "version", "health", "jobs", "rates", "minutes", "queues", "workers"),
)

EXPLANATION = _object(
    {
        "code": {
            "enum": [
                *("ready", "waiting", "paused", "no_worker", "no_handler", "delayed", "backoff", "no_reaper"),
                *("running", "done", "failed", "cancelled"),
            ]
        },
        "explanation": {**TEXT, "description": "Why it is not running yet, or what happened; one or two sentences."},
        "job": _ref("schemas", "Job"),
    },
    ("code", "explanation", "job"),
)

CHECKED = {"checked_at": _maybe(TIME)}
SYSTEM = _object(
    {
        "redis": {
            "type": "object",
            "description": "Version, role, memory, persistence; warnings says what that means.",
        },
        "config": {"type": "object", "description": "The settings of this API process, without secrets."},
        "queues": _list(
            _object(
                {
                    "queue": TEXT,
                    "reaper_at": _maybe(TIME),
                    "balance": {
                        "type": "integer",
                        "description": "Submitted jobs that are nowhere: 0 when the books balance.",
                    },
                    **CHECKED,
                    "problems": {"type": ["integer", "null"], "description": "What the checker found then."},
                },
                ("queue", "reaper_at", "balance", "checked_at", "problems"),
            )
        ),
        "api": _object({"version": TEXT, "python": TEXT, "started_at": TIME, "pid": WHOLE}),
    },
    ("redis", "config", "queues", "api"),
)

VERDICT = _object(
    {
        "queue": TEXT,
        "problems": {**_list(TEXT), "maxItems": 100, "description": "A sentence each; [] when every invariant holds."},
        "more": {**WHOLE, "description": "How many further ones there are."},
        **CHECKED,
    },
    ("queue", "problems", "more", "checked_at"),
)

KINDS = _object(
    {
        "kinds": _list(
            _object(
                {
                    "kind": TEXT,
                    "count": WHOLE,
                    "latest": _object(
                        {
                            "job_id": TEXT,
                            "at": TIME,
                            "type": TEXT,
                            "message": {**TEXT, "description": "The beginning of its last error."},
                        },
                        ("job_id", "at", "type", "message"),
                    ),
                },
                ("kind", "count", "latest"),
            )
        )
    },
    ("kinds",),
)

BULK = _object(
    {
        "action": {"enum": list(ACTIONS)},
        "ids": {"type": "array", "items": TEXT, "minItems": 1, "maxItems": ACT_MOST},
        "filter": _object(
            {"status": {"enum": list(STATUSES)}, "type": TEXT, "queue": TEXT, "tag": TEXT, "kind": TEXT},
            minProperties=1,
            additionalProperties=False,
            description="Without a status, only jobs whose status allows the action match.",
        ),
        "cursor": {**CURSOR, "description": "next_cursor of the answer before, to the same action and filter."},
        "dry_run": {"type": "boolean", "default": False, "description": "Count what would change, and change nothing."},
    },
    ("action",),
    additionalProperties=False,
    oneOf=[
        {"required": ["ids"], "not": {"anyOf": [{"required": ["filter"]}, {"required": ["cursor"]}]}},
        {"required": ["filter"], "not": {"required": ["ids"]}},
    ],
    example={"action": "retry", "filter": {"status": "failed", "type": "email.send"}, "dry_run": True},
)

ACTED = _object(
    {
        "action": {"enum": list(ACTIONS)},
        "dry_run": {"type": "boolean"},
        "matched": {**WHOLE, "description": "Changed and skipped."},
        "changed": {**WHOLE, "description": "In a dry run, how many would be."},
        "skipped": {
            "type": "object",
            "additionalProperties": WHOLE,
            "description": "Why not -> how many: a status that forbids it, not_found, or taken (another job has the unique key).",
        },
        "next_cursor": {**_maybe(TEXT), "description": "Repeat the call with it while it is not null, and add up."},
    },
    ("action", "dry_run", "matched", "changed", "skipped", "next_cursor"),
)

RESULT = _object({"status": WHOLE, "job": _ref("schemas", "Job"), "error": _ref("schemas", "Problem")}, ("status",))
ANYTHING: Schema = {"type": "object"}

PARAMETERS = {
    "job_id": {"name": "job_id", "in": "path", "required": True, "schema": TEXT, "example": JOB_ID},
    "queue_path": {"name": "queue", "in": "path", "required": True, "schema": WORD},
    "key": {
        "name": "Idempotency-Key",
        "in": "header",
        "description": "Makes a repeat harmless: the same request under the same key is done once.",
        "schema": {"type": "string", "minLength": 1, "maxLength": MAX_KEY_CHARS, "pattern": "^[!-~]([ -~]*[!-~])?$"},
    },
    "status": {"name": "status", "in": "query", "schema": {"enum": list(STATUSES)}},
    "type": {"name": "type", "in": "query", "schema": TEXT},
    "queue": {"name": "queue", "in": "query", "schema": TEXT},
    "tag": {"name": "tag", "in": "query", "schema": TEXT},
    "kind": {
        "name": "kind",
        "in": "query",
        "description": "Dead letters whose last error is of that kind.",
        "schema": TEXT,
    },
    "limit": {
        "name": "limit",
        "in": "query",
        "schema": {"type": "integer", "minimum": 1, "maximum": 200, "default": 50},
    },
    "offset": {
        "name": "offset",
        "in": "query",
        "schema": {"type": "integer", "minimum": 0, "maximum": 10_000, "default": 0},
    },
    "cursor": {"name": "cursor", "in": "query", "description": "next_cursor of the page before.", "schema": CURSOR},
    "wait_s": {
        "name": "wait_s",
        "in": "query",
        "description": "Answer when the job has ended, or after that many seconds.",
        "schema": {"type": "number", "minimum": 0, "maximum": 20},
    },
    "format": {"name": "format", "in": "query", "schema": {"enum": ["json", "prometheus"]}},
    "verbose": {
        "name": "verbose",
        "in": "query",
        "description": "Say what was found.",
        "schema": TEXT,
        "allowEmptyValue": True,
    },
}

TAGS = {
    "Jobs": "Submit work and see what becomes of it.",
    "Dead letters": "Jobs that have failed for good.",
    "Queues and workers": "Who works on what.",
    "Health": "For probes and monitoring.",
    "Other dialects": "Calls of other systems, in their own words.",
}


def _call(tag: str, name: str, summary: str, good: dict[int, Any], bad: tuple[int, ...] = (), **more: Any) -> Schema:
    """``good``: status -> schema, or None for an answer without a body."""
    answers: Schema = {}
    for status, schema in good.items():
        answers[str(status)] = {"description": MEANING[status]}
        if schema is not None:
            answers[str(status)]["content"] = {"application/json": {"schema": schema}}
    for status in (*bad, *ALWAYS):
        answers[str(status)] = _ref("responses", f"Problem{status}")
    parameters = [_ref("parameters", each) for each in more.pop("parameters", ())]
    described: Schema = {"operationId": name, "tags": [tag], "summary": summary, "parameters": parameters}
    return described | more | {"responses": answers}


def _json(schema: Schema, **more: Any) -> Schema:
    return {"required": True, "content": {"application/json": {"schema": schema, **more}}}


MEANING = {
    200: "Done, or found.",
    201: "Stored; it will be done.",
    202: "Stored, but not confirmed as DURABILITY asks. Or: the running job was asked to stop.",
    204: "Gone.",
    207: "Some were stored; each has its own status.",
    400: "Not JSON, or not HTTP.",
    401: "No valid API key.",
    403: "The key's scope, the host name or the origin forbids it.",
    404: "There is none.",
    409: "The job's status, or a check that runs, forbids it.",
    413: "Too large.",
    415: "Not sent as JSON.",
    422: "A field is wrong; errors names each.",
    429: "Too many requests; Retry-After tells when.",
    500: "A mistake of ours; the log has the request id.",
    503: "Redis does not answer; Retry-After tells when to try again.",
}
ALWAYS = (401, 403, 500, 503)
POSTED = (400, 413, 415, 422, 429)
JOB_REF, PAGE_REF = _ref("schemas", "Job"), _ref("schemas", "Page")
LIST_PARAMETERS = ("limit", "offset", "cursor")


def _operator(
    name: str, summary: str, good: dict[int, Any], bad: tuple[int, ...] = (404, 409, 422, 429), **more: Any
) -> Schema:
    return _call("Jobs", name, summary, good, bad, **{"parameters": ("job_id",)} | more)


def _retry(name: str, summary: str) -> Schema:
    payload = {"description": "Another payload for it. Without one it keeps its own."}
    body = _json(_object({"payload": payload}, additionalProperties=False)) | {"required": False}
    return _operator(name, summary, {200: JOB_REF}, (*POSTED, 404, 409), requestBody=body)


def _paths() -> dict[str, Schema]:
    batch = _object(
        {"jobs": {"type": "array", "items": _ref("schemas", "NewJob"), "minItems": 1}},
        ("jobs",),
        additionalProperties=False,
    )
    results = _object({"results": _list(_ref("schemas", "Result")), "warnings": _list(TEXT)}, ("results",))
    email = _object(
        {
            "job_type": {"enum": ["send_email"]},
            "priority": {"enum": ["high", "low"]},
            "payload": _object(
                {"to": {"type": "string", "pattern": EMAIL, "description": "An e-mail address."}}, ("to",)
            ),
        },
        ("job_type", "priority", "payload"),
        additionalProperties=False,
        example={"job_type": "send_email", "priority": "high", "payload": {"to": "ada@example.org"}},
    )
    task = _object(
        {"task": {"type": "string", "minLength": 1}},
        ("task",),
        additionalProperties=False,
        example={"task": "my-job-name"},
    )
    queue = _ref("schemas", "Queue")
    return {
        "/jobs": {
            "post": _call(
                "Jobs",
                "submit",
                "Submit a job",
                {201: JOB_REF, 200: JOB_REF, 202: JOB_REF},
                (*POSTED, 404),
                parameters=("key",),
                requestBody=_json(_ref("schemas", "NewJob")),
            ),
            "get": _call(
                "Jobs",
                "list",
                "List jobs",
                {200: PAGE_REF},
                (422,),
                parameters=("status", "type", "queue", "tag", "kind", *LIST_PARAMETERS),
            ),
        },
        "/jobs/batch": {
            "post": _call(
                "Jobs",
                "submitBatch",
                "Submit up to 1,000 jobs; also one a line, as application/x-ndjson",
                {201: results, 200: results, 202: results, 207: results},
                (*POSTED, 404),
                parameters=("key",),
                requestBody=_json(batch, example={"jobs": [{"payload": 1}, {"payload": 2}]}),
            )
        },
        "/jobs/bulk": {
            "post": _call(
                "Jobs",
                "bulk",
                "Retry, cancel, delete or run now up to 1,000 jobs, by their ids or a filter",
                {200: ACTED},
                POSTED,
                requestBody=_json(BULK),
            )
        },
        "/jobs/{job_id}": {
            "get": _call("Jobs", "get", "See a job", {200: JOB_REF}, (404, 422), parameters=("job_id", "wait_s")),
            "delete": _operator("delete", "Forget a job that does not run", {204: None}, (404, 409)),
        },
        "/jobs/{job_id}/explain": {
            "get": _call(
                "Jobs",
                "explain",
                "Say why a job is not running yet, or what happened to it",
                {200: _ref("schemas", "Explanation")},
                (404,),
                parameters=("job_id",),
            )
        },
        "/jobs/{job_id}/retry": {"post": _retry("retry", "Run a failed or cancelled job again, with fresh attempts")},
        "/jobs/{job_id}/cancel": {
            "post": _operator("cancel", "Cancel a job, or ask its handler to stop", {200: JOB_REF, 202: JOB_REF})
        },
        "/jobs/{job_id}/run": {"post": _operator("runNow", "Run a scheduled job now", {200: JOB_REF})},
        "/dlq": {
            "get": _call(
                "Dead letters",
                "deadLetters",
                "List dead letters",
                {200: PAGE_REF},
                (422,),
                parameters=("type", "queue", "kind", *LIST_PARAMETERS),
            )
        },
        "/dlq/kinds": {
            "get": _call(
                "Dead letters",
                "kinds",
                "Count dead letters by the kind of their last error",
                {200: KINDS},
                (422,),
                parameters=("queue",),
            )
        },
        "/dlq/requeue": {
            "post": _call(
                "Dead letters",
                "requeueAll",
                "Retry the oldest dead letters, up to 10,000 of each queue",
                {200: _object({"requeued": WHOLE, "left": WHOLE}, ("requeued", "left"))},
                (422, 429),
            )
        },
        "/dlq/{job_id}/requeue": {
            "post": _retry("requeue", "Retry a dead letter, with fresh attempts") | {"tags": ["Dead letters"]}
        },
        "/queues": {
            "get": _call("Queues and workers", "queues", "See the queues", {200: _object({"queues": _list(queue)})})
        },
        "/queues/{queue}": {
            "delete": _call(
                "Queues and workers",
                "deleteQueue",
                "Forget a queue that holds no jobs",
                {204: None},
                (404, 409, 422),
                parameters=("queue_path",),
            )
        },
        "/queues/{queue}/pause": {
            "post": _call(
                "Queues and workers",
                "pause",
                "Stop a queue from giving out jobs",
                {200: queue},
                (404, 422, 429),
                parameters=("queue_path",),
            )
        },
        "/queues/{queue}/resume": {
            "post": _call(
                "Queues and workers",
                "resume",
                "Let it go on",
                {200: queue},
                (404, 422, 429),
                parameters=("queue_path",),
            )
        },
        "/queues/{queue}/check": {
            "post": _call(
                "Queues and workers",
                "check",
                "Say whether every invariant of a queue holds",
                {200: _ref("schemas", "Verdict")},
                (404, 409, 422, 429),
                parameters=("queue_path",),
            )
        },
        "/workers": {
            "get": _call(
                "Queues and workers",
                "workers",
                "See the workers",
                {200: _object({"workers": _list(_ref("schemas", "Worker"))})},
            )
        },
        "/metrics": {
            "get": _metrics(
                _call(
                    "Health",
                    "metrics",
                    "Counts, as JSON or for Prometheus",
                    {200: ANYTHING},
                    (422,),
                    parameters=("format",),
                )
            )
        },
        "/stats": {
            "get": _call(
                "Health",
                "stats",
                "What is wrong, rates, queues, workers and the last hour in one answer",
                {200: _ref("schemas", "Stats")},
            )
        },
        "/system": {
            "get": _call("Health", "system", "What it runs on, and how it is set", {200: _ref("schemas", "System")})
        },
        "/health": {
            "get": _call(
                "Health", "health", "200 while Redis answers within a second", {200: ANYTHING}, parameters=("verbose",)
            )
        },
        "/livez": {"get": _call("Health", "livez", "200 while the process serves", {200: ANYTHING})},
        "/openapi.json": {"get": _call("Health", "openapi", "This description", {200: ANYTHING})},
        "/submit-job": {
            "post": _call(
                "Other dialects",
                "submitEmail",
                "Queue an e-mail",
                {201: _object({"job_id": TEXT}), 200: ANYTHING, 202: ANYTHING},
                (*POSTED, 404),
                parameters=("key",),
                requestBody=_json(email),
            )
        },
        "/jobs/status/{job_id}": {
            "get": _call(
                "Other dialects", "emailStatus", "See an e-mail's job", {200: ANYTHING}, (404,), parameters=("job_id",)
            )
        },
        "/submit": {
            "post": _call(
                "Other dialects",
                "submitTask",
                "Queue a task by its name",
                {201: ANYTHING, 200: ANYTHING, 202: ANYTHING},
                (*POSTED, 404),
                parameters=("key",),
                requestBody=_json(task),
            )
        },
    }


def _metrics(call: Schema) -> Schema:
    call["responses"]["200"]["content"]["text/plain"] = {"schema": TEXT}
    return call


def description() -> Schema:
    """The whole of it."""
    problem = {"application/problem+json": {"schema": _ref("schemas", "Problem")}}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "jobqueue",
            "version": jobqueue.__version__,
            "description": "Hand over work, have it done exactly as promised, see what happened. Errors are application/problem+json.",
        },
        "tags": [{"name": name, "description": text} for name, text in TAGS.items()],
        "security": [{}, {"key": []}],
        "paths": _paths(),
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
            "schemas": {
                "NewJob": NEW_JOB,
                "Job": JOB,
                "Failure": FAILURE,
                "Page": PAGE,
                "Queue": QUEUE,
                "Worker": WORKER,
                "Stats": STATS,
                "Explanation": EXPLANATION,
                "System": SYSTEM,
                "Verdict": VERDICT,
                "Result": RESULT,
                "Problem": PROBLEM,
            },
        },
    }
