"""The Lua scripts, each by its SHA-1."""

from __future__ import annotations

import hashlib
from pathlib import Path


class Script:
    """One file of ``lua/`` behind the prelude."""

    folder = Path(__file__).resolve().parent.parent / "lua"

    def __init__(self, name: str) -> None:
        self.text = (self.folder / "prelude.lua").read_text() + (self.folder / f"{name}.lua").read_text()
        self.sha = hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()


class Scripts(dict[str, Script]):
    """Scripts by name, each read when it is first asked for."""

    def __missing__(self, name: str) -> Script:
        script = self[name] = Script(name)
        return script
