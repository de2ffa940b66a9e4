"""What the tests of the API speak in: requests by hand, byte by byte."""

from __future__ import annotations

import http.client
import json
import socket
from typing import Any

import requests

from tests.harness import System

JSON = "application/json"


NDJSON = "application/x-ndjson"


JOB = {"payload": 1}


MIB = 2**20


def stored(system: System) -> int:
    """How many jobs Redis has ever taken."""
    client = system.server.client
    return sum(int(client.hget(key, "submitted")) for key in client.keys("jq:*totals"))


def send(
    system: System, path: str, body: bytes | str | None, content_type: str | None = JSON, **headers: str
) -> requests.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    if content_type is not None:
        named["Content-Type"] = content_type
    raw = body.encode() if isinstance(body, str) else body
    return requests.post(system.api_url + path, data=raw, headers=named, timeout=30)


class Answer:
    """What came back over a bare socket."""

    def __init__(self, raw: http.client.HTTPResponse) -> None:
        self.status_code, self.headers, self.text = raw.status, raw.headers, raw.read().decode()

    def json(self) -> Any:
        return json.loads(self.text)


def connect(system: System) -> socket.socket:
    host, _, port = system.api_url.removeprefix("http://").rpartition(":")
    return socket.create_connection((host, int(port)), timeout=15)


def say(system: System, *parts: bytes, method: str = "POST") -> Answer:
    """Send bytes as they are."""
    with connect(system) as client:
        try:
            for part in parts:
                client.sendall(part)
        except OSError:
            pass  # the server has seen enough
        raw = http.client.HTTPResponse(client, method=method)
        raw.begin()
        return Answer(raw)


def head(line: str, *headers: str) -> bytes:
    return "\r\n".join([line, "Host: localhost", "Connection: close", *headers, "", ""]).encode("latin-1")


POST = "POST /jobs HTTP/1.1"
