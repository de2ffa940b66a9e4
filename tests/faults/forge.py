"""The project's programs as real processes that start in no time, for tests with hundreds of cases: always forked."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from tests import fork_server
from tests.faults.ledger import Ledger
from tests.harness import ROOT, Program, Server


class Forge:
    """Starts ``api``, ``worker`` and ``reaper``, from any thread, and ends them all."""

    def __init__(self, server: Server) -> None:
        self.server, self.programs = server, list[Program]()

    def start(self, name: str, *flags: str, **environment: str) -> Program:
        ours = {"PYTHONPATH": str(ROOT), "REDIS_URL": self.server.url, "LOG_FORMAT": "text"}
        command = [str(ROOT / f"{name}.py"), *flags]
        program = Program(command, fork_server.inherited() | ours | environment, ROOT, forked=True)
        self.programs.append(program)
        return program

    def close(self) -> None:
        for program in self.programs:
            program.kill()
            program.path.unlink()


@contextmanager
def forging(*settings: str) -> Iterator[tuple[Server, Forge, Ledger]]:
    """A Redis of its own, programs on it, and what their handlers note."""
    with ExitStack() as stack:
        server = Server(*settings)
        stack.callback(server.close)
        ledger = Ledger()
        stack.callback(ledger.close)
        forge = Forge(server)
        stack.callback(forge.close)
        yield server, forge, ledger
