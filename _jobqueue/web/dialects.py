"""The routes that only one other system has, in its own words, and their description. Thin translations.

    POST /submit-job  GET /jobs/status/<id>     a priority queue of e-mails
    POST /submit                                a task queue: {"task": "<name>"}

A job that came by /submit is told in that system's words by GET /jobs/<id> too: its clients poll for "completed" there.

Nothing else knows of them: to drop them all, delete this file and its line in the list ROOMS of api.py.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from _jobqueue.records import PRIORITIES
from _jobqueue.web import inputs
from _jobqueue.web.backend import Backend
from _jobqueue.web.jobs import remembered, submit_new
from _jobqueue.web.openapi import Route
from _jobqueue.web.shapes import ANYTHING, TEXT, shape
from jobqueue import Invalid, Job, NewJob, NotFound

STATUS_WORDS = {
    "queued": "pending",
    "scheduled": "pending",
    "blocked": "pending",
    "done": "completed",
    "cancelled": "failed",
}
TASK_WORDS = STATUS_WORDS | dict.fromkeys(("scheduled", "blocked"), "queued") | {"queued": "queued"}
TASKS = "tasks"
PRIORITY_WORDS = {number: word for word, number in PRIORITIES.items()}
ADDRESS = re.compile(r"[^@\x00-\x20]{1,64}@[^@.\x00-\x20]+(\.[^@.\x00-\x20]+)+")


def submit_email(backend: Backend) -> dict[str, Any]:
    sent = inputs.body(backend.config.max_body_bytes)
    _check_email(sent)
    job = submit_new(backend, NewJob(sent["job_type"], sent["payload"], priority=sent["priority"]))
    return {"job_id": job.id}


def email_status(backend: Backend, job_id: str) -> dict[str, Any]:
    try:
        return _in_email_words(backend.jobs.get(job_id))
    except NotFound:
        return _in_email_words(remembered(backend, job_id))


def submit_task(backend: Backend) -> dict[str, Any]:
    sent = inputs.body(backend.config.max_body_bytes)
    if not isinstance(sent, dict) or not isinstance(sent.get("task"), str) or not sent["task"]:
        raise Invalid([("/task", "is required: the name of the task")])
    inputs.members(sent, "task")
    job = submit_new(backend, replace(NewJob("task", {"task": sent["task"]}), words=TASKS))
    return {"status": "queued", "task": sent["task"], "id": job.id}


def _check_email(body: Any) -> None:
    inputs.members(body, "job_type", "priority", "payload")
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


def in_task_words(job: dict[str, Any]) -> dict[str, Any]:
    """A job in the words of whoever submitted it by /submit; what is no word of theirs stays as it is."""
    status = TASK_WORDS.get(job["status"], job["status"])
    payload = job["payload"]
    told = {
        **{name: value for name, value in job.items() if name not in ("result", "error")},
        "id": job["job_id"],
        "status": status,
        "task": payload["task"] if isinstance(payload, dict) and "task" in payload else None,
    }
    if status == "completed":
        told |= {"result": job["result"], "completed_at": job["finished_at"]}
    if status == "failed":
        told |= {"error": job["error"] or job["status"], "failed_at": job["finished_at"]}
    return told


WORDS = {TASKS: in_task_words}

EMAIL = shape(
    {
        "job_type": {"enum": ["send_email"]},
        "priority": {"enum": ["high", "low"]},
        "payload": shape(
            {"to": {"type": "string", "pattern": f"^{ADDRESS.pattern}$", "description": "An e-mail address."}}, ("to",)
        ),
    },
    ("job_type", "priority", "payload"),
    additionalProperties=False,
    example={"job_type": "send_email", "priority": "high", "payload": {"to": "ada@example.org"}},
)
TASK = shape(
    {"task": {"type": "string", "minLength": 1, "description": "The name of the task."}},
    ("task",),
    additionalProperties=False,
    example={"task": "my-job-name"},
)
STORED = {200: ANYTHING, 202: ANYTHING}
TAG = "Other dialects"
TAGS = {TAG: "Calls of other systems, in their own words."}

# fmt: off
ROUTES = (
    Route("POST", "/submit-job", "submit", TAG, "submitEmail", "Queue an e-mail",
          {201: shape({"job_id": TEXT}), **STORED}, submit_email, ("key",), EMAIL, also=(404,)),
    Route("GET", "/jobs/status/<job_id>", "read", TAG, "emailStatus", "See an e-mail's job",
          {200: ANYTHING}, email_status),
    Route("POST", "/submit", "submit", TAG, "submitTask", "Queue a task by its name",
          {201: ANYTHING, **STORED}, submit_task, ("key",), TASK, also=(404,)),
)
# fmt: on
