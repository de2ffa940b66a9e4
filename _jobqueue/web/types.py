"""The call that tells all that there is to know of each job type."""

from __future__ import annotations

from typing import Any

from _jobqueue.web.backend import Backend
from _jobqueue.web.by_type import ROWS_MOST, full_rows_of
from _jobqueue.web.figures import TYPE_FIGURES
from _jobqueue.web.openapi import Route
from _jobqueue.web.rates import WINDOW
from _jobqueue.web.shapes import NUMBER, SWITCH, WHOLE, full, listed, maybe, said


def types(backend: Backend) -> dict[str, Any]:
    rows = full_rows_of(backend.jobs.looks(minutes=1), backend.overview.types)
    return {"types": rows[:ROWS_MOST], "types_more": len(rows[ROWS_MOST:])}


TYPE = full(
    **TYPE_FIGURES["properties"],
    submitted_per_minute=said(NUMBER, "How many come, an estimate."),
    dead=said(WHOLE, "Its dead letters."),
    dead_exact=said(SWITCH, "All dead letters of the queue were counted; else it is an estimate."),
    share=said(
        maybe(NUMBER),
        f"Of the time that all types ran, 0 to 1, over {WINDOW - 1} minutes and this one; null while nothing ran.",
    ),
)
TYPES = full(
    types=listed(TYPE, maxItems=ROWS_MOST, description="The one that grows most first."),
    types_more=said(WHOLE, "How many further types there are."),
)
TAGS: dict[str, str] = {}

# fmt: off
ROUTES = (
    Route("GET", "/types", "read", "Queues and workers", "types", "See the job types: what comes, ends, fails, waits and runs of each",
          {200: TYPES}, types),
)
# fmt: on
