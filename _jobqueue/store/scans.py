"""A queue's keys, and members of its indexes, read in steps. What changes meanwhile may be missed or come twice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from _jobqueue.store.store import Store, prefix_of

STEP = 500  # keys or members in one answer, about


def keys(store: Store, queue: str, start: str) -> Iterator[str]:
    """How the names go on of the queue's keys that begin with ``start``."""
    prefix = prefix_of(queue) + start
    cursor = b"0"
    while True:
        cursor, found = store.ask_of(queue, "SCAN", cursor, "MATCH", f"{prefix}*", "COUNT", STEP)
        yield from (key[len(prefix) :].decode(errors="replace") for key in found)
        if cursor == b"0":
            return


def members(store: Store, queue: str, indexes: Sequence[str]) -> Iterator[str]:
    """The members of sorted sets, whose first ones are read in one trip."""
    prefix = prefix_of(queue)
    first = store.ask_all("ZSCAN", {index: prefix + index for index in indexes}, 0, "COUNT", STEP)
    for index, (cursor, pairs) in first.items():
        yield from _first_of_each(pairs)
        while cursor != b"0":
            cursor, pairs = store.ask("ZSCAN", prefix + index, cursor, "COUNT", STEP)
            yield from _first_of_each(pairs)


def _first_of_each(pairs: Sequence[bytes]) -> Iterator[str]:
    return (member.decode(errors="replace") for member in pairs[::2])
