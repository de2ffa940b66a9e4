"""HTTP: parse, call the queue, map its errors. Bottle, served by waitress.

Every answer is JSON; every error is application/problem+json (RFC 9457) with a stable ``code``, also those that Bottle and
waitress find by themselves. A wrong request is refused before anything is stored; a right one costs one round trip to Redis,
and every 2 s a few more for what is kept (queues, types, advice).

    waitress ──> Front ──> Bottle ──> Api ──> JobQueue
    serving.py   id, log      └─ App.default_error_handler
"""

from __future__ import annotations

import argparse
import dataclasses
import http.client
import io
import itertools
import json
import logging
import re
import resource
import secrets
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import bottle
import waitress

import dialects
import jobqueue
import metrics
import openapi
from _jobqueue.web.ending import Ending
from _jobqueue.web.room import give_back_large_blocks
from _jobqueue.web.serving import Server
from _jobqueue.web.waiting import Waiters
from config import Config, Log, Signals, announce, start_logging
from jobqueue import (
    ACT_MOST,
    ACTIONS,
    STATUSES,
    Conflict,
    Filter,
    Invalid,
    Job,
    JobQueue,
    JobQueueError,
    KeyReused,
    Kind,
    NewJob,
    NotFound,
    Policy,
    Submitted,
    Unavailable,
    parse_json,
    rfc3339,
)
from overview import Advice, Overview, queue_row, worker_rows
from processes import MISTAKE, Parent, is_child, keep_to_one_core
from security import Gate, Refused, is_loopback, new_key

FILTERS = tuple(field.name for field in dataclasses.fields(Filter))
JOB_FIELDS = tuple(field.name for field in dataclasses.fields(NewJob))
MAX_BATCH_JOBS = 1000
MAX_PROBLEMS = 20  # fields named in one answer
HEALTH_S = 1.0
ANSWER_S = 1.0  # with one more try: a submit that Redis does not take is refused after about 2 s
MAX_CHECKED_JOBS = 100_000  # checked in some seconds
MAX_SENTENCES = 100  # of the checker, in one answer
ENDED = ("done", "failed", "cancelled")
MAX_PAGE = 200
MAX_OFFSET = 10_000  # further on, a cursor
MAX_WAIT_S = 20.0
MAX_HEAD_BYTES = 16 * 1024
MAX_CONNECTIONS = 900  # idle clients are cheap: waitress's default of 100 lets them lock others out
OURS_TO_FIND = "something went wrong here; the log has the request id"
PAGES = {"/": "index.html", "/docs": "docs.html", "/redoc": "redoc.html"}
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
STATIC = Path(__file__).resolve().parent / "static"
VISIBLE = re.compile(r"[ -~]+")
REQUEST_ID = re.compile(r"[A-Za-z0-9_.:-]{1,128}")
to_json = json.JSONEncoder(ensure_ascii=False).encode


# ---------------------------------------------------------------------------------------------------------- errors

# The one table from errors to HTTP: the queue's by class, those that Bottle and waitress find by status.
HTTP = {
    Invalid: (422, "invalid_request"),
    KeyReused: (422, "idempotency_key_reused"),
    NotFound: (404, "job_not_found"),
    Conflict: (409, "wrong_status"),
    Unavailable: (503, "redis_unavailable"),
    Exception: (500, "internal_error"),
}
CODES = {
    400: "bad_request",
    404: "no_such_route",
    405: "method_not_allowed",
    413: "too_large",
    431: "headers_too_large",
    500: "internal_error",
    501: "not_implemented",
    503: "overloaded",
}
PROBLEM_JSON = "application/problem+json"


class Problem(Exception):
    """An error answer. ``fields`` are (pointer, detail); ``headers`` have _ for -."""

    def __init__(
        self, status: int, code: str, detail: str, fields: Sequence[tuple[str, str]] = (), **headers: str
    ) -> None:
        super().__init__(detail)
        self.status, self.headers = status, headers
        self.body: dict[str, Any] = {
            "type": "about:blank",
            "title": http.client.responses[status],
            "status": status,
            "code": code,
            "detail": detail,
        }
        if fields:
            self.body["errors"] = [{"pointer": pointer, "detail": detail} for pointer, detail in fields]


def problem_of(error: Exception) -> Problem:
    """What HTTP says of an error."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, Refused):
        return Problem(error.status, error.code, str(error), (), **error.headers)
    status, code = next(answer for kind, answer in HTTP.items() if isinstance(error, kind))
    if isinstance(error, Invalid):
        shown, more = error.problems[:MAX_PROBLEMS], len(error.problems) - MAX_PROBLEMS
        return Problem(status, code, str(Invalid(shown)) + (f"; and {more} more" if more > 0 else ""), shown)
    if isinstance(error, Unavailable):  # behind the colon stands the address of Redis: that is for the log
        reason = str(error).partition(":")[0]
        return Problem(status, code, f"{reason}. Try again; under an Idempotency-Key that is safe.", Retry_After="2")
    return Problem(status, code, OURS_TO_FIND if status == 500 else str(error))


class App(bottle.Bottle):
    """Bottle, with its own errors as problems and an answer to OPTIONS."""

    def default_error_handler(self, error: bottle.HTTPError) -> bytes:
        status, allowed = error.status_code, error.get_header("Allow")
        if allowed:
            path = bottle.request.path  # /jobs/batch is an address of its own, not the job of that name
            own = [method for method, routes in self.router.static.items() if path in routes] or allowed.split(",")
            methods = {*own, "OPTIONS"} | ({"HEAD"} if "GET" in own else set())
            allowed = ", ".join(sorted(methods))
            bottle.response.set_header("Allow", allowed)
        if allowed and bottle.request.method == "OPTIONS":
            bottle.response.status = 204
            return b""
        detail = {404: "there is no such address here", 405: f"this address takes {allowed}"}.get(status, OURS_TO_FIND)
        return _refusal(Problem(status, CODES.get(status, "internal_error"), detail))


def _refusal(problem: Problem) -> bytes:
    bottle.response.status = problem.status
    bottle.response.content_type = PROBLEM_JSON
    for name, value in problem.headers.items():
        bottle.response.set_header(name.replace("_", "-"), value)
    return json.dumps(problem.body).encode()


class Front:
    """The WSGI application: Bottle, and around it what every answer has: a request id, a line in the log."""

    def __init__(self, app: bottle.Bottle, log: Log, *, log_all: bool, largest: int) -> None:
        self.app, self.log, self.log_all = app, log, log_all
        self.refusals = {
            413: f"the body is larger than {largest} bytes",
            431: f"the headers are larger than {MAX_HEAD_BYTES} bytes",
            500: OURS_TO_FIND,
        }

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        began = time.monotonic()
        request_id = environ["jobqueue.request_id"] = _request_id(environ.get("HTTP_X_REQUEST_ID", ""))

        def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            environ["jobqueue.status"] = int(status[:3])
            return start_response(status, [*headers, ("X-Request-ID", request_id)], exc_info)

        answer: Iterable[bytes] = self.app(environ, start)
        self._log(environ, began)
        return answer

    def refuse(self, status: int, detail: str, request_id: str) -> tuple[list[tuple[str, str]], bytes]:
        """What the server refuses by itself, as a problem. Its words may quote a header that is a secret: they are not logged."""
        request_id, detail = _request_id(request_id), self.refusals.get(status, detail[:200])
        self.log("refused before it was read", status=status, request_id=request_id)
        body = json.dumps(Problem(status, CODES.get(status, "internal_error"), detail).body).encode()
        later = [("Retry-After", "2")] if status == 503 else []
        return [("Content-Type", PROBLEM_JSON), ("X-Request-ID", request_id), *later], body

    def _log(self, environ: dict[str, Any], began: float) -> None:
        method, status = environ["REQUEST_METHOD"], environ["jobqueue.status"]
        if status < 400 and (method in ("GET", "HEAD") or not self.log_all):  # people poll
            return
        reason = {"reason": environ["jobqueue.reason"]} if "jobqueue.reason" in environ else {}
        self.log(
            "request",
            method=method,
            path=environ["PATH_INFO"][:200],
            status=status,
            ms=round((time.monotonic() - began) * 1000, 1),
            request_id=environ["jobqueue.request_id"],
            **reason,
        )


def _request_id(given: str) -> str:
    return given if REQUEST_ID.fullmatch(given) else secrets.token_hex(8)


# ------------------------------------------------------------------------------------------------------ the routes


class Api:
    """The routes. ``jobs`` answers requests; ``probe``, which asks only once, answers /health."""

    def __init__(self, config: Config, jobs: JobQueue, probe: JobQueue, log: Log) -> None:
        self.config, self.jobs, self.probe, self.log = config, jobs, probe, log
        self.advice, self.overview, self.gate, fuse = Advice(jobs), Overview(jobs), Gate(config, jobs), Fuse()
        self.checking = threading.Lock()
        self.waiters, self.seen = Waiters(self._ended, config.api_waiters), dict[str, str]()
        app = App()
        app.uninstall(True)  # Bottle's own JSON
        for method, path, scope, call in (*self._routes(), *dialects.routes(self)):
            app.route(path, method, self._answering(fuse.around(self._guarded(call, scope))))
        for method, path, call in (("GET", "/health", self.health), ("GET", "/livez", self.livez)):
            app.route(path, method, self._answering(call))
        app.route("/openapi.json", "GET", self._answering(self._on_our_hosts(openapi.description)))
        self.files = {path.name: path.read_bytes() for path in STATIC.iterdir() if path.suffix in TYPES}
        for path, name in PAGES.items():
            app.route(path, "GET", self._answering(self._on_our_hosts(partial(self.file, name))))
        app.route("/static/<name>", "GET", self._answering(self._on_our_hosts(self.file)))
        largest = max(config.max_batch_bytes, config.max_body_bytes)
        self.app, self.application = app, Front(app, log, log_all=config.log_jobs == "all", largest=largest)

    def _routes(self) -> list[tuple[str, str, str, Callable[..., Any]]]:
        """Method, path, the scope that a key needs, and what answers."""
        return [
            ("POST", "/jobs", "submit", self.submit),
            ("POST", "/jobs/batch", "submit", self.submit_batch),
            ("POST", "/jobs/bulk", "admin", self.bulk),
            ("GET", "/jobs", "read", self.list),
            ("GET", "/jobs/<job_id>", "read", self.get),
            ("GET", "/jobs/<job_id>/explain", "read", self.overview.explain),
            ("DELETE", "/jobs/<job_id>", "admin", self.delete),
            ("POST", "/jobs/<job_id>/retry", "admin", self.retry),
            ("POST", "/jobs/<job_id>/cancel", "admin", self.cancel),
            ("POST", "/jobs/<job_id>/run", "admin", self.run_now),
            ("GET", "/dlq", "read", self.dead_letters),
            ("GET", "/dlq/kinds", "read", self.kinds),
            ("POST", "/dlq/requeue", "admin", self.requeue_all),
            ("POST", "/dlq/<job_id>/requeue", "admin", self.retry),
            ("GET", "/queues", "read", self.queues),
            ("POST", "/queues/<queue>/pause", "admin", self.pause),
            ("POST", "/queues/<queue>/resume", "admin", self.resume),
            ("POST", "/queues/<queue>/check", "admin", self.check),
            ("GET", "/workers", "read", self.workers),
            ("GET", "/metrics", "read", self.metrics),
            ("GET", "/stats", "read", self.overview.stats),
            ("GET", "/system", "read", partial(self.overview.system, self.config)),
        ]

    def _guarded(self, call: Callable[..., Any], scope: str) -> Callable[..., Any]:
        def guarded(**arguments: str) -> Any:
            for name, value in self.gate.check(bottle.request.environ, scope).items():
                bottle.response.set_header(name.replace("_", "-"), value)
            return call(**arguments)

        return guarded

    def _on_our_hosts(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def served(**arguments: str) -> Any:
            self.gate.check_host(bottle.request.environ)
            return call(**arguments)

        return served

    def _answering(self, call: Callable[..., Any]) -> Callable[..., bytes]:
        def answer(**arguments: str) -> bytes:
            try:
                body = call(**arguments)
                if isinstance(body, bytes):  # a file, which has set its type
                    return body
                raw = body.encode() if isinstance(body, str) else to_json(body).encode()
            except Exception as error:
                return _refusal(self._told(error))
            if bottle.response.status_code == 204:
                return b""
            bottle.response.content_type = metrics.CONTENT_TYPE if isinstance(body, str) else "application/json"
            return raw

        return answer

    def _told(self, error: Exception) -> Problem:
        """The problem, after the log has got what only we should read."""
        problem, environ = problem_of(error), bottle.request.environ
        if problem.status == 500:
            self.log.failure("a request went wrong", request_id=environ["jobqueue.request_id"])
        elif problem.status == 503:
            environ["jobqueue.reason"] = str(error)
        return problem

    def body(self) -> Any:
        """What was sent, as JSON."""
        return _body(self.config.max_body_bytes)

    def submit_new(self, job: NewJob) -> Job:
        """Store a job under the request's idempotency key, and say so in status and headers."""
        stored = self._stored(job).job
        assert stored is not None
        return stored

    def _stored(self, job: NewJob) -> Submitted:
        stored = self.jobs.submit_one(job, _idempotency_key())
        assert stored.job is not None
        bottle.response.status = _status(stored)
        bottle.response.set_header("Location", f"/jobs/{stored.job.id}")
        if stored.replayed:
            bottle.response.set_header("Idempotent-Replayed", "true")
        if stored.existing:
            bottle.response.set_header("Unique-Existing", "true")
        return stored

    def submit(self) -> dict[str, Any]:
        stored = self._stored(job := _new_job(self.body()))
        answer = _job_of(stored)
        if stored.unconfirmed:
            answer["warning"] = stored.unconfirmed
        elif bottle.response.status_code == 201 and (warnings := self.advice.on([job])):
            answer["warning"] = warnings[0]
        return answer

    def submit_batch(self) -> dict[str, Any]:
        """201 when all jobs were stored, 202 when none of them is confirmed as DURABILITY asks, 200 when all had been before,
        else 207; an error when none is there."""
        rows = [_checked(row) for row in _rows(self.config.max_batch_bytes)]
        good = [row for row in rows if isinstance(row, NewJob)]
        stored = iter(self.jobs.submit_many(good, key=_idempotency_key()))
        answers = [next(stored) if isinstance(row, NewJob) else Submitted(None, error=row) for row in rows]
        answers = [_placed(answer, index) for index, answer in enumerate(answers)]
        if not any(answer.job for answer in answers):
            raise _in_one([answer.error for answer in answers if answer.error])
        results = [_result(answer) for answer in answers]
        statuses = {result["status"] for result in results}
        bottle.response.status = statuses.pop() if len(statuses) == 1 else 207
        if all(answer.replayed for answer in answers):
            bottle.response.set_header("Idempotent-Replayed", "true")
        fresh = [answer.job for answer in answers if answer.job and not (answer.replayed or answer.existing)]
        unconfirmed = dict.fromkeys(answer.unconfirmed for answer in answers if answer.unconfirmed)
        return {"results": results, "warnings": [*unconfirmed, *self.advice.on(fresh)]}

    def list(self) -> dict[str, Any]:
        query = _query(*FILTERS, "limit", "offset", "cursor")
        if query.get("status", STATUSES[0]) not in STATUSES:
            raise Invalid([("/status", f"must be one of {', '.join(STATUSES)}")])
        return self._page(Filter(**{name: query.get(name) for name in FILTERS}), query)

    def dead_letters(self) -> dict[str, Any]:
        query = _query("type", "queue", "kind", "limit", "offset", "cursor")
        wanted = Filter("failed", query.get("type"), query.get("queue"), kind=query.get("kind"))
        return self._page(wanted, query)

    def kinds(self) -> dict[str, Any]:
        """The dead letters by the kind of their last error."""
        return {"kinds": [_kind(kind) for kind in self.jobs.kinds(_query("queue").get("queue"))]}

    def _page(self, wanted: Filter, query: dict[str, str]) -> dict[str, Any]:
        limit = _whole(query, "limit", 50, 1, MAX_PAGE)
        offset = _whole(query, "offset", 0, 0, MAX_OFFSET)
        page = self.jobs.page(wanted, limit=limit, offset=offset, cursor=query.get("cursor"))
        return {"jobs": [job.as_dict() for job in page.jobs], "total": page.total, "next_cursor": page.cursor}

    def get(self, job_id: str) -> dict[str, Any]:
        """The job; with ``wait_s``, as soon as it has ended or that time has passed."""
        wait_s = _seconds(_query("wait_s"), "wait_s", MAX_WAIT_S)
        job = self.jobs.get(job_id)
        if wait_s and job.status not in ENDED:
            self.waiters.sleep(bottle.request.environ, job_id, wait_s)
        return job.as_dict()

    def _ended(self, job_ids: Collection[str], anew: bool) -> Iterable[str]:
        """For the one thread that looks for all who wait."""
        if anew:
            self.seen.clear()
        return self.jobs.ended(job_ids, self.seen)

    def retry(self, job_id: str) -> dict[str, Any]:
        self.jobs.retry(job_id, **_object(self.body() if _body_bytes() else {}, "payload"))
        return self.jobs.get(job_id).as_dict()

    def cancel(self, job_id: str) -> dict[str, Any]:
        _no_body()
        if self.jobs.cancel(job_id) == "asked":
            bottle.response.status = 202
        return self.jobs.get(job_id).as_dict()

    def run_now(self, job_id: str) -> dict[str, Any]:
        _no_body()
        self.jobs.run_now(job_id)
        return self.jobs.get(job_id).as_dict()

    def delete(self, job_id: str) -> None:
        self.jobs.delete(job_id)
        bottle.response.status = 204

    def bulk(self) -> dict[str, Any]:
        """Retry, cancel, delete or run now the jobs that are named, or a bounded number of those that match a filter."""
        asked = _bulk_of(self.body())
        action, dry_run = asked["action"], asked.get("dry_run", False)
        if "ids" in asked:
            acted = self.jobs.act_on(action, asked["ids"], dry_run=dry_run)
        else:
            wanted, cursor = Filter(**asked["filter"]), asked.get("cursor")
            acted = self.jobs.sweep(action, wanted, cursor=cursor, dry_run=dry_run)
        return {
            "action": action,
            "dry_run": dry_run,
            "matched": acted.matched,
            "changed": acted.changed,
            "skipped": acted.skipped,
            "next_cursor": acted.cursor,
        }

    def requeue_all(self) -> dict[str, Any]:
        """Retry dead letters of all queues, a bounded number: again while some are left."""
        _no_body()
        moved = [self.jobs.requeue_dead(queue) for queue in self.jobs.queues()]
        return {"requeued": sum(done for done, _ in moved), "left": sum(left for _, left in moved)}

    def queues(self) -> dict[str, Any]:
        return {"queues": [queue_row(queue, self.jobs.books(queue)) for queue in self.jobs.queues()]}

    def pause(self, queue: str, paused: bool = True) -> dict[str, Any]:
        _no_body()
        self.jobs.pause(queue, paused)
        return queue_row(queue, self.jobs.books(queue))

    def resume(self, queue: str) -> dict[str, Any]:
        return self.pause(queue, False)

    def check(self, queue: str) -> dict[str, Any]:
        """Run the checker on a queue of moderate size: it holds a thread for some seconds, so one at a time."""
        _no_body()
        if queue not in self.jobs.queues():
            raise NotFound(f"there is no queue {queue}")
        if (n := sum(self.jobs.books(queue).sizes.values())) > MAX_CHECKED_JOBS:
            where = f"python jobqueue.py check --queue {queue}"
            raise Problem(409, "too_many_jobs", f"{n} jobs take too long to check from here; run: {where}")
        if not self.checking.acquire(blocking=False):
            raise Problem(409, "check_running", "another check is running in this process; try again when it has ended")
        try:
            wrong, checked_ms = self.jobs.check(queue), self.jobs.books(queue).checked_ms
        finally:
            self.checking.release()
        shown = wrong[:MAX_SENTENCES]
        return {"queue": queue, "problems": shown, "more": len(wrong) - len(shown), "checked_at": rfc3339(checked_ms)}

    def workers(self) -> dict[str, Any]:
        return {"workers": [row for queue in self.jobs.queues() for row in worker_rows(queue, self.jobs.look(queue))]}

    def metrics(self) -> dict[str, Any] | str:
        queues = {queue: self.jobs.books(queue) for queue in self.jobs.queues()}
        return metrics.as_prometheus(self.jobs, queues) if _wants_text() else metrics.as_json(queues)

    def health(self) -> dict[str, Any]:
        """200 while Redis answers within a second. ``?verbose`` adds what it found and what that means."""
        self.probe.ping()
        answer: dict[str, Any] = {"status": "ok", "version": jobqueue.__version__}
        if "verbose" in bottle.request.query:
            self.gate.check(bottle.request.environ, "read")
            server, queues = self.probe.server(), self.probe.queues()
            warnings = [finding["text"] for finding in self.overview.health(server)]
            del server["warnings"]
            answer |= {"redis": server, "queues": queues, "warnings": warnings}
        return answer

    def file(self, name: str) -> bytes:
        """A page, or what belongs to one."""
        if name not in self.files:
            raise Problem(404, CODES[404], "there is no such address here")
        bottle.response.content_type = TYPES[Path(name).suffix]
        return self.files[name]

    def livez(self) -> dict[str, Any]:
        """200 while this process serves; does not ask Redis."""
        return {"status": "ok"}


class Fuse:
    """Refuses requests for a moment after Redis was silent.

    Each of them would hold a thread until its timeout, and soon none would be left, not even for /livez."""

    BLOWN_S = 1.0

    def __init__(self) -> None:
        self._until = 0.0

    def around(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def guarded(**arguments: str) -> Any:
            began = time.monotonic()
            if began < self._until:
                raise Unavailable("Redis does not answer")
            try:
                return call(**arguments)
            except Unavailable:
                now = time.monotonic()
                if now - began >= ANSWER_S:  # sooner, it was an answer or a refused connection: nobody is held up
                    self._until = now + self.BLOWN_S
                raise

        return guarded


# ------------------------------------------------------------------------------------------------- reading requests


def _query(*known: str) -> dict[str, str]:
    try:
        query = bottle.request.query.decode()
    except UnicodeDecodeError:
        raise Invalid([("", "the parameters are not UTF-8")]) from None
    unknown = [(f"/{name[:64]}", "is not a parameter of this call") for name in query if name not in known]
    twice = [(f"/{name}", "is given more than once") for name in known if len(query.getall(name)) > 1]
    if unknown or twice:
        raise Invalid(unknown + twice)
    return dict(query)


def _whole(query: dict[str, str], name: str, default: int, low: int, high: int) -> int:
    text = query.get(name, str(default))
    if not re.fullmatch(r"[0-9]{1,9}", text) or not low <= int(text) <= high:
        raise Invalid([(f"/{name}", f"must be a whole number from {low} to {high}")])
    return int(text)


def _seconds(query: dict[str, str], name: str, high: float) -> float:
    text = query.get(name, "0")
    if not re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,30})?([eE][+-]?[0-9]{1,3})?", text) or float(text) > high:
        raise Invalid([(f"/{name}", f"must be a number of seconds from 0 to {high:g}")])
    return float(text)


def _body_bytes() -> int:
    return int(bottle.request.environ.get("CONTENT_LENGTH") or 0)  # waitress has checked it, and unpacked chunks


def _no_body() -> None:
    """For calls that say everything in their address. A body would be ignored: better to refuse it."""
    if _body_bytes() > 2:
        raise Invalid([("", "this call takes no body")])


def _wants_text() -> bool:
    """Prometheus asks for text/plain or OpenMetrics; everybody else gets JSON."""
    asked = _query("format").get("format")
    if asked not in (None, "json", "prometheus"):
        raise Invalid([("/format", "must be json or prometheus")])
    accept = bottle.request.environ.get("HTTP_ACCEPT", "")
    text = "application/json" not in accept and ("text/plain" in accept or "openmetrics" in accept)
    return asked == "prometheus" or (asked is None and text)


def _idempotency_key() -> str | None:
    key: str | None = bottle.request.environ.get("HTTP_IDEMPOTENCY_KEY")
    if key and not VISIBLE.fullmatch(key):
        raise Invalid([("/Idempotency-Key", "must be visible ASCII characters")])
    return key


def _content_type() -> str:
    environ = bottle.request.environ
    kind, _, parameters = environ.get("CONTENT_TYPE", "").partition(";")
    charset = re.search(r'charset\s*=\s*"?([^\s";]+)', parameters, re.IGNORECASE)
    if charset and charset[1].lower() not in ("utf-8", "utf8"):
        raise Problem(415, "wrong_content_type", f"JSON is sent as UTF-8, not {charset[1][:50]}")
    if environ.get("HTTP_CONTENT_ENCODING", "identity") != "identity":
        raise Problem(415, "wrong_content_type", "send the body as it is, without a Content-Encoding")
    return str(kind.strip().lower())


def _raw_body(limit: int) -> bytes:
    length = _body_bytes()
    if length > limit:
        raise Problem(413, "too_large", f"the body is {length} bytes; {limit} are allowed here")
    raw: bytes = bottle.request.environ["wsgi.input"].read(length)
    return raw


def _body(limit: int) -> Any:
    raw = _raw_body(limit)
    if raw and _content_type() != "application/json":
        raise Problem(415, "wrong_content_type", "send JSON, with the header Content-Type: application/json")
    return _parsed(raw, "the body")


def _parsed(raw: bytes, what: str) -> Any:
    try:
        return parse_json(raw)
    except Invalid as error:
        raise Problem(400, "not_json", f"{what}: {error.problems[0][1]}" if raw else f"{what} is empty") from None


def _rows(limit: int) -> list[Any]:
    """The jobs of a batch as they came: {"jobs": [...]}, or one on each line."""
    rows = _lines(_raw_body(limit)) if _content_type() == "application/x-ndjson" else _jobs_of(_body(limit))
    if not rows:
        raise Invalid([("/jobs", f"must hold 1 to {MAX_BATCH_JOBS} jobs")])
    if len(rows) > MAX_BATCH_JOBS:
        raise Problem(413, "too_large", f"a batch has at most {MAX_BATCH_JOBS} jobs: send several")
    return rows


def _lines(raw: bytes) -> list[Any]:
    """The values of NDJSON; one more than allowed is enough to refuse them all."""
    lines = (line for line in io.BytesIO(raw) if not line.isspace())
    return [_parsed(line, f"job {n}") for n, line in enumerate(itertools.islice(lines, MAX_BATCH_JOBS + 1), 1)]


def _jobs_of(body: Any) -> list[Any]:
    if not isinstance(body, dict) or body.keys() != {"jobs"} or not isinstance(body["jobs"], list):
        raise Invalid([("", 'must be {"jobs": [...]} and nothing else')])
    return body["jobs"]


def _object(body: Any, *known: str) -> dict[str, Any]:
    """A JSON object without other members than those."""
    if not isinstance(body, dict):
        raise Invalid([("", "must be a JSON object")])
    if unknown := [(_pointer(name), "is not a field of this call") for name in body if name not in known]:
        raise Invalid(unknown)
    return body


def _bulk_of(body: Any) -> dict[str, Any]:
    asked = _object(body, "action", "ids", "filter", "cursor", "dry_run")
    problems = []
    if not isinstance(action := asked.get("action"), str) or action not in ACTIONS:
        problems.append(("/action", f"must be one of {', '.join(ACTIONS)}"))
    if ("ids" in asked) == ("filter" in asked):
        problems.append(("", "give either ids or a filter"))
    ids = asked.get("ids", [""])
    if not isinstance(ids, list) or not 1 <= len(ids) <= ACT_MOST or not all(isinstance(each, str) for each in ids):
        problems.append(("/ids", f"must be a list of 1 to {ACT_MOST} job ids"))
    if "filter" in asked:
        problems += _filter_problems(asked["filter"])
    if not isinstance(asked.get("cursor", ""), str) or ("cursor" in asked and "ids" in asked):
        problems.append(("/cursor", "must be the next_cursor of an answer to the same filter"))
    if not isinstance(asked.get("dry_run", False), bool):
        problems.append(("/dry_run", "must be true or false"))
    if problems:
        raise Invalid(problems)
    return asked


def _filter_problems(wanted: Any) -> list[tuple[str, str]]:
    if not isinstance(wanted, dict) or not wanted:
        return [("/filter", f"must name at least one of {', '.join(FILTERS)}")]
    problems = [(f"/filter{_pointer(name)}", "is not a filter") for name in wanted if name not in FILTERS]
    wrong = [name for name, value in wanted.items() if not isinstance(value, str)]
    problems += [(f"/filter{_pointer(name)}", "must be a string") for name in wrong]
    if "status" not in wrong and wanted.get("status", STATUSES[0]) not in STATUSES:
        problems.append(("/filter/status", f"must be one of {', '.join(STATUSES)}"))
    return problems


def _new_job(body: Any) -> NewJob:
    if not isinstance(body, dict):
        raise Invalid([("", "must be a JSON object")])
    problems = [(_pointer(name), "is not a field of a job") for name in body if name not in JOB_FIELDS]
    if "payload" not in body:
        problems.append(("/payload", "is required; it may be null"))
    given = {name: body[name] for name in JOB_FIELDS if name in body}
    # NewJob takes None for "not given", so an explicit null is told apart here.
    nulls = [name for name, value in given.items() if value is None and name != "payload"]
    problems += [(f"/{name}", "must not be null; leave it out") for name in nulls]
    try:
        job = NewJob(**{name: value for name, value in given.items() if name not in nulls})
    except Invalid as error:
        raise Invalid(problems + error.problems) from None
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


def _placed(answer: Submitted, index: int) -> Submitted:
    """With the row in the pointers of its error."""
    if not isinstance(answer.error, Invalid):
        return answer
    problems = [(f"/jobs/{index}{pointer}", detail) for pointer, detail in answer.error.problems]
    return Submitted(None, error=Invalid(problems))


def _in_one(errors: Sequence[JobQueueError]) -> JobQueueError:
    """One error for a batch of which no job was stored."""
    invalid = [error for error in errors if isinstance(error, Invalid)]
    if len(invalid) < len(errors):
        return next(error for error in errors if not isinstance(error, Invalid))
    return Invalid([problem for error in invalid for problem in error.problems])


def _result(answer: Submitted) -> dict[str, Any]:
    if answer.error:
        problem = problem_of(answer.error)
        return {"status": problem.status, "error": problem.body}
    return {"status": _status(answer), "job": _job_of(answer)}


def _status(answer: Submitted) -> int:
    if answer.unconfirmed:
        return 202
    return 200 if answer.replayed or answer.existing else 201


def _kind(kind: Kind) -> dict[str, Any]:
    latest = {"job_id": kind.job_id, "at": rfc3339(kind.at_ms), "type": kind.type, "message": kind.message}
    return {"kind": kind.kind, "count": kind.count, "latest": latest}


def _job_of(answer: Submitted) -> dict[str, Any]:
    assert answer.job is not None  # without an error there is a job
    confirmed = answer.job.durability or ("fast" if answer.unconfirmed else None)
    return answer.job.as_dict() | ({"durability": confirmed} if confirmed else {})


# ----------------------------------------------------------------------------------------------------- the process


NO_KEYS = """api.py: refusing to listen on {host}, where others can reach it, without API keys. Do one of these:
    make keys        python api.py --new-key my-service submit     and set API_KEYS to the line that it prints
    stay at home     python api.py --host 127.0.0.1
    really do it     python api.py --insecure                      anybody who can reach it may do anything"""


def _flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--insecure", action="store_true", help="listen beyond this machine without API keys (API_INSECURE=1)"
    )
    parser.add_argument(
        "--new-key",
        nargs=2,
        metavar=("NAME", "SCOPE"),
        help="print a new API key (scopes read, submit, admin) and exit",
    )


def _print_key(name: str, scope: str) -> int:
    try:
        key, entry = new_key(name, scope)
    except ValueError as error:
        print(f"api.py: {error}", file=sys.stderr)
        return 2
    print(f"The key, for {name} alone; it is shown only now:\n    {key}\nAdd this to API_KEYS:\n    {entry}")
    return 0


def _limits(config: Config) -> dict[str, Any]:
    """In front of waitress's own, which are a gigabyte of body and a quarter megabyte of headers."""
    largest = max(config.max_batch_bytes, config.max_body_bytes)
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return {
        "max_request_header_size": MAX_HEAD_BYTES,
        "max_request_body_size": largest + 1,  # the first size that is refused
        "inbuf_overflow": largest + 2**20,  # never to a file: clients that do not go on would take all descriptors
        "outbuf_overflow": 2**40,
        "outbuf_high_watermark": 2**40,  # no thread waits until a client reads
        "connection_limit": max(8, min(MAX_CONNECTIONS, files - 4 * config.api_threads - 32)),
        "channel_timeout": 20,
        "cleanup_interval": 2,
        "clear_untrusted_proxy_headers": False,  # security.py reads X-Forwarded-For; on a malformed one waitress answers by itself
        "ident": None,
    }


def main() -> int:
    config, options = Config.parse(
        "Serves the HTTP API.", ("api_host", "api_port", "api_threads", "api_processes"), _flags
    )
    if options.new_key:
        return _print_key(*options.new_key)
    if not (config.api_keys or config.api_insecure or options.insecure or is_loopback(config.api_host)):
        print(NO_KEYS.format(host=config.api_host), file=sys.stderr)
        return 1
    log, signals = start_logging(config, "api"), Signals()
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)  # it warns of each request that waits for a thread
    if config.api_processes > 1 and not is_child():
        return Parent(__file__, config.api_processes, log, signals).run()
    announce(config, log)
    give_back_large_blocks()
    if config.api_one_core:
        keep_to_one_core(of_all=True)
    defaults = Policy(*config.policy())
    jobs = JobQueue(config.redis_url, defaults=defaults, timeout_s=ANSWER_S, retries=1, durability=config.durability)
    probe = JobQueue(config.redis_url, defaults=defaults, timeout_s=HEALTH_S, retries=0, durability=config.durability)
    try:
        for warning in jobs.server()["warnings"]:
            log.warning(warning)
    except Unavailable as error:
        log.warning(f"serving without Redis: {error}; requests get 503 until it is back")
    at = f"[{config.api_host}]:{config.api_port}" if ":" in config.api_host else f"{config.api_host}:{config.api_port}"
    api = Api(config, jobs, probe, log)

    def listen(application: Front, **settings: Any) -> Server:
        server = Server(log, Ending(signals, api.waiters.stop), application, **settings)
        log("listening", url=f"http://{at}")
        return server

    try:
        waitress.serve(
            api.application,
            _server=listen,
            _quiet=True,
            host=config.api_host,
            port=config.api_port,
            threads=config.api_threads,
            asyncore_use_poll=True,
            **_limits(config),
        )
    except (OSError, ValueError) as error:  # a port in use, a host that is none
        print(f"api.py: cannot listen on {at}: {getattr(error, 'strerror', None) or error}", file=sys.stderr)
        return MISTAKE if is_child() else 1
    log("stopped")
    return 0 if signals.is_set() else 1


if __name__ == "__main__":
    sys.exit(main())
