"""Programs that have used JobQueue before they fork: no answer crosses over, and no child waits for a lock of its parent."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest

from jobqueue import JobQueue
from tests.harness import ROOT, Cluster, Sentinels, Server

WAYS = ("preload", "multiprocessing", "threads", "locks")


def forks(url: str, way: str) -> None:
    command = [sys.executable, "-W", "ignore", str(ROOT / "tests/queue/forking.py"), url, way]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, start_new_session=True)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


@pytest.mark.parametrize("way", WAYS)
def test_children_of_a_program_get_their_own_answers(server: Server, queue: JobQueue, way: str) -> None:
    forks(server.url, way)
    assert queue.check("default") == []


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    cluster = Cluster()
    yield cluster
    cluster.close()


@pytest.mark.long(3)
@pytest.mark.parametrize("way", WAYS)
def test_children_get_their_own_answers_of_a_cluster(cluster: Cluster, way: str) -> None:
    cluster.flush()
    forks(cluster.url, way)
    assert JobQueue(cluster.url).check("default") == []


@pytest.fixture(scope="module")
def sentinels() -> Iterator[Sentinels]:
    sentinels = Sentinels()
    yield sentinels
    sentinels.close()


@pytest.mark.parametrize("way", ["preload", *(pytest.param(each, marks=pytest.mark.long(3)) for each in WAYS[1:])])
def test_children_get_their_own_answers_of_a_primary_behind_sentinels(sentinels: Sentinels, way: str) -> None:
    sentinels.primary.client.flushall()
    forks(sentinels.url, way)
    assert JobQueue(sentinels.url).check("default") == []


def test_a_child_ends_none_of_its_parents_connections(server: Server) -> None:
    source = (
        "import os, sys; from jobqueue import JobQueue\n"
        "queue = JobQueue(sys.argv[1]); queue.submit(); queue.ping(); link = queue.link(); link.ask('x', 'PING')\n"
        "def connections(): return {row['id'] for row in queue.store.client('q').client_list() if row['name'] == 'jobqueue'}\n"
        "before = connections()\n"
        "pid = os.fork()\n"
        "if not pid: queue.submit(); queue.ping(); link.ask('x', 'PING'); link.close(); sys.exit()\n"
        "assert os.waitpid(pid, 0)[1] == 0\n"
        "queue.submit(); link.ask('x', 'PING')\n"
        "assert before == connections(), (before, connections())\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", source, server.url], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert (ended.returncode, ended.stderr) == (0, "")
