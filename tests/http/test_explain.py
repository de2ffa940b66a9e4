"""Why a job does not run, what it waits for; and that all of it is answered over HTTP."""

from __future__ import annotations

import re
from typing import Any
from wsgiref.util import setup_testing_defaults

import pytest

import api
from _jobqueue.config import Config
from _jobqueue.keys import parse_keys
from _jobqueue.logs import Log
from _jobqueue.records import IN_PLACE, NEVER
from _jobqueue.web.findings import LEVELS
from _jobqueue.web.overview import Overview as PatientOverview
from jobqueue import JobQueue, NewJob, NotFound
from tests.harness import Server, System, eventually
from tests.http.overviews import LONG, Overview, past
from tests.played import Q, Worker, tick


@pytest.fixture
def overview(queue: JobQueue) -> PatientOverview:
    return Overview(queue)


# ------------------------------------------------------------------------------------------------------------- explain


def explained(queue: JobQueue, job_id: str) -> tuple[str, str]:
    answer = Overview(queue).explain(job_id)
    assert answer["job"]["job_id"] == job_id
    return answer["code"], answer["explanation"]


def test_a_queued_job_tells_what_it_waits_for(queue: JobQueue, server: Server, worker: Worker) -> None:
    first, second, third = (queue.submit().id for _ in range(3))
    assert explained(queue, first)[0] == "no_worker"
    worker.renew()
    assert explained(queue, second) == ("ready", "It will be claimed at once: 2 of 2 threads are free.")
    assert explained(queue, third)[0] == "waiting"
    for _ in range(2):
        queue.submit(priority="high")
    worker.claim(2)
    worker.renew()
    assert explained(queue, first)[0] == "ready" and "It is next: all 2 threads are busy" in explained(queue, first)[1]
    assert explained(queue, third) == ("waiting", "2 jobs come before it, and 2 of 2 threads are busy.")
    past(server, 0, done=10)
    assert "At 10 a minute that takes about 12 s." in explained(queue, third)[1]
    queue.pause("default")
    assert explained(queue, first)[0] == "paused"


def test_a_job_that_no_worker_can_handle_says_so(queue: JobQueue, worker: Worker) -> None:
    job_id = queue.submit("unknown").id
    worker.renew()
    assert explained(queue, job_id)[0] == "no_handler" and "the type unknown" in explained(queue, job_id)[1]


def test_a_scheduled_job_tells_when_and_why_then(queue: JobQueue, worker: Worker) -> None:
    delayed, retried = queue.submit(delay_s=3600).id, queue.submit(max_attempts=3).id
    assert explained(queue, delayed)[0] == "no_reaper"
    worker.claim()
    worker.end("failed", delay_ms=5000, message=LONG)
    tick(queue)
    assert explained(queue, delayed)[0] == "delayed" and "in 60 min" in explained(queue, delayed)[1]
    code, text = explained(queue, retried)
    assert code == "backoff"
    assert text.startswith("Attempt 1 of 3 failed with Boom: it went wrong!") and len(text) < 400
    assert "Attempt 2 is due at " in text


def test_a_running_job_tells_where_it_is(queue: JobQueue, server: Server, worker: Worker) -> None:
    job_id = queue.submit().id
    worker.claim()
    worker.renew("progress", '{"fraction": 0.3, "note": "reading"}')
    queue.cancel(job_id)
    code, text = explained(queue, job_id)
    assert code == "running" and text.startswith("Attempt 1 of 2 has been running for ")
    assert re.search(r" on worker w, 30% done \(reading\), its handler was asked to stop [0-9.]+ m?s ago\.$", text)
    server.client.zincrby(f"{Q}workers", -16_000, "w")
    assert "not heard of any more" in explained(queue, job_id)[1] and "no reaper" in explained(queue, job_id)[1]


def test_an_error_whose_message_names_its_kind_is_not_named_twice(queue: JobQueue, worker: Worker) -> None:
    job_id = queue.submit(max_attempts=1).id
    worker.claim()
    worker.end("failed", message="Boom: it burst")
    assert explained(queue, job_id)[1].endswith("its last, ended with Boom: it burst.")


def test_an_ended_job_tells_what_happened(queue: JobQueue, worker: Worker) -> None:
    done, spent, given_up, stopped, cancelled = (queue.submit(max_attempts=n).id for n in (2, 1, 2, 2, 2))
    for outcome in ("done", "failed", "failed", "cancelled"):
        worker.claim()
        worker.end(outcome, delay_ms=IN_PLACE if outcome == "failed" and worker.talk.seq == 2 else NEVER)
    queue.cancel(cancelled)
    codes = [explained(queue, job_id)[0] for job_id in (done, spent, given_up, stopped, cancelled)]
    assert codes == ["done", "failed", "failed", "cancelled", "cancelled"]
    assert "It was done by worker w in " in explained(queue, done)[1]
    assert "attempt 1 of 1, its last, ended with Boom" in explained(queue, spent)[1]
    assert "attempt 1 of 2, and is not to be tried again" in explained(queue, given_up)[1]
    assert "in its attempt 1" in explained(queue, stopped)[1] and "before it ran" in explained(queue, cancelled)[1]


def test_a_job_that_is_not_there_is_not_explained(queue: JobQueue) -> None:
    with pytest.raises(NotFound):
        Overview(queue).explain("x")


# ------------------------------------------------------------------------------------------------ over HTTP, and check


@pytest.fixture
def served(system: System) -> System:
    """With an API."""
    system.api()
    return system


def test_the_calls_answer(served: System, queue: JobQueue) -> None:
    job_id = served.submit()
    stats = eventually(lambda: served.get("/stats").json(), equals=lambda seen: len(seen["health"]) == 2)
    assert stats["jobs"]["queued"] == stats["queues"][0]["jobs"]["queued"] == 1 and stats["workers"] == []
    assert {each["code"] for each in stats["health"]} == {"no_worker", "no_reaper"} <= LEVELS.keys()
    assert served.get(f"/jobs/{job_id}/explain").json()["code"] == "no_worker"
    assert served.get("/jobs/x/explain").json()["code"] == "job_not_found"
    found = served.get("/system").json()
    assert found["redis"]["appendonly"] == "yes" and found["config"]["api_threads"] == 16
    assert found["queues"] == [
        {"queue": "default", "reaper_at": None, "balance": 0, "checked_at": None, "problems": None}
    ]
    assert found["api"]["pid"] == served.programs[0].pid


def test_a_check_tells_what_it_found_and_the_system_remembers(served: System, queue: JobQueue) -> None:
    job_id = served.submit()
    good = served.post("/queues/default/check").json()
    assert good.get("problems") == [] and good["more"] == 0, good
    assert (
        served.get("/system").json()["queues"][0] | {"checked_at": good["checked_at"], "problems": 0}
        == (served.get("/system").json()["queues"][0])
    )
    served.server.client.zrem(f"{Q}queue", job_id)
    served.server.client.zadd(f"{Q}done", {f"gone-{n}": 1 for n in range(150)})
    bad = served.post("/queues/default/check").json()
    assert len(bad["problems"]) == 100 and bad["more"] == 52 and bad["checked_at"] >= good["checked_at"]
    assert served.get("/system").json()["queues"][0]["problems"] == 152


def test_the_command_line_leaves_its_verdict_too(served: System, queue: JobQueue) -> None:
    served.submit()
    assert queue.books("default").checked_ms is None
    served.check()
    books = queue.books("default")
    assert books.problems == 0 and books.checked_ms is not None and books.now_ms - books.checked_ms < 60_000


def test_a_replica_is_checked_though_it_takes_no_note(own_server: Server) -> None:
    queue = JobQueue(own_server.url)
    queue.submit()
    own_server.client.replicaof("127.0.0.1", "1")
    assert queue.check("default") == [] and queue.books("default").checked_ms is None


def test_a_check_of_a_queue_that_was_never_used_makes_none(served: System, queue: JobQueue) -> None:
    answer = served.post("/queues/nowhere/check")
    assert (answer.status_code, answer.json()["code"]) == (404, "queue_not_found")
    assert queue.check("nowhere") == [] and served.server.client.keys("jq:{nowhere}*") == []


def test_a_large_queue_is_checked_from_the_command_line(served: System, queue: JobQueue) -> None:
    served.submit()
    served.server.client.zadd(f"{Q}done", {f"job-{n}": n for n in range(100_001)})
    answer = served.post("/queues/default/check")
    assert (answer.status_code, answer.json()["code"]) == (409, "too_many_jobs")
    assert "python jobqueue.py check --queue default" in answer.json()["detail"]


def test_one_check_runs_at_a_time(queue: JobQueue) -> None:
    queue.submit()
    ours = api.Api(Config(), queue, queue, Log("api"))
    environ: dict[str, Any] = {"REQUEST_METHOD": "POST", "PATH_INFO": "/queues/default/check"}
    setup_testing_defaults(environ)

    def status() -> str:
        said: list[str] = []
        list(ours.application(dict(environ), lambda status, *_: said.append(status)))
        return said[0]

    with ours.backend.checking:
        assert status().startswith("409")
    assert status().startswith("200")


def test_the_configuration_is_shown_without_secrets(overview: PatientOverview) -> None:
    config = Config(redis_url="redis://user:hidden@here/0", api_keys=parse_keys(f"me:read:{'ab' * 32}"))
    shown = overview.system(config)["config"]
    assert "hidden" not in str(shown) and "abab" not in str(shown) and "here" in shown["redis_url"]


def test_a_worker_of_another_version_does_not_break_the_answer(queue: JobQueue, worker: Worker) -> None:
    queue.submit()
    Worker(queue, "odd").presence.beat({}, {})
    stats = Overview(queue).stats()
    assert stats["workers"][0]["worker"] == "odd" and stats["queues"][0]["threads"] == 0


def test_a_started_system_is_clear_within_seconds(served: System, queue: JobQueue) -> None:
    job_id = served.submit()
    for program in (served.worker("--threads", "2"), served.reaper()):
        assert program.process.poll() is None
    served.ends(job_id)
    eventually(lambda: served.get("/stats").json()["health"], equals=[])
    eventually(lambda: served.get("/stats").json()["rates"]["run_p95_ms"], equals=lambda ms: ms is not None)
    assert NewJob().type in served.get("/workers").json()["workers"][0]["types"]
