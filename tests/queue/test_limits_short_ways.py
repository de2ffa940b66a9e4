"""The two short ways of a claim under limits: a permit goes from hand to hand in one call, and the first job of a queue where nobody
waits aside is taken by itself. Each case is one that a short way must leave to the long one, or do as that does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from _jobqueue.limits import Limit
from _jobqueue.store import limit_checks
from jobqueue import JobQueue
from tests.harness import Server
from tests.played import Q, Worker, ended, tick
from tests.queue.changed_scripts import CLOCK, change

ONE, TWO = Limit(max_running=1), Limit(max_running=2)


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limit_checks, "AGAIN_S", 0)
    monkeypatch.setattr(limit_checks, "TWO_TICKS_S", 0)


@pytest.fixture
def put(queue: JobQueue) -> Callable[..., bool]:
    queue.register("default")
    return lambda name, limit=ONE: queue.limits.put("default", name, limit)


def workers(queue: JobQueue, n: int, *types: str) -> list[Worker]:
    return [Worker(queue, f"w{number}").handles(*types or ("echo", "mail")) for number in range(n)]


def submit(queue: JobQueue, *limits: str, **options: Any) -> str:
    return queue.submit(limits=limits, **options).id


def claimed(worker: Worker) -> list[str]:
    return [job.id for job in worker.claim()]


def goes_on(worker: Worker, want: int = 1) -> list[str]:
    """It ends what it has and claims the next, in one call."""
    worker.running = worker.exchange(*[ended(job) for job in worker.running], want=want)[1]
    return [job.id for job in worker.running]


# ------------------------------------------------------------------------------------- the first job, nobody waits aside


@pytest.mark.parametrize("name", ["api", "type:echo", "tenant:*"])
def test_first_job_takes_its_permit(name: str, queue: JobQueue, server: Server, put: Callable[..., bool]) -> None:
    put(name, TWO)
    limits = [] if name == "type:echo" else ["tenant:7" if name == "tenant:*" else name]
    ids = [submit(queue, *limits) for _ in range(3)]
    one, two, three = workers(queue, 3)
    assert claimed(one) == ids[:1] and claimed(two) == ids[1:2], "the best first"
    assert server.client.smembers(f"{Q}permits:{(limits or [name])[0]}") == set(ids[:2])
    assert queue.check("default") == []
    assert claimed(three) == [] and queue.check("default") == []
    assert queue.get(ids[2]).status == "queued" and queue.get(ids[2]).attempts == 0
    for each in (one, two):
        each.end("done")
    assert server.client.exists(f"{Q}permits:{(limits or [name])[0]}") == 0


@pytest.mark.parametrize("name", ["type:echo", "type:*", "*"])
def test_first_job_obeys_the_limit_of_its_type_too(name: str, queue: JobQueue, put: Callable[..., bool]) -> None:
    put(name), put("api", TWO)
    first, second = submit(queue, "api"), submit(queue, "api")
    one, two = workers(queue, 2)
    assert claimed(one) == [first] and claimed(two) == []
    assert queue.check("default") == []
    assert goes_on(one) == [second]


def test_first_job_obeys_all_its_limits(queue: JobQueue, put: Callable[..., bool]) -> None:
    put("api", TWO), put("cpu")
    first, second = submit(queue, "cpu"), submit(queue, "api", "cpu")
    one, two = workers(queue, 2)
    assert claimed(one) == [first] and claimed(two) == [] and goes_on(one) == [second]


def test_longest_pattern_counts_for_the_first_job(queue: JobQueue, put: Callable[..., bool]) -> None:
    put("tenant:*"), put("tenant:7*", TWO), put("te*", Limit(max_running=9))
    ids = [submit(queue, "tenant:77") for _ in range(3)]
    assert [claimed(each) for each in workers(queue, 3)] == [[ids[0]], [ids[1]], []]


def test_exact_name_counts_before_a_pattern_for_the_first_job(queue: JobQueue, put: Callable[..., bool]) -> None:
    put("tenant:*", Limit(max_running=9)), put("tenant:7", TWO)
    ids = [submit(queue, "tenant:7") for _ in range(3)]
    assert [claimed(each) for each in workers(queue, 3)] == [[ids[0]], [ids[1]], []]


def test_first_job_waits_while_its_limit_counts(
    queue: JobQueue, put: Callable[..., bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = submit(queue, "api"), submit(queue, "api")
    one, two = workers(queue, 2)
    assert claimed(one) == [first]
    monkeypatch.setattr("_jobqueue.store.limits.STEPS", 0)  # the call dies before it has counted
    put("api", TWO)
    assert claimed(two) == []
    tick(queue)
    assert claimed(two) == [second]


def test_first_job_that_nobody_may_start_is_left(queue: JobQueue, put: Callable[..., bool]) -> None:
    put("api", TWO)
    one, two = workers(queue, 2, "mail")
    echo = submit(queue, "api")
    assert claimed(one) == [], "it does not handle the type"
    queue.pause_type("default", "mail", True)
    mail = submit(queue, "api", type="mail")
    assert claimed(two) == []
    queue.pause_type("default", "mail", False)
    queue.pause("default")
    assert claimed(two) == []
    queue.pause("default", False)
    assert claimed(two) == [mail] and queue.get(echo).status == "queued"


def test_first_job_of_a_paused_queue_is_left(queue: JobQueue, put: Callable[..., bool]) -> None:
    put("api", TWO)
    (worker,) = workers(queue, 1)
    first = submit(queue, "api")
    queue.pause("default")
    assert claimed(worker) == []
    queue.pause("default", False)
    assert claimed(worker) == [first]


def test_first_job_whose_time_is_over_is_left(
    lua: Path, queue: JobQueue, server: Server, put: Callable[..., bool]
) -> None:
    server.client.set(CLOCK, 1_700_000_000_000)
    (worker,) = workers(queue, 1)
    put("api", TWO)
    late, first = submit(queue, "api", expires_s=1), submit(queue, "api")
    server.client.set(CLOCK, 1_700_000_001_001)
    assert claimed(worker) == [first] and queue.get(late).status == "cancelled"


def test_no_more_starts_are_kept_than_count(
    lua: Path, queue: JobQueue, server: Server, put: Callable[..., bool]
) -> None:
    server.client.set(CLOCK, 1_700_000_000_000)
    (worker,) = workers(queue, 1)
    put("api", Limit(starts=2, per_s=1))
    ids = [submit(queue, "api") for _ in range(5)]
    for n, job_id in enumerate(ids):
        server.client.set(CLOCK, 1_700_000_000_000 + 1001 * n)
        assert goes_on(worker) == [job_id] and server.client.llen(f"{Q}starts:api") == min(n + 1, 2)


@pytest.mark.parametrize("limit", [Limit(starts=2, per_s=10), Limit(max_running=5, starts=2, per_s=10)])
def test_first_job_notes_its_start(
    limit: Limit, lua: Path, queue: JobQueue, server: Server, put: Callable[..., bool]
) -> None:
    server.client.set(CLOCK, 1_700_000_000_000)
    (worker,) = workers(queue, 1)
    put("api", limit)
    ids = [submit(queue, "api") for _ in range(5)]
    assert goes_on(worker) == ids[:1]
    server.client.set(CLOCK, 1_700_000_004_000)
    assert goes_on(worker) == ids[1:2]
    worker.end("done")
    server.client.set(CLOCK, 1_700_000_010_000)
    assert claimed(worker) == [] and queue.check("default") == []
    server.client.set(CLOCK, 1_700_000_010_001)
    assert goes_on(worker) == ids[2:3] and goes_on(worker) == []
    server.client.set(CLOCK, 1_700_000_014_001)
    assert goes_on(worker) == ids[3:4]
    assert server.client.llen(f"{Q}starts:api") == 2


def test_first_job_under_a_limit_is_a_batch_of_its_own(
    queue: JobQueue, server: Server, put: Callable[..., bool]
) -> None:
    put("api", TWO)
    ids = [submit(queue, *limits) for limits in (["api"], ["api"], [], ["undefined"], [], ["api"], ["api"], [])]
    one, two = workers(queue, 2)
    assert goes_on(one, 10) == ids[:1] and goes_on(two, 10) == ids[1:2]
    assert server.client.smembers(f"{Q}permits:api") == set(ids[:2]) and queue.check("default") == []
    assert goes_on(one, 10) == ids[2:6], "others go together, up to the next under a limit"
    assert goes_on(one, 10) == ids[6:7] and queue.check("default") == []
    assert goes_on(two, 10) == ids[7:] and goes_on(one, 10) == goes_on(two, 10) == []
    assert server.client.exists(f"{Q}permits:api") == 0


def test_slot_that_wants_several_is_given_one_by_the_short_way(
    lua: Path, queue: JobQueue, server: Server, put: Callable[..., bool]
) -> None:
    server.client.set(CLOCK, 1_700_000_000_000)
    change(lua, "parts/limited_claims.lua", "local jobs, ids, leases,", "do return nil end\n  local jobs, ids, leases,")
    put("api", TWO)
    ids = [submit(queue, "api") for _ in range(3)]
    (worker,) = workers(queue, 1)
    assert [goes_on(worker, 10) for _ in range(4)] == [*([each] for each in ids), []]


# --------------------------------------------------------------------------------------------------- from hand to hand


def test_next_that_waits_takes_the_permit(queue: JobQueue, server: Server, put: Callable[..., bool]) -> None:
    put("api")
    ids = [submit(queue, "api") for _ in range(4)]
    one, two = workers(queue, 2)
    assert claimed(one) == ids[:1] and claimed(two) == []
    for job_id in ids[1:]:
        assert goes_on(one) == [job_id], "in their order"
        assert server.client.smembers(f"{Q}permits:api") == {job_id} and queue.check("default") == []
        assert claimed(two) == []
    assert server.client.zcard(f"{Q}held") == server.client.zcard(f"{Q}shut") == 0, "nobody waits any more"
    last = submit(queue, "api")
    assert claimed(two) == [] and goes_on(one) == [last]


def test_job_that_was_handed_over_gives_all_its_permits_back(
    queue: JobQueue, server: Server, put: Callable[..., bool]
) -> None:
    put("api"), put("type:echo", Limit(max_running=5))
    ids = [submit(queue, "api") for _ in range(3)]
    one, two = workers(queue, 2)
    assert claimed(one) == ids[:1] and claimed(two) == []
    for job_id in ids[1:]:
        assert goes_on(one) == [job_id]
        assert server.client.smembers(f"{Q}permits:type:echo") == {job_id}
    assert goes_on(one) == [] and queue.check("default") == []


def test_two_permits_that_come_back_let_two_in(queue: JobQueue, server: Server, put: Callable[..., bool]) -> None:
    put("api", Limit(max_running=3))
    ids = [submit(queue, "api") for _ in range(6)]
    one, two, three, four = workers(queue, 4)
    running = [job for each in (one, two, three) for job in each.claim()]
    assert four.claim() == []
    two.settle(ended(running[1]))
    assert [job.id for job in four.claim()] == ids[3:4]
    server.client.srem(f"{Q}permits:api", running[2].id)  # as if it had ended, and nobody had heard of it
    assert goes_on(one) == ids[4:5]
    assert claimed(two) == ids[5:], "there is room for one more"


def test_hand_over_lets_better_ones_first(queue: JobQueue, put: Callable[..., bool]) -> None:
    put("api")
    ids = [submit(queue, "api") for _ in range(2)]
    one, two = workers(queue, 2)
    assert claimed(one) == ids[:1] and claimed(two) == []
    better = submit(queue, priority=9)
    assert goes_on(one) == [better], "free, and better"
    assert claimed(two) == ids[1:]


def test_hand_over_looks_at_all_types_that_wait(queue: JobQueue, put: Callable[..., bool]) -> None:
    put("api")
    kinds = ["echo", "mail", "echo", "mail", "mail", "echo"]
    ids = [submit(queue, "api", type=kind) for kind in kinds]
    one, two = workers(queue, 2)
    assert claimed(one) == ids[:1] and claimed(two) == []
    assert [goes_on(one) for _ in kinds] == [*([each] for each in ids[1:]), []]


def test_hand_over_looks_at_all_lanes_of_a_limit(queue: JobQueue, put: Callable[..., bool]) -> None:
    """Each lane holds the jobs that name the same limits."""
    put("api"), put("cpu", TWO)
    names = [["api"], ["api", "cpu"], ["api"], ["api"], ["api", "cpu"], ["api"]]
    ids = [submit(queue, *each) for each in names]
    one, two = workers(queue, 2)
    assert claimed(one) == ids[:1] and claimed(two) == []
    assert [goes_on(one) for _ in names] == [*([each] for each in ids[1:]), []]
    assert queue.check("default") == []


@pytest.mark.parametrize("other", [ONE, Limit(starts=1, per_s=60)])
def test_hand_over_leaves_what_another_limit_holds(other: Limit, queue: JobQueue, put: Callable[..., bool]) -> None:
    put("api"), put("cpu", other)
    running, both, free = submit(queue, "api"), submit(queue, "api", "cpu"), submit(queue, "api")
    one, two, three = workers(queue, 3)
    assert claimed(one) == [running] and claimed(two) == []
    cpu = submit(queue, "cpu", priority=9)
    assert claimed(three) == [cpu]
    assert goes_on(one) == [free], "it overtakes the one that waits for both"
    assert queue.get(both).status == "queued" and queue.check("default") == []


def test_hand_over_notes_the_start_once(queue: JobQueue, server: Server, put: Callable[..., bool]) -> None:
    put("api", Limit(max_running=1, starts=4, per_s=3600))
    ids = [submit(queue, "api") for _ in range(6)]
    one, two = workers(queue, 2)
    assert claimed(one) == ids[:1] and claimed(two) == []
    assert [goes_on(one) for _ in range(4)] == [ids[1:2], ids[2:3], ids[3:4], []]
    assert server.client.llen(f"{Q}starts:api") == 4 and queue.check("default") == []


def test_hand_over_obeys_pauses_and_types(queue: JobQueue, put: Callable[..., bool]) -> None:
    put("api")
    ids = [submit(queue, "api"), *(submit(queue, "api", type="mail") for _ in range(2))]
    one, two = workers(queue, 2)
    echo = Worker(queue, "echo").handles("echo")
    assert claimed(echo) == ids[:1] and claimed(one) == []
    assert goes_on(echo) == [], "it does not handle that type"
    assert goes_on(one) == ids[1:2] and claimed(two) == []
    queue.pause_type("default", "mail", True)
    assert goes_on(one) == []
    queue.pause_type("default", "mail", False)
    assert goes_on(one) == ids[2:] and queue.check("default") == []


@pytest.mark.parametrize("how", ["echo", "other", "paused"])
def test_what_is_not_handed_over_lets_others_in(how: str, queue: JobQueue, put: Callable[..., bool]) -> None:
    """Its limit does not stay shut with nobody under it."""
    put("api")
    kind = "echo" if how == "paused" else "mail"
    first = submit(queue, "api")
    waits = [submit(queue, "api", type=kind), *([submit(queue, "api")] if how == "other" else [])]
    echo, both = Worker(queue, "echo").handles("echo"), Worker(queue, "both").handles("echo", "mail")
    assert claimed(echo) == [first] and claimed(both) == []
    if how == "paused":
        queue.pause_type("default", "echo", True)
    assert goes_on(echo) == (waits[1:] if how == "other" else [])
    if how == "paused":
        queue.pause_type("default", "echo", False)
    if how == "other":
        echo.end("done")
    assert claimed(both) == waits[:1] and queue.check("default") == []
