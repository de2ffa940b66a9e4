"""What the checker says of a queue's webhooks."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator

from _jobqueue.store.store import Store, chunks_of, prefix_of
from _jobqueue.store.weather import weather

STEP = 500
WRONG = {
    "missing": "tells a webhook and is not over, but does not stand in deliveries",
    "over": "stands in deliveries, but tells no webhook, or is over",
    "misplaced": "stands in deliveries as something else than it is",
}


def webhook_problems(store: Store, queue: str, ids: Iterable[str], repair: bool, again_s: float) -> Iterator[str]:
    """Sentences. ``ids``: all of the queue's; they are looked at where a webhook was ever told."""
    if not store.ask("HEXISTS", f"{prefix_of(queue)}totals", "webhooks"):
        return
    suspects = [job_id for job_id, _ in _wrong(store, queue, _all(store, queue, ids), False)]
    if suspects:
        time.sleep(again_s)
    for job_id, wrong in _wrong(store, queue, dict.fromkeys(suspects), repair):
        yield f"job {job_id} {WRONG[wrong]}"


def _all(store: Store, queue: str, ids: Iterable[str]) -> Iterator[str]:
    yield from ids
    with weather:
        for member, _ in store.client(queue).zscan_iter(f"{prefix_of(queue)}deliveries", count=STEP):
            yield member.decode(errors="replace")


def _wrong(store: Store, queue: str, ids: Iterable[str], repair: bool) -> Iterator[tuple[str, str]]:
    for some in chunks_of(iter(ids), STEP):
        for job_id, wrong in zip(some, store.run("deliveries", queue, [int(repair), *some]), strict=True):
            if wrong:
                yield job_id, wrong.decode()
