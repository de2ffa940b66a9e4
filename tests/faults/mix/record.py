"""The record, in SQLite or PostgreSQL: two processes write it, and are killed like all others."""

from __future__ import annotations

import sqlite3
from collections import Counter, defaultdict
from contextlib import closing
from pathlib import Path
from typing import Any

from _jobqueue.records import ENDED
from tests import postgres
from tests.faults.mix.load import Load, Seen, named
from tests.faults.stage import PREFIX, Stage
from tests.harness import eventually

KEPT_WITHIN_S = 120


def has_postgres() -> bool:
    try:
        import psycopg  # noqa: F401
    except ImportError:
        return False
    return bool(postgres.binary("initdb"))


class Record(Load):
    """Has no step of its own: all that happens is written."""

    def __init__(self, stage: Stage, seed: str, folder: Path, kind: str) -> None:
        super().__init__(stage, seed)
        self.kind = kind
        self.postgres = postgres.Postgres() if kind == "postgresql" else None
        self.file = folder / "history.db"
        self.url = self.postgres.url if self.postgres else f"sqlite:///{self.file}"

    def prepare(self) -> None:
        for _ in range(2):
            self.stage.add("history.py", "--database", self.url)

    def start(self) -> None:
        pass

    def stop(self) -> None:
        pass

    def away(self) -> None:
        """The database is shut down; SQLite's file is locked instead."""
        if self.postgres:
            self.postgres.stop()
            self.stage.wait(self.rng.uniform(0.2, 3))
            self.postgres.start()
        else:
            with closing(sqlite3.connect(self.file, timeout=30)) as connection:
                connection.execute("BEGIN IMMEDIATE")
                self.stage.wait(self.rng.uniform(0.2, 3))
                connection.rollback()

    def rows(self, statement: str) -> list[tuple[Any, ...]]:
        if self.postgres:
            import psycopg

            with psycopg.connect(self.url) as connection:
                return [tuple(map(_plain, row)) for row in connection.execute(statement)]
        with closing(sqlite3.connect(self.file, timeout=30)) as connection:
            return list(connection.execute(statement))

    def judge(self, seen: Seen) -> list[str]:
        client = self.stage.server.client
        waits = eventually(lambda: client.zcard(f"{PREFIX}unsaved") == 0, within_s=KEPT_WITHIN_S)
        rows = {row[0]: row[1:] for row in self.rows("SELECT id, status, deleted FROM job")}
        number = {row[0]: row[1] for row in self.rows("SELECT id, attempts FROM job")}
        outcomes: dict[str, list[str]] = defaultdict(list)
        for job_id, outcome in self.rows("SELECT job_id, outcome FROM attempt ORDER BY job_id, number"):
            outcomes[job_id].append(outcome)
        ended = {job_id for job_id, job in seen.jobs.items() if job["status"] in ENDED}
        twice = [job_id for job_id, some in outcomes.items() if some.count("done") > 1]
        unlike = [job_id for job_id in ended & rows.keys() if rows[job_id] != (seen.jobs[job_id]["status"], False)]
        short = [
            job_id
            for job_id in ended & rows.keys()
            if seen.jobs[job_id]["status"] == "done"
            and (outcomes[job_id][-1:] != ["done"] or number[job_id] != int(seen.jobs[job_id]["attempts"]))
        ]
        unerased = [job_id for job_id in self.stage.deleted - seen.jobs.keys() if rows.get(job_id, ("", False))[1] != 1]
        strange = rows.keys() - seen.jobs.keys() - self.stage.deleted
        counted = Counter(status for status, _ in rows.values())
        self.notes = {
            "record": self.kind,
            "rows": len(rows),
            **{f"rows {name}": n for name, n in sorted(counted.items())},
            "attempts": sum(map(len, outcomes.values())),
        }
        return [
            *([] if waits else ["the record is not written in time"]),
            *named(sorted(ended - rows.keys()), "have ended and have no row"),
            *named(unlike, "have a row that says something else"),
            *named(short, "are done, and the row of their last attempt is not"),
            *named(twice, "have two successes in the record"),
            *named(unerased, "were deleted and the record does not say so"),
            *named(sorted(strange), "are in the record and nowhere else"),
        ]

    def close(self) -> None:
        if self.postgres:
            self.postgres.close()


def _plain(value: Any) -> Any:
    return value if isinstance(value, (int, str, type(None))) else str(value)
