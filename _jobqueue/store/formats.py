"""The format of the data in Redis: whether this release can read it, and the way back to the one before."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress

from _jobqueue.errors import TooNew, Unavailable
from _jobqueue.records import FORMAT
from _jobqueue.store.store import Store, prefix_of
from _jobqueue.store.weather import weather

MOVED_PER_SCRIPT = 250


def check(store: Store, queues: Iterable[str]) -> None:
    """TooNew when a later release has written to one of these queues. A shard that is away is not waited for."""
    for queue in queues:
        with suppress(Unavailable):
            found = int(store.ask("HGET", f"{prefix_of(queue)}meta", "format") or 1)
            if found > FORMAT:
                raise TooNew(
                    f"a later release has written to the queue {queue} (format {found}; this one knows {FORMAT}): "
                    "start that release, or go back by its `python jobqueue.py migrate`"
                )


def migrate(store: Store, queue: str, most: int) -> tuple[int, int, int]:
    """Puts up to ``most`` parked jobs back into the queue, and takes what only this release knows, but not the edges while jobs
    are blocked. Returns how many, how many workers of this release serve the queue, and how many jobs are blocked; 0 only looks."""
    moved, workers, blocked = store.run("migrate", queue, [0])
    while moved < most:
        n, workers, blocked = store.run("migrate", queue, [MOVED_PER_SCRIPT])
        moved += n
        if n < MOVED_PER_SCRIPT:
            break
    if most and not blocked:
        _forget_edges(store, queue)
    return moved, workers, blocked


def _forget_edges(store: Store, queue: str) -> None:
    """Nobody waits for anybody: what is left of edges tells only of what was."""
    prefix = prefix_of(queue)
    with weather:
        client = store.client(queue)
        client.delete(f"{prefix}ends")
        for kind in ("then", "after"):
            for key in client.scan_iter(match=f"{prefix}{kind}:*", count=500):
                client.delete(key)
