"""What an operator does through JobQueue, and what its scripts do when they are sent twice."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from _jobqueue.store.scripts import Script
from jobqueue import Conflict, Filter, Invalid, JobQueue, NewJob, NotFound
from tests.faults.proxy import APPLIED, Proxy, Strike, strike_at
from tests.harness import Server
from tests.played import Worker, a_moment_passes, run_script, snapshot


def test_a_requeue_is_bounded_and_tells_how_many_are_left(jobs: JobQueue, hand: Worker) -> None:
    jobs.submit_many([NewJob(payload=n) for n in range(10)])
    order = hand.give("failed", 10)
    assert jobs.requeue_dead("default", most=4) == (4, 6)
    assert jobs.requeue_dead("default", most=100) == (6, 0)
    assert sorted(job.id for job in jobs.page(Filter("queued"), limit=10).jobs) == sorted(order)


def test_dead_letters_that_cannot_run_do_not_hide_those_behind_them(
    jobs: JobQueue, hand: Worker, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("_jobqueue.store.sweeps.ACT_MOST", 2)
    proxy = Proxy(server.port)
    for _ in range(5):
        jobs.submit(unique_key="k")
        hand.give("failed")
    free = jobs.submit()
    hand.give("failed")
    jobs.submit(unique_key="k", delay_s=60)
    assert JobQueue(proxy.url).requeue_dead("default") == (1, 5)
    assert sum(message.label == "page" for message in proxy.seen) >= 3, "two at a time"
    proxy.close()
    assert jobs.get(free.id).status == "queued"


@pytest.mark.parametrize("payload", [1, None, {"to": "a"}, "a" * 100, "a" * 500, "a" * 600, ["é" * 40]])
@pytest.mark.parametrize("before", [1, "b" * 500, "b" * 3000])
def test_a_retry_may_have_another_payload(payload: Any, before: Any, jobs: JobQueue, hand: Worker) -> None:
    job = jobs.submit(payload=before)
    hand.give("failed")
    jobs.retry(job.id, payload)
    assert jobs.get(job.id).payload == payload
    [claimed] = hand.claim()
    assert json.loads(claimed.payload) == payload
    hand.end("failed", claimed)
    jobs.retry(job.id)
    assert jobs.get(job.id).payload == payload


def test_an_odd_kind_is_made_one_short_word(jobs: JobQueue, hand: Worker) -> None:
    for odd, word in (
        ("a b\n}:{", "a_b____"),
        ("Ошибка", "Ошибка"),
        ("\ud800", "_"),
        ("", "error"),
        ("K" * 100, "K" * 64),
    ):
        job = jobs.submit()
        hand.give("failed", 1, odd)
        assert jobs.get(job.id).errors[0]["kind"] == word
        assert [(kind.kind, kind.job_id) for kind in jobs.kinds()] == [(word, job.id)]
        jobs.retry(job.id)
        hand.give("done")


def test_there_are_never_more_than_some_hundred_kinds(jobs: JobQueue, hand: Worker) -> None:
    jobs.submit_many([NewJob()] * 230)
    for number in range(230):
        hand.give("failed", 1, f"Kind{number}")
    most, *others = jobs.kinds()
    assert (most.kind, most.count, len(others)) == ("other", 30, 200)
    assert jobs.sweep("delete", Filter(kind="other")).changed == 30
    assert len(jobs.kinds()) == 200


def test_the_message_of_a_kind_is_cut_between_characters(jobs: JobQueue, hand: Worker, server: Server) -> None:
    for filler in range(3):
        job = jobs.submit()
        hand.give("failed", 1, "Boom", "x" * filler + "€" * 2000)
        [kind] = jobs.kinds()
        assert kind.message.strip("x") == "€" * len(kind.message.strip("x")) and 300 < len(kind.message) < 1000
        jobs.delete(job.id)


def test_what_fails_again_is_not_retried_again_by_the_same_sweep(jobs: JobQueue, hand: Worker, server: Server) -> None:
    jobs.submit_many([NewJob()] * 3)
    hand.give("failed", 3)
    a_moment_passes(server)
    cursor, changed = None, 0
    for _ in range(10):
        acted = jobs.sweep("retry", Filter("failed"), cursor=cursor, most=1)
        changed, cursor = changed + acted.changed, acted.cursor
        if not cursor:
            break
        a_moment_passes(server)
        hand.give("failed", acted.changed)
    assert (changed, cursor) == (3, None)


def test_one_script_retries_one_of_the_jobs_with_a_unique_key(jobs: JobQueue, hand: Worker) -> None:
    dead = []
    for _ in range(2):
        dead.append(jobs.submit(unique_key="k").id)
        hand.give("failed")
    assert run_script(jobs, "retry", "default", ["request", 2, *dead]) == [b"retried", b"taken"]


def cursor_of(places: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps([0, places]).encode()).decode()


@pytest.mark.parametrize("places", [{"default": ""}, {"default": "0", "other": "0"}, {"default": "x"}, ["default"]])
def test_a_cursor_of_another_list_is_refused(jobs: JobQueue, places: Any) -> None:
    with pytest.raises(Invalid, match="cursor"):
        jobs.sweep("retry", Filter("failed"), cursor=cursor_of(places))
    jobs.sweep("retry", Filter("failed"), cursor=cursor_of({"default": "0"}))


@pytest.mark.parametrize("lost", [False, True])
def test_a_submit_with_unique_keys_sent_twice_gives_the_same_answer(lost: bool, jobs: JobQueue, server: Server) -> None:
    living = jobs.submit(unique_key="k").id
    new = [NewJob(payload=1, unique_key="k"), NewJob(payload=2, unique_key="new", tags=["t"])]
    proxy, applied = Proxy(server.port), list[Any]()
    if lost:
        server.client.script_load(Script("submit").text)
        strike = Strike(APPLIED, lambda: applied.append(snapshot(server)))
        proxy.rule = strike_at("submit", 1, strike)
    first, second = JobQueue(proxy.url).submit_many(new)
    assert first.job and first.job.id == living and first.existing
    assert second.job and second.job.id != living
    proxy.close()
    stored = snapshot(server)
    assert applied == [stored] * lost
    sent = [message.words for message in proxy.seen if message.label == "submit"]
    assert len({tuple(words[1:]) for words in sent[-2:]}) == 1 or not lost
    assert server.client.execute_command(*sent[-1])[3] == [living, ""]
    assert snapshot(server) == stored
    assert jobs.books("default").totals["submitted"] == 2


@pytest.mark.parametrize("script", ["run", "delete", "pause", "cancel"])
def test_an_operation_sent_twice_changes_nothing_the_second_time(
    script: str, jobs: JobQueue, server: Server, hand: Worker
) -> None:
    job = jobs.submit(delay_s=60, tags=["t"], unique_key="k", key="once")
    args = ["1"] if script == "pause" else [job.id]
    assert run_script(jobs, script, "default", args)
    stored = snapshot(server)
    run_script(jobs, script, "default", args)
    assert snapshot(server) == stored


def test_a_retry_sent_twice_retries_once_even_when_the_job_has_run_between(jobs: JobQueue, hand: Worker) -> None:
    job = jobs.submit()
    hand.give("failed")
    assert run_script(jobs, "retry", "default", ["request", 1, job.id]) == [b"retried"]
    hand.give("failed")
    assert run_script(jobs, "retry", "default", ["request", 1, job.id]) == [b"retried"]
    assert jobs.get(job.id).status == "failed"


def test_the_wrong_status_is_refused_by_every_script(jobs: JobQueue, hand: Worker) -> None:
    done = jobs.submit()
    hand.give("done")
    for operation in (jobs.cancel, jobs.retry, jobs.run_now):
        with pytest.raises(Conflict) as refusal:
            operation(done.id)
        assert refusal.value.status == "done"
    waiting, running = jobs.submit(delay_s=60), jobs.submit()
    hand.claim()
    with pytest.raises(Conflict):
        jobs.retry(waiting.id)
    for operation in (jobs.retry, jobs.run_now, jobs.delete):
        with pytest.raises(Conflict) as refusal:
            operation(running.id)
        assert refusal.value.status == "processing"


def test_a_job_given_back_can_be_deleted(jobs: JobQueue, hand: Worker) -> None:
    job = jobs.submit()
    (claimed,) = hand.claim()
    hand.end("released", claimed)
    jobs.delete(job.id)
    with pytest.raises(NotFound):
        jobs.get(job.id)
