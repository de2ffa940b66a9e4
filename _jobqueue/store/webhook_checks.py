"""What the checker says of a queue's webhooks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from _jobqueue.store import scans
from _jobqueue.store.store import Store, prefix_of
from _jobqueue.store.suspects import wrong_twice

WRONG = {
    "missing": "tells a webhook and is not over, but does not stand in deliveries",
    "over": "stands in deliveries, but tells no webhook, or is over",
    "misplaced": "stands in deliveries as something else than it is",
}


def webhook_problems(store: Store, queue: str, ids: Iterable[str], repair: bool, again_s: float) -> Iterator[str]:
    """Sentences. ``ids``: all of the queue's; they are looked at where a webhook was ever told."""
    if not store.ask("HEXISTS", f"{prefix_of(queue)}totals", "webhooks"):
        return

    def ask(some: Sequence[str], repair: bool) -> Sequence[bytes]:
        return list(store.run("deliveries", queue, [int(repair), *some]))

    for job_id, wrong in wrong_twice(_all(store, queue, ids), ask, repair, again_s):
        yield f"job {job_id} {WRONG[wrong]}"


def _all(store: Store, queue: str, ids: Iterable[str]) -> Iterator[str]:
    yield from ids
    yield from scans.members(store, queue, ["deliveries"])
