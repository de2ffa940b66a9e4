"""Marks for the record: each transition leaves exactly its own, and none where no record was ever kept."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from _jobqueue.records import BACKOFF, IN_PLACE, NEVER, Held, Settlement
from jobqueue import Conflict, Filter, JobQueue, NewJob
from tests.harness import Server
from tests.played import UNHANDLED_MS, Q, Worker, now_ms, passes, tick
from tests.queue.marking import HOLD, Scene, kept


@pytest.fixture
def scene(jobs: JobQueue, server: Server, hand: Worker) -> Scene:
    return kept(jobs, server, hand)


# ------------------------------------------------------------------------------------------------ each transition

# Each prepares what the record knows, changes something, and returns the ids that must then be marked.


def submitted(s: Scene) -> set[str]:
    return {job.id for job in s.submit(3)}


def submitted_for_later(s: Scene) -> set[str]:
    return {job.id for job in s.submit(delay_s=60)}


def submitted_again(s: Scene) -> set[str]:
    s.jobs.submit(key="k")
    s.save()
    s.jobs.submit(key="k")
    return set()


def submitted_beside_one_that_lives(s: Scene) -> set[str]:
    s.submit(unique_key="u")
    s.save()
    new = s.jobs.submit_many([NewJob(unique_key="u"), NewJob()])
    return {new[1].job.id} if new[1].job else set()


def claimed(s: Scene) -> set[str]:
    s.submit()
    s.save()
    s.hand.claim()
    return set()


def parked(s: Scene) -> set[str]:
    s.submit(type="other")
    s.save()
    s.hand.handles("echo").claim()
    assert s.server.client.zcard(f"{Q}held") == 1
    return set()


def renewed(s: Scene) -> set[str]:
    [job] = s.run()
    s.hand.beat(Held(job.id, job.token, 1000, ["progress", "{}"]))
    return set()


def done_and_next_claimed(s: Scene) -> set[str]:
    [first] = s.run()
    s.submit()
    s.save()
    s.hand.exchange(Settlement(first.id, first.token, "done"), want=1)
    return {first.id}


def settled_again(s: Scene) -> set[str]:
    [job] = s.run()
    s.hand.exchange(Settlement(job.id, job.token, "done"), want=1)
    s.save()
    s.hand.again()
    s.hand.settle(Settlement(job.id, job.token, "done"))
    return set()


def refused(s: Scene) -> set[str]:
    [job] = s.run()
    assert s.hand.settle(Settlement(job.id, "somebody-1:1", "done")) == [False]
    return set()


def dropped(s: Scene) -> set[str]:
    jobs = s.run(n=2)
    s.hand.exchange(want=0)
    return {job.id for job in jobs}


def never_seen(s: Scene) -> set[str]:
    job = s.submit()[0]
    s.hand.exchange(want=1, lost=True)
    s.save()
    s.hand.exchange(want=0)
    return {job.id}


def promoted(s: Scene) -> set[str]:
    [job, other] = s.submit(2, delay_s=60)
    s.save()
    passes(s.server, "scheduled", job)
    tick(s.jobs)
    assert s.jobs.get(other.id).status == "scheduled"
    return {job.id}


def reaped(s: Scene) -> set[str]:
    [job, _] = s.run(n=2)
    passes(s.server, "leases", job)
    tick(s.jobs)
    return {job.id}


def buried_by_reaper(s: Scene) -> set[str]:
    [job] = s.run(attempts=1)
    passes(s.server, "leases", job)
    assert tick(s.jobs) == ["failed"]
    return {job.id}


def nobody_handles(s: Scene) -> set[str]:
    job = s.submit(type="other")[0]
    s.save()
    s.server.client.hset(f"{Q}job:{job.id}", "created", now_ms(s.server) - 2 * UNHANDLED_MS)
    s.server.client.hset(f"{Q}meta", "untold", 1)
    tick(s.jobs)
    assert s.jobs.get(job.id).status == "failed"
    return {job.id}


def cancelled(s: Scene) -> set[str]:
    job = s.submit()[0]
    s.save()
    s.jobs.cancel(job.id)
    return {job.id}


def asked_to_cancel(s: Scene) -> set[str]:
    [job] = s.run()
    s.jobs.cancel(job.id)
    return set()


def cancelled_while_running(s: Scene) -> set[str]:
    [job] = s.run()
    s.jobs.cancel(job.id)
    s.hand.settle(Settlement(job.id, job.token, "released"))
    assert s.jobs.get(job.id).status == "cancelled"
    return {job.id}


def retried(s: Scene) -> set[str]:
    [letter] = s.settle("failed", NEVER)
    s.save()
    s.jobs.retry(letter)
    return {letter}


def retry_refused(s: Scene) -> set[str]:
    [job] = s.settle("done")
    s.save()
    with pytest.raises(Conflict):
        s.jobs.retry(job)
    return set()


def run_now(s: Scene) -> set[str]:
    job = s.submit(delay_s=60)[0]
    s.save()
    s.jobs.run_now(job.id)
    s.jobs.run_now(job.id)
    return {job.id}


def deleted(s: Scene) -> set[str]:
    [job] = s.settle("done")
    s.save()
    s.jobs.delete(job)
    return {job}


def delete_refused(s: Scene) -> set[str]:
    [job] = s.run()
    with pytest.raises(Conflict):
        s.jobs.delete(job.id)
    return set()


def deleted_in_bulk(s: Scene) -> set[str]:
    jobs = s.submit(5)
    s.save()
    s.jobs.sweep("delete", Filter("queued"))
    return {job.id for job in jobs}


def trimmed(s: Scene) -> set[str]:
    s.settle("done")
    s.save()
    tick(s.jobs, retention_ms={"done": 0})
    assert s.jobs.books("default").sizes["done"] == 0
    return set()


def trimmed_before_it_was_written(s: Scene) -> set[str]:
    jobs = s.settle("done")
    tick(s.jobs, retention_ms={"done": 0})
    assert s.jobs.books("default").sizes["done"] == 0
    return jobs


def repaired(s: Scene) -> set[str]:
    job = s.submit()[0]
    s.save()
    s.server.client.zrem(f"{Q}queue", job.id)
    assert s.jobs.check("default", repair=True)
    return {job.id}


def paused_and_resumed(s: Scene) -> set[str]:
    s.submit()
    s.save()
    for paused in (True, False):
        s.jobs.pause("default", paused)
        s.jobs.pause_type("default", "echo", paused)
    return set()


# Jobs that wait for others. A child's status may change in whichever script ends its parent.


def submitted_to_wait(s: Scene) -> set[str]:
    return set(s.flow(NewJob(name="parent"), NewJob(after=["parent"])))


def one_of_two_parents_done(s: Scene) -> set[str]:
    first, *_ = s.flow(NewJob(), NewJob(), NewJob(after=["*"]))
    s.save()
    s.hand.give("done")
    return {first}


def child_released(s: Scene) -> set[str]:
    family = s.flow(NewJob(), NewJob(after=["*"]))
    s.save()
    s.hand.give("done")
    assert s.jobs.get(family[1]).status == "queued"
    return set(family)


def child_released_for_later(s: Scene) -> set[str]:
    family = s.flow(NewJob(), NewJob(after=["*"], delay_s=60))
    [job] = s.hand.claim()
    s.save()
    s.hand.exchange(Settlement(job.id, job.token, "done"), want=1)
    assert s.jobs.get(family[1]).status == "scheduled"
    return set(family)


def child_of_a_dropped_job_released(s: Scene) -> set[str]:
    family = s.flow(NewJob(max_attempts=1), NewJob("other", after=["*"], when="ended"))
    s.hand.claim()
    s.save()
    s.hand.exchange(want=0)
    assert s.jobs.get(family[1]).status == "queued"
    return set(family)


def chain_cancelled(s: Scene) -> set[str]:
    family = s.flow(NewJob(name="a"), NewJob(name="b", after=["a"]), NewJob(after=["b"]))
    s.save()
    s.jobs.cancel(family[0])
    assert s.jobs.get(family[2]).status == "cancelled"
    return set(family)


def parent_deleted(s: Scene) -> set[str]:
    family = s.flow(NewJob(), NewJob(after=["*"]))
    s.save()
    s.jobs.delete(family[0])
    assert s.jobs.get(family[1]).status == "cancelled"
    return set(family)


def parent_trimmed(s: Scene) -> set[str]:
    _, child = s.flow(NewJob(), NewJob(after=["*"]))
    s.hand.give("failed")
    s.save()
    tick(s.jobs, retention_ms={"failed": 0})
    assert (s.jobs.books("default").sizes["failed"], s.jobs.get(child).status) == (0, "cancelled")
    return {child}


def parent_reaped(s: Scene) -> set[str]:
    family = s.flow(NewJob(max_attempts=1), NewJob(after=["*"], when="ended"))
    [job] = s.hand.claim()
    s.save()
    passes(s.server, "leases", job)
    assert tick(s.jobs) == ["failed"]
    assert s.jobs.get(family[1]).status == "queued"
    return set(family)


def nobody_handles_a_parent(s: Scene) -> set[str]:
    family = s.flow(NewJob("other"), NewJob(after=["*"], when="ended"))
    s.save()
    s.server.client.hset(f"{Q}job:{family[0]}", "created", now_ms(s.server) - 2 * UNHANDLED_MS)
    s.server.client.hset(f"{Q}meta", "untold", 1)
    tick(s.jobs)
    assert s.jobs.get(family[1]).status == "queued"
    return set(family)


def told_by_the_reaper(s: Scene) -> set[str]:
    _, *children = s.flow(NewJob(name="p"), *(NewJob(after=["p"]) for _ in range(300)))
    s.hand.give("done")
    later = {child for child in children if s.jobs.get(child).status == "blocked"}
    assert 0 < len(later) < 300
    s.save()
    tick(s.jobs)
    return later


def retried_to_wait(s: Scene) -> set[str]:
    parent, child = s.flow(NewJob(), NewJob(after=["*"]))
    s.jobs.cancel(parent)
    s.save()
    s.jobs.retry(child)
    assert s.jobs.get(child).status == "blocked"
    return {child}


def edge_repaired(s: Scene) -> set[str]:
    parent, child = s.flow(NewJob(), NewJob(after=["*"]))
    s.save()
    born = s.server.client.hget(f"{Q}job:{child}", "born")
    s.server.client.zadd(f"{Q}then:{parent}", {child: -int(born)})
    s.jobs.store.run("edges", "default", [1, parent, child])
    assert s.jobs.get(child).status == "queued"
    return {child}


def parent_repaired(s: Scene) -> set[str]:
    family = s.flow(NewJob(max_attempts=1), NewJob(after=["*"], when="ended"))
    s.save()
    s.server.client.hset(f"{Q}job:{family[0]}", "attempts", 1)
    assert s.jobs.check("default", repair=True)
    assert [s.jobs.get(job_id).status for job_id in family] == ["failed", "queued"]
    return set(family)


TABLE: dict[str, Callable[[Scene], set[str]]] = {
    each.__name__: each
    for each in (
        *(submitted, submitted_for_later, submitted_again, submitted_beside_one_that_lives, claimed, parked, renewed),
        *(done_and_next_claimed, settled_again, refused, dropped, never_seen, promoted, reaped, buried_by_reaper),
        *(nobody_handles, cancelled, asked_to_cancel, cancelled_while_running, retried, retry_refused, run_now),
        *(deleted, delete_refused, deleted_in_bulk, trimmed, trimmed_before_it_was_written, repaired),
        *(paused_and_resumed, submitted_to_wait, one_of_two_parents_done, child_released, child_released_for_later),
        *(child_of_a_dropped_job_released, chain_cancelled, parent_deleted, parent_trimmed, parent_reaped),
        *(nobody_handles_a_parent, told_by_the_reaper, retried_to_wait, edge_repaired, parent_repaired),
    )
}
SETTLED = {
    "done": ("done", BACKOFF, 2),
    "failed, to be tried again": ("failed", BACKOFF, 2),
    "failed, at once again": ("failed", IN_PLACE, 2),
    "failed for good": ("failed", NEVER, 2),
    "failed at its last attempt": ("failed", BACKOFF, 1),
    "cancelled by its handler": ("cancelled", BACKOFF, 2),
    "given back": ("released", BACKOFF, 2),
}


@pytest.mark.parametrize("name", TABLE)
def test_a_transition_leaves_exactly_its_marks(name: str, scene: Scene) -> None:
    assert TABLE[name](scene) == scene.marked().keys()


@pytest.mark.parametrize("name", SETTLED)
def test_a_settlement_leaves_its_mark(name: str, scene: Scene) -> None:
    assert scene.settle(*SETTLED[name]) == scene.marked().keys()


def test_claims_are_marked_where_the_record_wants_them(scene: Scene) -> None:
    scene.jobs.marks.keep("default", HOLD, claims=True)
    job = scene.submit()[0]
    scene.save()
    claimed = scene.hand.claim()
    assert scene.marked().keys() == {job.id}
    scene.hand.end("done", *claimed)
    scene.jobs.marks.keep("default", HOLD)
    scene.save()
    scene.submit()
    scene.save()
    scene.hand.claim()
    assert not scene.marked()


# ------------------------------------------------------------------------------------------------- never started


@pytest.mark.parametrize("name", [*TABLE, *SETTLED])
def test_where_no_record_was_ever_kept_nothing_is_marked(
    name: str, jobs: JobQueue, server: Server, hand: Worker
) -> None:
    scene = Scene(jobs, server, hand)
    if name in TABLE:
        TABLE[name](scene)
    else:
        scene.settle(*SETTLED[name])
    keys = {key.rpartition("}:")[2].partition(":")[0] for key in server.client.scan_iter()}
    assert not keys & {"unsaved", "aside", "gone"}
    assert not {"rev", "rev_claims", "hold", "history"} & server.client.hgetall(f"{Q}meta").keys()


def test_where_no_record_was_ever_kept_a_job_costs_the_commands_that_it_always_did(
    jobs: JobQueue, server: Server, hand: Worker
) -> None:
    hand.handles("echo")
    hand.give("done", 1 if jobs.submit() else 0)

    def commands_of(call: Callable[[], object]) -> str:
        server.client.config_resetstat()
        call()
        stats = server.client.info("commandstats")
        counts = {name.removeprefix("cmdstat_"): row["calls"] for name, row in stats.items()}
        known = counts.keys() - OF_NO_SCRIPT
        return " ".join(f"{name}={counts[name]}" for name in sorted(known))

    costs = {"submit": commands_of(jobs.submit)}
    [claimed] = hand.exchange(want=1)[1]
    jobs.submit()
    end = Settlement(claimed.id, claimed.token, "done")
    costs["exchange"] = commands_of(lambda: hand.exchange(end, want=1))
    [job] = jobs.page(Filter("processing")).jobs
    costs["settle"] = commands_of(lambda: hand.settle(Settlement(job.id, hand.call.token, "done")))
    failed = jobs.submit(max_attempts=1)
    hand.give("failed")
    costs["retry"] = commands_of(lambda: jobs.retry(failed.id))
    assert costs == COSTS


# What the test itself sends, under its names since Redis 6.2; an expiry is set by a minute's first counter.
OF_NO_SCRIPT = {"info", "eval", "evalsha", "expire", "config", "config|resetstat", "client", "client|setname"}
COSTS = {  # of a queue that no record was ever kept of
    "submit": "exists=1 hincrby=3 hmget=1 hset=1 llen=2 time=1 zadd=1 zrank=1",
    "exchange": "del=1 hget=1 hgetall=1 hincrby=2 hmget=2 hset=3 llen=1 lrange=1 rpush=1 time=1 zadd=2 zrange=1 zrem=2 zscore=1",
    "settle": "hget=1 hincrby=2 hmget=2 hset=1 llen=2 lrem=1 time=1 zadd=1 zrem=1",
    "retry": "exists=1 hdel=1 hincrby=3 hmget=2 hset=1 llen=2 srem=1 time=2 zadd=1 zrem=2",
}
