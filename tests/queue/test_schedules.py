"""Schedules on a real Redis: each due time fires once, whoever looks, dies or says it twice.

Time passes by moving due times: nothing here waits."""

from __future__ import annotations

import itertools
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from _jobqueue.errors import Invalid
from _jobqueue.schedules import MAX_SCHEDULES, Planned, Schedule
from _jobqueue.store.ids import queue_number_of
from jobqueue import Conflict, JobQueue, Limit, NotFound, Unavailable
from tests.faults.proxy import MOMENTS, Message, Proxy, Rule, Strike
from tests.harness import Server
from tests.played import HOUR_MS, Q, Worker, now_ms, run_script, snapshot, total

pytestmark = pytest.mark.usefixtures("in_the_end_all_is_well")


def put(queue: JobQueue, name: str = "nightly", **members: Any) -> Planned:
    given = {"type": "echo", "every_s": 3600} | members
    return queue.schedules.put("default", name, Schedule.of_json(given))[0]


def is_due(server: Server, name: str = "nightly", ago_ms: int = 1) -> int:
    due_ms = now_ms(server) - ago_ms
    server.client.zadd(f"{Q}schedules", {name: due_ms}, xx=True)
    return due_ms


def fire(queue: JobQueue) -> dict[str, int]:
    def say(name: str, error: Exception) -> None:
        raise error

    return dict(queue.schedules.fire("default", 1000, say))


def jobs_of(queue: JobQueue) -> list[Any]:
    return [queue.get(job.id) for job in queue.page(limit=200).jobs]


# ----------------------------------------------------------------------------------------------------------- to fire


def test_due_schedule_submits_its_job_once_and_waits_for_the_next_time(queue: JobQueue, server: Server) -> None:
    put(queue, type="report", payload={"n": 1}, priority="high", tags=["a"], timeout_s=5)
    due_ms = is_due(server)
    assert [fire(queue), fire(queue)] == [{"fired": 1}, {}]
    [job] = jobs_of(queue)
    assert (job.type, job.payload, job.priority, job.tags, job.timeout_ms) == ("report", {"n": 1}, 9, ["a"], 5000)
    assert (job.schedule, job.scheduled_for_ms, job.status) == ("nightly", due_ms, "queued")
    planned = queue.schedules.get("default", "nightly")
    assert planned.due_ms is not None and now_ms(server) < planned.due_ms <= now_ms(server) + HOUR_MS
    assert (planned.last_outcome, planned.last_job, planned.last_status) == ("fired", job.id, "queued")
    assert (planned.last_due_ms, planned.counts) == (due_ms, {"fired": 1, "late": 0, "skipped": 0, "missed": 0})
    assert (total(queue, "schedules_fired"), total(queue, "submitted")) == (1, 1)


def test_job_of_a_schedule_is_limited(queue: JobQueue, server: Server, worker: Worker) -> None:
    queue.limits.put("default", "api", Limit(max_running=1))
    put(queue, limits=["api"], overlap="allow")
    is_due(server)
    assert fire(queue) == {"fired": 1}
    queue.schedules.run("default", "nightly")
    assert [job.limits for job in jobs_of(queue)] == [["api"]] * 2
    assert len(worker.handles("echo").claim()) == 1
    assert Worker(queue, "other").handles("echo").claim() == []


@pytest.mark.parametrize("n", [0, 40, 100, 3000, 5000])
def test_payload_of_any_size_arrives_as_it_was(n: int, queue: JobQueue, server: Server, worker: Worker) -> None:
    put(queue, payload="ä" * n)
    is_due(server)
    fire(queue)
    [job] = jobs_of(queue)
    assert job.payload == "ä" * n
    [shown] = queue.schedules.page(["default"], 10)[0]
    whole = n < 1024
    assert (shown.preview is None, shown.as_dict()["payload"]) == (whole, "ä" * n if whole else None)


def test_id_of_a_job_follows_from_queue_name_and_due_time(queue: JobQueue, server: Server) -> None:
    put(queue, overlap="allow")
    due_ms = is_due(server)
    fire(queue)
    server.client.zadd(f"{Q}schedules", {"nightly": due_ms})  # as after a failover to an older state
    assert fire(queue) == {"fired": 1}
    [job] = jobs_of(queue)
    assert queue.queue_of(job.id) == "default" and queue_number_of(job.id) == 0
    assert total(queue, "schedules_fired") == 1


def test_fire_sent_twice_fires_once(queue: JobQueue, server: Server) -> None:
    put(queue, overlap="allow")
    is_due(server)
    planned = queue.schedules.get("default", "nightly")
    [call] = queue.schedules._calls(planned, (0, True))
    assert run_script(queue, "fire", "default", call)[0] == b"fired"
    before = snapshot(server)
    assert run_script(queue, "fire", "default", call) == [b"moved"]
    assert snapshot(server) == before


def test_changed_paused_and_deleted_schedules_do_not_fire_for_one_who_read_them_before(
    queue: JobQueue, server: Server
) -> None:
    changes: dict[str, Callable[[], object]] = {
        "changed": lambda: put(queue, "changed", payload=2),
        "paused": lambda: queue.schedules.pause("default", "paused"),
        "deleted": lambda: queue.schedules.delete("default", "deleted"),
        "made anew": lambda: [queue.schedules.delete("default", "made.anew"), put(queue, "made.anew", payload=3)],
    }
    for name, change in changes.items():
        name = name.replace(" ", ".")
        put(queue, name)
        is_due(server, name)
        [call] = queue.schedules._calls(queue.schedules.get("default", name), (0, True))
        change()
        assert run_script(queue, "fire", "default", call) == [b"moved"], name
    assert jobs_of(queue) == []


def test_reaper_that_stood_still_too_long_makes_no_late_job(queue: JobQueue, server: Server) -> None:
    put(queue, grace_s=60)
    is_due(server, ago_ms=60_000)
    planned = queue.schedules.get("default", "nightly")
    [call] = queue.schedules._calls(planned, (0, True))
    call[6] = planned.now_ms - 1  # what it read then
    before = snapshot(server)
    assert run_script(queue, "fire", "default", call) == [b"late"]
    assert snapshot(server) == before
    is_due(server, ago_ms=60_001)
    assert fire(queue) == {"missed": 1}


def test_last_job_that_has_not_ended_lets_a_due_time_be_skipped(
    queue: JobQueue, server: Server, worker: Worker
) -> None:
    put(queue)
    said = []
    for _ in range(3):
        is_due(server)
        said.append(fire(queue))
    assert said == [{"fired": 1}, {"skipped": 1}, {"skipped": 1}]
    worker.give("done")
    is_due(server)
    assert fire(queue) == {"fired": 1}
    planned = queue.schedules.get("default", "nightly")
    assert planned.counts == {"fired": 2, "late": 0, "skipped": 2, "missed": 0}
    assert total(queue, "schedules_skipped") == 2


def test_unique_key_that_is_held_lets_a_due_time_be_skipped(queue: JobQueue, server: Server) -> None:
    put(queue, unique_key="one", overlap="allow")
    queue.submit(unique_key="one")
    is_due(server)
    assert fire(queue) == {"skipped": 1}


def test_down_over_due_times_one_run_is_made_up_for_or_all_or_none(queue: JobQueue, server: Server) -> None:
    for missed in ("one", "none", "all"):
        put(queue, missed, missed=missed, overlap="allow")
        is_due(server, missed, ago_ms=5 * HOUR_MS + 20_000)
    assert fire(queue) == {"fired": 7, "missed": 1}
    made = Counter(job.schedule for job in jobs_of(queue))
    assert made == {"one": 1, "all": 6}
    counts = {planned.name: planned.counts for planned in queue.schedules.page(["default"], 10)[0]}
    assert counts == {
        "one": {"fired": 1, "late": 1, "skipped": 0, "missed": 5},
        "none": {"fired": 0, "late": 0, "skipped": 0, "missed": 6},
        "all": {"fired": 6, "late": 6, "skipped": 0, "missed": 0},
    }
    assert (total(queue, "schedules_missed"), total(queue, "schedules_late")) == (11, 7)


def test_refused_job_counts_as_missed(queue: JobQueue, server: Server) -> None:
    server.client.sadd(f"{Q}strange", *[f"t{n}" for n in range(1000)])
    put(queue, type="one.more")
    is_due(server)
    assert fire(queue) == {"refused": 1}
    planned = queue.schedules.get("default", "nightly")
    assert (planned.last_outcome, planned.counts and planned.counts["missed"], jobs_of(queue)) == ("refused", 1, [])
    server.client.delete(f"{Q}strange")


def test_last_due_time_ends_a_schedule(queue: JobQueue, server: Server) -> None:
    put(queue, every_s=10, ends_at="2099-01-01T00:00:00Z")
    rule = server.client.hget(f"{Q}schedule:nightly", "rule")
    server.client.hset(f"{Q}schedule:nightly", "rule", rule.replace("2099", "2020"))
    is_due(server)
    assert fire(queue) == {"fired": 1}
    assert queue.schedules.get("default", "nightly").next_times() == []
    assert server.client.zscore(f"{Q}schedules", "nightly") == float("inf")


def test_schedule_that_cannot_be_read_holds_up_no_other(queue: JobQueue, server: Server) -> None:
    for name in ("broken", "good"):
        put(queue, name)
    server.client.hset(f"{Q}schedule:broken", "rule", '{"every_s": 60, "from.a.later.release": 1, "anchor_ms": 0}')
    is_due(server, "broken", 10), is_due(server, "good", 5)
    told: list[str] = []
    assert queue.schedules.fire("default", 100, lambda name, error: told.append(name)) == {"fired": 1}
    assert told == ["broken"]
    queue.schedules.delete("default", "broken")


def test_full_redis_refuses_a_fire_as_a_whole_and_it_fires_when_there_is_room(
    queue: JobQueue, own_server: Server
) -> None:
    queue = JobQueue(own_server.url)
    put(queue)
    due_ms = now_ms(own_server) - 1
    own_server.client.zadd(f"{Q}schedules", {"nightly": due_ms})
    own_server.client.config_set("maxmemory", 1)
    before = snapshot(own_server)
    with pytest.raises(Unavailable):
        fire(queue)
    assert snapshot(own_server) == before
    own_server.client.config_set("maxmemory", 0)
    assert fire(queue) == {"fired": 1}
    assert queue.check("default") == []


# -------------------------------------------------------------------------------------------------------- many, and killed


def test_many_reapers_fire_each_due_time_once(url: str, queue: JobQueue, server: Server) -> None:
    names = [f"s{n}" for n in range(60)]
    for name in names:
        put(queue, name, missed="all", overlap="allow")
        is_due(server, name, ago_ms=3 * HOUR_MS)
    told: list[dict[str, int]] = []

    def reap() -> None:
        told.append(fire(JobQueue(url)))

    threads = [threading.Thread(target=reap) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (
        sum(each.get("fired", 0) for each in told)
        == 240
        == total(queue, "schedules_fired")
        == total(queue, "submitted")
    )


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("retries", [0, 2], ids=["killed", "cut"])
def test_reaper_struck_at_any_message_leaves_the_rest_to_the_next(
    moment: str, retries: int, queue: JobQueue, server: Server, proxy: Proxy
) -> None:
    """With no tries left its connection's end is its own: whoever comes next finds what it has left."""
    for at in itertools.count(1):
        seen: list[Message] = []
        put(queue, f"s{at}", missed="all", overlap="allow", payload=at)
        is_due(server, f"s{at}", ago_ms=2 * HOUR_MS)
        proxy.rule = struck_at(at, moment, seen)
        reaper = JobQueue(proxy.url, retries=retries)
        try:
            fire(reaper)
        except Unavailable:
            assert not retries
        fire(queue)
        assert [total(queue, "schedules_fired"), total(queue, "submitted")] == [3 * at, 3 * at]
        queue.schedules.delete("default", f"s{at}")
        if len(seen) < at:
            break
    assert at > 5


def struck_at(at: int, moment: str, seen: list[Message]) -> Rule:
    def rule(message: Message) -> Strike | None:
        seen.append(message)
        return Strike(moment) if len(seen) == at else None

    return rule


# --------------------------------------------------------------------------------------------------------- operators


def test_same_times_put_again_keep_the_due_time_that_is_waited_for(queue: JobQueue, server: Server) -> None:
    put(queue)
    due_ms = is_due(server, ago_ms=1000)
    assert put(queue, payload="another").due_ms == due_ms
    fire(queue)
    assert [job.payload for job in jobs_of(queue)] == ["another"]
    following = queue.schedules.get("default", "nightly").due_ms
    assert put(queue).due_ms == following
    assert put(queue, every_s=60).due_ms != following


def test_clock_that_went_back_does_not_let_a_changed_schedule_fire_again(queue: JobQueue, server: Server) -> None:
    put_cron(queue, "0 * * * *")
    ahead = now_ms(server) + 30 * HOUR_MS
    server.client.hset(f"{Q}schedule:nightly", "last_due", ahead)  # it was much later then than it is now
    changed = put_cron(queue, "0,30 * * * *")
    assert changed.due_ms is not None and changed.due_ms > ahead
    queue.schedules.pause("default", "nightly")
    assert (queue.schedules.pause("default", "nightly", False).due_ms or 0) > ahead


def put_cron(queue: JobQueue, cron: str) -> Planned:
    pytest.importorskip("cronsim")
    return queue.schedules.put("default", "nightly", Schedule.of_json({"cron": cron}))[0]


def test_paused_schedule_makes_nothing_up_when_it_is_resumed(queue: JobQueue, server: Server) -> None:
    put(queue)
    is_due(server, ago_ms=3 * HOUR_MS)
    for _ in range(2):
        assert queue.schedules.pause("default", "nightly").next_times() == []
    assert fire(queue) == {}
    assert put(queue, every_s=60).paused
    for _ in range(2):
        planned = queue.schedules.pause("default", "nightly", False)
        assert planned.due_ms is not None and planned.due_ms > now_ms(server)
    assert fire(queue) == {}


def test_operator_runs_it_now_beside_its_due_times(queue: JobQueue, server: Server) -> None:
    before = put(queue, payload=7).due_ms
    first, second = (queue.schedules.run("default", "nightly") for _ in range(2))
    assert first[0] != second[0] and not first[1]
    job = queue.get(first[0])
    assert (job.payload, job.schedule, job.scheduled_for_ms) == (7, "nightly", None)
    planned = queue.schedules.get("default", "nightly")
    assert (planned.due_ms, planned.last_job, planned.last_due_ms) == (before, second[0], None)
    is_due(server)
    assert fire(queue) == {"skipped": 1}


def test_run_under_a_unique_key_that_is_held_gives_that_job(queue: JobQueue) -> None:
    put(queue, unique_key="one")
    job = queue.submit(unique_key="one")
    assert queue.schedules.run("default", "nightly") == (job.id, True)


def test_queue_need_not_exist_yet_and_a_dry_run_makes_none(queue: JobQueue) -> None:
    schedule = Schedule.of_json({"every_s": 5})
    planned, is_new = queue.schedules.put("brand.new", "one", schedule, dry_run=True)
    assert is_new and len(planned.next_times(5)) == 5 and queue.queues() == []
    queue.schedules.put("brand.new", "one", schedule)
    assert queue.queues() == ["brand.new"] and queue.submit(queue="brand.new").queue == "brand.new"


def test_queue_that_has_schedules_is_not_forgotten(queue: JobQueue) -> None:
    put(queue)
    with pytest.raises(Conflict, match="1 schedule"):
        queue.delete_queue("default")
    queue.schedules.delete("default", "nightly")
    queue.delete_queue("default")


def test_schedule_that_never_fires_and_the_one_too_many_are_refused(queue: JobQueue, server: Server) -> None:
    with pytest.raises(Invalid, match="never fires"):
        put(queue, ends_at="2020-01-01T00:00:00Z")
    assert queue.schedules.names("default") == []
    put(queue)
    server.client.zadd(f"{Q}schedules", {f"s{n}": "inf" for n in range(MAX_SCHEDULES - 1)})
    with pytest.raises(Invalid, match="has 1000 schedules"):
        put(queue, "one.more")
    put(queue, payload="changed")
    server.client.zrem(f"{Q}schedules", *[f"s{n}" for n in range(MAX_SCHEDULES - 1)])


def test_schedule_that_is_not_there_is_not_found(queue: JobQueue, server: Server) -> None:
    queue.submit()
    before = snapshot(server)
    for call in (queue.schedules.get, queue.schedules.delete, queue.schedules.run, queue.schedules.pause):
        with pytest.raises(NotFound):
            call("default", "none")
    assert snapshot(server) == before


def test_pages_go_by_queue_and_name(queue: JobQueue) -> None:
    for name in ("b", "a", "c"):
        for where in ("two", "one"):
            queue.schedules.put(where, name, Schedule.of_json({"every_s": 5}))
    first, count = queue.schedules.page(["two", "one"], 4)
    assert [(each.queue, each.name) for each in first] == [("one", "a"), ("one", "b"), ("one", "c"), ("two", "a")]
    rest, _ = queue.schedules.page(["two", "one"], 4, ("two", "a"))
    assert ([each.name for each in rest], count) == (["b", "c"], 6)


def test_queue_without_schedules_costs_a_reaper_one_command_with_all_others(queue: JobQueue, server: Server) -> None:
    for n in range(5):
        queue.submit(queue=f"q{n}")
    queue.schedules.first_due(["q0"])
    before = server.client.info("commandstats")
    assert queue.schedules.first_due([f"q{n}" for n in range(5)]) == {}
    after = server.client.info("commandstats")
    calls = {name: row["calls"] - before.get(name, {}).get("calls", 0) for name, row in after.items()}
    assert {name: n for name, n in calls.items() if n and name != "cmdstat_info"} == {"cmdstat_zrange": 5}


# ------------------------------------------------------------------------------------------------------------ checker


def test_checker_finds_what_hands_did_to_schedules_and_puts_it_right(queue: JobQueue, server: Server) -> None:
    for name in ("lost", "paused", "never", "good"):
        put(queue, name)
    queue.schedules.pause("default", "paused")
    queue.schedules.put("default", "ends", Schedule.of_json({"every_s": 5, "ends_at": "2099-01-01T00:00:00Z"}))
    assert queue.check("default") == []
    server.client.zrem(f"{Q}schedules", "lost")
    server.client.zadd(f"{Q}schedules", {"paused": 5e13, "never": "inf", "ghost": 5e13, "ends": "inf"})
    found = queue.check("default", repair=True)
    assert found == [
        "default: the schedule ghost is due some time but has no hash",
        "default: the schedule lost is in no index: it never fires",
        "default: the schedule never is not paused but never due",
        "default: the schedule paused is paused but due some time",
    ]
    assert queue.check("default") == []
    assert queue.schedules.names("default") == ["ends", "good", "lost", "never", "paused"]
    assert all(queue.schedules.get("default", name).due_ms for name in ("lost", "never"))


def test_checker_says_that_nobody_fires(queue: JobQueue, server: Server) -> None:
    put(queue)
    is_due(server, ago_ms=61_000)
    [said] = queue.check("default")
    assert "the schedule nightly was due over a minute ago" in said
    fire(queue)
