"""What people are told: what is wrong, how fast it goes, why a job does not run. A real Redis; workers and reapers are played."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any
from wsgiref.util import setup_testing_defaults

import pytest

import api
from _jobqueue.config import Config
from _jobqueue.keys import parse_keys
from _jobqueue.logs import Log
from _jobqueue.records import IN_PLACE, NEVER, Look, Warned
from _jobqueue.web.diagnosis import LEVELS, Patience
from _jobqueue.web.overview import Overview as PatientOverview
from _jobqueue.web.rates import WINDOW, paces, percentile
from jobqueue import JobQueue, NewJob, NotFound
from tests.harness import Server, System, eventually
from tests.played import Q, Worker, now_ms, tick


def Overview(jobs: JobQueue) -> PatientOverview:
    """One that misses a reaper at once."""
    return PatientOverview(jobs, Patience(0))


LONG = "it went\nwrong" + "!" * 500


@pytest.fixture
def crew(queue: JobQueue) -> Worker:
    return Worker(queue)


@pytest.fixture
def overview(queue: JobQueue) -> PatientOverview:
    return Overview(queue)


def findings(queue: JobQueue) -> list[tuple[str, str | None]]:
    return [(each["code"], each["queue"]) for each in Overview(queue).stats()["health"]]


def text_of(queue: JobQueue, code: str) -> str:
    (text,) = [each["text"] for each in Overview(queue).stats()["health"] if each["code"] == code]
    return str(text)


def waits_since(server: Server, job_id: str, ago_ms: int) -> None:
    server.client.hset(f"{Q}job:{job_id}", "created", now_ms(server) - ago_ms)


# ---------------------------------------------------------------------------------------------------------- health


def test_all_is_clear_when_nothing_is_wrong(queue: JobQueue, crew: Worker) -> None:
    assert findings(queue) == []
    queue.submit()
    crew.tend()
    assert findings(queue) == []


def test_jobs_that_wait_without_a_worker_are_an_error(queue: JobQueue, crew: Worker) -> None:
    queue.submit(), queue.submit()
    tick(queue)
    assert findings(queue) == [("no_worker", "default")]
    assert text_of(queue, "no_worker").startswith("2 jobs wait: no worker serves the queue default")
    crew.renew()
    assert findings(queue) == []


def test_a_type_that_waits_without_a_handler_is_named(queue: JobQueue, crew: Worker) -> None:
    for name in ("echo", "unknown", "unknown"):
        queue.submit(name)
    crew.tend()
    assert findings(queue) == [("no_handler", "default")]
    assert "the type unknown" in text_of(queue, "no_handler")


def test_without_any_reaper_there_is_one_sentence_else_one_for_each_queue(
    queue: JobQueue, server: Server, crew: Worker
) -> None:
    other = Worker(queue, queue="other")
    for each in (crew, other):
        queue.submit(queue=each.queue)
        each.renew()
    assert findings(queue) == [("no_reaper", None)]
    tick(queue, "other")
    assert findings(queue) == []  # a reaper that lives finds a new queue within a second
    tick(queue)
    server.client.hincrby(f"{Q}meta", "reaper", -16_000)
    assert findings(queue) == [("no_reaper", "default")]
    assert text_of(queue, "no_reaper").startswith("Queue default: no reaper is running")


def test_a_paused_queue_is_a_warning_that_explains_its_old_jobs(queue: JobQueue, server: Server, crew: Worker) -> None:
    waits_since(server, queue.submit().id, 3_600_000)
    queue.pause("default")
    crew.tend()
    assert findings(queue) == [("paused", "default")]


def test_a_job_that_has_waited_for_over_a_minute_is_a_warning(queue: JobQueue, server: Server, crew: Worker) -> None:
    job_id = queue.submit().id
    crew.tend()
    waits_since(server, job_id, 50_000)
    assert findings(queue) == []
    waits_since(server, job_id, 190_000)
    assert findings(queue) == [("old_job", "default")]
    assert "has waited for 3 min, 0 of 2 threads are busy" in text_of(queue, "old_job")


def test_a_delay_a_retry_and_run_now_begin_a_new_wait(queue: JobQueue, server: Server, crew: Worker) -> None:
    delayed, at_once = queue.submit(delay_s=60).id, queue.submit(delay_s=60).id
    again = queue.submit().id
    crew.claim()
    crew.end("failed")
    queue.retry(again)
    queue.run_now(at_once)
    assert (queue.get(at_once).run_at_ms or 0) <= now_ms(server)
    for job_id in (delayed, at_once, again):
        waits_since(server, job_id, 3_600_000)
    server.client.zadd(f"{Q}scheduled", {delayed: 1})
    server.client.hset(f"{Q}job:{delayed}", "due", now_ms(server) - 1)
    crew.tend()
    books = queue.books("default")
    assert books.sizes["queued"] == 3 and books.oldest_age_ms is not None and books.oldest_age_ms < 30_000
    assert [job.waited_ms for job in crew.claim(3) if job.waited_ms is None or job.waited_ms > 30_000] == []


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


def test_processes_that_are_set_differently_are_a_warning(queue: JobQueue, crew: Worker) -> None:
    queue.submit()
    crew.also = {"lease_s": 10.0}
    crew.tend()
    transaction = queue.recovery.transaction("default")
    transaction.promote(1, lease_ms=10_000)
    transaction.execute()
    assert findings(queue) == []
    crew.also = {"lease_s": 30.0}
    crew.renew()
    assert findings(queue) == [("leases_differ", "default")]
    assert "PROCESSING_TIMEOUT_S is 10 for this API, 30 for worker w: set it alike" in text_of(queue, "leases_differ")
    crew.also = {"lease_s": 10.0}
    crew.renew()
    transaction = queue.recovery.transaction("default")
    transaction.promote(1, lease_ms=2_000)
    transaction.execute()
    assert "is 10 for this API, 2 for the reaper: set it" in text_of(queue, "leases_differ")


def test_a_worker_whose_beat_is_lost_is_a_warning(queue: JobQueue, server: Server, crew: Worker) -> None:
    queue.submit()
    crew.tend()
    server.client.zincrby(f"{Q}workers", -16_000, "w")
    assert findings(queue) == [("no_worker", "default"), ("worker_lost", "default")]
    (row,) = Overview(queue).stats()["workers"]
    assert row["lost"] and re.search("1[6-9] s ago", text_of(queue, "worker_lost"))


def test_a_lost_worker_runs_nothing(queue: JobQueue, server: Server, crew: Worker) -> None:
    job_id = queue.submit().id
    crew.claim()
    crew.renew()
    (row,) = Overview(queue).stats()["workers"]
    assert [run["job_id"] for run in row["running"]] == [job_id]
    server.client.zincrby(f"{Q}workers", -16_000, "w")
    (row,) = Overview(queue).stats()["workers"]
    assert row["lost"] and row["running"] == []


def test_what_is_wrong_has_an_id_of_its_own_that_stays(queue: JobQueue, server: Server, crew: Worker) -> None:
    for name in ("first", "second"):
        queue.submit(name)
        Worker(queue, name).renew()
        server.client.zincrby(f"{Q}workers", -16_000, name)
    crew.tend()

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


def test_new_dead_letters_are_a_warning_until_they_are_retried(queue: JobQueue, server: Server, crew: Worker) -> None:
    queue.submit()
    crew.claim()
    crew.end("failed")
    crew.tend()
    assert findings(queue) == [("dead_letters", "default")]
    assert "1 new dead letter " in text_of(queue, "dead_letters")
    queue.requeue_dead("default")
    assert findings(queue) == []


def test_old_dead_letters_are_no_news(queue: JobQueue, server: Server, crew: Worker) -> None:
    queue.submit()
    crew.claim()
    crew.end("failed")
    crew.tend()
    for minute in server.client.keys(f"{Q}stats:*"):
        server.client.rename(minute, f"{Q}stats:{int(minute.rpartition(':')[2]) - 30}")
    assert findings(queue) == []


def test_books_that_do_not_balance_are_an_error(queue: JobQueue, server: Server, crew: Worker) -> None:
    queue.submit()
    crew.tend()
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


# ----------------------------------------------------------------------------------------------------------- rates


def past(server: Server, minutes_ago: int, queue: str = "default", **counts: int) -> str:
    """Write the counters of a minute; its key."""
    key = f"jq:{{{queue}}}:stats:{now_ms(server) // 60_000 - minutes_ago}"
    server.client.hset(key, mapping={name.replace("__", ":"): n for name, n in counts.items()})
    return key


def test_minutes_are_an_hour_of_all_queues_together(queue: JobQueue, server: Server, overview: PatientOverview) -> None:
    for name in ("default", "mail"):
        queue.submit(queue=name)
    past(server, 30, submitted=3, done=2, failed=1, retried=5, oldest_ms=7000)
    past(server, 30, "mail", submitted=4, oldest_ms=9000)
    minutes = overview.stats()["minutes"]
    assert [minute["at"] for minute in minutes] == sorted({minute["at"] for minute in minutes}) and len(minutes) == 60
    (found,) = [minute for minute in minutes if minute["submitted"] == 7]
    wanted = {"submitted": 7, "done": 2, "failed": 1, "retried": 5, "oldest_ms": 9000, "run_p50_ms": None}
    assert found.items() >= wanted.items()
    assert sum(minute["submitted"] for minute in minutes) == 9 and minutes[0]["oldest_ms"] is None


def test_minutes_that_are_over_are_read_once_and_those_of_another_redis_forgotten(
    queue: JobQueue, server: Server, overview: PatientOverview, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    looks = queue.looks
    monkeypatch.setattr(queue, "looks", lambda **args: asked.append(args["minutes"]) or looks(**args))
    queue.submit(), queue.submit()
    key = past(server, 30, submitted=3)
    for _ in range(3):
        assert sum(minute["submitted"] for minute in overview.stats()["minutes"]) == 5
        server.client.delete(key)
    assert asked.count(60) == 1 and asked.count(WINDOW) == 3
    server.client.flushall()
    JobQueue(server.url).submit()  # the other still knows the number that the queue had
    assert sum(minute["submitted"] for minute in overview.stats()["minutes"]) == 1


def test_a_minute_is_read_again_until_it_is_over(queue: JobQueue, server: Server, overview: PatientOverview) -> None:
    queue.submit()
    past(server, 3, done=1)
    overview.stats()
    past(server, 1, done=5)
    past(server, 0, done=7)
    assert sum(minute["done"] for minute in overview.stats()["minutes"]) == 13


def test_a_poll_across_the_turn_of_a_minute_loses_nothing(
    queue: JobQueue, overview: PatientOverview, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue.submit(queue="a"), queue.submit(queue="b")
    seen, now = queue.look("a"), {"a": 1000, "b": 1000}

    def look(queue: str, *, minutes: int, jobs: int) -> Look:
        books, last = replace(seen.books, now_ms=now[queue] * 60_000), now[queue]
        return replace(seen, books=books, minutes={last - ago: {"done": 1} for ago in range(minutes)})

    monkeypatch.setattr(queue, "looks", lambda **args: {name: look(name, **args) for name in ("a", "b")})
    for now["a"], now["b"] in ((1000, 1000), (1000, 1001), (1001, 1001), (1003, 1003)):
        minutes = [minute["done"] for minute in overview.stats()["minutes"]]
    assert minutes == [2] * 60


@pytest.mark.parametrize("later", [1, 5, 6, 7, 59])
def test_a_minute_that_was_not_over_is_read_again_however_much_later(
    later: int, queue: JobQueue, overview: PatientOverview, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue.submit()
    seen, counted, now = queue.look("default"), {1000: {"done": 1}}, 1000

    def look(queue: str, *, minutes: int, jobs: int) -> Look:
        books = replace(seen.books, now_ms=now * 60_000)
        return replace(seen, books=books, minutes={now - ago: counted.get(now - ago, {}) for ago in range(minutes)})

    monkeypatch.setattr(queue, "looks", lambda **args: {"default": look("default", **args)})
    assert sum(minute["done"] for minute in overview.stats()["minutes"]) == 1
    counted[1000], now = {"done": 5}, 1000 + later
    assert sum(minute["done"] for minute in overview.stats()["minutes"]) == 5


@pytest.mark.parametrize(
    "counts, p50, p95",
    [
        ({}, None, None),
        ({"run:10": 1}, 8, 10),  # evenly spread from 5 to 10
        ({"run:1": 50, "run:100": 50}, 1, 95),
        ({"run:1": 100, "run:inf": 900}, 1_800_000, 1_800_000),
        ({"run:5": 19, "run:1000": 1}, 3, 5),
    ],
)
def test_percentiles_are_interpolated_inside_their_bucket(counts: dict[str, int], p50: Any, p95: Any) -> None:
    assert (percentile(counts, "run", 0.5), percentile(counts, "run", 0.95)) == (p50, p95)


def test_rates_are_those_of_the_last_minutes(queue: JobQueue, server: Server, overview: PatientOverview) -> None:
    assert overview.stats()["rates"]["error_rate"] is None
    queue.submit()
    past(server, 40, done=1000, errors__error=1000, run__1000=1000)
    past(server, 3, done=300, failed=50, errors__error=50, errors__timeout=50, run__100=400, wait__10=300)
    rates = overview.stats()["rates"]
    assert rates["error_rate"] == 0.25 and (rates["run_p50_ms"], rates["wait_p95_ms"]) == (75, 10)
    # Since the first minute of the window in which anything happened: 3 and a part of this one.
    assert 80 < rates["finished_per_minute"] < 117 and 11 < rates["failed_per_minute"] < 17


def test_a_queue_tells_how_long_it_takes_to_drain(queue: JobQueue, server: Server, crew: Worker) -> None:
    def row() -> Any:
        return Overview(queue).stats()["queues"][0]

    assert [queue.submit() for _ in range(30)] and row()["drain_s"] is None
    past(server, 0, done=50, failed=10)
    assert row()["drain_s"] == pytest.approx(30, rel=0.1) and row()["done_per_minute"] == pytest.approx(50, rel=0.1)
    crew.claim(2)
    crew.tend()
    assert [row()[name] for name in ("workers", "threads", "busy", "reaper")] == [1, 2, 2, True]
    queue.pause("default")
    assert row()["drain_s"] is None


def test_the_time_to_drain_goes_by_the_last_minute_of_work(queue: JobQueue, server: Server) -> None:
    queue.submit_many([NewJob("echo", n) for n in range(30)])
    past(server, 5, done=6)
    past(server, 0, done=50, failed=10)
    (row,) = Overview(queue).stats()["queues"]
    assert row["drain_s"] == pytest.approx(30, rel=0.1)  # not at the pace of all these minutes, which were mostly idle
    assert row["growth_per_minute"] == pytest.approx(-30, abs=3)


def test_jobs_that_take_minutes_are_drained_at_the_pace_of_the_last_few(queue: JobQueue, server: Server) -> None:
    queue.submit_many([NewJob("echo", n) for n in range(3)])
    past(server, 4, done=4)
    (row,) = Overview(queue).stats()["queues"]
    assert row["drain_s"] == pytest.approx(60 * 3 / (4 / 4.5), rel=0.15) and row["done_per_minute"] == 0


@pytest.mark.parametrize("passed_s", [0, 15, 45, 59])
def test_a_steady_pace_is_told_as_it_is_at_any_moment_of_a_minute(queue: JobQueue, passed_s: int) -> None:
    queue.submit()
    seen = queue.look("default")
    books = replace(seen.books, now_ms=1000 * 60_000 + passed_s * 1000)
    counted = {1000: {"done": passed_s}, 999: {"done": 60}, 998: {"done": 5000}}
    assert paces(replace(seen, books=books, minutes=counted), "done") == [pytest.approx(60)]


def test_a_queue_that_grows_says_by_how_much(queue: JobQueue, server: Server) -> None:
    queue.submit_many([NewJob("echo", n) for n in range(30)])
    server.client.delete(*server.client.keys(f"{Q}stats:*"))
    past(server, 0, submitted=329, done=80, failed=4)
    (row,) = Overview(queue).stats()["queues"]
    assert row["growth_per_minute"] == pytest.approx(245, abs=6)


def test_the_reaper_notes_how_long_jobs_have_waited_at_most(queue: JobQueue, server: Server, crew: Worker) -> None:
    waits_since(server, queue.submit().id, 90_000)
    queue.submit()
    server.client.delete(*server.client.keys(f"{Q}stats:*"))
    tick(queue)
    crew.claim()
    tick(queue)
    noted = [minute["oldest_ms"] for minute in Overview(queue).stats()["minutes"] if minute["oldest_ms"]]
    assert 90_000 <= max(noted) < 150_000
    for key in server.client.keys(f"{Q}stats:*"):
        assert 0 < server.client.ttl(key) <= 10_800


# --------------------------------------------------------------------------------------------------------- explain


def explained(queue: JobQueue, job_id: str) -> tuple[str, str]:
    answer = Overview(queue).explain(job_id)
    assert answer["job"]["job_id"] == job_id
    return answer["code"], answer["explanation"]


def test_a_queued_job_tells_what_it_waits_for(queue: JobQueue, server: Server, crew: Worker) -> None:
    first, second, third = (queue.submit().id for _ in range(3))
    assert explained(queue, first)[0] == "no_worker"
    crew.renew()
    assert explained(queue, second) == ("ready", "It will be claimed at once: 2 of 2 threads are free.")
    assert explained(queue, third)[0] == "waiting"
    for _ in range(2):
        queue.submit(priority="high")
    crew.claim(2)
    crew.renew()
    assert explained(queue, first)[0] == "ready" and "It is next: all 2 threads are busy" in explained(queue, first)[1]
    assert explained(queue, third) == ("waiting", "2 jobs come before it, and 2 of 2 threads are busy.")
    past(server, 0, done=10)
    assert "At 10 a minute that takes about 12 s." in explained(queue, third)[1]
    queue.pause("default")
    assert explained(queue, first)[0] == "paused"


def test_a_job_that_no_worker_can_handle_says_so(queue: JobQueue, crew: Worker) -> None:
    job_id = queue.submit("unknown").id
    crew.renew()
    assert explained(queue, job_id)[0] == "no_handler" and "the type unknown" in explained(queue, job_id)[1]


def test_a_scheduled_job_tells_when_and_why_then(queue: JobQueue, crew: Worker) -> None:
    delayed, retried = queue.submit(delay_s=3600).id, queue.submit(max_attempts=3).id
    assert explained(queue, delayed)[0] == "no_reaper"
    crew.claim()
    crew.end("failed", delay_ms=5000, message=LONG)
    tick(queue)
    assert explained(queue, delayed)[0] == "delayed" and "in 60 min" in explained(queue, delayed)[1]
    code, text = explained(queue, retried)
    assert code == "backoff"
    assert text.startswith("Attempt 1 of 3 failed with Boom: it went wrong!") and len(text) < 400
    assert "Attempt 2 is due at " in text


def test_a_running_job_tells_where_it_is(queue: JobQueue, server: Server, crew: Worker) -> None:
    job_id = queue.submit().id
    crew.claim()
    crew.renew("progress", '{"fraction": 0.3, "note": "reading"}')
    queue.cancel(job_id)
    code, text = explained(queue, job_id)
    assert code == "running" and text.startswith("Attempt 1 of 2 has been running for ")
    assert text.endswith(" on worker w, 30% done (reading), its handler was asked to stop.")
    server.client.zincrby(f"{Q}workers", -16_000, "w")
    assert "not heard of any more" in explained(queue, job_id)[1] and "no reaper" in explained(queue, job_id)[1]


def test_an_error_whose_message_names_its_kind_is_not_named_twice(queue: JobQueue, crew: Worker) -> None:
    job_id = queue.submit(max_attempts=1).id
    crew.claim()
    crew.end("failed", message="Boom: it burst")
    assert explained(queue, job_id)[1].endswith("its last, ended with Boom: it burst.")


def test_an_ended_job_tells_what_happened(queue: JobQueue, crew: Worker) -> None:
    done, spent, given_up, stopped, cancelled = (queue.submit(max_attempts=n).id for n in (2, 1, 2, 2, 2))
    for outcome in ("done", "failed", "failed", "cancelled"):
        crew.claim()
        crew.end(outcome, delay_ms=IN_PLACE if outcome == "failed" and crew.talk.seq == 2 else NEVER)
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


# -------------------------------------------------------------------------------------------------- over HTTP, and check


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
    assert (answer.status_code, answer.json()["code"]) == (404, "job_not_found")
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
    config = Config(redis_url="redis://user:secret@here/0", api_keys=parse_keys(f"me:read:{'ab' * 32}"))
    shown = overview.system(config)["config"]
    assert "secret" not in str(shown) and "abab" not in str(shown) and "here" in shown["redis_url"]


def test_a_worker_of_another_version_does_not_break_the_answer(queue: JobQueue, crew: Worker) -> None:
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
