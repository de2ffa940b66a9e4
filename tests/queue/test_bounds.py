"""Answers and scripts are bounded in bytes: what is large is cut in lists, and no list reads what it does not show."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import redis

from _jobqueue.pieces import pieces, result_fields
from _jobqueue.records import PAGE_BYTES, SHOWN_BYTES, Settlement
from _jobqueue.store.link import Link
from _jobqueue.store.weather import weather
from jobqueue import Filter, JobQueue, NewJob, Unavailable
from tests.harness import Cluster, Server, System, eventually

Q = "jq:{default}:"
LEASE_MS = 10_000
MIB = "x" * 1_000_000


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """The scripts that have been sent, and how many bytes Redis has answered to each."""
    sent: list[tuple[str, int]] = []
    run = Link._run_some

    def noted(link: Link, place: str, name: str, calls: Any) -> Any:
        answers = run(link, place, name, calls)
        sent.extend((name, size_of(answer)) for answer in answers)
        return answers

    monkeypatch.setattr(Link, "_run_some", noted)
    return sent


def size_of(answer: Any) -> int:
    return sum(map(size_of, answer)) if isinstance(answer, list) else len(answer) if isinstance(answer, bytes) else 8


def end(queue: JobQueue, outcome: str, times: int = 1, **more: Any) -> None:
    talk = queue.conversation("default", f"w-{queue.books('default').totals}", LEASE_MS)
    for _ in range(times):
        [claimed] = talk.exchange(want=1)[1]
        talk.exchange([Settlement(claimed.id, claimed.token, outcome, **more)])


def all_pages(queue: JobQueue, wanted: Filter | None = None, limit: int = 200) -> Iterator[list[Any]]:
    cursor = None
    while True:
        page = queue.page(wanted, limit=limit, cursor=cursor)
        yield page.jobs
        if not (cursor := page.cursor):
            return


# ----------------------------------------------------------------------------------------------- what is large is cut


@pytest.mark.parametrize("size", [SHOWN_BYTES - 1, SHOWN_BYTES, SHOWN_BYTES + 1, 100_000])
def test_payload_is_shown_whole_up_to_its_limit(queue: JobQueue, size: int) -> None:
    payload = "ä" + "x" * (size - 4)  # size bytes as JSON
    job = queue.submit(payload=payload)
    [listed] = queue.page().jobs
    if size <= SHOWN_BYTES:
        assert (listed.payload, listed.truncated, listed.previews) == (payload, (), None)
        assert listed.as_dict() == queue.get(job.id).as_dict()
    else:
        assert (listed.payload, listed.truncated) == (None, ("payload",))
        assert listed.as_dict()["payload_preview"] == ('"' + payload)[: SHOWN_BYTES - 1]
        assert listed.as_dict()["truncated"] == ["payload"]
    found = queue.get(job.id)
    assert (found.payload, found.truncated) == (payload, ())
    assert not {"truncated", "payload_preview"} & found.as_dict().keys()


def test_preview_ends_with_a_whole_character(queue: JobQueue) -> None:
    queue.submit(payload="€" * 1000)  # three bytes each
    [listed] = queue.page().jobs
    assert (listed.previews or {})["payload"] == '"' + "€" * 682


def test_result_is_cut_as_a_payload_is(server: Server, queue: JobQueue) -> None:
    job = queue.submit(payload=MIB[:5000])
    end(queue, "done", fields=result_fields({"r": MIB[:9000]}, 10**6))
    [listed] = queue.page().jobs
    assert (listed.payload, listed.result, listed.truncated) == (None, None, ("payload", "result"))
    assert listed.as_dict()["result_preview"] == ('{"r":"' + MIB)[:SHOWN_BYTES]
    assert (queue.get(job.id).result, queue.get(job.id).payload) == ({"r": MIB[:9000]}, MIB[:5000])
    assert queue.page(Filter("done")).jobs == [listed]


@pytest.mark.parametrize("size", [3000, 900_000])
def test_large_values_that_the_version_before_stored_are_cut_too(server: Server, queue: JobQueue, size: int) -> None:
    job = queue.submit(payload=1)
    server.client.hset(f"{Q}job:{job.id}", "payload", json.dumps(MIB[:size]))
    [listed] = queue.page().jobs
    assert (listed.payload, listed.truncated, (listed.previews or {})["payload"]) == (
        None,
        ("payload",),
        ('"' + MIB)[:SHOWN_BYTES],
    )
    assert queue.get(job.id).payload == MIB[:size]


def test_payload_in_two_is_claimed_retried_and_replaced(server: Server, queue: JobQueue) -> None:
    job = queue.submit(payload=MIB[:3000], max_attempts=1)
    talk = queue.conversation("default", "w-1", LEASE_MS)
    [claimed] = talk.exchange(want=1)[1]
    assert json.loads(claimed.payload) == MIB[:3000]
    talk.exchange([Settlement(claimed.id, claimed.token, "failed")])
    for payload in (MIB[:4000], "short", MIB[:2500]):
        queue.retry(job.id, payload)
        assert queue.get(job.id).payload == payload
        [claimed] = talk.exchange(want=1)[1]
        assert json.loads(claimed.payload) == payload
        talk.exchange([Settlement(claimed.id, claimed.token, "failed")])
    assert sorted(len(part) for part in pieces("payload", b"x" * 3000)[1::2]) == [952, SHOWN_BYTES]  # type: ignore[arg-type]


def test_of_many_errors_the_latest_are_listed(queue: JobQueue) -> None:
    job = queue.submit(max_attempts=20)
    end(queue, "failed", 10, delay_ms=-1, message="m" * 3000, kind="K")
    [listed] = queue.page().jobs
    assert [error["attempt"] for error in listed.errors] == [9, 10]
    assert (listed.truncated, len(queue.get(job.id).errors)) == (("errors",), 10)


def test_of_an_error_that_is_too_long_the_beginning_is_listed(queue: JobQueue) -> None:
    job = queue.submit(max_attempts=20)
    end(queue, "failed", 2, delay_ms=-1, message="€" * 8000, kind="K")
    [listed] = queue.page().jobs
    assert listed.truncated == ("errors",)
    assert [error["attempt"] for error in listed.errors] == [2]
    assert 8000 < len(listed.errors[0]["message"].encode()) < 8300
    assert [len(error["message"]) for error in queue.get(job.id).errors] == [8000, 8000]


def test_of_a_long_log_the_end_is_listed(server: Server, queue: JobQueue) -> None:
    job = queue.submit()
    server.client.hset(f"{Q}job:{job.id}", "log", "\n".join(f"{n:03} " + "l" * 190 for n in range(100)))
    [listed] = queue.page().jobs
    assert listed.truncated == ("log",)
    assert listed.log[-1] == "099 " + "l" * 190 and 30 < len(listed.log) < 50
    assert len(queue.get(job.id).log) == 100


# ------------------------------------------------------------------------------------------------------ how large a page is


def shown_bytes(jobs: list[Any]) -> int:
    return len(json.dumps({"jobs": [job.as_dict() for job in jobs]}, ensure_ascii=False).encode())


def test_page_of_large_jobs_reads_their_beginnings_alone(queue: JobQueue, scripts: list[tuple[str, int]]) -> None:
    for _ in range(10):
        queue.submit_many([NewJob(payload=MIB) for _ in range(4)])
    page = queue.page(limit=200)
    assert len(page.jobs) == 40 and page.cursor is None
    assert shown_bytes(page.jobs) < 150_000
    assert sum(size for _, size in scripts) < 200_000
    scripts.clear()
    assert len(queue.page(offset=30, limit=5).jobs) == 5
    assert sum(size for name, size in scripts if name == "rows") < 20_000


@pytest.mark.long(5)
def test_page_ends_where_it_would_be_too_large(server: Server, queue: JobQueue, scripts: list[tuple[str, int]]) -> None:
    answers = queue.submit_many([NewJob(payload=n, tags=["t"]) for n in range(200)])
    ids = [answer.job.id for answer in answers if answer.job]
    for job_id in ids:  # each byte of it is six as JSON
        server.client.hset(f"{Q}job:{job_id}", mapping={"errors": 1, "error:1": "1 1 K - -\n" + "\x01" * 8000})
    for wanted in (None, Filter("queued"), Filter(tag="t"), Filter(type="echo")):
        pages = list(all_pages(queue, wanted))
        assert sorted(job.id for page in pages for job in page) == sorted(ids)
        assert all(shown_bytes(page) <= PAGE_BYTES for page in pages)
        assert min(shown_bytes(page) for page in pages[:-1]) > PAGE_BYTES * 3 // 4
    assert max(size for _, size in scripts) < 1_200_000


def test_offset_reads_ids_and_not_jobs(queue: JobQueue, scripts: list[tuple[str, int]]) -> None:
    queue.submit_many([NewJob(payload=n, type="a" if n % 2 else "b") for n in range(1000)])
    queue.submit_many([NewJob(payload=n, queue="other") for n in range(500)])
    expected = [job.payload for page in all_pages(queue) for job in page]
    for offset in (1, 49, 200, 999, 1490, 1500, 3000):
        scripts.clear()
        assert [job.payload for job in queue.page(limit=20, offset=offset).jobs] == expected[offset : offset + 20]
        assert sum(size for name, size in scripts if name == "rows") < 20 * 400
    assert [job.payload for job in queue.page(Filter(type="a"), limit=2, offset=100).jobs] == [201, 203]


def test_pages_of_many_queues_are_one_list_with_short_cursors(server: Server) -> None:
    queue = JobQueue(server.url, queues_max=256)
    for number in range(120):
        batch = [NewJob(payload=n, queue=f"queue-with-a-long-name-{number}", tags=["t"]) for n in range(1 + number % 4)]
        queue.submit_many(batch)
    there = {job.id for page in all_pages(queue) for job in page}
    assert len(there) == queue.page().total == sum(1 + number % 4 for number in range(120))
    for wanted in (None, Filter("queued"), Filter(tag="t"), Filter(type="echo", tag="t")):
        seen: list[str] = []
        cursor = None
        while True:
            page = queue.page(wanted, limit=25, cursor=cursor)
            seen += [job.id for job in page.jobs]
            if not (cursor := page.cursor):
                break
            assert len(cursor) < 12_000
        assert (len(seen), set(seen)) == (len(there), there), wanted
    assert len(queue.page(limit=25).cursor or "") < 200


def test_empty_queues_cost_a_list_nothing(server: Server, queue: JobQueue, scripts: list[tuple[str, int]]) -> None:
    server.client.hset("jq:queues", mapping={f"q{number}": number for number in range(256)})
    queue.submit(queue="q7")
    assert [job.queue for job in queue.page(limit=50).jobs] == ["q7"]
    assert [name for name, _ in scripts].count("page") == 1


def test_answer_to_a_batch_shows_jobs_as_lists_do(system: System) -> None:
    system.api()
    large, small = {"payload": MIB[:200_000], "unique_key": "u"}, {"payload": MIB[:2000]}
    job_id = system.post("/jobs", large).json()["job_id"]
    batch = {"jobs": [small, {"payload": MIB[:3000]}, *[large] * 20]}
    for answer in [system.post("/jobs/batch", batch, Idempotency_Key="k") for _ in range(2)]:
        jobs = [row["job"] for row in answer.json()["results"]]
        assert (jobs[0]["payload"], "truncated" in jobs[0]) == (MIB[:2000], False)
        assert all((job["payload"], job["truncated"]) == (None, ["payload"]) for job in jobs[1:])
        assert [job["payload_preview"] for job in jobs[1:3]] == [('"' + MIB)[:SHOWN_BYTES]] * 2
        assert {job["job_id"] for job in jobs[2:]} == {job_id}
        assert len(answer.content) < 80_000
    assert len(system.job(job_id)["payload"]) == 200_000
    assert [job.get("truncated") for job in system.get("/jobs").json()["jobs"]].count(["payload"]) == 2


def test_who_waits_for_a_large_job_does_not_read_it_again_and_again(system: System) -> None:
    system.api()
    job_id = system.submit(MIB)
    before = system.server.client.info("stats")["total_net_output_bytes"]
    assert system.get(f"/jobs/{job_id}?wait_s=2").json()["payload"] == MIB
    assert system.server.client.info("stats")["total_net_output_bytes"] - before < 3 * len(MIB)


@pytest.mark.long(5)
def test_memory_of_large_bodies_comes_back(system: System) -> None:
    api = system.api(RATE_LIMIT_MAX="0")

    def rss_mib() -> int:
        return int(Path(f"/proc/{api.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 2**20

    def post(_: int) -> int:
        return system.post("/jobs/batch", {"jobs": [{"payload": [MIB[:1000]] * 900} for _ in range(8)]}).status_code

    assert post(0) == 201
    before = rss_mib()
    with ThreadPoolExecutor(6) as threads:
        assert set(threads.map(post, range(24))) == {201}
        assert set(threads.map(lambda _: system.get("/jobs?limit=200").status_code, range(24))) == {200}
    eventually(rss_mib, equals=lambda now: now < before + 60)


def test_description_of_the_api_is_encoded_once(system: System) -> None:
    system.api()
    answers = [system.get("/openapi.json") for _ in range(2)]
    assert {answer.headers["Content-Type"] for answer in answers} == {"application/json"}
    assert answers[0].content == answers[1].content and answers[0].json()["openapi"]


# -------------------------------------------------------------------------------------------- when the fuse blows


def test_connection_that_is_refused_while_somebody_waits_stops_nobody(own_system: System) -> None:
    own_system.api()
    job_id = own_system.submit()
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(own_system.get, f"/jobs/{job_id}?wait_s=20")
        began = time.monotonic()
        eventually(lambda: time.monotonic() - began > 1.5)  # it has waited for longer than any answer may take
        own_system.server.kill()
        assert waiting.result().status_code == 503
    own_system.server.start()
    assert own_system.get("/queues").status_code == 200


@pytest.mark.parametrize(
    "error, silent",
    [
        (redis.TimeoutError("Timeout reading from socket"), True),
        (TimeoutError(), True),
        (redis.ConnectionError("Connection refused"), False),
        (redis.exceptions.BusyLoadingError("LOADING"), False),
        (redis.exceptions.OutOfMemoryError("OOM"), False),
        (redis.exceptions.RedisClusterException("no node"), False),
    ],
)
def test_only_a_timeout_is_silence(error: Exception, silent: bool) -> None:
    with pytest.raises(Unavailable) as raised, weather:
        raise error
    assert raised.value.silent == silent


# ------------------------------------------------------------------------------------------------ claims and settlements


def test_claim_of_large_jobs_is_bounded_in_bytes(queue: JobQueue) -> None:
    for _ in range(3):
        queue.submit_many([NewJob(payload=MIB) for _ in range(4)])
    talk = queue.conversation("default", "w-1", LEASE_MS)
    claimed, ended = [], list[Settlement]()
    while len(claimed) < 12:
        accepted, jobs = talk.exchange(ended, want=64)
        assert accepted == [True] * len(ended) and 1 <= len(jobs) <= 5
        assert talk.exchange(ended, want=64, again=True)[1] == jobs
        claimed += jobs
        ended = [Settlement(job.id, job.token, "done", fields=result_fields(1, 100)) for job in jobs]
    assert len({job.id for job in claimed}) == 12 and {job.attempt for job in claimed} == {1}


def test_large_results_are_settled_in_scripts_of_some_mib(queue: JobQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    queue.submit_many([NewJob(payload=n) for n in range(20)])
    talk, presence = queue.conversation("default", "w-1", LEASE_MS), queue.presence("default", "w", LEASE_MS)
    jobs = talk.exchange(want=20)[1]
    ends = [Settlement(job.id, job.token, "done", fields=result_fields(MIB, 10**7)) for job in jobs]
    sent: list[int] = []
    run = Link.run

    def noted(link: Link, name: str, key: str, args: Any, *more: Any) -> Any:
        sent.append(sum(len(part) for part in args if isinstance(part, (bytes, str))))
        return run(link, name, key, args, *more)

    monkeypatch.setattr(Link, "run", noted)
    for _ in range(2):  # sent twice, it settles once
        assert presence.settle(ends[:10]) == [True] * 10
    assert talk.exchange(ends[10:], want=1) == ([True] * 10, [])
    assert max(sent) < 4.3 * 2**20 and len(sent) == 9
    assert queue.books("default").totals["done"] == 20
    assert queue.check("default") == []


def test_list_of_a_cluster_is_merged_and_cut(cluster: Cluster) -> None:
    queue = JobQueue(cluster.url)
    for name in cluster.queues():
        queue.submit_many([NewJob(payload="x" * 3000, queue=name) for _ in range(30)])
    pages = list(all_pages(queue, limit=20))
    assert sum(map(len, pages)) == len({job.id for page in pages for job in page}) == 90
    assert {job.queue for job in pages[0]} == set(cluster.queues())
    assert all(job.truncated == ("payload",) for page in pages for job in page)
    assert [job.id for job in queue.page(limit=3, offset=40).jobs] == [job.id for job in pages[2][:3]]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    cluster = Cluster()
    yield cluster
    cluster.close()
