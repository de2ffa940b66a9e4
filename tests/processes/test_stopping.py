"""How a program ends: what it had printed is there, atexit has run, and neither a handler nor Redis keeps it."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from jobqueue import JobQueue
from tests.harness import Server, System, eventually, free_port
from tests.talker import Talker

HANDLERS = """
import atexit, os, sys, threading, time
from pathlib import Path
from jobqueue import handler

HERE = Path(__file__).parent

def note(name):
    (HERE / f"{name}.{os.getpid()}").touch()

atexit.register(note, "atexit")

@handler("print")
def show(payload, ctx):
    print(payload)

@handler("hold", timeout=60)
def hold(payload, ctx):
    note("holding")
    while not (HERE / "gate").exists():
        time.sleep(0.01)
    print("held")

@handler("hang.at.exit")
def hang_at_exit(payload, ctx):
    atexit.register(threading.Event().wait)

@handler("thread")
def thread(payload, ctx):
    threading.Thread(target=threading.Event().wait).start()
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "my_jobs.py").write_text(HANDLERS)
    return tmp_path


def noted(folder: Path, name: str) -> list[str]:
    return [path.suffix for path in folder.glob(f"{name}.*")]


@pytest.fixture
def worker(talk: Callable[..., Talker], folder: Path) -> Iterator[Callable[..., Talker]]:
    """Starts a worker whose stdout is the file ``out``; its log goes there too."""
    with open(folder / "out", "ab") as out:
        yield lambda *flags, **more: talk(
            "worker.py", "--handlers", "my_jobs", *flags, to=out.fileno(), cwd=folder, **more
        )


def status(queue: JobQueue, job_id: str, becomes: str) -> None:
    eventually(lambda: queue.get(job_id).status, equals=becomes)


# -------------------------------------------------------------------------------------------------------- a clean end


@pytest.mark.long(2)
@pytest.mark.parametrize("flags", [(), ("--burst",), ("--processes", "2")], ids=["one", "burst", "two processes"])
def test_an_end_flushes_stdout_and_runs_atexit(
    worker: Callable[..., Talker], queue: JobQueue, folder: Path, flags: tuple[str, ...]
) -> None:
    job_id = queue.submit("print", "printed by a job").id
    running, workers = worker(*flags), 2 if "--processes" in flags else 1
    eventually(lambda: (folder / "out").read_text().count('"ready"'), equals=workers)
    status(queue, job_id, "done")
    code = running.process.wait(15) if "--burst" in flags else running.stop(15)
    assert code == 0
    assert "printed by a job\n" in (folder / "out").read_text()
    assert len(noted(folder, "atexit")) == workers


def test_a_handler_that_hangs_costs_neither_what_was_printed_nor_atexit(
    worker: Callable[..., Talker], queue: JobQueue, folder: Path
) -> None:
    printed, held = queue.submit("print", "printed before").id, queue.submit("hold").id
    running = worker("--drain", "0.5")
    status(queue, printed, "done")
    eventually(lambda: len(noted(folder, "holding")), equals=1)
    assert running.stop(8) == 0
    assert "printed before\n" in (folder / "out").read_text()
    assert noted(folder, "atexit")
    assert [error["kind"] for error in queue.get(held).errors] == ["interrupted"]


def test_a_thread_that_a_handler_left_keeps_nobody(
    worker: Callable[..., Talker], queue: JobQueue, folder: Path
) -> None:
    job_id = queue.submit("thread").id
    running = worker()
    status(queue, job_id, "done")
    assert running.stop(5) == 0
    assert noted(folder, "atexit")


@pytest.mark.long(4)
def test_what_hangs_at_the_end_has_a_bound(worker: Callable[..., Talker], queue: JobQueue, folder: Path) -> None:
    job_id = queue.submit("hang.at.exit").id
    running = worker("--drain", "0.5")
    status(queue, job_id, "done")
    began = time.monotonic()
    assert running.stop(15) == 1
    assert 5 < time.monotonic() - began < 8
    assert "what should have stopped hangs" in (folder / "out").read_text()


def test_an_unread_stdout_is_no_failure(talk: Callable[..., Talker], queue: JobQueue, folder: Path) -> None:
    job_id = queue.submit("print", "nobody reads this").id
    reader, writer = os.pipe()
    running = talk("worker.py", "--handlers", "my_jobs", to=writer, cwd=folder)
    os.close(writer)
    os.close(reader)
    status(queue, job_id, "done")
    assert running.stop(8) == 0
    assert noted(folder, "atexit")


# ------------------------------------------------------------------------------------------------------------- SIGHUP


@pytest.mark.parametrize("flags", [(), ("--processes", "2")], ids=["one", "two processes"])
def test_a_worker_whose_terminal_closes_lets_its_jobs_finish(
    worker: Callable[..., Talker], queue: JobQueue, folder: Path, flags: tuple[str, ...]
) -> None:
    job_id = queue.submit("hold").id
    running = worker(*flags)
    eventually(lambda: len(noted(folder, "holding")), equals=1)
    running.process.send_signal(signal.SIGHUP)
    eventually(lambda: "draining" in (folder / "out").read_text())
    for _ in range(3):  # a shell and the kernel may both tell it
        running.process.send_signal(signal.SIGHUP)
    (folder / "gate").touch()
    assert running.process.wait(15) == 0
    assert queue.get(job_id).status == "done" and "held\n" in (folder / "out").read_text()


@pytest.mark.parametrize("program", ["api", "reaper", "history"])
def test_the_others_end_in_order_too(system: System, program: str, tmp_path: Path) -> None:
    flags = ["--port", str(free_port())] if program == "api" else []
    running = system.start(f"{program}.py", *flags, HISTORY_URL=f"sqlite:///{tmp_path}/history.db")
    running.says("listening" if program == "api" else "starting")
    running.signal(signal.SIGHUP)
    assert running.exits() == 0 and "stopped" in running.log


@pytest.mark.long(3)
def test_a_closed_terminal_stops_all_of_make_run(system: System, folder: Path, talk: Callable[..., Talker]) -> None:
    port = str(free_port())
    with open(folder / "out", "ab") as out:
        run = talk("run.py", "--handlers", "my_jobs", to=out.fileno(), cwd=folder, API_PORT=port)
    eventually(lambda: "see what became of it" in (folder / "out").read_text(), within_s=30)
    run.process.send_signal(signal.SIGHUP)
    assert run.process.wait(30) == 0
    said = (folder / "out").read_text()
    assert said.rstrip().endswith("stopped") and noted(folder, "atexit")


def test_nohup_is_heeded(system: System, queue: JobQueue) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        worker = system.worker()
    finally:
        signal.signal(signal.SIGHUP, before)
    worker.signal(signal.SIGHUP)
    status(queue, queue.submit("noop").id, "done")
    assert "draining" not in worker.log and worker.stop() == 0


# -------------------------------------------------------------------------------------------------------- frozen Redis


@pytest.fixture
def frozen(own_system: System) -> Iterator[Callable[[], None]]:
    """Stops the Redis without closing it."""
    server: Server = own_system.server
    yield lambda: os.kill(server.process.pid, signal.SIGSTOP)
    os.kill(server.process.pid, signal.SIGCONT)


@pytest.mark.long(4)
@pytest.mark.parametrize("queues", ["default", "a,b,c"])
def test_a_frozen_redis_holds_a_worker_no_longer_than_5_s_beyond_its_drain(
    own_system: System, frozen: Callable[[], None], queues: str
) -> None:
    worker, jobs = own_system.worker("--drain", "1", "--queues", queues), JobQueue(own_system.url)
    eventually(lambda: all(jobs.look(name).workers for name in queues.split(",")))
    frozen()
    began = time.monotonic()
    assert worker.stop(30) == 0
    assert time.monotonic() - began < 6.5


@pytest.mark.long(5)
def test_a_frozen_redis_does_not_hold_the_reaper_and_the_api(own_system: System, frozen: Callable[[], None]) -> None:
    own_system.worker("--queues", "a,b,c").stop()  # queues to tick over
    reaper, api = own_system.reaper(), own_system.start("api.py", "--port", str(free_port()))
    api.says("listening")
    eventually(lambda: JobQueue(own_system.url).books("a").reaper_lives)
    frozen()
    with pytest.raises(subprocess.TimeoutExpired):
        reaper.process.wait(1)  # by then it waits for an answer
    began = time.monotonic()
    for program in (reaper, api):
        program.signal(signal.SIGTERM)
    assert (reaper.process.wait(30), api.process.wait(30)) == (0, 0)
    assert time.monotonic() - began < 5.5


@pytest.mark.long(4)
def test_a_reaper_that_has_met_only_a_frozen_redis_ends(own_system: System, frozen: Callable[[], None]) -> None:
    frozen()
    reaper = own_system.reaper()
    reaper.says("starting")
    began = time.monotonic()
    assert reaper.stop(30) in (0, 1)
    assert time.monotonic() - began < 6.5
