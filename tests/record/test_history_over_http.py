"""The record over HTTP: lists, one job that the queue has forgotten, erasing, and a database that is away."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests

from _jobqueue.record.database import Record, open_record
from _jobqueue.record.row import Row
from _jobqueue.rfc3339 import rfc3339
from jobqueue import Job, JobQueue
from tests.answers import invalid
from tests.harness import System, eventually
from tests.played import Worker
from tests.postgres import Postgres
from tests.record.rows import T0, a_job, an_error, failed, rows_of, waiting

ADMIN = "a-key-that-may-do-all"


@pytest.fixture
def api(system: System, history_url: str) -> System:
    """An API that reads the record."""
    system.api(HISTORY_URL=history_url)
    return system


def ids(answer: requests.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [job["job_id"] for job in answer.json()["jobs"]]


def problem(answer: requests.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


def test_the_record_is_listed_and_every_job_says_that_it_is_from_there(api: System, record: Record) -> None:
    old, dead, gone = a_job(1, tags=["red"]), failed(2), a_job(3)
    record.write([*rows_of(old, dead), Row(gone, 9, deleted=True)])
    answer = api.get("/history")
    assert ids(answer) == [gone.id, dead.id, old.id]
    assert answer.json()["jobs"][1] == dead.as_dict() | {"source": "history"}
    assert [job.get("deleted", False) for job in answer.json()["jobs"]] == [True, False, False]
    assert (answer.json()["next_cursor"], answer.json()["looked_to"]) == (None, None)
    for query, expected in [
        ("status=failed", [dead]),
        ("tag=red", [old]),
        ("kind=ValueError", [dead]),
        (f"since={rfc3339(T0 + 2500)}", [gone]),
        (f"until={rfc3339(T0 + 1500)}&status=done", [old]),
        (f"text=ADA1@&since={rfc3339(T0)}&until={rfc3339(T0 + 86_400_000)}", [old]),
    ]:
        assert ids(api.get(f"/history?{query}")) == [job.id for job in expected], query


def test_pages_lead_on_and_say_how_far_they_looked(api: System, record: Record) -> None:
    jobs = [a_job(n) for n in range(7)]
    record.write(rows_of(*jobs))
    found, cursor = list[str](), ""
    for _ in range(4):
        answer = api.get(f"/history?limit=2&cursor={cursor}" if cursor else "/history?limit=2")
        found += ids(answer)
        cursor = answer.json()["next_cursor"]
        if cursor:
            assert answer.json()["looked_to"] == answer.json()["jobs"][-1]["created_at"]
    assert found == [job.id for job in jobs[::-1]] and cursor is None


@pytest.mark.parametrize(
    "query, pointer",
    [
        ("status=lost", "/status"),
        ("since=yesterday", "/since"),
        ("until=2026-01-01", "/until"),
        ("text=x", "/since"),
        ("text=x&since=2026-01-01T00:00:00Z&until=2026-02-02T00:00:00Z", "/since"),
        ("text=&since=2026-01-01T00:00:00Z", "/text"),
        ("text=" + "x" * 201, "/text"),
        ("text=%00&since=2026-01-01T00:00:00Z", "/text"),  # SQLite would find it in every job that has failed
        ("tag=", "/tag"),
        ("limit=201", "/limit"),
        ("offset=1", "/offset"),
        ("cursor=nonsense", "/cursor"),
        ("cursor=h9999999999999-" + "0" * 36, "/cursor"),
        ("cursor=h999999999999999-0f8fad5b-d9cb-8000-a165-70867728950e", "/cursor"),
    ],
)
def test_a_wrong_parameter_is_a_422_that_names_it(bystander_with_a_record: System, query: str, pointer: str) -> None:
    assert invalid(bystander_with_a_record.get(f"/history?{query}")) == [pointer]


@pytest.fixture(scope="module")
def bystander_with_a_record(shared_server: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    url = f"sqlite:///{tmp_path_factory.mktemp('record') / 'history.db'}"
    open_record(url).migrate()
    system = System(shared_server)
    system.api(HISTORY_URL=url)
    yield system
    system.close(show_logs=False)


def test_odd_values_find_nothing_and_break_nothing(bystander_with_a_record: System) -> None:
    for query in ("type=%00", "tag=%C3%BC", "queue=%27%20OR%201=1%20--", "kind=%25", "type=" + "x" * 3000):
        assert ids(bystander_with_a_record.get(f"/history?{query}")) == []


def test_a_job_that_the_queue_has_forgotten_is_found_in_the_record(
    api: System, record: Record, queue: JobQueue, worker: Worker
) -> None:
    old = failed(2, errors=[an_error(message="no luck")])
    record.write(rows_of(old))
    assert api.job(old.id) == old.as_dict() | {"source": "history"}
    said = api.get(f"/jobs/{old.id}/explain").json()
    assert said["code"] == "remembered" and "no luck" in said["explanation"] and said["job"]["source"] == "history"
    assert problem(api.get(f"/jobs/{a_job().id}")) == (404, "job_not_found")
    assert api.get(f"/jobs/status/{old.id}").json()["status"] == "failed"
    here = queue.submit()
    record.write([Row(here, 1)])
    assert "source" not in api.job(here.id)  # the queue knows better


def test_a_job_that_redis_has_lost_says_so(api: System, record: Record) -> None:
    lost = waiting()
    record.write(rows_of(lost))
    assert "lost" in api.get(f"/jobs/{lost.id}/explain").json()["explanation"]


def test_a_deleted_job_stays_a_404(api: System, record: Record) -> None:
    job = a_job()
    record.write([Row(job, 1, deleted=True)])
    assert problem(api.get(f"/jobs/{job.id}")) == (404, "job_not_found")
    assert problem(api.get(f"/jobs/{job.id}/explain")) == (404, "job_not_found")
    assert requests.delete(f"{api.api_url}/jobs/{job.id}", timeout=30).status_code == 404


def test_deleting_a_job_that_only_the_record_has_erases_it_there(api: System, record: Record) -> None:
    job = a_job(payload="secret")
    record.write(rows_of(job))
    assert requests.delete(f"{api.api_url}/jobs/{job.id}", timeout=30).status_code == 204
    assert api.get(f"/jobs/{job.id}").status_code == 404
    [listed] = api.get("/history").json()["jobs"]
    assert (listed["deleted"], listed["payload"], listed["result"]) == (True, None, None)


def test_a_filter_is_erased_and_how_many_is_said(api: System, record: Record) -> None:
    jobs, kept = [a_job(n, tags=["gdpr"]) for n in range(1005)], a_job()
    record.write(rows_of(kept, *jobs))
    asked, erased = {"filter": {"tag": "gdpr"}}, list[int]()
    while True:
        said = api.post("/history/erase", asked).json()
        erased.append(said["erased"])
        if not said["next_cursor"]:
            break
        asked["cursor"] = said["next_cursor"]
    assert erased == [1000, 5]
    assert ids(api.get("/history")) == [kept.id]


@pytest.mark.parametrize(
    "body, pointer",
    [
        ({}, "/filter"),
        ({"filter": {}}, "/filter"),
        ({"filter": {"text": "x"}}, "/filter/text"),
        ({"filter": {"type": 1}}, "/filter/type"),
        ({"filter": {"status": "done", "tag": ""}}, "/filter/tag"),
        ({"filter": {"since": "now"}}, "/filter/since"),
        ({"filter": {"status": "lost"}}, "/filter/status"),
        ({"filter": {"type": "x"}, "cursor": 1}, "/cursor"),
        ({"filter": {"type": "x"}, "colour": 1}, "/colour"),
    ],
)
def test_what_shall_be_erased_is_checked(bystander_with_a_record: System, body: Any, pointer: str) -> None:
    assert invalid(bystander_with_a_record.post("/history/erase", body)) == [pointer]


def test_without_a_record_its_calls_are_404_and_say_what_to_do(bystander: System) -> None:
    for answer in (bystander.get("/history"), bystander.post("/history/erase", {"filter": {"type": "x"}})):
        assert problem(answer) == (404, "no_record")
        assert "HISTORY_URL" in answer.json()["detail"]
    assert problem(bystander.get(f"/jobs/{a_job().id}")) == (404, "job_not_found")


def test_erasing_needs_admin(system: System, history_url: str, record: Record) -> None:
    from _jobqueue.keys import new_key

    key, entry = new_key("someone", "submit")
    system.api(HISTORY_URL=history_url, API_KEYS=entry)
    headers = {"Authorization": f"Bearer {key}"}
    url = system.api_url
    assert requests.get(f"{url}/history", headers=headers, timeout=30).status_code == 200
    body = {"filter": {"type": "x"}}
    assert requests.post(f"{url}/history/erase", json=body, headers=headers, timeout=30).status_code == 403


# --------------------------------------------------------------------------------------------- a database that is away


def test_a_record_that_was_never_made_is_503_and_never_404(system: System, queue: JobQueue, tmp_path: Any) -> None:
    system.api(HISTORY_URL=f"sqlite:///{tmp_path / 'none.db'}")
    for path in ("/history", f"/jobs/{a_job().id}", f"/jobs/{a_job().id}/explain"):
        answer = system.get(path)
        assert problem(answer) == (503, "record_unavailable"), path
        assert str(tmp_path) not in answer.text and "Retry-After" in answer.headers
    here = system.submit()
    assert system.job(here)["status"] == "queued"
    assert system.get("/jobs/no-id-of-ours").status_code == 404
    assert not (tmp_path / "none.db").exists()


def test_tables_of_a_later_release_are_503_and_say_so(api: System, record: Record) -> None:
    record._asked(lambda db: db.run("INSERT INTO jobqueue_schema (version, name) VALUES (9999, 'later')"))
    answer = api.get("/history")
    assert problem(answer) == (503, "record_unavailable") and "later release" in answer.json()["detail"]


@pytest.fixture
def kept(system: System, own_postgres: Postgres) -> Job:
    """A job that only the record in PostgreSQL has, and an API that reads there."""
    job = a_job()
    record = open_record(own_postgres.url)
    record.migrate()
    record.write(rows_of(job))
    record.close()
    system.api(HISTORY_URL=own_postgres.url)
    assert system.job(job.id)["source"] == "history"
    return job


def test_a_postgresql_that_is_stopped_is_503_until_it_is_back(
    system: System, own_postgres: Postgres, kept: Job
) -> None:
    own_postgres.stop()
    assert problem(system.get(f"/jobs/{kept.id}")) == (503, "record_unavailable")
    assert problem(system.get(f"/jobs/{kept.id}")) == (503, "record_unavailable")
    own_postgres.start()
    eventually(lambda: system.get(f"/jobs/{kept.id}").status_code, equals=200)


@pytest.mark.long(3)
def test_a_frozen_postgresql_delays_nobody_who_does_not_ask_it(
    system: System, own_postgres: Postgres, kept: Job
) -> None:
    own_postgres.freeze()
    with ThreadPoolExecutor(40) as pool:
        began = time.monotonic()
        asked = [pool.submit(system.get, f"/jobs/{kept.id}") for _ in range(40)]
        waits = [_timed(lambda: system.get("/livez").status_code) for _ in range(20)]
        waits += [_timed(lambda: system.submit()) for _ in range(5)]
        assert {problem(each.result()) for each in asked} == {(503, "record_unavailable")}
        assert time.monotonic() - began < 20
    assert max(waits) < 5
    own_postgres.freeze(False)
    eventually(lambda: system.get(f"/jobs/{kept.id}").status_code, equals=200)


def _timed(call: Callable[[], Any]) -> float:
    began = time.monotonic()
    call()
    return time.monotonic() - began


def test_a_job_that_is_deleted_while_no_record_is_kept_is_erased_there_too(api: System, record: Record) -> None:
    job_id = api.submit("secret")
    kept = JobQueue(api.url).get(job_id)
    record.write(rows_of(kept))
    assert requests.delete(f"{api.api_url}/jobs/{job_id}", timeout=30).status_code == 204
    row = record.get(job_id)
    assert row and row.deleted and row.job.payload is None
    assert problem(api.get(f"/jobs/{job_id}")) == (404, "job_not_found")


def test_a_job_is_deleted_where_a_record_was_never_made(api: System) -> None:
    job_id = api.submit("secret")
    assert requests.delete(f"{api.api_url}/jobs/{job_id}", timeout=30).status_code == 204
    assert problem(api.get(f"/jobs/{job_id}")) == (503, "record_unavailable")


@pytest.mark.parametrize("bound", ["since", "until"])
def test_a_bound_beyond_the_last_year_is_one_like_any_other(api: System, record: Record, bound: str) -> None:
    job = a_job()
    record.write(rows_of(job))
    for clock in ("9999-12-31T23:59:59.999Z", "9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00%2B14:00"):
        shown = ids(api.get(f"/history?{bound}={clock}"))
        assert shown == ([job.id] if (bound == "since") == clock.startswith("0001") else [])
