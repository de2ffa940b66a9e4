"""Redis's clock, as a worker knows it between two beats."""

from __future__ import annotations

import time


class Clock:
    """Starts as this machine's own; from the first beat on it is Redis's, to within the time that an answer takes."""

    def __init__(self) -> None:
        self._ahead_ms = (time.time() - time.monotonic()) * 1000  # replaced as a whole

    def learn(self, now_ms: int) -> None:
        self._ahead_ms = now_ms - time.monotonic() * 1000

    def now_ms(self) -> int:
        return round(time.monotonic() * 1000 + self._ahead_ms)
