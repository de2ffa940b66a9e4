"""The JSON of answers that tell of the system as a whole: its figures, its settings, what is wrong."""

from __future__ import annotations

from _jobqueue.by_type import OTHER, TYPES_KEPT
from _jobqueue.web.by_type import ROWS_MOST
from _jobqueue.web.findings import LEVELS, MAX_FINDINGS
from _jobqueue.web.overview import HOUR
from _jobqueue.web.rates import SHARES, WINDOW
from _jobqueue.web.shapes import (
    ANYTHING,
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

FINDING = full(
    id=said(TEXT, "The same as long as the same thing is wrong."),
    code={"enum": list(LEVELS)},
    level={"enum": sorted(set(LEVELS.values()))},
    text=said(TEXT, "What is wrong, and what to do."),
    short=said(TEXT, "What is wrong, in few words, without the queue."),
    queue=maybe(TEXT),
    type=said(maybe(TEXT), "The type that it is about."),
    kind=said(maybe(TEXT), "The kind of error that it is about."),
    job_id=said(maybe(TEXT), "A job for which it is so."),
    jobs=said(maybe(INTEGER), "How many jobs it hurts; null where that is not known."),
    since=said(maybe(TIME), "Since when it is so; null where that is not known."),
)
PERCENTILES = {
    f"{kind}_p{percent}_ms": said(maybe(INTEGER), f"{percent} % of what {what} took no longer.")
    for kind, what in (("wait", "waited"), ("run", "ran"))
    for percent in SHARES
}
RATES = shape(
    {
        "finished_per_minute": said(NUMBER, "Attempts that ended, well or not."),
        "failed_per_minute": said(NUMBER, "Attempts that failed."),
        "error_rate": {"type": ["number", "null"], "description": "Failed attempts of all, 0 to 1."},
        **PERCENTILES,
    },
    description=f"Over the last {WINDOW - 1} minutes and this one, from the first of them in which anything happened.",
)
MINUTE = shape(
    {
        "at": TIME,
        **alike(WHOLE, "submitted", "done", "failed", "retried"),
        **PERCENTILES,
        "waiting": said(maybe(WHOLE), "Queued jobs at its end; null where no reaper has noted them."),
        "oldest_ms": said(
            maybe(INTEGER), "Greatest age of the oldest waiting job, as the reaper saw it; null when none waited."
        ),
    }
)
PACE = shape(
    {
        "oldest_age_s": maybe(NUMBER),
        **alike(said(NUMBER, "In the last minute."), "done_per_minute", "submitted_per_minute"),
        "growth_per_minute": said({"type": "number"}, "Submitted in the last minute, less those that ended."),
        "drain_s": said(
            maybe(NUMBER),
            "How long what waits takes at the pace of the last 90 s in which something waited. When nothing ended then: at that of "
            "the last few minutes. null while nothing is done.",
        ),
        "workers": said(WHOLE, "How many workers serve it."),
        "threads": said(WHOLE, "How many jobs they can run at once."),
        "busy": said(WHOLE, "How many of these threads run a job."),
        "untold": said(
            shape(alike(WHOLE, "processing", "queued", "scheduled", "failed")),
            "Webhooks that are not told yet, by the status of the jobs that tell them; not there where all are told.",
        ),
    }
)
TYPE_FIGURES = full(
    **alike(TEXT, "queue", "type"),
    waiting=said(WHOLE, "Queued jobs of the type in that queue."),
    exact=said(
        SWITCH, "All jobs that wait there were counted; else waiting, growth and oldest come from some of them."
    ),
    running=said(WHOLE, "Jobs of the type that run."),
    oldest_age_s=said(maybe(NUMBER), "Of the waiting jobs."),
    growth_per_minute=said({"type": "number"}, "How many more wait than a minute ago, an estimate."),
    done_per_minute=said(NUMBER, "Attempts that succeeded in the last minute."),
    failed_per_minute=said(NUMBER, "Attempts that did not, whether or not another follows."),
    **PERCENTILES,
    handled=said(SWITCH, "A living worker has a handler for it."),
    paused=said(SWITCH, "The type is paused in that queue."),
)
STATS = full(
    now=TIME,
    version=TEXT,
    health=listed(
        FINDING,
        maxItems=MAX_FINDINGS,
        description="Ranked by the jobs that each hurts and by how new it is; [] when all is well.",
    ),
    jobs=BY_STATUS,
    rates=RATES,
    minutes=listed(MINUTE, description=f"{HOUR} of them over all queues, the oldest first, this one last."),
    queues=listed({"allOf": [ref("Queue"), PACE]}),
    workers=listed(ref("Worker")),
    types=listed(
        TYPE_FIGURES,
        maxItems=ROWS_MOST,
        description=f"The one that grows most first. Beyond {TYPES_KEPT} types of a queue, {OTHER} is the rest.",
    ),
    types_more=said(WHOLE, "How many further types there are."),
    record=said(SWITCH, "A record is kept: GET /history shows it."),
)
BOOKS = full(
    queue=TEXT,
    reaper_at=maybe(TIME),
    balance=said(INTEGER, "Submitted jobs that are nowhere: 0 when the books balance."),
    checked_at=maybe(TIME),
    problems=said(maybe(INTEGER), "What the checker found then."),
)
SYSTEM = full(
    redis=said(ANYTHING, "Version, role, memory, persistence; warnings says what that means."),
    config=said(ANYTHING, "The settings of this API process, without secrets."),
    queues=listed(BOOKS),
    api=said(
        shape(
            {
                **alike(TEXT, "version", "python"),
                "started_at": said(TIME, "When it was started."),
                "pid": said(WHOLE, "Its process."),
            }
        ),
        "The process that answers.",
    ),
)
METRICS = {"application/json": ANYTHING, "text/plain": TEXT}
