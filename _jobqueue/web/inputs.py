"""What a request says: its query, its headers, its body. Whatever is wrong is refused before anything is stored."""

from __future__ import annotations

import io
import itertools
import re
from functools import lru_cache
from typing import Any

import bottle

from _jobqueue import rfc3339
from _jobqueue.slips import unknown_fields
from _jobqueue.strict_json import parse_json
from _jobqueue.web.problems import Problem
from jobqueue import Invalid, NewJob

MAX_BATCH_JOBS = 1000
CHARSET = re.compile(r'charset\s*=\s*"?([^\s";]+)', re.IGNORECASE)
VISIBLE = re.compile(r"[ -~]+")

# ------------------------------------------------------------------------------------------------ query and headers


def query(*known: str) -> dict[str, str]:
    """The parameters, each given once at most and one of those."""
    try:
        given = bottle.request.query.decode()
    except UnicodeDecodeError:
        raise Invalid([("", "the parameters are not UTF-8")]) from None
    unknown = [(f"/{name[:64]}", "is not a parameter of this call") for name in given if name not in known]
    twice = [(f"/{name}", "is given more than once") for name in known if len(given.getall(name)) > 1]
    if unknown or twice:
        raise Invalid(unknown + twice)
    return dict(given)


def whole(given: dict[str, str], name: str, default: int, low: int, high: int) -> int:
    text = given.get(name, str(default))
    if not re.fullmatch(r"[0-9]{1,9}", text) or not low <= int(text) <= high:
        raise Invalid([(f"/{name}", f"must be a whole number from {low} to {high}")])
    return int(text)


def seconds(given: dict[str, str], name: str, high: float) -> float:
    text = given.get(name, "0")
    if not re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,30})?([eE][+-]?[0-9]{1,3})?", text) or float(text) > high:
        raise Invalid([(f"/{name}", f"must be a number of seconds from 0 to {high:g}")])
    return float(text)


def moment(given: dict[str, str], name: str) -> int | None:
    """A time of RFC 3339 in ms since the epoch; None where it is not given."""
    return rfc3339.moment(given[name], name) if name in given else None


def wants_text() -> bool:
    """Prometheus asks for text/plain or OpenMetrics; everybody else gets JSON."""
    asked = query("format").get("format")
    if asked not in (None, "json", "prometheus"):
        raise Invalid([("/format", "must be json or prometheus")])
    accept = bottle.request.environ.get("HTTP_ACCEPT", "")
    text = "application/json" not in accept and ("text/plain" in accept or "openmetrics" in accept)
    return asked == "prometheus" or (asked is None and text)


def idempotency_key() -> str | None:
    key: str | None = bottle.request.environ.get("HTTP_IDEMPOTENCY_KEY")
    if key and not VISIBLE.fullmatch(key):
        raise Invalid([("/Idempotency-Key", "must be visible ASCII characters")])
    return key


def in_trace(job: NewJob) -> NewJob:
    """The job as a part of the trace that the headers name. What is not of their form is left out: a trace refuses no job."""
    environ = bottle.request.environ
    if "HTTP_TRACEPARENT" not in environ:
        return job
    return job.traced(environ["HTTP_TRACEPARENT"], environ.get("HTTP_TRACESTATE"))


# ------------------------------------------------------------------------------------------------------------ bodies


def body(limit: int) -> Any:
    """What was sent, as JSON."""
    raw = _raw(limit)
    if raw and _content_type() != "application/json":
        raise Problem(415, "wrong_content_type", "send JSON, with the header Content-Type: application/json")
    return _parsed(raw, "the body")


def rows(limit: int) -> list[Any]:
    """The jobs of a batch as they came: {"jobs": [...]}, or one on each line."""
    found = _lines(_raw(limit)) if _content_type() == "application/x-ndjson" else _jobs_of(body(limit))
    if not found:
        raise Invalid([("/jobs", f"must hold 1 to {MAX_BATCH_JOBS} jobs")])
    if len(found) > MAX_BATCH_JOBS:
        raise Problem(413, "too_large", f"a batch has at most {MAX_BATCH_JOBS} jobs: send several")
    return found


def members(value: Any, *known: str) -> dict[str, Any]:
    """A JSON object without other members than those."""
    if not isinstance(value, dict):
        raise Invalid([("", "must be a JSON object")])
    if unknown := unknown_fields(value, known, "this call"):
        raise Invalid(unknown)
    return value


def body_bytes() -> int:
    return int(bottle.request.environ.get("CONTENT_LENGTH") or 0)  # waitress has checked it, and unpacked chunks


def no_body() -> None:
    """For calls that say everything in their address. A body would be ignored: better to refuse it."""
    if body_bytes() > 2:
        raise Invalid([("", "this call takes no body")])


def _content_type() -> str:
    environ = bottle.request.environ
    if environ.get("HTTP_CONTENT_ENCODING", "identity") != "identity":
        raise Problem(415, "wrong_content_type", "send the body as it is, without a Content-Encoding")
    return _type_in(environ.get("CONTENT_TYPE", ""))


@lru_cache(64)  # of few texts, for each request
def _type_in(header: str) -> str:
    kind, _, parameters = header.partition(";")
    charset = CHARSET.search(parameters)
    if charset and charset[1].lower() not in ("utf-8", "utf8"):
        raise Problem(415, "wrong_content_type", f"JSON is sent as UTF-8, not {charset[1][:50]}")
    return kind.strip().lower()


def _raw(limit: int) -> bytes:
    length = body_bytes()
    if length > limit:
        raise Problem(413, "too_large", f"the body is {length} bytes; {limit} are allowed here")
    raw: bytes = bottle.request.environ["wsgi.input"].read(length)
    return raw


def _parsed(raw: bytes, what: str) -> Any:
    try:
        return parse_json(raw)
    except Invalid as error:
        raise Problem(400, "not_json", f"{what}: {error.problems[0][1]}" if raw else f"{what} is empty") from None


def _lines(raw: bytes) -> list[Any]:
    """The values of NDJSON; one more than allowed is enough to refuse them all."""
    lines = (line for line in io.BytesIO(raw) if not line.isspace())
    return [_parsed(line, f"job {n}") for n, line in enumerate(itertools.islice(lines, MAX_BATCH_JOBS + 1), 1)]


def _jobs_of(value: Any) -> list[Any]:
    if not isinstance(value, dict) or value.keys() != {"jobs"} or not isinstance(value["jobs"], list):
        raise Invalid([("", 'must be {"jobs": [...]} and nothing else')])
    return value["jobs"]
