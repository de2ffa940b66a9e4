"""What the checker says of the counts of a queue's tags."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence

from _jobqueue.records import STATUSES
from _jobqueue.store import scans
from _jobqueue.store.recounts import Look, Walk, recount, steps_of
from _jobqueue.store.store import Store, chunks_of
from _jobqueue.store.tags import exactness

AT_ONCE = 20  # tags that are looked at in one trip
REPAIRS = 3  # tries, for others may change a tag's counts meanwhile


def tag_problems(store: Store, queue: str, repair: bool, again_s: float) -> Iterator[str]:
    """Sentences; what is seen twice counts, for jobs come and go between two looks at a tag with many."""
    suspects = [look.tag for look in _looks(store, queue, _names(store, queue)) if _suspicious(look)]
    if not suspects:
        return
    time.sleep(again_s)
    for look in _looks(store, queue, suspects):
        wrong = list(_problems(look, exactness(store, queue, [look.tag])[look.tag]))
        yield from wrong
        if wrong and repair:
            recount(store, queue, look.tag, REPAIRS * steps_of(look.jobs), sure=True)


def _names(store: Store, queue: str) -> list[str]:
    return sorted({*scans.keys(store, queue, "tag:"), *scans.keys(store, queue, "tally:")})


def _looks(store: Store, queue: str, names: Iterable[str]) -> Iterator[Look]:
    """The first step of several tags at once: most have few jobs."""
    for some in chunks_of(iter(names), AT_ONCE):
        walks = [Walk(store, queue, tag, counts=False) for tag in some]
        for walk, answer in zip(walks, store.run_each("recount", queue, [walk.args for walk in walks]), strict=True):
            walk.takes(answer)
            while not walk.over:
                walk.step()
            yield walk.seen


def _suspicious(look: Look) -> bool:
    return bool(look.is_wrong or look.moved or look.strays)


def _problems(look: Look, exact: bool) -> Iterator[str]:
    """What a program of the release before leaves behind is nothing wrong: it is counted when somebody asks."""
    for stray in look.strays:
        yield f"job {stray} stands under the tag {look.tag} and does not have it"
    if look.is_wrong:
        yield f"the tag {look.tag} counts {_shown(look.counts)}, but should count {_shown(look.right)}"
    if look.moved and exact:
        yield f"the tag {look.tag} counts {look.moved} of its jobs as something else than they are"


def _shown(counts: Sequence[int]) -> str:
    return ", ".join(f"{n} {status}" for status, n in zip(STATUSES, counts, strict=True) if n) or "nothing"
