"""What all loads have in common: a thread that asks for something again and again, and a judgement at the end."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import redis
import requests

from tests.faults.ledger import Run
from tests.faults.stage import PREFIX, QUIET_S, Stage

HOUR_S = 3600  # by which the clock jumps


@dataclass
class Seen:
    """What is there when all is quiet: every job's hash, and every run that the ledger has."""

    jobs: dict[str, dict[str, str]]
    runs: dict[str, list[Run]]

    @classmethod
    def of(cls, stage: Stage) -> Seen:
        client = stage.server.client
        keys = list(client.scan_iter(f"{PREFIX}job:*", count=1000))
        jobs = {}
        for at in range(0, len(keys), 500):
            some = keys[at : at + 500]
            with client.pipeline(transaction=False) as pipeline:
                for key in some:
                    pipeline.hgetall(key)
                jobs |= {key[len(PREFIX) + 4 :]: found for key, found in zip(some, pipeline.execute(), strict=True)}
        return cls(jobs, stage.ledger.runs())

    def fenced(self, job_id: str) -> list[Run]:
        """A job's runs; one whose attempt was over ended then, whatever its handler still did. Redis's clock may have jumped by
        whole hours, and no run is as long."""
        ahead_s = time.time() - time.monotonic()
        over: dict[int, list[float]] = {}
        for name, record in self.jobs.get(job_id, {}).items():
            if name.startswith("error:"):
                at, attempt = record.split()[:2]
                over.setdefault(int(attempt), []).append(int(at) / 1000 - ahead_s)
        found = []
        for run in self.runs.get(job_id, ()):
            for at in over.get(run.attempt, ()):
                since_start = (at - run.started) % HOUR_S
                if run.ended and since_start < HOUR_S / 2:
                    run = run._replace(ended=min(run.ended, run.started + since_start))
            found.append(run)
        return found


class Load:
    """One kind of load. ``judge`` returns what went wrong; ``notes`` is what else is worth telling."""

    every_s = 1.0

    def __init__(self, stage: Stage, seed: str) -> None:
        self.stage, self.rng = stage, random.Random(f"{seed}/{type(self).__name__}")
        self.notes: dict[str, Any] = {}
        self.wrong: list[str] = []
        self.answers: Counter[int] = Counter()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def prepare(self) -> None:
        """Before the load begins: definitions, programs of its own."""

    def step(self) -> None:
        """Once in ``every_s`` seconds."""

    def judge(self, seen: Seen) -> list[str]:
        return []

    def close(self) -> None:
        """End what it has started beside the stage's programs."""

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        next_at = time.monotonic()
        while not self._stopping.wait(max(0.0, next_at - time.monotonic())):
            next_at = max(next_at + self.every_s, time.monotonic() - 1.0)
            try:
                self.step()
            except redis.RedisError:
                pass  # it is away
            except Exception as error:
                self.wrong.append(f"{type(self).__name__}: {type(error).__name__}: {error}")

    def ask(
        self, method: str, path: str, body: Any = None, key: str | None = None, within_s: float = QUIET_S
    ) -> requests.Response:
        """Repeat the request until somebody answers it who is not away."""
        headers = {"Idempotency-Key": key} if key and self.stage.producer.keyed else {}
        deadline = time.monotonic() + within_s
        while True:
            try:
                url = f"http://127.0.0.1:{self.stage.port}{path}"
                answer = requests.request(method, url, json=body, headers=headers, timeout=5)
                self.answers[answer.status_code] += 1
                if answer.status_code < 500:
                    return answer
            except requests.RequestException:
                pass
            assert time.monotonic() < deadline, f"nobody answers {method} {path}"
            threading.Event().wait(0.1)


def named(ids: Sequence[str], what: str) -> list[str]:
    """One sentence on some jobs, if there are any."""
    return [f"{len(ids)} jobs {what}: {', '.join(sorted(ids)[:5])}"] if ids else []
