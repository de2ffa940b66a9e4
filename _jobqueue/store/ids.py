"""Job ids, which carry their queue's number."""

from __future__ import annotations

import os
import uuid

_VARIANT = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}


def new_id(queue_number: int, bits: bytes | None = None) -> str:
    """A UUID of version 8 (RFC 9562): random but for the 12 bits behind the version, the queue's number."""
    digits = (bits or os.urandom(16)).hex()  # by hand: class UUID takes twice as long
    variant = _VARIANT[digits[16]]
    return f"{digits[:8]}-{digits[8:12]}-8{queue_number:03x}-{variant}{digits[17:20]}-{digits[20:]}"


def queue_number_of(job_id: str) -> int | None:
    """The queue's number in a job id; None for what cannot be one of ours."""
    try:
        parsed = uuid.UUID(job_id)
    except ValueError:
        return None
    if str(parsed) != job_id or parsed.version != 8:
        return None
    return parsed.int >> 64 & 0xFFF
