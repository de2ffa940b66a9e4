"""Spans of OpenTelemetry: a producer's around a submit, a consumer's around an attempt.

They are there where the package opentelemetry-api is, and go wherever the SDK of the process sends them: that is chosen by
whoever runs it, never here. Without the package traces are passed on as they came."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

from _jobqueue.new_job import NewJob
from _jobqueue.records import Claimed, Settlement, Submitted, __version__

try:
    from opentelemetry import trace
    from opentelemetry.context import Context
except ImportError:
    trace: Any = None  # type: ignore[no-redef]

MAX_REASON_CHARS = 500
Attempt = Callable[[Any], "Settlement | None"]


class Sending:
    """A submit that leaves no span. ``jobs`` are those to store."""

    def __init__(self, jobs: Sequence[NewJob]) -> None:
        self.jobs = jobs

    def __enter__(self) -> Sending:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def answered(self, answers: list[Submitted]) -> list[Submitted]:
        """What became of the jobs, unchanged."""
        return answers


class SendingWithSpans(Sending):
    """A span for each trace that some of the jobs belong to, mostly one for all: that of the process, or that the caller has
    named. The jobs belong to it from then on."""

    def __init__(self, jobs: Sequence[NewJob]) -> None:
        super().__init__(jobs)
        self._spans: dict[tuple[str | None, str | None], Any] = {}
        self._stack = ExitStack()

    def __enter__(self) -> Sending:
        for job in self.jobs:
            if (named := (job.traceparent, job.tracestate)) not in self._spans:
                self._spans[named] = self._span_of(job)
        self.jobs = [_in_span(job, self._spans[job.traceparent, job.tracestate]) for job in self.jobs]
        if len(self._spans) == 1:
            (span,) = self._spans.values()
            self._stack.enter_context(trace.use_span(span, record_exception=False, set_status_on_exception=False))
        return self

    def _span_of(self, job: NewJob) -> Any:
        alike = len({each.type for each in self.jobs}) == 1
        return _tracer().start_span(
            f"submit {job.type}" if alike else "submit",
            context=_parent_of(job),
            kind=trace.SpanKind.PRODUCER,
            attributes={
                "messaging.system": "jobqueue",
                "messaging.operation.name": "submit",
                "messaging.operation.type": "send",
                **({"messaging.batch.message_count": len(self.jobs)} if len(self.jobs) != 1 else {}),
                **({"jobqueue.type": job.type} if alike else {}),
            },
        )

    def answered(self, answers: list[Submitted]) -> list[Submitted]:
        queues = {answer.job.queue for answer in answers if answer.job}
        wrong = next((answer.error for answer in answers if answer.error), None)
        for span in self._spans.values():
            if len(queues) == 1:
                span.set_attribute("messaging.destination.name", *queues)
            if len(answers) == 1 and answers[0].job:
                span.set_attribute("messaging.message.id", answers[0].job.id)
            if wrong:
                _mark_wrong(span, type(wrong).__name__, str(wrong))
        return answers

    def __exit__(self, *error: object) -> None:
        self._stack.close()
        for span in self._spans.values():
            if isinstance(error[1], Exception):
                _mark_wrong(span, type(error[1]).__name__, str(error[1]))
            span.end()


def sending(jobs: Sequence[NewJob]) -> Sending:
    return SendingWithSpans(jobs) if _makes_spans() or _here().is_valid else Sending(jobs)


def following(jobs: Sequence[NewJob], parent: Claimed) -> Sequence[NewJob]:
    """The jobs that another submits while it runs: they belong to its trace, where they name none and no span says better."""
    if not parent.traceparent or _here().is_valid:
        return jobs
    return [job if job.traceparent else job.traced(parent.traceparent, parent.tracestate) for job in jobs]


def with_spans(attempt: Attempt, queue: str) -> Attempt:
    """``attempt``, with a span around it: a root of its own, for a job may run long after its submit, and with a link there."""
    if not _makes_spans():
        return attempt

    def consumed(run: Any) -> Settlement | None:
        job: Claimed = run.job
        submitted = _context_of(job.traceparent, job.tracestate)
        attributes = {
            "messaging.system": "jobqueue",
            "messaging.operation.name": "process",
            "messaging.operation.type": "process",
            "messaging.destination.name": queue,
            "messaging.message.id": job.id,
            "jobqueue.type": job.type,
            "jobqueue.attempt": job.attempt,
        }
        with _tracer().start_as_current_span(
            f"process {job.type}",
            context=Context(),
            kind=trace.SpanKind.CONSUMER,
            attributes=attributes,
            links=[trace.Link(submitted)] if submitted else (),
        ) as span:
            end = attempt(run)
            span.set_attribute("jobqueue.outcome", end.outcome if end else "lost")
            if end and end.outcome == "failed":
                _mark_wrong(span, end.kind, end.message)
            return end

    return consumed


# ------------------------------------------------------------------------------------------- what the package is asked


class _Nowhere:
    is_valid = False


def _makes_spans() -> bool:
    """Whether the process has an SDK. Without one a span would be made for nobody."""
    return trace is not None and not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)


def _here() -> Any:
    """The span that this thread is in."""
    return trace.get_current_span().get_span_context() if trace is not None else _Nowhere


def _tracer() -> Any:
    return trace.get_tracer("jobqueue", __version__)


def _parent_of(job: NewJob) -> Any:
    """The context that the job names; None, that of this thread, where it names none or the thread is in the same trace: then the
    thread's span is nearer."""
    named, here = _context_of(job.traceparent, job.tracestate), _here()
    if not named or (here.is_valid and here.trace_id == named.trace_id):
        return None
    return trace.set_span_in_context(trace.NonRecordingSpan(named), Context())


def _context_of(traceparent: str | None, tracestate: str | None) -> Any:
    if not traceparent:
        return None
    _, trace_id, span_id, flags = traceparent.split("-")
    state = trace.TraceState.from_header([tracestate] if tracestate else [])
    return trace.SpanContext(int(trace_id, 16), int(span_id, 16), True, trace.TraceFlags(int(flags, 16)), state)


def _in_span(job: NewJob, span: Any) -> NewJob:
    """The job as a part of the span's trace; as it is where nobody makes spans."""
    told = span.get_span_context()
    if not told.is_valid:
        return job
    traceparent = f"00-{told.trace_id:032x}-{told.span_id:016x}-{told.trace_flags:02x}"
    return job.traced(traceparent, told.trace_state.to_header() or None)


def _mark_wrong(span: Any, kind: str, reason: str) -> None:
    span.set_attribute("error.type", kind)
    span.set_status(trace.Status(trace.StatusCode.ERROR, reason[:MAX_REASON_CHARS]))
