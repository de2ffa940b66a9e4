"""What the checker says of jobs that must start within some time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from _jobqueue.store import scans
from _jobqueue.store.store import Store
from _jobqueue.store.suspects import wrong_twice

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

    for job_id, wrong in wrong_twice(scans.members(store, queue, INDEXES), ask, repair, again_s):
        yield f"job {job_id} {_WRONG[wrong]}"
