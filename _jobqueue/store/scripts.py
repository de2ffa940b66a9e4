"""The Lua scripts, each by its SHA-1."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

SELDOM = "-- seldom\n"


class Script:
    """One operation, behind the parts of the prelude that its first line names (``-- needs: ...``). Another operation that it
    names (``-- calls: ...``) stands between them, with its parts, as a function of its ARGV.

    Redis makes the functions of a script anew in every call. Those of parts whose first line is ``-- seldom`` are made all
    together when the first of them is called: ``name(...)`` becomes ``seldom().name(...)``."""

    folder = Path(__file__).resolve().parent.parent / "lua"

    def __init__(self, name: str) -> None:
        operation = self._read(name)
        called = {other: self._read(other) for other in _named("calls", operation)}
        parts = [part for text in (*called.values(), operation) for part in _named("needs", text)]
        texts = [self._read(f"parts/{part}") for part in dict.fromkeys(parts)]
        functions = "".join(f"local function {other}(ARGV)\n{text}end\n" for other, text in called.items())
        self.parts, body = _put_together(texts, functions + operation)
        self.text = self.parts + body
        self.sha = hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()

    def _read(self, name: str) -> str:
        return (self.folder / f"{name}.lua").read_text()


def _put_together(parts: Sequence[str], body: str) -> tuple[str, str]:
    """The parts, and the script behind them."""
    always = "".join(part for part in parts if not part.startswith(SELDOM))
    seldom = "".join(part for part in parts if part.startswith(SELDOM))
    names = re.findall(r"^local function (\w+)", seldom, re.MULTILINE)
    if not names:
        return always, body
    values = re.compile(r"^local (?!function ).*\n", re.MULTILINE)
    # Not where it is a member, a text or the name of a field.
    uses = re.compile(rf"""(?<![\w.:'"])({"|".join(names)})(?![\w'"]|\s*=[^=])""")
    always, body = (uses.sub(r"seldom().\1", text) for text in (always, body))
    table = ", ".join(f"{name} = {name}" for name in names)
    made = f"if SELDOM then return SELDOM end\n{values.sub('', seldom)}SELDOM = {{ {table} }}\nreturn SELDOM\n"
    first = "".join(["local SELDOM, seldom\n", *values.findall(seldom), always])
    return f"{first}function seldom()\n{made}end\n", body


def _named(how: str, text: str) -> list[str]:
    """What the head of a script names so."""
    line = re.match(f"(?:-- .*\n)*?-- {how}: (.+)\n", text)
    return line[1].split() if line else []


class Scripts(dict[str, Script]):
    """Scripts by name, each read when it is first asked for."""

    def __missing__(self, name: str) -> Script:
        script = self[name] = Script(name)
        return script
