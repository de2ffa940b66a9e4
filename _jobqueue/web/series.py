"""The call that tells what a chart shows: the last hour by minutes, or the last two days by ten minutes."""

from __future__ import annotations

import time
from typing import Any

from _jobqueue.errors import QueueNotFound
from _jobqueue.records import NAME, NAME_RULE
from _jobqueue.rfc3339 import rfc3339
from _jobqueue.store.sums import BLOCK, BLOCKS, MINUTES, Series
from _jobqueue.web import inputs
from _jobqueue.web.backend import Backend
from _jobqueue.web.figures import MINUTE
from _jobqueue.web.openapi import Route
from _jobqueue.web.rates import minute_row, together
from _jobqueue.web.shapes import TIME, WHOLE, full, listed, said
from jobqueue import Invalid

SPANS = {"hour": (1, MINUTES), "two_days": (BLOCK, BLOCKS)}  # minutes of a row, and rows
CLOCKS_MS = 120_000  # our clock may be behind that of Redis


def series(backend: Backend) -> dict[str, Any]:
    given = inputs.query("queue", "type", "span", "since")
    if (span := given.get("span", "hour")) not in SPANS:
        raise Invalid([("/span", "must be hour or two_days")])
    if "type" in given and not NAME.fullmatch(given["type"]):
        raise Invalid([("/type", NAME_RULE)])
    since_ms = inputs.moment(given, "since")
    queues = backend.jobs.queues()
    if "queue" in given:
        if given["queue"] not in queues:
            raise QueueNotFound(given["queue"])
        queues = [given["queue"]]
    minutes, most = SPANS[span]
    step_ms = minutes * 60_000
    first_ms = -1 if since_ms is None else since_ms // step_ms * step_ms
    rows = most
    if since_ms is not None:  # what is polled for is little
        rows = max(1, min(most, int(time.time() * 1000 + CLOCKS_MS - first_ms) // step_ms + 1))
    now_ms, found = _read(backend, queues, given.get("type"), span, rows)
    if found and rows < most and min(found) * step_ms > first_ms:  # the clocks differ by more
        now_ms, found = _read(backend, queues, given.get("type"), span, most)
    shown = {at: counts for at, counts in sorted(found.items()) if at * step_ms >= first_ms}
    return {
        "now": rfc3339(now_ms),
        "step_s": step_ms // 1000,
        "rows": [minute_row(at, counts, minutes) for at, counts in shown.items()],
    }


def _read(
    backend: Backend, queues: list[str], job_type: str | None, span: str, rows: int
) -> tuple[int, dict[int, Any]]:
    """The time, and the counters of the last ``rows`` of all these queues together."""
    asked = (rows, 0) if span == "hour" else (0, rows)
    answers = backend.jobs.sums.read(queues, job_type, *asked) if queues else {}
    now_ms = max((each.now_ms for each in answers.values()), default=int(time.time() * 1000))
    counts = together(_of(each, span) for each in answers.values())
    last = now_ms // (SPANS[span][0] * 60_000)
    return now_ms, {at: counts.get(at, {}) for at in range(last - rows + 1, last + 1)}


def _of(found: Series, span: str) -> dict[int, Any]:
    return dict(found.minutes if span == "hour" else found.blocks)


SERIES = full(
    now=TIME,
    step_s=said(WHOLE, "Of a row."),
    rows=listed(
        MINUTE,
        maxItems=BLOCKS,
        description="The oldest first, the one at hand last. Of a type: submitted is an estimate of what came, failed counts attempts. "
        "Of two days, 20 types of a queue are told apart in each ten minutes, and the rest is `other`.",
    ),
)
TAGS: dict[str, str] = {}

# fmt: off
ROUTES = (
    Route("GET", "/series", "read", "Health", "series", "See the last hour by minutes or the last two days by ten minutes, of a queue, a type, or all",
          {200: SERIES}, series, ("queue", "chart_type", "span", "rows_since"), also=(404,)),
)
# fmt: on
