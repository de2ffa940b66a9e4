"""JSON as fields of a job's hash: in pieces where that saves memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from _jobqueue.records import SHOWN_BYTES
from _jobqueue.strict_json import encode_json

# Redis keeps a hash compact, at half of the memory, while no value is longer than 64 bytes
# (hash-max-listpack-value). Longer strings are stored in pieces, up to where the overhead stops mattering.
PIECE_BYTES = 64
MAX_IN_PIECES_BYTES = 512  # as many pieces as lua/parts/jobs.lua names

Field = str | bytes | int


def result_fields(value: Any, max_bytes: int) -> list[str | bytes | int]:
    """A handler's result as fields of its hash. Invalid when it is not strict JSON or is too large."""
    return pieces("result", encode_json(value, max_bytes))


def pieces(name: str, value: bytes) -> list[str | bytes | int]:
    if len(value) > SHOWN_BYTES:  # Redis cannot read the beginning of a value alone, which lists show
        return [name, value[:SHOWN_BYTES], f"{name}.1", value[SHOWN_BYTES:]]
    if not PIECE_BYTES < len(value) <= MAX_IN_PIECES_BYTES:
        return [name, value]
    pairs: list[str | bytes | int] = [name, value[:PIECE_BYTES]]
    for number, start in enumerate(range(PIECE_BYTES, len(value), PIECE_BYTES), 1):
        pairs += [f"{name}.{number}", value[start : start + PIECE_BYTES]]
    return pairs


def in_one(pairs: Sequence[Field]) -> Sequence[Field]:
    """Fields with a payload that stands in two as one value, as the version before stored it. The fingerprints of requests are of
    those."""
    if len(pairs) >= 4 and isinstance(start := pairs[-3], bytes) and len(start) == SHOWN_BYTES:
        rest = pairs[-1]
        return [*pairs[:-3], start + rest if isinstance(rest, bytes) else start]
    return pairs


def joined(name: str, fields: dict[bytes, bytes]) -> bytes:
    value, number = fields.get(name.encode(), b"null"), 1
    while piece := fields.get(b"%s.%d" % (name.encode(), number)):
        value, number = value + piece, number + 1
    return value
