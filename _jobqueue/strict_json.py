"""Strict JSON: what every JSON parser reads in the same way."""

from __future__ import annotations

import json
import math
import re
from typing import Any

from _jobqueue.errors import Invalid

MAX_DEPTH = 64

# A string without its end matches too: the search must not start again at each of its quotes.
_STRING = re.compile(r'"(?:[^"\\]|\\.?)*"?', re.DOTALL)


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"the number {text[:20]} is too large")
    return number


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise ValueError(f"the key {name[:50]!r} appears twice in one object")
            seen.add(name)
    return members


_strict = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_finite, object_pairs_hook=_no_duplicates)


def _depth(text: str) -> int:
    deepest = depth = 0
    for character in _STRING.sub("", text):
        if character in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif character in "]}":
            depth -= 1
    return deepest


def parse_json(raw: bytes) -> Any:
    """The value of strict JSON: UTF-8 without BOM or lone surrogates, no NaN or Infinity, no key twice, depth <= 64."""
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Invalid([("", f"not valid UTF-8 at byte {error.start}")]) from None
    if text.startswith("\ufeff"):
        raise Invalid([("", "starts with a byte order mark; send plain UTF-8")])
    if text.count("[") + text.count("{") > MAX_DEPTH and _depth(text) > MAX_DEPTH:
        raise Invalid([("", f"nested deeper than {MAX_DEPTH} levels")])
    try:
        value = _strict.decode(text)
        if "\\u" in text:
            json.dumps(value, ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise Invalid([("", f"not valid JSON: {error.msg} at {where}")]) from None
    except UnicodeEncodeError:
        raise Invalid([("", "a string holds half of a surrogate pair")]) from None
    except ValueError as error:
        raise Invalid([("", "a number has too many digits" if "digits" in str(error) else str(error))]) from None
    return value


_to_json = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


def encode_json(value: Any, max_bytes: int, pointer: str = "", *, parsed: bool = False) -> bytes:
    """Strict JSON as bytes. Invalid, saying why, for anything that parse_json would not give back. ``parsed``: parse_json gave this
    value, which is not asked again."""
    try:
        raw = _to_json(value).encode()
    except RecursionError:
        raise Invalid([(pointer, f"nested deeper than {MAX_DEPTH} levels")]) from None
    except UnicodeEncodeError:
        raise Invalid([(pointer, "a string holds half of a surrogate pair")]) from None
    except (TypeError, ValueError, OverflowError) as error:
        raise Invalid([(pointer, f"not JSON: {error}")]) from None
    if len(raw) > max_bytes:
        raise Invalid([(pointer, f"{len(raw)} bytes of JSON are more than {max_bytes}")])
    if not parsed and (b"{" in raw or raw.count(b"[") > MAX_DEPTH):  # a dict may hold the keys 1 and "1"; depth
        try:
            parse_json(raw)
        except Invalid as error:
            raise Invalid([(pointer, error.problems[0][1])]) from None
    return raw
