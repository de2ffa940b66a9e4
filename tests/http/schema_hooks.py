"""What schemathesis cannot read in the description: values that are right only here and now (``SCHEMATHESIS_HOOKS``)."""

from __future__ import annotations

import base64
import json
import re
import secrets
from datetime import datetime, timedelta, timezone
from typing import Any

import schemathesis
from hypothesis import strategies

from _jobqueue.records import ENDED
from _jobqueue.rfc3339 import epoch_ms
from jobqueue import NewJob

KEY = re.compile(r"[!-~]([ -~]*[!-~])?")
PARENT = re.compile(r"[A-Za-z0-9_.-]{1,64}|\*")
NOW = datetime.now(timezone.utc)

# Jobs may be planned for the next 365 days.
times = strategies.integers(-(10**6), 10**7).map(
    lambda s: (NOW + timedelta(seconds=s)).isoformat(timespec="milliseconds")
)
schemathesis.openapi.format("date-time", times)

schemathesis.openapi.format("later-time", strategies.just("2099-01-01T00:00:00Z"))
schemathesis.openapi.format(
    "cron", strategies.sampled_from(["* * * * *", "30 2 * * *", "*/5 8-17 * * MON-FRI", "0 0 L * *"])
)
schemathesis.openapi.format("timezone", strategies.sampled_from(["UTC", "Europe/London", "America/New_York"]))

schemathesis.openapi.format("webhook", strategies.just("https://hooks.example.org/jobs"))

# The place before the first job is one that every list has.
schemathesis.openapi.format("history-cursor", strategies.just("h1798000000000-0f8fad5b-d9cb-8000-a165-70867728950e"))
cursor = base64.urlsafe_b64encode(json.dumps([0, {}]).encode()).decode().rstrip("=")
schemathesis.openapi.format("cursor", strategies.just(cursor))
flow_cursor = base64.urlsafe_b64encode(json.dumps([200, 0, 1, 0, ""]).encode()).decode().rstrip("=")
schemathesis.openapi.format("flow-cursor", strategies.just(flow_cursor))


@schemathesis.hook
def before_call(context: Any, case: Any, **_: Any) -> None:
    """A new idempotency key for each call: the same one with another body is refused, as it should be."""
    key = (case.headers or {}).get("Idempotency-Key")
    if isinstance(key, str) and 0 < len(key) <= 255 and KEY.fullmatch(key):
        case.headers["Idempotency-Key"] = secrets.token_hex(8)
    wait_s = (case.query or {}).get("wait_s")
    if re.fullmatch(r"[0-9]+(\.[0-9]+)?", str(wait_s)) and 0.1 < float(str(wait_s)) <= 20:  # some come as text
        case.query["wait_s"] = 0.1  # nobody here waits that long
    if case.path in ("/jobs", "/dlq", "/jobs/counts"):
        _without_times_where_there_are_none(case)
        _without_filters_that_need_others(case.query or {})
    body = case.body if isinstance(case.body, dict) else {}
    if case.path == "/jobs/bulk" and isinstance(body.get("filter"), dict):
        _without_filters_that_need_others(body["filter"])
    if isinstance(body.get("wait_s"), (int, float)) and 0.1 < body["wait_s"] <= 20:
        body["wait_s"] = 0.1
    _limited_as_one_may(case, body)
    if isinstance(body.get("max_queued"), (int, float)) and 0 < body["max_queued"] < 10**6:
        body["max_queued"] = 10**6  # else batches of later calls would never fit
    for job in (body, *(body["jobs"] if isinstance(body.get("jobs"), list) else ())):
        _without_whole_floats(job)
        _waiting_for_nobody(job)
        _expiring_after_its_delay(job)
    if case.path == "/jobs/batch" and isinstance(body.get("jobs"), list):
        body["jobs"] = [job for job in body["jobs"] if _is_wrong(job)] or body["jobs"]


def _is_wrong(job: Any) -> bool:
    """Wrong jobs beside right ones are answered with 207, which schemathesis takes for a success."""
    try:
        NewJob.of_json(job)
        return False
    except Exception:
        return True


def _expiring_after_its_delay(job: Any) -> None:
    """JSON Schema cannot say that one number is larger than another."""
    if isinstance(job, dict):
        numbers = [job.get(name) for name in ("expires_s", "delay_s")]
        if all(isinstance(n, (int, float)) and n > 0 for n in numbers) and numbers[0] <= numbers[1]:
            del job["delay_s"]


def _limited_as_one_may(case: Any, body: Any) -> None:
    """JSON Schema takes 5.0 for an integer, and cannot say that a name that ends in * has a lower bound."""
    rate = body.get("rate") if isinstance(body.get("rate"), dict) else {}
    for holder, name in ((body, "max_running"), (rate, "starts"), (rate, "per_s")):
        if isinstance(holder.get(name), float) and holder[name].is_integer():
            holder[name] = int(holder[name])
    starts = rate.get("starts")
    if (
        str((case.path_parameters or {}).get("name", "")).endswith(("*", "%2A"))
        and isinstance(starts, int)
        and starts > 1000
    ):
        rate["starts"] = 1000


def _waiting_for_nobody(job: Any) -> None:
    """No job that is named here is there to be waited for."""
    after = job.get("after") if isinstance(job, dict) else None
    if (
        isinstance(after, list)
        and len(after) <= 1000
        and all(isinstance(e, str) and PARENT.fullmatch(e) for e in after)
    ):
        job["after"] = []


def _without_times_where_there_are_none(case: Any) -> None:
    """JSON Schema cannot say of a parameter that it needs another."""
    query = case.query or {}
    if case.path == "/jobs" and query.get("status") not in ENDED and not query.get("kind") and not query.get("tag"):
        for name in ("since", "until"):
            if isinstance(query.get(name), str) and epoch_ms(query[name]) is not None:
                del query[name]


def _without_filters_that_need_others(given: dict[str, Any]) -> None:
    """The same, and that some filters are not for others."""
    if "operation" in given or not given.get("kind"):
        given.pop("error", None)
    if "operation" in given:
        for name in ("tag", "since", "until"):
            given.pop(name, None)
    if given.get("status") not in ENDED and not given.get("kind") and not given.get("tag"):
        for name in ("since", "until"):
            if isinstance(given.get(name), str) and epoch_ms(given[name]) is not None:
                del given[name]


def _without_whole_floats(job: Any) -> None:
    """JSON Schema takes 5.0 for an integer; the API does not."""
    for name in ("priority", "max_attempts", "seq", "max"):
        if isinstance(job, dict) and isinstance(job.get(name), float) and job[name].is_integer():
            job[name] = int(job[name])
