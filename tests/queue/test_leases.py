"""What a worker's beat and a reaper do, on a real Redis: that the wrong holder is told so, that looking too early changes nothing.

Time passes by moving scores: nothing here waits."""

from __future__ import annotations

import pytest

from _jobqueue.records import IN_PLACE, Held, Settlement
from _jobqueue.store.ids import new_id
from jobqueue import Filter, JobQueue, NewJob, NotFound
from tests.harness import Server
from tests.played import (
    LEASE_MS,
    RETENTION_MS,
    Q,
    Worker,
    ended,
    ids,
    now_ms,
    passes,
    recover,
    score,
    snapshot,
    tick,
    total,
)

pytestmark = pytest.mark.usefixtures("in_the_end_all_is_well")


# ---------------------------------------------------------------------------------------------------------------- beat


def test_beat_renews_the_lease_and_stores_the_progress(queue: JobQueue, server: Server, worker: Worker) -> None:
    queue.submit()
    [job] = worker.claim()
    passes(server, "leases", job)
    before = now_ms(server)
    assert worker.beat(Held(job.id, job.token, 60_000, ["progress", '{"fraction":0.5}', "log", "one\ntwo"])) == ["ok"]
    assert score(server, "leases", job.id) >= before + LEASE_MS
    assert tick(queue) == []
    stored = queue.get(job.id)
    assert (stored.progress, stored.log) == ({"fraction": 0.5}, ["one", "two"])
    assert queue.look("default").workers["w"]["host"] == "here"


def test_beat_renews_no_lease_beyond_the_timeout(queue: JobQueue, server: Server, worker: Worker) -> None:
    queue.submit()
    [job] = worker.claim()
    worker.beat(Held(job.id, job.token, 3000))
    renewed = score(server, "leases", job.id)
    assert renewed - now_ms(server) == pytest.approx(4000, abs=2000)
    assert worker.beat(Held(job.id, job.token, -5000)) == ["ok"]
    assert score(server, "leases", job.id) == renewed


def test_beat_of_the_wrong_holder_is_told_that_the_job_is_lost(queue: JobQueue, server: Server, worker: Worker) -> None:
    queue.submit()
    [job] = worker.claim()
    before = snapshot(server)
    wrong = [Held(job.id, token, 60_000, ["progress", "0"]) for token in ("w-1:2", "other-1:1", "w-2:1")]
    assert Worker(queue, "other").beat(*wrong) == ["lost"] * 3
    for key in (f"{Q}leases", f"{Q}job:{job.id}"):
        assert snapshot(server)[key] == before[key]


def test_beat_after_reap_or_finish_is_told_that_the_job_is_lost(
    queue: JobQueue, server: Server, worker: Worker
) -> None:
    queue.submit_many([NewJob()] * 2)
    taken_back, finished = worker.claim(2)
    passes(server, "leases", taken_back)
    tick(queue)
    worker.settle(ended(finished))
    assert worker.beat(*[Held(job.id, job.token, 60_000) for job in (taken_back, finished)]) == ["lost", "lost"]
    assert server.client.exists(f"{Q}leases") == 0


def test_beat_sent_twice_is_one_beat(queue: JobQueue, worker: Worker) -> None:
    queue.submit()
    [job] = worker.claim()
    held = Held(job.id, job.token, 60_000)
    assert worker.beat(held, held) == worker.beat(held, held) == ["ok", "ok"]
    assert queue.get(job.id).attempts == 1
    assert list(queue.look("default").workers) == ["w"]


def test_beat_hears_whether_a_reaper_lives(queue: JobQueue, server: Server, worker: Worker) -> None:
    def lives() -> bool:
        return worker.presence.beat({}, {})[0]

    assert not lives()
    tick(queue)
    assert lives()
    server.client.hincrby(f"{Q}meta", "reaper", -15_001)
    assert not lives()


# ---------------------------------------------------------------------------------------------------------------- reap


def test_expired_lease_is_taken_back_to_its_old_place(queue: JobQueue, server: Server, worker: Worker) -> None:
    first, second = queue.submit(), queue.submit()
    passes(server, "leases", *worker.claim())
    server.client.delete(f"{Q}bell")
    assert tick(queue) == ["queued"]
    stored = queue.get(first.id)
    assert (stored.status, stored.position, stored.attempts, stored.worker) == ("queued", 1, 1, None)
    assert [(error["kind"], error["message"]) for error in stored.errors] == [("lease_expired", "its lease ran out")]
    assert queue.get(second.id).position == 2
    assert server.client.llen(f"{Q}bell") == 1


def test_lease_that_has_not_run_out_is_left_alone(queue: JobQueue, server: Server, worker: Worker) -> None:
    queue.submit()
    worker.claim()
    before = snapshot(server)
    assert tick(queue) == []
    after = snapshot(server)
    assert after.pop(f"{Q}meta").keys() - before.pop(f"{Q}meta").keys() == {
        *("about", "reaper", "reaper_lease", "tells", "untold", "hooks")
    }
    assert before.pop(f"{Q}strange") == {"echo"}, "no worker has published it; now none of its jobs waits"
    assert after == before


@pytest.mark.parametrize("since", ["renewed", "settled", "claimed anew", "reaped"])
def test_reaper_that_looked_too_early_changes_nothing(
    since: str, queue: JobQueue, server: Server, worker: Worker, other: Worker
) -> None:
    queue.submit(max_attempts=5)
    [job] = worker.claim()
    passes(server, "leases", job)
    _, looked, _ = queue.recovery.expired("default", 10)
    if since == "renewed":
        worker.beat(Held(job.id, job.token, 60_000))
    elif since == "settled":
        worker.settle(ended(job))
    else:
        tick(queue)
    if since == "claimed anew":
        [again] = other.claim()
        server.client.zadd(f"{Q}leases", {job.id: looked[0].lease_end.decode()})
    before = snapshot(server)
    for _ in range(2):
        assert recover(queue, looked, 10, {})[0] == ["changed"]
    after = snapshot(server)
    for what in (before, after):  # its notes: that it lives, how long jobs wait, and whose types nobody has published
        del what[f"{Q}meta"]
        what.pop(f"{Q}strange", None)
        [what[key].pop("oldest_ms", None) for key in what if key.startswith(f"{Q}stats:")]
    assert after == before
    if since == "claimed anew":
        assert other.settle(ended(again)) == [True]


@pytest.mark.parametrize("token", [False, True], ids=["unknown id", "finished job"])
def test_stale_lease_is_dropped(token: bool, queue: JobQueue, server: Server, worker: Worker) -> None:
    queue.submit()
    [job] = worker.claim()
    worker.settle(ended(job))
    server.client.zadd(f"{Q}leases", {job.id if token else new_id(0): 1})
    assert tick(queue) == ["stale"]
    assert queue.get(job.id).status == "done"
    assert total(queue, "reaped") == 0


def test_thousand_leases_are_taken_back_in_one_transaction(queue: JobQueue, server: Server) -> None:
    queue.submit_many([NewJob()] * 1000)
    jobs = [job for number in range(10) for job in Worker(queue, "w", number).claim(100)]
    passes(server, "leases", *jobs)
    _, expired, _ = queue.recovery.expired("default", 1000)
    assert recover(queue, expired, 500, RETENTION_MS)[0] == ["queued"] * 1000
    assert total(queue, "reaped") == 1000


def test_job_that_was_asked_to_cancel_is_cancelled_when_its_worker_dies(
    queue: JobQueue, server: Server, worker: Worker
) -> None:
    queue.submit()
    [job] = worker.claim()
    queue.cancel(job.id)
    passes(server, "leases", job)
    assert tick(queue) == ["cancelled"]
    assert queue.get(job.id).status == "cancelled"
    assert worker.settle(ended(job)) == [False]


# --------------------------------------------------------------------------------------------------------------- lower


def test_leases_of_a_silent_worker_end_now(queue: JobQueue, server: Server, worker: Worker, other: Worker) -> None:
    queue.submit_many([NewJob()] * 3)
    worker.beat()
    jobs = worker.claim(2)
    [healthy] = other.claim()
    beat = queue.recovery.expired("default", 1)[2]["w"]
    assert queue.recovery.lower("default", "w", beat) == 2
    assert [entry.id for entry in queue.recovery.expired("default", 10)[1]] == ids(sorted(jobs, key=lambda job: job.id))
    assert tick(queue) == ["queued", "queued"]
    assert queue.get(healthy.id).status == "processing"


def test_worker_that_has_beaten_since_keeps_its_leases(queue: JobQueue, server: Server, worker: Worker) -> None:
    queue.submit()
    worker.beat()
    [job] = worker.claim()
    lease_end = score(server, "leases", job.id)
    server.client.zincrby(f"{Q}workers", -1, "w")
    beat = queue.recovery.expired("default", 1)[2]["w"]
    worker.beat()
    assert queue.recovery.lower("default", "w", beat) == 0
    assert score(server, "leases", job.id) == lease_end


def test_lowering_twice_changes_nothing_more(queue: JobQueue, server: Server, worker: Worker) -> None:
    queue.submit()
    worker.beat()
    worker.claim()
    beat = queue.recovery.expired("default", 1)[2]["w"]
    assert queue.recovery.lower("default", "w", beat) == 1
    before = snapshot(server)
    assert queue.recovery.lower("default", "w", beat) == 0
    assert snapshot(server) == before


def test_job_that_moved_on_is_not_lowered_with_its_old_slot(
    queue: JobQueue, server: Server, worker: Worker, other: Worker
) -> None:
    queue.submit()
    worker.beat()
    passes(server, "leases", *worker.claim())
    tick(queue)
    [job] = other.claim()
    server.client.rpush(f"{Q}processing:w-1", job.id)
    assert queue.recovery.lower("default", "w", queue.recovery.expired("default", 1)[2]["w"]) == 0


# ------------------------------------------------------------------------------------------------------------- promote


def test_due_job_is_queued_at_the_place_of_its_submit(queue: JobQueue, server: Server) -> None:
    delayed = queue.submit(delay_s=60)
    behind = queue.submit()
    assert queue.get(behind.id).position == 1
    server.client.delete(f"{Q}bell")
    passes(server, "scheduled", delayed)
    tick(queue)
    assert [queue.get(job.id).position for job in (delayed, behind)] == [1, 2]
    assert server.client.llen(f"{Q}bell") == 1


def test_job_that_is_not_due_waits(queue: JobQueue, worker: Worker) -> None:
    job = queue.submit(delay_s=60)
    assert recover(queue, [], 500, {})[1] == 0
    assert worker.claim() == []
    assert queue.get(job.id).status == "scheduled"


def test_promoting_twice_queues_once(queue: JobQueue, server: Server, worker: Worker) -> None:
    job = queue.submit(delay_s=60)
    passes(server, "scheduled", job)
    assert [recover(queue, [], 500, {})[1] for _ in range(2)] == [1, 0]
    assert ids(worker.claim(2)) == [job.id]


def test_promoting_says_when_there_may_be_more(queue: JobQueue, server: Server) -> None:
    jobs = [queue.submit(delay_s=60) for _ in range(5)]
    passes(server, "scheduled", *jobs)
    assert [recover(queue, [], 2, {})[1] for _ in range(4)] == [2, 2, 1, 0]
    assert queue.books("default").sizes["queued"] == 5


def test_ids_among_the_scheduled_that_do_not_wait_are_dropped(queue: JobQueue, server: Server, worker: Worker) -> None:
    queue.submit()
    [job] = worker.claim()
    server.client.zadd(f"{Q}scheduled", {job.id: 1, new_id(0): 1})
    tick(queue)
    assert server.client.exists(f"{Q}scheduled", f"{Q}queue") == 0
    assert worker.settle(ended(job)) == [True]


# ---------------------------------------------------------------------------------------------------------------- trim


@pytest.mark.parametrize("way", ["retry", "delete", "trim"])
def test_dead_letter_stands_under_the_kind_of_its_last_error_until_it_is_none(
    way: str, queue: JobQueue, server: Server, worker: Worker
) -> None:
    queue.submit(max_attempts=2)
    for kind in ("First", "Last"):
        [job] = worker.claim()
        worker.settle(Settlement(job.id, job.token, "failed", IN_PLACE, kind, "it went wrong"))
        assert [each.kind for each in queue.kinds()] == (["Last"] if kind == "Last" else [])
    [last] = queue.kinds()
    assert (last.count, last.job_id, last.at_ms) == (1, job.id, queue.get(job.id).finished_ms)
    if way == "trim":
        server.client.zincrby(f"{Q}failed", -RETENTION_MS["failed"] - 1, job.id)
        tick(queue)
    else:
        getattr(queue, way)(job.id)
    assert queue.kinds() == []
    assert not server.client.exists(f"{Q}kinds", f"{Q}kind:Last", f"{Q}kind:First")


@pytest.mark.parametrize("status", ["done", "failed", "cancelled"])
def test_job_past_its_retention_is_deleted_with_its_index_entry(
    status: str, queue: JobQueue, server: Server, worker: Worker
) -> None:
    queue.submit_many([NewJob(max_attempts=1)] * 2)
    old, young = worker.claim(2)
    worker.settle(ended(old, status), ended(young, status))
    server.client.zincrby(f"{Q}{status}", -RETENTION_MS[status] - 1, old.id)
    assert [recover(queue, [], 500, RETENTION_MS)[2] for _ in range(2)] == [1, 0]
    with pytest.raises(NotFound):
        queue.get(old.id)
    assert queue.get(young.id).status == status
    assert total(queue, "trimmed") == 1


def test_job_that_has_not_ended_is_not_trimmed(queue: JobQueue, server: Server, worker: Worker) -> None:
    queue.submit_many([NewJob()] * 2)
    [running] = worker.claim()
    waiting = queue.page(Filter("queued")).jobs[0]
    server.client.zadd(f"{Q}done", {running.id: 1, waiting.id: 1, new_id(0): 1})
    assert recover(queue, [], 500, RETENTION_MS)[2] == 3
    assert [queue.get(job.id).status for job in (running, waiting)] == ["processing", "queued"]
    assert total(queue, "trimmed") == 0


# --------------------------------------------------------------------------------------------------------------- leave


def test_worker_that_leaves_is_forgotten(queue: JobQueue, server: Server, worker: Worker) -> None:
    worker.beat()
    worker.claim()
    server.client.rpush(f"{Q}processing:w-1", "!")
    assert [queue.recovery.leave("default", "w", ["w-1", "w-2"]) for _ in range(2)] == [True, True]
    assert queue.look("default").workers == {}
    assert not server.client.exists(f"{Q}processing:w-1", f"{Q}slots", f"{Q}workers", f"{Q}worker:w")


def test_worker_that_still_runs_a_job_is_not_forgotten(queue: JobQueue, server: Server, worker: Worker) -> None:
    queue.submit()
    worker.beat()
    worker.claim()
    before = snapshot(server)
    assert not queue.recovery.leave("default", "w", ["w-1"])
    assert snapshot(server) == before


def test_worker_that_has_beaten_since_is_not_forgotten(queue: JobQueue, server: Server, worker: Worker) -> None:
    worker.beat()
    assert not queue.recovery.leave("default", "w", [], b"1")
    assert queue.recovery.leave("default", "w", [], queue.recovery.expired("default", 1)[2]["w"])


def test_leaving_worker_rings_for_the_token_it_may_have_taken(queue: JobQueue, server: Server, worker: Worker) -> None:
    queue.submit()
    server.client.blmove(f"{Q}bell", f"{Q}processing:w-1", 1)
    assert server.client.lrange(f"{Q}processing:w-1", 0, -1) == ["!"]
    queue.recovery.leave("default", "w", ["w-1"])
    assert server.client.llen(f"{Q}bell") == 1
