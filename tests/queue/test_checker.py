"""The checker: silent while all is well, and for each kind of damage a sentence and a repair."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest

from _jobqueue.records import INDEX_OF, STATUSES, Claimed, Settlement
from _jobqueue.store import scans
from _jobqueue.store.checker import Checker
from _jobqueue.store.ids import new_id
from jobqueue import Filter, Job, JobQueue, NewJob, NotFound, Policy, Unavailable
from tests.harness import Server, System
from tests.played import RETENTION_MS, Q, Worker, recover, tick


class World:
    """A queue with one job, or more, in every status, and hands to damage it."""

    def __init__(self, server: Server) -> None:
        self.queue = JobQueue(server.url)
        self.redis: Any = server.client
        self.workers = itertools.count(1)
        self.queue.submit_many([NewJob(max_attempts=2, priority=9 - number) for number in range(6)])
        running, done, failed, cancelled = self.claim(4)
        self.settle(done, "done")
        self.settle(failed, "failed", -3)
        self.settle(cancelled, "cancelled")
        self.running: Claimed = running
        self.queue.submit(delay_s=60, max_attempts=2)
        self.queue.submit(after=[running.id], when="ended", max_attempts=2)

    def claim(self, want: int) -> list[Claimed]:
        """By a slot of its own: what it holds is left alone by the next."""
        return Worker(self.queue, number=next(self.workers)).claim(want)

    def settle(self, job: Claimed, outcome: str, delay_ms: int = 0) -> bool:
        settlement = Settlement(job.id, job.token, outcome, delay_ms, "Boom", "boom")
        [accepted] = Worker(self.queue).settle(settlement)
        return accepted

    def one(self, status: str) -> Job:
        return self.queue.page(Filter(status)).jobs[0]

    def hset(self, job_id: str, **fields: Any) -> None:
        self.redis.hset(f"{Q}job:{job_id}", mapping=fields)

    def hdel(self, job_id: str, *fields: str) -> None:
        self.redis.hdel(f"{Q}job:{job_id}", *fields)

    def index(self, status: str) -> str:
        return f"{Q}{INDEX_OF[status]}"

    def everything_ends(self) -> dict[str, int]:
        """Work until nothing is left; where the jobs are then."""
        for index in ("leases", "scheduled"):
            for job_id in self.redis.zrange(Q + index, 0, -1):
                self.redis.zadd(Q + index, {job_id: 1})
        assert "stale" not in tick(self.queue)
        while jobs := self.claim(10):
            assert all(self.settle(job, "done") for job in jobs)
        assert self.queue.check("default") == []
        return self.queue.books("default").sizes


@pytest.fixture
def world(server: Server) -> World:
    return World(server)


@pytest.fixture(autouse=True)
def _look_again_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Checker, "AGAIN_S", 0)


def damages() -> dict[str, tuple[Callable[[World], Any], str]]:
    """What is done to a world, and what the checker says of it."""
    found: dict[str, tuple[Callable[[World], Any], str]] = {}

    def damage(says: str) -> Callable[[Callable[[World], Any]], None]:
        def keep(do: Callable[[World], Any]) -> None:
            found[do.__name__] = do, says

        return keep

    for status in STATUSES:
        index = INDEX_OF[status]
        found[f"id in {index} without a hash"] = (
            lambda w, s=status: w.redis.zadd(w.index(s), {new_id(0): 1}),
            f"is in {index} but has no hash",
        )
        found[f"{status} job in no index"] = (
            lambda w, s=status: w.redis.zrem(w.index(s), w.one(s).id),
            f"is {status} but stands in no index",
        )
        found[f"lost hash of a {status} job"] = (
            lambda w, s=status: w.redis.delete(f"{Q}job:{w.one(s).id}"),
            "has no hash",
        )
        found[f"lost index {index}"] = (lambda w, s=status: w.redis.delete(w.index(s)), "but stands in no index")
    for status, other in zip(STATUSES, [*STATUSES[1:], STATUSES[0]], strict=True):
        found[f"{status} job in two indexes"] = (
            lambda w, s=status, o=other: w.redis.zadd(w.index(o), {w.one(s).id: 1}),
            f"is {status} but stands in ",
        )
        found[f"{status} job in the wrong index"] = (
            lambda w, s=status, o=other: (
                w.redis.zadd(w.index(o), {w.one(s).id: 1}),
                w.redis.zrem(w.index(s), w.one(s).id),
            ),
            f"is {status} but stands in {INDEX_OF[other]}",
        )

    @damage("but its place is")
    def wrong_place(w: World) -> None:
        w.redis.zadd(f"{Q}queue", {w.one("queued").id: 1})

    @damage("but its place is unknown")
    def lost_place(w: World) -> None:
        w.hdel(w.one("queued").id, "score")

    @damage("waits with all of its 2 attempts spent")
    def queued_with_spent_attempts(w: World) -> None:
        w.hset(w.one("queued").id, attempts=2)

    @damage("waits with all of its 2 attempts spent")
    def scheduled_with_too_many_attempts(w: World) -> None:
        w.hset(w.one("scheduled").id, attempts=3)

    @damage("has made 5 of 2 attempts")
    def running_with_too_many_attempts(w: World) -> None:
        w.hset(w.running.id, attempts=5)

    @damage("has made 3 of 2 attempts")
    def failed_with_too_many_attempts(w: World) -> None:
        w.hset(w.one("failed").id, attempts=3)

    @damage("has made -1 of 2 attempts")
    def less_than_no_attempts(w: World) -> None:
        w.hset(w.one("queued").id, attempts=-1)

    @damage("has made -1 of 2 attempts")
    def attempts_that_are_no_number(w: World) -> None:
        w.hset(w.one("queued").id, attempts="many")

    @damage("is done without an attempt")
    def done_without_an_attempt(w: World) -> None:
        w.hdel(w.one("done").id, "attempts")

    @damage("is processing without an attempt")
    def running_without_an_attempt(w: World) -> None:
        w.hset(w.running.id, attempts=0)

    @damage("stands 0 times in its slot's processing list")
    def running_and_not_in_its_list(w: World) -> None:
        w.redis.delete(f"{Q}processing:w-1")

    @damage("stands 2 times in its slot's processing list")
    def running_and_twice_in_its_list(w: World) -> None:
        w.redis.lpush(f"{Q}processing:w-1", w.running.id)

    @damage("runs under token ''")
    def running_without_a_token(w: World) -> None:
        w.hdel(w.running.id, "token")

    @damage("runs under token 'nonsense'")
    def running_under_a_token_that_is_none(w: World) -> None:
        w.hset(w.running.id, token="nonsense")

    @damage("is ? but stands in queue")
    def hash_without_a_status(w: World) -> None:
        w.hdel(w.one("queued").id, "status")

    @damage("is ? but stands in no index")
    def hash_that_came_back_after_its_end(w: World) -> None:
        w.hset(new_id(0), progress="{}")

    @damage("is lost but stands in done")
    def unknown_status(w: World) -> None:
        w.hset(w.one("done").id, status="lost")

    @damage("is failed but stands under no kind of error")
    def dead_letter_under_no_kind(w: World) -> None:
        w.redis.zrem(f"{Q}kind:Boom", w.one("failed").id)

    @damage("is failed but stands under no kind of error")
    def dead_letter_that_names_no_kind(w: World) -> None:
        w.hdel(w.one("failed").id, "kind")

    @damage("is failed but stands under no kind of error")
    def lost_kinds(w: World) -> None:
        w.redis.delete(f"{Q}kinds")

    @damage("is done but stands under Boom kind of error")
    def done_job_under_a_kind(w: World) -> None:
        w.redis.zadd(f"{Q}kind:Boom", {w.one("done").id: 1})
        w.hset(w.one("done").id, kind="Boom")

    @damage("is no dead letter of the kind Boom but stands there")
    def stranger_under_a_kind(w: World) -> None:
        w.redis.zadd(f"{Q}kind:Boom", {new_id(0): 1, w.one("queued").id: 1})

    @damage("the kind of error Gone has no dead letters")
    def kind_without_dead_letters(w: World) -> None:
        w.redis.sadd(f"{Q}kinds", "Gone")

    @damage("the list processing:gone-1 belongs to no slot")
    def list_without_a_slot(w: World) -> None:
        w.redis.rpush(f"{Q}processing:gone-1", "!", w.one("done").id, new_id(0))

    @damage("the list processing:w-1 belongs to no slot")
    def lost_slots(w: World) -> None:
        w.redis.delete(f"{Q}slots")

    @damage("has 1 open edges, but needs says 3")
    def too_many_needs(w: World) -> None:
        w.hset(w.one("blocked").id, needs=3)

    @damage("has lost 1 of its edges")
    def lost_edges(w: World) -> None:
        w.redis.delete(f"{Q}then:{w.running.id}")

    @damage("which has ended, and nobody will tell it")
    def parent_that_told_nobody(w: World) -> None:
        child = w.queue.submit(after=[w.one("done").id])
        w.redis.zadd(f"{Q}then:{child.after[0]}", {child.id: w.redis.hget(f"{Q}job:{child.id}", "born")})
        w.hset(child.id, needs=1, status="blocked")
        w.redis.zrem(f"{Q}queue", child.id)
        w.redis.zadd(f"{Q}blocked", {child.id: 1})

    @damage("is gone, but then:")
    def edges_of_nobody(w: World) -> None:
        w.redis.zadd(f"{Q}then:{new_id(0)}", {w.one("queued").id: 1})

    @damage("is gone, but after:")
    def parents_of_nobody(w: World) -> None:
        w.redis.rpush(f"{Q}after:{new_id(0)}", w.one("queued").id)

    @damage("the books do not balance: +3 submitted jobs are nowhere")
    def books_with_too_many(w: World) -> None:
        w.redis.hincrby(f"{Q}totals", "submitted", 3)

    @damage("the books do not balance: -8 submitted jobs are nowhere")
    def lost_totals(w: World) -> None:
        w.redis.delete(f"{Q}totals")

    return found


DAMAGES = {name.replace("_", " "): case for name, case in damages().items()}


def test_healthy_queue_is_well(world: World) -> None:
    assert world.queue.check("default") == []
    assert world.queue.check("default", repair=True) == []
    assert world.everything_ends() == dict(zip(STATUSES, [0, 0, 0, 0, 6, 1, 1], strict=True))


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_is_reported_and_repaired(name: str, world: World) -> None:
    do, says = DAMAGES[name]
    do(world)
    wrong = world.queue.check("default")
    assert wrong and all(line.startswith("default: ") for line in wrong)
    assert any(says in line for line in wrong), wrong
    assert world.queue.check("default", repair=True) == wrong
    assert world.queue.check("default") == []
    sizes = world.everything_ends()
    assert sizes["queued"] == sizes["scheduled"] == sizes["processing"] == sizes["blocked"] == 0


@pytest.mark.parametrize("status", STATUSES)
def test_repaired_job_keeps_its_status(status: str, world: World) -> None:
    job = world.one(status)
    world.redis.zrem(world.index(status), job.id)
    world.queue.check("default", repair=True)
    repaired = world.queue.get(job.id)
    assert (repaired.status, repaired.attempts, repaired.position) == (status, job.attempts, job.position)


def test_repaired_job_that_is_nothing_known_can_be_retried(world: World) -> None:
    job_id = new_id(0)
    world.hset(job_id, type="task", payload="1")
    world.queue.check("default", repair=True)
    assert world.queue.get(job_id).status == "failed"
    assert world.queue.retry(job_id) == "retried"
    assert world.everything_ends()["done"] == 7


def test_running_job_without_a_lease_is_left_to_the_reaper(world: World) -> None:
    world.redis.delete(f"{Q}leases")
    line, _ = world.queue.check("default", repair=True)
    assert line == f"default: job {world.running.id} is processing but stands in no index"
    [expired] = world.queue.recovery.expired("default", 10)[1]
    assert expired.id == world.running.id
    assert recover(world.queue, [expired], 10, RETENTION_MS)[0] == ["queued"]


def test_repair_does_not_take_a_running_job_from_its_slot(world: World) -> None:
    world.redis.delete(f"{Q}slots", f"{Q}queue")
    world.queue.check("default", repair=True)
    assert world.queue.check("default") == []
    assert world.settle(world.running, "done")


@pytest.mark.long(8)
def test_thousand_damaged_jobs_are_repaired(world: World) -> None:
    world.queue.submit_many([NewJob()] * 1200)
    world.redis.delete(f"{Q}queue")
    assert len(world.queue.check("default", repair=True)) == 1203
    assert world.queue.check("default") == []
    assert world.everything_ends()["done"] == 1206


def test_attempts_are_not_compared_where_the_type_decides(world: World) -> None:
    Worker(world.queue).beat(typed=Policy(5, 1000, 0))
    job = world.queue.submit("typed")
    world.hset(job.id, attempts=4)
    assert world.queue.check("default") == []


def test_lease_that_nobody_reaps_is_reported(world: World) -> None:
    world.redis.zincrby(f"{Q}leases", -80_000, world.running.id)
    [line] = world.queue.check("default")
    assert line.startswith(f"default: job {world.running.id}: its lease ran out over a minute ago")
    tick(world.queue)
    assert world.queue.check("default") == []


def test_what_is_right_at_the_second_look_is_not_reported(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    job = world.one("queued")
    place = world.redis.zscore(f"{Q}queue", job.id)
    world.redis.zrem(f"{Q}queue", job.id)
    monkeypatch.setattr(time, "sleep", lambda _: world.redis.zadd(f"{Q}queue", {job.id: place}))
    assert world.queue.check("default") == []


def test_queues_are_checked_one_by_one(world: World) -> None:
    world.queue.submit(queue="other")
    world.redis.delete("jq:{other}:queue")
    assert world.queue.check("default") == []
    assert len(world.queue.check("other")) == 2


# ---------------------------------------------------------------------------------------------------- command line


def run_check(system: System, *flags: str, **environment: str) -> tuple[int, list[str]]:
    program = system.start("jobqueue.py", "check", *flags, **environment)
    return program.exits(), program.log.splitlines()


def test_command_says_ok_in_one_line(world: World, system: System) -> None:
    world.queue.submit(queue="other")
    code, lines = run_check(system)
    assert (code, lines) == (0, ["ok: 9 jobs in 2 queues, every invariant holds and the books balance"])


def test_command_is_well_on_an_empty_redis(system: System) -> None:
    assert run_check(system)[0] == 0


def test_command_says_a_line_for_each_violation_and_repairs(world: World, system: System) -> None:
    lost = [job.id for job in world.queue.page(Filter("queued")).jobs]
    world.redis.delete(f"{Q}queue")
    code, lines = run_check(system)
    assert code == 1
    assert sorted(lines[:-1]) == sorted(f"default: job {job} is queued but stands in no index" for job in lost)
    assert "the books do not balance: +2" in lines[-1]
    code, repaired = run_check(system, "--repair")
    assert (code, [line.split("  (repaired")[0] for line in repaired]) == (1, lines)
    assert run_check(system)[0] == 0


def test_command_checks_the_queues_it_is_told(world: World, system: System) -> None:
    world.queue.submit(queue="other")
    world.redis.delete(f"{Q}queue")
    assert run_check(system, "--queue", "other")[0] == 0
    assert run_check(system, "--queue", "other", "--queue", "default")[0] == 1


def test_command_without_redis_says_so(system: System) -> None:
    code, [line] = run_check(system, "--redis-url", "redis://127.0.0.1:1/0")
    assert code == 75
    assert line.startswith("cannot check: Redis does not answer")


def test_command_refuses_an_impossible_url_without_repeating_it(system: System) -> None:
    url = "redis://:hunter2/2@127.0.0.1:6379/0"
    for source, (code, lines) in {
        "--redis-url": run_check(system, "--redis-url", url),
        "REDIS_URL": run_check(system, REDIS_URL=url),
    }.items():
        assert (code, lines[-1].split()[:3]) == (2, ["jobqueue.py:", "error:", source])
        assert "Traceback" not in "".join(lines) and "hunter2" not in "".join(lines)


def test_check_without_redis_is_unavailable(own_server: Server) -> None:
    queue = JobQueue(own_server.url, retries=0)
    own_server.kill()
    with pytest.raises(Unavailable):
        queue.check("default")


# ------------------------------------------------------------------------------------------------------------ webhooks


def test_deliveries_that_stand_wrongly_are_found_and_put_right(queue: JobQueue, server: Server) -> None:
    worker = Worker(queue).handles("echo")
    for _ in range(4):
        queue.submit(webhook="https://hooks.example.org/")
    worker.give("done", 4)
    lost, dead, over, running = server.client.zrange(f"{Q}deliveries", 0, -1)
    server.client.zrem(f"{Q}deliveries", lost)
    server.client.zadd(f"{Q}deliveries", {dead: "inf", running: -1, "nobody": 5})
    queue.cancel(over)
    server.client.zadd(f"{Q}deliveries", {over: 7})
    found = queue.check("default", repair=True)
    assert len(found) == 5 and all("deliveries" in sentence for sentence in found), found
    assert {job_id for sentence in found for job_id in sentence.split() if "-" in job_id} == {lost, dead, over, running}
    assert queue.check("default") == []
    assert set(server.client.zrange(f"{Q}deliveries", 0, -1)) == {lost, dead, running}


def test_a_parent_that_is_deleted_behind_the_scan_is_no_damage(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its edges go with it, though the scan has seen them."""
    queue = JobQueue(server.url)
    parent = queue.submit()
    child = queue.submit(after=[parent.id])
    keys = scans.keys

    def and_then_gone(store: Any, name: str, *starts: str) -> Iterator[str]:
        found = list(keys(store, name, *starts))
        if starts == ("then:",):
            for job_id in (child.id, parent.id):
                with suppress(NotFound):
                    queue.delete(job_id)
        return iter(found)

    monkeypatch.setattr(scans, "keys", and_then_gone)
    assert queue.check("default") == []
    assert not server.client.exists(f"{Q}job:{parent.id}"), "it was not deleted while the checker looked"
