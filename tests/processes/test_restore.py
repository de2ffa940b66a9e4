"""A restore from copies that were taken while everything ran, as docs/operations.md and docs/record.md say."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from jobqueue import JobQueue, NewJob, NotFound
from tests.harness import ROOT, Program, Server, System, eventually
from tests.played import Q
from tests.processes.test_history import command, keep, kept, quiet

PAGES = [(ROOT / f"docs/{name}.md").read_text() for name in ("operations", "record")]


def copy_of_record(file: Path, copy: Path) -> None:
    """sqlite3 data/history.db ".backup copy.db" """
    with closing(sqlite3.connect(file)) as source, closing(sqlite3.connect(copy)) as target:
        source.backup(target)


def copy_of_redis(server: Server, copy: Path) -> None:
    assert "CONFIG SET auto-aof-rewrite-percentage 0" in PAGES[0]
    server.client.config_set("auto-aof-rewrite-percentage", 0)
    eventually(lambda: server.client.info("persistence")["aof_rewrite_in_progress"], equals=0)
    shutil.copytree(server.folder, copy)
    server.client.config_set("auto-aof-rewrite-percentage", 100)


def put_back(server: Server, copy: Path) -> None:
    server.kill()
    shutil.rmtree(server.folder)
    shutil.copytree(copy, server.folder)
    server.start()


@contextmanager
def all_of_it(system: System, file: Path) -> Iterator[list[Program]]:
    """A worker, a reaper and the record; in the end they stop as they should."""
    programs = [keep(system, file), system.worker("--threads", "4"), system.reaper()]
    programs[-1].says("starting")
    yield programs
    assert [program.stop() for program in programs] == [0, 0, 0]


def test_from_copies_of_redis_and_of_the_record_all_that_they_hold_goes_on(own_system: System, tmp_path: Path) -> None:
    system, server = own_system, own_system.server
    queue, file, copies = JobQueue(system.url), tmp_path / "history.db", tmp_path / "copies"
    copies.mkdir()
    with all_of_it(system, file) as programs:
        programs[0].says("keeping a record")
        early = [stored.job.id for stored in queue.submit_many([NewJob("echo", n) for n in range(200)]) if stored.job]
        eventually(lambda: queue.books("default").sizes["done"] > 20)
        copy_of_record(file, copies / "history.db")
        copy_of_redis(server, copies / "redis")
        late = queue.submit("echo", "after the copies")
        eventually(lambda: queue.books("default").sizes["done"], equals=201)
        quiet(server)
    put_back(server, copies / "redis")
    for name in ("history.db", "history.db-wal", "history.db-shm"):
        (tmp_path / name).unlink(missing_ok=True)
    shutil.copy(copies / "history.db", file)
    server.client.hset(f"{Q}meta", "history", 0)  # 15 s have passed since the last history.py
    assert command(system, "stop", file)[0] == 0
    with all_of_it(system, file):
        eventually(lambda: queue.books("default").sizes["done"], equals=200)
        eventually(lambda: kept(file), equals=dict.fromkeys(early, "done"))
        with pytest.raises(NotFound):  # what came after the copies is lost
            queue.get(late.id)
        assert command(system, "check", file) == (0, "ok: Redis has each job that has not ended in the record\n")
    system.check()


@pytest.mark.long(8)
@pytest.mark.parametrize("newer", ["redis", "record"])
def test_of_two_copies_one_may_be_older(own_system: System, tmp_path: Path, newer: str) -> None:
    """The record is put right from Redis, whichever is ahead."""
    system, server = own_system, own_system.server
    queue, file = JobQueue(system.url), tmp_path / "history.db"
    with all_of_it(system, file) as programs:
        programs[0].says("keeping a record")
        first = queue.submit("echo", 1, delay_s=3600)
        eventually(lambda: kept(file), equals={first.id: "scheduled"})
        if newer == "redis":
            copy_of_record(file, tmp_path / "copy.db")
        else:
            copy_of_redis(server, tmp_path / "redis")
        queue.run_now(first.id)
        eventually(lambda: kept(file), equals={first.id: "done"})
        if newer == "redis":
            copy_of_redis(server, tmp_path / "redis")
        else:
            copy_of_record(file, tmp_path / "copy.db")
    put_back(server, tmp_path / "redis")
    for name in ("history.db-wal", "history.db-shm"):
        (tmp_path / name).unlink(missing_ok=True)
    shutil.copy(tmp_path / "copy.db", file)
    server.client.hset(f"{Q}meta", "history", 0)
    assert command(system, "stop", file)[0] == 0
    with all_of_it(system, file):
        is_now = "done" if newer == "redis" else "scheduled"
        assert queue.get(first.id).status == is_now
        eventually(lambda: kept(file), equals={first.id: is_now})
    system.check()
