"""Figures by job type: what waits of each, what workers and reapers count of each, and that all of it is bounded."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from _jobqueue.by_type import OTHER, TYPES_KEPT, ByType, counts_of, of_each, text_of
from _jobqueue.records import DAY_MS, Held
from _jobqueue.store import by_type
from jobqueue import JobQueue, NewJob, Policy
from tests.harness import Server
from tests.played import UNHANDLED_MS, Q, Worker, ids, now_ms, passes, tick


def look(queue: JobQueue) -> ByType:
    return queue.by_type(minutes=2)["default"]


def waiting(queue: JobQueue) -> dict[str, int]:
    return {name: round(each.jobs) for name, each in look(queue).waiting.items()}


def submit(queue: JobQueue, *types: str, **options: Any) -> list[str]:
    return [answer.job.id for answer in queue.submit_many([NewJob(t, **options) for t in types]) if answer.job]


def ever(queue: JobQueue, job_type: str) -> dict[str, int]:
    return {name: n for name, n in look(queue).ever.get(job_type, {}).items() if name != "since"}


def tell(worker: Worker, counts: dict[str, dict[str, int]]) -> None:
    worker.presence.beat({"host": "here", "threads": 1, "types": [], "running": []}, worker.policies, (), counts)


# ------------------------------------------------------------------------------------------------------------ waiting


def test_short_queue_is_counted_exactly_parked_and_paused_jobs_too(queue: JobQueue) -> None:
    mail = Worker(queue, "mail").handles("mail")
    submit(queue, "image", "image", priority=9)
    submit(queue, "mail", "report", "mail")
    assert [job.type for job in mail.claim(1)] == ["mail"]
    queue.pause_type("default", "report")
    submit(queue, "report", "image", priority=1)
    assert look(queue).exact and waiting(queue) == {"image": 3, "report": 2, "mail": 1}
    assert waiting(queue) == Counter(queue.get(job.id).type for job in queue.page().jobs if job.status == "queued")


def test_oldest_job_of_each_type_is_told(queue: JobQueue, server: Server) -> None:
    old, _, parked = submit(queue, "mail", "mail", "image")
    for job_id, ago in ((old, 50_000), (parked, 70_000)):
        server.client.hset(f"{Q}job:{job_id}", "created", now_ms(server) - ago)
    for _ in range(2):  # parked, the second time
        found = look(queue)
        ages = {name: found.now_ms - each.since_ms for name, each in found.waiting.items()}
        assert 50_000 <= ages["mail"] < 60_000 and 70_000 <= ages["image"] < 80_000
        Worker(queue, "none").handles("none").claim()


def test_jobs_that_came_lately_are_told_apart(queue: JobQueue, server: Server) -> None:
    before = submit(queue, *["mail"] * 10)
    for job_id in before:
        server.client.hset(f"{Q}job:{job_id}", "created", now_ms(server) - 600_000)
    server.client.delete(*server.client.keys(f"{Q}stats:*"))
    submit(queue, *["mail"] * 3, *["image"] * 2)
    found = look(queue).waiting
    assert {name: (each.jobs, each.came) for name, each in found.items()} == {"mail": (13, 3), "image": (2, 2)}
    Worker(queue, "none").handles("none").claim()
    found = look(queue).waiting
    assert {name: (each.jobs, each.came) for name, each in found.items()} == {"mail": (13, 3), "image": (2, 2)}


def test_long_queue_is_estimated_from_a_bounded_number_of_jobs(
    queue: JobQueue, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(by_type, "LOOKS", 200)
    submit(queue, *["mail"] * 1500, *["image"] * 500)
    server.client.delete(*server.client.keys(f"{Q}stats:*"))
    submit(queue, *["report"] * 300, priority=1)
    before = server.client.info("commandstats")["cmdstat_hmget"]["calls"]
    found = look(queue)
    assert server.client.info("commandstats")["cmdstat_hmget"]["calls"] - before <= 210
    assert not found.exact
    jobs = {name: each.jobs for name, each in found.waiting.items()}
    assert sum(jobs.values()) == pytest.approx(2300, abs=1)
    assert jobs["mail"] == pytest.approx(1500, rel=0.05) and jobs["report"] == pytest.approx(300, rel=0.05)


def test_lanes_that_are_looked_at_are_bounded_and_nothing_is_left_out_of_the_sum(queue: JobQueue) -> None:
    submit(queue, *(f"t{n}" for n in range(240)))
    Worker(queue, "none").handles("none").claim()
    found = look(queue)
    assert not found.exact and len(found.waiting) == 201
    assert sum(each.jobs for each in found.waiting.values()) == 240 and found.waiting[OTHER].jobs == 40


def test_looks_at_many_queues_are_shared_out(queue: JobQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a", "b", "c", "d"):
        queue.submit_many([NewJob("mail", queue=name) for _ in range(30)])
    monkeypatch.setattr(by_type, "LOOKS_OF_ALL", 40)
    found = queue.by_type()
    assert not any(each.exact for each in found.values())
    assert all(each.waiting["mail"].jobs == pytest.approx(30) for each in found.values())


# ----------------------------------------------------------------------------------------------------------- counters


def test_beat_adds_to_the_counters_of_each_type_and_to_those_of_the_queue(queue: JobQueue, server: Server) -> None:
    queue.register("default")
    worker = Worker(queue)
    for _ in range(2):
        tell(worker, {"mail": {"done": 3, "run:10": 3}, "image": {"failed": 1, "run:10": 1}})
    assert ever(queue, "mail") == {"done": 6, "run:10": 6} and ever(queue, "image") == {"failed": 2, "run:10": 2}
    totals = queue.books("default").totals
    assert totals["run:10"] == 8 and "done" not in totals and "failed" not in totals
    assert sum(types.get("mail", {}).get("done", 0) for types in look(queue).minutes.values()) == 6
    for key in (f"{Q}by_type", f"{Q}counted", *server.client.keys(f"{Q}by_type:*")):
        assert 0 < server.client.ttl(key) <= 172_800


def test_attempts_that_the_reaper_takes_back_count_as_failed(queue: JobQueue, server: Server) -> None:
    submit(queue, "mail", "mail", "image", max_attempts=1)
    claimed = Worker(queue).claim(3)
    passes(server, "leases", *claimed)
    assert tick(queue) == ["failed"] * 3
    assert (ever(queue, "mail"), ever(queue, "image")) == ({"failed": 2}, {"failed": 1})


def test_jobs_that_nobody_handles_count_as_failed_when_they_end(queue: JobQueue, server: Server) -> None:
    Worker(queue).beat()
    (old,) = submit(queue, "lonely")
    server.client.hset(f"{Q}job:{old}", "created", now_ms(server) - 2 * UNHANDLED_MS)
    server.client.hset(f"{Q}meta", "untold", now_ms(server) - 2 * UNHANDLED_MS)
    server.client.delete(f"{Q}workers")
    tick(queue)
    assert queue.get(old).status == "failed" and ever(queue, "lonely") == {"failed": 1}


def test_types_of_a_queue_are_bounded_and_dropped_again(queue: JobQueue, server: Server) -> None:
    queue.register("default")
    worker = Worker(queue)
    for step in range(3):
        tell(worker, {f"t{step}.{n}": {"done": 1} for n in range(150)})
    found = look(queue)
    assert len(found.ever) == TYPES_KEPT and found.ever[OTHER]["done"] == 450 - (TYPES_KEPT - 1)
    assert all(len(types) <= TYPES_KEPT for types in found.minutes.values())
    assert server.client.memory_usage(f"{Q}by_type", samples=0) < 100_000
    server.client.zadd(f"{Q}counted", {f"t0.{n}": now_ms(server) - DAY_MS - 1 for n in range(150)})
    tick(queue)
    assert len(look(queue).ever) == TYPES_KEPT - 150
    tell(worker, {"new": {"done": 1}})
    assert ever(queue, "new") == {"done": 1}


def test_worker_tells_of_a_bounded_number_of_types() -> None:
    apart = of_each({f"t{slot}.{n}": {"run:1": 1} for n in range(500)} for slot in range(2))
    assert len(apart) == TYPES_KEPT and apart[OTHER] == {"run:1": 1000 - (TYPES_KEPT - 1)}


@pytest.mark.parametrize("key", ["by_type", "counted"])
def test_figures_that_a_hand_has_spoiled_stop_no_beat_and_no_reaper(key: str, queue: JobQueue, server: Server) -> None:
    submit(queue, "mail", "mail")
    worker = Worker(queue)
    kept, lost = worker.claim(2)
    server.client.set(f"{Q}{key}", "spoiled")
    passes(server, "leases", kept, lost)
    counts = {"mail": {"done": 1}}
    held = [Held(kept.id, kept.token, 60_000)]
    assert worker.presence.beat({"threads": 1}, worker.policies, held, counts)[1] == ["ok"]
    assert tick(queue) == ["queued"]
    assert queue.get(kept.id).status == "processing"


def test_jobs_cost_no_command_more(queue: JobQueue, server: Server) -> None:
    submit(queue, *["mail"] * 5)
    worker = Worker(queue).handles("mail")
    worker.give("done", 5)
    assert not server.client.exists(f"{Q}by_type", f"{Q}counted")


def test_forgotten_queue_leaves_no_figures(queue: JobQueue, server: Server) -> None:
    queue.register("default")
    tell(Worker(queue), {"mail": {"done": 1}})
    server.client.delete(f"{Q}workers")
    queue.delete_queue("default")
    assert not server.client.exists(f"{Q}by_type", f"{Q}counted")


def test_counters_are_read_as_they_are_written() -> None:
    counts = {"done": 3, "run:sum": 17 * 10**12}
    assert counts_of(text_of(counts).encode()) == counts
    assert counts_of(b'{"done":3,"run:sum":1.7e+13}') == {"done": 3, "run:sum": 17 * 10**12}, "as Lua may write it"


# ---------------------------------------------------------------------------------------- types of handlers that are gone


def aged_kit(server: Server, worker: Worker) -> None:
    server.client.zadd(f"{Q}kits", {worker.talk.kit: now_ms(server) - UNHANDLED_MS - 1})


def test_types_that_are_in_no_kit_any_more_are_dropped(queue: JobQueue, server: Server) -> None:
    queue.register("default")
    kept, gone = Worker(queue, "kept").handles("mail", "image"), Worker(queue, "gone").handles("mail", "old")
    server.client.hset(f"{Q}meta", "untold", now_ms(server) - UNHANDLED_MS - 1)
    tick(queue)
    assert server.client.hkeys(f"{Q}types") == ["mail", "image", "old"]
    aged_kit(server, gone)
    tick(queue)
    assert server.client.hkeys(f"{Q}types") == server.client.hkeys(f"{Q}backoffs") == ["mail", "image"]
    assert queue.published("default").keys() == {"mail", "image"}
    kept.beat(old=Policy())
    assert "old" in server.client.hkeys(f"{Q}types")


def test_types_stay_while_a_worker_without_a_kit_may_have_handled_them(queue: JobQueue, server: Server) -> None:
    queue.register("default")
    gone = Worker(queue, "gone").handles("old")
    server.client.hset(f"{Q}meta", "untold", now_ms(server) - UNHANDLED_MS // 2)
    aged_kit(server, gone)
    tick(queue)
    assert server.client.hkeys(f"{Q}types") == ["old"]


def test_figures_of_an_old_worker_are_not_missed(queue: JobQueue, server: Server) -> None:
    """One that publishes no kit and counts nothing by type does no harm."""
    submit(queue, "mail")
    server.client.zadd(f"{Q}workers", {"old": now_ms(server)})
    server.client.set(f"{Q}worker:old", '{"threads": 1, "types": ["mail"], "running": []}')
    assert waiting(queue) == {"mail": 1} and look(queue).ever == {}
    assert ids(queue.page().jobs)
