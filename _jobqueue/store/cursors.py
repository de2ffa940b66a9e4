"""Cursors: where a list goes on, as text for its caller."""

from __future__ import annotations

import base64
import json
import re
from typing import Any

from _jobqueue.errors import Invalid
from _jobqueue.strict_json import parse_json

END = ""  # the place behind the last job of a queue
NO_CURSOR = [("/cursor", "is not one that this list has given out")]
_PLACE = re.compile(r"|0|[0-9]{1,17} [0-9a-f-]{36}")


def cursor_of(*parts: Any) -> str:
    raw = json.dumps(parts, separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def read_cursor(cursor: str, indexes: int) -> tuple[int, dict[str, str], int]:
    """The number of an index, places in queues, and a time or 0."""
    try:
        at, places, *until = parse_json(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        good = _whole(at, indexes - 1) and all(_PLACE.fullmatch(place) for place in places.values())
        if good and len(until) <= 1 and all(_whole(ms, 2**53) for ms in until):
            return at, places, sum(until)
    except (ValueError, TypeError, AttributeError):
        pass
    raise Invalid(NO_CURSOR)


def _whole(value: Any, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= most
