"""What the tests start does not outlive them, not even when they are killed."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from tests import guard
from tests.harness import ROOT, eventually

KILLED = """
import os, signal, sys
from tests import fork_server, guard
from tests.harness import Server, System
server = Server()
system = System(server)
fork_server.used = sys.argv[1] == "forked"
ended = guard.start(["true"])
ended.wait()
guard.forget(ended.pid)
print(server.process.pid, system.worker("--threads", "1").pid, ended.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("start", ["anew", "forked"])
def test_servers_and_programs_die_with_tests_that_are_killed(start: str) -> None:
    command = [sys.executable, "-c", KILLED, start]
    killed = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=120)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    server, worker, _ = map(int, killed.stdout.split())
    eventually(lambda: [pid for pid in (server, worker) if guard.lives(pid)], equals=[])


def test_a_number_that_belongs_to_another_by_now_is_left_alone() -> None:
    bystander = subprocess.Popen(["sleep", "60"], start_new_session=True)
    told = "import sys; from tests import guard; guard.watch(int(sys.argv[1])); guard.forget(int(sys.argv[1]))"
    subprocess.run(
        [sys.executable, "-c", f"{told}; guard.start(['true']).wait()", str(bystander.pid)], cwd=ROOT, check=True
    )
    again = "import sys; from tests import guard; guard.watch(int(sys.argv[1]))"
    assert bystander.poll() is None
    subprocess.run([sys.executable, "-c", again, str(bystander.pid)], cwd=ROOT, check=True)
    assert bystander.wait(60) == -signal.SIGKILL
