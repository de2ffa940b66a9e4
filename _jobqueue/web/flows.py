"""The calls that show workflows: what a job waits for, and all that is tied to it."""

from __future__ import annotations

from typing import Any

from _jobqueue.listed import Parent, Workflow
from _jobqueue.rfc3339 import rfc3339
from _jobqueue.web import inputs
from _jobqueue.web.backend import Backend


def parents(backend: Backend, job_id: str) -> dict[str, Any]:
    """What has become of the jobs that one waits for, by name or id."""
    return {name: _parent(parent) for name, parent in backend.jobs.parents(job_id).items()}


def _parent(parent: Parent) -> dict[str, Any]:
    shown = {"job_id": parent.job_id, "status": parent.status, "result": parent.result, "error": parent.error}
    return shown | ({"truncated": ["result"]} if parent.cut else {})


def flow(backend: Backend, job_id: str) -> dict[str, Any]:
    """The workflow that a job is part of."""
    found = backend.jobs.flow(job_id)
    return {"jobs": [step._asdict() for step in found.jobs], "truncated": found.truncated}


def flows(backend: Backend) -> dict[str, Any]:
    """A page of the workflows, in short, the newest first."""
    found = backend.jobs.workflow_page(inputs.query("cursor").get("cursor"))
    return {"flows": [_in_short(each) for each in found.workflows], "next_cursor": found.cursor}


def _in_short(found: Workflow) -> dict[str, Any]:
    shown = found._asdict()
    return {"created_at": rfc3339(shown.pop("created_ms")), "total": sum(found.jobs.values()), **shown}
