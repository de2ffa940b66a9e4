"""What a reaper notes for charts: minutes by type, sums of ten minutes for two days, how fast jobs have ended lately."""

from __future__ import annotations

import json
from typing import Any

import pytest

from _jobqueue.by_type import OTHER, ByType, Waiting, came_in
from _jobqueue.records import DAY_MS
from _jobqueue.store.by_type import look_back
from _jobqueue.store.sums import BLOCK, BLOCKS, WHOLE, Series, told_of
from jobqueue import JobQueue, NewJob
from tests.harness import Server
from tests.played import Q, now_ms

MINUTE_MS = 60_000


def this_minute(server: Server) -> int:
    return now_ms(server) // MINUTE_MS


def counted(server: Server, ago: int, types: dict[str, dict[str, int]], **whole: int) -> int:
    """Write the counters of a minute that is over, as jobs and beats have; which one it is."""
    minute = this_minute(server) - ago
    if whole:
        server.client.hset(f"{Q}stats:{minute}", mapping=whole)
    if types:
        rows = {name: json.dumps(counts) for name, counts in types.items()}
        server.client.hset(f"{Q}by_type:{minute}", mapping=rows)
    return minute


def look(queue: JobQueue, minute: int, waiting: int = 0, **types: dict[str, int]) -> str:
    """What a reaper tells of a minute, once."""
    args: list[Any] = [50, minute, waiting]
    for name, counts in types.items():
        args += [name, json.dumps(counts)]
    return str(queue.store.run("sum", "default", args).decode())


def read(queue: JobQueue, job_type: str | None = None, minutes: int = 60) -> Series:
    return queue.sums.read(["default"], job_type, minutes, BLOCKS)["default"]


def total(queue: JobQueue, name: str, job_type: str | None = None) -> int:
    return sum(counts.get(name, 0) for counts in read(queue, job_type).blocks.values())


def stored(server: Server) -> dict[str, dict[str, Any]]:
    """The sums as they stand: key -> type -> counters."""
    keys = server.client.keys(f"{Q}sums:*")
    return {key: {name: json.loads(text) for name, text in server.client.hgetall(key).items()} for key in sorted(keys)}


@pytest.fixture
def used(queue: JobQueue, server: Server) -> JobQueue:
    """A queue whose reaper has added all minutes but the one before this one."""
    queue.register("default")
    server.client.hset(f"{Q}meta", "summed", this_minute(server) - 2)
    return queue


def test_a_minute_that_is_over_is_added_to_its_ten_minutes(used: JobQueue, server: Server) -> None:
    types = {"mail": {"done": 4, "wait:5": 4, "run:10": 4}, "image": {"failed": 1}}
    minute = counted(server, 1, types, done=4, submitted=9, retried=1, reaped=3)
    assert look(used, minute, 5, mail={"waiting": 5, "submitted": 9}) == ""
    (sums,) = stored(server).values()
    assert sums[WHOLE] == {"done": 4, "submitted": 9, "retried": 1, "waiting": 5}
    assert sums["mail"] == {"done": 4, "wait:5": 4, "run:10": 4, "waiting": 5, "submitted": 9}
    assert sums["image"] == {"failed": 1}
    assert read(used, "mail").minutes[minute]["submitted"] == 9
    (key,) = stored(server)
    assert DAY_MS / 500 < server.client.ttl(key) <= 174_000


def test_a_copy_and_a_second_reaper_add_nothing(used: JobQueue, server: Server) -> None:
    minute = counted(server, 1, {"mail": {"done": 4}}, done=4)
    for said in (5, 5, 7):
        look(used, minute, said, mail={"waiting": said, "submitted": 9})
    assert (total(used, "done"), total(used, "done", "mail"), total(used, "submitted", "mail")) == (4, 4, 9)
    assert read(used).minutes[minute]["waiting"] == 5, "what the first one saw"


def test_minutes_that_no_reaper_has_seen_are_added_later(used: JobQueue, server: Server) -> None:
    for ago in range(1, 41):
        minute = counted(server, ago, {"mail": {"done": 1}}, done=1)
    server.client.hset(f"{Q}meta", "summed", minute - 1)
    last = this_minute(server) - 1
    for _ in range(2):
        assert look(used, last) == str(last), "about 50 counters at a time: once more"
    assert look(used, last) == ""
    assert (total(used, "done"), total(used, "done", "mail")) == (40, 40)


def test_a_lost_beat_loses_its_counts_and_nothing_else(used: JobQueue, server: Server) -> None:
    """The queue's own counters stand in the transitions: only those of the type lack what the beat would have told."""
    minute = counted(server, 1, {"mail": {"done": 3}}, done=4, submitted=4)
    look(used, minute)
    assert (total(used, "done"), total(used, "submitted"), total(used, "done", "mail")) == (4, 4, 3)


def test_minutes_that_are_not_added_yet_are_in_what_is_read(used: JobQueue, server: Server) -> None:
    minute = counted(server, 0, {"mail": {"done": 2}}, done=2, submitted=3)
    counted(server, 1, {"mail": {"done": 1}}, done=1)
    assert (total(used, "done"), total(used, "done", "mail")) == (3, 3)
    assert read(used).minutes[minute]["submitted"] == 3
    assert not stored(server)


def test_of_ten_minutes_that_are_over_20_types_have_a_row(used: JobQueue, server: Server) -> None:
    this = this_minute(server)
    first = (this - 1) // BLOCK * BLOCK - 1  # the last minute of ten that are over
    types = {f"t{n:02}": {"done": n + 1, "waiting": 1} for n in range(30)}
    counted(server, this - first, types, done=465)
    server.client.hset(f"{Q}meta", "summed", first - 1)
    look(used, this - 1)
    old = stored(server)[f"{Q}sums:{first // BLOCK}"]
    assert len(old) == 22 and old[WHOLE]["done"] == 465
    assert old[OTHER] == {"done": sum(range(1, 11)), "waiting": 10}
    assert sum(counts["done"] for name, counts in old.items() if name != WHOLE) == 465


def test_nothing_is_written_for_a_queue_at_rest(used: JobQueue, server: Server) -> None:
    look(used, this_minute(server) - 1)
    assert stored(server) == {} and not server.client.exists(f"{Q}recent")
    assert not server.client.keys(f"{Q}stats:*")


def test_what_is_told_of_the_wrong_minute_changes_nothing(used: JobQueue, server: Server) -> None:
    this = this_minute(server)
    for minute in (this, this + 5, this - 2, this - 500):
        look(used, minute, 7, mail={"waiting": 7})
    assert stored(server) == {} and not server.client.keys(f"{Q}stats:*")


def test_a_clock_that_was_set_back_stops_no_sum(used: JobQueue, server: Server) -> None:
    server.client.hset(f"{Q}meta", "summed", this_minute(server) + 600)
    server.client.rpush(f"{Q}recent", f"{now_ms(server) + 36_000_000} 5 5")
    minute = counted(server, 0, {}, done=1)
    used.submit()
    used.sums.note("default")
    assert server.client.llen(f"{Q}recent") == 1
    assert int(server.client.lindex(f"{Q}recent", 0).split()[0]) <= now_ms(server)
    assert look(used, minute) == ""


@pytest.mark.parametrize("key", ["sums", "by_type", "recent", "stats"])
def test_figures_that_a_hand_has_spoiled_stop_no_reaper(key: str, used: JobQueue, server: Server) -> None:
    minute = counted(server, 1, {"mail": {"done": 1}}, done=1)
    at = {"sums": f"{Q}sums:{minute // BLOCK}", "recent": f"{Q}recent"}.get(key, f"{Q}{key}:{minute}")
    server.client.delete(at)
    server.client.set(at, "spoiled")
    assert look(used, minute, 3, mail={"waiting": 3}) == ""
    assert int(server.client.hget(f"{Q}meta", "summed")) == minute, "it is not tried for ever"


def test_a_reaper_notes_how_many_wait_and_have_ended(used: JobQueue, server: Server) -> None:
    used.submit_many([NewJob("mail"), NewJob("mail")])
    server.client.hset(f"{Q}totals", mapping={"done": 5, "failed": 2})
    for _ in range(3):
        used.sums.note("default")
    (only,) = used.look("default", minutes=1).recent
    assert (only.waiting, only.ended) == (2, 7), "one in ten seconds, whoever asks"
    server.client.delete(f"{Q}recent")
    for ago in range(30, 0, -1):
        server.client.lpush(f"{Q}recent", f"{now_ms(server) - 10_000 * ago} 1 1")
    used.sums.note("default")
    assert server.client.llen(f"{Q}recent") == 10 and server.client.ttl(f"{Q}recent") > 0


def test_a_reapers_note_tells_of_each_type_what_waits_and_what_came(used: JobQueue, server: Server) -> None:
    minute = this_minute(server)
    ids = [each.job.id for each in used.submit_many([NewJob("mail")] * 3 + [NewJob("image")]) if each.job]
    for job_id in ids:
        server.client.hset(f"{Q}job:{job_id}", "created", (minute - 1) * MINUTE_MS + 5)
    counted(server, 1, {"mail": {"done": 2, "wait:1": 2}}, done=2)
    args = [50, minute - 1, 4]
    assert used.store.run("sum", "default", args) == b""
    server.client.hset(f"{Q}meta", "summed", minute - 2)
    found = look_back(used.store, "default")
    if found.now_ms // MINUTE_MS == minute:
        assert told_of(found) == {"mail": {"waiting": 3, "submitted": 5}, "image": {"waiting": 1, "submitted": 1}}


def test_jobs_that_came_after_the_minute_are_not_of_it(used: JobQueue, server: Server) -> None:
    used.submit("mail")
    minute = this_minute(server)
    found = look_back(used.store, "default")
    if found.now_ms // MINUTE_MS == minute:
        assert (found.waiting["mail"].jobs, found.waiting["mail"].came) == (1, 0)


@pytest.mark.parametrize(
    "waiting, before, after, came",
    [
        ((9, 9), {}, {}, 9),  # all wait
        ((9, 0), {"wait:1": 100}, {}, 100),  # they came and started at once
        ((0, 0), {"wait:300000": 50}, {}, 0),  # they had waited for long
        ((0, 0), {}, {"wait:30000": 8}, 8),  # they came in the minute, and started after it
        ((0, 0), {}, {"wait:1": 8}, 0),  # they came after it
    ],
)
def test_what_came_is_what_waits_and_what_has_started_since(
    waiting: tuple[float, float], before: dict[str, int], after: dict[str, int], came: float
) -> None:
    now_ms = 1000 * MINUTE_MS + 6000
    waits = {"mail": Waiting(*waiting, now_ms - 9000)}
    found = ByType(now_ms, 999 * MINUTE_MS, True, waits, {}, {999: {"mail": before}, 1000: {"mail": after}})
    assert came_in(found)["mail"] == pytest.approx(came, abs=1.5)


def test_check_finds_what_was_counted_twice(used: JobQueue, server: Server) -> None:
    server.client.hset(f"{Q}totals", mapping={"submitted": 5, "done": 5, "trimmed": 5})
    minute = counted(server, 1, {}, done=5, submitted=5)
    look(used, minute)
    assert used.check("default") == []
    server.client.hset(f"{Q}sums:{minute // BLOCK}", WHOLE, json.dumps({"done": 10, "submitted": 5}))
    found = used.check("default")
    assert found == ["default: the charts' sums have counted 10 jobs as done, and there were 5"]
    used.check("default", repair=True)
    assert used.check("default") == [] and stored(server) == {}


def test_a_clock_that_was_set_back_a_little_adds_no_minute_twice(used: JobQueue, server: Server) -> None:
    minute = counted(server, 1, {}, done=5)
    server.client.hset(f"{Q}meta", "summed", minute + 30)
    assert look(used, minute) == "" and stored(server) == {}


def test_a_forgotten_queue_leaves_no_sums(used: JobQueue, server: Server) -> None:
    minute = counted(server, 1, {"mail": {"done": 1}}, done=1)
    look(used, minute)
    server.client.hset(f"{Q}sums:{minute // BLOCK - 287}", WHOLE, "{}")
    server.client.rpush(f"{Q}recent", "1 1 1")
    used.delete_queue("default")
    assert not server.client.keys(f"{Q}sums:*") and not server.client.keys(f"{Q}by_type:*")
    assert not server.client.exists(f"{Q}recent")
