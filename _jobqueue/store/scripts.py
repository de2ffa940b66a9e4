"""The Lua scripts, each by its SHA-1."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

CONSTANT = re.compile(r"^local ([A-Z_]+) = ('[^']*'|-?[0-9]+)(?: --.*)?$", re.MULTILINE)
SELDOM = re.compile(r"-- seldom ?(\w*)\n")


class Script:
    """One operation, behind the parts of the prelude that its first line names (``-- needs: ...``). Another operation that it
    names (``-- calls: ...``) stands between them, with its parts, as a function of its ARGV.

    Redis makes the functions of a script anew in every call. Those of parts whose first line is ``-- seldom`` are made all
    together when the first of them is called: ``name(...)`` becomes ``seldom().name(...)``. A word behind that, as in
    ``-- seldom limits``, makes them a group of their own, which the rest does not make. Constants stand where they are used."""

    folder = Path(__file__).resolve().parent.parent / "lua"

    def __init__(self, name: str) -> None:
        operation = self._read(name)
        called = {other: self._read(other) for other in _named("calls", operation)}
        parts = [part for text in (*called.values(), operation) for part in _named("needs", text)]
        texts = [self._read(f"parts/{part}") for part in dict.fromkeys(parts)]
        functions = "".join(f"local function {other}(ARGV)\n{text}end\n" for other, text in called.items())
        self.parts, body = _put_together(texts, functions + operation)
        self.text = _with_constants(self.parts + body)
        self.sha = hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()

    def _read(self, name: str) -> str:
        return (self.folder / f"{name}.lua").read_text()


def _put_together(parts: Sequence[str], body: str) -> tuple[str, str]:
    """The parts, and the script behind them."""
    always = "".join(part for part in parts if not SELDOM.match(part))
    groups: dict[str, str] = {}
    for part in parts:
        if found := SELDOM.match(part):
            groups[found[1]] = groups.get(found[1], "") + part
    if not groups:
        return always, body
    names = {group: re.findall(r"^local function (\w+)", text, re.MULTILINE) for group, text in groups.items()}
    values = re.compile(r"^local (?!function ).*\n", re.MULTILINE)

    def by_group(text: str, own: str | None = None) -> str:
        """The same, with the functions of other groups taken from these."""
        for group in names.keys() - {own}:
            asked = f"'{group}'" if group else ""
            text = _uses_of(names[group]).sub(rf"seldom({asked}).\1", text)
        return text

    made = "".join(_made(group, by_group(values.sub("", text), group), names[group]) for group, text in groups.items())
    kept = [
        f"local {', '.join(f'SELDOM_{group}' for group in groups)}, seldom\n",
        *values.findall("".join(groups.values())),
    ]
    return f"{''.join(kept)}{by_group(always)}function seldom(group)\n{made}end\n", by_group(body)


def _made(group: str, text: str, names: Sequence[str]) -> str:
    """The lines that make the functions of a group when it is asked for, once."""
    kept, table = f"SELDOM_{group}", ", ".join(f"{name} = {name}" for name in names)
    asked = f"group == '{group}'" if group else "not group"
    return f"if {asked} then\nif {kept} then return {kept} end\n{text}{kept} = {{ {table} }}\nreturn {kept}\nend\n"


def _with_constants(text: str) -> str:
    """The same with numbers and texts in the place of their names: each name that a function uses makes it dearer to make."""
    values: dict[str, str] = dict(CONSTANT.findall(text))
    if not values:
        return text
    return _uses_of(values).sub(lambda found: f"({values[found[1]]})", CONSTANT.sub("", text))


def _uses_of(names: Iterable[str]) -> re.Pattern[str]:
    """Where one of them is used: not where it is a member, a text or the name of a field."""
    return re.compile(rf"""(?<![\w.:'"])({"|".join(names)})(?![\w'"]|\s*=[^=])""")


def _named(how: str, text: str) -> list[str]:
    """What the head of a script names so."""
    line = re.match(f"(?:-- .*\n)*?-- {how}: (.+)\n", text)
    return line[1].split() if line else []


class Scripts(dict[str, Script]):
    """Scripts by name, each read when it is first asked for."""

    def __missing__(self, name: str) -> Script:
        script = self[name] = Script(name)
        return script
