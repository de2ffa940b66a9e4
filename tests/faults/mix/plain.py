"""Jobs one by one: priorities, fair keys, limits, unique keys, delays, snoozes, tags, webhooks, times until which they may start."""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise
from pathlib import Path
from typing import Any

from tests.faults.mix.limits import NAMES
from tests.faults.mix.load import Load, Seen, named
from tests.faults.stage import Stage

SNOOZING = "noted.snoozing"
KEYS = 20


class Plain(Load):
    """What the stage's producer submits."""

    def __init__(self, stage: Stage, seed: str, folder: Path, webhook: str) -> None:
        super().__init__(stage, seed)
        self.folder, self.webhook = folder, webhook
        self.bodies: dict[int, dict[str, Any]] = {}

    def start(self) -> None:
        self.stage.producer.work = self.work
        self.stage.producer.start()

    def stop(self) -> None:
        self.stage.producer.stop()

    def work(self, n: int) -> dict[str, Any]:
        """Kinds overlap: a job may have a limit, a key and a webhook."""
        body = self.stage.producer.usual(n)
        body["priority"] = self.rng.choice((0, 5, 5, 5, 9))
        if n % 3 == 0:
            body["limits"] = [NAMES[n // 3 % len(NAMES)]]
        if n % 4 == 1:
            body["fair_key"] = f"key-{self.rng.randrange(6)}"
        if n % 5 == 2:
            body["tags"] = [f"tag-{n % 7}"]
        if n % 10 == 3:
            body["webhook"] = self.webhook
        if n % 16 == 5:
            body["unique_key"] = f"unique-{self.rng.randrange(KEYS)}"
        if n % 16 == 7:
            body["delay_s"] = round(self.rng.uniform(0.5, 5), 3)
        if n % 16 == 9:
            body["type"] = SNOOZING
            body["payload"]["snoozed"] = str(self.folder / f"snoozed-{n}")
        if n % 64 == 11:
            body["expires_s"] = 20  # where all is well it starts long before
        self.bodies[n] = body
        return body

    def judge(self, seen: Seen) -> list[str]:
        by_kind: dict[str, set[str]] = defaultdict(set)
        unique: dict[str, set[str]] = defaultdict(set)
        for n, job_id in self.stage.producer.acked.items():
            body = self.bodies[n]
            for member in ("limits", "fair_key", "tags", "unique_key", "delay_s", "expires_s"):
                if member in body:
                    by_kind[member].add(job_id)
            if "snoozed" in body["payload"]:
                by_kind["snoozed"].add(job_id)
                self.stage.snoozed.add(job_id)
            if "unique_key" in body:
                unique[body["unique_key"]].add(job_id)
        self.notes = {f"with {kind}": len(ids) for kind, ids in by_kind.items()}
        cancelled = [
            job_id
            for job_id in set(self.stage.producer.acked.values()) - by_kind["expires_s"] - self.stage.operated
            if seen.jobs.get(job_id, {}).get("status") == "cancelled"
        ]
        started = [
            job_id
            for job_id in by_kind["expires_s"] - self.stage.operated
            if seen.jobs.get(job_id, {}).get("status") == "cancelled" and seen.runs.get(job_id)
        ]
        return [
            *named(cancelled, "were cancelled by nobody"),
            *named(started, "expired though they had started"),
            *named(_beside(seen, unique), "ran while another of their unique key did"),
        ]


def _beside(seen: Seen, unique: dict[str, set[str]]) -> list[str]:
    found = []
    for ids in unique.values():
        lives = []
        for job_id in ids:
            if runs := seen.fenced(job_id):
                lives.append((runs[0].started, max(run.ended or run.started for run in runs), job_id))
        found += [after[2] for before, after in pairwise(sorted(lives)) if after[0] < before[1]]
    return found
