"""The load test as people run it: ``python loadtest.py --count 50 --poll``."""

from __future__ import annotations

import re

import pytest

import loadtest
from loadtest import Waiting
from tests.harness import Program, System, free_port


def load(system: System, *flags: str) -> Program:
    return system.start("loadtest.py", "--url", system.api_url, *flags)


def test_fifty_jobs_are_submitted_and_watched_to_their_end(system: System) -> None:
    system.api(), system.worker(), system.reaper()
    program = load(system, "--count", "50", "--poll")
    assert program.exits(60) == 0, program.log
    lines = program.log.splitlines()
    assert "\r" not in program.log and "\x1b" not in program.log  # no bar on a pipe
    assert "submitted 50/50" in lines and "ended 50/50" in lines and "ended 50 done" in lines
    assert re.search(r"^submitted 50 jobs in \d+\.\d s: \d+ a second$", program.log, re.MULTILINE)
    assert re.search(r"^all of it took \d+\.\d s: \d+ jobs a second$", program.log, re.MULTILINE)
    for name in ("waited to start", "submit to end"):
        times = r" +p50 \d+\.\d{3} s   p95 \d+\.\d{3} s   p99 \d+\.\d{3} s   max \d+\.\d{3} s"
        assert re.search(f"^{name}{times}$", program.log, re.MULTILINE), program.log
    assert system.get("/metrics").json()["completed_jobs"] == 50
    system.check()


def test_without_poll_it_only_submits(system: System) -> None:
    system.api()
    program = load(system, "--count", "20", "--queue", "mail", "--type", "echo")
    assert program.exits(60) == 0, program.log
    assert "submitted 20 jobs" in program.log and "ended" not in program.log
    assert system.get("/jobs?queue=mail&status=queued").json()["total"] == 20


def test_a_refused_job_is_told_and_makes_it_fail(system: System) -> None:
    system.api()
    program = load(system, "--count", "3", "--type", "not a type", "--poll")
    assert program.exits(60) == 1
    assert "refused 3: 422: /type: must be" in program.log and "Traceback" not in program.log


def test_jobs_that_fail_make_it_fail(system: System) -> None:
    system.api(), system.worker("--handlers", "tests.odd_handlers")
    program = load(system, "--count", "3", "--type", "fail.for.good", "--poll")
    assert program.exits(60) == 1
    assert "ended 3 failed" in program.log


def test_without_an_api_it_says_so_in_one_line(system: System) -> None:
    system.api_url = f"http://127.0.0.1:{free_port()}"
    for flags in (["--count", "50"], ["--count", "50", "--poll"]):
        program = load(system, *flags)
        assert program.exits(60) == 1
        assert f"cannot reach {system.api_url}" in program.log and "Traceback" not in program.log


def test_a_count_out_of_range_is_a_mistake(system: System) -> None:
    for flags in (["--count", "0"], ["--clients", "1000"], ["--count", "many"]):
        program = load(system, *flags)
        assert program.exits(60) == 2 and "Traceback" not in program.log


def test_it_says_that_it_waited_for_the_rate_limit(system: System) -> None:
    system.api(RATE_LIMIT_MAX="10", RATE_LIMIT_WINDOW_S="1")
    program = load(system, "--count", "30")
    assert program.exits(60) == 0, program.log
    assert program.log.count("waiting for the rate limit of the API (RATE_LIMIT_MAX)\n") == 1
    said = re.search(r"^for (\d+\.\d) s of that it waited for the rate limit", program.log, re.MULTILINE)
    took = re.search(r"^submitted 30 jobs in (\d+\.\d) s", program.log, re.MULTILINE)
    assert said and took and 1.0 <= float(said[1]) <= float(took[1]) + 0.1, program.log


def test_a_load_that_did_not_wait_says_nothing_of_it(system: System) -> None:
    system.api()
    program = load(system, "--count", "30")
    assert program.exits(60) == 0 and "wait" not in program.log


def test_it_finds_the_api_by_its_port(system: System) -> None:
    system.api()
    program = system.start("loadtest.py", "--count", "5", API_PORT=system.api_url.rpartition(":")[2])
    assert program.exits(60) == 0, program.log
    assert system.get("/jobs").json()["total"] == 5
    elsewhere = system.start("loadtest.py", "--count", "5", "--url", system.api_url, API_PORT=str(free_port()))
    assert elsewhere.exits(60) == 0, elsewhere.log


def test_waits_at_the_same_time_count_once(monkeypatch: pytest.MonkeyPatch) -> None:
    waiting, clock = Waiting(), [100.0]
    monkeypatch.setattr(loadtest.time, "monotonic", lambda: clock[0])
    for at, wait_s, total in ((100, 10, 10), (101, 9, 10), (105, 10, 15), (200, 1, 16), (200, 1, 16)):
        clock[0] = float(at)
        waiting.note(429, wait_s)
        assert waiting.s == {429: total}
