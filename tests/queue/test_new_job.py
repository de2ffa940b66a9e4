"""Jobs that come as JSON: they are checked once, and hold what jobs made in Python hold."""

from __future__ import annotations

import json
from copy import copy
from dataclasses import FrozenInstanceError, replace
from typing import Any

import pytest

from _jobqueue import strict_json
from _jobqueue.strict_json import MAX_DEPTH, parse_json
from jobqueue import Filter, Invalid, JobQueue, NewJob
from tests.harness import Server

PAYLOADS: list[Any] = [
    None,
    {},
    {"a": {"b": [1, 2.5, -0.0, 1e300, 10**400]}, "ü 🎉": "\u0000 \u2028", "": None},
    [{"n": n} for n in range(100)],
    json.loads("[" * (MAX_DEPTH - 1) + "]" * (MAX_DEPTH - 1)),
    "x" * 600,
]


def sent(**members: Any) -> Any:
    """A job as a request has it."""
    return parse_json(json.dumps(members).encode())


@pytest.mark.parametrize("payload", PAYLOADS, ids=range(len(PAYLOADS)))
def test_what_is_stored_is_the_same_to_the_byte(payload: Any) -> None:
    of_json = NewJob.of_json(sent(payload=payload, max_attempts=3, timeout_s=2))
    assert of_json.fields() == NewJob(payload=payload, max_attempts=3, timeout_s=2).fields()
    assert of_json == NewJob(payload=payload, max_attempts=3, timeout_s=2)


def test_a_job_is_what_it_says_however_it_says_it() -> None:
    plain, explicit = NewJob("mail", 1), NewJob(type="mail", payload=1, tags=(), queue=None, priority="normal")
    assert plain == explicit and hash(plain) == hash(explicit) and repr(plain) == repr(explicit)
    assert plain != NewJob("mail", 1, queue="other") and plain != NewJob("mail", 2)
    for copied in (replace(explicit), copy(explicit)):
        assert copied == plain and copied.fields() == plain.fields()
    assert replace(plain, priority="high").priority == 9
    with pytest.raises(Invalid, match="priority"):
        replace(plain, priority=10)
    with pytest.raises(FrozenInstanceError):
        plain.queue = "other"  # type: ignore[misc]
    with pytest.raises(TypeError, match="did you mean queue"):
        NewJob("mail", quue="other")  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="_parsed"):
        NewJob("mail", _parsed=True)  # type: ignore[call-arg]


def test_a_payload_that_was_parsed_is_not_parsed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = sent(payload={"to": "a@b.c"})
    calls: list[bytes] = []
    monkeypatch.setattr(strict_json, "parse_json", lambda raw: calls.append(raw))
    NewJob.of_json(asked).fields()
    assert calls == []
    NewJob(payload={"to": "a@b.c"}).fields()
    assert len(calls) == 1


@pytest.mark.parametrize(
    "payload, why",
    [
        ({1: "a", "1": "b"}, "twice"),
        (json.loads("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1)), "nested deeper"),
        ({"a": float("nan")}, "not JSON"),
        ({"a": "\ud800"}, "surrogate"),
    ],
)
def test_a_payload_that_was_made_in_python_is_still_checked(server: Server, payload: Any, why: str) -> None:
    queue = JobQueue(server.url)
    with pytest.raises(Invalid, match=why):
        queue.submit("echo", payload)
    with pytest.raises(Invalid, match=why):  # another payload is not the one that was parsed
        queue.submit_one(replace(NewJob.of_json(sent(payload={"to": "a@b.c"})), payload=payload))
    (answer,) = queue.submit_many([NewJob("echo", payload)])
    assert isinstance(answer.error, Invalid) and queue.queues() in ([], ["default"])
    assert sum(sum(queue.books(name).sizes.values()) for name in queue.queues()) == 0


def test_a_payload_that_is_too_large_is_refused_whoever_made_it() -> None:
    for job in (NewJob.of_json(sent(payload="x" * 2**20)), NewJob(payload="x" * 2**20)):
        with pytest.raises(Invalid, match="/payload: 1048578 bytes of JSON"):
            job.fields()


def test_nobody_says_by_a_member_that_his_payload_is_known_to_be_good() -> None:
    for name in ("_parsed", "parsed"):
        with pytest.raises(Invalid, match="not a field of a job"):
            NewJob.of_json(sent(payload=1, **{name: True}))
        with pytest.raises(TypeError):
            NewJob(**{name: True})


def test_a_tag_may_hold_what_names_a_thing_of_somebody_elses() -> None:
    tags = ["order:42", "ada@example.org", "region=eu", "a.b_c-d"]
    assert NewJob(tags=tags).tags == tags
    for wrong in ("", "a b", "a/b", "{a}", "x" * 65, 1, None):
        with pytest.raises(Invalid, match="/tags/0"):
            NewJob(tags=[wrong])


def test_jobs_are_found_by_such_a_tag(queue: JobQueue) -> None:
    job = queue.submit(tags=["order:42", "to=ada@example.org"])
    assert [found.id for found in queue.page(Filter(tag="to=ada@example.org")).jobs] == [job.id]
