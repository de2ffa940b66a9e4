"""What the checker says of jobs that must start within some time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from _jobqueue.store.store import Store, prefix_of
from _jobqueue.store.suspects import wrong_twice
from _jobqueue.store.weather import weather

SCAN_STEP = 500
INDEXES = ("expires", "queue", "held", "scheduled")  # where such a job stands

_WRONG = {
    "lost": "must start within some time, but nobody would cancel it",
    "nobody": "stands among those that must start within some time, and is not one of them",
    "late": "should have started over a minute ago and nobody cancelled it; is a reaper running?",
    "unseen": "must start within some time, but no claim would look at that",
}


def expiry_problems(store: Store, queue: str, repair: bool, late_ms: int, again_s: float) -> Iterator[str]:
    """Sentences; what is seen twice counts, for a job may move between two reads."""

    def ask(ids: Sequence[str], repair: bool) -> Sequence[bytes]:
        return list(store.run("unexpired", queue, [int(repair), late_ms, *ids]))

    for job_id, wrong in wrong_twice(_ids(store, queue), ask, repair, again_s):
        yield f"job {job_id} {_WRONG[wrong]}"


def _ids(store: Store, queue: str) -> Iterator[str]:
    with weather:
        client, prefix = store.client(queue), prefix_of(queue)
        for index in INDEXES:
            for member, _ in client.zscan_iter(f"{prefix}{index}", count=SCAN_STEP):
                yield member.decode(errors="replace")
