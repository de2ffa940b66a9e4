"""The JSON of requests and answers, as JSON Schema. Every number is the constant that is enforced."""

from __future__ import annotations

from _jobqueue.keys import SCOPES, WORK
from _jobqueue.limits import LIMIT, MAX_NAMED, OF_TYPE
from _jobqueue.listed import ACTIONS, GONE
from _jobqueue.records import (
    ACT_MOST,
    DAY_MS,
    DEFAULT_PRIORITY,
    DEFAULT_QUEUE,
    DEFAULT_TYPE,
    DURABILITIES,
    FAILURES,
    FAIR_KEY,
    LOG_LINES,
    MAX_ATTEMPTS,
    MAX_DELAY_MS,
    MAX_KEY_CHARS,
    MAX_PARENTS,
    MAX_TAGS,
    MAX_WEBHOOK_CHARS,
    MIN_TIMEOUT_MS,
    NAME,
    PRIORITIES,
    STATUSES,
    TAG,
    WHEN,
)
from _jobqueue.web.diagnosis import EXPLANATIONS
from _jobqueue.web.figures import STATS, SYSTEM
from _jobqueue.web.jobs import FILTERS, LIST_FILTERS
from _jobqueue.web.queue_schemas import QUEUE, VERDICT, WORKER
from _jobqueue.web.shapes import (
    ANYTHING,
    CURSOR,
    GIVEN,
    INTEGER,
    NUMBER,
    PRIORITY,
    STATUS,
    SWITCH,
    TEXT,
    TIME,
    WHOLE,
    WORD,
    Schema,
    alike,
    full,
    listed,
    maybe,
    ref,
    said,
    seconds,
    shape,
)

# -------------------------------------------------------------------------------------------------------------- jobs

NEW_JOB = shape(
    {
        "payload": {"description": "Any JSON. The handler gets it as it is.", "default": None},
        "type": {**WORD, "default": DEFAULT_TYPE, "description": "Which handler runs it."},
        "queue": said(WORD, f"Without it: the queue that the handler of its type names, else {DEFAULT_QUEUE}."),
        "priority": {
            "oneOf": [PRIORITY, {"enum": list(PRIORITIES)}],
            "default": DEFAULT_PRIORITY,
            "description": "Higher first; low, normal and high are {low}, {normal} and {high}.".format(**PRIORITIES),
        },
        "delay_s": seconds(0, MAX_DELAY_MS, "Run it that much later."),
        "expires_s": seconds(
            1,
            MAX_DELAY_MS,
            "Cancel it, kind expired, if it has not started by then, wherever it waits. The time begins with the submit; of a job "
            "that waits for others, with its release. Longer than delay_s.",
        ),
        "run_at": said(TIME, f"Run it at that time, within {MAX_DELAY_MS // DAY_MS} days. Not together with delay_s."),
        "max_attempts": {"type": "integer", "minimum": 1, "maximum": MAX_ATTEMPTS},
        "timeout_s": seconds(MIN_TIMEOUT_MS, DAY_MS, "One attempt may take that long."),
        "backoff_s": seconds(0, DAY_MS, "First delay between two attempts; it doubles with each error."),
        "max_backoff_s": seconds(0, DAY_MS, "It grows no longer than this; by default an hour."),
        "jitter": {"type": "number", "minimum": 0, "maximum": 1, "description": "The share of a delay that is random."},
        "unique_key": said(
            {"type": "string", "minLength": 1, "maxLength": MAX_KEY_CHARS},
            "While a job of the queue with this key has not ended, submitting another gives that one back.",
        ),
        "tags": listed({"type": "string", "pattern": f"^{TAG.pattern}$"}, maxItems=MAX_TAGS),
        "webhook": said(
            {"type": "string", "minLength": 1, "maxLength": MAX_WEBHOOK_CHARS, "format": "webhook"},
            "An https address that is told of each end: done, failed, cancelled. See docs/webhooks.md.",
        ),
        "fair_key": said(
            {"type": "string", "pattern": f"^{FAIR_KEY.pattern}$"},
            "Within a priority, jobs of different keys take turns, however many each has; those without one are one key.",
        ),
        "limits": listed(
            {"type": "string", "pattern": f"^(?!{OF_TYPE}){LIMIT.pattern}$"},
            maxItems=MAX_NAMED,
            description="It starts only while all of these let it; see the limits of its queue. 422 too_many_names: 10,000 "
            "names are alive under the patterns of the queue, and this would be a further one.",
        ),
        "name": said(WORD, "What later jobs of the batch call it in `after`."),
        "after": listed(
            {"type": "string", "pattern": rf"^({NAME.pattern}|\*)$"},
            maxItems=MAX_PARENTS,
            description="It waits for these: ids of jobs of its queue; in a batch also names of jobs before it, or * for all of "
            "them. A batch in which jobs wait is stored whole or not at all.",
        ),
        "when": {
            "enum": list(WHEN),
            "default": WHEN[0],
            "description": "Until they are done, or have ended in any way.",
        },
    },
    (),
    additionalProperties=False,
    **{"not": {"required": ["delay_s", "run_at"]}},
    example={"type": "email.send", "payload": {"to": "ada@example.org"}, "priority": "high"},
)
BATCH = shape(
    {"jobs": listed(ref("NewJob"), minItems=1)},
    ("jobs",),
    additionalProperties=False,
    example={"jobs": [{"payload": 1}, {"payload": 2}]},
)

FAILURE = shape(
    {
        "attempt": WHOLE,
        "started_at": maybe(TIME),
        "at": TIME,
        "kind": said(TEXT, f"An exception's class, or {', '.join(FAILURES[1:])}."),
        "message": TEXT,
        **alike(maybe(TEXT), "traceback", "worker"),
    }
)
JOB = shape(
    {
        "job_id": {"type": "string", "format": "uuid"},
        "status": STATUS,
        **alike(TEXT, "type", "queue"),
        "priority": PRIORITY,
        "payload": {},
        "result": {"description": "What the handler returned, once the job is done."},
        "payload_preview": said(
            TEXT, "In lists, in the place of a payload above 2 KiB, which is null: the beginning of its JSON."
        ),
        "result_preview": said(TEXT, "The same of a result."),
        "truncated": said(
            listed({"enum": ["payload", "result", "errors", "log", "after"]}),
            "In lists: what is cut; of errors and log the latest are there. The job itself shows all.",
        ),
        **alike(WHOLE, "attempts", "max_attempts"),
        "error": said(maybe(TEXT), "The last failure's message, until the job is done."),
        "errors": listed(ref("Failure")),
        "progress": said(
            maybe(ANYTHING),
            "fraction (0 to 1) and note, as the handler tells them; null once it is done, unless it told the end.",
        ),
        "log": listed(TEXT),
        "log_times": said(
            listed(maybe(TIME)),
            "When each of these lines came; not there for a log of an earlier release, or one that is cut.",
        ),
        "log_dropped": said(WHOLE, f"Beside these: how many earlier lines are not kept. The last {LOG_LINES} are."),
        "created_at": said(TIME, "When it was submitted."),
        "started_at": said(maybe(TIME), "When its latest attempt began."),
        "finished_at": maybe(TIME),
        "run_at": said(maybe(TIME), "When it is or was due."),
        "cancel_requested_at": said(maybe(TIME), "Since when its handler is asked to stop."),
        "timeout_s": NUMBER,
        "position": said(maybe(INTEGER), "Its place in the queue, 1 is next."),
        "worker": maybe(TEXT),
        "tags": listed(TEXT),
        "limits": said(listed(TEXT), "The limits that it names."),
        "name": said(TEXT, "In its workflow."),
        "fair_key": said(TEXT, "With whom it shares its turns."),
        "after": said(listed(TEXT), "The jobs that it waits for, or has waited for."),
        "when": {"enum": list(WHEN)},
        "blocked_by": said(WHOLE, "How many of them it still waits for."),
        "unique_key": said(TEXT, "The key that no other job has until this one has ended."),
        **alike(said(NUMBER, "Its own, where it was submitted with one."), "backoff_s", "max_backoff_s", "jitter"),
        "webhook": said(TEXT, "Who is told of its ends; of a delivery, whom it tells."),
        "snoozes": said(WHOLE, "How often its handler has put it off, since its submit or an operator's retry."),
        "snoozed_at": said(maybe(TIME), "When it last did."),
        "expires_s": said(NUMBER, "Within that time it must start, or is cancelled."),
        "expires_at": said(maybe(TIME), "The end of that time; null while it is blocked, and once it is cancelled."),
        "actions": said(
            listed(
                shape(
                    {
                        "at": TIME,
                        "action": said({"enum": ["cancel", "stop", "retry", "run"]}, "What was done."),
                        "by": maybe(TEXT),
                        "payload": said(SWITCH, "True of a retry that has brought another payload."),
                    },
                    ("at", "action", "by"),
                )
            ),
            "What operators did to it, with the name of their key; the latest 20.",
        ),
        "schedule": said(TEXT, "Of a job that a schedule has made: its name."),
        "scheduled_for": said(maybe(TIME), "The due time that it is for; null for an operator's run."),
        "traceparent": said(TEXT, "Of a job that belongs to a trace: the header of its submit, or the span of that."),
        "tracestate": said(TEXT, "The same."),
        "durability": said(
            {"enum": list(DURABILITIES)}, "In the answer to a submit, where DURABILITY is set: what is confirmed."
        ),
        "warning": said(TEXT, "In the answer to a submit: what is not confirmed, or why it may not run soon."),
    },
    ("job_id", "status", "result", "attempts"),
)
# Of the record alone.
JOB["properties"] |= {
    "source": said({"enum": ["history"]}, "It is from the record: the queue has forgotten it."),
    "deleted": said(SWITCH, "In the record: somebody has deleted it, so its content is erased."),
}
TOLD = {
    "anyOf": [
        ref("Job"),
        said(
            shape({"id": TEXT, "job_id": TEXT, "status": said(TEXT, "Its status there.")}, ("id", "job_id", "status")),
            "In another system's words.",
        ),
    ]
}
RESULT = shape(
    {
        "status": said(WHOLE, "The HTTP status that the job alone would have got."),
        "job": ref("Job"),
        "error": ref("Problem"),
    },
    ("status",),
)
RESULTS = shape(
    {"results": said(listed(ref("Result")), "One for each job, in their order."), "warnings": listed(TEXT)},
    ("results",),
)
PAGE = full(
    jobs=listed(ref("Job")),
    total=said(maybe(INTEGER), "All that match; null where only a scan could tell."),
    next_cursor=said(maybe(TEXT), "Continues the list, while jobs come and go; null at the end."),
    looked=said(WHOLE, "How many jobs were looked at for this page."),
    there=said(WHOLE, "Of how many in the whole list."),
)
COUNTS = full(
    jobs=said(
        {"type": "object", "additionalProperties": WHOLE},
        "Status -> how many match, without those statuses that a job of the filter cannot have.",
    ),
    at_least=said(listed(STATUS), "Of these statuses there may be more: only some of the jobs were looked at."),
)
PARENT = shape(
    {
        "job_id": TEXT,
        "status": {"enum": [*STATUSES, GONE]},
        "result": {"description": "null where it is too long: then truncated says so."},
        "error": said(maybe(TEXT), "Its last failure's message."),
        "truncated": listed({"enum": ["result"]}),
    },
    ("job_id", "status", "result", "error"),
)
PARENTS: Schema = {"type": "object", "additionalProperties": PARENT, "description": "By name, else by id."}
FLOW = full(
    jobs=said(
        listed(full(job_id=TEXT, name=maybe(TEXT), type=TEXT, status=STATUS, after=listed(TEXT))), "The nearest first."
    ),
    truncated=said(SWITCH, "There are more."),
)
FLOWS = full(
    flows=said(
        listed(
            full(
                created_at=said(TIME, "When the newest of its jobs was submitted that was looked at."),
                queue=TEXT,
                **alike(TEXT, "job_id", "type"),
                name=said(maybe(TEXT), "Of a job for which no other waits, as its id and type."),
                jobs=said({"type": "object", "additionalProperties": WHOLE}, "How many have which status."),
                total=WHOLE,
                truncated=said(SWITCH, "There are more, which are not counted."),
            )
        ),
        "Found by their jobs, the newest of each status first. Each workflow stands in one page.",
    ),
    next_cursor=said(maybe(TEXT), "Continues the list; null at the end. There may be more where a page has none."),
)
HISTORY_PAGE = full(
    jobs=listed(ref("Job")),
    next_cursor=said(
        maybe(TEXT), "Continues the list; null at the end. There may be more where a page has few jobs, or none."
    ),
    looked_to=said(maybe(TIME), "All that match and are not older are told of; null: all that match."),
)
FILTER_TO_ERASE = shape(
    {name: STATUS if name == "status" else GIVEN for name in FILTERS} | {"since": TIME, "until": TIME},
    minProperties=1,
    additionalProperties=False,
)
ERASE = shape(
    {"filter": FILTER_TO_ERASE, "cursor": said(TEXT, "next_cursor of the answer before, to the same filter.")},
    ("filter",),
    additionalProperties=False,
)
ERASED = full(
    erased=said(WHOLE, "How many were removed by this call."),
    next_cursor=said(maybe(TEXT), "Repeat the call with it while it is not null."),
)
FOUND = full(
    q=TEXT,
    found=listed(
        full(
            **{
                "as": said(
                    {"enum": ["job", "unique_key", "idempotency_key", "tag", "kind", "queue", "type"]},
                    "What the text is.",
                )
            },
            job={"oneOf": [ref("Job"), {"type": "null"}]},
            filter=said(maybe(ANYTHING), "What the lists of jobs take to show them, where it is no job."),
            jobs=said(maybe(INTEGER), "How many there are, where that is known."),
            source={"enum": ["queue", "history"]},
        ),
        description="What it names.",
    ),
    notes=said(listed(TEXT), "What was not looked at, in sentences."),
)
EXPLANATION = full(
    code={"enum": list(EXPLANATIONS)},
    explanation=said(TEXT, "Why it is not running yet, or what happened; one or two sentences."),
    job=ref("Job"),
)

# --------------------------------------------------------------------------------------------------------- operations

CANCEL = shape(
    {
        "force": said(
            {**SWITCH, "default": False},
            "A running handler is not only asked: it is interrupted, as at its timeout. Of a worker that speaks HTTP the job is taken.",
        )
    },
    additionalProperties=False,
)
WHOAMI = full(
    name=said(maybe(TEXT), "Null where no keys are set."),
    scope=said({"enum": [*SCOPES, WORK]}, "What it may do: each of read, submit, admin includes those before it."),
    queues=said({"type": ["array", "null"], "items": TEXT}, "Those that there are for it; null for all."),
)
RETRY = shape(
    {"payload": {"description": "Another payload for it. Without one it keeps its own."}}, additionalProperties=False
)
BULK = shape(
    {
        "action": {"enum": list(ACTIONS)},
        "ids": listed(TEXT, minItems=1, maxItems=ACT_MOST),
        "filter": shape(
            {name: {"status": STATUS, "error": TEXT}.get(name, GIVEN) for name in LIST_FILTERS}
            | {"since": TIME, "until": TIME},
            minProperties=1,
            additionalProperties=False,
            description="As those of a list. Without a status, only jobs whose status allows the action match.",
        ),
        "cursor": said(CURSOR, "next_cursor of the answer before, to the same action and filter."),
        "dry_run": {**SWITCH, "default": False, "description": "Count what would change, and change nothing."},
        "operation": said(WORD, "A name for it, under which lists find for a day what it has changed."),
    },
    ("action",),
    additionalProperties=False,
    oneOf=[
        {"required": ["ids"], "not": {"anyOf": [{"required": ["filter"]}, {"required": ["cursor"]}]}},
        {"required": ["filter"], "not": {"required": ["ids"]}},
    ],
    example={"action": "retry", "filter": {"status": "failed", "type": "email.send"}, "dry_run": True},
)
_ACTED = full(
    action={"enum": list(ACTIONS)},
    dry_run=SWITCH,
    matched=said(WHOLE, "Changed and skipped."),
    changed=said(WHOLE, "In a dry run, how many would be."),
    skipped=said(
        {"type": "object", "additionalProperties": WHOLE},
        "Why not -> how many: a status that forbids it, not_found, or taken (another job has the unique key).",
    ),
    next_cursor=said(maybe(TEXT), "Repeat the call with it while it is not null, and add up."),
)
ACTED = shape({**_ACTED["properties"], "operation": said(WORD, "As it was asked for.")}, tuple(_ACTED["required"]))
REQUEUED = full(
    requeued=said(WHOLE, "How many were retried."), left=said(WHOLE, "How many dead letters are left: call again.")
)
LATEST = full(job_id=TEXT, at=TIME, type=TEXT, message=said(TEXT, "The beginning of its last error."))
KIND: Schema = {
    "kind": TEXT,
    "count": WHOLE,
    "first_at": said(TIME, "When the oldest of them failed."),
    "latest": LATEST,
}
KINDS = full(kinds=listed(full(**KIND)))
ERRORS = full(
    errors=listed(
        full(
            **alike(TEXT, "kind", "type"),
            error=said(TEXT, "What they say: their message with … for numbers, ids, addresses and quoted values."),
            count=said(WHOLE, "Of those that were looked at."),
            first_at=TIME,
            latest=LATEST,
            minutes=said(listed(WHOLE), "How many failed in each minute of the last hour, this one last."),
        ),
        description="The most frequent first.",
    ),
    more=said(WHOLE, "How many further groups there are."),
    kinds=said(
        listed(full(**KIND, looked=said(WHOLE, "How many of them were looked at: the latest."))),
        "All of them, the most frequent first.",
    ),
)

# ------------------------------------------------------------------------------------------------------------ problems

PROBLEM = shape(
    {
        "type": said(TEXT, "Which problem it is, as a URI."),
        "title": TEXT,
        "status": said(INTEGER, "The HTTP status."),
        "code": said(TEXT, "Stable; for programs."),
        "detail": said(TEXT, "For people: what is wrong and what to do."),
        "errors": said(
            listed(full(pointer=said(TEXT, "JSON pointer to the field."), detail=TEXT)), "The fields that are wrong."
        ),
    },
    ("type", "title", "status", "code", "detail"),
)

# Those that have a name in the description.
NAMED = {
    "NewJob": NEW_JOB,
    "Job": JOB,
    "Failure": FAILURE,
    "Result": RESULT,
    "Page": PAGE,
    "Explanation": EXPLANATION,
    "Queue": QUEUE,
    "Worker": WORKER,
    "Verdict": VERDICT,
    "Stats": STATS,
    "System": SYSTEM,
    "Problem": PROBLEM,
}
