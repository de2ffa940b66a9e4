"""The routes that only one other system has, in its own words. Thin translations: to drop one, delete its functions.

    POST /submit-job  GET /jobs/status/<id>     a priority queue of e-mails
    POST /submit                                a task queue: {"task": "<name>"}

Nothing else knows of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from _jobqueue.records import PRIORITIES
from jobqueue import Invalid, Job, NewJob

STATUS_WORDS = {"queued": "pending", "scheduled": "pending", "done": "completed", "cancelled": "failed"}
PRIORITY_WORDS = {number: word for word, number in PRIORITIES.items()}
ADDRESS = re.compile(r"[^@\x00-\x20]{1,64}@[^@.\x00-\x20]+(\.[^@.\x00-\x20]+)+")

Routes = list[tuple[str, str, str, Callable[..., Any]]]


def routes(api: Any) -> Routes:
    """(method, path, scope, function); ``api`` reads bodies, submits and finds jobs."""

    def submit_email() -> dict[str, Any]:
        body = api.body()
        _check_email(body)
        job = api.submit_new(NewJob(body["job_type"], body["payload"], priority=body["priority"]))
        return {"job_id": job.id}

    def email_status(job_id: str) -> dict[str, Any]:
        return _in_email_words(api.jobs.get(job_id))

    def submit_task() -> dict[str, Any]:
        body = api.body()
        if not isinstance(body, dict) or not isinstance(body.get("task"), str) or not body["task"]:
            raise Invalid([("/task", "is required: the name of the task")])
        _refuse_others(body, {"task"})
        job = api.submit_new(NewJob("task", {"task": body["task"]}))
        return {"status": "queued", "task": body["task"], "id": job.id}

    return [
        ("POST", "/submit-job", "submit", submit_email),
        ("GET", "/jobs/status/<job_id>", "read", email_status),
        ("POST", "/submit", "submit", submit_task),
    ]


def _check_email(body: Any) -> None:
    if not isinstance(body, dict):
        raise Invalid([("", "must be a JSON object")])
    _refuse_others(body, {"job_type", "priority", "payload"})
    problems = []
    if body.get("job_type") != "send_email":
        problems.append(("/job_type", "must be send_email"))
    if body.get("priority") not in ("high", "low"):
        problems.append(("/priority", "must be high or low"))
    payload = body.get("payload")
    if not isinstance(payload, dict):
        problems.append(("/payload", "must be an object"))
    elif not isinstance(payload.get("to"), str) or not ADDRESS.fullmatch(payload["to"]):
        problems.append(("/payload/to", "must be an e-mail address"))
    if problems:
        raise Invalid(problems)


def _refuse_others(body: dict[str, Any], known: set[str]) -> None:
    others = [(f"/{name[:64]}", "is not a field of this call") for name in body if name not in known]
    if others:
        raise Invalid(others)


def _in_email_words(job: Job) -> dict[str, Any]:
    def seconds(ms: int | None) -> float | None:
        return None if ms is None else ms / 1000

    return {
        "job_id": job.id,
        "job_type": job.type,
        "priority": PRIORITY_WORDS.get(job.priority, str(job.priority)),
        "payload": job.payload,
        "status": STATUS_WORDS.get(job.status, job.status),
        "retry_count": max(0, job.attempts - 1),
        "created_ts": seconds(job.created_ms),
        "picked_ts": seconds(job.started_ms),
        "completed_ts": seconds(job.finished_ms),
        "available_after": seconds(job.run_at_ms),
    }
