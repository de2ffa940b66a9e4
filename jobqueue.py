"""The queue: its states, its keys in Redis, its promises; what users import.

    submit ─┬─> queued ──claim──> processing ──finish ok──────────────> done
            ├─> scheduled ─promote─┘ ^  │ ├──error, attempts left─> scheduled (backoff); snooze ─> scheduled
            └─> blocked (below)      │  │ └──error, none left─────> failed ──retry──> queued
                                     │  └──lease ran out: reap ────> queued, or failed when attempts are spent
                                     └──release (drain, give back)
    blocked  ──the jobs that it waits for have ended──> queued or scheduled; one is cancelled or gone ──> cancelled
    queued, scheduled, blocked, processing  ──cancel──> cancelled; queued, scheduled ──not started in time──> cancelled

Every key of queue q starts with ``jq:{q}:`` (one Redis Cluster slot for each queue):

    job:<id>           hash    the job: the truth. No TTL: the reaper trims it together with its index entry
    queue              zset    queued ids by (9 - priority) * 2^43 + seq: strict priority, FIFO inside; or by turns of fair keys
    turns              zset    <priority> <fair key> -> its last place, while keys take turns: lua/parts/fair.lua
    rounds             hash    priority -> the greatest place that was claimed there
    held               zset    queued ids that are parked: a worker that met them may not run them; scored as in queue
    lane:<type>        zset    the same ids, for each type
    lanes              zset    type -> first score of its lane, while the type is not paused
    limits patterns permits:<name> ...  what jobs are limited by, see lua/parts/limits.lua
    pauses             set     types that are paused
    strange            set     types that were submitted while no worker had published them, and have jobs that wait
    scheduled          zset    id -> due time
    expires            zset    ids that have not started -> until when they may, where that is bounded
    blocked            zset    ids that wait for other jobs -> since when
    then:<id>          zset    jobs that wait for a job, or have waited -> the edge, see lua/parts/edges.lua
    after:<id>         list    jobs that a job waits for, or has waited for; the first four stand in its hash
    ends               zset    jobs whose children have not all been told what has become of them
    stuck              zset    dead letters for which children wait -> since when
    leases             zset    ids in processing -> when the lease ends
    done failed cancelled zset id -> when it ended; failed is the dead-letter queue
    bell:<kit>         list    at most one wake token for the workers of a kit: "look at the queue"
    bell               list    the same for workers without a kit: those of the release before
    processing:<slot>  list    what one worker thread holds: BLMOVE's destination, then the ids it claimed
    slots              hash    slot -> sequence number of its last claim
    workers            zset    worker -> last beat
    worker:<worker>    string  what it is and runs, JSON
    remote:<worker>    hash    of a worker that speaks HTTP: its claims, see lua/parts/remotes.lua; it ends by itself
    kits               zset    kit -> last beat of a worker that has it; a kit is the set of types that a worker handles
    kit:<kit>          zset    its types -> their timeouts in ms
    types              hash    type -> "max_attempts timeout_ms backoff_ms", published by the workers
    backoffs           hash    type -> "max_backoff_ms jitter", the same
    totals stats:<minute>  hash  counters, written inside the transitions; of a minute also the oldest waiting job's age
    by_type by_type:<minute>  hash  type -> its counters as JSON, as the workers' beats tell them
    counted            zset    the same types -> when they were last counted
    sums:<block>       hash    of ten minutes: type, or * for all -> counters as JSON; for 48 hours: lua/parts/sums.lua
    recent             list    of the last 90 s, every ten: when, how many waited, how many had ended
    idem:<key>         hash    what was asked under an idempotency key, and how many of its jobs are still kept
    unique:<key>       string  the job that holds a unique key, whether or not it has ended
    tag:<tag>          zset    ids with a tag -> when they were submitted
    tally:<tag>        hash    how many of them have which status, see lua/parts/tags.lua
    recounts           set     tags that are to be counted anew
    kind:<kind>        zset    dead letters whose last error is of that kind -> when they failed
    kinds              set     the kinds that have any
    acted:<operation>  zset    what an operator's action on many jobs has changed -> when; for a day
    unsaved            zset    while a record is kept: ids that it lacks -> revision of their last change; below 0 what it refused
    aside              hash    id of a job that the record has refused -> why
    gone:<id>          hash    a job that was trimmed or deleted before the record knew
    deliveries         zset    webhooks that are not told yet: id of the job that tells -> when it may run; below 0 since when it
                               runs; inf: a dead letter
    calls:<host>       zset    the same ids, while a host is called -> until when the call counts at most
    pace:<host>        hash    how long its last call took, and when those that wait for room will be through
    schedules          zset    schedule -> when it is due next; inf while it is paused, or when it has ended
    schedule:<name>    hash    a schedule: its rule and its job, a revision, what became of it last, counters
    meta               hash    of the queue  number (its ids carry it), seq, paused, max_queued (jobs that may wait)
                               of the reaper  reaper (its last tick), reaper_lease (its setting), summed (the last minute in sums)
                               how far it has looked  swept (at what waits), looked (at edges)
                               who tells  tells, hooks (last tick of a reaper that tells children, or webhooks)
                               of the data  format, checked (the checker's verdict), confirmed (a write to wait for)
                               of types  bells (those that are rung), unhandled (types that nobody handles), untold (until when a
                                 worker without a kit lived)
                               of the record  rev (last revision for it), rev_claims (1: claims too), hold (most marks), history (its)
                               what is on  gates (1: something is parked or paused, 2: limits), expires (1: see there), fair (1: keys
                                 take turns), turns_ended (1: they did)
                               else  planned (a schedule's last revision), about (a text that makes this hash quicker to read)
    reserved           hash    room that is kept for the rest of a batch

and some belong to no queue:

    jq:queues              hash    queue -> number
    jq:types               hash    type -> queue of its handler
    jq:{jq:queues}:given   set     numbers that were ever given
    jq:{jq:queues}:chart_marks  list  the last 200 marks in charts
    jq:{jq:queues}:meta    hash    as above
    jq:idem:<key>          string  what was asked under an idempotency key, over all queues, for a day
    jq:rate:<client>       list    times of its last requests

A status is membership: each status has one index, each id is in exactly one.
The clock is Redis TIME, read inside the scripts; no client's clock is ever stored. Every transition is one Lua script in
``_jobqueue/lua/``: it checks, then writes, and may be sent twice. A claim's token ``<slot>:<seq>`` is the fence: a result is
accepted only if it carries the token stored in the job's hash. Success is recorded at most once.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from _jobqueue.books import Books, Look
from _jobqueue.by_type import ByType
from _jobqueue.context import Context
from _jobqueue.errors import (
    Conflict,
    Invalid,
    JobQueueError,
    KeyReused,
    NotFound,
    QueueFull,
    TooManyNames,
    TooManyTypes,
    TooNew,
    TooOld,
    Unavailable,
)
from _jobqueue.hooks import on_start, on_stop
from _jobqueue.inline import inline
from _jobqueue.job_types import Fail, Retry, Snooze, handler
from _jobqueue.limits import Limit
from _jobqueue.listed import Acted, Filter, Flow, Hit, Kind, Page, Parent, Workflow, WorkflowPage
from _jobqueue.new_job import NewJob
from _jobqueue.records import (
    ACT_MOST,
    DEFAULT_TYPE,
    MAX_QUEUES,
    QUEUES_MAX,
    REQUEUE_MOST,
    SAME,
    Job,
    Policy,
    Submitted,
    __version__,
)
from _jobqueue.redis_version import too_old
from _jobqueue.store import formats, ready, turns
from _jobqueue.store.admission import Admission
from _jobqueue.store.bound import BoundRegistry
from _jobqueue.store.by_type import look_by_type
from _jobqueue.store.chart_marks import ChartMarks
from _jobqueue.store.checker import Checker
from _jobqueue.store.children import Children
from _jobqueue.store.counts import Counts
from _jobqueue.store.dead_letters import DeadLetters
from _jobqueue.store.durability import Durability
from _jobqueue.store.flow_pages import FlowPages
from _jobqueue.store.flows import Flows
from _jobqueue.store.leases import Conversation, Presence
from _jobqueue.store.limits import Limits
from _jobqueue.store.link import Link
from _jobqueue.store.operations import Operations
from _jobqueue.store.pages import Pages
from _jobqueue.store.reads import Reads
from _jobqueue.store.recovery import Recovery
from _jobqueue.store.registry import Registry
from _jobqueue.store.remotes import Remotes
from _jobqueue.store.report import report_on
from _jobqueue.store.schedules import Schedules
from _jobqueue.store.searches import Searches
from _jobqueue.store.store import Store, prefix_of
from _jobqueue.store.submits import Submits
from _jobqueue.store.sums import Sums
from _jobqueue.store.sweeps import Sweeps
from _jobqueue.store.tags import Tags
from _jobqueue.store.unsaved import Marks
from _jobqueue.store.waits import Waits
from _jobqueue.store.webhooks import Deliveries

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from _jobqueue.new_job import JobOptions

__all__ = [
    "Acted",
    "Conflict",
    "Context",
    "Fail",
    "Filter",
    "Invalid",
    "Job",
    "JobQueue",
    "JobQueueError",
    "KeyReused",
    "Limit",
    "NewJob",
    "NotFound",
    "Page",
    "Policy",
    "QueueFull",
    "Retry",
    "Snooze",
    "Submitted",
    "TooManyNames",
    "TooManyTypes",
    "TooNew",
    "TooOld",
    "Unavailable",
    "__version__",
    "handler",
    "inline",
    "on_start",
    "on_stop",
]


class JobQueue:
    """The queues of one Redis. Thread-safe; every method may raise Unavailable."""

    def __init__(
        self,
        url: str = "redis://localhost:6379/0",
        *,
        defaults: Policy | None = None,
        timeout_s: float = 3.0,
        retries: int = 2,
        durability: str = "fast",
        queues_max: int = QUEUES_MAX,
        webhooks: str = "https",
    ) -> None:
        """``url``: redis://, rediss://, unix://, or redis+sentinel://, redis+cluster:// and their rediss+ forms.
        ``durability``: what submits wait for, fast, fsync or replicated; see Submitted.unconfirmed. ``queues_max``: submits
        to a new queue are refused where there are so many. ``webhooks``: what submits may name, https addresses, http (both) or off."""
        self.policy = defaults or Policy()
        self.store = Store(url, self.policy, timeout_s, retries)
        self.store.webhooks = webhooks
        self._durability = Durability(durability, self.store)
        self._use(Registry(self.store, self._durability, queues_max))

    def _use(self, registry: Registry) -> None:
        self._registry = registry
        self._reads = Reads(self.store, self._registry)
        self.tags = Tags(self.store, self._registry)
        self.letters = DeadLetters(self.store, self._registry, self._reads)
        self._pages = Pages(self.store, self._registry, self._reads, self.tags)
        self.counts = Counts(self.store, self._registry, self.tags)
        self._searches = Searches(self.store, self._registry, self._reads)
        self._waits = Waits(self.store, self._registry)
        self._submits = Submits(self.store, self._registry, self._durability, self._reads)
        self.children = Children(self.store, self._registry, self._submits)  # what running jobs submit
        self._flows = Flows(self.store, self._registry)
        self._flow_pages = FlowPages(self.store, self._registry, self._flows)
        self._operations = Operations(self.store, self._registry)
        self._admission = Admission(self.store, self._registry)
        self._sweeps = Sweeps(self.store, self._registry, self._operations)
        self.recovery = Recovery(self.store)  # what a reaper calls
        self.sums = Sums(self.store)  # how queues go, for charts
        self.chart_marks = ChartMarks(self.store)  # of deploys
        self.marks = Marks(self.store)  # what a process of the record calls
        self.schedules = Schedules(self.store, self._registry)
        self.deliveries = Deliveries(self.store, self._registry, self._reads)  # what a worker asks that calls webhooks
        self.limits = Limits(self.store, self._registry)
        self.remotes = Remotes(self.store, self._registry)  # what workers call that speak HTTP

    def bound_to(self, queues: Collection[str]) -> JobQueue:
        """The same Redis, as somebody sees it for whom there are no other queues than these."""
        other = copy.copy(self)
        other._use(BoundRegistry(self._registry, self.store, queues))
        return other

    # -- submit

    def submit(
        self, type: str = DEFAULT_TYPE, payload: Any = None, *, key: str | None = None, **options: Unpack[JobOptions]
    ) -> Job:
        """Store one job and return it. ``options`` are those of NewJob; ``key`` makes a repeat harmless."""
        return self.submit_one(NewJob(type, payload, **options), key).job  # type: ignore[return-value]

    def submit_one(self, job: NewJob, key: str | None = None) -> Submitted:
        """Store one job. Raises what ``Submitted.error`` would hold."""
        return self._submits.one(job, key)

    def submit_many(self, jobs: Sequence[NewJob], *, key: str | None = None) -> list[Submitted]:
        """Store jobs; for each queue, all of a chunk (250 jobs, 4 MiB) or none of it. Where some wait for others (1,000 jobs of
        one queue, 2,000 edges, 2 MiB), all or none. Under a key, ids follow from it: repeating the same call stores what is
        missing and gives back the rest, as lists show jobs. Errors are told for each job; none is raised."""
        return self._submits.many(jobs, key)

    # -- read

    def get(self, job_id: str) -> Job:
        """The job. NotFound for any other id."""
        return self._reads.one(job_id)

    def turns_before(self, job: Job) -> tuple[int, int] | None:
        """How many jobs before a queued one of its priority have its fair key, and how many have not; None above a thousand."""
        return turns.before(self.store, job.queue, job.id)

    def wait(self, job_id: str, timeout_s: float | None = None) -> Job:
        """The job, once it has ended. TimeoutError when it has not within ``timeout_s``; NotFound for any other id."""
        return self._waits.wait(job_id, timeout_s, self.get)

    def is_leaving(self, job_id: str) -> bool:
        """It was deleted or trimmed, and the record has still to learn of it."""
        try:
            return self._registry.find(job_id, lambda queue: self.marks.is_leaving(queue, job_id) or None)
        except NotFound:
            return False

    def page(
        self, wanted: Filter | None = None, *, limit: int = 50, offset: int = 0, cursor: str | None = None
    ) -> Page:
        """One page of the jobs that match: what runs, what waits in its order, then what ended, newest first; of a tag, all
        newest first. ``cursor`` continues a page and stays valid while jobs come and go. Invalid for another's cursor."""
        return self._pages.page(wanted or Filter(), limit, offset, cursor)

    def parents(self, job_id: str, *, results: bool = True) -> dict[str, Parent]:
        """The jobs that a job waits for, or has waited for, by name, else by id, with results up to 64 KiB, or without."""
        return self._flows.parents(job_id, results)

    def flow(self, job_id: str) -> Flow:
        """The workflow that a job is part of: the nearest 1,000 jobs. NotFound for any other id."""
        return self._flows.flow(job_id)

    def workflows(self) -> list[Workflow]:
        """The newest workflows in short, at most 20, of those that have one of the newest jobs of a status."""
        return self.workflow_page().workflows

    def workflow_page(self, cursor: str | None = None) -> WorkflowPage:
        """The same, and the cursor that leads to older ones. Each stands in one page; one may be empty while there are more.
        Invalid for another list's cursor."""
        return self._flow_pages.page(cursor)

    def search(self, text: str) -> list[Hit]:
        """What that very text names in the queues: jobs by id, unique key or idempotency key; a tag, a kind, a queue, a type."""
        return self._searches.search(text)

    def starting(self, prefix: str) -> tuple[list[Hit], int]:
        """Jobs whose id begins so, among the newest of each status; and how many of each were looked at in a queue."""
        return self._searches.starting(prefix)

    def ids_under_key(self, key: str) -> list[str]:
        """The ids that the first job of a request under that idempotency key has, or had, in each queue."""
        return self._searches.candidates(key)

    def kinds(self, queue: str | None = None) -> list[Kind]:
        """The kinds of error among the dead letters (of one queue), the most frequent first."""
        return self._reads.kinds(queue)

    def books(self, queue: str) -> Books:
        """All counts of a queue."""
        return self._reads.books(queue)

    def look(self, queue: str, *, minutes: int = 0, jobs: int = 0) -> Look:
        """All counts, the workers, the counters of the last minutes (this one included) and the types of the next ``jobs``."""
        return self._reads.look(queue, minutes, jobs)

    def all_books(self) -> dict[str, Books]:
        """All counts of all queues."""
        return self._reads.all_books()

    def looks(self, *, minutes: int = 0, jobs: int = 0) -> dict[str, Look]:
        """What look() says, of all queues."""
        return self._reads.looks(minutes, jobs)

    def by_type(self, *, minutes: int = 0) -> dict[str, ByType]:
        """What waits of each type in all queues, and the counters of each in the last minutes, this one included."""
        return look_by_type(self.store, self._registry, minutes)

    def queues(self) -> list[str]:
        """All queues, by number."""
        return self._registry.queues()

    def queue_of(self, job_id: str) -> str:
        """The queue that a job id belongs to. NotFound when there is none."""
        return self._registry.queue_of(job_id)

    def ended(self, job_ids: Iterable[str], seen: dict[str, str]) -> list[str]:
        """Those of some jobs that have ended or are gone. ``seen``: the same for the next call with these jobs, else empty."""
        return self._waits.ended(job_ids, seen)

    def published(self, queue: str) -> dict[str, Policy]:
        """What the workers published of their types, at most 2 s old."""
        return self._registry.published(queue)

    # -- operate

    # ``by``: the operator, for a step of each job; '' for one without a name, None for no step

    def cancel(self, job_id: str, *, force: bool = False, by: str | None = None) -> str:
        """Cancel a job: 'cancelled' when it waited, 'asked' when its handler was asked to stop; with ``force`` that is interrupted
        as at its timeout: 'stopped'. Conflict when it has ended."""
        return self._operations.cancel(job_id, force, by)

    def retry(self, job_id: str, payload: Any = SAME, *, by: str | None = None) -> str:
        """Queue a failed or cancelled job again with fresh attempts, perhaps another payload: 'retried'. Else Conflict."""
        return self._operations.retry(job_id, payload, by)

    def run_now(self, job_id: str, *, by: str | None = None) -> str:
        """Make a scheduled job due now: 'queued'. Conflict for a job that has started or ended."""
        return self._operations.one("run", job_id, by=by)

    def delete(self, job_id: str) -> None:
        """Forget a job. Conflict while it is processing."""
        self._operations.delete(job_id)

    def act_on(
        self, action: str, job_ids: Iterable[str], *, dry_run: bool = False, by: str | None = None, operation: str = ""
    ) -> Acted:
        """Do retry, cancel, delete or run to each of some jobs, or count those that allow it. Repeating is harmless."""
        return self._operations.act_on(action, job_ids, dry_run, by, operation)

    def sweep(
        self,
        action: str,
        wanted: Filter,
        *,
        cursor: str | None = None,
        dry_run: bool = False,
        most: int = ACT_MOST,
        by: str | None = None,
        operation: str = "",
    ) -> Acted:
        """The same to jobs that match, oldest first: to ``most`` (more in a dry run) of those that were there at the first
        call. ``cursor`` continues. Without a status, only the statuses that allow the action count as matching."""
        return self._sweeps.sweep(action, wanted, cursor, dry_run, most, by, operation)

    def requeue_dead(self, queue: str, *, most: int = REQUEUE_MOST, by: str | None = None) -> tuple[int, int]:
        """Retry the queue's dead letters, oldest first, in bounded steps. Returns how many, and how many are left."""
        return self._sweeps.requeue_dead(queue, most, by)

    def pause(self, queue: str, paused: bool = True) -> None:
        """Stop a queue from giving out jobs, or let it go on. NotFound for a queue that was never used."""
        self._operations.pause(queue, paused)

    def pause_type(self, queue: str, type: str, paused: bool = True) -> None:
        """The same for the jobs of a type. Conflict while a worker of the release before serves the queue."""
        self._operations.pause_type(queue, type, paused)

    def limit_waiting(self, queue: str, max_queued: int | None) -> None:
        """Refuse submits (QueueFull) while so many jobs of the queue are queued, scheduled or blocked; None: never."""
        self._admission.limit(queue, max_queued)

    def delete_queue(self, queue: str) -> None:
        """Forget a queue, its counters and limits. Conflict while it holds jobs. One that is used again is a new one."""
        self._operations.delete_queue(queue)

    def admit(self, client: str, limit: int, window_ms: int) -> tuple[bool, int, int]:
        """Count a client's request against its limit. Returns whether it is within it, how many are left, ms until more fit."""
        answer = self.store.run_at(f"jq:rate:{client}", "rate", [limit, window_ms])
        return bool(answer[0]), int(answer[1]), int(answer[2])

    def publish_routes(self, routes: dict[str, str], without: Iterable[str] = ()) -> None:
        """Say which queue the jobs of some types go to when they name none, and that others have none."""
        self._registry.publish_routes(routes, list(without))

    # -- work: what a worker's threads call

    def register(self, queue: str) -> int:
        """Make a queue known, to the reaper too, and return its number."""
        return self._registry.register(queue, MAX_QUEUES)[0]

    def conversation(self, queue: str, slot: str, lease_ms: int, link: Link | None = None) -> Conversation:
        """A slot's side of the protocol. ``slot``: ``<worker>-<number>``, never used before."""
        return Conversation(link or self.store.link(), prefix_of(queue), slot, lease_ms, self.store.defaults)

    def presence(self, queue: str, worker: str, lease_ms: int, link: Link | None = None) -> Presence:
        """A worker's side of the protocol beside its slots."""
        return Presence(link or self.store.link(), prefix_of(queue), worker, lease_ms, self.store.defaults)

    def link(self) -> Link:
        """Connections for one thread."""
        return self.store.link()

    def unblock(self, links: Iterable[Link]) -> None:
        """End the waiting of other threads' links."""
        self.store.unblock(list(links))

    # -- look after

    def ping(self) -> None:
        """Return when Redis answers; of a Cluster, any primary."""
        ready.ping(self.store.servers)

    def wait_until_ready(self, stop: ready.Stop, say: Callable[[str], None]) -> None:
        """Return when Redis answers or ``stop`` is set. Says once that it waits. TooOld when waiting does not help."""

        def look() -> None:
            self.ping()
            self.check_version()
            self.check_format()

        ready.wait_until(look, stop, say)

    def check_version(self) -> None:
        """TooOld for a Redis before 6.2; one that does not tell its version may pass."""
        if reason := too_old(self.server()["version"]):
            raise TooOld(f"this Redis cannot be used: {reason}")

    def check_format(self) -> None:
        """TooNew for data of a later release."""
        formats.check(self.store, self._registry.queues())

    def migrate(self, queue: str, most: int = 10_000_000) -> tuple[int, int, int]:
        """Go back to the format of the release before; ``most=0`` only looks. Returns parked jobs that did, workers in the way, blocked jobs."""
        return formats.migrate(self.store, queue, most)

    def server(self) -> dict[str, Any]:
        """What Redis is and keeps (of a Cluster, all primaries together), with ``warnings`` on what that means for the jobs."""
        return report_on(self.store.servers, self._durability)

    def check(self, queue: str, *, repair: bool = False) -> list[str]:
        """Sentences on what is wrong in a live queue, [] when every invariant holds. The queue notes that it was checked."""
        return Checker(self.store, queue, self.schedules).run(repair)


def main(arguments: list[str] | None = None) -> int:
    """The command line: ``python jobqueue.py submit``, ``get``, ``list``, ``check`` and others. Returns the exit code."""
    from _jobqueue.commands.line import main as run  # it needs what is above

    return run(arguments)


if __name__ == "__main__":
    # Run as a script this module is __main__; its classes must be those that handlers and config import.
    from jobqueue import main as imported_main

    sys.exit(imported_main())
