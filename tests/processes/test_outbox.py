"""outbox.py as a process, and the program of docs/record.md whose order and job commit together."""

from __future__ import annotations

import io
import re
import runpy
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from jobqueue import JobQueue
from tests.harness import ROOT, Program, Server, System, eventually, free_port

PROGRAM = re.search(r"```python\n# (shop\.py)\n(.+?)```", (ROOT / "docs/record.md").read_text(), re.DOTALL)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    with closing(sqlite3.connect(tmp_path / "shop.db")) as connection:
        connection.executescript((ROOT / "_jobqueue/record/sql/sqlite/outbox.sql").read_text())
    return tmp_path / "shop.db"


def insert(file: Path, *payloads: int, type: str = "echo") -> None:
    with closing(sqlite3.connect(file, timeout=30)) as connection, connection:
        rows = [(type, str(payload)) for payload in payloads]
        connection.executemany("INSERT INTO jobqueue_outbox (type, payload) VALUES (?, ?)", rows)


def change(file: Path, statement: str) -> None:
    with closing(sqlite3.connect(file, timeout=30)) as connection, connection:
        connection.execute(statement)


def asked(file: Path, statement: str) -> Any:
    with closing(sqlite3.connect(file, timeout=30)) as connection:
        return connection.execute(statement).fetchone()[0]


def left(file: Path) -> Any:
    return asked(file, "SELECT count(*) FROM jobqueue_outbox")


def relay(system: System, file: Path, *flags: str) -> Program:
    return system.start("outbox.py", "--database", f"sqlite:///{file}", *flags)


def jobs_of(server: Server) -> list[Any]:
    return sorted(job.payload for job in JobQueue(server.url).page(limit=200).jobs)


def test_it_sends_what_is_inserted_and_stops_when_it_is_told_to(system: System, server: Server, file: Path) -> None:
    program = relay(system, file)
    insert(file, 0, 1)
    eventually(lambda: left(file), equals=0)
    insert(file, 2)
    insert(file, 9, type="jobqueue.webhook")
    program.says("a row is refused")
    eventually(lambda: left(file), equals=1)
    assert jobs_of(server) == [0, 1, 2]
    assert program.stop() == 0
    program.says("stopped")
    assert sum(int(n) for n in re.findall(r" sent=(\d+)", program.log)) == 3 and "refused=1" in program.log


def test_killed_again_and_again_there_is_one_job_a_row(system: System, server: Server, file: Path) -> None:
    """F73, with the process itself: it dies while it sends."""
    for round_ in range(2):
        insert(file, *range(round_ * 60, round_ * 60 + 60))
        before = JobQueue(server.url).page().total or 0
        program = relay(system, file)
        eventually(lambda before=before: JobQueue(server.url).page().total > before)
        program.kill()
    assert relay(system, file, "--once").exits() == 0
    assert jobs_of(server) == list(range(120)) and left(file) == 0


def test_it_waits_for_a_redis_and_a_database_that_are_away(own_system: System, file: Path) -> None:
    program, server = relay(own_system, file), own_system.server
    insert(file, 0)
    eventually(lambda: left(file), equals=0)
    server.kill()
    insert(file, 1)
    program.says("what cannot reach Redis waits until it is back")
    server.start()
    program.says("Redis is back")
    eventually(lambda: left(file), equals=0)
    insert(file, 2)
    change(file, "ALTER TABLE jobqueue_outbox RENAME TO elsewhere")
    program.says("nothing is sent until the database is back")
    change(file, "ALTER TABLE elsewhere RENAME TO jobqueue_outbox")
    program.says("the database is back")
    eventually(lambda: left(file), equals=0)
    assert {1, 2} <= {*jobs_of(server)} and program.stop() == 0
    assert program.log.count("waits until it is back") == program.log.count("until the database is back") == 1


def test_once_says_what_stays(system: System, server: Server, file: Path) -> None:
    insert(file, 0)
    insert(file, 1, type="jobqueue.webhook")
    program = relay(system, file, "--once")
    assert program.exits() == 1 and "0 rows wait, 1 are refused, 0 are unsure" in program.log
    assert jobs_of(server) == [0]
    url = f"sqlite:///{file}"
    away = system.start("outbox.py", "--once", OUTBOX_URL=url, REDIS_URL=f"redis://127.0.0.1:{free_port()}")
    assert away.exits() == 75 and "outbox.py: Redis" in away.log


def test_it_makes_its_table(system: System, tmp_path: Path) -> None:
    file = tmp_path / "shop.db"
    sqlite3.connect(file).execute("PRAGMA user_version = 1").connection.close()
    assert relay(system, file, "--create").exits() == 0 and left(file) == 0
    again = relay(system, file, "--create")
    assert again.exits() == 75 and "already exists" in again.log


def test_without_an_address_it_is_a_mistake(system: System) -> None:
    program = system.start("outbox.py")
    assert program.exits() == 2 and "--database (OUTBOX_URL) must say where the table is" in program.log


# ------------------------------------------------------------------------------------------ the program in docs/record.md


class Killed(BaseException):
    """The program is gone, before or after a call."""


def dying_at(step: int) -> type[sqlite3.Connection]:
    """A connection whose ``step // 2``-th call is the last; for an odd step it is made."""
    calls = [step // 2]

    def deadly(connection: Dying, call: Callable[[], Any]) -> Any:
        if calls[0] > 0:
            calls[0] -= 1
            return call()
        if step % 2:
            call()
        connection.close()
        raise Killed

    class Dying(sqlite3.Connection):
        def execute(self, *args: Any) -> Any:
            return deadly(self, lambda: sqlite3.Connection.execute(self, *args))

        def __exit__(self, *error: Any) -> Any:
            if error[0] is Killed:
                return False
            return deadly(self, lambda: sqlite3.Connection.__exit__(self, *error))

    return Dying


def order(app: Any, item: str) -> str:
    """A POST to the program. Returns its status."""
    said: list[str] = []
    body = item.encode()
    environ = {"REQUEST_METHOD": "POST", "CONTENT_LENGTH": str(len(body)), "wsgi.input": io.BytesIO(body)}
    list(app(environ, lambda status, headers: said.append(status)))
    return said[0]


@pytest.fixture
def shop(file: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The program as the page shows it, with its database in a folder of the test's."""
    assert PROGRAM, "docs/record.md shows it"
    monkeypatch.chdir(file.parent)
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY, item TEXT NOT NULL)")
    (file.parent / PROGRAM[1]).write_text(PROGRAM[2])
    return runpy.run_path(PROGRAM[1])


def test_an_order_and_its_job_are_there_together_or_not_at_all(
    system: System, server: Server, file: Path, shop: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """F73: the program is killed before and after each of its steps."""
    connect, step, killed = sqlite3.connect, 0, []
    while True:
        with monkeypatch.context() as patch:
            patch.setattr(sqlite3, "connect", lambda *a, step=step, **n: connect(*a, factory=dying_at(step), **n))
            try:
                assert order(shop["app"], f"item {step}") == "201 Created"
                break
            except Killed:
                killed.append(f"item {step}")
        assert asked(file, "SELECT count(*) FROM orders") == left(file), step
        step += 1
    assert len(killed) >= 6 and asked(file, "SELECT count(*) FROM orders") == 2, "the last death came after the commit"
    assert relay(system, file, "--once").exits() == 0
    jobs = JobQueue(server.url).page().jobs
    with closing(connect(file)) as connection:
        orders = [{"order": number, "item": item} for number, item in connection.execute("SELECT * FROM orders")]
    assert [job.payload for job in jobs] == orders and {job.type for job in jobs} == {"receipt"}
    assert left(file) == 0
