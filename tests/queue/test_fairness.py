"""Turns: within a priority, jobs of different fair keys take turns, in the order of their submits where there are no keys."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest

from jobqueue import Invalid, JobQueue, NewJob
from tests.harness import Server
from tests.played import Q, Worker, now_ms, tick

pytestmark = pytest.mark.usefixtures("in_the_end_all_is_well")


def submit(queue: JobQueue, key: str | None, n: int = 1, **more: Any) -> list[str]:
    """The ids of new jobs of a key."""
    answers = queue.submit_many([NewJob(fair_key=key, payload=key, **more) for _ in range(n)])
    return [answer.job.id for answer in answers if answer.job]


def runs(worker: Worker, n: int, want: int = 1) -> list[str]:
    """The keys of the next jobs, in the order in which they are claimed and done."""
    keys: list[str] = []
    while len(keys) < n:
        claimed = worker.claim(min(want, n - len(keys)))
        assert claimed
        keys += [job.payload.decode().strip('"') for job in claimed]
        worker.end("done")
    return keys


def rounds(keys: Sequence[str], of: int) -> list[set[str]]:
    return [set(keys[at : at + of]) for at in range(0, len(keys), of)]


def are_due(server: Server, ids: Sequence[str]) -> None:
    server.client.zadd(f"{Q}scheduled", dict.fromkeys(ids, now_ms(server) - 1), xx=True)


def is_off(server: Server) -> bool:
    rounds = [name for name in server.client.hkeys(f"{Q}rounds") if not name.endswith(" was")]
    return not rounds and not server.client.exists(f"{Q}turns") and server.client.hget(f"{Q}meta", "fair") is None


def test_one_job_of_each_key_a_round(queue: JobQueue, worker: Worker) -> None:
    submit(queue, "a", 1000)
    assert runs(worker, 1) == ["a"]
    submit(queue, "b"), submit(queue, "c")
    assert rounds(runs(worker, 6), 3) == [{"a", "b", "c"}, {"a"}]


def test_jobs_without_a_key_are_one_key(queue: JobQueue, worker: Worker) -> None:
    """Those that waited before the first key too."""
    first = submit(queue, None, 50)
    runs(worker, 10)
    submit(queue, "a", 20), submit(queue, None, 5)
    assert rounds(runs(worker, 12), 2) == [{"null", "a"}] * 6
    waits = [job.id for job in queue.page(limit=100).jobs if not job.fair_key]
    assert waits[: len(first) - 16] == first[16:]


def test_order_of_submits_is_kept_within_a_key(queue: JobQueue, worker: Worker) -> None:
    ids = {key: submit(queue, key, 30) for key in ("a", "b")}
    ids["a"] += submit(queue, "a", 10)
    claimed = worker.claim(64)
    for key, expected in ids.items():
        mine = [job.id for job in claimed if job.payload.decode() == f'"{key}"']
        assert len(mine) >= 30 and mine == expected[: len(mine)]
    worker.end("done")


def test_priorities_are_strict_and_take_turns_by_themselves(queue: JobQueue, worker: Worker) -> None:
    submit(queue, None, 403), runs(worker, 403, 64)  # numbers of their submits are far ahead
    submit(queue, None, 3, priority=9), submit(queue, "a", 5, priority=9), submit(queue, "b", 2)
    submit(queue, None, 2)
    keys = runs(worker, 12)
    assert rounds(keys[:6], 2) == [{"null", "a"}] * 3
    assert keys[6:8] == ["a"] * 2 and rounds(keys[8:], 2) == [{"null", "b"}] * 2


def test_delayed_jobs_get_their_turns_when_they_are_due(queue: JobQueue, worker: Worker, server: Server) -> None:
    late = submit(queue, "a", 20, delay_s=60)
    submit(queue, "b", 300), runs(worker, 150, 50)
    are_due(server, late)
    tick(queue)
    submit(queue, "c", 5)
    assert rounds(runs(worker, 15), 3) == [{"a", "b", "c"}] * 5


def turns_were_taken(queue: JobQueue, worker: Worker, server: Server) -> None:
    submit(queue, "a"), runs(worker, 1), tick(queue)
    assert is_off(server)


def test_delayed_jobs_since_before_turns_ended_take_turns(queue: JobQueue, worker: Worker, server: Server) -> None:
    """By the numbers of their submits they stand in front of all rounds to come."""
    late, later = submit(queue, None, 10, delay_s=60), submit(queue, None, 5, delay_s=60)
    turns_were_taken(queue, worker, server)
    are_due(server, late), tick(queue)
    queue.act_on("run", later)
    assert is_off(server)
    submit(queue, "b", 10)
    assert rounds(runs(worker, 20), 2) == [{"null", "b"}] * 10
    assert runs(worker, 5) == ["null"] * 5


def test_children_since_before_turns_ended_take_turns(
    queue: JobQueue, worker: Worker, other: Worker, server: Server
) -> None:
    [parent] = submit(queue, None)
    other.claim()
    submit(queue, None, 10, after=[parent]), turns_were_taken(queue, worker, server)
    other.end("done")
    submit(queue, "b", 10)
    assert rounds(runs(worker, 20), 2) == [{"null", "b"}] * 10


def test_jobs_due_together_begin_turns_together(queue: JobQueue, worker: Worker, server: Server) -> None:
    """The machine stood still, and one tick promotes jobs without a key and the first ones with one."""
    late = submit(queue, None, 10, delay_s=60) + submit(queue, "a", 5, delay_s=60)
    are_due(server, late)
    tick(queue)
    submit(queue, "b", 5)
    assert rounds(runs(worker, 15), 3) == [{"null", "a", "b"}] * 5


def test_attempt_from_before_turns_comes_back(queue: JobQueue, worker: Worker, other: Worker, server: Server) -> None:
    """Its place is that of its submit, in front of which turns begin meanwhile."""
    late = submit(queue, None, 3, delay_s=60)
    submit(queue, None), other.claim()
    are_due(server, late), tick(queue)
    submit(queue, "a", 3)
    other.end("failed", delay_ms=0), tick(queue)
    assert queue.check("default") == []
    assert Counter(runs(worker, 7)) == {"null": 4, "a": 3}


def test_failed_attempt_keeps_its_turn(queue: JobQueue, worker: Worker, server: Server) -> None:
    [first, *_] = submit(queue, "a", 5)
    submit(queue, "b", 5)
    tried = worker.claim(2)
    places = {job.id: server.client.hget(f"{Q}job:{job.id}", "score") for job in tried}
    worker.end("failed", *tried, delay_ms=0)
    tick(queue)
    assert first in places
    assert worker.give("done") + worker.give("done") == sorted(places)
    assert {job_id: server.client.hget(f"{Q}job:{job_id}", "score") for job_id in places} == places


def test_old_turns_of_retries_are_nobody_elses(queue: JobQueue, worker: Worker, other: Worker) -> None:
    """A hundred attempts have failed and come back at their places, which are over: a new key takes turns with those that wait."""
    submit(queue, "a", 200)
    tried = other.claim(100)
    runs(worker, 50, 50)
    other.end("failed", delay_ms=0)
    tick(queue)
    submit(queue, "c", 60)
    assert [worker.give("done")[0] for _ in range(100)] == [job.id for job in tried]
    submit(queue, "d", 5)
    assert rounds(runs(worker, 15), 3) == [{"a", "c", "d"}] * 5


def test_operators_retry_waits_for_a_new_turn(queue: JobQueue, worker: Worker) -> None:
    submit(queue, "a", 10)
    dead = worker.give("failed", 10)
    submit(queue, "b", 10), runs(worker, 5)
    queue.act_on("retry", dead)
    assert rounds(runs(worker, 10), 2) == [{"a", "b"}] * 5


def test_released_children_take_their_turns(queue: JobQueue, worker: Worker, other: Worker) -> None:
    [parent] = submit(queue, None)
    other.claim()
    submit(queue, "a", 6, after=[parent]), submit(queue, "b", 100)
    runs(worker, 50, 50)
    other.end("done")
    assert rounds(runs(worker, 10), 2) == [{"a", "b"}] * 5


def test_idle_key_gets_no_credit(queue: JobQueue, worker: Worker) -> None:
    submit(queue, "a", 1), submit(queue, "b", 100)
    runs(worker, 51)
    tick(queue)
    submit(queue, "a", 20)
    assert rounds(runs(worker, 20), 2) == [{"a", "b"}] * 10


def test_key_that_cancels_keeps_the_turns_it_took(queue: JobQueue, worker: Worker) -> None:
    gone = submit(queue, "a", 200)
    submit(queue, "b", 50)
    queue.act_on("cancel", gone)
    submit(queue, "a", 5)
    assert runs(worker, 55) == ["b"] * 50 + ["a"] * 5


def test_turns_end_with_the_last_key(queue: JobQueue, worker: Worker, server: Server) -> None:
    ids = submit(queue, None, 5)
    assert is_off(server)
    submit(queue, "a", 3)
    assert not is_off(server)
    ids += submit(queue, None, 5)
    runs(worker, 7)
    tick(queue)
    assert is_off(server)
    ids += submit(queue, None, 5)
    assert [worker.give("done")[0] for _ in range(11)] == ids[4:]


def test_turns_end_when_all_is_cancelled(queue: JobQueue, server: Server) -> None:
    queue.act_on("cancel", submit(queue, "a", 300))
    tick(queue)
    assert is_off(server)


def test_entries_of_idle_keys_are_dropped(queue: JobQueue, worker: Worker, server: Server) -> None:
    queue.submit_many([NewJob(fair_key=f"key-{n}") for n in range(600)])
    queue.submit_many([NewJob(fair_key="busy") for _ in range(3)])
    assert server.client.zcard(f"{Q}turns") == 601
    runs(worker, 601, 50)
    for left in (351, 101):
        tick(queue)
        assert server.client.zcard(f"{Q}turns") == left
    queue.submit_many([NewJob(fair_key=f"new-{n}") for n in range(10)])
    assert server.client.zcard(f"{Q}turns") == 101 - 2 * 10 + 10
    tick(queue)
    assert server.client.zcard(f"{Q}turns") == 11
    runs(worker, 12, 50)
    tick(queue)
    assert is_off(server)


def test_place_is_never_behind_the_number_of_its_submit(queue: JobQueue, worker: Worker, server: Server) -> None:
    """So the order of submits is kept when turns end."""
    later = submit(queue, None, 30, delay_s=60)
    submit(queue, "a", 2)
    are_due(server, later)
    tick(queue)
    submit(queue, "b", 3), queue.act_on("retry", worker.give("failed", 3))
    scores = [score for _, score in server.client.zrange(f"{Q}queue", 0, -1, withscores=True)]
    assert max(scores) - 4 * 2**43 <= int(server.client.hget(f"{Q}meta", "seq"))


@pytest.mark.parametrize("key", ["", "a b", "é", "x" * 65, 7, ["a"]])
def test_what_is_no_key(key: Any) -> None:
    with pytest.raises(Invalid) as error:
        NewJob(fair_key=key)
    assert error.value.problems[0][0] == "/fair_key"


def test_job_says_its_key(queue: JobQueue) -> None:
    job = queue.submit("echo", fair_key="tenant:7@eu-1.x_y")
    assert job.fair_key == queue.get(job.id).fair_key == queue.page().jobs[0].fair_key == "tenant:7@eu-1.x_y"
    assert job.as_dict()["fair_key"] == "tenant:7@eu-1.x_y" and "fair_key" not in queue.submit("echo").as_dict()


def test_deleted_queue_leaves_nothing(queue: JobQueue, server: Server) -> None:
    queue.act_on("delete", submit(queue, "a", 3))
    queue.delete_queue("default")
    assert server.client.keys(f"{Q}*") == []


def test_turns_that_were_are_not_taken_twice(queue: JobQueue, worker: Worker, other: Worker) -> None:
    """What comes back at its place after the turns have ended stands before what its key submits then."""
    [first] = submit(queue, "a")
    other.claim(), submit(queue, None, 3), runs(worker, 1)
    tick(queue), other.end("failed", delay_ms=0), tick(queue)
    [second] = submit(queue, "a")
    assert worker.give("done") == [first]
    assert second in worker.give("done", 2)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (["HDEL", "meta", "fair"], "fair keys take turns by halves"),
        (["DEL", "turns"], "fair keys take turns by halves"),
        (["ZADD", "turns", 4 * 2**43 + 1, "5 z"], "entry of the fair key z at priority 5 is kept though it is idle"),
        (["ZREM", "turns", "5 a"], "waits for a turn that its fair key does not have"),
        (["ZREM", "turns", "5 "], "waits for a turn that its fair key does not have"),
        (["HSET", "meta", "seq", 3], "stands behind the number of the last submit"),
    ],
)
def test_checker_finds_damaged_turns_and_repairs_them(
    damage: list[Any], said: str, queue: JobQueue, worker: Worker, server: Server
) -> None:
    submit(queue, "a", 5), submit(queue, None, 5), submit(queue, "b", 5)
    runs(worker, 7), tick(queue)
    assert queue.check("default") == []
    server.client.execute_command(damage[0], f"{Q}{damage[1]}", *damage[2:])
    found = queue.check("default")
    assert found and all(said in sentence for sentence in found)
    queue.check("default", repair=True)
    assert queue.check("default") == []
    submit(queue, "a", 2), submit(queue, "c", 2)
    assert Counter(runs(worker, 12)).keys() == {"a", "b", "c", "null"}
    assert queue.page(limit=50).jobs and worker.claim() == []


def test_nothing_is_dropped_while_it_is_ahead(queue: JobQueue, worker: Worker, server: Server) -> None:
    submit(queue, "a", 3)
    for n in range(3):
        tick(queue)
        assert server.client.zscore(f"{Q}turns", "5 a") is not None, n
        worker.give("done")
    tick(queue)
    assert is_off(server)
