"""Dead letters by what their errors say, over HTTP: grouped, listed, retried, watched."""

from __future__ import annotations

import pytest

from _jobqueue.store import dead_letters
from jobqueue import JobQueue, NewJob
from tests.answers import invalid
from tests.harness import System
from tests.http.operating import bulk, follow, listed, listed_ids
from tests.played import Q, Worker, a_moment_passes


def fail(
    system: System, jobs: JobQueue, n: int, type: str, message: str, kind: str = "KeyError", queue: str = "default"
) -> list[str]:
    jobs.submit_many([NewJob(type, {"n": at}, queue=queue, max_attempts=1) for at in range(n)])
    hand = Worker(jobs, f"w{n}-{type}", queue=queue)
    claimed = hand.claim(n)
    for at, job in enumerate(claimed):
        hand.end("failed", job, kind=kind, message=message.format(4700 + at))
    a_moment_passes(system.server)
    return [job.id for job in claimed]


def groups(system: System, query: str = "") -> list[tuple[str, str, str, int]]:
    return [(each["kind"], each["type"], each["error"], each["count"]) for each in told(system, query)["errors"]]


def told(system: System, query: str = "") -> dict:
    answer = system.get(f"/dlq/errors?{query}")
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def test_dead_letters_of_one_kind_are_told_apart_by_type_and_message(system: System, jobs: JobQueue) -> None:
    fail(system, jobs, 5, "ledger.post", "'vat_id_v2'")
    hosts = fail(system, jobs, 2, "webhook.deliver", "'host'")
    fail(system, jobs, 3, "ledger.post", "order {} is unknown", "LookupError")
    fail(system, jobs, 1, "ledger.post", "'vat_id_v2'", queue="mail")
    expected = [
        ("KeyError", "ledger.post", "'vat_id_v2'", 6),
        ("LookupError", "ledger.post", "order … is unknown", 3),
        ("KeyError", "webhook.deliver", "'host'", 2),
    ]
    assert groups(system) == expected
    assert groups(system, "queue=mail") == [("KeyError", "ledger.post", "'vat_id_v2'", 1)]
    said = told(system)
    host = said["errors"][2]
    first, last = sorted(system.job(each)["finished_at"] for each in hosts)
    assert (host["first_at"], host["latest"]["at"]) == (first, last)
    assert host["latest"]["job_id"] in hosts and host["latest"]["message"] == "'host'"
    assert (sum(host["minutes"]), len(host["minutes"])) == (2, 60) and host["minutes"][-1] + host["minutes"][-2] == 2
    assert [(each["kind"], each["count"], each["looked"]) for each in said["kinds"]] == [
        ("KeyError", 8, 8),
        ("LookupError", 3, 3),
    ]
    assert said["kinds"][0]["first_at"] < said["kinds"][0]["latest"]["at"]


def test_a_group_is_listed_counted_and_retried_alone(system: System, jobs: JobQueue) -> None:
    wanted = fail(system, jobs, 7, "ledger.post", "order {} is unknown")
    others = fail(system, jobs, 3, "ledger.post", "'host'") + fail(system, jobs, 2, "mail", "order {} is unknown")
    query = "status=failed&kind=KeyError&type=ledger.post&error=order … is unknown"
    assert sorted(listed_ids(listed(system, query))) == sorted(wanted)
    assert sorted(follow(system, f"{query}&limit=2")) == sorted(wanted)
    counted = system.get("/jobs/counts?kind=KeyError&type=ledger.post&error=order … is unknown").json()
    assert counted == {"jobs": {"failed": 7}, "at_least": []}
    asked = {"status": "failed", "kind": "KeyError", "type": "ledger.post", "error": "order … is unknown"}
    assert bulk(system, "retry", filter=asked, dry_run=True)["changed"] == 7
    assert bulk(system, "retry", filter=asked, operation="again-1")["changed"] == 7
    assert {system.job(each)["status"] for each in wanted} == {"queued"}
    assert {system.job(each)["status"] for each in others} == {"failed"}
    assert invalid(system.get("/jobs?error=x")) == ["/error"]


def test_what_an_action_has_changed_is_listed_by_its_name(system: System, jobs: JobQueue, hand: Worker) -> None:
    dead = fail(system, jobs, 5, "echo", "no")
    kept = fail(system, jobs, 1, "other", "no")
    bulk(system, "retry", filter={"kind": "KeyError", "type": "echo"}, dry_run=True, operation="a")
    assert listed_ids(listed(system, "operation=a")) == []
    bulk(system, "retry", filter={"kind": "KeyError", "type": "echo"}, operation="a")
    bulk(system, "retry", ids=[*kept, dead[0]], operation="b")
    assert sorted(listed_ids(listed(system, "operation=a"))) == sorted(dead)
    assert listed_ids(listed(system, "operation=b")) == kept
    hand.give("done", 2)
    hand.give("failed")
    assert system.get("/jobs/counts?operation=a").json()["jobs"] == {
        **dict.fromkeys(("scheduled", "blocked", "processing", "cancelled"), 0),
        "queued": 2,
        "done": 2,
        "failed": 1,
    }
    assert len(follow(system, "operation=a&status=done&limit=1")) == 2
    jobs.delete(listed_ids(listed(system, "operation=a&status=done"))[0])
    assert len(listed_ids(listed(system, "operation=a"))) == 4
    assert bulk(system, "retry", filter={"operation": "a", "status": "failed"}, operation="c")["changed"] == 1
    assert 86_000 < system.server.client.ttl(f"{Q}acted:a") <= 86_400
    assert invalid(system.get("/jobs?operation=a&tag=t")) == ["/operation"]
    assert invalid(system.post("/jobs/bulk", {"action": "run", "ids": ["x"], "operation": "a b"})) == ["/operation"]


def test_only_a_bounded_number_of_dead_letters_is_looked_at(
    system: System, jobs: JobQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dead_letters, "LETTERS_MOST", 10)
    monkeypatch.setattr(dead_letters, "LETTERS_STEP", 3)
    fail(system, jobs, 30, "echo", "no")
    fail(system, jobs, 4, "echo", "few", "Rare")
    found = jobs.letters.errors()
    assert [(each.kind, each.count) for each in found.groups] == [("KeyError", 6), ("Rare", 4)]
    assert found.looked == {"KeyError": 6, "Rare": 4}


def test_an_action_within_a_time_leaves_the_others_alone(system: System, jobs: JobQueue) -> None:
    dead = fail(system, jobs, 6, "echo", "no")
    for index in ("failed", "kind:KeyError"):
        at = {job_id: 1_700_000_000_000 + 1000 * n for n, job_id in enumerate(dead)}
        system.server.client.zadd(f"{Q}{index}", at, xx=True)
    time = {"since": "2023-11-14T22:13:22Z", "until": "2023-11-14T22:13:24Z"}
    for asked in ({"kind": "KeyError"}, {"status": "failed"}):
        assert bulk(system, "retry", filter={**asked, **time}, dry_run=True)["changed"] == 2
    bulk(system, "retry", filter={"kind": "KeyError", **time})
    assert [system.job(each)["status"] for each in dead] == ["failed"] * 2 + ["queued"] * 2 + ["failed"] * 2
    assert invalid(system.post("/jobs/bulk", {"action": "cancel", "filter": time})) == ["/since", "/until"][:1]
    assert invalid(system.post("/jobs/bulk", {"action": "retry", "filter": {"since": "x"}})) == ["/filter/since"]


def test_jobs_are_counted_by_status_under_any_filter(system: System, jobs: JobQueue, hand: Worker) -> None:
    jobs.submit_many([NewJob("a" if n % 2 else "b", tags=["t"]) for n in range(10)])
    hand.give("done", 4)
    nothing = dict.fromkeys(("queued", "scheduled", "blocked", "processing", "done", "failed", "cancelled"), 0)
    for query, expected in {
        "": {"queued": 6, "done": 4},
        "type=a": {"queued": 3, "done": 2},
        "type=none": {},
        "tag=t": {"queued": 6, "done": 4},
        "tag=t&type=b": {"queued": 3, "done": 2},
        "queue=default&type=a": {"queued": 3, "done": 2},
        "queue=other": {},
    }.items():
        answer = system.get(f"/jobs/counts?{query}").json()
        assert answer == {"jobs": nothing | expected, "at_least": []}, query
    since = system.get("/jobs/counts?type=a&since=2020-01-01T00:00:00Z").json()
    assert since == {"jobs": {"done": 2, "failed": 0, "cancelled": 0}, "at_least": []}


def test_a_count_says_where_it_has_not_looked_at_all(system: System, jobs: JobQueue) -> None:
    jobs.submit_many([NewJob("a" if n % 2 else "b") for n in range(4400)])
    answer = system.get("/jobs/counts?type=a").json()
    assert 0 < answer["jobs"]["queued"] < 2200 and answer["at_least"] == ["queued"]


def test_a_page_says_how_many_jobs_it_has_looked_at(system: System, jobs: JobQueue) -> None:
    jobs.submit_many([NewJob("a") for _ in range(30)])
    jobs.submit("b")
    page = listed(system, "type=b&limit=1")
    assert (page["looked"], page["there"], len(page["jobs"])) == (31, 31, 1)
    page = listed(system, "limit=5")
    assert 5 <= page["looked"] <= 6 and page["there"] == 31


def test_a_full_redis_leaves_out_what_an_operation_has_changed_and_nothing_else(system: System, jobs: JobQueue) -> None:
    job_id = jobs.submit(delay_s=100).id
    client = system.server.client
    client.config_set("maxmemory", "1")
    try:
        assert jobs.act_on("cancel", [job_id], operation="a").changed == 1
    finally:
        client.config_set("maxmemory", "0")
    assert (jobs.get(job_id).status, client.exists(f"{Q}acted:a")) == ("cancelled", 0)
