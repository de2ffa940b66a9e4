"""Turns of fair keys: what is in front of a job, and what the checker says of them."""

from __future__ import annotations

import time
from collections.abc import Iterator

from _jobqueue.store import scans
from _jobqueue.store.store import Store, chunks_of, prefix_of

LOOK = 1000  # jobs in front of one that are looked at
AGAIN_S = 0.3
SCAN_STEP = 500


def before(store: Store, queue: str, job_id: str) -> tuple[int, int] | None:
    """How many jobs of its priority in front of a queued one have its fair key, and how many have not. None where they are too
    many to look at."""
    counts = store.run("own_ahead", queue, [job_id, LOOK])
    return (int(counts[0]), int(counts[1])) if counts and sum(counts) < LOOK else None


def turn_problems(store: Store, queue: str, repair: bool) -> Iterator[str]:
    """Sentences; what is seen twice counts, for hands also write without a script."""
    suspects = list(_suspects(store, queue))
    if not suspects:
        return
    time.sleep(AGAIN_S)
    told = set[str]()
    for some in chunks_of(iter(suspects), SCAN_STEP):
        for sentence in _sentences(store.run("turns", queue, [int(repair), *(each for each in some if each)])):
            if sentence not in told:
                yield sentence
            told.add(sentence)


def _suspects(store: Store, queue: str) -> Iterator[str]:
    """Ids of jobs with which something is wrong; '' stands for what is wrong with no job."""
    prefix = prefix_of(queue)
    wrong, idle, _, _ = store.run("turns", queue, [0])
    if wrong or idle:
        yield ""
    if not store.ask("EXISTS", f"{prefix}turns"):
        return
    for some in chunks_of(scans.members(store, queue, ["queue", "held"]), SCAN_STEP):
        _, _, lost, behind = store.run("turns", queue, [0, *some])
        yield from {job_id.decode(errors="replace") for job_id in (*lost, *behind)}


def _sentences(found: tuple[int, list[bytes], list[bytes], list[bytes]]) -> Iterator[str]:
    wrong, idle, lost, behind = found
    if wrong:
        yield "fair keys take turns by halves: their entries and the word of that in meta do not go together"
    for member in idle:
        priority, _, fair_key = member.decode(errors="replace").partition(" ")
        yield f"the entry of the fair key {fair_key or 'of jobs without one'} at priority {priority} is kept though it is idle"
    for job_id in lost:
        yield f"job {job_id.decode(errors='replace')} waits for a turn that its fair key does not have"
    for job_id in behind:
        yield f"job {job_id.decode(errors='replace')} stands behind the number of the last submit"
