"""After an end: the jobs that wait for it are told, in bounded steps."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from _jobqueue.errors import Unavailable


def tell_children(step: Callable[[], Any], steps: int) -> None:
    """``step`` runs the script and answers whether some are left. What is left after so many, or while Redis is away, is for the
    reaper."""
    with suppress(Unavailable):
        for _ in range(steps):
            if not step():
                break
