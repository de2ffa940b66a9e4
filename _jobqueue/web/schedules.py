"""The calls for schedules, and their description."""

from __future__ import annotations

from typing import Any

import bottle

from _jobqueue.records import NAME
from _jobqueue.schedules import (
    COUNTS,
    JOB_MEMBERS,
    MAX_CRON_CHARS,
    MAX_EVERY_S,
    MAX_GRACE_S,
    MAX_SCHEDULES,
    MAX_ZONE_CHARS,
    MISSED,
    NEXT_PREVIEWED,
    OUTCOMES,
    OVERLAP,
    Planned,
    Schedule,
    check_name,
)
from _jobqueue.store.cursors import NO_CURSOR
from _jobqueue.web import inputs
from _jobqueue.web.backend import Backend
from _jobqueue.web.jobs import MAX_PAGE, PAGE
from _jobqueue.web.openapi import Route
from _jobqueue.web.problems import Problem
from _jobqueue.web.schemas import NEW_JOB
from _jobqueue.web.shapes import STATUS, SWITCH, TEXT, TIME, WHOLE, Schema, full, listed, maybe, ref, said, shape
from jobqueue import Conflict, Filter, Invalid, NewJob

# ------------------------------------------------------------------------------------------------------------- calls


def put(backend: Backend, queue: str, schedule: str) -> dict[str, Any]:
    """Make or replace a schedule. ``?dry_run`` says when it would be due."""
    _check(queue, schedule)
    asked = inputs.query("dry_run").get("dry_run", "false")
    if asked not in ("", "true", "false"):
        raise Invalid([("/dry_run", "must be true or false, or have no value")])
    dry_run = asked != "false"
    wanted = Schedule.of_json(inputs.body(backend.config.max_body_bytes))
    planned, is_new = backend.jobs.schedules.put(queue, schedule, wanted, dry_run=dry_run)
    bottle.response.status = 201 if is_new and not dry_run else 200
    missing = backend.advice.on([NewJob(wanted.job.type, queue=queue, webhook=wanted.job.webhook)])
    answer = planned.as_dict(NEXT_PREVIEWED) if dry_run else planned.as_dict()
    return answer | ({"warning": missing[0].text} if missing else {})


def get(backend: Backend, queue: str, schedule: str) -> dict[str, Any]:
    _check(queue, schedule)
    return backend.jobs.schedules.get(queue, schedule).as_dict()


def delete(backend: Backend, queue: str, schedule: str) -> None:
    _check(queue, schedule)
    backend.jobs.schedules.delete(queue, schedule)
    bottle.response.status = 204


def run(backend: Backend, queue: str, schedule: str) -> dict[str, Any]:
    """Submit its job now, beside its due times."""
    inputs.no_body()
    _check(queue, schedule)
    try:
        job_id, existing = backend.jobs.schedules.run(queue, schedule)
    except Conflict as error:
        raise Problem(409, "refused", str(error)) from None
    bottle.response.status = 200 if existing else 201
    bottle.response.set_header("Location", f"/jobs/{job_id}")
    if existing:
        bottle.response.set_header("Unique-Existing", "true")
    return backend.jobs.get(job_id).as_dict()


def pause(backend: Backend, queue: str, schedule: str, paused: bool = True) -> dict[str, Any]:
    inputs.no_body()
    _check(queue, schedule)
    return backend.jobs.schedules.pause(queue, schedule, paused).as_dict()


def resume(backend: Backend, queue: str, schedule: str) -> dict[str, Any]:
    return pause(backend, queue, schedule, False)


def page(backend: Backend) -> dict[str, Any]:
    """All queues' schedules, by queue and name."""
    given = inputs.query("queue", "limit", "cursor")
    limit = inputs.whole(given, "limit", PAGE, 1, MAX_PAGE)
    queue = Filter(queue=given.get("queue")).queue
    wanted = [each for each in backend.jobs.queues() if queue in (None, each)]
    found, total = backend.jobs.schedules.page(wanted, limit + 1, _place_of(given.get("cursor")))
    shown = found[:limit]
    return {
        "schedules": [planned.as_dict() for planned in shown],
        "total": total,
        "next_cursor": _cursor_of(shown[-1]) if len(found) > limit else None,
    }


def _check(queue: str, schedule: str) -> None:
    check_name(queue, "/queue")
    check_name(schedule, "/schedule")


def _cursor_of(planned: Planned) -> str:
    return f"{planned.queue}:{planned.name}"  # no name holds a colon


def _place_of(cursor: str | None) -> tuple[str, str]:
    queue, colon, name = (cursor or ":").partition(":")
    if cursor is not None and not (colon and NAME.fullmatch(queue) and NAME.fullmatch(name)):
        raise Invalid(NO_CURSOR)
    return queue, name


# ------------------------------------------------------------------------------------------------------- description

_JOB = {name: each for name, each in NEW_JOB["properties"].items() if name in JOB_MEMBERS}
_RULE: Schema = {
    "cron": said(
        {"type": "string", "minLength": 1, "maxLength": MAX_CRON_CHARS, "format": "cron"},
        "Minute, hour, day of month, month, day of week. Needs the package cronsim, else 422 no_cron.",
    ),
    "every_s": said({"type": "number", "minimum": 1, "maximum": MAX_EVERY_S}, "From starts_at on, or from its making."),
    "timezone": said(
        {"type": "string", "minLength": 1, "maxLength": MAX_ZONE_CHARS, "format": "timezone", "default": "UTC"},
        "An IANA name. Given times of day that a change of the clock leaves out run when the gap ends; those that come twice, once.",
    ),
    "missed": {
        "enum": list(MISSED),
        "default": MISSED[0],
        "description": "What becomes of due times that no reaper was there for: one run, none, or all, 100 at most.",
    },
    "grace_s": said(
        {"type": "number", "minimum": 0, "maximum": MAX_GRACE_S},
        "How late a run may be, at least 2 s. By default the smaller of the interval and an hour; with none 10 s, with all any.",
    ),
    "overlap": {
        "enum": list(OVERLAP),
        "default": OVERLAP[0],
        "description": "Skip a due time while the last job has not ended, or allow it.",
    },
    "starts_at": said(TIME, "No due time before it."),
    "ends_at": said({"type": "string", "format": "later-time"}, "No due time after it."),
}
NEW_SCHEDULE = shape(
    _RULE | _JOB,
    (),
    additionalProperties=False,
    oneOf=[{"required": ["cron"]}, {"required": ["every_s"]}],
    example={
        "cron": "30 2 * * *",
        "timezone": "Europe/London",
        "type": "report.generate",
        "payload": {"of": "yesterday"},
    },
)
_LAST = full(
    outcome=said(
        {"enum": list(OUTCOMES)}, "What became of that due time or, when there was one since, of an operator's run."
    ),
    at=TIME,
    scheduled_for=said(maybe(TIME), "The latest due time that is over."),
    job_id=said(maybe(TEXT), "The last job that it made."),
    job_status=said({"enum": [*STATUS["enum"], None]}, "What has become of that job; null where it is gone."),
)
_COUNTED = {
    "fired": "Those that have submitted a job.",
    "late": "Of these, those that were late.",
    "skipped": "Those that found the last job still there.",
    "missed": "Those that no reaper was there for.",
}
SCHEDULE = shape(
    {
        "name": TEXT,
        "queue": TEXT,
        **{name: {k: v for k, v in each.items() if k != "default"} for name, each in (_RULE | _JOB).items()},
        "payload_preview": said(TEXT, "In lists, in the place of a payload above 2 KiB."),
        "truncated": listed({"enum": ["payload"]}),
        "paused": SWITCH,
        "next": said(
            listed(TIME),
            "The next three due times, with the offset of its time zone; [] while it is paused, and at its end.",
        ),
        "in_words": said(TEXT, "When it fires, as a sentence."),
        "last": said({"oneOf": [_LAST, {"type": "null"}]}, "What became of it last."),
        "counts": shape(
            {name: said(WHOLE, _COUNTED[name]) for name in COUNTS}, description="What became of its due times so far."
        ),
        "created_at": maybe(TIME),
        "updated_at": maybe(TIME),
        "warning": said(TEXT, "In the answer to a PUT: who is missing to run its jobs, as things are."),
    },
    ("name", "queue", "type", "paused", "next", "in_words"),
)
SCHEDULES = full(schedules=said(listed(SCHEDULE), "By queue and name."), total=WHOLE, next_cursor=maybe(TEXT))

TAG = "Schedules"
TAGS = {TAG: f"Jobs that are submitted again and again; {MAX_SCHEDULES:,} a queue."}
ONE = "/queues/<queue>/schedules/<schedule>"

# fmt: off
ROUTES = (
    Route("GET", "/schedules", "read", TAG, "schedules", "List schedules",
          {200: SCHEDULES}, page, ("queue", "limit", "place")),
    Route("PUT", ONE, "admin", TAG, "putSchedule", "Make or replace a schedule; its queue need not exist yet",
          {201: SCHEDULE, 200: SCHEDULE}, put, ("dry_run",), NEW_SCHEDULE),
    Route("GET", ONE, "read", TAG, "schedule", "See a schedule",
          {200: SCHEDULE}, get, also=(422,)),
    Route("DELETE", ONE, "admin", TAG, "deleteSchedule", "Forget a schedule; the jobs that it has made stay",
          {204: None}, delete, also=(422,)),
    Route("POST", ONE + "/run", "admin", TAG, "runSchedule", "Submit a schedule's job now, beside its due times",
          {201: ref("Job"), 200: ref("Job")}, run, also=(409,)),
    Route("POST", ONE + "/pause", "admin", TAG, "pauseSchedule", "Pause a schedule",
          {200: SCHEDULE}, pause),
    Route("POST", ONE + "/resume", "admin", TAG, "resumeSchedule", "Resume a schedule, from now on",
          {200: SCHEDULE}, resume),
)
# fmt: on
