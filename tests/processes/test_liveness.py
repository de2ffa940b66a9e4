"""--check: whether a program's loops turn; and that nobody else can use what it writes for that."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from _jobqueue import liveness
from _jobqueue.logs import Log
from tests.harness import Program, System, eventually

PROGRAMS = ["worker", "reaper", "history", "outbox"]
root = pytest.mark.skipif(os.geteuid() != 0, reason="plays another user")


@pytest.fixture
def tmp(tmp_path: Path) -> Path:
    """The temporary folder of the programs, where anybody may write."""
    tmp_path.chmod(0o1777)
    return tmp_path


def folder(tmp: Path) -> Path:
    return tmp / f"jobqueue-{os.geteuid()}"


def start(system: System, program: str, tmp: Path) -> Program:
    urls = dict.fromkeys(("HISTORY_URL", "OUTBOX_URL"), f"sqlite:///{tmp}/history.db")
    running = system.start(f"{program}.py", TMPDIR=str(tmp), **urls)
    running.says("starting")
    return running


def check(system: System, program: str, tmp: Path) -> tuple[int, str]:
    probe = system.start(f"{program}.py", "--check", TMPDIR=str(tmp))
    return probe.exits(), probe.log


def checked(system: System, program: str, tmp: Path) -> int:
    return check(system, program, tmp)[0]


# --------------------------------------------------------------------------------------------------------- what it says


@pytest.mark.parametrize("program", PROGRAMS)
def test_check_tells_a_program_that_turns_from_none(system: System, tmp: Path, program: str) -> None:
    assert check(system, program, tmp) == (1, f"no {program} is running here\n")
    running = start(system, program, tmp)
    eventually(lambda: check(system, program, tmp), equals=(0, ""))
    running.kill()
    assert checked(system, program, tmp) == 1


def test_check_looks_at_its_own_program(system: System, tmp: Path) -> None:
    start(system, "worker", tmp)
    eventually(lambda: checked(system, "worker", tmp), equals=0)
    assert check(system, "reaper", tmp) == (1, "no reaper is running here\n")


@pytest.mark.long(2)
@pytest.mark.parametrize("program", PROGRAMS)
def test_check_finds_a_program_that_stands_still(system: System, tmp: Path, program: str) -> None:
    running = start(system, program, tmp)
    life = folder(tmp) / f"{program}-{running.pid}"
    eventually(life.exists)
    running.signal(signal.SIGSTOP)
    turned, started = life.read_text().split(" ")
    life.write_text(f"{float(turned) - 16:.3f} {started}")  # sixteen seconds pass
    code, said = check(system, program, tmp)
    assert code == 1 and f"{program} {running.pid} last turned" in said
    running.signal(signal.SIGCONT)
    eventually(lambda: checked(system, program, tmp), equals=0)


def test_check_ignores_what_a_killed_worker_left_under_a_number_that_is_used_again(system: System, tmp: Path) -> None:
    worker = start(system, "worker", tmp)
    eventually(lambda: checked(system, "worker", tmp), equals=0)
    (folder(tmp) / f"worker-{os.getpid()}").write_text("1.0 1")
    (folder(tmp) / f"worker-{os.getppid()}").write_text("garbage")
    assert checked(system, "worker", tmp) == 0
    worker.kill()
    code, said = check(system, "worker", tmp)
    assert code == 1 and "no worker is running here" in said


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_that_waits_for_redis_is_alive(own_system: System, tmp: Path, program: str) -> None:
    own_system.server.kill()
    start(own_system, program, tmp).says("waiting for Redis")
    eventually(lambda: checked(own_system, program, tmp), equals=0)


@pytest.mark.parametrize("program", PROGRAMS)
def test_an_end_and_the_next_start_leave_no_files(system: System, tmp: Path, program: str) -> None:
    killed, ended = start(system, program, tmp), start(system, program, tmp)
    for each in (killed, ended):
        eventually((folder(tmp) / f"{program}-{each.pid}").exists)
    assert ended.stop() == 0
    killed.kill()
    (folder(tmp) / str(killed.pid)).touch()  # as releases before named it
    running = start(system, program, tmp)
    eventually(lambda: os.listdir(folder(tmp)), equals=[f"{program}-{running.pid}"])


# --------------------------------------------------------------------------------------------------------- other users


class Said(Log):
    """Keeps the warnings."""

    def __init__(self) -> None:
        super().__init__("test")
        self.warnings: list[str] = []

    def warning(self, message: str, **fields: Any) -> None:
        self.warnings.append(f"{message} {fields}")


@root
def test_a_folder_that_another_user_made_first_is_not_used(system: System, tmp: Path) -> None:
    folder(tmp).mkdir()
    os.chown(folder(tmp), 65534, 65534)
    worker = start(system, "worker", tmp)
    worker.says("no sign of life can be written, so --check finds no worker")
    worker.says("belongs to another user")
    code, said = check(system, "worker", tmp)
    assert code == 1 and "no worker can be seen here" in said and "belongs to another user" in said
    assert os.listdir(folder(tmp)) == [] and worker.stop() == 0
    assert worker.log.count("no sign of life") == 1


def test_a_link_in_the_place_of_the_folder_is_not_followed(system: System, tmp: Path) -> None:
    elsewhere = tmp / "elsewhere"
    elsewhere.mkdir()
    folder(tmp).symlink_to(elsewhere)
    worker = start(system, "worker", tmp)
    worker.says("no sign of life")
    assert checked(system, "worker", tmp) == 1 and os.listdir(elsewhere) == []


@pytest.mark.parametrize("link", [os.symlink, os.link], ids=["symbolic", "hard"])
def test_links_in_the_folder_lead_nowhere(tmp: Path, monkeypatch: pytest.MonkeyPatch, link: object) -> None:
    monkeypatch.setattr(liveness.tempfile, "tempdir", str(tmp))
    precious = tmp / "precious"
    precious.write_text("precious")
    folder(tmp).mkdir()
    for name in (f"worker-{os.getpid()}.new", f"worker-{os.getpid()}"):
        link(precious, folder(tmp) / name)  # type: ignore[operator]
    life = liveness.Life("worker", Said())
    life.note()
    assert precious.read_text() == "precious" and liveness.check("worker") == 0
    assert [path.name for path in folder(tmp).iterdir()] == [f"worker-{os.getpid()}"]
    assert not (folder(tmp) / f"worker-{os.getpid()}").is_symlink()
    life.forget()
    assert precious.exists() and os.listdir(folder(tmp)) == []


def test_nobody_else_may_look_into_the_folder(tmp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(liveness.tempfile, "tempdir", str(tmp))
    folder(tmp).mkdir()
    folder(tmp).chmod(0o777)  # as a careless umask leaves it
    liveness.Life("worker", Said()).note()
    assert folder(tmp).stat().st_mode & 0o777 == 0o700
    assert (folder(tmp) / f"worker-{os.getpid()}").stat().st_mode & 0o777 == 0o600


def test_no_temporary_folder_is_a_warning_and_no_end(tmp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> str:
        raise FileNotFoundError("no usable temporary directory")

    monkeypatch.setattr(liveness.tempfile, "gettempdir", none)
    log = Said()
    life = liveness.Life("worker", log)
    for _ in range(3):
        life.note()
        monkeypatch.setattr(life, "_noted_at", -1.0)
    life.forget()
    assert len(log.warnings) == 1 and "no sign of life" in log.warnings[0]
    assert liveness.check("worker") == 1
