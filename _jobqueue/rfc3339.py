"""Times as RFC 3339 writes them, and as ms since the epoch."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Any

from _jobqueue.errors import Invalid

_EPOCH = datetime(1970, 1, 1)  # of UTC, as all times here: one that says so is slower


def rfc3339(ms: int | None) -> str | None:
    if ms is None:
        return None
    return f"{(_EPOCH + timedelta(milliseconds=ms)).isoformat(timespec='milliseconds')}Z"


def moment(text: str, name: str) -> int:
    """A time that somebody has given, in ms since the epoch. Invalid, by that name, for what is none."""
    ms = epoch_ms(text)
    if ms is None:
        raise Invalid([(f"/{name}", "must be a time with its offset, like 2027-01-31T08:00:00Z")])
    return ms


_RFC3339 = re.compile(r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)")


def epoch_ms(when: Any) -> int | None:
    """Of a text or a datetime with its offset; None for anything else."""
    try:
        if isinstance(when, str):
            parts = _RFC3339.fullmatch(when)
            if not parts:
                return None
            day, clock, fraction, offset = parts.groups()
            micros = f"{fraction or '.'}000000"[:7]
            when = datetime.fromisoformat(f"{day}T{clock}{micros}{'+00:00' if offset in 'Zz' else offset}")
        if isinstance(when, datetime) and when.tzinfo is not None:
            return max(0, round(when.timestamp() * 1000))
    except (ValueError, OverflowError):
        pass
    return None
