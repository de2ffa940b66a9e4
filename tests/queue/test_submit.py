"""What can be submitted, under which id, how often: on a real Redis."""

from __future__ import annotations

import json
import time
import uuid
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from _jobqueue.pieces import MAX_IN_PIECES_BYTES, PIECE_BYTES, result_fields
from _jobqueue.records import DAY_MS, MAX_PAYLOAD_BYTES, Settlement
from _jobqueue.store.ids import new_id, queue_number_of
from _jobqueue.store.scripts import Script
from jobqueue import Filter, Invalid, JobQueue, KeyReused, NewJob, NotFound, Submitted, Unavailable
from tests.faults.proxy import BEFORE, Proxy, Strike
from tests.harness import Server
from tests.played import Q, Worker, recover

ID = new_id(0, bytes(range(16)))


IN_A_YEAR_AND_A_DAY = datetime.now(timezone.utc) + timedelta(days=366)


def submitted_ids(answers: list[Submitted]) -> list[str]:
    assert all(answer.job for answer in answers), answers
    return [answer.job.id for answer in answers if answer.job]


def refused_fields(**fields: Any) -> list[str]:
    """Which fields a new job is refused for."""
    with pytest.raises(Invalid) as invalid:
        NewJob(**fields)
    return [pointer for pointer, _ in invalid.value.problems]


def finish_all(queue: JobQueue, result: Any = None) -> None:
    worker, ended = Worker(queue), list[Settlement]()
    while jobs := worker.exchange(*ended, want=100)[1]:
        ended = [Settlement(job.id, job.token, "done", fields=result_fields(result, 10_000)) for job in jobs]


def trim(queue: JobQueue, status: str = "done") -> int:
    """Delete every job that ended with the status."""
    return recover(queue, [], 500, {status: -1000})[2]


# ------------------------------------------------------------------------------------------------------------ new jobs


@pytest.mark.parametrize(
    ("field", "good", "bad"),
    [
        ("type", ["a", "email.send", "A-Z_0.9", "x" * 64], ["", "x" * 65, "a b", "ä", "a\n", "{a}", None, 1]),
        ("queue", ["a", "mail-2", None], ["", "x" * 65, "}{", "a:b", ["a"]]),
        ("priority", [0, 9, "low", "normal", "high"], [-1, 10, 5.0, True, "highest", "5", None, [], {}]),
        ("max_attempts", [1, 100, None], [0, 101, 2.0, True, "2", -1]),
        ("timeout_s", [0.1, 1, 86_400, None], [0, 0.099, 86_400.1, True, "1", float("nan"), float("inf")]),
        ("backoff_s", [0, 0.5, 86_400, None], [-0.1, 86_401, False, "1", float("nan")]),
        ("delay_s", [0, 0.001, 31_536_000, None], [-1, 31_536_001, True, "1", float("inf"), 10**400]),
    ],
)
def test_each_field_has_its_range(field: str, good: list[Any], bad: list[Any]) -> None:
    for value in good:
        NewJob(**{field: value})
    for value in bad:
        assert refused_fields(**{field: value}) == [f"/{field}"], value


def test_all_problems_are_told_at_once() -> None:
    fields = {"type": "", "queue": "a b", "priority": 11, "max_attempts": 0, "timeout_s": 0, "run_at": "soon"}
    assert refused_fields(**fields) == [f"/{field}" for field in fields if field != "run_at"] + ["/run_at"]


def test_words_stand_for_priorities() -> None:
    assert [NewJob(priority=word).priority for word in ("low", "normal", "high")] == [1, 5, 9]


@pytest.mark.parametrize(
    ("text", "same_as"),
    [
        ("2030-01-31T08:00:00Z", "2030-01-31T08:00:00.000+00:00"),
        ("2030-01-31t08:00:00z", "2030-01-31T08:00:00+00:00"),
        ("2030-01-31 08:00:00.5Z", "2030-01-31T08:00:00.500000+00:00"),
        ("2030-01-31T08:00:00.123456789Z", "2030-01-31T08:00:00.123456+00:00"),
        ("2030-01-31T10:30:00+02:30", "2030-01-31T08:00:00+00:00"),
        ("2030-01-30T23:00:00-09:00", "2030-01-31T08:00:00+00:00"),
    ],
)
def test_run_at_takes_every_rfc_3339_time(text: str, same_as: str, monkeypatch: pytest.MonkeyPatch) -> None:
    when = datetime.fromisoformat(same_as)
    monkeypatch.setattr(time, "time", lambda: when.timestamp() - 60)
    assert NewJob(run_at=text).due() == NewJob(run_at=when).due() == str(round(when.timestamp() * 1000))


@pytest.mark.parametrize(
    "when",
    [
        "tomorrow",
        "2030-01-31",
        "2030-01-31T08:00:00",
        "2030-02-30T08:00:00Z",
        "2030-01-31T24:00:00Z",
        "2030-01-31T08:00:60Z",
        "2030-01-31T08:00Z",
        "2030-01-31T08:00:00+25:00",
        " 2030-01-31T08:00:00Z",
        "9999-12-31T23:59:59-23:59",
        1_900_000_000,
        datetime(2030, 1, 31),
        IN_A_YEAR_AND_A_DAY,
    ],
    ids=lambda when: "in a year and a day" if when is IN_A_YEAR_AND_A_DAY else str(when),
)
def test_run_at_refuses_anything_else(when: Any) -> None:
    assert refused_fields(run_at=when) == ["/run_at"]


def test_run_at_and_delay_exclude_each_other() -> None:
    assert refused_fields(run_at="2026-01-01T00:00:00Z", delay_s=0) == ["/run_at"]


def test_time_in_the_past_means_now(queue: JobQueue) -> None:
    for past in ("1969-12-31T23:59:59Z", "2020-01-01T00:00:00Z", datetime(1, 1, 1, tzinfo=timezone.utc)):
        job = queue.submit(run_at=past)
        assert (job.status, job.run_at_ms) == ("queued", None)
        assert queue.get(job.id) == job


def test_run_at_is_when_it_is_due(queue: JobQueue, server: Server) -> None:
    when = datetime.now(timezone.utc) + timedelta(hours=1)
    job = queue.submit(run_at=when)
    assert job.run_at_ms == round(when.timestamp() * 1000) == server.client.zscore(f"{Q}scheduled", job.id)
    assert queue.get(job.id) == job


@pytest.mark.parametrize("payload", [float("nan"), b"bytes", {1, 2}, object(), "\ud800", {1: 1, "1": 2}])
def test_payload_that_is_not_json_is_refused_and_keeps_nobody_else_out(payload: Any, queue: JobQueue) -> None:
    with pytest.raises(Invalid, match="/payload"):
        queue.submit(payload=payload)
    good, bad, last = queue.submit_many([NewJob(payload="good"), NewJob(payload=payload), NewJob(payload="last")])
    assert isinstance(bad.error, Invalid)
    assert submitted_ids([good, last]) == [job.id for job in queue.page(Filter("queued")).jobs]


# ----------------------------------------------------------------------------------------------------------------- ids


def test_id_is_a_uuid_of_version_8_that_carries_its_queue(queue: JobQueue) -> None:
    names = [f"q{number}" for number in range(20)]
    for number, name in enumerate(names):
        job = queue.submit(queue=name)
        parsed = uuid.UUID(job.id)
        assert (parsed.version, parsed.variant) == (8, uuid.RFC_4122)
        assert queue_number_of(job.id) == number
        assert queue.get(job.id).queue == name
    assert queue.queues() == names


@pytest.mark.parametrize("number", [0, 1, 255, 4095])
@pytest.mark.parametrize("bits", [bytes(16), b"\xff" * 16, None])
def test_every_queue_number_fits_into_an_id(number: int, bits: bytes | None) -> None:
    job_id = new_id(number, bits)
    assert queue_number_of(job_id) == number
    assert (uuid.UUID(job_id).version, uuid.UUID(job_id).variant) == (8, uuid.RFC_4122)


def test_queue_made_by_somebody_else_is_found_by_an_id(queue: JobQueue, server: Server) -> None:
    queue.queues()
    job = JobQueue(server.url).submit(queue="new")
    assert queue.get(job.id).queue == "new"


@pytest.mark.parametrize(
    "job_id",
    [
        str(uuid.UUID(int=0, version=4)),
        str(uuid.UUID(int=0)),
        ID,
        new_id(7, bytes(range(16))),
        ID.upper(),
        "{" + ID + "}",
        ID.replace("-", ""),
        ID + "\n",
        "",
        "job",
        "../queue",
        "a\0b",
        "x" * 10_000,
    ],
)
def test_any_other_id_is_not_found(job_id: str, queue: JobQueue) -> None:
    queue.submit()
    with pytest.raises(NotFound):
        queue.get(job_id)


def test_only_the_exact_spelling_of_an_id_is_found(queue: JobQueue) -> None:
    job_id = queue.submit().id
    for other in (job_id.upper(), job_id.replace("-", ""), f"urn:uuid:{job_id}", f"{{{job_id}}}"):
        if other != job_id:
            with pytest.raises(NotFound):
                queue.get(other)


def test_more_queues_than_numbers_are_refused(queue: JobQueue, server: Server) -> None:
    server.client.hset("jq:queues", mapping={f"q{number}": number for number in range(4096)})
    assert queue.submit(queue="q4095").queue == "q4095"
    with pytest.raises(Invalid, match="queues already"):
        queue.submit(queue="one-more")


# ------------------------------------------------------------------------------------------------------------ payloads


SIZES = [0, 1, 2, 62, 63, 64, 65, 66, 127, 128, 129, 192, 193, 256, 448, 449, 510, 511, 512, 513, 514, 1000]


def fill(size: int, characters: str) -> str:
    """A string of as many bytes, of these characters: wherever it is cut, some are cut in the middle."""
    width = len(characters.encode())
    return "a" * (size % width) + characters * (size // width)


@pytest.mark.parametrize("characters", ["x", "é", "€", "😀", '"', "\\", "\n"], ids=ascii)
def test_payload_comes_back_whatever_its_size(characters: str, queue: JobQueue, server: Server) -> None:
    payloads = [fill(size, characters) for size in SIZES]
    jobs = submitted_ids(queue.submit_many([NewJob(payload=payload) for payload in payloads]))
    assert [queue.get(job).payload for job in jobs] == payloads
    worker = Worker(queue)
    claimed = worker.claim(len(jobs))
    assert [json.loads(job.payload) for job in claimed] == payloads
    assert worker.again()[1] == claimed


@pytest.mark.parametrize("size", SIZES)
def test_result_comes_back_whatever_its_size(size: int, queue: JobQueue) -> None:
    job, result = queue.submit(), fill(size, "é")
    finish_all(queue, result=result)
    assert queue.get(job.id).result == result


def test_middling_strings_are_stored_in_pieces_that_redis_keeps_compact(queue: JobQueue, server: Server) -> None:
    for size, pieces in [(64, 1), (65, 2), (128, 2), (129, 3), (512, 8), (513, 1)]:
        job = queue.submit(payload="x" * (size - 2))
        stored = server.client.hgetall(f"{Q}job:{job.id}")
        lengths = [len(value) for name, value in stored.items() if name.startswith("payload")]
        assert (len(lengths), sum(lengths)) == (pieces, size)
        assert (max(lengths) <= PIECE_BYTES) == (size <= MAX_IN_PIECES_BYTES)
        compact = server.client.object("encoding", f"{Q}job:{job.id}") in ("listpack", "ziplist")
        assert compact == (size <= MAX_IN_PIECES_BYTES)


def test_payload_may_be_as_large_as_the_limit(queue: JobQueue) -> None:
    payload = "x" * (MAX_PAYLOAD_BYTES - 2)
    assert queue.get(queue.submit(payload=payload).id).payload == payload
    with pytest.raises(Invalid, match="/payload"):
        queue.submit(payload=payload + "x")


@pytest.mark.parametrize("payload", [None, 0, False, "", [], {}, {"payload.1": "x"}, "\0", 10**300, -0.5, "null"])
def test_any_json_is_a_payload(payload: Any, queue: JobQueue) -> None:
    job = queue.submit(payload=payload)
    assert queue.get(job.id).payload == payload
    assert queue.get(job.id) == job


def test_queued_job_with_a_payload_of_100_bytes_costs_at_most_700_bytes(queue: JobQueue, server: Server) -> None:
    queue.submit_many([NewJob(payload="x" * 98)])
    before = server.client.info("memory")["used_memory"]
    queue.submit_many([NewJob(payload="x" * 98)] * 5000)
    assert (server.client.info("memory")["used_memory"] - before) / 5000 <= 700


# -------------------------------------------------------------------------------------------------------- without HTTP


def test_python_users_submit_without_http(server: Server) -> None:
    queue = JobQueue(server.url)
    job = queue.submit("email.send", {"to": "a@b.c"}, priority="high", queue="mail", max_attempts=7)
    assert (job.type, job.payload, job.priority, job.queue, job.max_attempts) == (
        "email.send",
        {"to": "a@b.c"},
        9,
        "mail",
        7,
    )
    assert queue.get(job.id) == job


def test_submit_without_redis_is_unavailable(own_server: Server) -> None:
    queue = JobQueue(own_server.url, retries=0)
    own_server.kill()
    with pytest.raises(Unavailable, match="does not answer"):
        queue.submit()
    own_server.start()
    assert queue.submit().status == "queued"


def test_job_speaks_the_words_of_http(queue: JobQueue) -> None:
    shown = queue.submit("task", [1], timeout_s=2.5).as_dict()
    assert shown["created_at"].endswith("Z") and len(shown["created_at"]) == len("2030-01-31T08:00:00.000Z")
    assert (shown["timeout_s"], shown["position"], shown["error"], shown["errors"]) == (2.5, 1, None, [])
    assert (shown["started_at"], shown["finished_at"], shown["run_at"]) == (None, None, None)


# ---------------------------------------------------------------------------------------------------- idempotency keys


def test_same_request_under_a_key_gives_the_same_job(queue: JobQueue) -> None:
    job = NewJob("task", {"a": 1})
    first, second = queue.submit_one(job, "key"), queue.submit_one(job, "key")
    assert (first.replayed, second.replayed) == (False, True)
    assert first.job == second.job
    assert queue.books("default").totals["submitted"] == 1


def test_replay_shows_the_job_as_it_is_now(queue: JobQueue) -> None:
    queue.submit_one(NewJob(), "key")
    finish_all(queue, result="ready")
    replay = queue.submit_one(NewJob(), "key")
    assert replay.job and (replay.job.status, replay.job.result) == ("done", "ready")


@pytest.mark.parametrize(
    "fields",
    [{"payload": {"a": 2}}, {"type": "other"}, {"priority": 6}, {"delay_s": 1}, {"max_attempts": 3}, {"timeout_s": 5}],
    ids=str,
)
def test_other_request_under_the_same_key_is_refused(fields: dict[str, Any], queue: JobQueue) -> None:
    same: dict[str, Any] = {"type": "task", "payload": {"a": 1}}
    queue.submit_one(NewJob(**same), "key")
    with pytest.raises(KeyReused):
        queue.submit_one(NewJob(**same | fields), "key")
    assert queue.books("default").totals["submitted"] == 1


def test_key_belongs_to_one_request_over_all_queues(queue: JobQueue) -> None:
    first = queue.submit_one(NewJob(payload="x", queue="a"), "key")
    with pytest.raises(KeyReused):
        queue.submit_one(NewJob(payload="x", queue="b"), "key")
    again = queue.submit_one(NewJob(payload="x", queue="a"), "key")
    assert (first.replayed, again.replayed) == (False, True)
    assert len(set(submitted_ids([first, again]))) == 1 and queue.queues() == ["a"]


@pytest.mark.parametrize("key", ["", "x" * 256])
def test_key_has_1_to_255_characters(key: str, queue: JobQueue) -> None:
    with pytest.raises(Invalid, match="Idempotency-Key"):
        queue.submit(key=key)


@pytest.mark.parametrize("key", ["x", "x" * 255, "ключ", "a b", "{}:*", "\0", "😀"])
def test_any_characters_are_a_key(key: str, queue: JobQueue) -> None:
    assert queue.submit(key=key) == queue.submit(key=key)


def test_key_outlives_its_job_up_to_a_day_after_the_submit(queue: JobQueue, server: Server) -> None:
    submitted = queue.submit_one(NewJob(), "key")
    assert server.client.pttl(f"{Q}idem:key") == -1
    finish_all(queue)
    assert server.client.pttl(f"{Q}idem:key") == -1
    assert trim(queue) == 1
    assert DAY_MS - 60_000 < server.client.pttl(f"{Q}idem:key") <= DAY_MS
    replay = queue.submit_many([NewJob()], key="key")[0]
    assert isinstance(replay.error, NotFound)
    assert submitted.job and submitted.job.id in str(replay.error)


def test_key_is_free_once_its_day_and_its_job_are_over(queue: JobQueue, server: Server) -> None:
    job = queue.submit(key="key")
    server.client.hincrby(f"{Q}job:{job.id}", "created", -DAY_MS)
    assert queue.submit(key="key").id == job.id
    finish_all(queue)
    trim(queue)
    assert server.client.pttl(f"{Q}idem:key") <= 1
    assert 0 < server.client.pttl("jq:idem:key") <= DAY_MS
    server.client.delete(f"{Q}idem:key", "jq:idem:key")
    again = queue.submit_one(NewJob(payload="other"), "key")
    assert again.job and (again.job.id, again.replayed) == (job.id, False)


def test_key_of_a_batch_is_kept_until_its_last_job_is_trimmed(queue: JobQueue, server: Server) -> None:
    queue.submit_many([NewJob()] * 3, key="key")
    finish_all(queue)
    for left in (2, 1, 0):
        assert server.client.pttl(f"{Q}idem:key") == -1
        assert recover(queue, [], 1, {"done": -1000})[2] == 1
        assert server.client.hget(f"{Q}idem:key", "jobs") == str(left)
    assert server.client.pttl(f"{Q}idem:key") > 0


# ------------------------------------------------------------------------------------------------------------- batches


def test_batch_is_stored_in_its_order(queue: JobQueue) -> None:
    jobs = submitted_ids(queue.submit_many([NewJob(payload=number) for number in range(700)]))
    page = queue.page(Filter("queued"), limit=700)
    assert (page.total, [job.id for job in page.jobs]) == (700, jobs)
    assert [job.payload for job in page.jobs] == list(range(700))


def test_batch_over_several_queues_is_answered_in_its_order(queue: JobQueue) -> None:
    batch = [NewJob(payload=number, queue=f"q{number % 3}") for number in range(900)]
    first = queue.submit_many(batch, key="key")
    assert [(a.job.payload, a.job.queue) for a in first if a.job] == [(job.payload, job.queue) for job in batch]
    again = queue.submit_many(batch, key="key")
    assert submitted_ids(again) == submitted_ids(first)
    assert all(answer.replayed for answer in again)
    assert [queue.books(f"q{n}").sizes["queued"] for n in range(3)] == [300, 300, 300]


def test_half_stored_batch_is_completed_by_its_repeat(queue: JobQueue, server: Server) -> None:
    batch = [NewJob(payload=number) for number in range(600)]
    server.client.script_load(Script("submit").text)  # or the first chunk is sent twice
    proxy = Proxy(server.port)
    proxy.rule = lambda message: Strike(BEFORE) if message.label == "submit" and message.nth > 1 else None
    first = JobQueue(proxy.url, retries=0).submit_many(batch, key="key")
    proxy.close()
    assert [isinstance(answer.error, Unavailable) for answer in first] == [False] * 250 + [True] * 350
    again = queue.submit_many(batch, key="key")
    assert [answer.replayed for answer in again] == [True] * 250 + [False] * 350
    assert [job.payload for job in queue.page(Filter("queued"), limit=600).jobs] == list(range(600))
    assert submitted_ids(queue.submit_many(batch, key="key")) == submitted_ids(again)


def test_other_batch_under_the_same_key_is_refused_as_a_whole(queue: JobQueue) -> None:
    queue.submit_many([NewJob(payload=1), NewJob(payload=2)], key="key")
    for other in ([NewJob(payload=2), NewJob(payload=1)], [NewJob(payload=1)], [NewJob(payload=n) for n in (1, 2, 3)]):
        answers = queue.submit_many(other, key="key")
        assert all(isinstance(answer.error, KeyReused) for answer in answers)
    assert queue.books("default").sizes["queued"] == 2


def test_longer_batch_that_begins_alike_is_another_request(queue: JobQueue) -> None:
    queue.submit_many([NewJob(payload=number) for number in range(250)], key="key")
    answers = queue.submit_many([NewJob(payload=number) for number in range(251)], key="key")
    assert all(isinstance(answer.error, KeyReused) for answer in answers)


@pytest.mark.parametrize("own", ["key#1", "key:1", "key1", "key 1"])
def test_parts_of_a_batch_take_no_key_of_somebody_else(own: str, queue: JobQueue) -> None:
    queue.submit_many([NewJob(payload=number) for number in range(251)], key="key")
    assert not queue.submit_one(NewJob(payload="other"), own).replayed


def test_batch_is_not_tried_further_when_redis_is_away(own_server: Server) -> None:
    queue = JobQueue(own_server.url, retries=0)
    own_server.kill()
    answers = queue.submit_many([NewJob(queue=f"q{number % 7}") for number in range(1000)])
    assert len({id(answer.error) for answer in answers}) == 1
    assert isinstance(answers[0].error, Unavailable)


def test_same_payloads_without_a_key_are_different_jobs(queue: JobQueue) -> None:
    assert len(set(submitted_ids(queue.submit_many([NewJob()] * 300)))) == 300


def test_empty_batch_stores_nothing(queue: JobQueue, server: Server) -> None:
    assert queue.submit_many([]) == []
    assert server.client.keys() == []
