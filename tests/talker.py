"""A program whose stdout and stderr go where a test wants, buffered as a user has them."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from tests import guard
from tests.harness import ROOT, System


class Talker:
    """A program whose stdout and stderr go where a test wants."""

    def __init__(
        self, system: System, script: str, *flags: str, to: int | None, cwd: Path = ROOT, **environment: str
    ) -> None:
        known = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ}
        ours = {"REDIS_URL": system.url, "SIMULATED_WORK_S": "0", "LOG_FORMAT": "json"}
        command = [sys.executable, str(ROOT / script), *flags]
        if to is None:  # both closed
            command = ["sh", "-c", 'exec "$@" >&- 2>&-', "sh", *command]
        self.process = guard.start(command, env=known | ours | environment, cwd=cwd, stdout=to, stderr=to)

    def stop(self, within_s: float) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(within_s)

    def close(self) -> None:
        children = guard.children(self.process.pid)
        self.process.kill()
        self.process.wait()
        guard.end(children)
        guard.forget(self.process.pid)
