"""Webhooks, while receivers misbehave and senders are killed."""

from __future__ import annotations

import json
import socket
import threading
from base64 import b64encode
from collections import defaultdict
from contextlib import ExitStack, suppress
from typing import Any

from _jobqueue.records import DELIVERY, ENDED, STATUSES
from _jobqueue.webhooks.signing import PREFIX as SECRET
from jobqueue import Conflict, NotFound
from tests.faults.row import repeated, row
from tests.faults.stage import PREFIX, QUEUE, Stage
from tests.harness import eventually
from tests.webhooks.receiver import OK, Receiver, Request, endless, reset

SETTINGS = {
    "WEBHOOK_SECRETS": SECRET + b64encode(bytes(32)).decode(),
    "WEBHOOK_HTTP": "1",
    "WEBHOOK_ALLOW": "127.0.0.1",  # not where the redirect leads
}
A_HOST = 2  # calls of one host at a time
HANGS_S = 20  # longer than a call may take
TOLD_WITHIN_S = 60


class Moody:
    """A receiver that is well, or answers each request in a way of its own. It notes what it has accepted."""

    def __init__(self, stage: Stage, elsewhere: str) -> None:
        self.stage, self.well = stage, False
        self.accepted: dict[str, set[str]] = defaultdict(set)  # job -> ids under which it was told
        self.now = self.most = 0
        self._lock, self._over = threading.Lock(), threading.Event()
        redirect = f"HTTP/1.1 301 x\r\nLocation: {elsewhere}\r\n\r\n".encode()
        self.moods: list[Any] = [OK, OK, OK, b"HTTP/1.1 500 x\r\n\r\n", redirect, reset, endless, self.hang, self.dies]
        self.receiver = Receiver(self.answer)

    def answer(self, request: Request, sock: socket.socket) -> None:
        mood = OK if self.well else self.stage.rng.choice(self.moods)
        with self._lock:
            self.now += 1
            self.most = max(self.most, self.now)
            if mood in (OK, endless):  # of that the sender reads a kibibyte, and the status
                self.accepted[json.loads(request.body)["data"]["job_id"]].add(request.headers["webhook-id"])
        try:
            with suppress(OSError):
                sock.sendall(mood) if isinstance(mood, bytes) else mood(request, sock)
        finally:
            with self._lock:
                self.now -= 1

    def hang(self, request: Request, sock: socket.socket) -> None:
        """Until the sender has gone."""
        sock.settimeout(HANGS_S)
        sock.recv(1)

    def dies(self, request: Request, sock: socket.socket) -> None:
        """In the middle of its answer."""
        sock.sendall(b"HTTP/1.1 2")
        reset(request, sock)


@row(
    "F74",
    "receivers of webhooks hang, reset, die in their answer, answer 500, without an end, and redirect to a closed address",
    "each request in one of these ways or well; kill -9 of a worker every second, a new one at once",
    expects=lambda verdict: (
        verdict.notes["not told"] == 0
        and verdict.notes["told under two ids"] == 0
        and verdict.notes["connections to the closed address"] == 0
        and 0 < verdict.notes["most calls of a host at once"] <= A_HOST
    ),
)
def moody_receivers(stage: Stage, seconds: float) -> dict[str, Any]:
    for actor in (stage.api, *stage.workers):
        actor.environment |= SETTINGS
        assert actor.program.stop(20) == 0
        actor.start()
    with ExitStack() as receivers:
        closed = receivers.enter_context(Receiver())
        moody = Moody(stage, closed.url(host="127.0.0.2"))
        receivers.enter_context(moody.receiver)
        usual, url = stage.producer.usual, moody.receiver.url()
        stage.producer.work = lambda n: usual(n) | ({"webhook": url} if n % 10 == 0 else {})
        kills = repeated(stage, seconds, 1.0, lambda: stage.rng.choice(stage.workers).restart())
        moody.well = True
        stage.producer.stop()
        eventually(lambda: hurry(stage), equals=0, within_s=TOLD_WITHIN_S)
        told = [
            job
            for n, job in stage.producer.acked.items()
            if n % 10 == 0 and stage.server.client.hget(f"{PREFIX}job:{job}", "webhook")
        ]
        known = len(stage.producer.acked)
        stage.producer.acked |= {-known - at: job_id for at, job_id in enumerate(deliveries(stage), 1)}
        return {
            "kills": kills,
            "told": len(told),
            "requests": len(moody.receiver.requests),
            "not told": len(set(told) - moody.accepted.keys()),
            "told under two ids": sum(len(ids) > 1 for ids in moody.accepted.values()),
            "most calls of a host at once": moody.most,
            "connections to the closed address": closed.connections,
        }


def deliveries(stage: Stage) -> list[str]:
    """The ids of all that there are."""
    client = stage.server.client
    keys = client.scan_iter(f"{PREFIX}job:*", count=1000)
    return [key.removeprefix(f"{PREFIX}job:") for key in keys if client.hget(key, "type") == DELIVERY]


def hurry(stage: Stage) -> int:
    """Nobody waits for the delays of webhooks. Returns how many jobs have not ended, and deliveries that are not done."""
    untold = stage.server.client.zrange(f"{PREFIX}deliveries", 0, -1)
    for job_id in untold:
        with suppress(Conflict, NotFound):
            status = stage.queue.get(job_id).status
            if status == "scheduled":
                stage.queue.run_now(job_id)
            elif status == "failed":
                stage.queue.retry(job_id)
                stage.operated.add(job_id)
    sizes = stage.queue.books(QUEUE).sizes
    return len(untold) + sum(sizes[status] for status in STATUSES if status not in ENDED)
