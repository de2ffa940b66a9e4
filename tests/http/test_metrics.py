"""The counts, as JSON and as Prometheus reads them: that they are right, and that they can be read."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from _jobqueue.by_type import OTHER
from _jobqueue.histograms import BUCKETS_MS
from _jobqueue.loading import load_handlers
from _jobqueue.records import ENDED, FAILURES
from _jobqueue.web.by_type import LABELS_MOST
from jobqueue import JobQueue
from tests.harness import Server, System, eventually
from tests.played import Worker

parser = pytest.importorskip("prometheus_client.parser", reason="prometheus_client is not installed: make test does it")

PROMETHEUS = (
    "application/openmetrics-text;version=1.0.0;q=0.6,application/openmetrics-text;version=0.0.1;q=0.5,"
    "text/plain;version=1.0.0;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)
RUN = {"done": 5, "failed": 2, "cancelled": 1, "queued": 3, "scheduled": 1}


@pytest.fixture(scope="module")
def small_run(request: pytest.FixtureRequest) -> Iterator[System]:
    """After it: 5 jobs done, 2 failed after two attempts each, 1 cancelled; 3 wait in the queue "idle", 1 is scheduled."""
    server = Server()
    system = System(server)
    system.api()
    system.worker("--handlers", "tests.odd_handlers", "--threads", "3", BACKOFF_S="0")
    system.reaper()
    done = [system.submit(n, type="say") for n in range(5)]
    failed = [system.submit(n, type="fail") for n in range(2)]
    cancelled = system.submit(delay_s=600)
    system.post(f"/jobs/{cancelled}/cancel")
    for n in range(3):
        system.submit(n, queue="idle")
    system.submit(queue="idle", delay_s=600)
    for job_id in done:
        system.ends(job_id)
    for job_id in failed:
        system.ends(job_id, "failed")
    eventually(lambda: counted(server), equals=9)
    yield system
    system.close(show_logs=request.session.testsfailed > 0)
    server.close()


def counted(server: Server) -> int:
    """How many attempts the beats have told of."""
    totals = JobQueue(server.url).books("default").totals
    return sum(n for name, n in totals.items() if name.startswith("run:") and name != "run:sum")


def text(system: System) -> str:
    answer = system.get("/metrics?format=prometheus")
    assert answer.status_code == 200, answer.text
    return answer.text


def families(system: System) -> dict[str, Any]:
    return {family.name: family for family in parser.text_string_to_metric_families(text(system))}


def odd_handlers() -> set[str]:
    return set(load_handlers("tests.odd_handlers"))


def value(system: System, name: str, **labels: str) -> float:
    samples = [sample for family in families(system).values() for sample in family.samples if sample.name == name]
    found = [sample.value for sample in samples if sample.labels == labels]
    assert len(found) == 1, (name, labels, samples)
    return float(found[0])


def test_json_tells_what_ever_happened_and_what_there_is_now(small_run: System) -> None:
    counts = small_run.get("/metrics").json()
    expected = {
        "total_jobs": 12,
        "active_jobs": 0,
        "completed_jobs": 5,
        "failed_jobs": 2,
        "dead_letter_jobs": 2,
        "queue_length": 3,
        "retry_queue_length": 1,
        "dlq_length": 2,
        "cancelled_jobs": 1,
        "retried_attempts": 2,
        "reaped_attempts": 0,
        "late_results_refused": 0,
    }
    assert {name: counts[name] for name in expected} == expected
    assert counts["queues"].keys() == {"default", "idle"}
    assert counts["queues"]["idle"]["jobs"]["queued"] == 3


@pytest.mark.parametrize(
    "accept, query, kind",
    [
        (None, "", "application/json"),
        ("*/*", "", "application/json"),
        ("application/json", "", "application/json"),
        ("text/html,application/xhtml+xml,*/*;q=0.8", "", "application/json"),
        ("application/json, text/plain, */*", "", "application/json"),  # what many HTTP libraries of browsers send
        ("text/plain", "", "text/plain"),
        ("text/plain;version=0.0.4", "", "text/plain"),
        (PROMETHEUS, "", "text/plain"),
        ("application/openmetrics-text", "", "text/plain"),
        ("application/json", "?format=prometheus", "text/plain"),
        (PROMETHEUS, "?format=json", "application/json"),
    ],
)
def test_who_asks_for_text_gets_it_and_everybody_else_gets_json(
    small_run: System, accept: str | None, query: str, kind: str
) -> None:
    answer = requests.get(f"{small_run.api_url}/metrics{query}", headers={"Accept": accept}, timeout=30)
    assert answer.status_code == 200 and answer.headers["Content-Type"].split(";")[0] == kind
    if kind == "text/plain":
        assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        assert answer.text.startswith("# HELP jobqueue_")
    else:
        assert answer.json()["total_jobs"] == 12


@pytest.mark.parametrize("query, pointer", [("format=xml", "/format"), ("format=", "/format"), ("name=x", "/name")])
def test_another_format_is_a_422(small_run: System, query: str, pointer: str) -> None:
    answer = small_run.get(f"/metrics?{query}")
    assert answer.status_code == 422 and [error["pointer"] for error in answer.json()["errors"]] == [pointer]


def test_prometheus_reads_it_and_finds_the_same_numbers(small_run: System) -> None:
    for name, labels, expected in [
        ("jobqueue_jobs_submitted_total", {"queue": "default"}, 8),
        ("jobqueue_jobs_submitted_total", {"queue": "idle"}, 4),
        ("jobqueue_jobs_finished_total", {"queue": "default", "outcome": "done"}, 5),
        ("jobqueue_jobs_finished_total", {"queue": "default", "outcome": "failed"}, 2),
        ("jobqueue_jobs_finished_total", {"queue": "default", "outcome": "cancelled"}, 1),
        ("jobqueue_jobs_finished_total", {"queue": "idle", "outcome": "done"}, 0),
        ("jobqueue_attempts_failed_total", {"queue": "default", "reason": "error"}, 4),
        ("jobqueue_attempts_failed_total", {"queue": "default", "reason": "timeout"}, 0),
        ("jobqueue_attempts_retried_total", {"queue": "default"}, 2),
        ("jobqueue_jobs", {"queue": "default", "status": "done"}, 5),
        ("jobqueue_jobs", {"queue": "idle", "status": "queued"}, 3),
        ("jobqueue_jobs", {"queue": "idle", "status": "scheduled"}, 1),
        ("jobqueue_queue_paused", {"queue": "default"}, 0),
        ("jobqueue_reaper_up", {"queue": "default"}, 1),
        ("jobqueue_workers", {"queue": "default"}, 1),
        ("jobqueue_workers", {"queue": "idle"}, 0),
        ("jobqueue_worker_threads", {"queue": "default"}, 3),
        ("jobqueue_worker_threads_busy", {"queue": "default"}, 0),
        ("jobqueue_wait_seconds_count", {"queue": "default"}, 7),
        ("jobqueue_run_seconds_count", {"queue": "default"}, 9),
        ("jobqueue_type_attempts_total", {"queue": "default", "type": "say", "outcome": "done"}, 5),
        ("jobqueue_type_attempts_total", {"queue": "default", "type": "fail", "outcome": "failed"}, 4),
        ("jobqueue_type_wait_seconds_count", {"queue": "default", "type": "fail"}, 2),
        ("jobqueue_type_run_seconds_count", {"queue": "default", "type": "fail"}, 4),
        ("jobqueue_type_waiting", {"queue": "idle", "type": "echo"}, 3),
        ("jobqueue_type_running", {"queue": "default", "type": "say"}, 0),
        ("jobqueue_type_handled", {"queue": "default", "type": "say"}, 1),
        ("jobqueue_type_handled", {"queue": "idle", "type": "echo"}, 0),
        ("jobqueue_type_paused", {"queue": "idle", "type": "echo"}, 0),
    ]:
        assert value(small_run, name, **labels) == expected, (name, labels)
    assert value(small_run, "jobqueue_oldest_queued_seconds", queue="idle") > 0
    assert value(small_run, "jobqueue_oldest_queued_seconds", queue="default") == 0
    assert value(small_run, "jobqueue_redis_memory_bytes") > 100_000
    assert value(small_run, "jobqueue_redis_maxmemory_bytes") == 0


def test_every_family_has_help_a_type_and_one_block(small_run: System) -> None:
    shown = text(small_run)
    assert shown.endswith("\n") and "\n\n" not in shown
    named = re.findall(r"^# TYPE (\S+) (\S+)$", shown, re.MULTILINE)
    assert len(named) == len(dict(named)) == len(re.findall(r"^# HELP ", shown, re.MULTILINE))
    for name, kind in named:
        assert name.endswith("_total") == (kind == "counter"), name
        assert name.startswith("jobqueue_")
    samples = [line.rsplit(" ", 1)[0] for line in shown.splitlines() if not line.startswith("#")]
    assert len(samples) == len(set(samples))


def test_histograms_are_consistent(small_run: System) -> None:
    for name in ("jobqueue_wait_seconds", "jobqueue_run_seconds"):
        family = families(small_run)[name]
        assert family.type == "histogram"
        for queue in ("default", "idle"):
            mine = [sample for sample in family.samples if sample.labels["queue"] == queue]
            buckets = [(s.labels["le"], s.value) for s in mine if s.name.endswith("_bucket")]
            edges = [float(edge) for edge, _ in buckets]
            assert edges == [bound / 1000 for bound in BUCKETS_MS] + [float("inf")]
            values = [n for _, n in buckets]
            assert values == sorted(values)
            (count,) = (s.value for s in mine if s.name.endswith("_count"))
            (total,) = (s.value for s in mine if s.name.endswith("_sum"))
            assert values[-1] == count and 0 <= total < 60 * max(count, 1)
            assert (total > 0) <= (count > 0)


def test_two_api_processes_agree(small_run: System) -> None:
    first = small_run.api_url
    small_run.api()
    try:
        urls = (first, small_run.api_url)
        one, other = (requests.get(f"{url}/metrics", timeout=30).json() for url in urls)
        assert one == other
        lines = [
            [line for line in text_of(url) if "memory" not in line and "oldest_queued" not in line] for url in urls
        ]
        assert lines[0] == lines[1]
    finally:
        small_run.api_url = first


def text_of(url: str) -> list[str]:
    return requests.get(f"{url}/metrics?format=prometheus", timeout=30).text.splitlines()


def test_labels_are_few_whatever_handlers_raise_and_clients_send(small_run: System) -> None:
    allowed = {"queue", "outcome", "reason", "status", "le", "type"}
    seen: dict[str, set[str]] = {}
    for family in families(small_run).values():
        for sample in family.samples:
            for label, text in sample.labels.items():
                seen.setdefault(label, set()).add(text)
    assert seen.keys() == allowed
    assert seen["queue"] == {"default", "idle"} and seen["reason"] == set(FAILURES)
    assert {"say", "fail", "echo"} <= seen["type"] <= {*odd_handlers(), OTHER, "echo"} and len(
        seen["type"]
    ) <= LABELS_MOST
    assert seen["outcome"] == set(ENDED) and len(seen["le"]) == len(BUCKETS_MS) + 1


def test_a_redis_without_jobs_has_metrics_too(system: System) -> None:
    system.api()
    counts = system.get("/metrics").json()
    assert counts["total_jobs"] == counts["queue_length"] == 0 and counts["queues"] == {}
    assert "jobqueue_jobs" in families(system)


def test_redis_may_keep_its_memory_to_itself(own_system: System) -> None:
    client = own_system.server.client
    client.execute_command("ACL", "SETUSER", "app", "on", ">pw", "~*", "&*", "+@all", "-info", "-config")
    own_system.api(REDIS_URL=own_system.server.url.replace("//", "//app:pw@"))
    own_system.submit()
    assert value(own_system, "jobqueue_jobs_submitted_total", queue="default") == 1


def test_a_reaped_attempt_is_counted(system: System) -> None:
    system.api()
    job_id, jobs = system.submit(), JobQueue(system.server.url)
    Worker(jobs, lease_ms=1).claim()
    system.reaper()
    eventually(lambda: system.get("/metrics").json()["reaped_attempts"], equals=1)
    assert system.job(job_id)["status"] == "queued"
    assert value(system, "jobqueue_attempts_failed_total", queue="default", reason="lease_expired") == 1
