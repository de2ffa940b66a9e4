"""How fast the record is written and read, and how large it becomes: python bench/record.py sqlite:////tmp/h.db [jobs]

Each job is written twice, as mostly happens: while it waits, and when it is done. In batches of 500, each one transaction."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from _jobqueue.listed import Filter
from _jobqueue.record.database import Record, open_record
from _jobqueue.record.row import Row
from _jobqueue.records import Job
from _jobqueue.store.ids import new_id

BATCH = 500
T0 = 1_798_000_000_000
PAYLOAD = {"to": "ada@example.org", "subject": "An invoice", "text": "x" * 150}  # 207 bytes as JSON


def job(n: int) -> Job:
    return Job(
        id=new_id(1),
        status="queued",
        type=f"type-{n % 7}",
        queue="default",
        priority=5,
        payload=PAYLOAD,
        result=None,
        attempts=0,
        max_attempts=2,
        timeout_ms=10_000,
        created_ms=T0 + n,
    )


def done(waiting: Job) -> Job:
    at = waiting.created_ms
    times = {"started_ms": at + 5, "finished_ms": at + 60}
    return replace(waiting, status="done", attempts=1, result={"sent": True}, worker="host-7-abcdef01", **times)


def written(record: Record, rows: list[Row]) -> float:
    """Rows a second."""
    began = time.monotonic()
    for at in range(0, len(rows), BATCH):
        assert record.write(rows[at : at + BATCH]) == []
    return len(rows) / (time.monotonic() - began)


def size_of(record: Record) -> int:
    postgresql = "SELECT pg_total_relation_size('job') + pg_total_relation_size('attempt') AS bytes"
    sqlite = "SELECT page_count * page_size AS bytes FROM pragma_page_count(), pragma_page_size()"
    rows = record._asked(lambda db: db.all(sqlite if db.name == "sqlite" else postgresql))
    return int(rows[0]["bytes"])


def ms(call: Callable[[], Any], times: int = 20) -> float:
    taken = []
    for _ in range(times):
        began = time.monotonic()
        call()
        taken.append(1000 * (time.monotonic() - began))
    return statistics.median(taken)


def main() -> None:
    url, number = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 20_000
    record = open_record(url)
    record.migrate()
    jobs = [job(n) for n in range(number)]
    ends = [done(each) for each in jobs]
    began = time.monotonic()
    once = written(record, [Row(each, n) for n, each in enumerate(jobs)])
    again = written(record, [Row(each, number + n) for n, each in enumerate(ends)])
    whole = number / (time.monotonic() - began)
    print(f"{number} jobs: new {once:.0f} rows/s, done {again:.0f} rows/s, both {whole:.0f} jobs/s")
    print(f"{size_of(record) / number:.0f} bytes a job that was done at its first attempt, with a payload of 207 bytes")
    reader = open_record(url, read_only=True)
    for name, call in {
        "one job": lambda: reader.get(jobs[number // 2].id),
        "newest 50": lambda: reader.find(Filter()),
        "newest 50 of a type": lambda: reader.find(Filter(type="type-3")),
        "newest 50 done of a type": lambda: reader.find(Filter("done", "type-3")),
        "a text that is nowhere": lambda: reader.find(Filter(), text="nowhere"),
    }.items():
        print(f"{name}: {ms(call, 3 if 'text' in name else 20):.1f} ms")


if __name__ == "__main__":
    main()
