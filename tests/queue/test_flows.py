"""Jobs that wait for jobs: what releases them, what cancels them, what is refused."""

from __future__ import annotations

import pytest

from _jobqueue.errors import NotWithOthers, OldProgram, OtherQueue, ParentGone
from _jobqueue.records import MAX_EDGES
from _jobqueue.store.ids import new_id
from jobqueue import Conflict, Filter, Invalid, Job, JobQueue, NewJob, NotFound, Policy, Submitted
from tests.harness import Server
from tests.played import Q, Worker, ids, now_ms, passes, run_script, score, tick

pytestmark = pytest.mark.usefixtures("in_the_end_all_is_well")


def flow(queue: JobQueue, *jobs: NewJob) -> list[Job]:
    answers = queue.submit_many(jobs)
    assert all(answer.job for answer in answers), answers
    return [answer.job for answer in answers if answer.job]


def statuses(queue: JobQueue, *jobs: Job) -> list[str]:
    return [queue.get(job.id).status for job in jobs]


def chain(queue: JobQueue, n: int, **options: str) -> list[Job]:
    return flow(queue, *(NewJob(name=f"n{i}", after=[f"n{i - 1}"] if i else [], **options) for i in range(n)))


def refused(queue: JobQueue, *jobs: NewJob) -> Invalid:
    """Why, of the one that is wrong. Nothing is stored."""
    before = queue.books("default")
    answers: list[Submitted] = queue.submit_many(jobs)
    [error] = [answer.error for answer in answers if not isinstance(answer.error, NotWithOthers)]
    assert queue.books("default").sizes == before.sizes
    assert isinstance(error, Invalid)
    return error


# ------------------------------------------------------------------------------------------------- what releases a job


def test_chain_runs_in_its_order(queue: JobQueue, worker: Worker) -> None:
    jobs = chain(queue, 3)
    assert statuses(queue, *jobs) == ["queued", "blocked", "blocked"]
    assert (jobs[1].after, jobs[1].blocked_by) == ([jobs[0].id], 1)
    assert [worker.give("done") for _ in range(3)] == [[job.id] for job in jobs]


def test_fan_in_runs_when_the_last_of_all_before_it_is_done(queue: JobQueue, worker: Worker) -> None:
    *parts, last = flow(queue, *(NewJob(name=f"p{i}") for i in range(7)), NewJob("sum", after=["*"]))
    assert last.blocked_by == 7 and queue.get(last.id).after == ids(parts)
    worker.give("done", 6)
    assert (queue.get(last.id).status, queue.get(last.id).blocked_by) == ("blocked", 1)
    worker.give("done")
    assert queue.get(last.id).status == "queued"


def test_an_exchange_claims_what_its_own_settlement_has_released(queue: JobQueue, worker: Worker) -> None:
    first, second = chain(queue, 2)
    [job] = worker.claim()
    assert job.id == first.id
    worker.end("done")
    assert ids(worker.claim()) == [second.id]


def test_released_job_calls_the_workers_of_its_kit(queue: JobQueue, server: Server, worker: Worker) -> None:
    other = Worker(queue, "other").handles("render")
    worker.handles("echo")
    queue.submit("render", after=[queue.submit("echo").id])
    server.client.delete(f"{Q}bell:{other.talk.kit}")
    worker.give("done")
    assert server.client.llen(f"{Q}bell:{other.talk.kit}") == 1
    other.give("done")


@pytest.mark.parametrize("outcome", ["done", "failed", "cancelled"])
def test_ended_edges_are_satisfied_by_any_end(outcome: str, queue: JobQueue, worker: Worker) -> None:
    parent = queue.submit()
    child = queue.submit(after=[parent.id], when="ended")
    worker.give(outcome)
    assert queue.get(child.id).status == "queued"


def test_operators_cancel_satisfies_an_ended_edge(queue: JobQueue) -> None:
    parent = queue.submit()
    child = queue.submit(after=[parent.id], when="ended")
    queue.cancel(parent.id)
    assert queue.get(child.id).status == "queued"


@pytest.mark.parametrize("when", ["done", "ended"])
def test_parent_that_has_ended_before_counts_at_once(when: str, queue: JobQueue, worker: Worker) -> None:
    parent = queue.submit()
    worker.give("done" if when == "done" else "failed")
    assert queue.submit(after=[parent.id], when=when).status == "queued"


def test_delay_counts_from_the_release(queue: JobQueue, server: Server, worker: Worker) -> None:
    parent = queue.submit()
    child = queue.submit(after=[parent.id], delay_s=60)
    assert child.run_at_ms is None
    worker.give("done")
    due, now = score(server, "scheduled", child.id), now_ms(server)
    assert due is not None and now + 55_000 < due <= now + 60_000


def test_retried_parent_owes_nothing_until_it_ends_again(queue: JobQueue, worker: Worker) -> None:
    parent, child = chain(queue, 2)
    worker.give("failed")
    assert statuses(queue, parent, child) == ["failed", "blocked"]
    queue.retry(parent.id)
    tick(queue)
    assert queue.get(child.id).status == "blocked"
    worker.give("done")
    assert queue.get(child.id).status == "queued"


def test_reaped_parent_releases_its_ended_children(queue: JobQueue, server: Server, worker: Worker) -> None:
    parent = queue.submit(max_attempts=1)
    child = queue.submit(after=[parent.id], when="ended")
    [job] = worker.claim()
    passes(server, "leases", job)
    tick(queue)
    assert statuses(queue, parent, child) == ["failed", "queued"]


def test_satisfied_edge_stays_satisfied(queue: JobQueue, worker: Worker) -> None:
    first, second = queue.submit(), queue.submit(priority="low")
    child = queue.submit(after=[first.id, second.id], when="ended")
    worker.give("failed")
    queue.retry(first.id)
    assert queue.get(child.id).blocked_by == 1
    queue.cancel(second.id)
    assert queue.get(child.id).status == "queued"


def test_what_is_left_of_a_fan_out_is_told_at_once(queue: JobQueue, server: Server, worker: Worker) -> None:
    parent = queue.submit()
    queue.submit_many([NewJob(after=[parent.id]) for _ in range(1000)])
    [job] = worker.claim()
    worker.end("done", job)  # as a beat does, which leaves the rest to the reaper
    assert queue.books("default").sizes["blocked"] == 750
    assert server.client.zscore(f"{Q}ends", parent.id) is not None
    tick(queue)
    assert queue.books("default").sizes["blocked"] == 500
    run_script(queue, "tell", "default", [0])
    for _ in range(2):
        tick(queue)
    assert (queue.books("default").sizes["blocked"], server.client.exists(f"{Q}ends")) == (0, 0)


def test_an_end_that_an_old_program_wrote_is_told_by_the_reaper(
    queue: JobQueue, server: Server, worker: Worker
) -> None:
    """It knows of no children, and leaves no obligation."""
    parent = queue.submit()
    child = queue.submit(after=[parent.id])
    worker.claim()
    worker.running = []
    server.client.zrem(f"{Q}leases", parent.id)
    server.client.hset(f"{Q}job:{parent.id}", mapping={"status": "done", "finished": 1})
    server.client.zadd(f"{Q}done", {parent.id: now_ms(server)})
    server.client.hincrby(f"{Q}totals", "done", 1)
    tick(queue)
    assert queue.get(child.id).status == "queued"


# ------------------------------------------------------------------------------------------- parents that do not come


def test_dead_letter_keeps_its_children_blocked_and_is_named(queue: JobQueue, worker: Worker) -> None:
    parent, child = chain(queue, 2)
    worker.give("failed")
    assert queue.get(child.id).status == "blocked" and queue.books("default").stuck == [parent.id]
    queue.retry(parent.id)
    assert queue.books("default").stuck == []


def test_child_that_comes_after_a_dead_letter_waits_for_its_retry(queue: JobQueue, worker: Worker) -> None:
    parent = queue.submit()
    worker.give("failed")
    child = queue.submit(after=[parent.id])
    assert child.status == "blocked" and queue.books("default").stuck == [parent.id]
    queue.retry(parent.id)
    worker.give("done")
    assert queue.get(child.id).status == "queued"


def test_cancelled_parent_cancels_what_waits_for_it_level_by_level(queue: JobQueue) -> None:
    jobs = chain(queue, 4)
    queue.cancel(jobs[0].id)
    assert statuses(queue, *jobs) == ["cancelled"] * 4
    [error] = queue.get(jobs[2].id).errors
    assert error["kind"] == "parent_gone" and jobs[1].id in error["message"]
    assert queue.books("default").totals["cancelled"] == 4


def test_long_cascade_ends_with_the_call(queue: JobQueue) -> None:
    jobs = chain(queue, 600)
    queue.cancel(jobs[0].id)
    assert queue.books("default").sizes["cancelled"] == 600


def test_workflow_that_is_cancelled_and_retried_keeps_its_order(queue: JobQueue, worker: Worker) -> None:
    jobs = chain(queue, 4, tags=["w"])
    queue.sweep("cancel", Filter(tag="w"))
    assert statuses(queue, *jobs) == ["cancelled"] * 4
    for job in reversed(jobs):
        queue.retry(job.id)
    assert statuses(queue, *jobs) == ["queued", "blocked", "blocked", "blocked"]
    assert [worker.give("done") for _ in jobs] == [[job.id] for job in jobs]


def test_asking_a_running_parent_to_stop_changes_nothing_yet(queue: JobQueue, worker: Worker) -> None:
    parent, child = chain(queue, 2)
    worker.claim()
    queue.cancel(parent.id)
    assert queue.get(child.id).status == "blocked"
    worker.end("done")
    assert statuses(queue, parent, child) == ["done", "queued"]


@pytest.mark.parametrize(("when", "status"), [("done", "cancelled"), ("ended", "queued")])
def test_deleted_parent_closes_its_edges(when: str, status: str, queue: JobQueue) -> None:
    parent = queue.submit()
    child = queue.submit(after=[parent.id], when=when)
    queue.delete(parent.id)
    assert queue.get(child.id).status == status
    if status == "cancelled":
        queue.retry(child.id)
        assert queue.get(child.id).status == "queued"


def test_children_of_a_deleted_parent_learn_that_it_was_done(queue: JobQueue, worker: Worker) -> None:
    parent = queue.submit()
    queue.submit_many([NewJob(after=[parent.id]) for _ in range(600)])
    [job] = worker.claim()
    worker.end("done", job)
    assert queue.books("default").sizes["blocked"] == 350
    queue.delete(parent.id)
    sizes = queue.books("default").sizes
    assert (sizes["queued"], sizes["cancelled"]) == (600, 0)


def test_parent_is_kept_while_a_child_may_read_it(queue: JobQueue, worker: Worker) -> None:
    parent, child = chain(queue, 2)
    worker.give("done")
    assert queue.get(child.id).status == "queued"
    tick(queue, retention_ms={"done": -1000})
    assert queue.get(parent.id).status == "done"
    worker.give("done")
    tick(queue, retention_ms={"done": -70_000})
    with pytest.raises(NotFound):
        queue.get(parent.id)


def test_parent_that_another_still_waits_for_is_not_kept(queue: JobQueue, worker: Worker) -> None:
    """They would wait for each other: the second for the first's end, which is to be kept for the second."""
    [_, first, second] = flow(
        queue, NewJob(name="p"), NewJob(name="c", after=["p"]), NewJob(after=["p", "c"], when="ended")
    )
    worker.give("failed")
    assert statuses(queue, first, second) == ["blocked", "blocked"]
    tick(queue, retention_ms={"failed": -1000})
    assert statuses(queue, first, second) == ["cancelled", "queued"]


# --------------------------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("jobs", "pointer"),
    [
        ([NewJob(after=["*"])], "/after/0"),
        ([NewJob(), NewJob(after=["x"])], "/after/0"),
        ([NewJob(after=["b"]), NewJob(name="b")], "/after/0"),
        ([NewJob(name="a"), NewJob(name="a", after=["a"])], "/name"),
        ([NewJob(), NewJob(after=[new_id(0)])], "/after/0"),
        ([NewJob(name=f"n{i}", after=["*"] if i else []) for i in range(100)], "/after"),
        ([NewJob(), NewJob(queue="other", after=["*"])], "/queue"),
        ([NewJob(payload="x" * 1_000_000, after=["*"] if i else []) for i in range(3)], "/payload"),
    ],
    ids=["first", "unknown", "later", "twice", "no such id", "too many edges", "another queue", "too large"],
)
def test_bad_reference_is_refused_and_nothing_is_stored(jobs: list[NewJob], pointer: str, queue: JobQueue) -> None:
    queue.submit()
    assert refused(queue, *jobs).problems[0][0] == pointer
    assert sum(len(job.after) for job in jobs) <= MAX_EDGES


@pytest.mark.parametrize("after", ["abc", [1], [""], ["*", "x"], ["x"] * 1001])
def test_bad_after_is_refused(after: list[str]) -> None:
    with pytest.raises(Invalid, match="after"):
        NewJob(after=after)


def test_done_after_a_cancelled_job_is_refused(queue: JobQueue) -> None:
    parent = queue.submit()
    queue.cancel(parent.id)
    assert isinstance(refused(queue, NewJob(after=[parent.id])), ParentGone)
    assert queue.submit(after=[parent.id], when="ended").status == "queued"


def test_job_of_another_queue_is_refused(queue: JobQueue) -> None:
    other = queue.submit(queue="other")
    queue.submit()
    assert isinstance(refused(queue, NewJob(after=[other.id])), OtherQueue)


def test_more_than_a_thousand_children_are_refused(queue: JobQueue) -> None:
    parent = queue.submit()
    queue.submit_many([NewJob(after=[parent.id]) for _ in range(1000)])
    assert "as many jobs" in str(refused(queue, NewJob(after=[parent.id])))


def test_nothing_waits_while_an_old_worker_beats(queue: JobQueue, server: Server, worker: Worker) -> None:
    parent = queue.submit()
    key = queue.submit(key="k", after=[parent.id])
    worker.beat()  # without a kit: as a worker of the release before
    with pytest.raises(OldProgram):
        queue.submit(after=[parent.id])
    assert queue.submit(key="k", after=[parent.id]).id == key.id, "a repeat gets its job"
    worker.beat(echo=Policy())
    assert queue.submit(after=[parent.id]).status == "blocked"


def test_nothing_waits_while_only_an_old_reaper_ticks(queue: JobQueue, server: Server) -> None:
    parent = queue.submit()
    server.client.hset(f"{Q}meta", "reaper", now_ms(server))
    with pytest.raises(OldProgram, match="reaper"):
        queue.submit(after=[parent.id])
    tick(queue)
    assert queue.submit(after=[parent.id]).status == "blocked"


# ------------------------------------------------------------------------------------- keys, names, operators, reading


def test_repeat_under_a_key_gets_its_jobs_though_the_parent_is_gone(queue: JobQueue) -> None:
    parent = queue.submit()
    first = queue.submit(key="k", after=[parent.id])
    queue.delete(parent.id)
    assert queue.submit_one(NewJob(after=[parent.id]), "k").replayed
    assert queue.submit(key="k", after=[parent.id]).id == first.id


def test_item_whose_unique_key_is_held_stands_for_that_job(queue: JobQueue, worker: Worker) -> None:
    holder = queue.submit(unique_key="u")
    other = queue.submit(priority="high")
    rows = queue.submit_many([NewJob(name="a", unique_key="u", after=[other.id]), NewJob(name="b", after=["a"])])
    assert rows[0].existing and rows[0].job and rows[0].job.id == holder.id
    assert rows[1].job and rows[1].job.after == [holder.id]
    worker.give("done", 2)
    assert queue.get(rows[1].job.id).status == "queued"


def test_two_items_with_one_unique_key_are_one_job(queue: JobQueue) -> None:
    rows = queue.submit_many([NewJob(name="a", unique_key="u"), NewJob(name="b", unique_key="u"), NewJob(after=["*"])])
    assert rows[2].job and rows[0].job and rows[2].job.after == [rows[0].job.id]


def test_blocked_job_holds_its_unique_key_and_cannot_be_run(queue: JobQueue) -> None:
    child = queue.submit(after=[queue.submit().id], unique_key="u")
    assert queue.submit_one(NewJob(unique_key="u")).existing
    with pytest.raises(Conflict, match="blocked"):
        queue.run_now(child.id)
    assert queue.page(Filter("blocked")).jobs[0].id == child.id
    assert queue.cancel(child.id) == "cancelled"


def test_parents_are_told_by_their_names(queue: JobQueue, worker: Worker) -> None:
    stranger = queue.submit(priority="high")
    long, short, last = flow(
        queue, NewJob(name="a"), NewJob(name="b"), NewJob(after=["a", "b", stranger.id], when="ended")
    )
    worker.give("done")
    worker.give("failed")
    queue.delete(short.id)
    parents = queue.parents(last.id)
    assert parents.keys() == {"a", "b", stranger.id}
    assert [(p.job_id, p.status) for p in parents.values()] == [
        (long.id, "failed"),
        (short.id, "gone"),
        (stranger.id, "done"),
    ]
    assert (parents["a"].error, parents[stranger.id].result) == ("it went wrong", "a result")
    with pytest.raises(NotFound):
        queue.parents(new_id(0))


def test_long_results_of_parents_are_left_out(queue: JobQueue, worker: Worker) -> None:
    from _jobqueue.pieces import result_fields
    from _jobqueue.records import Settlement

    texts = ["x" * 100, "x" * 3000, "x" * 70_000]
    *_, last = flow(queue, *(NewJob(name=f"n{n}") for n in range(3)), NewJob(after=["*"]))
    for text in texts:
        [job] = worker.claim()
        assert worker.settle(Settlement(job.id, job.token, "done", fields=result_fields(text, 100_000)))
        worker.running = []
    parents = queue.parents(last.id)
    assert [parents[f"n{n}"].result for n in range(3)] == [texts[0], texts[1], None]
    assert [parents[f"n{n}"].cut for n in range(3)] == [False, False, True]


def test_flow_tells_all_that_is_tied_to_a_job(queue: JobQueue) -> None:
    queue.submit()
    jobs = chain(queue, 60)
    found = queue.flow(jobs[30].id)
    assert {step.job_id for step in found.jobs} == set(ids(jobs)) and not found.truncated
    assert found.jobs[0].job_id == jobs[30].id and found.jobs[0].after == [jobs[29].id]
    assert (found.jobs[0].name, found.jobs[0].status) == ("n30", "blocked")


def test_flow_is_told_up_to_a_thousand_jobs(queue: JobQueue) -> None:
    parent = queue.submit()
    for _ in range(2):
        queue.submit_many([NewJob(after=[parent.id]) for _ in range(500)])
    found = queue.flow(parent.id)
    assert (len(found.jobs), found.truncated) == (1000, True)


def test_all_parents_of_one_job_are_shown_and_of_many_the_first(queue: JobQueue) -> None:
    *parts, last = flow(queue, *(NewJob() for _ in range(9)), NewJob(after=["*"]))
    assert queue.get(last.id).after == ids(parts)
    [listed] = queue.page(Filter("blocked")).jobs
    assert (listed.after, listed.truncated) == (ids(parts[:4]), ("after",))


def test_nothing_of_edges_is_left_when_all_jobs_are_gone(queue: JobQueue, server: Server, worker: Worker) -> None:
    flow(queue, *(NewJob() for _ in range(6)), NewJob(after=["*"], unique_key="u", tags=["t"]))
    worker.give("done", 6)
    worker.give("done")
    for _ in range(2):
        tick(queue, retention_ms={"done": -100_000})
    assert queue.books("default").totals["trimmed"] == 7
    assert {key.removeprefix(Q).partition(":")[0] for key in server.client.scan_iter(f"{Q}*")} <= {
        *("meta", "totals", "stats", "slots", "bell", "strange", "workers")
    }
