"""What the tests of keys and origins speak in."""

from __future__ import annotations

import http.client
import re
import socket
from typing import Any

import requests

from _jobqueue.config import Config
from _jobqueue.keys import ANY_KEY, SCOPES, WORK, new_key
from _jobqueue.logs import Log
from api import Api
from jobqueue import JobQueue
from tests.harness import System

BODY = b'{"payload":1}'


JOB = {"payload": 1}


JSON = "Content-Type: application/json"


NOBODY = "redis://127.0.0.1:1/0"


KEYS = {scope: new_key(f"test-{scope}", scope) for scope in (*SCOPES, WORK)}


OPEN = {"/", "/docs", "/redoc", "/health", "/livez", "/openapi.json", "/static/<name>"}


def all_routes() -> list[tuple[str, str]]:
    api = Api(Config(), JobQueue(NOBODY), JobQueue(NOBODY), Log("test"))
    return sorted((route.method, route.rule) for route in api.app.routes)


ROUTES = all_routes()


GUARDED = [(method, rule) for method, rule in ROUTES if rule not in OPEN]


def address(rule: str) -> str:
    return re.sub("<[^>]+>", "x", rule)


def scope_of(method: str, rule: str) -> str:
    """What a call needs: who looks reads, who hands in work submits, who changes other people's work is an admin. Workers work."""
    if rule == "/whoami":
        return ANY_KEY
    if rule.rpartition("/")[2] in ("claim", "extend", "finish", "release"):
        return WORK
    if method == "GET":
        return "read"
    return "submit" if rule in ("/jobs", "/jobs/batch", "/submit", "/submit-job") else "admin"


def ask(system: System, method: str, path: str, **headers: Any) -> requests.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    body = JOB if (method, path) == ("POST", "/jobs") else None
    return requests.request(method, system.api_url + path, json=body, headers=named, timeout=30)


def bearer(scope: str) -> str:
    return f"Bearer {KEYS[scope][0]}"


def environ(**more: Any) -> dict[str, Any]:
    return {"REQUEST_METHOD": "GET", "HTTP_HOST": "localhost", "REMOTE_ADDR": "127.0.0.1", **more}


def post(connection: http.client.HTTPConnection, **headers: str) -> http.client.HTTPResponse:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request("POST", "/jobs", BODY, {"Content-Type": "application/json", **named})
    answer = connection.getresponse()
    answer.read()
    return answer


def everything(client: socket.socket) -> bytes:
    """What it sends until it hangs up, which it has to do."""
    found = b""
    try:
        while data := client.recv(65536):
            found += data
    except ConnectionResetError:
        pass
    return found
