"""What is wrong at two looks: jobs move while a checker looks, and hands write without a script."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence

from _jobqueue.store.store import chunks_of

STEP = 500  # jobs that one script looks at
Ask = Callable[[Sequence[str], bool], Sequence[bytes]]


def wrong_twice(ids: Iterable[str], ask: Ask, repair: bool, again_s: float) -> Iterator[tuple[str, str]]:
    """Ids, and what is wrong with each at the second look too, which may repair. ``ask`` runs a script that says of each of some
    jobs what is wrong, b"" for nothing."""
    suspects = list(dict.fromkeys(job_id for job_id, _ in _wrong(ids, ask, False)))
    if suspects:
        time.sleep(again_s)
    yield from _wrong(suspects, ask, repair)


def _wrong(ids: Iterable[str], ask: Ask, repair: bool) -> Iterator[tuple[str, str]]:
    for some in chunks_of(iter(ids), STEP):
        yield from ((job_id, wrong.decode()) for job_id, wrong in zip(some, ask(some, repair), strict=True) if wrong)
