"""A type that the other workers of the stage do not know. It writes to the same ledger."""

from __future__ import annotations

from typing import Any

from jobqueue import handler
from tests.faults import ledger

OTHER = "noted.other"


@handler(OTHER, max_attempts=4, backoff=0.2)
def other(payload: Any, ctx: Any) -> Any:
    return ledger.noted(payload, ctx)
