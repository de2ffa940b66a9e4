"""What Redis itself can do to everybody at once, while jobs flow: short stories, one for each."""

from __future__ import annotations

import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from jobqueue import JobQueue
from tests.faults.forge import Forge, forging
from tests.faults.ledger import Ledger
from tests.harness import Server, connections, eventually, free_port

pytestmark = pytest.mark.long(7)
STORM_S = 3.0
THREADS = 4


class Stage:
    """The whole system, and clients that insist."""

    def __init__(self, server: Server, forge: Forge, ledger: Ledger) -> None:
        self.server, self.forge, self.ledger = server, forge, ledger
        self.statuses: Counter[int] = Counter()
        port = free_port()
        self.url = f"http://127.0.0.1:{port}/jobs"
        forge.start("api", "--port", str(port), RATE_LIMIT_MAX="0").says("listening")
        forge.start("reaper", "--interval", "0.2")
        forge.start(
            "worker", "--threads", str(THREADS), "--handlers", "tests.faults.ledger", **ledger.environment
        ).says("ready")

    def submit(self, key: str) -> str:
        """The job's id, however often it takes."""
        while True:
            answer = requests.post(
                self.url, json={"type": "noted", "payload": {}}, headers={"Idempotency-Key": key}, timeout=20
            )
            self.statuses[answer.status_code] += 1
            if answer.ok:
                return str(answer.json()["job_id"])
            assert answer.status_code == 503, answer.text
            time.sleep(0.1)

    def each_done_once(self, acked: set[str]) -> None:
        jobs = JobQueue(self.server.url)
        eventually(lambda: jobs.books("default").sizes["done"], equals=len(acked), within_s=30)
        assert {job_id: len(runs) for job_id, runs in self.ledger.runs().items()} == dict.fromkeys(acked, 1)
        assert {jobs.get(job_id).attempts for job_id in acked} == {1}
        assert jobs.check("default") == []
        assert all(program.process.poll() is None for program in self.forge.programs)
        assert not any("Traceback" in program.log for program in self.forge.programs)


@pytest.fixture
def stage() -> Iterator[Stage]:
    with forging() as (server, forge, ledger):
        yield Stage(server, forge, ledger)


def again_and_again(act: Callable[[], object], every_s: float) -> None:
    until = time.monotonic() + STORM_S
    while time.monotonic() < until:
        act()
        time.sleep(every_s)


def stand_still(stage: Stage) -> None:
    """Until API, reaper and all threads of the worker have given up a call."""
    port = stage.server.port
    before = {program: connections(program.pid, port) for program in stage.forge.programs}
    stage.server.process.send_signal(signal.SIGSTOP)
    for program, waiting in before.items():
        calls = THREADS + 1 if program.name == "worker" else 1
        eventually(lambda p=program, w=waiting: len(w - connections(p.pid, port)), equals=lambda n, c=calls: n >= c)
    stage.server.process.send_signal(signal.SIGCONT)


STORMS: dict[str, Callable[[Stage], object]] = {
    "F31, all clients killed every 200 ms": lambda stage: again_and_again(
        lambda: stage.server.client.client_kill_filter(_type="normal", skipme=True), 0.2
    ),
    "F37, Redis stands still for longer than a call waits": stand_still,
    "F38, all clients paused": lambda stage: stage.server.client.client_pause(int(STORM_S * 1000)),
    "F38, all writes paused": lambda stage: stage.server.client.client_pause(int(STORM_S * 1000), all=False),
    "F39, scripts forgotten every 100 ms": lambda stage: again_and_again(stage.server.client.script_flush, 0.1),
}


@pytest.mark.parametrize("name", STORMS)
def test_jobs_that_flow_through_a_storm_are_done_once(stage: Stage, name: str) -> None:
    over, acked = threading.Event(), set[str]()

    def produce(client: int) -> None:
        number = 0
        while not over.is_set():
            acked.add(stage.submit(f"{client}-{number}"))
            number += 1
            over.wait(0.02)

    with ThreadPoolExecutor(4) as pool:
        producers = [pool.submit(produce, client) for client in range(4)]
        eventually(lambda: len(acked) > 20)
        began = time.monotonic()
        STORMS[name](stage)
        if "paused" in name:
            over.wait(STORM_S)
        ended, before = time.monotonic(), len(acked)
        eventually(lambda: len(acked) > before + 20)
        resumed_s = time.monotonic() - ended
        over.set()
        for producer in producers:
            producer.result()
    stage.each_done_once(acked)
    print(
        f"{name}: {len(acked)} jobs in {ended - began:.1f} s, answers {dict(stage.statuses)}, 20 more {resumed_s:.1f} s later"
    )
    if "F39" in name:
        assert set(stage.statuses) == {201}


def test_f56_many_requests_under_one_key_while_redis_stands_still_are_one_job(stage: Stage) -> None:
    with ThreadPoolExecutor(50) as pool:
        stage.server.client.client_pause(1500)
        ids = set(pool.map(stage.submit, ["the same"] * 50))
    print(f"F56, 50 requests at once under one key, Redis paused: {len(ids)} job, answers {dict(stage.statuses)}")
    assert len(ids) == 1
    stage.each_done_once(ids)
