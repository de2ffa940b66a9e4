"""A batch is a tag: its progress, and answers that wait for it."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import requests

from jobqueue import JobQueue
from tests.answers import invalid
from tests.harness import System, eventually
from tests.http.operating import bulk, listed, operate
from tests.played import Worker

NOTHING = dict.fromkeys(
    ("queued", "scheduled", "blocked", "processing", "done", "failed", "cancelled", "trimmed", "deleted"), 0
)


def submit(system: System, n: int, tag: str = "invoice:7") -> list[str]:
    answer = system.post("/jobs/batch", {"jobs": [{"payload": at, "tags": [tag]} for at in range(n)]})
    assert answer.status_code == 201, answer.text
    return [result["job"]["job_id"] for result in answer.json()["results"]]


def test_the_progress_of_a_batch(system: System, jobs: JobQueue, hand: Worker) -> None:
    first, *_ = submit(system, 5)
    hand.give("done", 2)
    hand.give("failed")
    progress = system.get("/tags/invoice:7").json()
    assert progress["jobs"] == NOTHING | {"done": 2, "failed": 1, "queued": 2}
    assert (progress["tag"], progress["total"], progress["ended"], progress["exact"]) == ("invoice:7", 5, 3, True)
    assert progress["first_at"] == system.job(first)["created_at"]
    assert progress["last_at"] == listed(system, "status=failed")["jobs"][0]["finished_at"]
    assert listed(system, "tag=invoice:7&status=done")["total"] == 2
    assert bulk(system, "cancel", filter={"tag": "invoice:7"})["changed"] == 2
    assert operate(system, "delete", first).status_code == 204
    progress = system.get("/tags/invoice:7?queue=default").json()
    assert progress["jobs"] == NOTHING | {"done": 1, "failed": 1, "cancelled": 2, "deleted": 1}
    assert (progress["total"], progress["ended"]) == (5, 5)


def test_a_tag_that_nobody_has_counts_nothing(api: System) -> None:
    progress = api.get("/tags/nobody").json()
    assert progress == {
        "tag": "nobody",
        "jobs": NOTHING,
        "total": 0,
        "ended": 0,
        "first_at": None,
        "last_at": None,
        "exact": True,
    }


def test_what_is_no_tag_and_no_wait_is_refused(api: System) -> None:
    assert invalid(api.get("/tags/a%20b")) == ["/tag"]
    assert invalid(api.get(f"/tags/{'x' * 65}")) == ["/tag"]
    for wrong in ("-1", "x", "", "1.5", "9999999999"):
        assert invalid(api.get(f"/tags/a?total={wrong}")) == ["/total"], wrong
    assert invalid(api.get("/tags/a?wait_s=21")) == ["/wait_s"]
    assert invalid(api.get("/tags/a?status=done")) == ["/status"]


def test_an_answer_waits_until_all_have_ended(system: System, jobs: JobQueue, hand: Worker) -> None:
    submit(system, 2)
    with ThreadPoolExecutor(1) as pool:
        began = time.monotonic()
        answer = pool.submit(system.get, "/tags/invoice:7?wait_s=20")
        hand.give("done")
        eventually(lambda: system.get("/tags/invoice:7").json()["ended"], equals=1)
        assert not answer.done()
        hand.give("failed")
        assert answer.result(30).json()["ended"] == 2
        assert time.monotonic() - began < 10
    assert system.get("/tags/invoice:7?wait_s=20").json()["total"] == 2  # at once


def test_an_answer_waits_for_so_many_of_which_some_are_still_to_come(
    system: System, jobs: JobQueue, hand: Worker
) -> None:
    with ThreadPoolExecutor(2) as pool:
        began = time.monotonic()
        two, three = (pool.submit(system.get, f"/tags/invoice:7?wait_s=20&total={n}") for n in (2, 3))
        submit(system, 2)
        hand.give("done", 2)
        assert two.result(30).json()["ended"] == 2
        assert not three.done()
        job_id = submit(system, 1)[0]
        operate(system, "delete", job_id)
        assert three.result(30).json()["jobs"]["deleted"] == 1
        assert time.monotonic() - began < 10


def test_an_answer_comes_at_its_deadline(system: System, jobs: JobQueue) -> None:
    submit(system, 1)
    began = time.monotonic()
    assert system.get("/tags/invoice:7?wait_s=0.5").json()["ended"] == 0
    assert 0.4 < time.monotonic() - began < 10


def test_those_who_wait_for_jobs_and_for_tags_wait_side_by_side(system: System, jobs: JobQueue, hand: Worker) -> None:
    job_id = submit(system, 1)[0]
    with ThreadPoolExecutor(2) as pool:
        answers = [pool.submit(system.get, f"/{path}?wait_s=20") for path in (f"jobs/{job_id}", "tags/invoice:7")]
        hand.give("done")
        assert [answer.result(30).status_code for answer in answers] == [200, 200]


def test_the_description_has_it(api: System) -> None:
    call = requests.get(f"{api.api_url}/openapi.json", timeout=10).json()["paths"]["/tags/{tag}"]["get"]
    properties = call["responses"]["200"]["content"]["application/json"]["schema"]["properties"]
    assert set(properties) == {"tag", "jobs", "total", "ended", "first_at", "last_at", "exact"}
