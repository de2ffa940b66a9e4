"""Webhooks: each end of a job makes one job that tells it, in the script that ends it."""

from __future__ import annotations

import hashlib
import json

import pytest

from _jobqueue.errors import OldProgram, QueueFull, WebhooksOff
from _jobqueue.records import DELIVERY, MAX_WEBHOOK_CHARS, Claimed
from _jobqueue.schedules import Schedule
from jobqueue import Filter, Invalid, Job, JobQueue, NewJob, handler
from tests.harness import Server
from tests.played import HOUR_MS, Q, Worker, a_moment_passes, ids, now_ms, passes, run_script, snapshot, tick, total

pytestmark = pytest.mark.usefixtures("in_the_end_all_is_well")
URL = "https://hooks.example.org/jobs?key=7"


def deliveries(queue: JobQueue) -> list[Job]:
    return sorted(queue.page(Filter(type=DELIVERY), limit=200).jobs, key=lambda job: job.payload["n"])


def waiting(server: Server) -> dict[str, float]:
    return dict(server.client.zrange(f"{Q}deliveries", 0, -1, withscores=True))


def told(queue: JobQueue, job: Job) -> list[tuple[int, str]]:
    """The events of a job, with their numbers."""
    found = [each.payload for each in deliveries(queue) if each.payload["job"] == job.id]
    return [(event["n"], event["status"]) for event in found]


# ---------------------------------------------------------------------------------------------------- what makes one


@pytest.mark.parametrize("outcome", ["done", "failed", "cancelled"])
def test_end_makes_one_delivery_in_the_same_script(
    outcome: str, queue: JobQueue, server: Server, worker: Worker
) -> None:
    job = queue.submit(webhook=URL, priority=2)
    worker.give(outcome)
    [delivery] = deliveries(queue)
    assert (delivery.status, delivery.priority, delivery.webhook, delivery.after) == ("queued", 9, URL, [job.id])
    ended = queue.get(job.id)
    assert delivery.payload == {"job": job.id, "n": 1, "status": outcome, "at": ended.finished_ms}
    assert waiting(server) == {delivery.id: ended.finished_ms}


def test_its_id_follows_from_the_job_its_submit_and_the_number_of_the_end(queue: JobQueue, worker: Worker) -> None:
    job = queue.submit(webhook=URL)
    worker.give("done")
    bits = hashlib.sha1(f"{job.id} {job.created_ms} 1".encode()).hexdigest()
    [delivery] = deliveries(queue)
    own = delivery.id.replace("-", "")
    assert own[:12] == bits[:12] and own[17:] == bits[17:32] and delivery.id[14:18] == job.id[14:18]


def test_waiting_job_that_is_cancelled_is_told_too(queue: JobQueue, worker: Worker) -> None:
    jobs = [queue.submit(webhook=URL), queue.submit(webhook=URL, delay_s=60)]
    jobs.append(queue.submit(webhook=URL, after=[jobs[1].id]))
    for job in jobs:
        if queue.get(job.id).status != "cancelled":
            queue.cancel(job.id)
    assert [told(queue, job) for job in jobs] == [[(1, "cancelled")]] * 3


def test_reaped_and_unhandled_jobs_are_told_too(queue: JobQueue, server: Server, worker: Worker) -> None:
    job = queue.submit(webhook=URL, max_attempts=1)
    [claimed] = worker.claim()
    passes(server, "leases", claimed)
    tick(queue)
    assert told(queue, job) == [(1, "failed")]


def test_each_end_is_told_again_after_a_retry(queue: JobQueue, worker: Worker) -> None:
    job = queue.submit(webhook=URL)
    worker.handles("echo")
    for n in range(1, 4):
        worker.give("failed")
        assert told(queue, job) == [(each, "failed") for each in range(1, n + 1)]
        queue.retry(job.id)
    worker.give("done")
    assert told(queue, job)[-1] == (4, "done") and len(set(ids(deliveries(queue)))) == 4


def test_settlement_that_is_sent_twice_makes_one(queue: JobQueue, worker: Worker) -> None:
    queue.submit(webhook=URL)
    [claimed] = worker.claim()
    worker.end("done", claimed)
    worker.end("done", claimed)
    assert len(deliveries(queue)) == 1


def test_deleting_is_no_end(queue: JobQueue, server: Server) -> None:
    queue.delete(queue.submit(webhook=URL).id)
    assert deliveries(queue) == [] and waiting(server) == {}


def test_failed_attempt_and_a_release_are_no_end(queue: JobQueue, server: Server, worker: Worker) -> None:
    queue.submit(webhook=URL, max_attempts=3)
    worker.claim()
    worker.end("failed", delay_ms=0)
    assert waiting(server) == {}


def test_job_without_a_webhook_leaves_nothing(queue: JobQueue, server: Server, worker: Worker) -> None:
    job = queue.submit()
    worker.give("done")
    fields = server.client.hgetall(f"{Q}job:{job.id}")
    assert not {"webhook", "also", "ends_n"} & fields.keys()
    assert not any("deliveries" in key or "then" in key for key in snapshot(server))


def test_batch_and_schedule_and_a_child_may_name_one(queue: JobQueue, worker: Worker) -> None:
    submitted = queue.submit_many(
        [NewJob(webhook=URL), NewJob(webhook=URL, unique_key="u", tags=["t"]), NewJob()], key="k"
    )
    assert [each.job.webhook for each in submitted if each.job] == [URL, URL, None]
    queue.schedules.put("default", "nightly", Schedule.of_json({"every_s": 60, "webhook": URL}))
    made, _ = queue.schedules.run("default", "nightly")
    assert queue.get(made).webhook == URL
    worker.give("done", 4)
    assert len(deliveries(queue)) == 3


def test_cascade_tells_all_whom_it_cancels_in_bounded_steps(queue: JobQueue, worker: Worker) -> None:
    parent = queue.submit()
    after = [NewJob(after=[parent.id], webhook=URL) for _ in range(300)]
    assert all(each.job for each in queue.submit_many(after))
    queue.cancel(parent.id)
    assert queue.books("default").sizes["cancelled"] == 301
    assert total(queue, "webhooks") == 300


# ------------------------------------------------------------------------------------------------------- how it runs


def deliverer(queue: JobQueue, name: str = "hooks") -> Worker:
    return Worker(queue, name).handles(DELIVERY, "echo")


def test_delivery_is_claimed_alone_and_before_the_rest(queue: JobQueue, worker: Worker) -> None:
    queue.submit(webhook=URL)
    worker.handles("echo").give("done")
    others = [queue.submit() for _ in range(3)]
    hooks = deliverer(queue)
    assert [job.type for job in hooks.claim(10)] == [DELIVERY]
    hooks.end("done")
    assert ids(hooks.claim(10)) == ids(others)
    hooks.end("done")


def test_job_in_front_of_a_delivery_does_not_take_it_along(queue: JobQueue, worker: Worker) -> None:
    first = queue.submit(priority=9)
    queue.submit(webhook=URL, priority=9)
    worker.handles("echo")
    [one, two] = worker.claim(2)
    worker.end("done", two)
    worker.end("failed", one, delay_ms=-1)
    hooks = deliverer(queue)
    assert ids(hooks.claim(10)) == [first.id]
    hooks.end("done")
    assert [job.type for job in hooks.claim(10)] == [DELIVERY]
    hooks.end("done")


def test_worker_that_tells_none_leaves_it(queue: JobQueue, worker: Worker) -> None:
    queue.submit(webhook=URL)
    worker.handles("echo").give("done")
    assert worker.claim(10) == []
    hooks = deliverer(queue)
    assert len(hooks.claim()) == 1
    hooks.end("done")


@pytest.mark.parametrize("parked", [False, True])
def test_pause_of_the_queue_does_not_stop_it(parked: bool, queue: JobQueue, server: Server, worker: Worker) -> None:
    queue.submit(webhook=URL)
    worker.handles("echo").give("done")
    queue.submit(priority=9)
    if parked:
        queue.pause_type("default", "echo")
        assert worker.claim() == []
        queue.pause_type("default", "echo", False)
    queue.pause("default")
    hooks = deliverer(queue)
    assert worker.claim(10) == []
    [claimed] = hooks.claim(10)
    assert claimed.type == DELIVERY and waiting(server)[claimed.id] < 0
    hooks.end("failed", delay_ms=HOUR_MS)
    assert hooks.claim() == []
    queue.run_now(claimed.id)
    assert ids(hooks.claim()) == [claimed.id]
    hooks.end("done")
    assert waiting(server) == {} and queue.books("default").sizes["queued"] == 1
    queue.pause("default", False)


def test_pause_of_its_type_does(queue: JobQueue, worker: Worker) -> None:
    queue.submit(webhook=URL)
    worker.handles("echo").give("done")
    hooks = deliverer(queue)
    queue.pause_type("default", DELIVERY)
    assert hooks.claim() == []
    queue.pause("default")
    assert hooks.claim() == []


def test_it_is_followed_from_its_end_to_its_own(queue: JobQueue, server: Server, worker: Worker) -> None:
    queue.submit(webhook=URL)
    worker.handles("echo").give("done")
    hooks = deliverer(queue)
    [claimed] = hooks.claim()
    hooks.end("failed", delay_ms=HOUR_MS)
    assert waiting(server)[claimed.id] == pytest.approx(now_ms(server) + HOUR_MS, abs=10_000)
    passes(server, "scheduled", claimed)
    tick(queue)
    assert ids(hooks.claim()) == [claimed.id]
    hooks.end("failed")
    assert waiting(server) == {claimed.id: float("inf")}
    queue.retry(claimed.id)
    assert waiting(server)[claimed.id] <= now_ms(server)
    assert len(hooks.claim()) == 1
    hooks.end("cancelled")
    assert waiting(server) == {}
    assert [total(queue, f"webhooks_{each}") for each in ("failed", "cancelled")] == [1, 1]


def test_lost_delivery_comes_back(queue: JobQueue, server: Server, worker: Worker) -> None:
    queue.submit(webhook=URL)
    worker.handles("echo").give("done")
    hooks = deliverer(queue)
    [claimed] = hooks.claim()
    passes(server, "leases", claimed)
    tick(queue)
    assert 0 < waiting(server)[claimed.id] <= now_ms(server)
    hooks.running = []
    hooks.beat()
    assert ids(hooks.claim()) == [claimed.id]
    hooks.end("done")


def test_delivery_makes_none_itself(queue: JobQueue, worker: Worker) -> None:
    queue.submit(webhook=URL)
    worker.handles("echo").give("done")
    hooks = deliverer(queue)
    hooks.give("done")
    assert len(deliveries(queue)) == 1


# ------------------------------------------------------------------------------------------------- what is kept for it


def test_job_is_kept_until_it_is_told(queue: JobQueue, server: Server, worker: Worker) -> None:
    job = queue.submit(webhook=URL)
    worker.handles("echo").give("done")
    a_moment_passes(server)
    past = {"done": 0, "cancelled": 0, "failed": 0}
    tick(queue, retention_ms=past)
    assert queue.get(job.id).status == "done"
    hooks = deliverer(queue)
    hooks.give("done")
    server.client.zadd(f"{Q}done", {job.id: 1})  # it is looked at again in a minute
    a_moment_passes(server)
    tick(queue, retention_ms=past)
    tick(queue, retention_ms=past)
    assert queue.books("default").sizes["done"] == 0 and waiting(server) == {}


def test_what_it_says_is_read_when_it_is_told(queue: JobQueue, server: Server, worker: Worker) -> None:
    job = queue.submit(webhook=URL)
    worker.handles("echo").give("failed")
    [first] = deliveries(queue)
    said = queue.deliveries.begin(first.id, "h", job.id, 1000)
    assert said.job and said.job.id == job.id and not said.over
    queue.retry(job.id)
    assert queue.deliveries.begin(first.id, "h", job.id, 1000).job  # it has not ended again
    worker.give("done")
    assert queue.deliveries.begin(first.id, "h", job.id, 1000)[:2] == (None, True)
    queue.delete(job.id)
    assert queue.deliveries.begin(first.id, "h", job.id, 1000)[:2] == (None, False)
    assert queue.deliveries.address(first.id) == URL


def test_two_calls_of_one_host_at_once(queue: JobQueue, server: Server, worker: Worker) -> None:
    jobs = [queue.submit(webhook=URL) for _ in range(4)]
    worker.handles("echo").give("done", 4)
    found = {each.payload["job"]: each.id for each in deliveries(queue)}

    def begin(at: int, host: str = "h") -> int:
        return queue.deliveries.begin(found[jobs[at].id], host, jobs[at].id, 60_000).busy_ms

    assert [begin(0), begin(1), begin(0)] == [0, 0, 0]
    assert 0 < begin(2) < begin(3)
    assert begin(2, "other") == 0
    queue.deliveries.end(found[jobs[0].id], "h", 20)
    assert begin(2) == 0
    server.client.zadd(f"{Q}calls:h", dict.fromkeys(server.client.zrange(f"{Q}calls:h", 0, -1), 1))
    assert begin(3) == 0  # nobody has ended those


# --------------------------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    "address",
    [
        *("", "x", "ftp://h/", "https://", "https:///x", "//h/x", "https://u@h/", "https://u:p@h/", "https://h:0/"),
        *("https://h:65536/", "https://h:x/", "https://h/a b", "https://h/\n", "https://h\\@x/", "https://h/#x"),
        *("https://bücher.example/", "https://[::1", "https://[fe80::1%eth0]/", "https://h/" + "x" * MAX_WEBHOOK_CHARS),
        *(7, ["https://h/"], b"https://h/"),
    ],
)
def test_what_is_no_address_is_refused(address: object, queue: JobQueue) -> None:
    with pytest.raises(Invalid) as error:
        queue.submit(webhook=address)
    assert [pointer for pointer, _ in error.value.problems] == ["/webhook"]
    assert queue.queues() == []


@pytest.mark.parametrize(
    "address",
    ["https://h", "https://h?x", "HTTPS://h.example:8443/", "https://[2001:db8::1]:1/x", "https://a_b.c./%20"],
)
def test_addresses_that_are_taken(address: str, queue: JobQueue) -> None:
    assert queue.submit(webhook=address).webhook == address


def test_only_https_unless_it_is_for_tests(url: str, queue: JobQueue) -> None:
    with pytest.raises(Invalid, match="https"):
        queue.submit(webhook="http://h/")
    assert JobQueue(url, webhooks="http").submit(webhook="http://h/").webhook == "http://h/"
    off = JobQueue(url, webhooks="off")
    with pytest.raises(WebhooksOff):
        off.submit(webhook=URL)
    with pytest.raises(WebhooksOff):
        off.schedules.put("default", "s", Schedule.of_json({"every_s": 60, "webhook": URL}))
    [wrong, good] = off.submit_many([NewJob(webhook=URL), NewJob()])
    assert isinstance(wrong.error, WebhooksOff) and good.job


def test_types_that_are_ours_are_reserved(queue: JobQueue) -> None:
    for name in (DELIVERY, "jobqueue.", "jobqueue.x"):
        with pytest.raises(Invalid, match="reserved"):
            NewJob(type=name)
        with pytest.raises(Invalid, match="reserved"):
            Schedule.of_json({"every_s": 60, "type": name})
        with pytest.raises(ValueError, match="reserved"):
            handler(name)
    assert NewJob(type="jobqueue").type == "jobqueue"


@pytest.mark.parametrize("webhooks", [None, False, True])
def test_beside_a_worker_of_the_release_before_it_is_refused(
    webhooks: bool | None, queue: JobQueue, server: Server, worker: Worker
) -> None:
    kept = queue.submit_one(NewJob(webhook=URL), "key").job
    worker.beat()
    info = json.loads(server.client.get(f"{Q}worker:{worker.name}"))
    del info["webhooks"]
    if webhooks is not None:
        info["webhooks"] = webhooks
    server.client.set(f"{Q}worker:{worker.name}", json.dumps(info))
    assert queue.submit_one(NewJob(webhook=URL), "key").job == kept  # what is there is there
    assert queue.submit().id
    if webhooks is None:
        for jobs in ([NewJob(webhook=URL)], [NewJob(), NewJob(webhook=URL, payload="x" * 400)]):
            answers = queue.submit_many(jobs)
            assert all(isinstance(each.error, OldProgram) for each in answers), answers
        with pytest.raises(OldProgram, match="webhook"):
            queue.submit_one(NewJob(webhook=URL), "another key")
    else:
        assert queue.submit(webhook=URL).webhook == URL


def test_beside_a_reaper_of_the_release_before_it_is_refused(queue: JobQueue, server: Server) -> None:
    queue.submit(webhook=URL)
    tick(queue)
    queue.submit(webhook=URL)
    server.client.hdel(f"{Q}meta", "hooks")
    with pytest.raises(OldProgram, match="reaper"):
        queue.submit(webhook=URL)


def test_a_hand_that_takes_the_address_away_stops_no_end(queue: JobQueue, server: Server, worker: Worker) -> None:
    job = queue.submit(webhook=URL)
    server.client.hdel(f"{Q}job:{job.id}", "webhook")
    worker.give("done")
    assert queue.get(job.id).status == "done"


def test_script_that_begins_a_call_may_be_sent_twice(queue: JobQueue, worker: Worker) -> None:
    job = queue.submit(webhook=URL)
    worker.handles("echo").give("done")
    [delivery] = deliveries(queue)
    args = [delivery.id, "h", "", job.id, 2, 1000, *queue.store.defaults]
    assert run_script(queue, "deliver", "default", args) == run_script(queue, "deliver", "default", args)


def test_what_is_still_to_be_told_takes_nobodys_room(queue: JobQueue, worker: Worker) -> None:
    worker.handles("echo")
    for _ in range(3):
        queue.submit(webhook=URL)
    worker.give("done", 3)
    queue.limit_waiting("default", 1)
    assert queue.books("default").waiting == 0
    queue.submit()
    with pytest.raises(QueueFull):
        queue.submit()
    worker.give("done")


def test_with_turns_it_stands_behind_others_of_its_priority(queue: JobQueue, worker: Worker) -> None:
    worker.handles("echo")
    first = queue.submit(webhook=URL, priority=9)
    keyed = [queue.submit(priority=9, fair_key=key) for key in "aab"]
    queue.cancel(first.id)
    hooks = deliverer(queue)
    order: list[Claimed] = []
    for _ in range(4):
        order += hooks.claim()
        hooks.end("done")
    assert set(ids(order)) > set(ids(keyed)) and first.id not in ids(order)
    assert [job.type for job in order].count(DELIVERY) == 1
