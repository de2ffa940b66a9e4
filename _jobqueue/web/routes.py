"""The table of routes: Bottle routes by it, and the description of the API is made from it."""

from __future__ import annotations

from _jobqueue.keys import ANY_KEY
from _jobqueue.records import ACT_MOST, REQUEUE_MOST
from _jobqueue.store.flow_pages import PAGE_MOST
from _jobqueue.web import flows, jobs, operations, operators, queues, status
from _jobqueue.web.figures import METRICS
from _jobqueue.web.inputs import MAX_BATCH_JOBS
from _jobqueue.web.jobs import LIST_FILTERS
from _jobqueue.web.openapi import ANYBODY, OUR_HOSTS, Route
from _jobqueue.web.queue_schemas import LIMIT_QUEUE, QUEUES, WORKERS
from _jobqueue.web.schemas import (
    ACTED,
    BATCH,
    BULK,
    CANCEL,
    COUNTS,
    ERRORS,
    FLOW,
    FLOWS,
    KINDS,
    PARENTS,
    REQUEUED,
    RESULTS,
    RETRY,
    TOLD,
    WHOAMI,
)
from _jobqueue.web.shapes import ANYTHING, ref

TAGS = {
    "Jobs": "Submit work, alone, in batches or as workflows, and see what becomes of it: also by tag, by webhook, by search.",
    "Dead letters": "Jobs that have failed for good: counted by kind of error, and retried.",
    "Queues and workers": "What waits where and who works on it; pausing, checking and limiting a queue.",
    "Health": "For probes, monitoring and the dashboard; the key in use.",
}
TIMES = ("since", "until")
TRACE = ("traceparent", "tracestate")
LIST = ("limit", "offset", "cursor")
NEW_JOB, JOB, PAGE, QUEUE = ref("NewJob"), ref("Job"), ref("Page"), ref("Queue")
EXPLANATION, VERDICT, STATS, SYSTEM = ref("Explanation"), ref("Verdict"), ref("Stats"), ref("System")

# fmt: off
ROUTES = (
    Route("POST", "/jobs", "submit", "Jobs", "submit", "Submit a job",
          {201: JOB, 200: JOB, 202: JOB}, jobs.submit, ("key", *TRACE), NEW_JOB, also=(404, 409)),
    Route("POST", "/jobs/batch", "submit", "Jobs", "submitBatch", f"Submit up to {MAX_BATCH_JOBS:,} jobs; also one a line, as application/x-ndjson",
          {201: RESULTS, 200: RESULTS, 202: RESULTS, 207: RESULTS}, jobs.submit_batch, ("key", *TRACE), BATCH, also=(404, 409)),
    Route("POST", "/jobs/bulk", "admin", "Jobs", "bulk", f"Retry, cancel, delete or run now up to {ACT_MOST:,} jobs, by their ids or a filter",
          {200: ACTED}, operations.bulk, (), BULK),
    Route("GET", "/jobs", "read", "Jobs", "list", "List jobs",
          {200: PAGE}, jobs.page, (*LIST_FILTERS, *TIMES, *LIST)),
    Route("GET", "/jobs/counts", "read", "Jobs", "counts", "Count jobs by status",
          {200: COUNTS}, jobs.counts, (*LIST_FILTERS[1:], *TIMES)),
    Route("GET", "/jobs/<job_id>", "read", "Jobs", "get", "See a job",
          {200: TOLD}, jobs.get, ("wait_s", "words")),
    Route("GET", "/jobs/<job_id>/explain", "read", "Jobs", "explain", "Explain why a job is not running yet, or what happened to it",
          {200: EXPLANATION}, jobs.explain),
    Route("GET", "/jobs/<job_id>/parents", "read", "Jobs", "parents", "See what has become of the jobs that a job waits for",
          {200: PARENTS}, flows.parents),
    Route("GET", "/jobs/<job_id>/flow", "read", "Jobs", "flow", "See the workflow that a job is part of",
          {200: FLOW}, flows.flow),
    Route("GET", "/flows", "read", "Jobs", "flows", f"List workflows, up to {PAGE_MOST} in a page",
          {200: FLOWS}, flows.flows, ("flow_cursor",)),
    Route("DELETE", "/jobs/<job_id>", "admin", "Jobs", "delete", "Forget a job that does not run",
          {204: None}, operations.delete, also=(409,)),
    Route("POST", "/jobs/<job_id>/retry", "admin", "Jobs", "retry", "Run a failed or cancelled job again, with fresh attempts",
          {200: JOB}, operations.retry, (), RETRY, needs_body=False, also=(409,)),
    Route("POST", "/jobs/<job_id>/cancel", "admin", "Jobs", "cancel", "Cancel a job, or ask its handler to stop",
          {200: JOB, 202: JOB}, operations.cancel, (), CANCEL, needs_body=False, also=(409,)),
    Route("POST", "/jobs/<job_id>/run", "admin", "Jobs", "runNow", "Run a scheduled job now",
          {200: JOB}, operations.run_now, also=(409,)),
    Route("GET", "/dlq", "read", "Dead letters", "deadLetters", "List dead letters",
          {200: PAGE}, operations.dead_letters, ("type", "queue", "kind", *TIMES, *LIST)),
    Route("GET", "/dlq/kinds", "read", "Dead letters", "kinds", "Count dead letters by the kind of their last error",
          {200: KINDS}, operations.kinds, ("queue",)),
    Route("GET", "/dlq/errors", "read", "Dead letters", "errors", "Group dead letters by kind, type and what their last errors say",
          {200: ERRORS}, operations.errors, ("queue",)),
    Route("POST", "/dlq/requeue", "admin", "Dead letters", "requeueAll", f"Retry the oldest dead letters, up to {REQUEUE_MOST:,} of each queue",
          {200: REQUEUED}, operations.requeue_all),
    Route("POST", "/dlq/<job_id>/requeue", "admin", "Dead letters", "requeue", "Retry a dead letter, with fresh attempts",
          {200: JOB}, operations.retry, (), RETRY, needs_body=False, also=(409,)),
    Route("GET", "/queues", "read", "Queues and workers", "queues", "See the queues",
          {200: QUEUES}, queues.queues),
    Route("DELETE", "/queues/<queue>", "admin", "Queues and workers", "deleteQueue", "Forget a queue that holds no jobs",
          {204: None}, queues.delete, also=(409, 422)),
    Route("PUT", "/queues/<queue>", "admin", "Queues and workers", "limitQueue", "Limit how many jobs of a queue may wait",
          {200: QUEUE}, queues.limit, (), LIMIT_QUEUE),
    Route("POST", "/queues/<queue>/pause", "admin", "Queues and workers", "pause", "Stop a queue from giving out jobs",
          {200: QUEUE}, queues.pause),
    Route("POST", "/queues/<queue>/resume", "admin", "Queues and workers", "resume", "Let a queue give out jobs again",
          {200: QUEUE}, queues.resume),
    Route("POST", "/queues/<queue>/types/<job_type>/pause", "admin", "Queues and workers", "pauseType", "Stop a queue from giving out jobs of a type",
          {200: QUEUE}, queues.pause_type, also=(409,)),
    Route("POST", "/queues/<queue>/types/<job_type>/resume", "admin", "Queues and workers", "resumeType", "Let a queue give out jobs of a type again",
          {200: QUEUE}, queues.resume_type),
    Route("POST", "/queues/<queue>/check", "admin", "Queues and workers", "check", "Say whether every invariant of a queue holds",
          {200: VERDICT}, queues.check, also=(409,)),
    Route("GET", "/workers", "read", "Queues and workers", "workers", "See the workers",
          {200: WORKERS}, queues.workers),
    Route("GET", "/whoami", ANY_KEY, "Health", "whoami", "See the name, scope and queues of the key",
          {200: WHOAMI}, operators.whoami),
    Route("GET", "/metrics", "read", "Health", "metrics", "Read counters, as JSON or for Prometheus",
          {200: METRICS}, status.metrics, ("format",)),
    Route("GET", "/stats", "read", "Health", "stats", "See what is wrong, rates, queues, workers, types and the last hour in one answer",
          {200: STATS}, status.stats),
    Route("GET", "/system", "read", "Health", "system", "See what the system runs on, and how it is set",
          {200: SYSTEM}, status.system),
    Route("GET", "/health", ANYBODY, "Health", "health", f"200 while Redis answers within {status.HEALTH_S:g} s",
          {200: ANYTHING}, status.health, ("verbose",)),
    Route("GET", "/livez", ANYBODY, "Health", "livez", "200 while the process serves",
          {200: ANYTHING}, status.livez),
    Route("GET", "/openapi.json", OUR_HOSTS, "Health", "openapi", "Read this description",
          {200: ANYTHING}, status.description),
)
# fmt: on
