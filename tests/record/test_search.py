"""What a text names, in the queues and in the record."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from _jobqueue.record.database import Record
from _jobqueue.record.row import Row
from jobqueue import JobQueue
from tests.answers import invalid
from tests.harness import System
from tests.played import Worker
from tests.record.rows import a_job, failed, rows_of


def searched(system: System, text: str) -> dict[str, Any]:
    answer = system.get(f"/search?q={text}")
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def found(system: System, text: str) -> list[tuple[str, Any, str]]:
    """As what, the job's id or how many jobs, and where."""
    rows = searched(system, text)["found"]
    return [(row["as"], row["job"]["job_id"] if row["job"] else row["jobs"], row["source"]) for row in rows]


@pytest.fixture
def api(system: System) -> System:
    system.api()
    return system


@pytest.fixture
def both(system: System, history_url: str, record: Record) -> System:
    """An API with a record."""
    system.api(HISTORY_URL=history_url)
    return system


def test_a_job_is_found_by_its_id_its_beginning_and_its_keys(api: System) -> None:
    answer = api.post("/jobs", {"payload": 1, "unique_key": "u-1", "queue": "mail"}, Idempotency_Key="i-1").json()
    job_id = answer["job_id"]
    for _ in range(3):
        api.submit(queue="other")
    for text in (job_id, job_id.upper(), job_id[:8], job_id[:12], job_id[:35], f"%20{job_id}%20"):
        assert found(api, text) == [("job", job_id, "queue")], text
    assert found(api, "u-1") == [("unique_key", job_id, "queue")]
    assert found(api, "i-1") == [("idempotency_key", job_id, "queue")]
    assert found(api, job_id[:7]) == found(api, "nothing") == found(api, "00000000") == []


def test_a_name_may_be_several_things(api: System, queue: JobQueue, worker: Worker) -> None:
    queue.submit("red", tags=["red"], unique_key="red")
    queue.submit(queue="red", tags=["red", "blue"])
    rows = found(api, "red")
    assert [(what, n) for what, n, _ in rows if what not in ("unique_key", "type")] == [("tag", 2), ("queue", 1)]
    assert {what for what, _, _ in rows} == {"unique_key", "tag", "queue", "type"}
    assert searched(api, "blue")["found"][0]["filter"] == {"tag": "blue"}


def test_a_kind_of_error_is_found(api: System, queue: JobQueue, worker: Worker) -> None:
    queue.submit()
    worker.give("failed")
    kind = api.get("/dlq").json()["jobs"][0]["errors"][-1]["kind"]
    assert found(api, kind) == [("kind", 1, "queue")]


def test_a_beginning_says_how_far_it_looked(api: System) -> None:
    job_id = api.submit()
    assert searched(api, job_id)["notes"] == []
    assert "newest 10,000" in searched(api, job_id[:8])["notes"][0]


@pytest.mark.parametrize("q", ["", "%20", "x" * 256])
def test_a_text_must_be_there_and_short(bystander: System, q: str) -> None:
    assert invalid(bystander.get(f"/search?q={q}")) == ["/q"]


@pytest.mark.long(2)
@pytest.mark.parametrize(
    "q", ["%00", "a%0d%0ab", "%27%20OR%201=1", "12345678-----", "deadbeef-zzzz", "%F0%9F%98%80", "*", "a b"]
)
def test_odd_texts_find_nothing(both: System, q: str) -> None:
    assert found(both, q) == []


def test_what_the_queue_has_forgotten_is_found_in_the_record(both: System, record: Record) -> None:
    job = failed(queue="old", type="report", tags=["red"])
    gone = a_job(tags=["red"])
    record.write([*rows_of(job), Row(gone, 5, deleted=True)])
    for text in (job.id, job.id[:8]):
        assert found(both, text) == [("job", job.id, "history")]
        assert searched(both, text)["notes"] == []
    assert found(both, gone.id) == found(both, gone.id[:8]) == []
    for text, what in (("old", "queue"), ("report", "type"), ("red", "tag"), ("ValueError", "kind")):
        assert found(both, text) == [(what, None, "history")]
        assert searched(both, text)["found"][0]["filter"] == {what: text}


def test_a_job_is_found_by_its_idempotency_key_also_in_the_record(
    both: System, record: Record, queue: JobQueue
) -> None:
    job = queue.submit(key="i-1")
    record.write(rows_of(job))
    assert found(both, "i-1") == [("idempotency_key", job.id, "queue")]
    queue.delete(job.id)
    assert found(both, "i-1") == [("idempotency_key", job.id, "history")]


def test_a_record_that_is_away_is_said_and_the_rest_is_found(system: System, tmp_path: Path) -> None:
    system.api(HISTORY_URL=f"sqlite:///{tmp_path / 'none.db'}")
    job_id = system.submit(tags=["red"])
    said = searched(system, "red")
    assert [row["as"] for row in said["found"]] == ["tag"]
    assert "record is away" in said["notes"][0]
    assert found(system, job_id[:8]) == [("job", job_id, "queue")]
