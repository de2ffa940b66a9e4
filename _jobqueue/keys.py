"""API keys: their scopes, how one is made, and what the configuration keeps of it."""

from __future__ import annotations

import hashlib
import re
import secrets
from dataclasses import dataclass

SCOPES = ("read", "submit", "admin")  # each may do what those before it may
WORK = "work"  # beside them: claim jobs and settle them, nothing else
ANY_KEY = "any key"  # what every one of them may do
KEY_BYTES = 24  # 192 random bits
_SCOPE = rf"({'|'.join((*SCOPES, WORK))})(?:@([A-Za-z0-9_.-]{{1,64}}(?:\+[A-Za-z0-9_.-]{{1,64}})*))?"
_PROSE = re.compile(r"The key, for [\w.-]{1,64} alone; it is shown only now:|Add this to API_KEYS:")
_ENTRY = re.compile(rf"([\w.-]{{1,64}}):{_SCOPE}:([0-9a-f]{{64}})")


@dataclass(frozen=True)
class Key:
    """An API key as the configuration knows it: only its hash. ``queues``: those that it is bound to; None for all."""

    name: str
    scope: str
    digest: bytes
    queues: tuple[str, ...] | None = None

    def may(self, scope: str) -> bool:
        """Whether it may make a call that needs this scope."""
        if scope in SCOPES and self.scope in SCOPES:
            return SCOPES.index(self.scope) >= SCOPES.index(scope)
        return scope in (self.scope, ANY_KEY)

    def shown(self) -> str:
        """Its entry, without the hash."""
        return f"{self.name}:{self.scope}" + (f"@{'+'.join(self.queues)}" if self.queues else "")


def parse_keys(text: str) -> tuple[Key, ...]:
    """``name:scope:sha256`` or ``name:scope@queue+queue:sha256``, separated by commas or one a line. What new_key_says
    says is taken too, with the key itself left out. A name may have two keys while one replaces the other. ValueError quotes nothing."""
    lines = [line.strip() for line in text.splitlines()]
    words = [word.strip() for line in lines if line and not _PROSE.fullmatch(line) for word in line.split(",")]
    entries = {word: _ENTRY.fullmatch(word) for word in words}
    keys = [_key_of(entry) for entry in entries.values() if entry]
    known = {key.digest for key in keys}
    if not keys or any(not entry and _digest(word) not in known for word, entry in entries.items()):
        raise ValueError(
            f"must be name:scope:sha256 (scopes {', '.join((*SCOPES, WORK))}), comma-separated or one a line; see api.py --new-key"
        )
    return tuple(keys)


def _key_of(entry: re.Match[str]) -> Key:
    name, scope, queues, digest = entry.groups()
    return Key(name, scope, bytes.fromhex(digest), tuple(dict.fromkeys(queues.split("+"))) if queues else None)


def new_key(name: str, scope: str) -> tuple[str, str]:
    """A key for its user, and the entry of API_KEYS that lets it in. ``scope`` may name queues: work@email+push. ValueError names
    what is wrong."""
    if not re.fullmatch(r"[\w.-]{1,64}", name) or not re.fullmatch(_SCOPE, scope):
        scopes = ", ".join((*SCOPES, WORK))
        raise ValueError(
            f"a key has a name of letters, digits, _ . - and a scope of {scopes}, alone or with queues, like work@email+push"
        )
    key = secrets.token_urlsafe(KEY_BYTES)
    while key.startswith("-"):  # on a command line it would be taken for a flag
        key = secrets.token_urlsafe(KEY_BYTES)
    return key, f"{name}:{scope}:{_digest(key).hex()}"


def new_key_says(name: str, scope: str) -> str:
    """A new key and its entry, for a person and for a file that API_KEYS is read from. ValueError names what is wrong."""
    key, entry = new_key(name, scope)
    return f"The key, for {name} alone; it is shown only now:\n    {key}\nAdd this to API_KEYS:\n    {entry}"


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode(errors="replace")).digest()
