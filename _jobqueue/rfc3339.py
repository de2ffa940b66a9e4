"""Times as RFC 3339 writes them, and as ms since the epoch."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone
from typing import Any


def rfc3339(ms: int | None) -> str | None:
    if ms is None:
        return None
    when = datetime(1970, 1, 1, tzinfo=timezone.utc) + timedelta(milliseconds=ms)
    return when.isoformat(timespec="milliseconds").replace("+00:00", "Z")


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
