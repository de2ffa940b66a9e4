"""Jobs and numbers of jobs that are bad, and operators that race with the system."""

from __future__ import annotations

import random
import statistics
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import datetime, timedelta, timezone
from typing import Any

import requests

from jobqueue import Filter, JobQueue, NewJob
from tests.faults.row import repeated, row
from tests.faults.stage import PREFIX, QUEUE, Stage
from tests.harness import eventually


@row(
    "F51",
    "hands in the data",
    "hashes deleted, ids added to wrong indexes, an index deleted, a key of the wrong type; then check --repair",
    control=True,
    expects=lambda verdict: verdict.left == 0 and verdict.notes["violations after the repair"] == 0,
)
def poison(stage: Stage, seconds: float) -> dict[str, Any]:
    client = stage.server.client
    pids = stage.living()

    def spoil() -> None:
        queued = client.zrange(PREFIX + "queue", 0, 5) or client.zrange(PREFIX + "done", 0, 5)
        client.delete(*(f"{PREFIX}job:{job_id}" for job_id in queued[:1]))
        client.zadd(PREFIX + "queue", {f"ghost-{stage.rng.random()}": 1})
        client.zadd(PREFIX + "leases", dict.fromkeys(client.zrange(PREFIX + "done", 0, 2), 1))
        client.delete(PREFIX + stage.rng.choice(["scheduled", "queue", "leases", "bell"]))
        client.set(PREFIX + "bell", "not a list")
        stage.wait(1.0)
        client.delete(PREFIX + "bell")

    repeated(stage, seconds, 1.0, spoil)
    stage.producer.stop()
    for _ in range(2):
        stage.queue.check(QUEUE, repair=True)
        stage.wait(1.0)
    assert stage.living() == pids
    return {"violations after the repair": len(stage.queue.check(QUEUE))}


@row(
    "F52", "a huge backlog", "in a second queue: many queued, as many due in one second, a tenth as many expired leases"
)
def backlog(stage: Stage, seconds: float) -> dict[str, Any]:
    n, client, big = round(10_000 * seconds), stage.server.client, "big"
    client.config_set("slowlog-log-slower-than", 1000)
    client.config_set("slowlog-max-len", 10_000)
    due = datetime.now(timezone.utc) + timedelta(seconds=n / 5_000)
    submit_flood(stage.queue, n, run_at=due)
    submit_flood(stage.queue, n)
    link, left, seq = stage.queue.link(), n // 10, 0

    def claim(slot: str, want: int, lease_ms: int) -> int:
        return len(stage.queue.conversation(big, slot, lease_ms, link).exchange(want=want)[1])

    with ExitStack() as frozen:  # they would take back jobs that are then claimed a second time
        for reaper in stage.reapers:
            frozen.enter_context(reaper.frozen())
        while left > 0:
            seq += 1
            left -= claim(f"flood-{seq}", 64, 1)
    before = memory(client)

    def sizes() -> dict[str, int]:
        return stage.queue.books(big).sizes

    eventually(lambda: sizes()["queued"], equals=2 * n, within_s=600)
    claims = [timed(lambda at=at: claim(f"claim-{at}", 1, 60_000)) for at in range(500)]
    pages = [timed(lambda: stage.queue.page(Filter(queue=big), limit=50)) for _ in range(50)]
    link.close()
    slowest = max((entry["duration"] for entry in client.slowlog_get(10_000) if b"EVAL" in entry["command"]), default=0)
    assert not stage.queue.check(big)
    return {
        "jobs": f"{2 * n:,}",
        "slowest script": f"{slowest / 1000:.1f} ms",
        "bytes a job": round(before / (2 * n)),
        "claim p50": f"{1000 * statistics.median(claims):.2f} ms",
        "page of 50 p50": f"{1000 * statistics.median(pages):.1f} ms",
    }


def submit_flood(queue: JobQueue, n: int, **options: Any) -> None:
    for start in range(0, n, 1000):
        jobs = [NewJob("noted", {"n": at, "text": "x" * 80}, "big", **options) for at in range(start, start + 1000)]
        assert not any(answer.error for answer in queue.submit_many(jobs))


def memory(client: Any) -> int:
    return int(client.info("memory")["used_memory_dataset"])


def timed(call: Callable[[], object]) -> float:
    began = time.monotonic()
    call()
    return time.monotonic() - began


@row("F59", "operators race with the system", "cancel, delete, retry and run now, of jobs in any state, from 4 threads")
def race(stage: Stage, seconds: float) -> dict[str, Any]:
    said: dict[int, int] = {}
    deadline = time.monotonic() + seconds

    def operate(rng: random.Random) -> None:
        session, url = requests.Session(), f"http://127.0.0.1:{stage.port}"
        while time.monotonic() < deadline:
            recent = list(stage.producer.acked.values())[-200:]
            job_id, what = rng.choice(recent), rng.choice(["cancel", "retry", "run"] * 4 + ["delete"])
            stage.operated.add(job_id)
            if what == "delete":
                answer = session.delete(f"{url}/jobs/{job_id}", timeout=10)
                if answer.status_code == 204:
                    stage.deleted.add(job_id)
                    stage.undone += 1
            else:
                answer = session.post(f"{url}/jobs/{job_id}/{what}", timeout=10)
                stage.undone += what == "retry" and answer.ok
            said[answer.status_code] = said.get(answer.status_code, 0) + 1

    operators = [threading.Thread(target=operate, args=(random.Random(stage.rng.random()),)) for _ in range(4)]
    for operator in operators:
        operator.start()
    for operator in operators:
        operator.join()
    assert not any(status >= 500 for status in said), said
    return {"answers": dict(sorted(said.items()))}


@row("F4", "the API is killed", "kill -9 every 2 s, a new one at once; clients repeat under their keys")
def kill_api(stage: Stage, seconds: float) -> dict[str, Any]:
    return {"kills": repeated(stage, seconds, 2.0, stage.api.restart)}
