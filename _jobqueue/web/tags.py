"""The call that shows how far the jobs of a tag have come: a batch is a tag."""

from __future__ import annotations

from typing import Any

import bottle

from _jobqueue.records import TAG, TAG_RULE
from _jobqueue.tally import COUNTED, Wait
from _jobqueue.web import inputs
from _jobqueue.web.backend import Backend
from _jobqueue.web.jobs import MAX_WAIT_S
from _jobqueue.web.openapi import Route
from _jobqueue.web.shapes import SWITCH, TIME, WHOLE, full, maybe, said
from jobqueue import Invalid

MAX_TOTAL = 10**9 - 1


def tally(backend: Backend, tag: str) -> dict[str, Any]:
    """How many of its jobs have which status; with ``wait_s``, as soon as all of them, or ``total``, have ended."""
    if not TAG.fullmatch(tag):
        raise Invalid([("/tag", TAG_RULE)])
    given = inputs.query("queue", "wait_s", "total")
    wait_s = inputs.seconds(given, "wait_s", MAX_WAIT_S)
    total = inputs.whole(given, "total", 0, 0, MAX_TOTAL) if "total" in given else None
    found = backend.jobs.tags.tally(tag, given.get("queue"))
    if wait_s and not found.has_ended(total):
        only = backend.queues[0] if backend.queues and len(backend.queues) == 1 else None
        backend.waiters.sleep(bottle.request.environ, Wait(tag, given.get("queue", only), total), wait_s)
    return found.as_dict()


JOBS = full(**dict.fromkeys(COUNTED, WHOLE))
TALLY = full(
    tag={"type": "string", "pattern": f"^{TAG.pattern}$"},
    jobs=said(
        JOBS, "How many have which status. What was trimmed or deleted counts as long as the tag has other jobs."
    ),
    total=said(WHOLE, "All of them, so it does not shrink."),
    ended=said(WHOLE, "Those that are done, failed, cancelled, trimmed or deleted."),
    first_at=said(maybe(TIME), "When the first one was submitted."),
    last_at=said(maybe(TIME), "When one last ended."),
    exact=said(
        SWITCH,
        "False: a program of the release before has submitted or moved some that are not counted yet. They soon are.",
    ),
)

TAGS: dict[str, str] = {}

# fmt: off
ROUTES = (
    Route("GET", "/tags/<tag>", "read", "Jobs", "tag", "See how far the jobs of a tag have come",
          {200: TALLY}, tally, ("queue", "tag_wait_s", "total")),
)
# fmt: on
