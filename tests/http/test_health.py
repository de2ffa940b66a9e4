"""What people are told is wrong. A real Redis; workers and reapers are played."""

from __future__ import annotations

import re

import pytest

from _jobqueue.records import Warned
from _jobqueue.web.overview import Overview as PatientOverview
from jobqueue import JobQueue, NewJob
from tests.harness import Server
from tests.http.overviews import Overview, findings, text_of, waits_since
from tests.played import Q, Worker, now_ms, tick


@pytest.fixture
def overview(queue: JobQueue) -> PatientOverview:
    return Overview(queue)


def test_all_is_clear_when_nothing_is_wrong(queue: JobQueue, worker: Worker) -> None:
    assert findings(queue) == []
    queue.submit()
    worker.tend()
    assert findings(queue) == []


def test_jobs_that_wait_without_a_worker_are_an_error(queue: JobQueue, worker: Worker) -> None:
    queue.submit(), queue.submit()
    tick(queue)
    assert findings(queue) == [("no_worker", "default")]
    assert text_of(queue, "no_worker").startswith("2 jobs wait: no worker serves the queue default")
    worker.renew()
    assert findings(queue) == []


def test_a_type_that_waits_without_a_handler_is_named(queue: JobQueue, worker: Worker) -> None:
    for name in ("echo", "unknown", "unknown"):
        queue.submit(name)
    worker.tend()
    assert findings(queue) == [("no_handler", "default")]
    assert "the type unknown" in text_of(queue, "no_handler")


def test_without_any_reaper_there_is_one_sentence_else_one_for_each_queue(
    queue: JobQueue, server: Server, worker: Worker
) -> None:
    other = Worker(queue, queue="other")
    for each in (worker, other):
        queue.submit(queue=each.queue)
        each.renew()
    assert findings(queue) == [("no_reaper", None)]
    tick(queue, "other")
    assert findings(queue) == []  # a reaper that lives finds a new queue within a second
    tick(queue)
    server.client.hincrby(f"{Q}meta", "reaper", -16_000)
    assert findings(queue) == [("no_reaper", "default")]
    assert text_of(queue, "no_reaper").startswith("Queue default: no reaper is running")


def test_a_paused_queue_is_a_warning_that_explains_its_old_jobs(
    queue: JobQueue, server: Server, worker: Worker
) -> None:
    waits_since(server, queue.submit().id, 3_600_000)
    queue.pause("default")
    worker.tend()
    assert findings(queue) == [("paused", "default")]


def test_a_paused_queue_without_a_worker_is_one_finding_that_tells_both(queue: JobQueue) -> None:
    queue.submit()
    tick(queue)
    assert findings(queue) == [("no_worker", "default")]
    queue.pause("default")
    assert findings(queue) == [("paused", "default")]
    assert "is resumed; no worker serves the queue default" in text_of(queue, "paused")


def test_a_job_that_has_waited_for_over_a_minute_is_a_warning(queue: JobQueue, server: Server, worker: Worker) -> None:
    job_id = queue.submit().id
    worker.tend()
    waits_since(server, job_id, 50_000)
    assert findings(queue) == []
    waits_since(server, job_id, 190_000)
    assert findings(queue) == [("old_job", "default")]
    assert "has waited for 3 min, 0 of 2 threads are busy: see on its page why" in text_of(queue, "old_job")


def test_a_delay_a_retry_and_run_now_begin_a_new_wait(queue: JobQueue, server: Server, worker: Worker) -> None:
    delayed, at_once = queue.submit(delay_s=60).id, queue.submit(delay_s=60).id
    again = queue.submit().id
    worker.claim()
    worker.end("failed")
    queue.retry(again)
    queue.run_now(at_once)
    assert (queue.get(at_once).run_at_ms or 0) <= now_ms(server)
    for job_id in (delayed, at_once, again):
        waits_since(server, job_id, 3_600_000)
    server.client.zadd(f"{Q}scheduled", {delayed: 1})
    server.client.hset(f"{Q}job:{delayed}", "due", now_ms(server) - 1)
    worker.tend()
    books = queue.books("default")
    assert books.sizes["queued"] == 3 and books.oldest_age_ms is not None and books.oldest_age_ms < 30_000
    assert [job.waited_ms for job in worker.claim(3) if job.waited_ms is None or job.waited_ms > 30_000] == []


def test_only_the_next_jobs_are_looked_at(queue: JobQueue) -> None:
    queue.submit_many([NewJob(f"t{number}") for number in range(5)])
    assert queue.look("default", jobs=2).types == ["t0", "t1"] and queue.look("default").types == []


def test_the_oldest_job_is_found_in_any_priority(queue: JobQueue, server: Server) -> None:
    ids = [queue.submit(priority=priority).id for priority in (9, 5, 5, 0)]
    for at, job_id in enumerate(ids):
        waits_since(server, job_id, 10_000 * (at + 1))
    ages = [queue.books("default").oldest_age_ms]
    for job_id in (ids[3], ids[1], ids[2], ids[0]):
        queue.cancel(job_id)
        ages.append(queue.books("default").oldest_age_ms)
    assert [age if age is None else age // 10_000 for age in ages] == [4, 2, 3, 1, None]


def test_processes_that_are_set_differently_are_a_warning(queue: JobQueue, worker: Worker) -> None:
    queue.submit()
    worker.also = {"lease_s": 10.0}
    worker.tend()
    transaction = queue.recovery.transaction("default")
    transaction.promote(1, lease_ms=10_000)
    transaction.execute()
    assert findings(queue) == []
    worker.also = {"lease_s": 30.0}
    worker.renew()
    assert findings(queue) == [("leases_differ", "default")]
    assert "PROCESSING_TIMEOUT_S is 10 for this API, 30 for worker w: set it alike" in text_of(queue, "leases_differ")
    worker.also = {"lease_s": 10.0}
    worker.renew()
    transaction = queue.recovery.transaction("default")
    transaction.promote(1, lease_ms=2_000)
    transaction.execute()
    assert "is 10 for this API, 2 for the reaper: set it" in text_of(queue, "leases_differ")


def test_a_worker_whose_beat_is_lost_is_a_warning(queue: JobQueue, server: Server, worker: Worker) -> None:
    queue.submit()
    worker.tend()
    server.client.zincrby(f"{Q}workers", -16_000, "w")
    assert findings(queue) == [("no_worker", "default"), ("worker_lost", "default")]
    (row,) = Overview(queue).stats()["workers"]
    assert row["lost"] and re.search("1[6-9] s ago", text_of(queue, "worker_lost"))


def test_a_lost_worker_runs_nothing(queue: JobQueue, server: Server, worker: Worker) -> None:
    job_id = queue.submit().id
    worker.claim()
    worker.renew()
    (row,) = Overview(queue).stats()["workers"]
    assert [run["job_id"] for run in row["running"]] == [job_id]
    server.client.zincrby(f"{Q}workers", -16_000, "w")
    (row,) = Overview(queue).stats()["workers"]
    assert row["lost"] and row["running"] == []


def test_what_is_wrong_has_an_id_of_its_own_that_stays(queue: JobQueue, server: Server, worker: Worker) -> None:
    for name in ("first", "second"):
        queue.submit(name)
        Worker(queue, name).renew()
        server.client.zincrby(f"{Q}workers", -16_000, name)
    worker.tend()

    def told() -> dict[str, str]:
        return {each["id"]: each["text"] for each in Overview(queue).stats()["health"]}

    before = told()
    assert before.keys() == {
        *(f"worker_lost:default:{name}" for name in ("first", "second")),
        *(f"no_handler:default:{name}" for name in ("first", "second")),
    }
    server.client.zincrby(f"{Q}workers", -60_000, "first")
    queue.submit(queue="another")
    after = told()
    assert after.keys() == before.keys() | {"no_worker:another"}
    assert after["worker_lost:default:first"] != before["worker_lost:default:first"]


def test_new_dead_letters_are_a_warning_until_they_are_retried(queue: JobQueue, server: Server, worker: Worker) -> None:
    queue.submit()
    worker.claim()
    worker.end("failed")
    worker.tend()
    assert findings(queue) == [("dead_letters", "default")]
    assert "1 new dead letter " in text_of(queue, "dead_letters")
    queue.requeue_dead("default")
    assert findings(queue) == []


def test_old_dead_letters_are_no_news(queue: JobQueue, server: Server, worker: Worker) -> None:
    queue.submit()
    worker.claim()
    worker.end("failed")
    worker.tend()
    for minute in server.client.keys(f"{Q}stats:*"):
        server.client.rename(minute, f"{Q}stats:{int(minute.rpartition(':')[2]) - 30}")
    assert findings(queue) == []


def test_books_that_do_not_balance_are_an_error(queue: JobQueue, server: Server, worker: Worker) -> None:
    queue.submit()
    worker.tend()
    server.client.hincrby(f"{Q}totals", "submitted", 2)
    assert findings(queue) == [("books", "default")]
    assert "+2 submitted jobs are nowhere" in text_of(queue, "books")


def test_what_redis_may_lose_is_told(own_server: Server) -> None:
    queue, settings = JobQueue(own_server.url), own_server.client.config_set
    assert findings(queue) == []
    settings("appendonly", "no")
    assert findings(queue) == [("not_persistent", None)]
    settings("maxmemory-policy", "allkeys-lru")
    settings("maxmemory", own_server.client.info("memory")["used_memory"] * 21 // 20)
    assert findings(queue) == [("not_persistent", None), ("memory", None), ("redis", None)]
    server = Overview(queue).server()
    server["warnings"] = [Warned("redis", text) for text in ("one", "another", "a third")]
    told = Overview(queue).health(server)
    assert [each["id"] for each in told] == ["redis", "redis:1", "redis:2"]


def test_the_worst_comes_first_and_a_list_has_an_end(queue: JobQueue) -> None:
    queue.submit(queue="paused")
    Worker(queue, queue="paused").tend()
    queue.pause("paused")
    for number in range(9):
        queue.submit(queue=f"q{number}")
    told = Overview(queue).stats()["health"]
    assert [each["code"] for each in told] == ["no_worker"] * 9 + ["paused"]
    assert [each["level"] for each in told] == ["error"] * 9 + ["warning"]
    for number in range(9, 30):
        queue.submit(queue=f"q{number}")
    assert [each["code"] for each in Overview(queue).stats()["health"]] == ["no_worker"] * 20


def test_what_redis_said_of_itself_is_not_asked_for_at_every_poll(queue: JobQueue, server: Server) -> None:
    overview = Overview(queue)
    server.client.config_resetstat()
    for _ in range(5):
        overview.stats()
    assert server.client.info("commandstats")["cmdstat_info"]["calls"] == 1
