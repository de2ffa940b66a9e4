"""Logs stop nobody: a reader that stalls, a closed stderr, a full disk. Lines that are lost are counted and told of."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import re
import select
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from _jobqueue import output
from _jobqueue.config import Config
from _jobqueue.logs import _Handler as LogHandler
from _jobqueue.logs import start_logging
from _jobqueue.output import Output
from jobqueue import JobQueue, NewJob
from tests.harness import System, eventually, free_port
from tests.talker import Talker

LINE = b"%07d" + b"." * 92 + b"\n"
SMALL_PIPE = 4096


def notice(lines: int) -> bytes:
    return b"lost %d\n" % lines


def pipe() -> tuple[int, int]:
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, SMALL_PIPE)
    return reader, writer


def drain(reader: int, until: Callable[[bytes], bool]) -> bytes:
    """Read until it holds what is wanted."""
    read = b""
    while not until(read):
        assert select.select([reader], [], [], 10)[0], f"nothing more comes after {read[-200:]!r}"
        read += os.read(reader, 1 << 16)
    return read


# ------------------------------------------------------------------------------------------------------- one thread


def test_a_reader_that_stalls_keeps_nobody_and_is_told_what_it_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "LIMIT_BYTES", 100_000)
    reader, writer = pipe()
    out = Output(writer, notice)
    began = time.monotonic()
    for n in range(5000):
        out.write(LINE % n)
    assert not out.flush(0.05)
    assert time.monotonic() - began < 1

    def lost(read: bytes) -> int:
        return sum(int(n) for n in re.findall(rb"^lost (\d+)$", read, re.MULTILINE))

    read = drain(reader, lambda read: read.count(b".\n") + lost(read) == 5000)
    written = [int(line[:7]) for line in read.splitlines() if line.endswith(b".")]
    assert written == sorted(set(written)) and written[:1000] == list(range(1000))
    assert lost(read) == 5000 - len(written)
    out.write(b"and on\n")
    assert drain(reader, lambda read: read.endswith(b"\n")) == b"and on\n"


def test_lines_are_in_order_and_whole_for_a_slow_reader_of_a_pipe_that_does_not_block() -> None:
    reader, writer = pipe()
    os.set_blocking(writer, False)
    out = Output(writer, notice)
    sent = [b"%d" % n * (n % 300 + 1) + b"\n" for n in range(2000)] + [b"x" * 50_000 + b"\n"]
    for line in sent:
        out.write(line)
    whole = b"".join(sent)
    assert drain(reader, lambda read: len(read) >= len(whole)) == whole
    assert out.flush(5)


def test_a_full_disk_is_told_of_when_there_is_room_again(tmp_path: Path) -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    out = Output(full, notice)
    for n in range(10):
        out.write(LINE % n)
    assert out.flush(5)
    with open(tmp_path / "log", "wb") as file:
        os.dup2(file.fileno(), full)
    out.write(b"room\n")
    assert out.flush(5)
    assert (tmp_path / "log").read_bytes() == b"room\nlost 10\n"


def test_a_pipe_that_is_closed_in_the_middle_of_a_line_loses_that_line_and_no_other(tmp_path: Path) -> None:
    reader, writer = pipe()
    out = Output(writer, notice)
    out.write(b"x" * 20_000 + b"\n")
    assert len(os.read(reader, 100)) == 100
    os.close(reader)
    assert out.flush(5)
    with open(tmp_path / "log", "wb") as file:
        os.dup2(file.fileno(), writer)
    out.write(b"whole\n")
    assert out.flush(5)
    assert (tmp_path / "log").read_bytes() == b"\nwhole\nlost 1\n"  # the first newline ends what was torn


def test_threads_do_not_mix_their_lines() -> None:
    reader, writer = pipe()
    out = Output(writer, notice)

    def talk(n: int) -> None:
        for _ in range(200):
            out.write(b"%d" % n * 150 + b"\n")

    threads = [threading.Thread(target=talk, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    lines = drain(reader, lambda read: read.count(b"\n") == 1600).splitlines()
    assert {(len(line), len(set(line))) for line in lines} == {(150, 1)}
    assert all(lines.count(b"%d" % n * 150) == 200 for n in range(8))


def in_child(action: Callable[[], None]) -> int:
    """The exit code of a forked child."""
    if not (pid := os.fork()):
        try:
            action()
            os._exit(0)
        finally:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_a_forked_child_writes_without_the_thread_and_repeats_nothing() -> None:
    reader, writer = os.pipe()
    out = Output(writer, notice)
    out.write(LINE % 1)
    assert out.flush(5)
    assert in_child(lambda: out.write(b"child\n")) == 0
    out.write(LINE % 2)
    assert drain(reader, lambda read: read.count(b"\n") == 3) == LINE % 1 + b"child\n" + LINE % 2


def test_a_forked_child_waits_for_a_stalled_reader_once() -> None:
    _, writer = pipe()
    out = Output(writer, notice)
    for n in range(200):
        out.write(LINE % n)
    assert not out.flush(0.05)
    began = time.monotonic()
    assert in_child(lambda: [out.write(LINE % n) for n in range(1000)] and None) == 0
    assert time.monotonic() - began < 3


@pytest.mark.parametrize("forks", [15, pytest.param(50, marks=pytest.mark.long(3))])
def test_a_fork_at_any_moment_leaves_the_child_able_to_write(forks: int) -> None:
    reader, writer = os.pipe()
    out = Output(writer, notice)
    stop = threading.Event()

    def talk() -> None:
        while not stop.is_set():
            out.write(b"busy\n")

    def listen() -> None:
        while os.read(reader, 1 << 16):
            pass

    threads = [threading.Thread(target=talk) for _ in range(3)]
    for thread in (*threads, threading.Thread(target=listen, daemon=True)):
        thread.start()
    try:
        assert [in_child(lambda: out.write(b"child\n")) for _ in range(forks)] == [0] * forks
    finally:
        stop.set()
        for thread in threads:
            thread.join()


# ------------------------------------------------------------------------------------------------------- log records


@pytest.fixture
def logged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], list[Any]]]:
    """Sets up logging in this process; gives the lines that were logged."""
    before, level = logging.getLogger().handlers[:], logging.getLogger().level
    monkeypatch.setattr(sys, "stderr", open(tmp_path / "log", "a"))  # noqa: SIM115
    log = start_logging(Config(log_format="json"), "test")

    def lines() -> list[Any]:
        log.flush()
        return [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]

    yield lines
    logging.basicConfig(level=level, handlers=before, force=True)


def test_records_of_others_are_logged_and_a_bad_one_is_no_error(logged: Callable[[], list[Any]]) -> None:
    logging.getLogger("other").info("%d%%", 5)
    logging.getLogger("other").debug("nobody asked")
    logging.getLogger("other").warning("%d", "no number")
    first, second = logged()
    assert (first["process"], first["message"], first["level"]) == ("other", "5%", "info")
    assert second["level"] == "warning" and "cannot be shown" in second["message"]


def test_a_handler_that_is_interrupted_in_logging_keeps_nobody_from_it(logged: Callable[[], list[Any]]) -> None:
    (handler,) = [each for each in logging.getLogger().handlers if isinstance(each, LogHandler)]
    assert handler.lock is None
    logging.getLogger("other").info("goes on")
    assert [line["message"] for line in logged()] == ["goes on"]


# ------------------------------------------------------------------------------------------------------ the programs


def stalled() -> int:
    """A pipe that nobody reads."""
    return pipe()[1]


def broken() -> int:
    """A pipe whose reader has gone."""
    reader, writer = os.pipe()
    os.close(reader)
    return writer


def full() -> int:
    return os.open("/dev/full", os.O_WRONLY)


def closed() -> None:
    return None


WAYS = [stalled, broken, full, closed]
# A reader that stalls is the worst; the others are long.
OF_MANY = [stalled, *(pytest.param(way, marks=pytest.mark.long(2)) for way in (broken, full, closed))]


@pytest.mark.long(2)
@pytest.mark.parametrize("way", WAYS)
def test_jobs_go_on_and_sigterm_works_whatever_happens_to_the_log(
    talk: Callable[..., Talker], queue: JobQueue, way: Callable[[], int | None]
) -> None:
    jobs_go_on(talk, queue, way)


@pytest.mark.parametrize("way", OF_MANY)
def test_jobs_of_two_processes_go_on_whatever_happens_to_the_log(
    talk: Callable[..., Talker], queue: JobQueue, way: Callable[[], int | None]
) -> None:
    jobs_go_on(talk, queue, way, "--processes", "2")


def jobs_go_on(talk: Callable[..., Talker], queue: JobQueue, way: Callable[[], int | None], *flags: str) -> None:
    jobs = queue.submit_many([NewJob("noop")] * 500)
    worker = talk("worker.py", *flags, to=way())
    eventually(lambda: queue.books("default").sizes["done"], equals=len(jobs), within_s=20)
    assert worker.stop(8) == 0


@pytest.mark.parametrize("way", WAYS)
def test_the_reaper_goes_on_whatever_happens_to_the_log(
    talk: Callable[..., Talker], queue: JobQueue, way: Callable[[], int | None]
) -> None:
    queue.register("default")
    reaper = talk("reaper.py", "--interval", "0.1", to=way())
    eventually(lambda: queue.books("default").reaper_lives, within_s=20)
    assert reaper.stop(8) == 0


@pytest.mark.long(2)
@pytest.mark.parametrize("way", WAYS)
def test_the_api_answers_whatever_happens_to_the_log(
    system: System, talk: Callable[..., Talker], way: Callable[[], int | None]
) -> None:
    port = free_port()
    api = talk("api.py", "--port", str(port), to=way())
    system.api_url = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        try:
            return system.get("/livez").ok
        except OSError:
            return False

    eventually(answers, within_s=20)
    assert [system.get("/jobs").status_code for _ in range(100)] == [200] * 100
    assert api.stop(8) == 0


@pytest.mark.long(4)
@pytest.mark.parametrize("way", WAYS)
def test_make_run_stops_in_order_whatever_happens_to_the_terminal(
    system: System, talk: Callable[..., Talker], queue: JobQueue, way: Callable[[], int | None], tmp_path: Path
) -> None:
    port = free_port()
    jobs = queue.submit_many([NewJob("noop")] * 200)
    run = talk("run.py", to=way(), cwd=tmp_path, API_PORT=str(port))
    eventually(lambda: queue.books("default").sizes["done"], equals=len(jobs), within_s=30)
    eventually(lambda: queue.books("default").reaper_lives, within_s=20)
    assert run.stop(20) == 0
    assert queue.look("default").workers == {}


@pytest.mark.long(7)
def test_a_worker_tells_how_many_lines_nobody_read(talk: Callable[..., Talker], queue: JobQueue) -> None:
    reader, writer = pipe()
    jobs = [NewJob("noop", f"{n}") for n in range(40_000)]
    worker = talk("worker.py", "--threads", "4", to=writer)
    os.close(writer)
    for at in range(0, len(jobs), 1000):
        queue.submit_many(jobs[at : at + 1000])
    eventually(lambda: queue.books("default").sizes["done"], equals=len(jobs), within_s=60)
    done = dropped = others = 0
    patience = threading.Timer(60, worker.process.kill)
    patience.start()
    with open(reader) as lines:
        while done + dropped < len(jobs):  # ends only if none is missing
            line = json.loads(next(lines))
            told = line["message"].startswith("log lines were dropped")
            done, dropped = done + (line["message"] == "done"), dropped + (line["n"] if told else 0)
            others += not (told or line["message"] == "done")
        assert dropped > 0 and done + dropped <= len(jobs) + others + 5
        assert worker.stop(8) == 0
    patience.cancel()


def test_what_was_said_last_is_written_before_a_program_ends(system: System) -> None:
    for program in (system.worker(), system.start("reaper.py")):
        program.says("starting")
        assert program.stop() == 0
        assert program.log.splitlines()[-1].endswith(("stopped", "stopped code=0"))
