"""Limits over HTTP: defined, listed, explained, counted, and what is refused."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import requests

from tests.answers import refused
from tests.harness import Server, System
from tests.played import Q, Worker

AT = "/queues/default/limits"


def put(system: System, name: str, body: Any) -> requests.Response:
    return requests.put(f"{system.api_url}{AT}/{name}", json=body, timeout=30)


@pytest.fixture
def two(system: System, hand: Worker) -> Iterator[list[str]]:
    """A job that runs under tenant:7, and one that waits for it."""
    hand.handles("echo")
    assert put(system, "tenant:*", {"max_running": 1}).status_code == 201
    ids = [system.post("/jobs", {"limits": ["api", "tenant:7"]}).json()["job_id"] for _ in range(2)]
    hand.claim()
    assert Worker(hand.jobs, "other").handles("echo").claim() == []
    yield ids


def test_limit_is_defined_shown_changed_and_forgotten(system: System, hand: Worker) -> None:
    assert system.get(AT).json() == {"limits": [], "next_cursor": None}
    made = put(system, "api:stripe", {"max_running": 2, "rate": {"starts": 10, "per_s": 1}})
    shown = {
        "name": "api:stripe",
        "max_running": 2,
        "rate": {"starts": 10, "per_s": 1},
        "running": 0,
        "waiting": 0,
        "opens_at": None,
    }
    assert (made.status_code, made.json()) == (201, shown)
    again = put(system, "api:stripe", {"max_running": 3})
    assert (again.status_code, again.json()) == (200, shown | {"max_running": 3, "rate": None})
    assert system.get(f"{AT}/api:stripe").json() == again.json()
    assert system.get(AT).json()["limits"] == [again.json()]
    assert requests.delete(f"{system.api_url}{AT}/api:stripe", timeout=30).status_code == 204
    gone = system.get(f"{AT}/api:stripe")
    assert (gone.status_code, gone.json()["code"]) == (404, "limit_not_found")
    assert requests.delete(f"{system.api_url}{AT}/api:stripe", timeout=30).status_code == 404


def test_names_of_a_pattern_are_listed_by_pages(system: System, two: list[str]) -> None:
    first = system.get(f"{AT}?limit=1").json()
    assert [each["name"] for each in first["limits"]] == ["tenant:*"] and first["next_cursor"] == "tenant:*"
    second = system.get(f"{AT}?limit=1&cursor={first['next_cursor']}").json()
    (tenant,) = second["limits"]
    assert (tenant["name"], tenant["pattern"], tenant["running"], tenant["waiting"]) == ("tenant:7", "tenant:*", 1, 1)
    assert second["next_cursor"] is None


def test_waiting_job_is_explained_and_counted(system: System, two: list[str]) -> None:
    said = system.get(f"/jobs/{two[1]}/explain").json()
    assert (said["code"], said["explanation"]) == ("limited", "It waits for the limit tenant:7: 1 of 1 running.")
    assert said["job"]["limits"] == ["api", "tenant:7"] and said["job"]["status"] == "queued"
    text = system.get("/metrics?format=prometheus").text
    assert 'jobqueue_limit_waiting{queue="default",limit="tenant:7"} 1' in text
    assert 'jobqueue_limit_running{queue="default",limit="tenant:7"} 1' in text


def test_rate_says_when_it_opens(system: System, hand: Worker) -> None:
    hand.handles("echo")
    put(system, "api", {"rate": {"starts": 1, "per_s": 3600}})
    for _ in range(2):
        last = system.post("/jobs", {"limits": ["api"]}).json()["job_id"]
    hand.give("done")
    shown = system.get(f"{AT}/api").json()
    assert shown["opens_at"] and shown["running"] == 0
    said = system.get(f"/jobs/{last}/explain").json()["explanation"]
    assert said == f"It waits for the limit api: 1 in 3600 s have started, the next may at {shown['opens_at']}."


@pytest.mark.parametrize(
    ("name", "body", "pointer"),
    [
        ("api", {}, ""),
        ("api", [], ""),
        ("api", {"max_running": 0}, "/max_running"),
        ("api", {"max_running": 100_001}, "/max_running"),
        ("api", {"max_running": None}, "/max_running"),
        ("api", {"rate": {"starts": 1}}, "/rate"),
        ("api", {"rate": {"starts": 10_001, "per_s": 1}}, "/rate/starts"),
        ("api*", {"rate": {"starts": 1_001, "per_s": 1}}, "/rate/starts"),
        ("api", {"rate": {"starts": 1, "per_s": 86_401}}, "/rate/per_s"),
        ("api", {"max_running": 1, "other": 1}, "/other"),
        ("a*b", {"max_running": 1}, "/limit"),
        ("a%20b", {"max_running": 1}, "/limit"),
        ("a" * 65, {"max_running": 1}, "/limit"),
    ],
)
def test_wrong_limits_are_refused(system: System, hand: Worker, name: str, body: Any, pointer: str) -> None:
    problem = refused(put(system, name, body), 422, "invalid_request")
    assert problem["errors"][0]["pointer"] == pointer
    assert system.get(AT).json()["limits"] == []


@pytest.mark.parametrize(
    ("limits", "pointer"),
    [
        ("api", "/limits"),
        (["a", "b", "c", "d"], "/limits"),
        (["type:echo"], "/limits/0"),
        (["api", "a b"], "/limits/1"),
        (["tenant:*"], "/limits/0"),
    ],
)
def test_jobs_that_name_wrong_limits_are_refused(system: System, hand: Worker, limits: Any, pointer: str) -> None:
    problem = refused(system.post("/jobs", {"limits": limits}), 422, "invalid_request")
    assert problem["errors"][0]["pointer"] == pointer


def test_name_too_many_is_refused(system: System, hand: Worker, server: Server) -> None:
    """In each way that stores jobs with limits. Other systems' calls name none, and are never refused for it."""
    hand.handles("echo", "task")
    assert put(system, "*", {"max_running": 1}).status_code == 201
    server.client.zadd(f"{Q}limited", {f"tenant:{n}": 0 for n in range(10_000)})
    problem = refused(system.post("/jobs", {"limits": ["api"]}), 422, "too_many_names")
    [wrong] = problem["errors"]
    assert wrong["pointer"] == "/limits" and "10,000 names are alive" in wrong["detail"] and "api" in wrong["detail"]
    answer = system.post("/jobs/batch", {"jobs": [{"limits": ["tenant:1"]}, {"limits": ["api"]}]})
    batch = refused(answer, 422, "invalid_request")
    assert batch["errors"][1]["pointer"] == "/jobs/1/limits" and "api is a further" in batch["errors"][1]["detail"]
    assert system.get("/jobs?status=queued").json()["jobs"] == []
    assert system.post("/jobs", {"limits": ["tenant:1"]}).status_code == 201
    assert system.post("/submit", {"task": "a"}).status_code in (200, 201, 202)


def test_old_worker_is_named(system: System, hand: Worker) -> None:
    hand.beat()
    refused(put(system, "api", {"max_running": 1}), 409, "old_worker")
    refused(system.post("/jobs", {"limits": ["api"]}), 409, "old_worker")
    assert system.post("/jobs", {}).status_code == 201
