"""What a process of the record reads, confirms, sets aside, gives up; how marking starts, stops, and outlives a failover."""

from __future__ import annotations

import pytest

from _jobqueue.logs import Log
from jobqueue import Conflict, JobQueue, NewJob, NotFound
from reaper import Reaper
from tests.harness import Server
from tests.played import RETENTION_MS, Q, Worker, now_ms, recover, run_script, snapshot, tick, total
from tests.queue.marking import HOLD, Scene, kept


@pytest.fixture
def scene(jobs: JobQueue, server: Server, hand: Worker) -> Scene:
    return kept(jobs, server, hand)


# ------------------------------------------------------------------------------------------------------- revisions


def test_a_script_has_one_revision_and_the_next_a_greater_one(scene: Scene) -> None:
    revs = []
    for _ in range(20):
        new = {job.id for job in scene.submit(3)}
        [rev] = {rev for job_id, rev in scene.marked().items() if job_id in new}
        revs.append(rev)
    assert revs == sorted(set(revs)) and scene.jobs.marks.read("default").rev == revs[-1]


def test_a_revision_rises_though_the_clock_goes_back(scene: Scene, server: Server) -> None:
    ahead = (now_ms(server) + 3_600_000) * 1000
    server.client.hset(f"{Q}meta", "rev", ahead)
    job = scene.submit()[0]
    assert scene.marked() == {job.id: ahead + 1}


def test_a_job_that_has_changed_since_it_was_read_stays_marked(scene: Scene) -> None:
    first, second = scene.submit(2)
    read = scene.jobs.marks.read("default").jobs
    scene.jobs.cancel(second.id)
    scene.jobs.marks.confirm("default", read)
    assert scene.marked().keys() == {second.id}
    [left] = scene.jobs.marks.read("default").jobs
    assert left.job and (left.job.status, left.job.id) == ("cancelled", second.id)
    assert first.id not in scene.marked()


# -------------------------------------------------------------------------------------------------- what is gone


def test_a_trimmed_job_is_gone_at_once_and_still_read_whole(scene: Scene) -> None:
    [job_id] = scene.settle("done")
    before = scene.jobs.get(job_id)
    tick(scene.jobs, retention_ms={"done": 0})
    with pytest.raises(NotFound):
        scene.jobs.get(job_id)
    [unsaved] = scene.jobs.marks.read("default").jobs
    assert (unsaved.job, unsaved.deleted) == (before, False)
    scene.save()
    assert not scene.server.client.keys(f"{Q}gone:*")


def test_of_a_deleted_job_nothing_is_left_that_it_held(scene: Scene) -> None:
    job = scene.jobs.submit(payload={"secret": "s3cret"}, tags=["t"])
    scene.hand.give("failed", message="s3cret")
    scene.jobs.delete(job.id)
    assert "s3cret" not in str(snapshot(scene.server))
    [unsaved] = scene.jobs.marks.read("default").jobs
    assert unsaved.deleted and unsaved.job
    assert (unsaved.job.payload, unsaved.job.errors, unsaved.job.status, unsaved.job.tags) == (
        None,
        [],
        "failed",
        ["t"],
    )
    scene.save()
    assert not scene.server.client.keys(f"{Q}gone:*")


def test_an_id_that_is_used_again_is_read_in_its_second_life(scene: Scene) -> None:
    job = scene.jobs.submit(payload=1, key="k")
    scene.hand.give("done")
    tick(scene.jobs, retention_ms={"done": 0})
    scene.server.client.delete(f"{Q}idem:k", "jq:idem:k")
    again = scene.jobs.submit_many([NewJob(payload=1)], key="k")[0].job
    assert again and scene.jobs.get(again.id).status == "queued"
    statuses = {each.id: each.job.status for each in scene.jobs.marks.read("default").jobs if each.job}
    assert statuses == {job.id: "done", again.id: "queued"}
    scene.save()
    assert not scene.server.client.keys(f"{Q}gone:*")


def test_a_mark_of_which_nothing_is_left_is_dropped(scene: Scene) -> None:
    job = scene.submit()[0]
    scene.server.client.delete(f"{Q}job:{job.id}")  # as a program of the release before deletes
    scene.server.client.zrem(f"{Q}queue", job.id)
    [lost] = scene.jobs.marks.read("default").jobs
    assert (lost.id, lost.job, lost.why) == (job.id, None, "")
    scene.save()
    run_script(scene.jobs, "repair", "default", [1])


@pytest.mark.parametrize("wrong", ["kept by nobody", "nothing left", "not marked"])
def test_the_checker_finds_marks_that_are_wrong_and_removes_them(scene: Scene, wrong: str) -> None:
    [job_id] = scene.settle("done")
    assert scene.jobs.check("default") == []
    tick(scene.jobs, retention_ms={"done": 0})
    assert scene.jobs.check("default") == []
    client = scene.server.client
    if wrong == "kept by nobody":
        client.hdel(f"{Q}meta", "rev")
    else:
        client.delete(f"{Q}gone:{job_id}" if wrong == "nothing left" else f"{Q}unsaved")
    [said] = scene.jobs.check("default", repair=True)
    assert job_id in said
    assert scene.jobs.check("default") == []
    assert not client.exists(f"{Q}unsaved", f"{Q}gone:{job_id}")


def test_what_the_record_refuses_is_set_aside_until_it_changes(scene: Scene) -> None:
    bad, good = scene.submit(2)
    read = {each.id: each for each in scene.jobs.marks.read("default").jobs}
    scene.jobs.marks.confirm("default", [read[good.id]], [(read[bad.id], "a NUL")])
    assert scene.jobs.marks.read("default").jobs == []
    backlog = scene.jobs.books("default").record
    assert backlog and (backlog.refused, backlog.refused_id, backlog.refused_why) == (1, bad.id, "a NUL")
    scene.jobs.cancel(bad.id)
    scene.save()
    backlog = scene.jobs.books("default").record
    assert backlog and (backlog.size, backlog.refused) == (0, 0)


def test_what_was_refused_can_be_tried_again_even_after_its_retention(scene: Scene) -> None:
    [bad] = scene.settle("done")
    [read] = scene.jobs.marks.read("default").jobs
    scene.jobs.marks.confirm("default", [], [(read, "a NUL")])
    tick(scene.jobs, retention_ms={"done": 0})
    assert scene.jobs.marks.read("default").jobs == []
    scene.jobs.marks.try_again("default")
    assert scene.jobs.marks.read("default").jobs == [read]
    assert bad == read.id
    scene.save()


# ------------------------------------------------------------------------------------------------------ how much


def test_more_than_may_be_held_is_given_up_oldest_first(scene: Scene) -> None:
    scene.jobs.marks.keep("default", 5)
    oldest = [scene.submit()[0].id for _ in range(3)]
    scene.hand.give("done", 3)
    tick(scene.jobs, retention_ms={"done": 0})
    last = scene.submit(5)
    assert scene.marked().keys() == {*oldest, *(job.id for job in last)}
    tick(scene.jobs)
    assert scene.marked().keys() == {job.id for job in last}
    assert not scene.server.client.keys(f"{Q}gone:*")
    assert total(scene.jobs, "unrecorded") == 3
    assert scene.jobs.marks.give_up("default") == 0


def test_a_tick_gives_up_as_many_as_there_are_in_bounded_steps(scene: Scene) -> None:
    scene.jobs.marks.keep("default", 5)
    for _ in range(7):
        scene.submit(100)
    recover(scene.jobs, [], 500, RETENTION_MS)
    assert len(scene.marked()) == 450
    Reaper(scene.jobs, 10.0, RETENTION_MS, Log("reaper")).tick()
    assert len(scene.marked()) == 5


def test_many_jobs_are_read_in_steps_of_bytes(scene: Scene) -> None:
    for _ in range(12):
        scene.submit(payload="x" * 1_000_000)
    sizes = []
    while jobs := scene.jobs.marks.read("default").jobs:
        sizes.append(len(jobs))
        scene.jobs.marks.confirm("default", jobs)
    assert sizes == [9, 3]


def test_a_queue_is_not_forgotten_before_the_record_knows(scene: Scene) -> None:
    job = scene.submit()[0]
    scene.jobs.delete(job.id)
    with pytest.raises(Conflict, match="the record has still to learn of 1 change"):
        scene.jobs.delete_queue("default")
    scene.save()
    scene.jobs.delete_queue("default")
    left = set(scene.server.client.keys("jq:{default}:*"))
    assert not {key for key in left if "unsaved" in key or "gone" in key or "meta" in key}


# ---------------------------------------------------------------------------------------------------- start and stop


def test_what_was_there_before_is_found_and_marked(jobs: JobQueue, server: Server, hand: Worker) -> None:
    there = {each.job.id for each in jobs.submit_many([NewJob() for _ in range(600)]) if each.job}
    hand.give("done", 100)
    hand.claim(10)
    assert not server.client.exists(f"{Q}unsaved")
    assert jobs.marks.keep("default", HOLD) and not jobs.marks.keep("default", HOLD)
    assert sum(jobs.marks.mark("default", ids) for ids in jobs.marks.held("default")) == 600
    assert set(server.client.zrange(f"{Q}unsaved", 0, -1)) == there
    assert sum(jobs.marks.mark("default", ids) for ids in jobs.marks.held("default")) == 0


def test_after_a_stop_nothing_is_marked_and_nothing_is_left(scene: Scene) -> None:
    job = scene.submit(300)[0]
    scene.jobs.delete(job.id)
    assert scene.jobs.marks.read("default").size == 300
    assert not scene.jobs.marks.stop("default"), "its process lives"
    scene.server.client.hset(f"{Q}meta", "history", f"{now_ms(scene.server) - 20_000} ")
    assert scene.jobs.marks.stop("default")
    scene.submit()
    assert scene.jobs.books("default").record is None
    assert not [key for key in snapshot(scene.server) if "unsaved" in key or "gone:" in key or "aside" in key]
    assert not {"rev", "hold", "history"} & scene.server.client.hgetall(f"{Q}meta").keys()


def test_after_a_failover_marks_rise_above_the_record(scene: Scene, server: Server) -> None:
    old = {job.id for job in scene.submit(300)}
    highest = (now_ms(server) + 3_600_000) * 1000
    scene.jobs.marks.raise_above("default", highest)
    assert set(scene.marked().values()) == {highest + 1} and scene.marked().keys() == old
    new = scene.submit()[0]
    assert scene.marked()[new.id] == highest + 2
    before = scene.marked()
    scene.jobs.marks.raise_above("default", highest)
    assert scene.marked() == before, "sent again it changes nothing"


def test_a_failover_is_still_seen_when_its_process_dies_in_between(scene: Scene, server: Server) -> None:
    scene.submit(300)
    highest = (now_ms(server) + 3_600_000) * 1000
    assert run_script(scene.jobs, "raise", "default", [highest, 250]) == 0
    assert (scene.jobs.marks.read("default").rev or 0) < highest
    late = scene.submit()[0]
    scene.jobs.marks.raise_above("default", highest)
    assert scene.marked()[late.id] > highest and min(scene.marked().values()) > highest
