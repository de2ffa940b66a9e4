"""What the tests expect of every answer that refuses something."""

from __future__ import annotations

import re
from typing import Any, Protocol


class Answer(Protocol):
    """Of requests, or read from a bare socket."""

    status_code: int
    headers: Any
    text: str

    def json(self) -> Any: ...


def refused(answer: Answer, status: int, code: str) -> dict[str, Any]:
    """The body of an error answer, after a look at what every one of them has."""
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert re.fullmatch(r"[A-Za-z0-9_.:-]{1,128}", answer.headers["X-Request-ID"])
    body: dict[str, Any] = answer.json()
    assert body.keys() - {"errors"} == {"type", "title", "status", "code", "detail"}
    assert (body["status"], body["code"]) == (status, code)
    return body


def pointers(problem: dict[str, Any]) -> list[str]:
    """Which fields are wrong, in the order in which they are named."""
    assert all(error["detail"] for error in problem["errors"])
    return [error["pointer"] for error in problem["errors"]]


def invalid(answer: Answer) -> list[str]:
    """Which fields a request is refused for."""
    return pointers(refused(answer, 422, "invalid_request"))
