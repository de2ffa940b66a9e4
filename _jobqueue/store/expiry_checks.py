"""What the checker says of jobs that must start within some time."""

from __future__ import annotations

import time
from collections.abc import Iterator

from _jobqueue.store.store import Store, chunks_of, prefix_of
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
    suspects = list(dict.fromkeys(job_id for job_id, _ in _wrong(store, queue, _ids(store, queue), [0, late_ms])))
    if suspects:
        time.sleep(again_s)
    for job_id, wrong in _wrong(store, queue, iter(suspects), [int(repair), late_ms]):
        yield f"job {job_id} {_WRONG[wrong]}"


def _ids(store: Store, queue: str) -> Iterator[str]:
    with weather:
        client, prefix = store.client(queue), prefix_of(queue)
        for index in INDEXES:
            for member, _ in client.zscan_iter(f"{prefix}{index}", count=SCAN_STEP):
                yield member.decode(errors="replace")


def _wrong(store: Store, queue: str, ids: Iterator[str], how: list[int]) -> Iterator[tuple[str, str]]:
    for chunk in chunks_of(ids, SCAN_STEP):
        answers = store.run("unexpired", queue, [*how, *chunk])
        yield from ((job_id, wrong.decode()) for job_id, wrong in zip(chunk, answers, strict=True) if wrong)
