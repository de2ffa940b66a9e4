"""How a bounded number of looks is shared."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import TypeVar

K = TypeVar("K", bound=Hashable)


def shares(sizes: Mapping[K, int], most: int) -> dict[K, int]:
    """How many of each to look at, at most ``most`` in all but one of each: the small ones whole, the large ones alike."""
    found, left = dict[K, int](), most
    for at, (name, size) in enumerate(sorted(sizes.items(), key=lambda item: item[1])):
        share = min(size, max(1, left // (len(sizes) - at)))
        found[name], left = share, left - share
    return found


def of_each(n: int, most: int, of_all: int, least: int) -> int:
    """How many of each of ``n`` to look at: ``most``, but in all at most ``of_all``, and ``least`` however many there are."""
    return max(least, min(most, of_all // max(1, n)))
