"""The Lua scripts, each by its SHA-1."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path


class Script:
    """One operation, behind the parts of the prelude that its first line names (``-- needs: ...``)."""

    folder = Path(__file__).resolve().parent.parent / "lua"

    def __init__(self, name: str) -> None:
        operation = (self.folder / f"{name}.lua").read_text()
        needs = re.match("-- needs: (.+)\n", operation)
        parts = needs[1].split() if needs else []
        self.prelude = "".join((self.folder / f"parts/{part}.lua").read_text() for part in parts)
        self.text = self.prelude + operation
        self.sha = hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()


class Scripts(dict[str, Script]):
    """Scripts by name, each read when it is first asked for."""

    def __missing__(self, name: str) -> Script:
        script = self[name] = Script(name)
        return script
