"""The ids in an index of several queues, in one order."""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from _jobqueue.store.cursors import END

MOST_IDS = 2000  # that one script answers

Looks = Callable[[Mapping[str, tuple[str, int]]], Mapping[str, Any]]


class Found(NamedTuple):
    """An id in a queue. ``place``: where it stands, as lua/page.lua takes it; ``before``: that of the one before it."""

    order: float
    queue: str
    job_id: str
    place: str
    before: str


class Merge:
    """Takes ids out of an index of all queues: by score, among equal ones by queue, in a queue as Redis has them. ``look`` takes
    queue -> (place, most ids), and answers for each as lua/page.lua does. ``least``: the lowest score, of the newest first."""

    def __init__(
        self,
        queues: Sequence[str],
        newest: bool,
        places: Mapping[str, str],
        look: Looks,
        least: float | None = None,
    ) -> None:
        self._rank = {queue: rank for rank, queue in enumerate(queues)}
        self._newest, self._look = newest, look
        self._least = -math.inf if least is None else least
        self._ahead: dict[str, deque[Found]] = {queue: deque() for queue in queues}
        self._places = {queue: places.get(queue, "0") for queue in queues}  # behind what was taken
        self._further = dict(self._places)  # behind what was looked at
        self._most: dict[str, int] = {}
        self._heads: list[tuple[float, int, str]] = []

    def take(self, want: int, looks: int) -> tuple[list[Found], int]:
        """At most ``want`` of the next, fewer at the end; or when after so many ``looks`` the next is not known. Returns them
        and how many looks are left."""
        taken: list[Found] = []
        dry = self._dry()
        while len(taken) < want:
            if dry:
                if not looks:
                    break
                looks -= 1
                self._fill(dry, want - len(taken))
                dry = [queue for queue in dry if self._is_dry(queue)]
                continue
            if not self._heads:
                break
            _, _, queue = heapq.heappop(self._heads)
            found = self._ahead[queue].popleft()
            self._places[queue] = found.place
            taken.append(found)
            self._push(queue)
            dry = [queue] if self._is_dry(queue) else []
        return taken, looks

    def back(self, taken: Sequence[Found]) -> None:
        """Gives back what was taken last."""
        for found in reversed(taken):
            self._ahead[found.queue].appendleft(found)
            self._places[found.queue] = found.before
        self._heads = []
        for queue in self._ahead:
            self._push(queue)

    @property
    def ended(self) -> bool:
        return not any(self._ahead.values()) and all(place == END for place in self._further.values())

    def places(self) -> dict[str, str]:
        """Where each queue goes on."""
        at = {queue: self._places[queue] if ahead else self._further[queue] for queue, ahead in self._ahead.items()}
        return {queue: place for queue, place in at.items() if place != "0"}

    def _dry(self) -> list[str]:
        return [queue for queue in self._ahead if self._is_dry(queue)]

    def _is_dry(self, queue: str) -> bool:
        return not self._ahead[queue] and self._further[queue] != END

    def _fill(self, dry: Sequence[str], want: int) -> None:
        first = max(16, 1 + want * 2 // len(self._ahead)) if len(self._ahead) > 1 else want + 1
        asked = {queue: (self._further[queue], min(MOST_IDS, self._most.get(queue, first))) for queue in dry}
        for queue, (further, rows) in self._look(asked).items():
            self._most[queue] = 2 * asked[queue][1]
            before = self._places[queue]
            if (
                further and float(further.split()[0]) < self._least
            ):  # what was looked at may not match, and so not be in rows
                further = END.encode()
            for job_id, score in rows:
                if float(score) < self._least:
                    break
                place = f"{float(score):.0f} {job_id.decode()}"
                order = -float(score) if self._newest else float(score)
                self._ahead[queue].append(Found(order, queue, job_id.decode(), place, before))
                before = place
            self._further[queue] = further.decode()
            self._push(queue)

    def _push(self, queue: str) -> None:
        if self._ahead[queue]:
            heapq.heappush(self._heads, (self._ahead[queue][0].order, self._rank[queue], queue))
