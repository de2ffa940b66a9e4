"""Dead letters that have just come, by the kind of their last error."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from _jobqueue.store.store import Store


class NewDead(NamedTuple):
    """The dead letters of a kind: how many there are, how many of them are new, when the first of these failed."""

    kind: str
    in_all: int
    new: int
    since_ms: int


def new_dead(store: Store, queues: Sequence[str], since_ms: int) -> dict[str, list[NewDead]]:
    """Those of some queues since a time; of each queue the kind first that has the most new ones."""
    answers = store.run_all("new_dead", dict.fromkeys(queues, (since_ms,)))
    return {queue: sorted(map(_of, rows), key=lambda each: (-each.new, each.kind)) for queue, rows in answers.items()}


def _of(row: Sequence[bytes]) -> NewDead:
    kind, in_all, new, since_ms = row
    return NewDead(kind.decode(), int(in_all), int(new), int(since_ms))
