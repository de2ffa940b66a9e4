"""Limits: the lease is the permit, on every way out of it; what is defined while jobs run; rates; what is shown and repaired."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from _jobqueue.errors import OldProgram
from _jobqueue.limits import MAX_PATTERNS, Limit
from _jobqueue.records import IN_PLACE, Claimed
from _jobqueue.store import limit_checks
from jobqueue import Invalid, JobQueue, NewJob, NotFound
from tests.harness import Server, eventually
from tests.played import LEASE_MS, Q, Worker, ended, passes, tick
from tests.queue.changed_scripts import CLOCK, change

ONE = Limit(max_running=1)
Put = Callable[..., bool]


@pytest.fixture
def put(queue: JobQueue, monkeypatch: pytest.MonkeyPatch) -> Put:
    monkeypatch.setattr(limit_checks, "AGAIN_S", 0)
    monkeypatch.setattr(limit_checks, "TWO_TICKS_S", 0)

    def define(name: str, limit: Limit = ONE) -> bool:
        return queue.limits.put("default", name, limit)

    return define


@pytest.fixture
def worker(queue: JobQueue) -> Worker:
    queue.register("default")
    return Worker(queue).handles("echo", "mail")


def submit(queue: JobQueue, *limits: str, **options: Any) -> str:
    return queue.submit(limits=limits, **options).id


def permits(server: Server, name: str) -> set[str]:
    found: set[str] = server.client.smembers(f"{Q}permits:{name}")
    return found


# ------------------------------------------------------------------------------------------- the lease is the permit


def done(queue: JobQueue, worker: Worker, server: Server, job: Claimed) -> None:
    worker.settle(ended(job))


def fails(queue: JobQueue, worker: Worker, server: Server, job: Claimed) -> None:
    worker.settle(ended(job, "failed", 60_000))


def is_given_back(queue: JobQueue, worker: Worker, server: Server, job: Claimed) -> None:
    worker.settle(ended(job, "released"))
    queue.cancel(job.id)


def is_cancelled(queue: JobQueue, worker: Worker, server: Server, job: Claimed) -> None:
    queue.cancel(job.id)
    worker.settle(ended(job, "cancelled"))


def is_reaped(queue: JobQueue, worker: Worker, server: Server, job: Claimed) -> None:
    passes(server, "leases", job)
    tick(queue)
    queue.cancel(job.id)


def is_dropped(queue: JobQueue, worker: Worker, server: Server, job: Claimed) -> None:
    worker.talk.seen += 1
    worker.exchange(want=0)
    queue.cancel(job.id)


@pytest.mark.parametrize("leaves", [done, fails, is_given_back, is_cancelled, is_reaped, is_dropped])
def test_permit_goes_back_on_every_way_out(
    leaves: Callable[..., None], queue: JobQueue, worker: Worker, server: Server, put: Put
) -> None:
    put("api")
    put("type:echo", Limit(max_running=2))
    first, second = submit(queue, "api"), submit(queue, "api")
    other = Worker(queue, "other").handles("echo")
    (job,) = worker.claim(5)
    assert other.claim() == [] and permits(server, "api") == permits(server, "type:echo") == {first}
    leaves(queue, worker, server, job)
    assert permits(server, "api") == set() and queue.check("default") == []
    assert [each.id for each in other.claim()] == [second]
    assert worker.settle(ended(job)) in ([True], [False])  # once more: it returns nothing twice
    assert permits(server, "api") == {second} and queue.check("default") == []


def test_job_takes_all_its_permits_or_none(queue: JobQueue, worker: Worker, server: Server, put: Put) -> None:
    put("api")
    put("tenant:7")
    running, both, free = submit(queue, "tenant:7"), submit(queue, "api", "tenant:7"), submit(queue, "api")
    assert [job.id for job in worker.claim()] == [running]
    other = Worker(queue, "other").handles("echo")
    assert [job.id for job in other.claim()] == [free], "it overtakes the one that waits"
    assert queue.get(both).status == "queued" and queue.get(both).attempts == 0
    worker.end("done")
    assert worker.claim() == []
    other.end("done")
    assert [job.id for job in worker.claim()] == [both]
    assert permits(server, "api") == permits(server, "tenant:7") == {both}


def test_job_under_a_limit_is_the_last_of_its_batch(queue: JobQueue, put: Put) -> None:
    queue.register("default")
    put("api", Limit(max_running=10))
    ids = [submit(queue), submit(queue, "api"), submit(queue, "api"), submit(queue, "undefined"), submit(queue)]
    workers = [Worker(queue, f"w{number}").handles("echo") for number in range(3)]
    assert [[job.id for job in each.claim(10)] for each in workers] == [ids[:2], ids[2:3], ids[3:]]


def test_replayed_claim_counts_once(queue: JobQueue, worker: Worker, server: Server, put: Put) -> None:
    put("api", Limit(max_running=3, starts=2, per_s=60))
    ids = [submit(queue, "api") for _ in range(3)]
    for _ in range(2):
        worker.exchange(*[ended(job) for job in worker.running])
        worker.again()
        worker.running = worker.exchange()[1]
    assert server.client.llen(f"{Q}starts:api") <= 2
    assert queue.get(ids[2]).status == "queued"


def test_freed_place_is_taken_in_order_and_all_kits_are_called(queue: JobQueue, server: Server, put: Put) -> None:
    put("api")
    mail, echo = Worker(queue, "mail").handles("mail"), Worker(queue, "echo").handles("echo")
    submit(queue, "api", type="mail")
    (job,) = mail.claim()
    second = submit(queue, "api", type="echo")
    assert echo.claim() == [] and server.client.llen(f"{Q}bell:{echo.talk.kit}") in (0, 1)
    server.client.delete(f"{Q}bell:{echo.talk.kit}")
    mail.exchange(ended(job))  # settles and claims: what it cannot take is for others
    assert server.client.llen(f"{Q}bell:{echo.talk.kit}") == 1
    assert [each.id for each in echo.claim()] == [second]


def test_limit_that_a_claim_fills_calls_nobody(queue: JobQueue, worker: Worker, server: Server, put: Put) -> None:
    put("api")
    ids = [submit(queue, "api") for _ in range(3)]
    (job,) = worker.claim()
    other = Worker(queue, "other").handles("echo")
    assert other.claim() == [], "they wait aside now"
    server.client.delete(f"{Q}bell:{other.talk.kit}")
    claimed = worker.exchange(ended(job))[1]
    assert [each.id for each in claimed] == ids[1:2]
    assert server.client.llen(f"{Q}bell:{other.talk.kit}") == 0 and server.client.zcard(f"{Q}lanes") == 0
    assert server.client.zrange(f"{Q}shut", 0, -1) == ["api"]


# ------------------------------------------------------------------------------------------- what is defined, and when


def test_new_limit_counts_what_runs_and_lowering_stops_nobody(
    queue: JobQueue, worker: Worker, server: Server, put: Put
) -> None:
    ids = [submit(queue, "api") for _ in range(3)]
    running = worker.claim(2)
    assert put("api", Limit(max_running=3))
    assert permits(server, "api") == {job.id for job in running}
    assert not put("api", ONE)
    other = Worker(queue, "other").handles("echo")
    assert other.claim() == [] and queue.check("default") == []
    assert queue.limits.get("default", "api").running == 2
    worker.end("done", running[0])
    assert other.claim() == []
    worker.end("done", running[1])
    assert [job.id for job in other.claim()] == ids[2:]


def test_while_it_counts_nobody_starts(
    queue: JobQueue, worker: Worker, server: Server, put: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    running, waiting = submit(queue), submit(queue)
    worker.claim()
    monkeypatch.setattr("_jobqueue.store.limits.STEPS", 0)  # the call dies before it has counted
    put("type:echo", Limit(max_running=2))
    other = Worker(queue, "other").handles("echo")
    assert other.claim() == []
    assert queue.limits.why("default", waiting).counting  # type: ignore[union-attr]
    tick(queue)
    assert permits(server, "type:echo") == {running}
    assert [job.id for job in other.claim()] == [waiting]


def test_exact_name_counts_else_the_longest_pattern(queue: JobQueue, put: Put) -> None:
    for name, most in (("*", 9), ("tenant:*", 8), ("tenant:7*", 7), ("tenant:77", 6)):
        put(name, Limit(max_running=most))
    for name, by, most in (
        ("api", "*", 9),
        ("tenant:1", "tenant:*", 8),
        ("tenant:78", "tenant:7*", 7),
        ("tenant:77", "tenant:77", 6),
    ):
        found = queue.limits.get("default", name)
        assert (found.by, found.limit.max_running) == (by, most)


def test_pattern_counts_each_name_apart_and_a_change_opens_them(
    queue: JobQueue, worker: Worker, server: Server, put: Put
) -> None:
    put("tenant:*")
    ids = [submit(queue, f"tenant:{number}") for number in (1, 1, 2, 2)]
    assert [job.id for job in worker.claim()] == ids[:1]
    others = [Worker(queue, f"w{number}").handles("echo") for number in range(3)]
    assert [job.id for other in others for job in other.claim()] == [ids[2]]
    put("tenant:*", Limit(max_running=2))
    assert [job.id for other in others[1:] for job in other.claim()] == [ids[1], ids[3]]
    shown = {each.name: (each.running, each.by) for each in queue.limits.page("default")}
    assert shown == {"tenant:*": (0, "tenant:*"), "tenant:1": (2, "tenant:*"), "tenant:2": (2, "tenant:*")}


def test_limit_that_is_forgotten_lets_all_in(queue: JobQueue, worker: Worker, server: Server, put: Put) -> None:
    put("api")
    first, second = submit(queue, "api"), submit(queue, "api")
    worker.claim()
    other = Worker(queue, "other").handles("echo")
    assert other.claim() == []
    queue.limits.delete("default", "api")
    assert [job.id for job in other.claim()] == [second]
    with pytest.raises(NotFound):
        queue.limits.delete("default", "api")
    worker.end("done")
    other.end("done")
    tick(queue)
    tick(queue)
    rooms = ("limited", "permits", "shut", "under", "group", "waits", "held", "lane")
    assert not [key for key in server.client.keys(f"{Q}*") if key.removeprefix(Q).split(":")[0] in rooms]
    assert server.client.hget(f"{Q}meta", "gates") is None, f"after {first} the queue claims as before"


def test_jobs_parked_before_there_were_limits_obey_them(
    queue: JobQueue, worker: Worker, server: Server, put: Put
) -> None:
    ids = [submit(queue, "api", type="image") for _ in range(2)]
    assert worker.claim() == []  # parked for want of a handler
    put("api")
    images = [Worker(queue, f"i{number}").handles("image") for number in range(2)]
    assert [job.id for each in images for job in each.claim()] == ids[:1]
    assert queue.check("default") == []
    images[0].end("done")
    assert [job.id for each in images for job in each.claim()] == ids[1:]
    images[0].end("done")
    lanes = server.client.keys(f"{Q}lane:*") + server.client.keys(f"{Q}group*")
    assert lanes == [] and server.client.zcard(f"{Q}lanes") == 0


def test_only_so_many_patterns(queue: JobQueue, put: Put) -> None:
    for number in range(MAX_PATTERNS):
        put(f"p{number}:*")
    with pytest.raises(Invalid):
        put("one-more:*")
    assert not put("p0:*", Limit(max_running=2))


def test_program_of_the_release_before_forbids_limits(queue: JobQueue, server: Server, put: Put) -> None:
    queue.register("default")
    old = Worker(queue, "old")
    old.beat()
    server.client.set(f"{Q}worker:old", '{"threads": 1}')  # it publishes no kit
    with pytest.raises(OldProgram):
        put("api")
    with pytest.raises(OldProgram):
        submit(queue, "api")
    assert queue.submit_many([NewJob(limits=["api"])])[0].error is not None
    assert submit(queue), "what names none is taken"


# -------------------------------------------------------------------------------------------------------------- rates


@pytest.fixture
def clock(lua: Path, server: Server) -> Callable[[int], None]:
    def set_to(ms: int) -> None:
        server.client.set(CLOCK, 1_700_000_000_000 + ms)

    set_to(0)
    return set_to


def test_rate_is_exact(queue: JobQueue, clock: Callable[[int], None], put: Put) -> None:
    """A token bucket would let nearly twice as many through."""
    worker = Worker(queue).handles("echo")
    put("api", Limit(starts=3, per_s=1))
    for _ in range(40):
        submit(queue, "api")
    starts: list[int] = []
    for ms in range(0, 5000, 90):
        clock(ms)
        worker.running = worker.exchange(*[ended(job) for job in worker.running])[1]
        starts += [ms] * len(worker.running)
    assert all(later - first > 1000 for first, later in zip(starts, starts[3:], strict=False))
    assert len(starts) >= 13


@pytest.mark.parametrize("parked", [False, True])
def test_rate_when_the_clock_jumps(parked: bool, queue: JobQueue, clock: Callable[[int], None], put: Put) -> None:
    worker = Worker(queue).handles("echo")
    put("api", Limit(starts=1, per_s=10))
    first, second, third = (submit(queue, "api") for _ in range(3))
    clock(3_600_000)
    assert [job.id for job in worker.claim()] == [first]
    worker.end("done")
    if parked:
        assert worker.claim() == []
    clock(0)  # an hour back: what was claimed counts as claimed now
    assert worker.claim() == []
    tick(queue)
    clock(10_000)
    assert worker.claim() == []
    clock(10_001)
    assert [job.id for job in worker.claim()] == [second]
    worker.end("done")
    clock(10_002)
    assert worker.claim() == [] and queue.get(third).status == "queued"


@pytest.mark.parametrize("parked", [False, True])
def test_rate_when_jobs_start_before_and_after_a_jump(
    parked: bool, queue: JobQueue, clock: Callable[[int], None], put: Put
) -> None:
    """The start that is still to come stands behind one that is not."""
    worker = Worker(queue).handles("echo")
    put("api", Limit(starts=2, per_s=10))
    first, second, third = (submit(queue, "api") for _ in range(3))
    clock(3_600_000)
    assert [job.id for job in worker.claim()] == [first]
    worker.end("done")
    clock(0)
    assert [job.id for job in worker.claim()] == [second]
    worker.end("done")
    if parked:
        assert worker.claim() == []
    tick(queue)
    assert worker.claim() == []
    clock(10_000)
    assert worker.claim() == []
    clock(10_001)
    assert [job.id for job in worker.claim()] == [third]


def test_tick_opens_what_time_has_opened_and_rings(
    queue: JobQueue, server: Server, clock: Callable[[int], None], put: Put
) -> None:
    worker = Worker(queue).handles("echo")
    put("api", Limit(starts=1, per_s=5))
    submit(queue, "api"), submit(queue, "api")
    (job,) = worker.claim()
    assert worker.exchange(ended(job))[1] == []
    server.client.delete(f"{Q}bell:{worker.talk.kit}")
    clock(5001)
    tick(queue)
    assert server.client.llen(f"{Q}bell:{worker.talk.kit}") == 1
    assert len(worker.claim()) == 1


# ------------------------------------------------------------------------------------------- names that nobody uses


def use_names(queue: JobQueue, n: int) -> None:
    """Two jobs of each of so many tenants run; one waits for the other."""
    queue.submit_many([NewJob(limits=[f"tenant:{at // 2}"]) for at in range(2 * n)])
    workers = [Worker(queue, name).handles("echo") for name in ("one", "two")]
    while sum(len(each.claim()) for each in workers):
        for each in workers:
            each.end("done")


def test_names_that_nobody_uses_are_dropped(
    queue: JobQueue, server: Server, clock: Callable[[int], None], put: Put
) -> None:
    put("tenant:*", Limit(max_running=1, starts=5, per_s=2))
    queue.delete(submit(queue))
    before = set(server.client.keys(f"{Q}*"))
    use_names(queue, 30)
    assert server.client.zcard(f"{Q}limited") > 10, "each has started something lately"
    tick(queue)
    assert server.client.zcard(f"{Q}limited") > 10
    clock(62_001)
    tick(queue)
    assert server.client.zrange(f"{Q}limited", 0, -1) == ["tenant:*"]
    rooms = ("permits", "starts", "waits", "group", "groups", "under", "shut", "held")
    assert not [key for key in set(server.client.keys(f"{Q}*")) - before if key.removeprefix(Q).split(":")[0] in rooms]


@pytest.mark.long(150)
def test_ten_thousand_names_give_their_memory_back(queue: JobQueue, server: Server, put: Put) -> None:
    put("tenant:*", Limit(max_running=1, starts=5, per_s=1))

    def used() -> int:
        server.client.memory_purge()
        return int(server.client.info("memory")["used_memory"])

    def once(names: int) -> int:
        """What is used while each of so many names has one job that runs and one that waits."""
        ids = [
            answer.job.id
            for at in range(0, 2 * names, 1000)
            for answer in queue.submit_many([NewJob(limits=[f"tenant:{n // 2}"]) for n in range(at, at + 1000)])
            if answer.job
        ]
        worker = Worker(queue).handles("echo")
        for number in range(names):
            worker.talk.slot, worker.talk.seq = f"w{names}-{number}", 0
            assert worker.claim()
        most = used()
        while worker.running:
            worker.end("done", *worker.running[:50])
        queue.act_on("cancel", ids), queue.act_on("delete", ids)
        eventually(
            lambda: bool(tick(queue)) or server.client.zrange(f"{Q}limited", 0, -1), equals=["tenant:*"], within_s=200
        )
        return most

    once(500)  # what Redis and the scripts take once
    before = used()
    most = once(10_000)
    print(f"{before:,} bytes before, {most:,} with 10,000 names, {used():,} after")
    assert used() - before < (most - before) / 20
    assert queue.check("default") == []


def test_ticks_of_a_reaper_keep_up_with_new_names(
    lua: Path, queue: JobQueue, server: Server, clock: Callable[[int], None], put: Put
) -> None:
    """While there are more than 10,000, here 20, a tick says that it should go on at once."""
    change(lua, "let_in.lua", "NAMES_MOST = 20, 250, 10000", "NAMES_MOST = 20, 250, 20")
    put("tenant:*", Limit(max_running=1))
    server.client.zadd(f"{Q}limited", {f"tenant:{n}": 0 for n in range(100)})
    steps = 0
    while True:
        transaction = queue.recovery.transaction("default")
        transaction.let_in(10)
        transaction.promote(10), transaction.tidy(10, 10**9)
        transaction.execute()
        steps += 1
        if not transaction.left:
            break
    assert steps > 5 and server.client.zcard(f"{Q}limited") <= 20


# ----------------------------------------------------------------------------------------------- what the checker says


def test_checker_finds_and_mends_permits_and_waiters(queue: JobQueue, worker: Worker, server: Server, put: Put) -> None:
    put("api")
    first, second = submit(queue, "api"), submit(queue, "api")
    worker.claim()
    Worker(queue, "other").handles("echo").claim()
    server.client.srem(f"{Q}permits:api", first)
    server.client.sadd(f"{Q}permits:api", "nobody")
    said = "\n".join(queue.check("default", repair=True))
    assert f"job {first} runs without a permit" in said and "job nobody holds a permit of the limit api" in said
    assert permits(server, "api") == {first} and queue.check("default") == []
    server.client.delete(f"{Q}under")
    assert "is not where claims look for it" in "\n".join(queue.check("default", repair=True))
    assert queue.check("default") == []
    worker.end("done")
    server.client.zadd(f"{Q}shut", {"api": "inf"})
    server.client.zrem(f"{Q}groups:echo", "api")
    server.client.zrem(f"{Q}lanes", "echo")
    assert "jobs wait for the limit api, which is open" in "\n".join(queue.check("default", repair=True))
    assert queue.check("default") == []
    assert [job.id for job in worker.claim()] == [second]


def test_tick_returns_permits_that_a_program_of_the_release_before_kept(
    queue: JobQueue, worker: Worker, server: Server, put: Put
) -> None:
    put("api")
    second = submit(queue, "api")
    server.client.sadd(f"{Q}permits:api", "ended-by-an-old-worker")
    server.client.zadd(f"{Q}limited", {"api": 0})
    assert worker.claim() == []
    tick(queue)
    assert [job.id for job in worker.claim()] == [second]


def test_repair_gives_a_job_that_runs_its_permits(queue: JobQueue, worker: Worker, server: Server, put: Put) -> None:
    put("api")
    first = submit(queue, "api")
    worker.claim()
    server.client.zrem(f"{Q}leases", first)
    server.client.srem(f"{Q}permits:api", first)
    assert queue.check("default", repair=True)
    assert permits(server, "api") == {first} and queue.check("default") == []
    assert LEASE_MS and IN_PLACE  # the lease that it got has run out: the reaper takes over
    tick(queue)
    assert permits(server, "api") == set()


def test_checker_finds_names_that_nobody_looks_after(queue: JobQueue, worker: Worker, server: Server, put: Put) -> None:
    put("tenant:*", Limit(max_running=1, starts=5, per_s=60))
    submit(queue, "tenant:1")
    worker.claim()
    server.client.zrem(f"{Q}limited", "tenant:1")
    assert queue.check("default", repair=True) == ["default: nobody looks after the name tenant:1 of a limit"]
    assert server.client.zscore(f"{Q}limited", "tenant:1") == 0 and queue.check("default") == []
