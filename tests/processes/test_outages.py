"""A worker while Redis is away, or full."""

from __future__ import annotations

import json
import signal
import socket

import pytest

from jobqueue import JobQueue, Unavailable
from tests.harness import eventually
from tests.processes.working import ends

pytestmark = pytest.mark.usefixtures("server")


# -------------------------------------------------------------------------------------------------------- Redis goes away


def test_a_worker_waits_for_redis_at_its_start_and_says_so_once(own_system):
    own_system.server.kill()
    worker = own_system.start("worker.py")
    worker.says("waiting for Redis")
    with socket.create_server(("127.0.0.1", own_system.server.port)) as door:
        for _ in range(3):
            door.accept()[0].close()
    own_system.server.start()
    worker.says("ready")
    assert worker.log.count("waiting for Redis") == 1 and len(worker.log.splitlines()) == 3


def test_a_worker_that_waits_for_redis_leaves_when_told(own_system):
    own_system.server.kill()
    worker = own_system.start("worker.py")
    worker.says("waiting for Redis")
    assert worker.stop(5) == 0


def test_an_outage_of_redis_is_logged_when_it_begins_and_when_it_ends(own_system, gate):
    queue = JobQueue(own_system.server.url)
    worker = own_system.worker("--handlers", "tests.odd_handlers")
    jobs = [queue.submit("hold", gate.payload) for _ in range(4)]  # of eight threads: some run, some wait
    gate.held(4)
    own_system.server.kill()
    worker.says("no work until Redis is back")
    own_system.server.start()
    worker.says("Redis is back")
    beats = queue.look("default").workers
    eventually(
        lambda: queue.look("default").workers != beats
    )  # each thread finds its old connection broken in its own time
    gate.open()
    for one in jobs:
        assert ends(queue, one.id).attempts == 1
    for _ in range(16):
        ends(queue, queue.submit("noop").id)
    assert worker.log.count("no work until Redis is back") == worker.log.count("Redis is back after_s") == 1


def test_a_result_is_kept_while_redis_is_away(own_system, gate):
    queue = JobQueue(own_system.server.url)
    worker = own_system.worker("--handlers", "tests.odd_handlers")
    running = queue.submit("hold", gate.payload)
    gate.held(1)
    own_system.server.kill()
    worker.says("no work until Redis is back")
    gate.open()
    worker.says("done")
    own_system.server.start()
    ended = ends(queue, running.id)
    assert (ended.result, ended.attempts) == (worker.pid, 1)


@pytest.mark.long(5)
def test_an_idle_worker_leaves_during_an_outage_without_waiting_for_its_end(own_system):
    worker = own_system.worker()
    own_system.server.kill()
    worker.says("no work until Redis is back")
    worker.signal(signal.SIGTERM)
    assert worker.exits(within_s=25) == 0


def test_a_worker_that_leaves_during_an_outage_still_delivers_its_result(own_system, gate):
    queue = JobQueue(own_system.server.url)
    worker = own_system.worker("--handlers", "tests.odd_handlers", "--drain", "1")
    running = queue.submit("hold", gate.payload)
    gate.held(1)
    own_system.server.kill()
    gate.open()
    worker.says("done")
    worker.signal(signal.SIGTERM)
    worker.says("the drain is over")
    own_system.server.start()
    assert worker.exits() == 0
    assert (queue.get(running.id).status, queue.get(running.id).attempts) == ("done", 1)


def test_a_full_redis_still_runs_what_waits_and_nobody_calls_it_an_outage(own_system, gate):
    queue, client = JobQueue(own_system.server.url), own_system.server.client
    own_system.reaper()
    worker = own_system.worker("--handlers", "tests.odd_handlers", "--threads", "4")
    held = [queue.submit("hold", gate.payload) for _ in range(2)]
    gate.held(2)
    waiting = [queue.submit("say", n, delay_s=1.5) for n in range(20)]
    client.config_set("maxmemory", "100kb")
    with pytest.raises(Unavailable):
        queue.submit("say", "refused")
    gate.open()
    for job in held + waiting:
        assert ends(queue, job.id).attempts == 1
    assert "no work until Redis is back" not in worker.log
    assert worker.stop() == 0


def test_a_line_that_a_handler_logs_names_its_job_and_keeps_what_is_extra(odd, queue):
    worker = odd(LOG_FORMAT="json")
    job = queue.submit("log.line", 42)
    ends(queue, job.id)
    worker.says("a line of a handler")
    [line] = [json.loads(line) for line in worker.log.splitlines() if "a line of a handler" in line]
    assert (line["job"], line["type"], line["attempt"], line["order"]) == (job.id, "log.line", 1, 42)
