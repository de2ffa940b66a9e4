"""The format of the data in Redis: whether this release can read it, and the way back to the one before."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress

from _jobqueue.errors import TooNew, Unavailable
from _jobqueue.records import FORMAT
from _jobqueue.store.store import Store, prefix_of

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


def migrate(store: Store, queue: str, most: int) -> tuple[int, int]:
    """Puts up to ``most`` parked jobs back into the queue, and takes what only this release knows. Returns how many, and how many
    workers of this release serve the queue."""
    moved = 0
    while moved < most:
        n, workers = store.run("migrate", queue, [MOVED_PER_SCRIPT])
        moved += n
        if n < MOVED_PER_SCRIPT:
            break
    return moved, workers
