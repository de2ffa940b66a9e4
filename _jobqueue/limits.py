"""Limits: how many jobs that name one may run at once, and how many may start in a time."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from _jobqueue.errors import Invalid
from _jobqueue.rfc3339 import rfc3339
from _jobqueue.slips import unknown_fields

LIMIT = re.compile(r"[A-Za-z0-9_.:@-]{1,64}")
LIMIT_RULE = "must be 1 to 64 of the characters A-Z a-z 0-9 _ . : @ -"
PATTERN = re.compile(r"[A-Za-z0-9_.:@-]{0,63}\*")
OF_TYPE = "type:"  # before a type's name: the limit of all its jobs
MAX_NAMED = 3  # limits that a job names
MAX_RUNNING = 100_000
MAX_STARTS, MAX_STARTS_OF_PATTERN = 10_000, 1_000
MAX_PER_S = 86_400
MAX_PATTERNS, MAX_LIMITS = 100, 10_000  # of a queue, as in lua/limit.lua
MAX_LIVE = 10_000  # names under patterns, as in lua/parts/names.lua


@dataclass(frozen=True, slots=True)
class Limit:
    """What a definition says; 0: nothing."""

    max_running: int = 0
    starts: int = 0
    per_s: int = 0

    @classmethod
    def of_json(cls, name: str, members: Any) -> Limit:
        """What a request defines for a name. Invalid, with all problems, for what cannot be."""
        check_name(name)
        if problems := list(_problems(name, members)):
            raise Invalid(problems)
        rate = members.get("rate") or {}
        return cls(members.get("max_running") or 0, rate.get("starts", 0), rate.get("per_s", 0))

    def as_dict(self) -> dict[str, Any]:
        rate = {"starts": self.starts, "per_s": self.per_s} if self.starts else None
        return {"max_running": self.max_running or None, "rate": rate}

    def __str__(self) -> str:
        parts = [f"{self.max_running} running"] if self.max_running else []
        parts += [f"{self.starts} starts in {self.per_s} s"] if self.starts else []
        return " and ".join(parts)


@dataclass(frozen=True, slots=True)
class Limited:
    """A name that is defined, or runs or waits under a pattern. ``waiting``: jobs that a claim has met and left for it. Times in ms.
    ``by_end``: it opens when a job ends."""

    name: str
    by: str  # the definition that counts, '' when there is none
    limit: Limit
    running: int
    waiting: int
    opens_ms: int | None = None
    by_end: bool = False

    def as_dict(self) -> dict[str, Any]:
        return {
            "name": self.name,
            **self.limit.as_dict(),
            "running": self.running,
            "waiting": self.waiting,
            "opens_at": rfc3339(self.opens_ms),
            **({"pattern": self.by} if self.by != self.name and self.by else {}),
        }


@dataclass(frozen=True, slots=True)
class Shut:
    """The limit that holds a job back. ``opens_ms``: None when an end opens it; ``counting``: it still counts what runs."""

    name: str
    running: int
    limit: Limit
    opens_ms: int | None
    counting: bool


def check_name(name: str) -> None:
    """Invalid for what is neither a name nor a pattern."""
    if not (LIMIT.fullmatch(name) or PATTERN.fullmatch(name)):
        raise Invalid([("/limit", f"{LIMIT_RULE}; one that ends in * is the default for names that begin so")])


def _problems(name: str, members: Any) -> Iterator[tuple[str, str]]:
    if not isinstance(members, dict):
        yield "", "must be a JSON object"
        return
    yield from unknown_fields(members, ("max_running", "rate"), "a limit")
    if not members.keys() & {"max_running", "rate"}:
        yield "", "must have max_running, or rate, or both"
    if "max_running" in members and not _whole(members["max_running"], MAX_RUNNING):
        yield "/max_running", f"must be a whole number from 1 to {MAX_RUNNING}"
    if "rate" in members:
        yield from _rate_problems(name, members["rate"])


def _rate_problems(name: str, rate: Any) -> Iterator[tuple[str, str]]:
    if not isinstance(rate, dict) or rate.keys() != {"starts", "per_s"}:
        yield "/rate", "must be an object with starts and per_s"
        return
    most = MAX_STARTS_OF_PATTERN if name.endswith("*") else MAX_STARTS
    if not _whole(rate["starts"], most):
        yield "/rate/starts", f"must be a whole number from 1 to {most}"
    if not _whole(rate["per_s"], MAX_PER_S):
        yield "/rate/per_s", f"must be a whole number from 1 to {MAX_PER_S}"


def _whole(value: Any, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= most


def named_problems(limits: Any) -> Iterator[tuple[str, str]]:
    """What is wrong with the limits that a job names."""
    if not isinstance(limits, (list, tuple)) or len(limits) > MAX_NAMED:
        yield "/limits", f"must be a list of at most {MAX_NAMED} names"
        return
    for number, name in enumerate(limits):
        if not (isinstance(name, str) and LIMIT.fullmatch(name)):
            yield f"/limits/{number}", LIMIT_RULE
        elif name.startswith(OF_TYPE):
            yield f"/limits/{number}", f"a job is under the limit {OF_TYPE}<its type> without naming it"
