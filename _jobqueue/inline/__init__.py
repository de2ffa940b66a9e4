"""Jobs without Redis and without workers, for tests: ``inline``."""

from __future__ import annotations

from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _jobqueue.inline.runner import Inline


def inline(*handlers: ModuleType | str | Any) -> Inline:
    """Runs jobs where they are submitted, by the handlers of modules or by marked functions. Names and files of modules are taken
    as ``--handlers`` takes them. Nothing waits: delays, backoffs and snoozes pass at once, on a clock of its own.

    Calls what the modules have marked with @on_start; ``close``, or the end of a ``with`` block, calls what is for the end.
    ValueError for handlers that a worker would refuse."""
    from _jobqueue.inline.runner import Inline, handlers_of

    return Inline(*handlers_of(handlers))
