"""API keys: their scopes, how one is made, and what the configuration keeps of it."""

from __future__ import annotations

import hashlib
import re
import secrets
from dataclasses import dataclass

SCOPES = ("read", "submit", "admin")  # each may do what those before it may
KEY_BYTES = 24  # 192 random bits
_ENTRY = re.compile(rf"([\w.-]{{1,64}}):({'|'.join(SCOPES)}):([0-9a-f]{{64}})")


@dataclass(frozen=True)
class Key:
    """An API key as the configuration knows it: only its hash."""

    name: str
    scope: str
    digest: bytes


def parse_keys(text: str) -> tuple[Key, ...]:
    """``name:scope:sha256``, separated by commas. A name may have two keys while one replaces the other. ValueError quotes
    nothing."""
    entries = [_ENTRY.fullmatch(entry.strip()) for entry in text.split(",")]
    if not all(entries):
        raise ValueError(
            f"must be name:scope:sha256 (scopes {', '.join(SCOPES)}), comma-separated; see api.py --new-key"
        )
    return tuple(Key(entry[1], entry[2], bytes.fromhex(entry[3])) for entry in entries if entry)


def new_key(name: str, scope: str) -> tuple[str, str]:
    """A key for its user, and the entry of API_KEYS that lets it in. ValueError names what is wrong."""
    if not re.fullmatch(r"[\w.-]{1,64}", name) or scope not in SCOPES:
        raise ValueError(f"a key has a name of letters, digits, _ . - and a scope of {', '.join(SCOPES)}")
    key = secrets.token_urlsafe(KEY_BYTES)
    entry = f"{name}:{scope}:{hashlib.sha256(key.encode()).hexdigest()}"
    return key, entry
