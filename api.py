"""HTTP: Bottle, served by waitress. The calls are in _jobqueue/web; here the routes are installed and the process is run.

Every answer is JSON; every error is application/problem+json (RFC 9457) with a stable ``code``, also those that Bottle and
waitress find by themselves. A wrong request is refused before anything is stored. A right one costs one round trip to Redis,
and one more to count a POST against its client's limit. Every 2 s a few more read queues, types and advice.

    waitress ──> Front ──> Bottle ──> Fuse, Gate ──> a call ──> JobQueue
    serving.py   id, log      └─ App.default_error_handler
"""

from __future__ import annotations

import argparse
import importlib
import json
import random
import re
import resource
import sys
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import _jobqueue.web  # noqa: F401  # isort: skip  (first: it says which package is missing)
import bottle
import waitress

from _jobqueue.config import Config
from _jobqueue.keys import new_key_says
from _jobqueue.logs import Log, announce, start_logging
from _jobqueue.memory import give_memory_back
from _jobqueue.processes import MISTAKE, Parent, Signals, is_child, keep_to_one_core
from _jobqueue.web import inputs, metrics
from _jobqueue.web.backend import Backend
from _jobqueue.web.compression import File, compressed, files
from _jobqueue.web.ending import Ending
from _jobqueue.web.openapi import ANYBODY, OUR_HOSTS, Route, description
from _jobqueue.web.operators import ACTED, action_of, backend_for
from _jobqueue.web.problems import (
    NO_ADDRESS,
    OURS_TO_FIND,
    PROBLEM_JSON,
    App,
    Problem,
    problem_of,
    problem_of_status,
    refusal,
)
from _jobqueue.web.security import is_loopback
from _jobqueue.web.serving import Server
from _jobqueue.web.status import HEALTH_S
from jobqueue import JobQueue, TooNew, TooOld, Unavailable

# The rooms of _jobqueue/web that bring routes with their description. One whose file is deleted goes from this list: that is all.
ROOMS = (
    "routes",
    "history",
    "search",
    "tags",
    "schedules",
    "webhooks",
    "claims",
    "limits",
    "series",
    "types",
    "marks",
    "dialects",
)
ANSWER_S = 1.0  # with one more try: a submit that Redis does not take is refused after about 2 s
MAX_HEAD_BYTES = 16 * 1024
MAX_CONNECTIONS = 900  # idle clients are cheap: waitress's default of 100 lets them lock others out
PAGES = {"/": "index.html", "/docs": "docs.html", "/redoc": "docs.html"}
REQUEST_ID = re.compile(r"[A-Za-z0-9_.:-]{1,128}")
to_json = json.JSONEncoder(ensure_ascii=False).encode


# ------------------------------------------------------------------------------------------------------ the routes


class Api:
    """The Bottle app: every route of the rooms, and the pages."""

    def __init__(self, config: Config, jobs: JobQueue, probe: JobQueue, log: Log) -> None:
        """``jobs`` answers requests; ``probe``, which asks only once, answers /health."""
        self.log, self.fuse = log, Fuse()
        self.backend = Backend(config, jobs, probe)
        self.app = App()
        self.app.uninstall(True)  # Bottle's own JSON
        bottle.response.default_content_type = "application/json"
        self._install_rooms()
        self._install_pages()
        largest = max(config.max_batch_bytes, config.max_body_bytes)
        self.application = Front(self.app, log, log_all=config.log_jobs == "all", largest=largest)

    def _install_rooms(self) -> None:
        rooms = [importlib.import_module(f"_jobqueue.web.{name}") for name in ROOMS]
        routes: list[Route] = [route for room in rooms for route in room.ROUTES]
        self.backend.words = {name: told for room in rooms for name, told in getattr(room, "WORDS", {}).items()}
        tags = {name: text for room in rooms for name, text in room.TAGS.items()}
        self.backend.description = File("openapi.json", to_json(description(routes, tags)).encode())
        for route in routes:
            self.app.route(route.path, route.method, self._answering(self._guarded(route)))

    def _install_pages(self) -> None:
        self.files = files()
        for path, name in PAGES.items():
            self.app.route(path, "GET", self._answering(self._on_our_hosts(partial(self.file, name))))
        self.app.route("/static/<name>", "GET", self._answering(self._on_our_hosts(self.file)))

    def _guarded(self, route: Route) -> Callable[..., Any]:
        """The route's call, once the caller may make it."""
        if route.scope == ANYBODY:
            return partial(route.call, self.backend)
        if route.scope == OUR_HOSTS:
            return self._on_our_hosts(partial(route.call, self.backend))
        return self.fuse.around(self._keyed(route))

    def _keyed(self, route: Route) -> Callable[..., Any]:
        check = self.backend.gate.check
        acts, is_bare = route.scope == "admin" and route.method != "GET", route.is_bare()

        def keyed(**arguments: str) -> Any:
            environ = bottle.request.environ
            for name, value in check(environ, route.scope).items():
                bottle.response.set_header(name.replace("_", "-"), value)
            backend = backend_for(self.backend, environ, arguments)
            if is_bare and environ["QUERY_STRING"]:
                inputs.query()
            answer = route.call(backend, **arguments)
            if acts:
                environ[ACTED] = action_of(route.name, environ, arguments, answer)
            return answer

        return keyed

    def _on_our_hosts(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def served(**arguments: str) -> Any:
            self.backend.gate.check_host(bottle.request.environ)
            return call(**arguments)

        return served

    def _answering(self, call: Callable[..., Any]) -> Callable[..., bytes]:
        def answer(**arguments: str) -> bytes:
            try:
                body = call(**arguments)
                if isinstance(body, bytes):  # it has set its headers
                    return body
                raw = body.encode() if isinstance(body, str) else to_json(body).encode()
            except Exception as error:
                return compressed(refusal(self._told(error)))
            if bottle.response.status_code == 204:
                return b""
            if isinstance(body, str):
                bottle.response.content_type = metrics.CONTENT_TYPE
            return compressed(raw)

        return answer

    def _told(self, error: Exception) -> Problem:
        """The problem, after the log has got what only we should read."""
        problem, environ = problem_of(error), bottle.request.environ
        if problem.status == 500:
            self.log.failure("a request went wrong", request_id=environ["jobqueue.request_id"])
        elif problem.status == 503:
            environ["jobqueue.reason"] = str(error)
        return problem

    def file(self, name: str) -> bytes:
        """A page, or what belongs to one."""
        if name not in self.files:
            raise problem_of_status(404, NO_ADDRESS)
        return self.files[name].answer()


# -------------------------------------------------------------------------------------------------- around the calls


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
            headers.append(("X-Request-ID", request_id))
            return start_response(status, headers, exc_info)

        answer: Iterable[bytes] = self.app(environ, start)
        self._log(environ, began)
        return answer

    def refuse(self, status: int, detail: str, request_id: str) -> tuple[list[tuple[str, str]], bytes]:
        """What the server refuses by itself, as a problem. Its words may quote a header that is a secret: they are not logged."""
        request_id, detail = _request_id(request_id), self.refusals.get(status, detail[:200])
        self.log("refused before it was read", status=status, request_id=request_id)
        body = problem_of_status(status, detail).encoded()
        return [("Content-Type", PROBLEM_JSON), ("X-Request-ID", request_id)], body

    def _log(self, environ: dict[str, Any], began: float) -> None:
        method, status, acted = environ["REQUEST_METHOD"], environ["jobqueue.status"], environ.get(ACTED, {})
        if status < 400 and not acted and (not self.log_all or _polls(method, status)):
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
            **acted,
        )


def _polls(method: str, status: int) -> bool:
    """People do, and workers without work."""
    return method in ("GET", "HEAD") or (method == "POST" and status == 204)


def _request_id(given: str) -> str:
    return given if REQUEST_ID.fullmatch(given) else f"{random.getrandbits(64):016x}"


class Fuse:
    """Refuses requests for a moment after Redis was silent.

    Each of them would hold a thread until its timeout, and soon none would be left, not even for /livez."""

    BLOWN_S = 1.0

    def __init__(self) -> None:
        self._until = 0.0

    def around(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def guarded(**arguments: str) -> Any:
            if time.monotonic() < self._until:
                raise Unavailable("Redis does not answer")
            try:
                return call(**arguments)
            except Unavailable as error:
                if error.silent:  # else it was an answer, or a refused connection: nobody is held up
                    self._until = time.monotonic() + self.BLOWN_S
                raise

        return guarded


# ----------------------------------------------------------------------------------------------------- the process


NO_KEYS = """api.py: refusing to listen on {host}, where others can reach it, without API keys. Do one of these:
    use keys         python api.py --new-key my-service submit     and set API_KEYS to the line that it prints
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
        help="print a new API key (scopes read, submit, admin, work, perhaps with queues, like work@email) and exit",
    )


def _print_key(name: str, scope: str) -> int:
    try:
        print(new_key_says(name, scope))
    except ValueError as error:
        print(f"api.py: {error}", file=sys.stderr)
        return 2
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
        "api", "Serves the HTTP API.", ("api_host", "api_port", "api_threads", "api_processes"), _flags
    )
    if options.new_key:
        return _print_key(*options.new_key)
    if not (config.api_keys or config.api_insecure or options.insecure or is_loopback(config.api_host)):
        print(NO_KEYS.format(host=config.api_host), file=sys.stderr)
        return 1
    log, signals = start_logging(config, "api"), Signals()
    if config.api_processes > 1 and not is_child():
        return Parent(__file__, config.api_processes, log, signals).run()
    announce(config, log)
    give_memory_back()
    if config.api_one_core:
        keep_to_one_core(of_all=True)
    queue = partial(
        JobQueue,
        config.redis_url,
        defaults=config.policy,
        durability=config.durability,
        webhooks=config.webhooks,
    )
    jobs = queue(timeout_s=ANSWER_S, retries=1, queues_max=config.queues_max)
    probe = queue(timeout_s=HEALTH_S, retries=0)
    try:
        jobs.check_version()
        jobs.check_format()
        for _, warning in jobs.server()["warnings"]:
            log.warning(warning)
    except (TooNew, TooOld) as error:
        print(f"api.py: {error}", file=sys.stderr)
        return MISTAKE
    except Unavailable as error:
        log.warning(f"serving without Redis: {error}; requests get 503 until it is back")
    return _serve(config, Api(config, jobs, probe, log), signals, log)


def _serve(config: Config, api: Api, signals: Signals, log: Log) -> int:
    """Until a signal. Returns the exit code."""
    at = f"[{config.api_host}]:{config.api_port}" if ":" in config.api_host else f"{config.api_host}:{config.api_port}"

    def listen(application: Front, **settings: Any) -> Server:
        server = Server(log, Ending(signals, api.backend.waiters.stop), application, **settings)
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
