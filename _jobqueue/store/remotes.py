"""Workers that speak HTTP: their claims, over the scripts and the fence of every worker. See lua/parts/remotes.lua."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from _jobqueue.errors import Invalid, JobQueueError, LeaseLost, NameTaken, SeqUsed, TooManyHeld
from _jobqueue.histograms import BUCKETS_MS
from _jobqueue.kits import kit_of, policy_text
from _jobqueue.pieces import Field
from _jobqueue.records import FORMAT, LOG_LINES, Claimed, Policy, Settlement, __version__
from _jobqueue.store.leases import TELL_STEPS, claimed_in
from _jobqueue.store.registry import Registry
from _jobqueue.store.store import Store, prefix_of
from _jobqueue.store.telling import tell_children
from _jobqueue.store.waits import in_scripts

KITS_AT_ONCE = 250  # that one script looks at
_BUCKETS = " ".join(map(str, BUCKETS_MS))


class Claim(NamedTuple):
    """What a worker asks for. ``number`` is that of the slot: its seq, or for a claim that is not repeated, a new one."""

    queue: str
    worker: str
    seq: int | None
    number: str
    types: tuple[str, ...]
    most: int
    lease_ms: int
    host: str


class Given(NamedTuple):
    """A job that a claim gave. ``until_ms``: until when it is the worker's, by Redis's clock."""

    job_id: str
    token: str
    type: str
    payload: bytes
    attempt: int
    timeout_ms: int
    until_ms: int
    traceparent: str | None
    tracestate: str | None


class Waiting(NamedTuple):
    """A claim that waits for work."""

    queue: str
    kit: str
    worker: str
    since: float


def number_of(seq: int | None) -> str:
    """The number of a claim's slot, which no other claim of the worker has."""
    return f"x{secrets.token_hex(16)}" if seq is None else str(seq)


class Remotes:
    """Each claim is a slot of its own, ``<worker>-<seq>``, which is dropped when its last job is settled."""

    def __init__(self, store: Store, registry: Registry) -> None:
        self._store, self._registry = store, registry

    def claim(self, claim: Claim) -> tuple[str, list[Given]]:
        """The kit that its bell has, and jobs: those of the same worker and seq once more, or the best that wait. Raises SeqUsed
        for a lower seq, NameTaken, TooManyHeld, and Invalid where a queue has no room for another set of types."""
        self._registry.register(claim.queue)
        policies = self._policies(claim)
        kit = kit_of(policies)
        seq = "" if claim.seq is None else claim.seq
        args: list[Field] = [claim.worker, seq, claim.number, claim.lease_ms, claim.most, *self._store.defaults]
        args += [kit, FORMAT, _info(claim, kit)]
        for name, policy in policies.items():
            args += [name, policy_text(policy), ""]
        said = self._store.run("claim", claim.queue, args)
        if said[0] != b"jobs":
            raise _REFUSALS[said[0]](claim, *said[1:])
        timeouts = {name: policy.timeout_ms for name, policy in policies.items()}
        token = f"{claim.worker}-{claim.number}:1"
        jobs = claimed_in(said[1], token)
        return kit, [_given(job, timeouts, int(until)) for job, until in zip(jobs, said[2], strict=True)]

    def extend(
        self, job_id: str, token: str, lease_ms: int, progress: str = "", lines: Sequence[str] = ()
    ) -> tuple[int, bool]:
        """Renew a job's lease and note what is told. Returns until when it is the worker's, and whether it was asked to stop.
        Raises LeaseLost, NotFound."""
        args: list[Field] = [job_id, token, *self._store.defaults, lease_ms, secrets.token_hex(8), progress, LOG_LINES]
        said = self._registry.find(job_id, lambda queue: self._store.run("extend", queue, [*args, *lines]) or None)
        if said[0] == b"lost":
            raise LeaseLost(job_id)
        return int(said[1]), bool(said[2])

    def settle(self, ended: Settlement) -> None:
        """Settle an attempt. Raises LeaseLost, NotFound."""

        def ask(queue: str) -> Any:
            args: list[Field] = [_BUCKETS, "-", 0, 0, 0, 0, *self._store.defaults, 0, "", 1, *ended.args()]
            said = self._store.run("finish", queue, args)
            if said and said[0] == b"settled" and said[1]:
                tell_children(lambda: self._store.run("tell", queue, [0]), TELL_STEPS)
            return said or None

        if self._registry.find(ended.id, ask)[0] == b"lost":
            raise LeaseLost(ended.id)

    def rung(self, waiting: Iterable[Waiting], *, say_that_they_live: bool) -> list[Waiting]:
        """Those that may find work now, as many as there are jobs, who came first first. One script for KITS_AT_ONCE kits of a
        server; in a Cluster, of a queue."""
        kits: dict[tuple[str, str], list[Waiting]] = {}
        for each in sorted(waiting, key=lambda one: one.since):
            kits.setdefault((each.queue, each.kit), []).append(each)
        found: list[Waiting] = []
        apart = self._store.servers.kind == "cluster"
        for some in in_scripts(list(kits), apart=apart, most=KITS_AT_ONCE, size_of=lambda _: 1):
            args: list[Field] = [int(say_that_they_live)]
            for queue, kit in some:
                names = [each.worker for each in kits[queue, kit]] if say_that_they_live else []
                args += [prefix_of(queue), kit, len(names), *names]
            for at, jobs in zip(some, self._store.run("rung", some[0][0], args), strict=True):
                found += kits[at] if jobs < 0 else kits[at][:jobs]
        return found

    def _policies(self, claim: Claim) -> dict[str, Policy]:
        """What other workers have published of the types, else what is set here."""
        published, default = self._registry.published(claim.queue), self._store.policy
        return {name: published.get(name, default) for name in sorted(claim.types)}


def _info(claim: Claim, kit: str) -> str:
    """What it is, as members of JSON."""
    about = {
        "host": claim.host,
        "version": __version__,
        "marks": True,
        "webhooks": True,
        "types": sorted(claim.types),
        "kit": kit,
    }
    return json.dumps(about)[1:-1]


def _given(job: Claimed, timeouts: dict[str, int], until_ms: int) -> Given:
    timeout_ms = job.timeout_ms or timeouts.get(job.type, 0)
    trace = job.traceparent, job.tracestate
    return Given(job.id, job.token, job.type, job.payload, job.attempt, timeout_ms, until_ms, *trace)


_REFUSALS: dict[bytes, Callable[..., JobQueueError]] = {
    b"seq_used": lambda claim, last: SeqUsed(claim.worker, int(last)),
    b"taken": lambda claim: NameTaken(claim.worker),
    b"many_jobs": lambda claim: TooManyHeld(claim.worker),
    b"many_kits": lambda claim: Invalid([("/types", "the queue's workers handle too many different sets of types")]),
}
