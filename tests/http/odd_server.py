"""A server whose application does what it is told to, for the tests of serving.py."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import waitress

from _jobqueue.config import Config
from _jobqueue.logs import start_logging
from _jobqueue.processes import Signals
from _jobqueue.web.ending import Ending
from _jobqueue.web.serving import Server
from api import _limits as limits


class Odd:
    """GET /say/<text>, /ms/<time>/<text> (slowly), /bytes/<number>, /most (served at once so far), /often, /exit."""

    def __init__(self) -> None:
        self.lock, self.now, self.most, self.often = threading.Lock(), 0, 0, Counter[str]()

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        with self.lock:
            self.now += 1
            self.most = max(self.most, self.now)
            self.often[path] += 1
        body = self.answer(*path[1:].split("/"))
        with self.lock:
            self.now -= 1
        start_response("200 OK", [("Content-Length", str(len(body)))])
        return [body]

    def answer(self, what: str, *given: str) -> bytes:
        if what == "ms":
            time.sleep(int(given[0]) / 1000)
        if what == "exit":
            raise SystemExit(3)
        if what == "bytes":
            return b"x" * int(given[0])
        return str({"most": self.most, "often": max(self.often.values())}.get(what, given[-1:] and given[-1])).encode()

    def refuse(self, status: int, detail: str, request_id: str) -> tuple[list[tuple[str, str]], bytes]:
        return [], detail.encode()


def listen(application: Odd, **settings: Any) -> Server:
    server = Server(start_logging(config, "odd"), Ending(signals, lambda: None), application, **settings)
    print("listening", flush=True)
    return server


if __name__ == "__main__":
    config, signals = Config.from_environment(), Signals()
    where = limits(config) | {"host": config.api_host, "port": config.api_port}
    where["channel_timeout"] = int(os.environ.get("SILENCE_S", where["channel_timeout"]))
    waitress.serve(
        Odd(),
        _server=listen,
        _quiet=True,
        threads=config.api_threads,
        asyncore_use_poll=True,
        **where,
    )
    sys.exit(0 if signals.is_set() else 1)
