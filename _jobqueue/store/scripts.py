"""The Lua scripts, each by its SHA-1."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path


class Script:
    """One operation, behind the parts of the prelude that its first line names (``-- needs: ...``). Another operation that it
    names (``-- calls: ...``) stands between them, with its parts, as a function of its ARGV."""

    folder = Path(__file__).resolve().parent.parent / "lua"

    def __init__(self, name: str) -> None:
        operation = self._read(name)
        called = {other: self._read(other) for other in _named("calls", operation)}
        parts = [part for text in (*called.values(), operation) for part in _named("needs", text)]
        functions = (f"local function {other}(ARGV)\n{text}end\n" for other, text in called.items())
        self.prelude = "".join([*(self._read(f"parts/{part}") for part in dict.fromkeys(parts)), *functions])
        self.text = self.prelude + operation
        self.sha = hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()

    def _read(self, name: str) -> str:
        return (self.folder / f"{name}.lua").read_text()


def _named(how: str, text: str) -> list[str]:
    """What the head of a script names so."""
    line = re.match(f"(?:-- .*\n)*?-- {how}: (.+)\n", text)
    return line[1].split() if line else []


class Scripts(dict[str, Script]):
    """Scripts by name, each read when it is first asked for."""

    def __missing__(self, name: str) -> Script:
        script = self[name] = Script(name)
        return script
