"""The call that shows how the ends of a job were told."""

from __future__ import annotations

from typing import Any

from _jobqueue.store.webhooks import SHOWN_MOST
from _jobqueue.web.backend import Backend
from _jobqueue.web.openapi import Route
from _jobqueue.web.shapes import full, listed, ref, said


def deliveries(backend: Backend, job_id: str) -> dict[str, Any]:
    """The jobs that tell the webhook of a job, the latest first."""
    return {"deliveries": [job.as_dict() for job in backend.jobs.deliveries.of(job_id)]}


DELIVERIES = full(
    deliveries=said(listed(ref("Job"), maxItems=SHOWN_MOST), "One for each end of the job, the latest first.")
)
TAGS: dict[str, str] = {}
# fmt: off
ROUTES = (
    Route("GET", "/jobs/<job_id>/deliveries", "read", "Jobs", "deliveries", "See how a job's webhook was told of its ends",
          {200: DELIVERIES}, deliveries),
)
# fmt: on
