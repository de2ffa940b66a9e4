"""The API as a process: how it stops, where it listens, who hangs up."""

from __future__ import annotations

import signal
import socket
import struct
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import requests

from tests.answers import refused
from tests.harness import ROOT, System, eventually, free_port
from tests.http.talking import JOB, JSON, POST, connect, head, say, stored


def test_a_stopping_api_answers_the_request_that_it_has_begun(system: System) -> None:
    program = system.api()
    system.submit()
    system.server.client.client_pause(800, all=False)
    with ThreadPoolExecutor(1) as threads:
        slow = threads.submit(system.post, "/jobs", JOB)
        eventually(lambda: system.server.client.info("clients")["blocked_clients"], equals=1)
        program.signal(signal.SIGTERM)
        assert slow.result().status_code == 201
    assert program.exits() == 0 and "stopped" in program.log and "Traceback" not in program.log


def test_a_stopping_api_reads_what_has_begun_to_its_end_and_takes_nothing_new(system: System) -> None:
    program = system.api()
    whole = (
        head(POST, f"Content-Type: {JSON}", "Content-Length: 13").replace(b"close", b"keep-alive") + b'{"payload":1}'
    )
    with connect(system) as begun, connect(system) as idle:
        idle.sendall(whole)
        assert idle.recv(65536).startswith(b"HTTP/1.1 201")
        begun.sendall(whole[:-5])
        system.get("/livez")
        program.signal(signal.SIGTERM)
        eventually(lambda: is_open(system), equals=False)
        idle.sendall(whole)
        begun.sendall(whole[-5:])
        assert begun.recv(65536).startswith(b"HTTP/1.1 201")
        assert program.exits() == 0 and stored(system) == 2


def test_a_second_signal_hurries(system: System) -> None:
    program = system.api()
    with connect(system) as client:
        client.sendall(head(POST, f"Content-Type: {JSON}", "Content-Length: 13") + b'{"pay')
        system.get("/livez")
        program.signal(signal.SIGTERM)
        eventually(lambda: is_open(system), equals=False)
        program.signal(signal.SIGTERM)
        assert program.exits(within_s=3) == 0


def is_open(system: System) -> bool:
    try:
        connect(system).close()
        return True
    except ConnectionError:  # refused, or reset in the queue of a socket that was just closed
        return False


def test_under_load_an_api_stops_soon_and_answers_what_it_has_stored(system: System) -> None:
    program, answered = system.api(), list[str]()
    system.submit()

    def keep_posting() -> None:
        with requests.Session() as session:
            while True:
                try:
                    answer = session.post(f"{system.api_url}/jobs", json=JOB, timeout=30)
                except requests.RequestException:
                    return
                answered.append(answer.json()["job_id"])

    with ThreadPoolExecutor(40) as threads:
        for _ in range(40):
            threads.submit(keep_posting)
        eventually(lambda: len(answered) > 100)
        began = time.monotonic()
        assert program.stop() == 0
        assert time.monotonic() - began < 4
    assert stored(system) == len(set(answered)) + 1
    assert "Traceback" not in program.log


def test_a_port_in_use_is_one_clear_line(system: System) -> None:
    system.api()
    port = system.api_url.rpartition(":")[2]
    second = system.start("api.py", "--port", port)
    assert second.exits() == 1
    assert [line for line in second.log.splitlines() if "cannot listen" in line] == [
        f"api.py: cannot listen on 127.0.0.1:{port}: Address already in use"
    ]
    assert "Traceback" not in second.log and system.get("/livez").status_code == 200


def test_a_host_that_is_none_is_one_clear_line(system: System) -> None:
    program = system.start("api.py", "--insecure", "--host", "no.such.host.invalid", "--port", str(free_port()))
    assert program.exits() == 1
    assert "cannot listen on no.such.host.invalid" in program.log and "Traceback" not in program.log


TWO_ADDRESSES = """
import socket
resolve = socket.getaddrinfo
def both(host, *more, **named):
    return [found for name in ("127.0.0.1", "127.0.0.2") for found in resolve(name, *more, **named)]
socket.getaddrinfo = both
"""


def test_a_host_of_two_addresses_like_localhost_is_served_and_stopped_on_both(system: System, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(TWO_ADDRESSES)
    port = free_port()
    flags = ("--host", "localhost", "--port", str(port))
    program = system.start("api.py", *flags, PYTHONPATH=f"{tmp_path}:{ROOT}", REDIS_URL=f"unix://{tmp_path}/none")
    program.says("listening")
    for address in ("127.0.0.1", "127.0.0.2"):
        system.api_url = f"http://{address}:{port}"
        refused(say(system, b"GARBAGE\r\n\r\n"), 400, "bad_request")
    assert program.stop() == 0 and "Traceback" not in program.log


def reset(client: socket.socket) -> None:
    """Close like a client that was killed: nothing more is read, RST instead of FIN."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


def test_clients_that_hang_up_do_no_harm(system: System) -> None:
    program = system.api()
    job_id = system.submit("x" * 900_000)
    body = b'{"payload": 1}'
    whole = head(POST, f"Content-Type: {JSON}", f"Content-Length: {len(body)}") + body
    for raw in (head(f"GET /jobs/{job_id} HTTP/1.1"), whole, whole[:-3], whole[:20], b"", b"GARBAGE\r\n\r\n"):
        for _ in range(20):
            client = connect(system)
            client.sendall(raw)
            reset(client)
    eventually(lambda: system.get("/metrics").json()["active_jobs"], equals=0)
    assert stored(system) <= 21 and len(system.job(job_id)["payload"]) == 900_000
    assert program.stop() == 0 and "Traceback" not in program.log
    system.check()


def test_two_hundred_idle_clients_lock_nobody_out(api: System) -> None:
    idle = [connect(api) for _ in range(200)]
    for client in idle[::2]:
        client.sendall(b"POST /jobs HTTP/1.1\r\nContent-Length: 100\r\n\r\n{")
    assert api.get("/livez").status_code == 200
    for client in idle:
        client.close()


def test_a_defect_is_a_500_without_its_traceback(system: System) -> None:
    program = system.api()
    job_id = system.submit()
    system.server.client.hset(f"jq:{{default}}:job:{job_id}", "payload", "{broken")
    problem = refused(
        requests.get(f"{system.api_url}/jobs/{job_id}", headers={"X-Request-ID": "mine"}, timeout=30),
        500,
        "internal_error",
    )
    assert problem["detail"] == "something went wrong here; the log has the request id"
    program.says("a request went wrong request_id=mine\nTraceback")
