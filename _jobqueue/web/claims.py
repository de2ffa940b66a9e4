"""The calls of workers that speak HTTP: claim, extend, finish, release. A claim that finds nothing may wait: it holds no thread,
and one look at Redis for all that wait says for which there is work."""

from __future__ import annotations

import json
import time
from typing import Any

import bottle

from _jobqueue.errors import pointer_to
from _jobqueue.keys import WORK
from _jobqueue.pieces import Field, pieces
from _jobqueue.records import (
    BACKOFF,
    LOG_LINE_CHARS,
    LOG_LINES,
    MAX_DELAY_MS,
    MAX_KIND_CHARS,
    MAX_MESSAGE_CHARS,
    NAME,
    NAME_RULE,
    NEVER,
    RESERVED,
    Settlement,
)
from _jobqueue.rfc3339 import rfc3339
from _jobqueue.store.remotes import Claim, Given, Waiting, number_of
from _jobqueue.strict_json import encode_json
from _jobqueue.web import inputs
from _jobqueue.web.backend import Backend
from _jobqueue.web.jobs import MAX_WAIT_S
from _jobqueue.web.openapi import Route
from _jobqueue.web.shapes import NUMBER, SWITCH, TEXT, TIME, WHOLE, WORD, Schema, full, listed, ref, said, shape
from _jobqueue.web.waiting import HAS_LEFT, KEPT
from jobqueue import Invalid, JobQueueError

MAX_TYPES, MAX_CLAIMED = 200, 10
MIN_LEASE_S, MAX_LEASE_S = 1, 3600
MAX_SEQ = 2**53 - 1
MAX_TOKEN_CHARS = 255
ROOM_BYTES = 2**16  # of a body, for what stands around a result

# ------------------------------------------------------------------------------------------------------------- claim


def claim(backend: Backend, queue: str) -> dict[str, Any] | None:
    """Jobs for a worker, at once or as soon as there are some; 204 when there are none. Nobody who has hung up is given any."""
    environ = bottle.request.environ
    kept = environ.get(KEPT, {})
    if "claim" not in kept:  # once, however often it is served
        kept["claim"] = _claim_of(backend, queue, inputs.body(backend.config.max_body_bytes))
    asked, wait_s, since = kept["claim"]
    has_left = environ.get(HAS_LEFT, lambda: False)
    bottle.response.status = 204
    if has_left():
        return None
    kit, given = backend.jobs.remotes.claim(asked)
    if not given:
        if wait_s:
            backend.waiters.sleep(environ, Waiting(queue, kit, asked.worker, since), wait_s)
        return None
    if has_left():
        _give_back(backend, given)
        return None
    bottle.response.status = 200
    return {"jobs": [_given(each) for each in given]}


def _give_back(backend: Backend, given: list[Given]) -> None:
    for each in given:
        try:
            backend.jobs.remotes.settle(Settlement(each.job_id, each.token, "released"))
        except JobQueueError:  # then its lease ends
            return


def _given(given: Given) -> dict[str, Any]:
    """The order of its members is part of the promise: a shell finds the first two."""
    return {
        "job_id": given.job_id,
        "token": given.token,
        "type": given.type,
        "attempt": given.attempt,
        "timeout_s": given.timeout_ms / 1000,
        **({"traceparent": given.traceparent} if given.traceparent else {}),
        **({"tracestate": given.tracestate} if given.tracestate else {}),
        "lease_until": rfc3339(given.until_ms),
        "payload": json.loads(given.payload),
    }


def _claim_of(backend: Backend, queue: str, body: Any) -> tuple[Claim, float, float]:
    """What is asked for, how long it may wait for that, and since when."""
    asked = inputs.members(body, "worker", "seq", "types", "max", "wait_s", "lease_s")
    problems = [("/queue", NAME_RULE)] if not NAME.fullmatch(queue) else []
    worker, seq, types = asked.get("worker", ""), asked.get("seq"), asked.get("types", [])
    if not isinstance(worker, str) or not NAME.fullmatch(worker):
        problems.append(("/worker", NAME_RULE))
    if "seq" in asked and not _is_whole(seq, 0, MAX_SEQ):
        problems.append(("/seq", f"must be a whole number from 0 to {MAX_SEQ}"))
    problems += _wrong_types(types)
    if not _is_whole(asked.get("max", 1), 1, MAX_CLAIMED):
        problems.append(("/max", f"must be a whole number from 1 to {MAX_CLAIMED}"))
    wait_s, lease_s = asked.get("wait_s", 0), asked.get("lease_s", backend.jobs.policy.timeout_ms / 1000)
    if not _is_number(wait_s, 0, MAX_WAIT_S):
        problems.append(("/wait_s", f"must be a number of seconds from 0 to {MAX_WAIT_S:g}"))
    if "lease_s" in asked and not _is_number(lease_s, MIN_LEASE_S, MAX_LEASE_S):
        problems.append(("/lease_s", f"must be a number of seconds from {MIN_LEASE_S} to {MAX_LEASE_S}"))
    if problems:
        raise Invalid(problems)
    lease_ms = round(min(lease_s, MAX_LEASE_S) * 1000)
    host = bottle.request.environ.get("REMOTE_ADDR", "")
    number, most = number_of(seq), asked.get("max", 1)
    return Claim(queue, worker, seq, number, tuple(types), most, lease_ms, host), wait_s, time.monotonic()


def _wrong_types(types: Any) -> list[tuple[str, str]]:
    if not isinstance(types, list) or not 1 <= len(types) <= MAX_TYPES:
        return [("/types", f"must be a list of 1 to {MAX_TYPES} types")]
    problems = []
    for at, name in enumerate(types):
        if not isinstance(name, str) or not NAME.fullmatch(name):
            problems.append((f"/types/{at}", NAME_RULE))
        elif name.startswith(RESERVED):
            problems.append((f"/types/{at}", f"types that begin with {RESERVED} are run by the workers of the system"))
        elif name in types[:at]:
            problems.append((f"/types/{at}", "stands there twice"))
    return problems


# ------------------------------------------------------------------------------------------------------------ settle


def extend(backend: Backend, job_id: str) -> dict[str, Any]:
    """Renew the lease, and say what the handler tells."""
    asked = inputs.members(inputs.body(backend.config.max_body_bytes), "token", "progress", "log")
    problems = _wrong_token(asked)
    progress, lines = asked.get("progress"), asked.get("log", [])
    lines = [lines] if isinstance(lines, str) else lines
    if "progress" in asked and not _is_progress(progress):
        problems.append(("/progress", "must be a number from 0 to 1, or that as fraction beside a note"))
    if not isinstance(lines, list) or len(lines) > LOG_LINES or not all(isinstance(line, str) for line in lines):
        problems.append(("/log", f"must be a line, or a list of at most {LOG_LINES}"))
    if problems:
        raise Invalid(problems)
    until_ms, cancel = backend.jobs.remotes.extend(
        job_id, asked["token"], backend.jobs.policy.timeout_ms, _progress(progress), [_line(line) for line in lines]
    )
    return {"lease_until": rfc3339(until_ms), "cancel": cancel}


def finish(backend: Backend, job_id: str) -> dict[str, Any]:
    """Settle the attempt: with its result, or with what went wrong."""
    limit = backend.config.max_result_bytes
    asked = inputs.members(inputs.body(limit + ROOM_BYTES), "token", "result", "error", "retry", "after_s")
    problems = _wrong_token(asked)
    if ("result" in asked) == ("error" in asked):
        problems.append(("", "give either a result or an error"))
    if "error" in asked:
        problems += _wrong_error(asked)
    elif wrong := [name for name in ("retry", "after_s") if name in asked]:
        problems += [(f"/{name}", "goes with an error alone") for name in wrong]
    fields: list[Field] = []
    try:
        if "result" in asked:
            fields = pieces("result", encode_json(asked["result"], limit, "/result"))
    except Invalid as error:
        problems += error.problems
    if problems:
        raise Invalid(problems)
    ended = Settlement(job_id, asked["token"], "done", fields=fields)
    return _settled(backend, _failed(job_id, asked) if "error" in asked else ended)


def release(backend: Backend, job_id: str) -> dict[str, Any]:
    """Give it back unharmed: the attempt does not count, and the job keeps its place."""
    asked = inputs.members(inputs.body(backend.config.max_body_bytes), "token")
    if problems := _wrong_token(asked):
        raise Invalid(problems)
    return _settled(backend, Settlement(job_id, asked["token"], "released"))


def _settled(backend: Backend, ended: Settlement) -> dict[str, Any]:
    backend.jobs.remotes.settle(ended)
    return backend.jobs.get(ended.id).as_dict()


def _failed(job_id: str, asked: dict[str, Any]) -> Settlement:
    delay_ms = round(1000 * asked["after_s"]) if "after_s" in asked else BACKOFF
    if not asked.get("retry", True):
        delay_ms = NEVER
    error = asked["error"]
    return Settlement(job_id, asked["token"], "failed", delay_ms, error["kind"], error["message"])


def _wrong_token(asked: dict[str, Any]) -> list[tuple[str, str]]:
    token = asked.get("token")
    good = isinstance(token, str) and 1 <= len(token) <= MAX_TOKEN_CHARS
    return [] if good else [("/token", "must be the token that the claim gave")]


def _wrong_error(asked: dict[str, Any]) -> list[tuple[str, str]]:
    error, problems = asked["error"], []
    if not isinstance(error, dict):
        return [("/error", "must be an object with kind and message")]
    problems += [(f"/error{pointer_to(name)}", "is not a field of it") for name in error.keys() - {"kind", "message"}]
    kind, message = error.get("kind"), error.get("message")
    if not isinstance(kind, str) or not NAME.fullmatch(kind):
        problems.append(("/error/kind", NAME_RULE))
    if not isinstance(message, str) or len(message) > MAX_MESSAGE_CHARS:
        problems.append(("/error/message", f"must be at most {MAX_MESSAGE_CHARS} characters"))
    if not isinstance(asked.get("retry", True), bool):
        problems.append(("/retry", "must be true or false"))
    if "after_s" in asked and not _is_number(asked["after_s"], 0, MAX_DELAY_MS / 1000):
        problems.append(("/after_s", f"must be a number of seconds from 0 to {MAX_DELAY_MS // 1000}"))
    elif "after_s" in asked and asked.get("retry") is False:
        problems.append(("/after_s", "does not go together with retry false"))
    return problems


def _is_whole(value: Any, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _is_number(value: Any, low: float, high: float) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and low <= value <= high


def _is_progress(progress: Any) -> bool:
    if not isinstance(progress, dict):
        return _is_number(progress, 0, 1)
    note, more = progress.get("note", ""), progress.keys() - {"fraction", "note"}
    return not more and isinstance(note, str) and _is_number(progress.get("fraction"), 0, 1)


def _progress(progress: Any) -> str:
    if progress is None:
        return ""
    told = progress if isinstance(progress, dict) else {"fraction": progress}
    return json.dumps({"fraction": told["fraction"], "note": told.get("note", "")[:LOG_LINE_CHARS]})


def _line(text: str) -> str:
    return " ".join(text.splitlines())[:LOG_LINE_CHARS]


# ------------------------------------------------------------------------------------------------------- description

TOKEN: Schema = said({"type": "string", "minLength": 1, "maxLength": MAX_TOKEN_CHARS}, "As the claim gave it.")
CLAIM = shape(
    {
        "worker": said(WORD, "Its name, a new one at each start."),
        "seq": said(
            {"type": "integer", "minimum": 0, "maximum": MAX_SEQ},
            "The number of this claim. Repeated with it, a claim gives the same jobs; a lower one is 409 seq_used. Without it a claim "
            "cannot be repeated, and what a lost answer held runs again when its lease ends.",
        ),
        "types": listed(
            {"type": "string", "pattern": rf"^(?!{RESERVED[:-1]}\.){NAME.pattern}$"},
            minItems=1,
            maxItems=MAX_TYPES,
            uniqueItems=True,
            description="The types that it handles: it is given no others.",
        ),
        "max": said({"type": "integer", "minimum": 1, "maximum": MAX_CLAIMED, "default": 1}, "At most so many jobs."),
        "wait_s": said(
            {"type": "number", "minimum": 0, "maximum": MAX_WAIT_S, "default": 0},
            "Where there is no job, wait so long for one.",
        ),
        "lease_s": said(
            {"type": "number", "minimum": MIN_LEASE_S, "maximum": MAX_LEASE_S},
            "For so long they are the worker's, or until it extends that; at most what is left of their timeout.",
        ),
    },
    ("worker", "types"),
    additionalProperties=False,
    example={"worker": "w-17f3", "seq": 1, "types": ["thumbnail"], "wait_s": 20},
)
GIVEN = shape(
    {
        "job_id": TEXT,
        "token": TOKEN,
        "type": TEXT,
        "attempt": WHOLE,
        "timeout_s": NUMBER,
        "traceparent": said(TEXT, "Of a job that belongs to a trace (W3C Trace Context)."),
        "tracestate": TEXT,
        "lease_until": said(TIME, "By Redis's clock. After it the job may be somebody else's."),
        "payload": {},
    },
    ("job_id", "token", "type", "attempt", "timeout_s", "lease_until", "payload"),
)
EXTEND = shape(
    {
        "token": TOKEN,
        "progress": {
            "oneOf": [
                {"type": "number", "minimum": 0, "maximum": 1},
                shape(
                    {"fraction": {"type": "number", "minimum": 0, "maximum": 1}, "note": TEXT},
                    ("fraction",),
                    additionalProperties=False,
                ),
            ]
        },
        "log": said({"oneOf": [TEXT, listed(TEXT, maxItems=LOG_LINES)]}, "A line for the job's log, or some."),
    },
    ("token",),
    additionalProperties=False,
)
EXTENDED = full(lease_until=TIME, cancel=said(SWITCH, "Somebody asks it to stop: give it up, or finish as you like."))
FINISH = shape(
    {
        "token": TOKEN,
        "result": {"description": "Any JSON."},
        "error": shape(
            {
                "kind": {"type": "string", "pattern": rf"^[A-Za-z0-9_.-]{{1,{MAX_KIND_CHARS}}}$"},
                "message": {"type": "string", "maxLength": MAX_MESSAGE_CHARS},
            },
            ("kind", "message"),
            additionalProperties=False,
            description="Why it has failed.",
        ),
        "retry": said({**SWITCH, "default": True}, "False: no further attempt."),
        "after_s": said(
            {"type": "number", "minimum": 0, "maximum": MAX_DELAY_MS / 1000},
            "Until its next attempt; by default its backoff.",
        ),
    },
    ("token",),
    additionalProperties=False,
    oneOf=[
        {"required": ["result"], "not": {"anyOf": [{"required": [name]} for name in ("error", "retry", "after_s")]}},
        {
            "required": ["error"],
            "not": {
                "anyOf": [
                    {"required": ["result"]},
                    {"required": ["retry", "after_s"], "properties": {"retry": {"const": False}}},
                ]
            },
        },
    ],
    example={"token": "w-17f3-1:1", "result": {"width": 120}},
)
RELEASE = shape({"token": TOKEN}, ("token",), additionalProperties=False)
JOB = ref("Job")

TAG = "Workers over HTTP"
TAGS = {TAG: "For workers in any language: claim jobs, extend their leases, settle them."}

# fmt: off
ROUTES = (
    Route("POST", "/queues/<queue>/claim", WORK, TAG, "claim", f"Claim up to {MAX_CLAIMED} jobs, waiting for them where there are none; 204: there are none",
          {200: full(jobs=listed(GIVEN)), 204: None}, claim, (), CLAIM, also=(409,)),
    Route("POST", "/jobs/<job_id>/extend", WORK, TAG, "extend", "Keep a job for another lease; 409 lease_lost: stop",
          {200: EXTENDED}, extend, (), EXTEND, also=(409,)),
    Route("POST", "/jobs/<job_id>/finish", WORK, TAG, "finish", "Settle a job, with its result or an error",
          {200: JOB}, finish, (), FINISH, also=(409,)),
    Route("POST", "/jobs/<job_id>/release", WORK, TAG, "release", "Give a job back unharmed",
          {200: JOB}, release, (), RELEASE, also=(409,)),
)
# fmt: on
