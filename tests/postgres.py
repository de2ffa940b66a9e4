"""A PostgreSQL of the tests' own, from the system's packages: in a folder of its own, on a free port, ended by its id."""

from __future__ import annotations

import atexit
import functools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests import guard
from tests.harness import eventually, free_port

PLACES = (
    "/usr/lib/postgresql/*/bin",
    "/usr/pgsql-*/bin",
    "/opt/homebrew/opt/postgresql*/bin",
    "/usr/local/opt/postgresql*/bin",
)


def binary(name: str) -> str | None:
    """POSTGRES_BIN, or the newest of the packages, or the PATH."""
    found = [Path(os.environ["POSTGRES_BIN"])] if os.environ.get("POSTGRES_BIN") else []
    for place in PLACES:
        found += sorted(Path("/").glob(place[1:]), key=lambda path: (len(str(path)), str(path)), reverse=True)
    return next((str(path / name) for path in found if (path / name).exists()), shutil.which(name))


def needed() -> None:
    """Skip the test where PostgreSQL or its driver is not installed."""
    pytest.importorskip("psycopg", reason="psycopg is in requirements-dev.txt")
    if not binary("initdb"):
        pytest.skip("no PostgreSQL here: on Debian and Ubuntu, sudo apt-get install postgresql")


def _folder() -> Path:
    """PostgreSQL refuses to run as root: then the folder is somebody else's."""
    folder = Path(tempfile.mkdtemp(prefix="jobqueue-postgres-"))
    if os.getuid() == 0:
        user = pwd.getpwnam("nobody")
        os.chown(folder, user.pw_uid, user.pw_gid)
    return folder


def _as_user(folder: Path) -> dict[str, Any]:
    if os.getuid():
        return {"cwd": folder}
    owner = folder.stat()
    return {"cwd": folder, "user": owner.st_uid, "group": owner.st_gid, "extra_groups": []}


@functools.cache
def _fresh() -> Path:
    """An empty database, to be copied: to make one takes half a second of a core."""
    folder = _folder()
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    options = ["-U", "tests", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync"]
    command = [str(binary("initdb")), "-D", "data", *options]
    made = subprocess.run(command, capture_output=True, text=True, check=False, **_as_user(folder))
    assert made.returncode == 0, made.stderr
    return folder / "data"


class Postgres:
    """A server that can be killed and started again on the same port."""

    def __init__(self, **settings: str) -> None:
        """``settings``: beside ours; it is quick and forgets what the machine forgets, unless fsync is on."""
        self.settings = {"fsync": "off", **settings}
        self.folder = _folder()
        self.port, self.process = free_port(), None
        self.url = f"postgresql://tests@127.0.0.1:{self.port}/postgres"
        self.as_user = _as_user(self.folder)
        try:
            subprocess.run(["cp", "-a", str(_fresh()), str(self.folder / "data")], check=True)
            self.start()
        except BaseException:
            self.close()
            raise

    def start(self) -> None:
        settings = {"port": self.port, "listen_addresses": "127.0.0.1", "unix_socket_directories": "", **self.settings}
        flags = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        with open(self.folder / "log", "ab") as log:
            self.process = guard.start(
                [str(binary("postgres")), "-D", "data", *flags], stdout=log, stderr=log, **self.as_user
            )
        eventually(lambda: self.answers() or self.process.poll() is not None)
        assert self.process.poll() is None, (self.folder / "log").read_text()

    def answers(self) -> bool:
        import psycopg

        with suppress(psycopg.Error), psycopg.connect(self.url, connect_timeout=2):
            return True
        return False

    def run(self, *statements: str) -> None:
        import psycopg

        with psycopg.connect(self.url, autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement)

    def empty(self) -> None:
        """Forget all tables and settings."""
        self.run("DROP SCHEMA public CASCADE", "CREATE SCHEMA public", "ALTER DATABASE postgres RESET ALL")

    def freeze(self, frozen: bool = True) -> None:
        """All of its processes."""
        if self.process:
            os.killpg(self.process.pid, signal.SIGSTOP if frozen else signal.SIGCONT)
            for pid in guard.children(self.process.pid):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGSTOP if frozen else signal.SIGCONT)

    def stop(self) -> None:
        """As an operator does: whoever is connected is sent away."""
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        if self.process:
            guard.forget(self.process.pid)

    def close(self) -> None:
        self.freeze(False)
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)
