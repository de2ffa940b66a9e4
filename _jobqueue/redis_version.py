"""Which Redis is new enough: BLMOVE, with which a worker waits for work, came with 6.2. The scripts write times in ms by ``%d``,
which takes half the time of ``%.0f`` and has the width of a C long: 64 bits are needed."""

from __future__ import annotations

import re

OLDEST = (6, 2)
NARROW = "of 32 bits"


def release(text: str) -> tuple[int, int]:
    """The first version that a text names, 0.0 where there is none."""
    found = re.search(r"(\d+)\.(\d+)", text)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def dotted(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"


def too_old(version: str | None) -> str:
    """Why this Redis cannot be used, or nothing. The primaries of a Cluster may have several versions, with commas; None is one
    that does not tell."""
    if version is not None and NARROW in version:
        return f"it is {version}, and one of 64 is needed"
    if version is None or all(release(each) >= OLDEST for each in version.split(",")):
        return ""
    return f"it is {version}, and {dotted(OLDEST)} or newer is needed"
