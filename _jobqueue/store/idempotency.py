"""Idempotency keys: a request that comes again under its key is the same one, as a whole.

Each queue remembers its own part for as long as its jobs are kept (lua/submit.lua). That the parts make up the same request is
remembered for a day beside them: by the same script, or on a Cluster, where it may live on another shard, before it."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Sequence
from contextlib import suppress

from _jobqueue.errors import KeyReused, Unavailable
from _jobqueue.pieces import in_one
from _jobqueue.records import DAY_MS, Submitted
from _jobqueue.store.chunks import Request
from _jobqueue.store.registry import Registry
from _jobqueue.store.store import Store

BLIND_S = 2.0  # after the shard that remembers a request was out of reach, it is not asked for so long
REUSED = "this Idempotency-Key was used for another request; use a new one, or repeat the first exactly"


class Idempotency:
    """Remembers whole requests by their keys."""

    def __init__(self, store: Store, registry: Registry) -> None:
        self._store, self._registry = store, registry
        self._apart = store.servers.kind == "cluster"
        self._blind_until = -math.inf

    def remember(self, parts: list[Request], order: Sequence[str], key: str | None) -> tuple[list[Request], bool]:
        """The parts of a request, one for each queue, as they are stored under its key; and whether Redis remembers the whole
        from now on. ``order``: the queue of each of its jobs. KeyReused when another request is remembered."""
        if not key:
            return parts, False
        parts = _under_key(parts, order, key, "" if self._apart else record_of(key))
        if self._apart:
            return parts, self._remember_apart(key, parts[0].whole)
        if not all(self._registry.knows(part.queue) for part in parts):  # one that is refused makes no queue
            seen = self._store.ask("GET", record_of(key))
            if seen and seen.decode() != parts[0].whole:
                raise KeyReused(REUSED)
        return parts, False

    def forget_unused(self, part: Request, created: bool, stored: Sequence[Submitted]) -> None:
        """A request of which nothing was stored may be corrected under its key."""
        if created and part.key and not any(each.job or isinstance(each.error, Unavailable) for each in stored):
            with suppress(Unavailable):
                self._store.ask("DEL", record_of(part.key))

    def _remember_apart(self, key: str, whole: str) -> bool:
        if time.monotonic() < self._blind_until:
            return False
        try:
            said = int(self._store.run_at(record_of(key), "remember", [whole, DAY_MS]))
        except Unavailable:  # the queues themselves may be within reach
            self._blind_until = time.monotonic() + BLIND_S
            return False
        if said < 0:
            raise KeyReused(REUSED)
        return bool(said)


def record_of(key: str) -> str:
    """Where the whole request under a key is remembered."""
    return f"jq:idem:{key}"


def _under_key(parts: Sequence[Request], order: Sequence[str], key: str, record: str) -> list[Request]:
    prints = [_fingerprint(part) for part in parts]
    names = order if len(parts) > 1 else order[:1]
    whole = hashlib.sha256("\0".join([*names, *prints]).encode()).hexdigest()[:32]
    return [
        part._replace(key=key, fingerprint=fingerprint, record=record, whole=whole)
        for part, fingerprint in zip(parts, prints, strict=True)
    ]


def _fingerprint(request: Request) -> str:
    digest = hashlib.sha256()
    for job, pairs in zip(request.jobs, request.encoded, strict=True):
        waits = (job.when, *job.after) if job.after else ()
        turns = ("fair_key", job.fair_key) if job.fair_key else ()
        for part in (
            job.priority,
            job.times(),
            job.unique_key or "",
            " ".join(job.tags),
            *in_one(pairs),
            *waits,
            *turns,
        ):
            raw = part if isinstance(part, bytes) else str(part).encode()
            digest.update(b"%d:%s" % (len(raw), raw))
    return digest.hexdigest()[:32]
