"""One bound on the memory that all slow clients together can take."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

HELD_BYTES = 64 * 2**20
WEIGHED_BYTES = 2**20  # after so many more bytes it is looked whether that is too much


class Holder(Protocol):
    since: float  # when its client began what it has not ended: to send a body, to read an answer

    def weight(self) -> int: ...
    def waits_for_its_client(self) -> bool: ...
    def give_up(self) -> None: ...


class Room:
    """Where it is too small, the one that has held its part for longest gives up: a quick client comes through."""

    def __init__(self, holders: Callable[[], Iterable[Holder]]) -> None:
        self.holders = holders
        self.grown = 0  # counted without a lock: a lost count is made up for by the next

    def make(self) -> None:
        """Called in each turn of the loop."""
        if self.grown < WEIGHED_BYTES:
            return
        self.grown = 0
        weights = {holder: weight for holder in self.holders() if (weight := holder.weight())}
        too_much = sum(weights.values()) - HELD_BYTES
        for holder in sorted(filter(lambda each: each.waits_for_its_client(), weights), key=lambda each: each.since):
            if too_much <= 0:
                return
            too_much -= weights[holder]
            holder.give_up()
