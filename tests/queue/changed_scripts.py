"""A copy of the scripts whose time a test sets, and in which it may change a line."""

from __future__ import annotations

import shutil
from pathlib import Path

from _jobqueue.store.scripts import Script

CLOCK = "jq:test:now"  # a key


def copied(folder: Path) -> Path:
    """A copy of the scripts that read the time from CLOCK, in ms."""
    copy = folder / "lua"
    shutil.copytree(Script.folder, copy)
    clock = f"""
local function test_time()
  local ms = redis.call('GET', '{CLOCK}')
  return {{ math.floor(ms / 1000), ms % 1000 * 1000 }}
end
"""
    change(copy, "parts/prelude.lua", "call('TIME')", "test_time()")
    prelude = copy / "parts/prelude.lua"
    prelude.write_text(clock + prelude.read_text())
    return copy


def change(lua: Path, script: str, line: str, instead: str) -> None:
    text = (lua / script).read_text()
    assert text.count(line) == 1, f"{script} has changed: find the new place of this line"
    (lua / script).write_text(text.replace(line, instead))
