"""The API while Redis is away, silent, full or empty."""

from __future__ import annotations

import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from jobqueue import JobQueue
from tests.answers import refused
from tests.harness import Server, System, eventually
from tests.http.talking import JOB


def test_without_redis_requests_are_refused_and_later_served_again(own_system: System) -> None:
    own_system.api()
    job_id = own_system.submit(1)
    eventually(lambda: own_system.server.client.info("persistence")["aof_buffer_length"], equals=0)
    own_system.server.kill()
    answer = own_system.post("/jobs", JOB, Idempotency_Key="later")
    assert "127.0.0.1" not in str(refused(answer, 503, "redis_unavailable")) and answer.headers["Retry-After"] == "2"
    for path in (f"/jobs/{job_id}", "/metrics", "/health", "/health?verbose"):
        refused(own_system.get(path), 503, "redis_unavailable")
    refused(own_system.post("/jobs/batch", {"jobs": [JOB]}), 503, "redis_unavailable")
    assert own_system.get("/livez").status_code == 200
    own_system.programs[0].says("Connection refused")
    own_system.server.start()
    assert own_system.get("/health").status_code == 200
    assert own_system.post("/jobs", JOB, Idempotency_Key="later").status_code == 201
    assert own_system.job(job_id)["payload"] == 1
    own_system.check()


def test_an_api_that_starts_before_redis_waits_for_it(own_system: System) -> None:
    own_system.server.kill()
    program = own_system.api()
    program.says("serving without Redis")
    refused(own_system.post("/jobs", JOB), 503, "redis_unavailable")
    own_system.server.start()
    assert own_system.submit()


def test_a_silent_redis_holds_nobody_up(own_system: System) -> None:
    """Stopped, it takes connections and never answers: every request runs into its timeout."""
    own_system.api()
    own_system.server.process.send_signal(signal.SIGSTOP)
    many = {"jobs": [{"payload": 1, "queue": f"q{n}"} for n in range(300)]}
    began = time.monotonic()
    with ThreadPoolExecutor(120) as threads:
        batch = threads.submit(own_system.post, "/jobs/batch", many)
        submits = [threads.submit(own_system.post, "/jobs", JOB, Idempotency_Key="once") for _ in range(100)]
        health, livez = threads.submit(own_system.get, "/health"), threads.submit(own_system.get, "/livez")
        assert livez.result().status_code == 200
        for answer in (batch, health, *submits):
            refused(answer.result(), 503, "redis_unavailable")
    assert time.monotonic() - began < 9  # in turns of 16 threads and 2 s it would be 14
    own_system.server.process.send_signal(signal.SIGCONT)
    eventually(lambda: own_system.post("/jobs", JOB, Idempotency_Key="once").status_code, equals=200)
    assert own_system.get("/health").status_code == 200
    eventually(lambda: own_system.get("/metrics").json().get("total_jobs"), equals=1)
    own_system.check()


def test_redis_may_be_reached_by_a_unix_socket(tmp_path: Path) -> None:
    server = Server("--unixsocket", str(tmp_path / "redis"))
    system = System(server)
    try:
        system.api(REDIS_URL=f"unix://{tmp_path}/redis")
        assert system.job(system.submit("by socket"))["payload"] == "by socket"
    finally:
        system.close(show_logs=True)
        server.close()


def test_a_full_redis_refuses_new_jobs_and_tells_the_old_ones(own_system: System) -> None:
    own_system.api()
    job_id = own_system.submit("x" * 1000)
    own_system.server.client.config_set("maxmemory", "1")
    problem = refused(own_system.post("/jobs", JOB), 503, "redis_unavailable")
    assert problem["detail"].startswith("Redis refused")
    assert own_system.job(job_id)["status"] == "queued"
    own_system.server.client.config_set("maxmemory", "0")
    assert own_system.submit()


def test_a_redis_that_lost_everything_gets_to_know_the_queues_again(system: System) -> None:
    system.api()
    system.submit(queue="a"), system.submit(queue="b")
    system.server.client.flushall()

    def known() -> Any:
        job_id = system.submit(queue="b")
        return JobQueue(system.server.url).queues(), system.get(f"/jobs/{job_id}").status_code

    eventually(known, equals=(["b"], 200))
