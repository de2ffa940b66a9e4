"""Types: a worker is given what it handles; the rest is parked, can be paused, and ends some day."""

from __future__ import annotations

from typing import Any

import pytest

from _jobqueue.records import DAY_MS, FORMAT
from _jobqueue.store.checker import Checker
from jobqueue import Filter, Invalid, JobQueue, NewJob, Policy, TooManyTypes, TooNew
from tests.harness import Server
from tests.played import UNHANDLED_MS, Q, Worker, now_ms, tick


def bell(server: Server, worker: Worker) -> int:
    return int(server.client.llen(f"{Q}bell:{worker.talk.kit}"))


def claimed(worker: Worker, want: int = 10) -> list[str]:
    return [job.type for job in worker.claim(want)]


def held(server: Server) -> int:
    return int(server.client.zcard(f"{Q}held"))


def submit(queue: JobQueue, *types: str, **options: Any) -> list[str]:
    return [answer.job.id for answer in queue.submit_many([NewJob(t, **options) for t in types]) if answer.job]


@pytest.fixture
def mail(queue: JobQueue, server: Server) -> Worker:
    """A worker that handles mail and report."""
    queue.register("default")
    return Worker(queue, "mail").handles("mail", "report")


# ----------------------------------------------------------------------------------------------------------- claiming


def test_worker_gets_its_types_in_order_and_the_rest_keeps_its_place(
    queue: JobQueue, server: Server, mail: Worker
) -> None:
    ids = submit(queue, "image", "mail", "image", "report", "mail")
    assert claimed(mail) == ["mail", "report", "mail"]
    assert held(server) == 2 and server.client.zcard(f"{Q}queue") == 0
    images = Worker(queue, "images").handles("image")
    assert [job.id for job in images.claim(10)] == [ids[0], ids[2]]
    assert queue.check("default") == []


def test_parked_job_of_higher_priority_goes_before_what_is_queued(queue: JobQueue, mail: Worker) -> None:
    images = Worker(queue, "images").handles("image", "mail")
    submit(queue, "image", priority=9)
    submit(queue, "mail", "mail")
    assert claimed(mail, 1) == ["mail"]
    assert claimed(images) == ["image", "mail"]


def test_job_that_is_given_back_goes_before_those_that_were_parked_behind_it(queue: JobQueue, mail: Worker) -> None:
    images = Worker(queue, "images").handles("image")
    first, second = submit(queue, "image", "image")
    assert claimed(images, 1) == ["image"]
    assert claimed(mail) == []
    images.end("released")
    assert [job.id for job in images.claim(10)] == [first, second]


def test_position_and_lists_count_parked_jobs_in_their_order(queue: JobQueue, mail: Worker) -> None:
    ids = submit(queue, "image", "mail", "image", "mail", "image")
    assert claimed(mail, 1) == ["mail"]
    left = [ids[0], ids[2], ids[3], ids[4]]
    assert [queue.get(job_id).position for job_id in left] == [1, 2, 3, 4]
    assert [(job.id, job.position) for job in queue.page(Filter("queued")).jobs] == list(
        zip(left, (1, 2, 3, 4), strict=True)
    )
    found, cursor = list[str](), None
    while True:
        page = queue.page(Filter("queued"), limit=1, cursor=cursor)
        found, cursor = found + [job.id for job in page.jobs], page.cursor
        if not cursor:
            break
    assert found == left
    assert queue.submit("mail").position == 5
    assert queue.books("default").sizes["queued"] == 5


@pytest.mark.parametrize("action", ["cancel", "delete"])
def test_parked_job_is_taken_out_of_its_lane_by(action: str, queue: JobQueue, server: Server, mail: Worker) -> None:
    ids = submit(queue, "image", "image")
    assert claimed(mail) == []
    assert queue.act_on(action, ids).changed == 2
    assert not server.client.keys(f"{Q}lane*") and held(server) == 0
    assert queue.check("default") == []


def test_oldest_waiting_job_may_be_parked(queue: JobQueue, server: Server, mail: Worker) -> None:
    (old,) = submit(queue, "image")
    server.client.hset(f"{Q}job:{old}", "created", now_ms(server) - 60_000)
    claimed(mail)
    assert (queue.books("default").oldest_age_ms or 0) >= 60_000


def test_claim_without_a_known_kit_changes_nothing(queue: JobQueue, server: Server, mail: Worker) -> None:
    submit(queue, "mail", "image")
    server.client.delete(f"{Q}kit:{mail.talk.kit}")
    server.client.delete(f"{Q}bell:{mail.talk.kit}")
    assert claimed(mail) == []
    assert held(server) == 0 and bell(server, mail) == 0, "it would ring for itself for ever"
    mail.beat()
    assert claimed(mail) == ["mail"]


# -------------------------------------------------------------------------------------------------------------- bells


def test_nobody_is_woken_for_what_nobody_present_may_take(queue: JobQueue, server: Server, mail: Worker) -> None:
    submit(queue, *["image"] * 300)
    for _ in range(2):
        server.client.delete(f"{Q}bell:{mail.talk.kit}")
        assert claimed(mail) == []
    assert held(server) == 300 and bell(server, mail) == 0
    tick(queue)
    assert bell(server, mail) == 0
    images = Worker(queue, "images").handles("image")
    assert bell(server, images) == 1


def test_claim_stops_after_so_many_jobs_and_rings_again(queue: JobQueue, server: Server, mail: Worker) -> None:
    submit(queue, *["image"] * 260, "mail")
    server.client.delete(f"{Q}bell:{mail.talk.kit}")
    assert claimed(mail) == [] and mail.talk.more
    assert held(server) == 250 and bell(server, mail) == 1
    assert claimed(mail) == ["mail"]


def test_kit_that_does_not_live_is_not_rung_and_is_remembered_for_a_day(
    queue: JobQueue, server: Server, mail: Worker
) -> None:
    for age_ms, known in ((16_000, True), (8 * DAY_MS, False)):
        server.client.zadd(f"{Q}kits", {mail.talk.kit: now_ms(server) - age_ms})
        tick(queue)
        assert mail.talk.kit not in (server.client.hget(f"{Q}meta", "bells") or "")
        assert server.client.exists(f"{Q}kit:{mail.talk.kit}") == known
    mail.beat()
    submit(queue, "mail")
    assert bell(server, mail) == 1


def test_worker_without_a_kit_is_called_by_the_old_bell(queue: JobQueue, server: Server, mail: Worker) -> None:
    Worker(queue, "before").beat()
    tick(queue)
    server.client.delete(f"{Q}bell")
    submit(queue, "mail")
    assert server.client.llen(f"{Q}bell") == bell(server, mail) == 1


# -------------------------------------------------------------------------------------------------------------- pause


def test_paused_type_waits_and_goes_on_in_its_old_place(queue: JobQueue, server: Server, mail: Worker) -> None:
    submit(queue, "mail", "report", "mail")
    queue.pause_type("default", "mail")
    assert queue.books("default").paused_types == ["mail"]
    assert claimed(mail) == ["report"]
    mail.end("done")
    server.client.delete(f"{Q}bell:{mail.talk.kit}")
    tick(queue)
    assert bell(server, mail) == 0
    submit(queue, "report")
    queue.pause_type("default", "mail", False)
    assert bell(server, mail) == 1
    assert claimed(mail) == ["mail", "mail", "report"]
    tick(queue)
    assert server.client.hget(f"{Q}meta", "gates") is None and queue.books("default").paused_types == []


# ---------------------------------------------------------------------------------------------------- no handler ever


def test_type_that_nobody_has_handled_for_long_makes_dead_letters(
    queue: JobQueue, server: Server, mail: Worker
) -> None:
    old, young = submit(queue, "image", "image")
    (ours,) = submit(queue, "mail")
    long_ago = now_ms(server) - UNHANDLED_MS - 1000
    for job_id in (old, ours):
        server.client.hset(f"{Q}job:{job_id}", "created", long_ago)
    mail.talk.kit, kit = Worker(queue, "x").handles("nothing").talk.kit, mail.talk.kit
    assert claimed(mail) == [], "all are parked"
    tick(queue)
    assert queue.get(old).status == "queued", "it is not known for so long that nobody handled it"
    server.client.hset(f"{Q}meta", "untold", long_ago)
    tick(queue)
    dead = queue.get(old)
    assert (dead.status, dead.attempts, dead.errors[-1]["kind"]) == ("failed", 0, "no_handler")
    assert "image" in dead.errors[-1]["message"]
    assert [queue.get(job_id).status for job_id in (young, ours)] == ["queued", "queued"]
    assert [kind.kind for kind in queue.kinds()] == ["no_handler"]
    assert queue.check("default") == []
    mail.talk.kit = kit
    assert claimed(mail) == ["mail"]
    assert queue.retry(old) == "retried"


def test_job_that_no_worker_ever_came_for_ends_too(queue: JobQueue, server: Server) -> None:
    (job_id,) = submit(queue, "image")
    long_ago = now_ms(server) - UNHANDLED_MS - 1000
    tick(queue)
    server.client.hset(f"{Q}job:{job_id}", "created", long_ago)
    tick(queue)
    assert queue.get(job_id).status == "queued"
    server.client.hset(f"{Q}meta", "untold", long_ago)
    tick(queue)
    assert queue.get(job_id).status == "failed"


def test_ids_that_another_release_has_moved_leave_the_lanes(queue: JobQueue, server: Server, mail: Worker) -> None:
    cancelled, deleted, again = submit(queue, "image", "image", "image")
    assert claimed(mail) == []
    server.client.hset(f"{Q}job:{cancelled}", mapping={"status": "cancelled", "finished": 1})
    server.client.zadd(f"{Q}cancelled", {cancelled: now_ms(server)})
    server.client.delete(f"{Q}job:{deleted}")
    server.client.zadd(f"{Q}queue", {again: queue.page(Filter("queued")).jobs[-1].position or 0})
    tick(queue)
    assert held(server) == 0 and not server.client.keys(f"{Q}lane*")


def test_thousand_types_that_nobody_handles_are_enough(queue: JobQueue, server: Server, mail: Worker) -> None:
    for start in range(0, 1000, 250):
        submit(queue, *[f"t{n}" for n in range(start, start + 250)])
    with pytest.raises(TooManyTypes):
        queue.submit("one.more")
    assert isinstance(TooManyTypes([]), Invalid)
    assert queue.submit("t7").type == "t7"
    assert queue.submit("mail").type == "mail", "a type that somebody handles is always taken"
    for _ in range(5):
        mail.claim(1)
    queue.act_on("cancel", [job.id for job in queue.page(Filter("queued", type="t9")).jobs])
    tick(queue)
    assert queue.submit("one.more").status == "queued"


# ---------------------------------------------------------------------------------------------------- routes, formats


def test_job_that_names_no_queue_goes_to_that_of_its_handler(queue: JobQueue, server: Server) -> None:
    queue.publish_routes({"video": "cpu"}, ["mail"])
    fresh = JobQueue(server.url)
    assert (fresh.submit("video").queue, fresh.submit("mail").queue) == ("cpu", "default")
    assert fresh.submit("video", queue="default").queue == "default"
    batch = fresh.submit_many([NewJob("video"), NewJob("mail")])
    assert [answer.job.queue for answer in batch if answer.job] == ["cpu", "default"]
    queue.publish_routes({}, ["video"])
    assert JobQueue(server.url).submit("video").queue == "default"


def test_program_stops_where_a_later_release_has_written(queue: JobQueue, server: Server, mail: Worker) -> None:
    assert server.client.hget(f"{Q}meta", "format") == str(FORMAT)
    queue.check_format()
    server.client.hset(f"{Q}meta", "format", FORMAT + 1)
    with pytest.raises(TooNew, match="a later release has written to the queue default"):
        queue.check_format()


def test_policies_of_a_kit_are_its_own(queue: JobQueue) -> None:
    slow, quick = Worker(queue, "slow"), Worker(queue, "quick")
    slow.beat(mail=Policy(timeout_ms=60_000))
    quick.handles("mail")
    queue.submit("mail")
    assert claimed(quick) == ["mail"]


# -------------------------------------------------------------------------------------------------------- the checker


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda c, job: c.delete(f"{Q}lane:image"), "parked, but not in the lane of its type"),
        (lambda c, job: c.delete(f"{Q}lanes"), "the lane image is not among those that are open"),
        (lambda c, job: c.zadd(f"{Q}lanes", {"ghost": 1}), "the lane ghost is not among those that are open"),
        (lambda c, job: c.delete(f"{Q}held"), "is queued but stands in no index"),
        (lambda c, job: c.zadd(f"{Q}held", {job: 1}), "but its place is"),
        (lambda c, job: c.zadd(f"{Q}queue", {job: 1}), "is queued but stands in queue, held"),
        (lambda c, job: c.zadd(f"{Q}held", {"no job": 1}), "is in held but has no hash"),
        (lambda c, job: c.zadd(f"{Q}lane:image", {"no job": 1}), "is not parked but stands in the lane image"),
        (lambda c, job: c.hset(f"{Q}job:{job}", "status", "nothing"), "is nothing but stands in held"),
    ],
)
def test_damaged_lane_is_reported_and_repaired(
    damage: Any, says: str, queue: JobQueue, server: Server, mail: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Checker, "AGAIN_S", 0)
    first, _ = submit(queue, "image", "image")
    assert claimed(mail) == [] and held(server) == 2
    damage(server.client, first)
    assert any(says in line for line in queue.check("default")), queue.check("default")
    queue.check("default", repair=True)
    queue.check("default", repair=True)
    assert queue.check("default") == []
    images = Worker(queue, "images").handles("image")
    assert len(images.claim(10)) == 2 - (queue.get(first).status == "failed")
