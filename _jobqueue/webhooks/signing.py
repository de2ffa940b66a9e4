"""Signatures, as https://www.standardwebhooks.com describes them."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence

PREFIX = "whsec_"
MIN_BYTES, MAX_BYTES = 24, 64
MOST = 2  # secrets: the one in use and, while receivers change, the one before


def parse_secrets(text: str) -> tuple[bytes, ...]:
    """``whsec_<base64>``, or two of them with a comma. ValueError for anything else; it does not quote them."""
    keys = []
    for part in filter(None, map(str.strip, text.split(","))):
        try:
            key = base64.b64decode(part.removeprefix(PREFIX), validate=True)
        except (binascii.Error, ValueError):
            key = b""
        if not part.startswith(PREFIX) or not MIN_BYTES <= len(key) <= MAX_BYTES:
            raise ValueError(f"must be {PREFIX} and {MIN_BYTES} to {MAX_BYTES} random bytes as base64, one or two")
        keys.append(key)
    if not 1 <= len(keys) <= MOST:
        raise ValueError(f"must be one secret, or {MOST} with a comma")
    return tuple(keys)


def signature(keys: Sequence[bytes], message: str, at_s: int, body: bytes) -> str:
    """The header webhook-signature of a body: one signature for each key."""
    signed = b"%s.%d.%s" % (message.encode(), at_s, body)
    digests = (hmac.new(key, signed, hashlib.sha256).digest() for key in keys)
    return " ".join("v1," + base64.b64encode(digest).decode() for digest in digests)
