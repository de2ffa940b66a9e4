"""history.py as a process: it starts, stops, dies, waits for its database; its commands."""

from __future__ import annotations

import signal
import sqlite3
import time
from pathlib import Path

import pytest

from jobqueue import JobQueue, NewJob
from tests.harness import Program, Server, System, eventually
from tests.played import Q, Worker


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "history.db"


@pytest.fixture
def queue(url: str) -> JobQueue:
    jobs = JobQueue(url)
    jobs.register("default")
    return jobs


def keep(system: System, file: Path, **environment: str) -> Program:
    return system.start("history.py", "--database", f"sqlite:///{file}", **environment)


def kept(file: Path) -> dict[str, str]:
    """Status by id of what the file holds."""
    try:
        connection = sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True, timeout=10)
        try:
            return dict(connection.execute("SELECT id, status FROM job"))
        finally:
            connection.close()
    except sqlite3.OperationalError:  # it is being made
        return {}


def quiet(server: Server) -> None:
    """All that has happened is in the record."""
    eventually(lambda: server.client.hexists(f"{Q}meta", "rev") and not server.client.exists(f"{Q}unsaved"))


def rename(file: Path, table: str, name: str) -> None:
    """Without one of its tables a database is of no use."""
    connection = sqlite3.connect(file, timeout=10)
    with connection:
        connection.execute(f"ALTER TABLE {table} RENAME TO {name}")
    connection.close()


def command(system: System, name: str, file: Path) -> tuple[int, str]:
    program = system.start("history.py", name, HISTORY_URL=f"sqlite:///{file}")
    return program.exits(), program.log


def test_what_happens_is_recorded(system: System, queue: JobQueue, file: Path) -> None:
    before = queue.submit()
    keep(system, file).says("keeping a record")
    eventually(lambda: kept(file), equals={before.id: "queued"})
    assert Worker(queue).give("done") == [before.id]
    eventually(lambda: kept(file), equals={before.id: "done"})


@pytest.mark.long(7)
def test_killed_again_and_again_it_loses_nothing(system: System, queue: JobQueue, server: Server, file: Path) -> None:
    """F72, with the process itself."""
    hand, ids = Worker(queue), set[str]()
    for _ in range(6):
        program = keep(system, file)
        program.says("starting")
        deadline = time.monotonic() + 0.4
        while time.monotonic() < deadline:
            ids |= {each.job.id for each in queue.submit_many([NewJob() for _ in range(20)]) if each.job}
            hand.give("done", 10)
        program.kill()
    program = keep(system, file)
    eventually(lambda: kept(file), equals={job_id: queue.get(job_id).status for job_id in ids})
    quiet(server)
    assert program.stop() == 0
    program.says("stopped")


def test_it_waits_for_a_database_and_delays_nobody(system: System, queue: JobQueue, server: Server, file: Path) -> None:
    system.api()
    program = keep(system, file)
    quiet(server)
    rename(file, "attempt", "elsewhere")
    job = queue.submit()
    program.says("nothing is written until the database is back")
    assert Worker(queue).give("done") == [job.id]
    warnings = eventually(lambda: system.get("/health?verbose").json()["warnings"], equals=any)
    assert any("Nothing has been recorded for" in text for text in warnings)
    rename(file, "elsewhere", "attempt")
    program.says("the database is back")
    eventually(lambda: kept(file), equals={job.id: "done"})


@pytest.mark.long(4)
@pytest.mark.parametrize("frozen", ["redis", "nothing"])
def test_it_stops_when_it_is_told_to(own_system: System, tmp_path: Path, frozen: str) -> None:
    program = keep(own_system, tmp_path / "history.db")
    program.says("starting")
    JobQueue(own_system.url).submit()
    eventually(lambda: own_system.server.client.hexists(f"{Q}meta", "history"))
    if frozen == "redis":
        own_system.server.process.send_signal(signal.SIGSTOP)
    began = time.monotonic()
    assert program.stop() == 0
    assert time.monotonic() - began < 8.5
    own_system.server.process.send_signal(signal.SIGCONT)


def test_check_names_what_redis_has_lost(system: System, queue: JobQueue, server: Server, file: Path) -> None:
    job = queue.submit()
    program = keep(system, file)
    quiet(server)
    eventually(lambda: kept(file), equals={job.id: "queued"})
    assert command(system, "check", file) == (0, "ok: Redis has each job that has not ended in the record\n")
    assert program.stop() == 0
    server.client.delete(f"{Q}job:{job.id}", f"{Q}queue")
    code, said = command(system, "check", file)
    assert (code, said) == (1, f"default: job {job.id} is queued in the record, and Redis has lost it\n")


def test_stop_ends_the_marking_once_no_process_lives(
    system: System, queue: JobQueue, server: Server, file: Path
) -> None:
    program = keep(system, file)
    quiet(server)
    code, said = command(system, "stop", file)
    assert code == 1 and "stop it first" in said
    assert program.stop() == 0
    server.client.hset(f"{Q}meta", "history", "1 ")  # long ago
    assert command(system, "stop", file)[0] == 0
    queue.submit()
    assert not server.client.exists(f"{Q}unsaved") and queue.books("default").record is None


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("", "--database (HISTORY_URL) must say where the record is"),
        ("off", "--database (HISTORY_URL) must say where the record is"),
        ("mysql://here", "HISTORY_URL must be like sqlite:///"),
    ],
)
def test_a_wrong_address_is_a_mistake(system: System, address: str, said: str) -> None:
    program = system.start("history.py", HISTORY_URL=address)
    assert program.exits() == 2 and said in program.log


def test_tables_of_a_later_release_end_it(system: System, queue: JobQueue, server: Server, file: Path) -> None:
    program = keep(system, file)
    quiet(server)
    assert program.stop() == 0
    connection = sqlite3.connect(file)
    with connection:
        connection.execute("INSERT INTO jobqueue_schema (version, name) VALUES (9999, 'later')")
    connection.close()
    program = keep(system, file)
    assert program.exits() == 2 and "of a later release" in program.log
