"""Marks in charts: when something happened that is no job, as a deploy."""

from __future__ import annotations

import json
import re
import secrets
from typing import Any, NamedTuple

from _jobqueue.errors import Invalid
from _jobqueue.store.registry import REGISTRY
from _jobqueue.store.store import Store, prefix_of

MOST = 200  # that are kept
MAX_CHARS = 200
TEXT = (
    r"[^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*"  # in one line, and something of it is seen
)


class ChartMark(NamedTuple):
    at_ms: int
    text: str
    by: str  # the name of the key that set it; '' for none


class ChartMarks:
    """Marks of all queues together."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def add(self, text: Any, by: str = "") -> ChartMark:
        """Set a mark now. Invalid for what is no text of 1 to 200 characters in one line."""
        if not isinstance(text, str) or len(text) > MAX_CHARS or not re.fullmatch(TEXT, text):
            raise Invalid([("/text", f"must be a text of 1 to {MAX_CHARS} characters, without control characters")])
        said = json.dumps({"by": by, "text": text})
        args = (secrets.token_hex(8), MOST, said)
        return _mark_of(self._store.run_at(prefix_of(REGISTRY), "chart_mark", args))

    def all(self) -> list[ChartMark]:
        """The last MOST, the latest first."""
        rows = self._store.ask("LRANGE", f"{prefix_of(REGISTRY)}chart_marks", 0, MOST - 1)
        return [_mark_of(row) for row in rows]


def _mark_of(row: bytes) -> ChartMark:
    at, _, said = row.split(b" ", 2)
    mark = json.loads(said)
    return ChartMark(int(at), mark["text"], mark["by"])
