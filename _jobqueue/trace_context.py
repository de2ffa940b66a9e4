"""The two headers of W3C Trace Context: by them a job belongs to the trace of whoever submitted it.

What is not of their form is left out in silence, as the recommendation says: a trace is never a reason to refuse a job."""

from __future__ import annotations

import re
from typing import Any

_PARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_KEY = r"[a-z0-9][a-z0-9_*/-]{0,240}(@[a-z][a-z0-9_*/-]{0,13}|[a-z0-9_*/-]{0,15})"
_VALUE = r"[ -+\--<>-~]{0,255}[!-+\--<>-~]"
_MEMBER = re.compile(f"{_KEY}={_VALUE}")
_ZEROS = re.compile(r"0+")

MAX_STATE_CHARS, MAX_MEMBERS, LONG_MEMBER_CHARS = 512, 32, 128
OURS, SAMPLED = "00", 1  # the version that we know, and the flag that every version has


def parent_of(text: Any) -> str | None:
    """A traceparent; None for what is none. One of a later version becomes one of ours."""
    found = _PARENT.fullmatch(text) if isinstance(text, str) and len(text) <= MAX_STATE_CHARS else None
    if not found:
        return None
    version, trace_id, span_id, flags, more = found.groups()
    if version == "ff" or _ZEROS.fullmatch(trace_id) or _ZEROS.fullmatch(span_id) or (version == OURS and more):
        return None
    return found[0] if version == OURS else f"{OURS}-{trace_id}-{span_id}-{int(flags, 16) & SAMPLED:02x}"


def state_of(text: Any) -> str | None:
    """A tracestate, cut to what is passed on; None for what is none."""
    if not isinstance(text, str):
        return None
    members = [part.strip(" \t") for part in text.split(",")]
    members = [member for member in members if member]
    if not 1 <= len(members) <= MAX_MEMBERS or not all(map(_MEMBER.fullmatch, members)):
        return None
    if len(",".join(members)) > MAX_STATE_CHARS:
        members = [member for member in members if len(member) <= LONG_MEMBER_CHARS]
    while len(",".join(members)) > MAX_STATE_CHARS:
        members.pop()  # the oldest stands last
    return ",".join(members) or None


def packed(traceparent: str, tracestate: str | None) -> str:
    """Both as one field of a job's hash. No traceparent has a blank."""
    return f"{traceparent} {tracestate}" if tracestate else traceparent


def unpacked(text: str) -> tuple[str | None, str | None]:
    traceparent, _, tracestate = text.partition(" ")
    return traceparent or None, tracestate or None
