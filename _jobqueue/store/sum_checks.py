"""The checker on what charts show: the sums of two days hold nothing that was counted twice."""

from __future__ import annotations

from collections import Counter

from _jobqueue.by_type import counts_of
from _jobqueue.store.rows import books_of
from _jobqueue.store.store import Store, prefix_of
from _jobqueue.store.sums import BLOCK, BLOCKS, WHOLE

NAMES = ("done", "failed", "retried")  # what a repair of the books leaves alone


def sum_problems(store: Store, queue: str, repair: bool) -> list[str]:
    """With ``repair`` the sums are dropped: they are for charts alone, and begin anew."""
    # Only what is in sums: minutes that are not may be of a time before the totals were repaired.
    now, _, _, blocks = store.run("series", queue, [0, BLOCKS, WHOLE])
    sums = Counter[str]()
    for row in blocks:
        counts = counts_of(row) if row else {}
        sums.update({name: counts.get(name, 0) for name in NAMES})
    totals = books_of(store.run("look", queue, [])).totals  # read later: they are never behind
    wrong = [name for name in NAMES if sums[name] > totals.get(name, 0)]
    if wrong and repair:
        last = int(now) // (BLOCK * 60_000)
        for block in range(last - BLOCKS, last + 1):
            store.ask("DEL", f"{prefix_of(queue)}sums:{block}")
    return [
        f"the charts' sums have counted {sums[name]} jobs as {name}, and there were {totals.get(name, 0)}"
        for name in wrong
    ]
