"""Cursors: where a list goes on, as text for its caller."""

from __future__ import annotations

import base64
import json
import re
import zlib
from collections.abc import Sequence
from typing import Any, NamedTuple

from _jobqueue.errors import Invalid
from _jobqueue.strict_json import parse_json

END = ""  # the place behind the last job of a queue
NO_CURSOR = [("/cursor", "is not one that this list has given out")]
PACKED = "z"  # in front of a cursor that is long; others begin with a W
SHORT_BYTES, MOST_BYTES = 500, 2**17
_PLACE = re.compile(r"|0|[0-9]{1,17} [0-9a-f-]{36}")


def cursor_of(*parts: Any) -> str:
    raw = json.dumps(parts, separators=(",", ":")).encode()
    if len(raw) <= SHORT_BYTES:
        return base64.urlsafe_b64encode(raw).decode().rstrip("=")
    return PACKED + base64.urlsafe_b64encode(zlib.compress(raw)).decode().rstrip("=")


class Cursor(NamedTuple):
    """The number of an index, places in queues, and a time or 0. With the place of the job that was shown last alone, also the
    highest number of a queue."""

    at: int
    places: dict[str, str]
    until_ms: int = 0
    highest: int | None = None


def read_cursor(cursor: str, indexes: int) -> Cursor:
    try:
        read = Cursor(*parse_json(_unpacked(cursor)))
        whole = _whole(read.at, indexes - 1) and _whole(read.until_ms, 2**53) and _whole(read.highest or 0, 2**53)
        known = all(_PLACE.fullmatch(place) for place in read.places.values())
        last = read.highest is None or not read.places or [" " in place for place in read.places.values()] == [True]
        if whole and known and last:
            return read
    except (ValueError, TypeError, AttributeError, zlib.error):
        pass
    raise Invalid(NO_CURSOR)


def read_parts(cursor: str, most: Sequence[int], texts: Sequence[re.Pattern[str]]) -> list[Any]:
    """Of another list: whole numbers, up to these, then texts of these forms. ValueError or TypeError for what is none."""
    try:
        read = parse_json(_unpacked(cursor))
    except zlib.error:
        raise ValueError from None
    numbers, words = read[: len(most)], read[len(most) :]
    whole = all(_whole(number, largest) for number, largest in zip(numbers, most, strict=True))
    if not (whole and all(form.fullmatch(word) for form, word in zip(texts, words, strict=True))):
        raise ValueError
    return [*numbers, *words]


def _unpacked(cursor: str) -> bytes:
    text = cursor.removeprefix(PACKED)
    raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    return raw if text == cursor else zlib.decompressobj().decompress(raw, MOST_BYTES)


def _whole(value: Any, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= most
