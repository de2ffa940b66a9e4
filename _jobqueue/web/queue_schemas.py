"""The JSON of answers that tell of queues and workers, and of what is set there."""

from __future__ import annotations

from _jobqueue.records import BEAT_LOST_MS, MAX_MAX_QUEUED
from _jobqueue.web.queues import MAX_SENTENCES
from _jobqueue.web.shapes import (
    BY_STATUS,
    INTEGER,
    NUMBER,
    SWITCH,
    TEXT,
    TIME,
    WHOLE,
    alike,
    full,
    listed,
    maybe,
    ref,
    said,
    shape,
)

QUEUE = shape(
    {
        "queue": TEXT,
        "paused": SWITCH,
        "max_queued": said(
            maybe(INTEGER), "How many of its jobs may be queued, scheduled or blocked; null: any number."
        ),
        "paused_types": said(listed(TEXT), "Types whose jobs it does not give out."),
        "jobs": BY_STATUS,
        "totals": said(
            {"type": "object", "additionalProperties": INTEGER},
            "What it has counted since it was first used: submitted, done, failed, cancelled, retried, deleted, trimmed ...",
        ),
        "oldest_queued_at": maybe(TIME),
        "reaper": said(SWITCH, "A reaper looks after it."),
        "reaper_at": said(maybe(TIME), "The reaper's last tick."),
    },
    ("queue", "paused", "jobs", "totals"),
)
LIMIT_QUEUE = shape(
    {
        "max_queued": {
            "type": ["integer", "null"],
            "minimum": 0,
            "maximum": MAX_MAX_QUEUED,
            "description": "While so many of its jobs are queued, scheduled or blocked, submits are 429; null: never.",
        }
    },
    ("max_queued",),
    additionalProperties=False,
    example={"max_queued": 1000},
)
WORKER = shape(
    {
        "worker": said(TEXT, "Its id, another one at each start."),
        "queue": said(TEXT, "A queue that it serves; one that serves several is told for each."),
        **alike(TEXT, "host", "version"),
        **alike(WHOLE, "pid", "threads"),
        "http": said(SWITCH, "True of one that claims over HTTP: it is heard of when it calls."),
        "marks": said(SWITCH, "It marks what it changes, for the record; a worker of an earlier release does not."),
        "lease_s": said(NUMBER, "PROCESSING_TIMEOUT_S of the worker: without a beat for so long, it is dead."),
        "types": listed(TEXT),
        "running": said(listed(shape({"job_id": TEXT, "type": TEXT, "for_s": NUMBER})), "The jobs that it runs."),
        "done": said(
            WHOLE, "Attempts of this queue that it has ended well since it started; none of one that claims over HTTP."
        ),
        "failed": said(WHOLE, "The same of those that failed."),
        "up_s": said(WHOLE, "How long ago that was."),
        "load": said(NUMBER, "Of its machine: processes that want a core, over the last minute."),
        "cpus": said(WHOLE, "Its cores."),
        "last_beat_at": said(TIME, "When it was last heard of."),
        "beat_ms": said(WHOLE, "The same, in ms since the epoch."),
        "lost": said(SWITCH, f"It has missed its beats for {BEAT_LOST_MS // 1000} s."),
    },
    ("worker", "queue", "last_beat_at", "lost"),
)
QUEUES, WORKERS = shape({"queues": listed(ref("Queue"))}), shape({"workers": listed(ref("Worker"))})
VERDICT = full(
    queue=TEXT,
    problems=listed(TEXT, maxItems=MAX_SENTENCES, description="A sentence each; [] when every invariant holds."),
    more=said(WHOLE, "How many further ones there are."),
    checked_at=maybe(TIME),
)
