"""A worker that speaks HTTP and keeps the ledger: ``--api URL --threads 4``. It behaves as badly as a network makes a good one: it
loses answers and repeats its requests, hangs up while it waits, sends a settlement twice, extends what it has lost.
``--language`` runs that of an example instead, with the same handler."""

from __future__ import annotations

import argparse
import json
import os
import random
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from jobqueue import Fail
from tests.faults import ledger

HERE = Path(__file__).resolve().parent
EXAMPLES = HERE.parent.parent / "examples"
COUNTS = "HTTP_COUNTS"  # the file to which each misbehaviour adds a line
LEASE_S = 2.0
stopping = threading.Event()


class Lost(Exception):
    """The job is somebody else's."""


class Context:
    """What the ledger's handlers ask for."""

    def __init__(self, given: dict[str, Any]) -> None:
        self.job_id, self.attempt, self.stopped = given["job_id"], given["attempt"], threading.Event()

    def check(self) -> None:
        if self.stopped.is_set():
            raise Lost


def note(what: str) -> None:
    with open(os.environ[COUNTS], "a") as counts:
        counts.write(what + "\n")


class Slot:
    """One thread, a name of its own, one job at a time."""

    def __init__(self, api: str) -> None:
        address = urlsplit(api)
        self.host, self.port = str(address.hostname), int(address.port or 80)
        self.worker, self.seq, self.rng = f"chaos-{secrets.token_hex(16)}", 1, random.Random()

    def run(self) -> None:
        while not stopping.is_set():
            numbered = self.rng.random() < 0.9
            asked = {"worker": self.worker, "types": ["noted"], "wait_s": 2, "lease_s": LEASE_S, "max": 1}
            status, said = self.post(
                "/queues/default/claim", asked | ({"seq": self.seq} if numbered else {}), lose=0.05
            )
            if status in (200, 204, 409):
                self.seq += 1
            for given in said.get("jobs", ()):
                self.attempt(given)

    def attempt(self, given: dict[str, Any]) -> None:
        ctx, ended = Context(given), threading.Event()
        beating = threading.Thread(target=self.beat, args=(given, ctx, ended), daemon=True)
        beating.start()
        try:
            end: dict[str, Any] = {"result": ledger.noted(given["payload"], ctx)}
        except Lost:
            return
        except Exception as error:
            end = {"error": {"kind": type(error).__name__, "message": str(error)}}
            if isinstance(error, Fail):
                end["retry"] = False
        finally:
            ended.set()
        self.settle(given, end)
        if self.rng.random() < 0.1:
            note("settled twice")
            self.settle(given, end)
        if self.rng.random() < 0.1:
            status, _ = self.post(f"/jobs/{given['job_id']}/extend", {"token": given["token"]})
            if status == 409:
                note("extended what was over")

    def beat(self, given: dict[str, Any], ctx: Context, ended: threading.Event) -> None:
        while not ended.wait(LEASE_S / 4):
            status, said = self.post(f"/jobs/{given['job_id']}/extend", {"token": given["token"]})
            if status == 409 or said.get("cancel"):
                ctx.stopped.set()

    def settle(self, given: dict[str, Any], end: dict[str, Any]) -> None:
        while True:
            status, _ = self.post(f"/jobs/{given['job_id']}/finish", {"token": given["token"], **end}, lose=0.05)
            if status in (200, 404, 409, 422):
                if status == 409:
                    note("refused late")
                return
            threading.Event().wait(0.1)

    def post(self, path: str, body: dict[str, Any], lose: float = 0.0) -> tuple[int, dict[str, Any]]:
        """Status and JSON; 0 when there is no answer, or it was lost on purpose."""
        connection = HTTPConnection(self.host, self.port, timeout=10)
        try:
            connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
            if self.rng.random() < lose:
                threading.Event().wait(self.rng.random() * 0.2)  # it may hang up while it waits, or when it is answered
                note("answers lost")
                return 0, {}
            answer = connection.getresponse()
            text = answer.read()
            return answer.status, json.loads(text) if text else {}
        except (OSError, HTTPException, ValueError):
            threading.Event().wait(0.1)
            return 0, {}
        finally:
            connection.close()


def command_of(language: str) -> list[str]:
    """The example's worker, with the handler that keeps the ledger."""
    if language == "javascript":
        return ["node", str(HERE / "noted.mjs")]
    built = Path(os.environ[COUNTS]).parent / "noted"
    if built.exists():
        return [str(built)]
    with tempfile.TemporaryDirectory() as folder:
        for file in (EXAMPLES / "go/go.mod", EXAMPLES / "go/worker.go", HERE / "noted.go"):
            shutil.copy(file, folder)
        environment = os.environ | {"GOFLAGS": "-mod=mod", "GOTOOLCHAIN": "local"}
        subprocess.run(["go", "build", "-o", "noted", "."], cwd=folder, env=environment, check=True)
        shutil.move(Path(folder) / "noted", built.with_suffix(f".{os.getpid()}"))
        built.with_suffix(f".{os.getpid()}").replace(built)
    return [str(built)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--api", required=True)
    parser.add_argument("--threads", type=int, default=4)
    parser.add_argument("--language", choices=["javascript", "go"])
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda number, frame: stopping.set())
    print("starting", flush=True)
    if options.language:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        command = command_of(options.language)
        os.environ["API"] = options.api
        os.execvp(command[0], command)
    threads = [threading.Thread(target=Slot(options.api).run, daemon=True) for _ in range(options.threads)]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 3600
    while any(thread.is_alive() for thread in threads) and time.monotonic() < deadline:
        with suppress(InterruptedError):
            threads[0].join(0.2)
            threads = [thread for thread in threads if thread.is_alive()] or threads
    return 0


if __name__ == "__main__":
    sys.exit(main())
