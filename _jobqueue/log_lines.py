"""The log of a job as its hash holds it: the lines, and beside them when each came and how many are not kept.

`log` is the text. `log_at` is '<bytes of that text> <lines not kept> <base, ms since the epoch> <ms after that of each line, or ->'.
A program that writes the text alone (the release before) makes the number of bytes wrong, and so the times count for nothing."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

from _jobqueue.records import LOG_LINES


class LogLines:
    """The last lines of an attempt. Not thread-safe."""

    def __init__(self) -> None:
        self._lines = deque[tuple[int, str]](maxlen=LOG_LINES)
        self._count = 0

    def add(self, at_ms: int, line: str) -> None:
        self._lines.append((at_ms, line))
        self._count += 1

    def fields(self) -> dict[str, str]:
        """What a job's hash holds of them, one line at least."""
        text = "\n".join(line for _, line in self._lines)
        base = self._lines[0][0]
        dropped = max(0, self._count - len(self._lines))  # an attempt may have been interrupted between the two
        head = len(text.encode(errors="replace")), dropped, base
        return {"log": text, "log_at": " ".join(map(str, (*head, *(at - base for at, _ in self._lines))))}


def lines_of(fields: Mapping[bytes, bytes]) -> tuple[list[str], list[int | None], int]:
    """The lines; when each came, where that is known; and how many before these are not kept."""
    text = fields.get(b"log", b"")
    lines = text.decode(errors="replace").split("\n") if text else []
    size, dropped, base, *after = fields.get(b"log_at", b"0 0 0").split(b" ")
    if int(size) != len(text) or len(after) != len(lines):
        return lines, [None] * len(lines), 0
    return lines, [None if ms == b"-" else int(base) + int(ms) for ms in after], int(dropped)
