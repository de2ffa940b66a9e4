"""HTTP: parse, call the queue, map its errors. Bottle served by waitress.

Every answer is JSON; every error is application/problem+json (RFC 9457) with a stable ``code``. A request touches Redis in one
round trip and is refused before anything is stored when it is wrong.
"""

from __future__ import annotations

import http.client
import json
import logging
import re
import secrets
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import bottle
from waitress.channel import HTTPChannel
from waitress.server import create_server
from waitress.task import ErrorTask

import jobqueue
from config import Config, Log, Signals, start_logging
from jobqueue import (
    Conflict,
    Invalid,
    JobQueue,
    JobQueueError,
    KeyReused,
    NewJob,
    NotFound,
    Policy,
    Submitted,
    Unavailable,
    parse_json,
)

JOB_FIELDS = ("type", "payload", "queue", "priority", "delay_s", "run_at", "max_attempts", "timeout_s", "backoff_s")
MAX_BATCH_JOBS = 1000
HEALTH_S = 1.0
ANSWER_S = 1.0  # with one more try: a submit that Redis does not take is refused after about 2 s
ADVICE_KEPT_S = 2.0
BEAT_LOST_MS = 15_000
DRAIN_S = 5.0
REQUEST_ID = re.compile(r"[A-Za-z0-9_.:-]{1,128}")

# Our limits in front of waitress's own, which are a gigabyte of body and a quarter megabyte of headers.
SERVER = {
    "ident": None,
    "max_request_header_size": 16 * 1024,
    "connection_limit": 1000,  # idle keep-alive clients are cheap; its default of 100 lets them lock others out
    "channel_timeout": 20,
    "cleanup_interval": 10,
    "asyncore_use_poll": True,  # select() cannot watch more than 1,024 sockets
    "clear_untrusted_proxy_headers": True,
    "expose_tracebacks": False,
}


class Problem(Exception):
    """An error answer. ``errors`` are {pointer, detail} for fields."""

    def __init__(
        self, status: int, code: str, detail: str, errors: list[dict[str, str]] | None = None, **headers: str
    ) -> None:
        self.status, self.headers = status, {name.replace("_", "-"): value for name, value in headers.items()}
        self.body = {
            "type": "about:blank",
            "title": http.client.responses[status],
            "status": status,
            "code": code,
            "detail": detail,
        }
        if errors:
            self.body["errors"] = errors
        super().__init__(detail)


def problem_of(error: JobQueueError) -> Problem:
    """The one table from the queue's errors to HTTP."""
    if isinstance(error, Invalid):
        errors = [{"pointer": pointer, "detail": detail} for pointer, detail in error.problems]
        return Problem(422, "invalid_job", str(error), errors)
    if isinstance(error, NotFound):
        return Problem(404, "job_not_found", str(error))
    if isinstance(error, Conflict):
        return Problem(409, "wrong_status", str(error))
    if isinstance(error, KeyReused):
        return Problem(422, "idempotency_key_reused", str(error))
    detail = f"{error}. Repeat the request; with an Idempotency-Key that is always safe."
    return Problem(503, "redis_unavailable", detail, Retry_After="2")


class App(bottle.Bottle):
    """Bottle's own errors, as problems."""

    def default_error_handler(self, error: bottle.HTTPError) -> str:
        status = error.status_code
        code = {404: "no_such_route", 405: "method_not_allowed"}.get(
            status, "http_error" if status < 500 else "internal_error"
        )
        allow = error.get_header("Allow")
        detail = {
            404: "there is no such address here",
            405: f"this address takes {allow}",
        }.get(status, "something went wrong here; the log has the request id" if status >= 500 else str(error.body))
        return _problem_body(Problem(status, code, detail))


def _problem_body(problem: Problem) -> str:
    bottle.response.status = problem.status
    bottle.response.content_type = "application/problem+json"
    for name, value in problem.headers.items():
        bottle.response.set_header(name, value)
    return json.dumps(problem.body)


class Api:
    """The routes. ``jobs`` answers requests; ``probe``, impatient, answers /health."""

    def __init__(self, config: Config, jobs: JobQueue, probe: JobQueue, log: Log) -> None:
        self.config, self.jobs, self.probe, self.log = config, jobs, probe, log
        self.advice = Advice(jobs)
        self.app = App()
        self.app.add_hook("before_request", self._begin)
        self.app.add_hook("after_request", self._end)
        for method, path, call in (
            ("POST", "/jobs", self.submit),
            ("POST", "/jobs/batch", self.submit_batch),
            ("GET", "/jobs/<job_id>", self.get),
            ("GET", "/metrics", self.metrics),
            ("GET", "/health", self.health),
            ("GET", "/livez", self.livez),
        ):
            self.app.route(path, method, self._answer(call))

    # -- around every request

    def _begin(self) -> None:
        given = bottle.request.environ.get("HTTP_X_REQUEST_ID", "")
        request_id = given if REQUEST_ID.fullmatch(given) else secrets.token_hex(8)
        bottle.request.environ["jobqueue.request"] = request_id, time.monotonic()
        bottle.response.set_header("X-Request-ID", request_id)
        bottle.response.set_header("X-Content-Type-Options", "nosniff")
        bottle.response.set_header("Cache-Control", "no-store")

    def _end(self) -> None:
        request_id, began = bottle.request.environ["jobqueue.request"]
        status = bottle.response.status_code
        if bottle.request.method != "GET" or status >= 400:
            ms = round((time.monotonic() - began) * 1000, 1)
            self.log(
                "request",
                method=bottle.request.method,
                path=bottle.request.path,
                status=status,
                ms=ms,
                request_id=request_id,
            )

    def _answer(self, call: Callable[..., Any]) -> Callable[..., str]:
        def answer(**arguments: str) -> str:
            try:
                body = call(**arguments)
            except Problem as problem:
                return _problem_body(problem)
            except JobQueueError as error:
                return _problem_body(problem_of(error))
            except Exception:
                self.log.failure("a request went wrong", request_id=bottle.request.environ["jobqueue.request"][0])
                return _problem_body(
                    Problem(500, "internal_error", "something went wrong here; the log has the request id")
                )
            bottle.response.content_type = "application/json"
            return json.dumps(body, ensure_ascii=False)

        return answer

    # -- the routes

    def submit(self) -> dict[str, Any]:
        key = _idempotency_key()
        submitted = self.jobs.submit_one(_new_job(_body(self.config.max_body_bytes)), key)
        job = _job_of(submitted)
        bottle.response.status = 200 if submitted.replayed else 201
        bottle.response.set_header("Location", f"/jobs/{job['job_id']}")
        if submitted.replayed:
            bottle.response.set_header("Idempotent-Replayed", "true")
        elif warning := self.advice.on(job["queue"], job["type"]):
            job["warning"] = warning
        return job

    def submit_batch(self) -> dict[str, Any]:
        """201 when every job was stored; 207 and a status for each when some were not."""
        key = _idempotency_key()
        rows = [_checked(row) for row in _batch(self.config)]
        good = [row for row in rows if isinstance(row, NewJob)]
        stored = iter(self.jobs.submit_many(good, key=key))
        results = [_result(next(stored) if isinstance(row, NewJob) else Submitted(None, error=row)) for row in rows]
        statuses = {result["status"] for result in results}
        if statuses <= {503}:
            raise problem_of(Unavailable("Redis took none of the jobs"))
        bottle.response.status = 201 if statuses == {201} else 200 if statuses == {200} else 207
        if statuses == {200}:
            bottle.response.set_header("Idempotent-Replayed", "true")
        return {"results": results}

    def get(self, job_id: str) -> dict[str, Any]:
        return self.jobs.get(job_id).as_dict()

    def metrics(self) -> dict[str, Any]:
        """Counts over all queues, and each queue's own."""
        queues = {queue: self.jobs.books(queue) for queue in self.jobs.queues()}

        def sizes(status: str) -> int:
            return sum(books.sizes[status] for books in queues.values())

        def totals(name: str) -> int:
            return sum(books.totals.get(name, 0) for books in queues.values())

        return {
            "total_jobs": totals("submitted"),
            "active_jobs": sizes("processing"),
            "completed_jobs": totals("done"),
            "failed_jobs": totals("failed"),
            "dead_letter_jobs": sizes("failed"),
            "queue_length": sizes("queued"),
            "retry_queue_length": sizes("scheduled"),
            "dlq_length": sizes("failed"),
            "cancelled_jobs": totals("cancelled"),
            "retried_attempts": totals("retried"),
            "reaped_attempts": totals("reaped"),
            "late_results_refused": totals("refused"),
            "queues": {queue: {"jobs": books.sizes, "totals": books.totals} for queue, books in queues.items()},
        }

    def health(self) -> dict[str, Any]:
        """200 while Redis answers within a second. ``?verbose`` adds what it found and what that means."""
        self.probe.ping()
        body: dict[str, Any] = {"status": "ok", "version": jobqueue.__version__}
        if "verbose" in bottle.request.query:
            server = self.probe.server()
            warnings = list(server.pop("warnings"))
            for queue in self.probe.queues():
                warnings += self.advice.on_queue(queue)
            body |= {"redis": server, "queues": self.probe.queues(), "warnings": warnings}
        return body

    def livez(self) -> dict[str, Any]:
        """200 while this process serves; does not ask Redis."""
        return {"status": "ok"}


# ------------------------------------------------------------------------------------------------- reading requests


def _idempotency_key() -> str | None:
    key: str | None = bottle.request.environ.get("HTTP_IDEMPOTENCY_KEY")
    return key


def _content_type() -> str:
    raw = bottle.request.environ.get("CONTENT_TYPE", "")
    kind, _, parameters = raw.partition(";")
    charset = re.search(r'charset\s*=\s*"?([^\s";]+)', parameters, re.IGNORECASE)
    if charset and charset[1].lower() not in ("utf-8", "utf8"):
        raise Problem(415, "wrong_content_type", f"JSON is sent as UTF-8, not {charset[1]}")
    return kind.strip().lower()


def _raw_body(limit: int) -> bytes:
    length = int(bottle.request.environ.get("CONTENT_LENGTH") or 0)  # waitress has checked it, and unpacked chunks
    if length > limit:
        raise Problem(413, "too_large", f"the body is {length} bytes; {limit} are allowed here")
    raw: bytes = bottle.request.environ["wsgi.input"].read(length)
    return raw


def _body(limit: int) -> Any:
    if _content_type() != "application/json":
        raise Problem(415, "wrong_content_type", "send JSON, with the header Content-Type: application/json")
    return _parsed(_raw_body(limit))


def _parsed(raw: bytes) -> Any:
    try:
        return parse_json(raw)
    except Invalid as error:
        raise Problem(400, "not_json", f"the body: {error.problems[0][1]}" if raw else "the body is empty") from None


def _batch(config: Config) -> list[Any]:
    kind = _content_type()
    if kind == "application/x-ndjson":
        lines = _raw_body(config.max_batch_bytes).split(b"\n")
        jobs = [_parsed(line) for line in lines if line.strip()]
    else:
        body = _body(config.max_batch_bytes)
        if not isinstance(body, dict) or body.keys() != {"jobs"} or not isinstance(body["jobs"], list):
            raise problem_of(Invalid([("", 'must be {"jobs": [...]} and nothing else')]))
        jobs = body["jobs"]
    if not 1 <= len(jobs) <= MAX_BATCH_JOBS:
        raise Problem(
            413 if jobs else 422,
            "wrong_batch_size",
            f"a batch has 1 to {MAX_BATCH_JOBS} jobs; this one has {len(jobs)}",
        )
    return jobs


def _new_job(body: Any) -> NewJob:
    if not isinstance(body, dict):
        raise Invalid([("", "must be a JSON object")])
    unknown = [(_pointer(name), "is not a field of a job") for name in body if name not in JOB_FIELDS]
    missing = [] if "payload" in body else [("/payload", "is required; it may be null")]
    # None stands for "not given" in NewJob, so an explicit null is told apart here.
    nulls = [
        (f"/{name}", "must not be null; leave it out")
        for name in JOB_FIELDS
        if name != "payload" and name in body and body[name] is None
    ]
    problems = [*unknown, *missing, *nulls]
    try:
        job = NewJob(**{name: body[name] for name in JOB_FIELDS if body.get(name) is not None})
    except Invalid as error:
        problems += error.problems
    if problems:
        raise Invalid(problems)
    return job


def _pointer(name: str) -> str:
    return "/" + name[:64].replace("~", "~0").replace("/", "~1")


def _checked(row: Any) -> NewJob | Invalid:
    try:
        return _new_job(row)
    except Invalid as error:
        return error


def _job_of(submitted: Submitted) -> dict[str, Any]:
    assert submitted.job is not None
    return submitted.job.as_dict()


def _result(submitted: Submitted) -> dict[str, Any]:
    if submitted.error:
        problem = problem_of(submitted.error)
        return {"status": problem.status, "error": problem.body}
    return {"status": 200 if submitted.replayed else 201, "job": _job_of(submitted)}


class Advice:
    """What a newcomer would not find out by himself: that no process is there to do what he asked for."""

    def __init__(self, jobs: JobQueue) -> None:
        self.jobs = jobs
        self._kept: dict[str, tuple[float, bool, set[str], bool]] = {}

    def on(self, queue: str, job_type: str) -> str | None:
        """One sentence about a job that has just been submitted, or None."""
        try:
            reaper_lives, types, workers = self._look(queue)
        except Unavailable:
            return None
        if not workers:
            return f"no worker serves the queue {queue}: start one (python worker.py --queues {queue})"
        if job_type not in types:
            return f"no worker of the queue {queue} has a handler for the type {job_type}: its attempts will fail"
        return None if reaper_lives else _NO_REAPER

    def on_queue(self, queue: str) -> list[str]:
        reaper_lives, _, workers = self._look(queue)
        none = (
            []
            if workers or not self.jobs.books(queue).sizes["queued"]
            else [f"jobs wait in the queue {queue} and no worker serves it"]
        )
        return none + ([] if reaper_lives else [f"queue {queue}: {_NO_REAPER}"])

    def _look(self, queue: str) -> tuple[bool, set[str], bool]:
        kept = self._kept.get(queue)
        if kept is None or time.monotonic() - kept[0] > ADVICE_KEPT_S:
            books = self.jobs.books(queue)
            living = [w for w in self.jobs.workers(queue).values() if books.now_ms - w["beat_ms"] < BEAT_LOST_MS]
            types = {name for worker in living for name in worker["types"]}
            kept = self._kept[queue] = time.monotonic(), books.reaper_lives, types, bool(living)
        return kept[1:]


_NO_REAPER = (
    "no reaper is running: retries, delayed jobs and lost workers' jobs wait until one is started (python reaper.py)"
)


# ----------------------------------------------------------------------------------------------------- the process


class _ProblemTask(ErrorTask):
    """Waitress's own errors (400, 413, 431, 500), as problems."""

    def execute(self) -> None:
        error = self.request.error
        code = {413: "too_large", 431: "headers_too_large"}.get(
            error.code, "bad_request" if error.code < 500 else "internal_error"
        )
        detail = str(error.body) if error.code < 500 else "something went wrong here"
        body = json.dumps(Problem(error.code, code, detail).body).encode()
        self.status = f"{error.code} {error.reason}"
        self.response_headers += [("Content-Type", "application/problem+json"), ("Cache-Control", "no-store")]
        self.set_close_on_finish()
        self.content_length = len(body)
        self.write(body)


class _Channel(HTTPChannel):
    error_task_class = _ProblemTask


def serve(app: bottle.Bottle, config: Config, log: Log, signals: Signals) -> None:
    """Serve until a signal; then take no more connections, answer what has come in, and return."""
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)  # it warns for every request that waits for a thread
    limit = max(config.max_batch_bytes, config.max_body_bytes)
    server = create_server(
        app,
        host=config.api_host,
        port=config.api_port,
        threads=config.api_threads,
        max_request_body_size=limit,
        **SERVER,
    )
    server.channel_class = _Channel
    threading.Thread(target=server.run, daemon=True).start()
    log("listening", url=f"http://{config.api_host}:{config.api_port}")
    signals.wait()
    server.trigger.pull_trigger(lambda: server.asyncore.dispatcher.close(server))
    deadline = time.monotonic() + DRAIN_S
    while time.monotonic() < deadline and signals.count < 2:
        if not any(channel.requests or channel.total_outbufs_len for channel in list(server.active_channels.values())):
            break
        signals.wait(0.02)


def main() -> int:
    config, _ = Config.parse("Serves the HTTP API.", ("api_host", "api_port", "api_threads"))
    log, signals = start_logging(config, "api"), Signals()
    log("starting", **config.in_effect())
    defaults = Policy(*config.policy())
    jobs = JobQueue(config.redis_url, defaults=defaults, timeout_s=ANSWER_S, retries=1)
    probe = JobQueue(config.redis_url, defaults=defaults, timeout_s=HEALTH_S, retries=0)
    try:
        for warning in jobs.server()["warnings"]:
            log.warning(warning)
    except Unavailable as error:
        log.warning(f"serving without Redis: {error}; requests get 503 until it is back")
    try:
        serve(Api(config, jobs, probe, log).app, config, log, signals)
    except OSError as error:
        print(f"api.py: cannot listen on {config.api_host}:{config.api_port}: {error.strerror}", file=sys.stderr)
        return 1
    log("stopped")
    return 0


if __name__ == "__main__":
    sys.exit(main())
