"""A name that nobody knows: the one that was meant is named, where it can be guessed."""

from __future__ import annotations

import time

import pytest

from _jobqueue.new_job import MEMBERS
from _jobqueue.slips import ELSEWHERE, GUESSED, LONGEST, unknown_fields
from jobqueue import JobQueue


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("paylod", "payload"),
        ("delay", "delay_s"),
        ("retries", "max_attempts"),
        ("maxAttempts", "max_attempts"),
        ("Priority", "priority"),
        ("unique-key", "unique_key"),
        ("depends_on", "after"),
    ],
)
def test_the_field_that_was_meant_is_named(name: str, meant: str) -> None:
    ((pointer, said),) = unknown_fields([name], MEMBERS, "a job")
    assert (pointer, said) == (f"/{name}", f"is not a field of a job: did you mean {meant}?")


@pytest.mark.parametrize("name", ["", "x", "colour", "a" * (LONGEST + 1), "every"])
def test_where_none_is_near_none_is_guessed(name: str) -> None:
    assert unknown_fields([name], MEMBERS, "a job") == [(f"/{name}", "is not a field of a job")]


def test_what_is_known_is_no_problem() -> None:
    assert unknown_fields(MEMBERS, MEMBERS, "a job") == []


def test_a_request_of_nothing_but_slips_is_not_compared_with_everything() -> None:
    began = time.process_time()
    problems = unknown_fields([f"paylod{n}" for n in range(100_000)], MEMBERS, "a job")
    assert [at for at, (_, said) in enumerate(problems) if "did you mean" in said] == list(range(GUESSED))
    assert time.process_time() - began < 5.0


def test_an_option_in_python_that_there_is_not() -> None:
    with pytest.raises(TypeError, match=r"^delay is not a field of a job: did you mean delay_s\?$"):
        JobQueue("redis://127.0.0.1:1/0").submit("a.type", delay=5)  # type: ignore[call-arg]


def test_a_url_that_is_none_is_named() -> None:
    with pytest.raises(ValueError, match=r"^the URL of Redis must start with redis://"):
        JobQueue("localhost")


def test_words_of_other_systems_are_none_of_ours() -> None:
    assert not ELSEWHERE.keys() & set(MEMBERS)
