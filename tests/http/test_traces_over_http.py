"""The headers traceparent and tracestate of a submit, until the handler, the log and the page have them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.harness import ROOT, Server, System, eventually

PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
STATE = "congo=t61rcWkgMzE"
HANDLERS = """
import logging
from jobqueue import handler

@handler("it")
def it(payload, ctx):
    logging.getLogger("mine").info("inside")
    return [ctx.traceparent, ctx.tracestate]
"""
# As an application chooses an SDK: the worker and the API find it in their environment.
SDK = """
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(ConsoleSpanExporter(formatter=lambda span: span.to_json(None) + "\\n")))
trace.set_tracer_provider(provider)
"""


@pytest.fixture(scope="module")
def traced(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """An API, and a worker that logs JSON."""
    folder = tmp_path_factory.mktemp("handlers")
    (folder / "traced_jobs.py").write_text(HANDLERS)
    server = Server()
    system = System(server)
    system.api()
    system.worker("--handlers", str(folder / "traced_jobs.py"), LOG_FORMAT="json")
    yield system
    system.close(show_logs=request.session.testsfailed > 0)
    server.close()


def test_the_headers_of_a_submit_go_with_its_job(traced: System) -> None:
    submitted = traced.post("/jobs", {"type": "it"}, traceparent=PARENT, tracestate=STATE).json()
    assert (submitted["traceparent"], submitted["tracestate"]) == (PARENT, STATE)
    job = traced.ends(submitted["job_id"])
    assert (job["traceparent"], job["tracestate"], job["result"]) == (PARENT, STATE, [PARENT, STATE])
    worker = traced.programs[-1]
    worker.says(f'"message": "done", "job": "{job["job_id"]}"')
    lines = [json.loads(line) for line in worker.log.splitlines() if job["job_id"] in line]
    assert {line["message"]: line["traceparent"] for line in lines} == {"inside": PARENT, "done": PARENT}


def test_every_call_that_submits_takes_them(traced: System) -> None:
    batch = traced.post("/jobs/batch", {"jobs": [{"queue": "idle"}, {"queue": "idle"}]}, traceparent=PARENT).json()
    assert [each["job"]["traceparent"] for each in batch["results"]] == [PARENT, PARENT]
    task = traced.post("/submit", {"task": "x"}, traceparent=PARENT).json()
    assert traced.job(task["id"])["traceparent"] == PARENT
    email = {"job_type": "send_email", "priority": "low", "payload": {"to": "a@b.c"}}
    assert traced.job(traced.post("/submit-job", email, traceparent=PARENT).json()["job_id"])["traceparent"] == PARENT


@pytest.mark.parametrize(
    "headers",
    [
        {"traceparent": "x", "tracestate": STATE},
        {"traceparent": PARENT.upper(), "tracestate": STATE},
        {"traceparent": f"{PARENT}, {PARENT}"},
        {"tracestate": STATE},
        {"traceparent": "00-" + "é" * 32 + "-00f067aa0ba902b7-01"},
    ],
)
def test_what_is_no_trace_is_left_out(traced: System, headers: dict[str, Any]) -> None:
    raw = {name: text.encode("latin-1").decode("latin-1") for name, text in headers.items()}
    job = traced.post("/jobs", {"queue": "idle"}, **raw)
    assert job.status_code == 201 and not {"traceparent", "tracestate"} & job.json().keys()


def test_a_wrong_tracestate_leaves_the_traceparent(traced: System) -> None:
    job = traced.post("/jobs", {"queue": "idle"}, traceparent=PARENT, tracestate="A=1").json()
    assert job["traceparent"] == PARENT and "tracestate" not in job


def test_they_are_no_members_of_a_job(traced: System) -> None:
    for name in ("traceparent", "tracestate", "words"):
        answer = traced.post("/jobs", {name: PARENT})
        assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, f"/{name}")


def test_with_an_sdk_api_and_worker_make_spans(system: System, tmp_path: Path) -> None:
    pytest.importorskip("opentelemetry.sdk", reason="opentelemetry-sdk is in requirements-traces.txt")
    (tmp_path / "sitecustomize.py").write_text(SDK)
    (tmp_path / "traced_jobs.py").write_text(HANDLERS)
    path = {"PYTHONPATH": f"{tmp_path}:{ROOT}/.venv/traces"}
    api = system.api(**path)
    worker = system.worker("--handlers", str(tmp_path / "traced_jobs.py"), **path)
    job_id = system.post("/jobs", {"type": "it"}, traceparent=PARENT).json()["job_id"]
    stored = system.ends(job_id)["traceparent"]
    producer, consumer = (eventually(lambda program=each: span_in(program.log), equals=bool) for each in (api, worker))
    assert (producer["name"], producer["parent_id"]) == ("submit it", "0x00f067aa0ba902b7")
    assert stored == f"{PARENT[:35]}-{producer['context']['span_id'][2:]}-01"
    assert (consumer["name"], consumer["parent_id"]) == ("process it", None)
    assert [link["context"]["span_id"] for link in consumer["links"]] == [producer["context"]["span_id"]]
    assert consumer["attributes"]["messaging.message.id"] == job_id


def span_in(log: str) -> Any:
    return next((json.loads(line) for line in log.splitlines() if line.startswith('{"name"')), None)
