"""run.py as a user has it: everything started, the printed lines pasted into a shell, Ctrl-C, kill -9."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

import run
from tests.harness import ROOT, Program, Server, eventually, free_port

pytestmark = pytest.mark.skipif(not shutil.which("ps"), reason="ps is not installed")

Start = Callable[..., "Run"]


class Run:
    """One run.py in a folder of its own, on free ports."""

    def __init__(self, folder: Path, ports: tuple[int, int], **environment: str) -> None:
        redis_port, api_port = ports
        clean = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
        ours = {
            "REDIS_URL": f"redis://127.0.0.1:{redis_port}/0",
            "API_PORT": str(api_port),
            "SIMULATED_WORK_S": "0",
            "PYTHONUNBUFFERED": "1",
        }
        self.api_url = f"http://127.0.0.1:{api_port}"
        self.program = Program([str(ROOT / "run.py")], clean | ours | environment, folder)
        self.children: dict[str, int] = {}

    @property
    def log(self) -> str:
        return self.program.log

    def ready(self) -> Run:
        self.program.says("see what became of it", within_s=30)
        self.children = self.processes()
        return self

    def processes(self) -> dict[str, int]:
        """pid by name of what it has started and what runs."""
        rows = [row.split(None, 3) for row in ps("-A", "-ww", "-o", "pid=,ppid=,stat=,args=")]
        found = {}
        for pid, parent, stat, command in rows:
            if int(parent) == self.program.pid and not stat.startswith("Z"):
                name = re.search(r"(api|worker|reaper|history)\.py|redis-server|valkey-server|while read", command)
                found[name[1] or name[0] if name else command] = int(pid)
        return found

    def printed(self) -> tuple[str, str]:
        """The two lines that one is invited to paste."""
        submit, see = re.findall(r"^    (.*curl .*)$", self.log, re.MULTILINE)
        return submit, see

    def submit(self, payload: Any = None, **fields: Any) -> str:
        answer = requests.post(f"{self.api_url}/jobs", json={"payload": payload, **fields}, timeout=10)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["job_id"])

    def job(self, job_id: str) -> dict[str, Any]:
        return dict(requests.get(f"{self.api_url}/jobs/{job_id}", timeout=10).json())

    def ends(self, job_id: str, within_s: float = 20.0) -> dict[str, Any]:
        eventually(lambda: self.job(job_id)["status"], equals="done", within_s=within_s)
        return self.job(job_id)

    def interrupt(self) -> int:
        """Ctrl-C, and the exit code."""
        self.program.signal(signal.SIGINT)
        return self.program.process.wait(30)


def ps(*arguments: str) -> list[str]:
    return subprocess.run(["ps", *arguments], capture_output=True, text=True, check=False).stdout.splitlines()


def alive(pids: dict[str, int]) -> dict[str, int]:
    """Those that still run; one that has ended and was not collected does not."""
    return {
        name: pid for name, pid in pids.items() if any(s.strip()[:1] != "Z" for s in ps("-o", "stat=", "-p", str(pid)))
    }


@pytest.fixture
def ports() -> tuple[int, int]:
    return free_port(), free_port()


@pytest.fixture
def start(tmp_path: Path, ports: tuple[int, int]) -> Iterator[Start]:
    runs: list[Run] = []

    def starter(**environment: str) -> Run:
        runs.append(Run(tmp_path, ports, **environment))
        return runs[-1]

    yield starter
    for one in runs:
        left = [*one.processes().values(), *one.children.values()]
        one.program.kill()
        for pid in left:
            if alive({"": pid}):
                os.kill(pid, signal.SIGKILL)
        print(f"--- run.py {one.program.pid}\n{one.log}")
        one.program.path.unlink()


def fake_server(folder: Path, version: str) -> str:
    """A PATH that begins with a redis-server that only tells its version."""
    server = folder / "bin/redis-server"
    server.parent.mkdir()
    server.write_text(f"#!/bin/sh\necho 'Redis server v={version} sha=00000000:0 malloc=libc bits=64'\n")
    server.chmod(0o755)
    return f"{server.parent}:{os.environ['PATH']}"


# --------------------------------------------------------------------------------------------------------- running


@pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed")
def test_the_printed_lines_submit_a_job_and_show_it_done(start: Start) -> None:
    submit, see = start().ready().printed()

    def pasted() -> dict[str, Any]:
        script = f"{submit} >&2\nsleep 0.5\n{see}"
        shown = subprocess.run(["sh", "-c", script], capture_output=True, text=True, timeout=30, check=True)
        job: dict[str, Any] = json.loads(shown.stdout)
        assert job["job_id"] == shown.stderr.strip()
        assert "warning" not in job
        return job

    job = eventually(pasted, equals=lambda job: job["status"] == "done", within_s=20)
    assert job["result"] == {"hello": "world"}


def test_the_first_job_after_the_welcome_finds_a_worker_and_a_reaper(start: Start) -> None:
    one = start().ready()
    answer = requests.post(f"{one.api_url}/jobs", json={"payload": 1}, timeout=10).json()
    assert "warning" not in answer
    assert one.children.keys() - {"while read"} >= {"api", "worker", "reaper", "history"}


def test_ctrl_c_lets_a_job_finish_and_stops_everything_in_order(start: Start) -> None:
    one = start(SIMULATED_WORK_S="1").ready()
    job_id = one.submit()
    eventually(lambda: one.job(job_id)["status"], equals="processing")
    assert one.interrupt() == 0
    assert alive(one.children) == {}
    said = [
        "stopping",
        "api stopped",
        f"done job={job_id}",
        "worker stopped",
        "reaper stopped",
        "history stopped",
        "\nstopped",
    ]
    places = [one.log.find(words) for words in said]
    assert -1 not in places and places == sorted(places), places


@pytest.mark.long(4)
def test_a_second_ctrl_c_hurries_and_the_job_runs_again_after_a_restart(start: Start) -> None:
    one = start(SIMULATED_WORK_S="8").ready()
    job_id = one.submit()
    eventually(lambda: one.job(job_id)["status"], equals="processing")
    one.program.signal(signal.SIGINT)
    one.program.says("draining")
    assert one.interrupt() == 0
    assert "kind=interrupted" in one.log
    job = start().ready().ends(job_id)
    assert job["attempts"] == 2


def test_jobs_survive_a_restart(start: Start) -> None:
    one = start().ready()
    done, waiting = one.submit("kept"), one.submit("waits", delay_s=3600)
    one.ends(done)
    assert one.interrupt() == 0
    again = start().ready()
    assert again.job(done)["result"] == "kept"
    assert again.job(waiting)["status"] == "scheduled"


@pytest.mark.long(6)
def test_a_killed_worker_is_replaced_and_its_job_runs_again(start: Start) -> None:
    one = start(SIMULATED_WORK_S="1", PROCESSING_TIMEOUT_S="2").ready()
    job_id = one.submit()
    eventually(lambda: one.job(job_id)["status"], equals="processing")
    os.kill(one.children["worker"], signal.SIGKILL)
    assert one.ends(job_id)["attempts"] == 2
    one.program.says("ended with -9; starting it again")
    assert one.processes().keys() == one.children.keys()


@pytest.mark.long(4)
def test_a_killed_redis_is_replaced_and_the_jobs_are_still_there(start: Start) -> None:
    one = start(SIMULATED_WORK_S="2").ready()
    job_id = one.submit()
    eventually(lambda: one.job(job_id)["status"], equals="processing")
    server = next(name for name in one.children if name.endswith("-server"))
    os.kill(one.children[server], signal.SIGKILL)
    one.program.says(f"(pid {one.children[server]}) ended with -9; starting it again")
    assert one.ends(job_id)["attempts"] <= 2


@pytest.mark.long(10)
def test_everything_ends_when_run_py_is_killed_and_the_next_run_goes_on(start: Start) -> None:
    one = start(SIMULATED_WORK_S="3").ready()
    job_id = one.submit()
    eventually(lambda: one.job(job_id)["status"], equals="processing")
    os.kill(one.program.pid, signal.SIGKILL)
    one.program.process.wait(10)
    again = start().ready()
    assert alive(one.children) == {}
    again.program.says("An earlier run was killed")
    assert again.ends(job_id)["attempts"] == 1


# ------------------------------------------------------------------------------------------------------- not alone


@pytest.mark.long(4)
def test_a_redis_that_answers_is_used_and_left_running(start: Start, server: Server) -> None:
    one = start(REDIS_URL=server.url).ready()
    one.program.says(f"using the Redis at 127.0.0.1:{server.port}")
    one.ends(one.submit("there"))
    assert one.interrupt() == 0
    assert server.answers()
    assert not any(name.endswith("-server") for name in one.children)


def test_a_taken_port_is_said_and_nothing_is_started(start: Start, ports: tuple[int, int]) -> None:
    with socket.create_server(("127.0.0.1", ports[1])):
        one = start()
        assert one.program.process.wait(20) == 1
    assert f"cannot listen on 127.0.0.1:{ports[1]}: Address already in use" in one.log
    assert f"API_PORT={ports[1] + 1} make run" in one.log
    assert "started" not in one.log


def test_a_redis_that_does_not_answer_elsewhere_is_said_without_its_password(start: Start) -> None:
    one = start(REDIS_URL=f"redis://:s3cret@127.0.0.1:{free_port()}/0")
    assert one.program.process.wait(20) == 1
    assert "cannot be used" in one.log and "unset REDIS_URL" in one.log
    assert "s3cret" not in one.log and "Traceback" not in one.log


def test_sentinels_that_do_not_answer_are_said_without_their_password(start: Start) -> None:
    one = start(REDIS_URL=f"redis+sentinel://:s3cret@127.0.0.1:{free_port()},127.0.0.1:1/jobs")
    assert one.program.process.wait(20) == 1
    assert "The Redis at redis+sentinel://***@127.0.0.1" in one.log and "Traceback" not in one.log
    assert "s3cret" not in one.log


@pytest.mark.long(5)
def test_another_port_is_taken_when_something_else_sits_on_that_of_redis(start: Start, ports: tuple[int, int]) -> None:
    with socket.create_server(("127.0.0.1", ports[0])):
        one = start().ready()
    one.program.says(f"port {ports[0]} is taken")
    one.ends(one.submit())


@pytest.mark.long(4)
def test_a_second_run_may_not_open_the_same_data(start: Start) -> None:
    one = start().ready()
    other = start(API_PORT=str(free_port()), REDIS_URL=f"redis://127.0.0.1:{free_port()}/0")
    assert other.program.process.wait(20) == 1
    assert f"Another run (pid {one.program.pid}) uses data/" in other.log


# ----------------------------------------------------------------------------------------------------- what is there


@pytest.mark.long(4)
def test_wrong_settings_of_a_process_end_the_run_with_its_words(start: Start) -> None:
    one = start(HANDLERS="no.such.module")
    assert one.program.process.wait(30) == 1
    assert "No module named 'no'" in one.log and "The worker cannot run like this" in one.log
    assert one.log.rstrip().endswith("its own words are above.")


def test_an_older_redis_does_not_start_empty_beside_the_data_of_a_newer_one(start: Start, tmp_path: Path) -> None:
    (tmp_path / "data/appendonlydir").mkdir(parents=True)
    one = start(PATH=fake_server(tmp_path, "6.2.14"))
    assert one.program.process.wait(20) == 1
    assert "written by Redis 7 or newer" in one.log and "move data/ away" in one.log


def test_a_server_on_the_path_that_is_too_old_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", fake_server(tmp_path, "6.0.16").split(":")[0] + ":/bin")
    monkeypatch.setattr(run, "EMBEDDED", tmp_path / "embedded")
    monkeypatch.setattr(shutil, "which", lambda name: str(tmp_path / "bin" / name))
    assert run.redis_server() is None
    shutil.copy(tmp_path / "bin/redis-server", tmp_path / "embedded")
    assert run.redis_server() is None
    (tmp_path / "embedded").write_text((tmp_path / "embedded").read_text().replace("6.0.16", "6.2.0"))
    assert run.redis_server() == str(tmp_path / "embedded")


def test_without_any_redis_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "redis_server", lambda: None)
    with pytest.raises(SystemExit, match=r"(?s)localhost:6379.*6\.2 or newer.*apt-get install redis-server.*REDIS_URL"):
        run.choose_redis("redis://localhost:6379/0", "refused", True)
