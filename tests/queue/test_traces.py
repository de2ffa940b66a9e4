"""Traces: W3C's two headers go with a job, from its submit to its handler, and cost nothing where there are none."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from _jobqueue import spans
from _jobqueue.job_types import JobType
from _jobqueue.logs import _Json, running
from _jobqueue.store.leases import Conversation
from _jobqueue.trace_context import MAX_STATE_CHARS, parent_of, state_of
from _jobqueue.work.attempts import Attempts
from _jobqueue.work.family import Family
from _jobqueue.work.run import Run
from jobqueue import Fail, JobQueue, NewJob, Policy
from tests.harness import Server
from tests.played import snapshot

TRACE_ID, SPAN_ID = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = f"00-{TRACE_ID}-{SPAN_ID}-01"
STATE = "congo=t61rcWkgMzE,rojo=00f067aa0ba902b7"

# ------------------------------------------------------------------------------------------------------- their form


@pytest.mark.parametrize("flags", ["00", "01", "03", "ff"])
def test_a_traceparent_of_our_version_stays_as_it_is(flags: str) -> None:
    assert parent_of(PARENT[:-2] + flags) == PARENT[:-2] + flags


def test_one_of_a_later_version_becomes_one_of_ours() -> None:
    assert parent_of(f"cc-{TRACE_ID}-{SPAN_ID}-03-what-the-future-will-be-like") == PARENT
    assert parent_of(f"01-{TRACE_ID}-{SPAN_ID}-02") == PARENT[:-1] + "0"


@pytest.mark.parametrize(
    "wrong",
    [
        "",
        None,
        7,
        "x",
        PARENT + "-",
        PARENT + "-more",
        PARENT + " ",
        " " + PARENT,
        PARENT + "\n",
        PARENT.upper(),
        "ff" + PARENT[2:],
        PARENT.replace(TRACE_ID, "0" * 32),
        PARENT.replace(SPAN_ID, "0" * 16),
        PARENT.replace(TRACE_ID, TRACE_ID[1:]),
        PARENT.replace("-", "_"),
        f"{PARENT},{PARENT}",
        f"01-{TRACE_ID}-{SPAN_ID}-01.more",
        f"01-{TRACE_ID}-{SPAN_ID}-01-" + "x" * MAX_STATE_CHARS,
    ],
)
def test_what_is_no_traceparent_is_none(wrong: Any) -> None:
    assert parent_of(wrong) is None


@pytest.mark.parametrize(
    "given, kept",
    [
        (STATE, STATE),
        ("a=1, b=2 ,\tc=3", "a=1,b=2,c=3"),
        ("a=1,,b=2,", "a=1,b=2"),
        ("fw529a3039@dt=FfAd,0@v=x y", "fw529a3039@dt=FfAd,0@v=x y"),
        ("", None),
        (" , ", None),
        ("a", None),
        ("a=1,B=2", None),
        ("a=1=2", None),
        ("a=\x7f", None),
        ("@dt=1", None),
        ("é=1", None),
        ("a=", None),
        (",".join(f"k{n}=v" for n in range(32)), ",".join(f"k{n}=v" for n in range(32))),
        (",".join(f"k{n}=v" for n in range(33)), None),
        ("a" * 257 + "=1", None),
        (7, None),
        (None, None),
    ],
)
def test_a_tracestate_is_of_its_form_or_none(given: Any, kept: str | None) -> None:
    assert state_of(given) == kept


def test_a_long_tracestate_loses_its_long_members_then_its_oldest() -> None:
    long = "long=" + "x" * 200
    assert state_of(",".join([long, "a=1", long.replace("long", "more"), "b=" + "y" * 120])) == f"a=1,b={'y' * 120}"
    kept = state_of(",".join(f"k{n}={'v' * 100}" for n in range(9)))
    assert kept is not None and len(kept) <= MAX_STATE_CHARS
    assert [member.split("=")[0] for member in kept.split(",")] == ["k0", "k1", "k2", "k3"]


# ------------------------------------------------------------------------------------------- from the submit to its end


@pytest.fixture
def slot(queue: JobQueue) -> Iterator[Conversation]:
    conversation = queue.conversation("default", "w-1", 60_000)
    yield conversation
    conversation.close()


@pytest.mark.parametrize(
    "payload", [None, "x" * 100, "x" * 511, "x" * 600, "x" * 5000], ids=lambda text: str(len(text or ""))
)
@pytest.mark.parametrize("state", [None, STATE, "a=" + "z" * 255])
def test_a_job_brings_its_trace_to_whoever_runs_it(
    queue: JobQueue, slot: Conversation, payload: Any, state: str | None
) -> None:
    fresh = queue.submit("it", payload, traceparent=PARENT, tracestate=state)
    for job in (fresh, queue.get(fresh.id), queue.page().jobs[0]):
        assert (job.traceparent, job.tracestate) == (PARENT, state)
    assert fresh.as_dict()["traceparent"] == PARENT and fresh.as_dict().get("tracestate") == state
    (claimed,) = slot.exchange(want=1)[1]
    assert (claimed.traceparent, claimed.tracestate) == (PARENT, state)
    assert json.loads(claimed.payload) == payload and claimed.waited_ms is not None
    (same,) = slot.exchange(want=1, again=True)[1]
    assert same == claimed


def test_a_trace_outlives_a_retry(queue: JobQueue, slot: Conversation) -> None:
    job = queue.submit("it", traceparent=PARENT)
    queue.cancel(job.id)
    queue.retry(job.id, {"another": "payload"})
    assert slot.exchange(want=1)[1][0].traceparent == PARENT


def test_what_is_no_trace_is_left_out_and_refuses_no_job(queue: JobQueue, server: Server) -> None:
    for wrong in ("x", PARENT.upper(), 7):
        job = queue.submit("it", traceparent=wrong, tracestate=STATE)
        assert (job.traceparent, job.tracestate) == (None, None)
    job = queue.submit("it", tracestate=STATE)
    assert queue.get(job.id).tracestate is None
    assert queue.submit("it", traceparent=PARENT, tracestate="A=1").traceparent == PARENT


def test_a_job_without_a_trace_has_no_field_and_no_byte_more(queue: JobQueue, server: Server) -> None:
    one, two = queue.submit("it", "x"), queue.submit("it", "x", traceparent=PARENT)
    bare, traced = (server.client.hgetall(f"jq:{{default}}:job:{job.id}") for job in (one, two))
    assert traced.keys() - bare.keys() == {"trace"} and bare.keys() <= traced.keys()
    assert "traceparent" not in one.as_dict() and "tracestate" not in one.as_dict()
    assert server.client.object("encoding", f"jq:{{default}}:job:{two.id}") in ("listpack", "ziplist")


def test_a_repeat_in_another_trace_is_the_same_request(queue: JobQueue, server: Server) -> None:
    first = queue.submit("it", 1, key="k", traceparent=PARENT)
    before = snapshot(server)
    again = queue.submit("it", 1, key="k", traceparent=PARENT.replace(SPAN_ID, "1" * 16))
    assert (again.id, again.traceparent) == (first.id, PARENT)
    assert queue.submit("it", 1, key="k").id == first.id
    assert snapshot(server) == before


def ran(jobs: JobQueue, slot: Conversation, function: Any) -> Any:
    """Runs the next job by that function, as a worker does."""
    attempts = Attempts({"it": JobType("it", function)}, Policy(), 2**20, lambda job_id: Family(jobs, job_id))
    (claimed,) = slot.exchange(want=1)[1]
    end = spans.with_spans(attempts.attempt, "default")(Run(claimed, 10))
    assert end is not None
    slot.exchange([end])
    return jobs.get(claimed.id)


def test_a_handler_sees_the_trace_and_its_children_are_in_it(queue: JobQueue, slot: Conversation) -> None:
    def handle(payload: Any, ctx: Any) -> Any:
        own = "00-" + "1" * 32 + "-" + "2" * 16 + "-00"
        many = ctx.submit_many([NewJob("child"), NewJob("child", traceparent=own)])
        return [ctx.traceparent, ctx.tracestate, ctx.submit("child", 1).traceparent, *(job.traceparent for job in many)]

    queue.submit("it", traceparent=PARENT, tracestate=STATE)
    assert ran(queue, slot, handle).result == [PARENT, STATE, PARENT, PARENT, "00-" + "1" * 32 + "-" + "2" * 16 + "-00"]
    queue.submit("it")
    for job in queue.page().jobs:
        if job.type == "child":
            queue.delete(job.id)
    assert (
        ran(queue, slot, lambda payload, ctx: [ctx.traceparent, ctx.submit("child", 2).traceparent]).result
        == [None] * 2
    )


def test_log_lines_of_a_job_name_its_trace(queue: JobQueue, slot: Conversation) -> None:
    queue.submit("it", traceparent=PARENT)
    queue.submit("it")
    lines = []
    for claimed in slot.exchange(want=2)[1]:
        running.set(claimed)
        record = logging.LogRecord("mine", logging.INFO, "", 0, "hello", None, None)
        lines.append(json.loads(_Json().format(record)))
        running.set(None)
    assert [line.get("traceparent") for line in lines] == [PARENT, None]


# --------------------------------------------------------------------------------------------------- OpenTelemetry


@pytest.fixture
def exported(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The SDK's in-memory exporter, as a process has it that has chosen an SDK."""
    trace = pytest.importorskip("opentelemetry.trace", reason="opentelemetry-sdk is in requirements-traces.txt")
    sdk = pytest.importorskip("opentelemetry.sdk.trace")
    memory = pytest.importorskip("opentelemetry.sdk.trace.export.in_memory_span_exporter")
    export = pytest.importorskip("opentelemetry.sdk.trace.export")
    exporter, provider = memory.InMemorySpanExporter(), sdk.TracerProvider()
    provider.add_span_processor(export.SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    yield exporter
    provider.shutdown()


def span_of(exported: Any, kind: str) -> Any:
    (found,) = [span for span in exported.get_finished_spans() if span.kind.name == kind]
    return found


def traceparent_of(span: Any) -> str:
    return f"00-{span.context.trace_id:032x}-{span.context.span_id:016x}-{span.context.trace_flags:02x}"


def test_a_submit_is_a_producer_span_and_the_job_is_in_its_trace(queue: JobQueue, exported: Any) -> None:
    job = queue.submit("it", queue="mail")
    span = span_of(exported, "PRODUCER")
    assert (span.name, span.parent) == ("submit it", None)
    assert job.traceparent == traceparent_of(span) == queue.get(job.id).traceparent
    wanted = {
        "messaging.system": "jobqueue",
        "messaging.operation.type": "send",
        "messaging.destination.name": "mail",
        "messaging.message.id": job.id,
        "jobqueue.type": "it",
    }
    assert wanted.items() <= dict(span.attributes).items()


def test_a_submit_stands_below_the_callers_span_or_the_one_it_names(queue: JobQueue, exported: Any) -> None:
    from opentelemetry import trace

    tracer = trace.get_tracer("test")
    with tracer.start_as_current_span("mine") as mine:
        queue.submit("it")
        queue.submit("it", traceparent=PARENT, tracestate=STATE)
        nearer = f"00-{mine.get_span_context().trace_id:032x}-{'3' * 16}-01"
        queue.submit("it", traceparent=nearer)
    here, named, both = [span for span in exported.get_finished_spans() if span.kind.name == "PRODUCER"]
    assert here.parent.span_id == both.parent.span_id == mine.get_span_context().span_id
    assert f"{named.context.trace_id:032x}" == TRACE_ID and f"{named.parent.span_id:016x}" == SPAN_ID
    assert named.context.trace_state.to_header() == STATE


def test_a_batch_is_one_span_for_each_trace(queue: JobQueue, exported: Any) -> None:
    other = PARENT.replace(TRACE_ID, "a" * 32)
    stored = queue.submit_many(
        [NewJob("it"), NewJob("it"), NewJob("at", traceparent=PARENT), NewJob("it", traceparent=other)]
    )
    made = [span for span in exported.get_finished_spans() if span.kind.name == "PRODUCER"]
    assert len(made) == 3 and {span.attributes["messaging.batch.message_count"] for span in made} == {4}
    trace_ids = [each.job.traceparent.split("-")[1] for each in stored if each.job and each.job.traceparent]
    assert trace_ids[0] == trace_ids[1] and trace_ids[2:] == [TRACE_ID, "a" * 32]


def test_an_attempt_is_a_root_of_its_own_with_a_link_to_the_submit(
    queue: JobQueue, slot: Conversation, exported: Any
) -> None:
    from opentelemetry import trace

    def handle(payload: Any, ctx: Any) -> Any:
        with trace.get_tracer("test").start_as_current_span("inside"):
            return [ctx.traceparent, ctx.submit("child").traceparent]

    queue.submit("it", traceparent=PARENT)
    producer = span_of(exported, "PRODUCER")
    seen, child = ran(queue, slot, handle).result
    consumer = span_of(exported, "CONSUMER")
    assert (consumer.name, consumer.parent) == ("process it", None)
    assert consumer.context.trace_id != producer.context.trace_id
    assert [link.context.span_id for link in consumer.links] == [producer.context.span_id]
    assert consumer.attributes["jobqueue.attempt"] == 1 and consumer.attributes["jobqueue.outcome"] == "done"
    assert (
        consumer.attributes["messaging.destination.name"] == "default" and consumer.status.status_code.name == "UNSET"
    )
    assert seen == traceparent_of(producer)
    (inside,) = [span for span in exported.get_finished_spans() if span.name == "inside"]
    assert inside.parent.span_id == consumer.context.span_id
    assert child.split("-")[1] == f"{consumer.context.trace_id:032x}", "a child is in the trace of the attempt"


def test_what_fails_is_marked(queue: JobQueue, slot: Conversation, exported: Any) -> None:
    def handle(payload: Any, ctx: Any) -> Any:
        raise Fail("no such street")

    queue.submit("it")
    ran(queue, slot, handle)
    consumer = span_of(exported, "CONSUMER")
    assert consumer.status.status_code.name == "ERROR" and consumer.status.description == "no such street"
    assert consumer.attributes["error.type"] == "Fail"
    exported.clear()
    queue.submit("it", 1, key="k")
    with pytest.raises(Exception, match="Idempotency-Key"):
        queue.submit("it", 2, key="k")
    assert [span.status.status_code.name for span in exported.get_finished_spans()] == ["UNSET", "ERROR"]


def test_without_an_sdk_a_trace_goes_on_as_it_came(queue: JobQueue, slot: Conversation) -> None:
    assert queue.submit("it").traceparent is None
    assert queue.submit("it", traceparent=PARENT, tracestate=STATE).traceparent == PARENT
    assert spans.with_spans(ran, "default") is ran  # type: ignore[arg-type, comparison-overlap]


def test_without_an_sdk_the_callers_context_is_the_jobs(queue: JobQueue) -> None:
    trace = pytest.importorskip("opentelemetry.trace")
    context = spans._context_of(PARENT, STATE)
    with trace.use_span(trace.NonRecordingSpan(context)):
        job = queue.submit("it")
    assert (job.traceparent, job.tracestate) == (PARENT, STATE)


def test_without_the_package_all_the_same(queue: JobQueue, slot: Conversation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spans, "trace", None)
    queue.submit("it", traceparent=PARENT)
    assert ran(queue, slot, lambda payload, ctx: ctx.submit("child").traceparent).result == PARENT
    assert spans.with_spans(ran, "default") is ran  # type: ignore[arg-type, comparison-overlap]
