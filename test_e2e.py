"""The system as real processes: the documented calls, stuck jobs, kill -9, a Redis that dies, a clean stop.

Each test starts what it needs on free ports, and ends by asking ``python jobqueue.py check`` whether the books balance.
"""

from __future__ import annotations

import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import requests

from _jobqueue.store.ids import new_id
from jobqueue import JobQueue, NewJob
from tests.harness import Server, System, connections, eventually

ODD = ("--handlers", "tests.odd_handlers")


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    """The file that the handler ``hold`` waits for; each of its starts is a line of ``<gate>.starts``."""
    return tmp_path / "gate"


def starts(gate: Path) -> list[str]:
    path = Path(f"{gate}.starts")
    return path.read_text().splitlines() if path.exists() else []


def insert_stuck(server: Server, **fields: Any) -> str:
    """A job in processing whose worker is gone, written straight into Redis. Returns its id."""
    client, prefix = server.client, "jq:{default}:"
    client.hsetnx("jq:queues", "default", 0)
    job_id = new_id(int(client.hget("jq:queues", "default")))
    now_ms = client.time()[0] * 1000
    stored = {"status": "processing", "type": "echo", "payload": '{"stuck":true}', "attempts": 1, "created": now_ms}
    client.hset(f"{prefix}job:{job_id}", mapping=stored | {"score": 4 * 2**43} | fields)
    client.zadd(f"{prefix}leases", {job_id: now_ms - 60_000})
    client.hincrby(f"{prefix}totals", "submitted", 1)  # so that the books balance
    return job_id


# ------------------------------------------------------------------------------------------------------ the life of jobs


def test_a_job_is_queued_then_runs_then_is_done_with_its_payload_as_the_result(system):
    system.api()
    answer = system.post("/jobs", {"payload": {"hello": "world"}})
    job_id = answer.json()["job_id"]
    assert (answer.status_code, answer.json()["status"]) == (201, "queued")
    assert system.job(job_id) | {"status": "queued", "result": None, "attempts": 0} == system.job(job_id)
    system.worker(SIMULATED_WORK_S="0.5")
    assert system.ends(job_id, "processing")["attempts"] == 1
    job = system.ends(job_id, "done")
    assert (job["result"], job["attempts"], job["error"]) == ({"hello": "world"}, 1, None)
    assert job["created_at"] <= job["started_at"] <= job["finished_at"]
    system.check()


PAYLOADS = [
    {"deep": {"er": [1, [2, [3, {"x": []}]]]}, "empty": {}},
    {"ключ": "значение", "emoji": "🐘", "quote": 'a"b\\c', "control": "\u0000\n\t", "line": "\u2028"},
    [0, -1, 2**63, 10**30, 1.5, -0.0, 1e-300, 12345678901234567890],
    [True, False, None],
    None,
    "",
    "text",
    42,
    False,
    [],
    {},
    "x" * 100_000,
]


def test_every_json_value_comes_back_as_it_was_sent(system):
    system.api()
    system.worker()
    jobs = [(payload, system.submit(payload)) for payload in PAYLOADS]
    for payload, job_id in jobs:
        job = system.ends(job_id)
        assert (job["payload"], job["result"], type(job["result"])) == (payload, payload, type(payload))
    system.check()


@pytest.mark.parametrize(
    "unknown", [new_id(0, bytes(range(16))), "00000000-0000-4000-8000-000000000000", "no-uuid", "%00", "a" * 2000]
)
def test_an_unknown_id_is_404(system, unknown):
    system.api()
    answer = system.get(f"/jobs/{unknown}")
    assert answer.status_code == 404
    assert answer.headers["Content-Type"].startswith("application/problem+json")


def test_a_job_that_fails_is_retried_and_ends_failed_with_its_errors(system):
    system.api()
    system.reaper()
    system.worker(BACKOFF_S="0")
    job = system.ends(system.submit("FAIL_ALWAYS", type="TEST", max_attempts=3), "failed")
    assert (job["attempts"], job["result"]) == (3, None)
    assert [error["attempt"] for error in job["errors"]] == [1, 2, 3]
    assert "FAIL_ALWAYS" in job["error"]
    system.check()


# ------------------------------------------------------------------------------------------------------- stuck jobs


def test_a_stuck_job_is_requeued_by_the_reaper_and_finished_by_a_worker(system, server):
    system.api()
    job_id = insert_stuck(server)
    assert system.job(job_id)["status"] == "processing"
    reaper = system.reaper()
    assert system.ends(job_id, "queued")["attempts"] == 1
    reaper.says("took back a job")
    system.worker()
    job = system.ends(job_id, "done")
    assert (job["attempts"], job["result"]) == (2, {"stuck": True})
    assert [error["kind"] for error in job["errors"]] == ["lease_expired"]
    system.check()


def test_a_stuck_job_whose_attempts_are_spent_ends_failed(system, server):
    system.api()
    system.worker()
    job_id = insert_stuck(server, attempts=2)
    system.reaper()
    job = system.ends(job_id, "failed")
    assert (job["attempts"], job["result"]) == (2, None)
    assert "lease ran out" in job["error"]
    system.check()


# ----------------------------------------------------------------------------------------------- workers that vanish


def test_the_job_of_a_killed_worker_runs_again_within_its_lease_and_two_seconds(system, gate):
    lease_s = 2
    system.api()
    system.reaper()
    victim = system.worker(*ODD, "--threads", "2", PROCESSING_TIMEOUT_S=str(lease_s))
    job_id = system.submit({"gate": str(gate)}, type="hold")
    eventually(lambda: len(starts(gate)), equals=1)
    system.worker(*ODD, "--threads", "2", PROCESSING_TIMEOUT_S=str(lease_s))
    victim.kill()
    killed = time.monotonic()
    eventually(lambda: len(starts(gate)), equals=2, within_s=30)
    assert time.monotonic() - killed < lease_s + 2 + 6
    gate.touch()
    job = system.ends(job_id)
    assert (job["attempts"], [error["kind"] for error in job["errors"]]) == (2, ["lease_expired"])
    system.check()


def test_the_late_result_of_a_worker_that_was_paused_is_refused(system, queue, gate):
    system.api()
    system.reaper()
    zombie = system.worker(*ODD, "--threads", "2", PROCESSING_TIMEOUT_S="2")
    job_id = system.submit({"gate": str(gate)}, type="hold")
    eventually(lambda: len(starts(gate)), equals=1)
    zombie.signal(signal.SIGSTOP)
    second = system.worker(*ODD, "--threads", "2", PROCESSING_TIMEOUT_S="2")
    eventually(lambda: len(starts(gate)), equals=2, within_s=30)
    gate.touch()
    assert system.ends(job_id)["result"] == second.pid
    zombie.signal(signal.SIGCONT)
    zombie.says("a late result was refused")
    job = system.job(job_id)
    assert (job["result"], job["attempts"], job["status"]) == (second.pid, 2, "done")
    assert queue.books("default").totals["refused"] >= 1
    assert system.get("/metrics").json()["late_results_refused"] >= 1
    system.check()


def test_a_late_result_is_accepted_once_while_nobody_has_taken_the_job_back(system, queue, gate):
    paused = system.worker(*ODD, "--threads", "2", PROCESSING_TIMEOUT_S="1")
    job = queue.submit("hold", {"gate": str(gate)})
    eventually(lambda: len(starts(gate)), equals=1)
    paused.signal(signal.SIGSTOP)
    lease_end = lambda: float(system.server.client.zscore("jq:{default}:leases", job.id))  # noqa: E731
    eventually(lambda: system.server.client.time()[0] * 1000 > lease_end() + 1000)
    gate.touch()
    paused.signal(signal.SIGCONT)
    eventually(lambda: queue.get(job.id).status, equals="done")
    system.reaper()
    eventually(lambda: queue.books("default").reaper_lives)
    assert queue.get(job.id).attempts == 1
    assert (queue.books("default").totals["done"], queue.books("default").totals.get("reaped", 0)) == (1, 0)
    system.check()


# ------------------------------------------------------------------------------------------------------------- order


def test_priority_is_strict_and_first_in_is_first_out_with_several_workers(system, queue):
    system.api()
    for _ in range(2):
        system.worker("--threads", "3", SIMULATED_WORK_S="0.01")
    jobs = [{"payload": n, "priority": (n * 7) % 10} for n in range(200)]  # stored in one step
    answer = system.post("/jobs/batch", {"jobs": jobs})
    ids = [result["job"]["job_id"] for result in answer.json()["results"]]
    eventually(lambda: queue.books("default").sizes["done"], equals=200, within_s=60)
    ended = [queue.get(job_id) for job_id in ids]
    expected = sorted(ended, key=lambda job: (-job.priority, job.payload))
    started = [job.started_ms for job in expected]
    assert started == sorted(started)
    assert len({job.worker for job in ended}) == 2
    system.check()


# ------------------------------------------------------------------------------------------------------ a clean stop


def test_a_worker_told_to_stop_finishes_its_job_and_leaves_the_rest_untouched(system, gate):
    system.api()
    worker = system.worker(*ODD, "--threads", "2")
    running = [system.submit({"gate": str(gate)}, type="hold") for _ in range(2)]
    eventually(lambda: len(starts(gate)), equals=2)
    waiting = [system.submit(n, type="say") for n in range(5)]
    worker.signal(signal.SIGTERM)
    worker.says("draining")
    gate.touch()
    assert worker.exits() == 0
    assert [(job["status"], job["attempts"]) for job in map(system.job, running)] == [("done", 1)] * 2
    assert [(job["status"], job["attempts"]) for job in map(system.job, waiting)] == [("queued", 0)] * 5
    system.worker(*ODD)
    assert [system.ends(job_id)["attempts"] for job_id in waiting] == [1] * 5
    system.check()


def test_a_rolling_restart_under_load_costs_no_attempt(system, queue):
    system.reaper()
    ids = [submitted.job.id for submitted in queue.submit_many([NewJob()] * 500) if submitted.job]
    workers = [system.worker("--threads", "4", SIMULATED_WORK_S="0.02") for _ in range(2)]
    for at in range(4):
        workers[at % 2].signal(signal.SIGTERM)
        assert workers[at % 2].exits() == 0
        workers[at % 2] = system.worker("--threads", "4", SIMULATED_WORK_S="0.02")
    eventually(lambda: queue.books("default").sizes["done"], equals=500, within_s=60)
    assert {queue.get(job_id).attempts for job_id in ids} == {1}
    system.check()


# ------------------------------------------------------------------------------------------------ Redis dies and returns


class Load(threading.Thread):
    """Submits jobs over HTTP until it is stopped. Remembers what was acknowledged, and what was refused."""

    def __init__(self, system: System) -> None:
        super().__init__()
        self.system, self.acknowledged, self.refused = system, list[str](), list[requests.Response]()
        self.stopped = threading.Event()
        self.start()

    def run(self) -> None:
        while not self.stopped.wait(0.005):
            answer = self.system.post("/jobs", {"payload": len(self.acknowledged)})
            if answer.status_code == 201:
                self.acknowledged.append(answer.json()["job_id"])
            else:
                self.refused.append(answer)

    def stop(self) -> None:
        self.stopped.set()
        self.join()

    def grows(self, by: int = 20) -> None:
        enough = len(self.acknowledged) + by
        eventually(lambda: len(self.acknowledged) >= enough, within_s=30)


def test_nothing_acknowledged_is_lost_when_redis_is_killed_and_started_again(own_system):
    system, server = own_system, own_system.server
    programs = [system.api(), system.reaper(), *(system.worker(SIMULATED_WORK_S="0.02") for _ in range(2))]
    load = Load(system)
    try:
        for _ in range(2):
            load.grows()
            server.kill()
            eventually(lambda: system.get("/health").status_code, equals=503)
            refused = len(load.refused)
            eventually(lambda refused=refused: len(load.refused) > refused, within_s=20)
            server.start()
            eventually(lambda: system.get("/health").status_code, equals=200)
        load.grows()
    finally:
        load.stop()
    assert {answer.status_code for answer in load.refused} == {503}
    assert all(int(answer.headers["Retry-After"]) >= 1 for answer in load.refused)
    queue = JobQueue(server.url)
    eventually(lambda: {queue.get(job_id).status for job_id in load.acknowledged}, equals={"done"}, within_s=60)
    assert [program.process.poll() for program in programs] == [None] * 4
    system.check()


def test_nothing_is_lost_when_every_connection_is_cut_again_and_again(own_system):
    system, client = own_system, own_system.server.client
    programs = [system.api(), system.reaper(), *(system.worker(SIMULATED_WORK_S="0.02") for _ in range(2))]
    load = Load(system)
    try:
        for _ in range(15):
            load.grows(10)
            client.client_kill_filter(_type="normal", skipme=True)
    finally:
        load.stop()
    queue = JobQueue(own_system.server.url)
    eventually(lambda: {queue.get(job_id).status for job_id in load.acknowledged}, equals={"done"}, within_s=60)
    assert {queue.get(job_id).attempts for job_id in load.acknowledged} == {1}
    assert [program.process.poll() for program in programs] == [None] * 4
    assert load.refused == []
    totals = queue.books("default").totals
    assert totals["done"] == totals["submitted"]
    system.check()


@pytest.mark.long(9)
def test_a_redis_that_stands_still_for_less_than_a_lease_costs_no_attempt(own_system, gate):
    """Long enough that calls time out and are sent again, and Redis finds both copies when it goes on."""
    system, server = own_system, own_system.server
    system.reaper()
    workers = [system.worker(*ODD, "--threads", "4").pid for _ in range(2)]
    queue = JobQueue(server.url)
    held = [queue.submit("hold", {"gate": str(gate)}).id for _ in range(2)]
    eventually(lambda: len(starts(gate)), equals=2)
    naps = [queue.submit("sleep", 0.05).id for _ in range(200)]
    eventually(lambda: queue.books("default").sizes["done"], equals=lambda n: n > 10)
    calls = lambda: set().union(*(connections(pid, server.port) for pid in workers))  # noqa: E731
    before = calls()
    server.process.send_signal(signal.SIGSTOP)
    # Two of the eight threads hold: the others and the two beats have given up, and have asked again.
    eventually(lambda: (len(before - calls()), len(calls() - before)), equals=lambda n: min(n) >= 8, within_s=9)
    server.process.send_signal(signal.SIGCONT)
    gate.touch()
    eventually(lambda: {queue.get(job_id).status for job_id in held + naps}, equals={"done"}, within_s=60)
    assert {queue.get(job_id).attempts for job_id in held + naps} == {1}
    system.check()


def test_a_system_that_was_killed_as_a_whole_goes_on_where_it_was(own_system, gate):
    system, server = own_system, own_system.server
    programs = [system.api(), system.reaper(), system.worker(*ODD, "--threads", "2", PROCESSING_TIMEOUT_S="2")]
    held = [system.submit({"gate": str(gate)}, type="hold") for _ in range(2)]
    eventually(lambda: len(starts(gate)), equals=2)
    waiting = [system.submit(n, type="say") for n in range(20)]
    for program in programs:
        program.kill()
    server.kill()
    server.start()
    gate.touch()
    system.api()
    system.reaper()
    system.worker(*ODD, PROCESSING_TIMEOUT_S="2")
    assert [system.ends(job_id, within_s=30)["attempts"] for job_id in held] == [2, 2]
    assert [system.ends(job_id)["attempts"] for job_id in waiting] == [1] * 20
    system.check()
