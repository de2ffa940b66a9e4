"""Webhooks in Redis: whether a submit may name one, and what a delivery is to say."""

from __future__ import annotations

from typing import NamedTuple

from _jobqueue.errors import Invalid, WebhooksOff
from _jobqueue.new_job import NewJob
from _jobqueue.pieces import Field
from _jobqueue.records import Job
from _jobqueue.store.reads import Reads
from _jobqueue.store.registry import Registry
from _jobqueue.store.rows import job_of
from _jobqueue.store.store import Store, prefix_of

AT_ONCE = 2  # calls of one host
SHOWN_MOST = 100  # deliveries of a job
HARM = "it would tell no webhook that a job has ended"  # of a program of the release before
MODES = ("off", "https", "http")  # what a submit may name; the last: both


class Said(NamedTuple):
    """What a delivery is to say: the job as it is; None when it is gone or, ``over``, has ended again since. ``busy_ms``: not now."""

    job: Job | None
    over: bool = False
    busy_ms: int = 0


def check_webhook(job: NewJob, mode: str) -> None:
    """WebhooksOff or Invalid for a job that names a webhook where none may be named, or not such a one."""
    if job.webhook is None:
        return
    if mode == "off":
        raise WebhooksOff([("/webhook", "no webhook is told here: set WEBHOOK_SECRETS, for the workers too")])
    if mode != "http" and not job.webhook.lower().startswith("https:"):
        raise Invalid([("/webhook", "must begin with https://")])


class Deliveries:
    """What a worker asks and tells about the calls that it makes, and what there is to see of them."""

    def __init__(self, store: Store, registry: Registry, reads: Reads) -> None:
        self._store, self._registry, self._reads = store, registry, reads

    def address(self, delivery: str) -> str:
        """Where it leads. NotFound when it is gone."""

        def ask(queue: str) -> str | None:
            [url] = self._store.ask("HMGET", f"{prefix_of(queue)}job:{delivery}", "webhook")
            return url.decode() if url else None

        return self._registry.find(delivery, ask)

    def of(self, job_id: str) -> list[Job]:
        """Those of a job, the latest first, as lists show them. NotFound for any other id."""

        def ask(queue: str) -> list[tuple[str, str]] | None:
            ids = self._store.run("told", queue, [job_id, SHOWN_MOST])
            return None if ids is None else [(queue, each.decode()) for each in ids]

        rows = self._reads.rows(self._registry.find(job_id, ask))
        return [row.job for row in rows if row]

    def begin(self, delivery: str, host: str, job_id: str, call_ms: int) -> Said:
        """Ask for room for a call, which counts for ``call_ms`` at most, and for what it is to say."""
        queue = self._registry.queue_of(delivery)
        args: list[Field] = [delivery, host, "", job_id, AT_ONCE, call_ms, *self._store.defaults]
        word, *rest = self._store.run("deliver", queue, args)
        if word == b"busy":
            return Said(None, busy_ms=int(rest[0]))
        if word == b"job":
            return Said(job_of(job_id, queue, rest[0], -1, rest[1:]))
        return Said(None, over=word == b"over")

    def end(self, delivery: str, host: str, took_ms: int) -> None:
        """Give the room back."""
        self._store.run("deliver", self._registry.queue_of(delivery), [delivery, host, took_ms])
