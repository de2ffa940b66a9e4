"""What errors have in common: a message without what differs from job to job."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache

ELSE = "…"  # stands for what differs
MAX_PATTERN_CHARS = 160
_READ_CHARS = 500

_QUOTED = r"""(?<!\w)(?:'[^'\n]*(?:'(?!\w)|\Z)|"[^"\n]*(?:"|\Z)|`[^`\n]*(?:`|\Z)|“[^”\n]*(?:”|\Z))"""
_UUID = r"\b[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\b"
_ADDRESS = r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+"
_ID = r"\b(?=\w*\d\w*\d\w*\d)\w{6,}\b|\b0x[0-9a-fA-F]+\b"  # a word with three digits or more
_NUMBER = r"\b\d+(?:[.,:/-]\d+)*"
_VALUE = re.compile("|".join((_UUID, _ADDRESS, _ID, _NUMBER)))
_DIFFERS = re.compile("|".join((_QUOTED, _UUID, _ADDRESS, _ID, _NUMBER)))
_WORD = re.compile(r"[^\W\d_]{2,}")


@lru_cache(10_000)
def pattern_of(kind: str, message: str) -> str:
    """The message with … for its numbers, ids, addresses and quoted values, so that errors that say the same are equal. Of one
    that says nothing else, as KeyError does, the quoted value stays: it is what is wrong."""
    text = " ".join(message[:_READ_CHARS].removeprefix(f"{kind}:").split())
    pattern = _DIFFERS.sub(ELSE, text)
    if not _WORD.search(pattern):
        pattern = _VALUE.sub(ELSE, text)
    return pattern[:MAX_PATTERN_CHARS]


@dataclass(slots=True)
class Alike:
    """Dead letters of one kind and type whose errors say the same: how many of those that were looked at, their times, and the
    latest of them. ``minutes``: how many failed in each minute of the last hour, this one last."""

    kind: str
    type: str
    error: str
    job_id: str
    message: str
    count: int = 0
    first_ms: int = 0
    last_ms: int = 0
    minutes: list[int] = field(default_factory=lambda: [0] * 60)


@dataclass(frozen=True, slots=True)
class Errors:
    """The dead letters in groups. ``looked``: kind -> how many of it were looked at, the latest of each queue."""

    groups: list[Alike]
    looked: dict[str, int]
