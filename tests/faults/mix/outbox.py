"""The outbox: rows that a program inserts in SQLite, and a process that makes jobs of them."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path

from tests.faults.mix.load import Load, Seen
from tests.faults.stage import Stage
from tests.harness import ROOT


class Outbox(Load):
    every_s = 1.0

    def __init__(self, stage: Stage, seed: str, folder: Path) -> None:
        super().__init__(stage, seed)
        self.file, self.rows = folder / "shop.db", 0

    def prepare(self) -> None:
        with closing(sqlite3.connect(self.file)) as connection:
            connection.executescript((ROOT / "_jobqueue/record/sql/sqlite/outbox.sql").read_text())
        self.stage.add("outbox.py", "--database", f"sqlite:///{self.file}")

    def step(self) -> None:
        self.rows += 1
        payload = json.dumps({"outbox": self.rows, "s": 0.01})
        with closing(sqlite3.connect(self.file, timeout=30)) as connection, connection:
            row = (f"outbox-{self.rows}", "noted", payload)
            connection.execute("INSERT INTO jobqueue_outbox (key, type, payload) VALUES (?, ?, ?)", row)

    def left(self) -> int:
        with closing(sqlite3.connect(self.file, timeout=30)) as connection:
            return int(connection.execute("SELECT count(*) FROM jobqueue_outbox").fetchone()[0])

    def judge(self, seen: Seen) -> list[str]:
        made = Counter[int]()
        for job_id, job in seen.jobs.items():
            if '"outbox"' in job.get("payload", ""):
                made[json.loads(job["payload"])["outbox"]] += 1
                self.stage.told[job_id] = job
        self.notes = {"rows of the outbox": self.rows}
        wrong = [n for n in range(1, self.rows + 1) if made[n] != 1]
        return [f"{len(wrong)} rows of the outbox did not become one job: {wrong[:5]}"] if wrong else []
