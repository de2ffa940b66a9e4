"""Marks in charts over HTTP: POST /marks and GET /marks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import requests

from _jobqueue.keys import new_key
from _jobqueue.store.chart_marks import MOST
from jobqueue import JobQueue
from tests.harness import Server, System

KEY = "jq:{jq:queues}:chart_marks"


@pytest.fixture(scope="module")
def shared() -> Iterator[System]:
    server = Server()
    system = System(server)
    system.api(RATE_LIMIT_MAX="0")
    yield system
    system.close(show_logs=False)
    server.close()


def texts(system: System, query: str = "") -> list[str]:
    return [mark["text"] for mark in system.get(f"/marks?{query}").json()["marks"]]


def call(system: System, method: str, key: str, body: Any = None) -> requests.Response:
    return requests.request(
        method, f"{system.api_url}/marks", json=body, headers={"Authorization": f"Bearer {key}"}, timeout=30
    )


def test_a_mark_has_its_time_and_the_latest_comes_first(shared: System) -> None:
    first = shared.post("/marks", {"text": "deploy 3f2a"})
    assert first.status_code == 201 and first.json().keys() == {"at", "text", "by"}
    assert (first.json()["text"], first.json()["by"]) == ("deploy 3f2a", None)
    shared.post("/marks", {"text": "deploy 9c41"})
    assert texts(shared)[:2] == ["deploy 9c41", "deploy 3f2a"]
    at = shared.get("/marks").json()["marks"][0]["at"]
    assert "deploy 9c41" in texts(shared, f"since={at}")
    assert texts(shared, "since=2101-01-01T00:00:00Z") == []


@pytest.mark.parametrize(
    "body",
    [
        *({"text": text} for text in ("", " ", "x" * 201, "a\nb", "a\x00", "\x1b[31m", "\x85", 5, None, [], {}, True)),
        {},
        [],
        "deploy",
        {"text": "a", "at": "2001-01-01T00:00:00Z"},
        {"text": "a", "by": "somebody"},
    ],
)
def test_what_is_no_line_of_text_is_refused(shared: System, body: Any) -> None:
    before = shared.server.client.llen(KEY)
    assert shared.post("/marks", body).status_code == 422
    assert shared.server.client.llen(KEY) == before


@pytest.mark.parametrize("body", [b"", b"{", b'{"text": "\\ud800"}', b"\xff", b'{"text": "a", "text": "b"}'])
def test_what_is_no_json_is_refused(shared: System, body: bytes) -> None:
    answer = requests.post(
        f"{shared.api_url}/marks", data=body, headers={"Content-Type": "application/json"}, timeout=30
    )
    assert answer.status_code == 400, answer.text


@pytest.mark.parametrize("text", ["<script>alert(1)</script>", "\u202egpj.exe", "x" * 200, "é 漢 😀", "a b c 1 2", '"'])
def test_any_text_comes_back_as_it_was_sent(shared: System, text: str) -> None:
    assert shared.post("/marks", {"text": text}).status_code == 201
    assert texts(shared)[0] == text


def test_the_last_200_are_kept(shared: System) -> None:
    jobs = JobQueue(shared.url)
    for n in range(MOST + 5):
        jobs.chart_marks.add(f"m{n}")
    found = texts(shared)
    assert len(found) == MOST == shared.server.client.llen(KEY)
    assert (found[0], found[-1]) == (f"m{MOST + 4}", "m5")


def test_a_copy_is_one_mark(shared: System) -> None:
    store = JobQueue(shared.url).store
    args = ["an-id", 200, '{"by": "", "text": "once"}']
    first = store.run_at("jq:{jq:queues}:", "chart_mark", args)
    assert store.run_at("jq:{jq:queues}:", "chart_mark", args) == first
    assert texts(shared).count("once") == 1


def test_a_mark_tells_whose_key_set_it_and_needs_an_admin(system: System) -> None:
    keys, entries = zip(*(new_key(*each) for each in KEYS), strict=True)
    system.api(API_KEYS=",".join(entries))
    ci, reader, submitter, bound, bound_reader = keys
    assert call(system, "POST", ci, {"text": "deploy"}).json()["by"] == "ci"
    for key, code in ((reader, "scope_too_small"), (submitter, "scope_too_small"), (bound, "key_of_queues")):
        refused = call(system, "POST", key, {"text": "no"})
        assert (refused.status_code, refused.json()["code"]) == (403, code)
    assert call(system, "GET", reader).json()["marks"][0]["by"] == "ci"
    (seen,) = call(system, "GET", bound_reader).json()["marks"]
    assert (seen["text"], seen["by"]) == ("deploy", None)


KEYS = [("ci", "admin"), ("r", "read"), ("s", "submit"), ("b", "admin@mail"), ("br", "read@mail")]
