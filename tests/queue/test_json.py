"""Strict JSON: what is refused at the door, and that whatever passes comes back as it was."""

from __future__ import annotations

import json
import math
import time
from typing import Any

import pytest

from _jobqueue.strict_json import MAX_DEPTH, encode_json, parse_json
from jobqueue import Invalid

LIMIT = 2**20


def refusal(raw: bytes) -> str:
    """Why it is not parsed."""
    with pytest.raises(Invalid) as invalid:
        parse_json(raw)
    [(pointer, detail)] = invalid.value.problems
    assert pointer == ""
    return detail


def not_encoded(value: Any, max_bytes: int = LIMIT) -> str:
    with pytest.raises(Invalid) as invalid:
        encode_json(value, max_bytes, "/result")
    [(pointer, detail)] = invalid.value.problems
    assert pointer == "/result"
    return detail


def nested(depth: int, value: Any = 1) -> Any:
    for _ in range(depth):
        value = [value]
    return value


def in_time(action: Any, *arguments: Any) -> Any:
    """Its result; it must take no longer than a hostile body of this size deserves."""
    began = time.process_time()
    result = action(*arguments)
    assert time.process_time() - began < 5
    return result


# ------------------------------------------------------------------------------------------------------------- parse


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        (b"null", None),
        (b' {"a": [1, 2.5, -0.0, 1e300, true, "x"]}\r\n', {"a": [1, 2.5, -0.0, 1e300, True, "x"]}),
        ('"é€😀\u2028"'.encode(), "é€😀\u2028"),
        (rb'"\ud83d\ude00 \u00e9 \/"', "😀 é /"),
        (rb'{"\ud83d\ude00": "\\ud800"}', {"😀": "\\ud800"}),
        (rb'"\u0000"', "\0"),
        (rb'"\ufeff"', "\ufeff"),
        (b'{"a": {"a": 1}, "b": {"a": 1}}', {"a": {"a": 1}, "b": {"a": 1}}),
        (b'{"a": 1, "A": 2}', {"a": 1, "A": 2}),
        (b"1e-400", 0.0),
        (b"1" * 4000, int("1" * 4000)),
    ],
)
def test_json_is_parsed(raw: bytes, value: Any) -> None:
    assert parse_json(raw) == value


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"NaN", "NaN is not JSON"),
        (b"[Infinity]", "Infinity is not JSON"),
        (b'{"a": -Infinity}', "-Infinity is not JSON"),
        (b"1e999", "too large"),
        (b"[-1e999]", "too large"),
        (b"9" * 310 + b".0", "too large"),
        (b'{"a": 1, "a": 1}', "'a' appears twice"),
        (rb'{"a": 1, "\u0061": 2}', "'a' appears twice"),
        (b'[{"x": {"b": 1, "c": 2, "b": 3}}]', "'b' appears twice"),
        (b"1" * 5000, "too many digits"),
        (b"[-" + b"1" * 5000 + b"]", "too many digits"),
        (b"\xef\xbb\xbf{}", "byte order mark"),
        ('{"a": 1}'.encode("utf-16"), "not valid UTF-8 at byte 0"),
        ('{"a": 1}'.encode("utf-16-le"), "not valid JSON"),
        ('{"a": 1}'.encode("utf-32-be"), "not valid JSON"),
        ('"é"'.encode("latin-1"), "not valid UTF-8 at byte 1"),
        (b'"\xc0\xaf"', "not valid UTF-8 at byte 1"),
        (b'"\xf4\x90\x80\x80"', "not valid UTF-8"),
        (b'"\xed\xa0\x80"', "not valid UTF-8"),
        (b'"\xed\xa0\xbd\xed\xb8\x80"', "not valid UTF-8"),
        (rb'"\ud800"', "half of a surrogate pair"),
        (rb'["\udc00\ud800"]', "half of a surrogate pair"),
        (rb'{"\udfff": 1}', "half of a surrogate pair"),
        (b"", "not valid JSON: Expecting value at line 1, column 1"),
        (b"  ", "not valid JSON"),
        (b'{"a": 1,}', "not valid JSON"),
        (b"{'a': 1}", "not valid JSON"),
        (b"[1] [2]", "not valid JSON: Extra data"),
        (b"\xc2\xa0[1]", "not valid JSON"),
        (b'"a\nb"', "not valid JSON: Invalid control character"),
        (b'"a\0b"', "not valid JSON"),
        (b"// no\n1", "not valid JSON"),
        (b"01", "not valid JSON"),
        (b"+1", "not valid JSON"),
        (b".5", "not valid JSON"),
        (b"0x10", "not valid JSON"),
        (b'"\\x"', "not valid JSON"),
        (b"nul", "not valid JSON"),
    ],
)
def test_anything_else_is_refused_with_the_reason(raw: bytes, reason: str) -> None:
    assert reason in refusal(raw)


@pytest.mark.parametrize(("opening", "closing", "times"), [("[", "]", 64), ('{"a":', "}", 64), ('[0,{"a":', "}]", 32)])
def test_json_of_64_levels_is_parsed(opening: str, closing: str, times: int) -> None:
    raw = opening * times + "1" + closing * times
    assert json.dumps(parse_json(raw.encode()), separators=(",", ":")) == raw


@pytest.mark.parametrize("depth", [MAX_DEPTH + 1, 1000, 50_000, LIMIT // 2])
@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
def test_deeper_json_is_refused(depth: int, opening: str, closing: str) -> None:
    for raw in (opening * depth, opening * depth + "1" + closing * depth):
        assert "deeper than 64 levels" in in_time(refusal, raw.encode())


def test_brackets_in_strings_are_no_levels() -> None:
    value = {"[" * 100: ['"[{' * 100, "\\" * 3 + '"' + "[" * 100]}
    assert parse_json(json.dumps(value).encode()) == value


def test_wide_json_is_not_deep() -> None:
    value = [[{"a": []}] for _ in range(1000)]
    assert parse_json(json.dumps(value).encode()) == value


@pytest.mark.parametrize(
    "raw",
    [
        b"[" * 65 + b'"' + b'\\"' * 500_000,
        b"[" * 65 + b'"' + b'\\"' * 500_000 + b"\\",
        b"[" * 65 + b'"' * 999_999,
        b"[" * 65 + b'"\\' * 500_000,
        b"{" + b",".join(b'"k%d":1' % number for number in range(80_000)) + b',"z":1,"z":1}',
        b"[" + b"9" * 1_000_000 + b"]",
        b"0." + b"9" * 1_000_000 + b"x",
        b"1e" + b"9" * 1_000_000,
        b"[" + b"[]," * 300_000,
    ],
    ids=["unended string", "lone backslash", "quotes", "backslashes", "late twin", "int", "float", "exponent", "wide"],
)
def test_hostile_body_is_refused_quickly(raw: bytes) -> None:
    assert in_time(refusal, raw)


# ------------------------------------------------------------------------------------------------------------ encode


@pytest.mark.parametrize(
    ("value", "raw"),
    [
        (None, b"null"),
        ({"a": [1, 2.5], "b": "é"}, '{"a":[1,2.5],"b":"é"}'.encode()),
        ((1, (2,)), b"[1,[2]]"),
        ({1: "a", None: "b"}, b'{"1":"a","null":"b"}'),
        (nested(MAX_DEPTH), b"[" * 64 + b"1" + b"]" * 64),
        (["[" * 100], b'["' + b"[" * 100 + b'"]'),
    ],
)
def test_value_is_encoded_compactly(value: Any, raw: bytes) -> None:
    assert encode_json(value, LIMIT) == raw


def recursive() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


def ladder(depth: int) -> Any:
    """Nested without two brackets side by side."""
    value: Any = 1
    for _ in range(depth):
        value = [0, value]
    return value


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (math.nan, "not JSON"),
        ([math.inf], "not JSON"),
        ({"a": -math.inf}, "not JSON"),
        ({math.nan: 1}, "not JSON"),
        (b"bytes", "not JSON: Object of type bytes"),
        ({1, 2}, "not JSON: Object of type set"),
        (object(), "not JSON: Object of type object"),
        ({(1, 2): 3}, "not JSON: keys must be"),
        (1j, "not JSON"),
        (10**5000, "not JSON"),
        (recursive(), "not JSON: Circular reference"),
        ("\ud800", "half of a surrogate pair"),
        ({"\udfff": 1}, "half of a surrogate pair"),
        ({1: "a", "1": "b"}, "'1' appears twice"),
        (nested(MAX_DEPTH + 1), "deeper than 64 levels"),
        (ladder(MAX_DEPTH + 1), "deeper than 64 levels"),
        (nested(100_000), "deeper than 64 levels"),
        (nested(MAX_DEPTH, {"a": 1}), "deeper than 64 levels"),
        ("x" * (LIMIT - 1), "more than 1048576"),
    ],
    ids=lambda value: value[:30] if isinstance(value, str) and value.isascii() else type(value).__name__,
)
def test_value_that_would_not_come_back_is_refused(value: Any, reason: str) -> None:
    assert reason in not_encoded(value)


def test_limit_counts_bytes() -> None:
    assert len(encode_json("é" * 10, 22)) == 22
    assert not_encoded("é" * 10, 21) == "22 bytes of JSON are more than 21"


# ---------------------------------------------------------------------------------------------------------- property


@pytest.mark.parametrize("examples", [75, pytest.param(300, marks=pytest.mark.long(3))])
def test_whatever_is_encoded_comes_back_as_it_was(examples: int) -> None:
    pytest.importorskip("hypothesis")
    from hypothesis import given, settings
    from hypothesis import strategies as st

    text = st.text(st.characters(codec="utf-8"), max_size=20)
    leaf = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | text
    values = st.recursive(leaf, lambda inner: st.lists(inner) | st.dictionaries(text, inner), max_leaves=30)

    @settings(max_examples=examples, deadline=None, derandomize=True)
    @given(values)
    def there_and_back(value: Any) -> None:
        raw = encode_json(value, LIMIT)
        assert parse_json(raw) == value
        assert encode_json(parse_json(raw), LIMIT) == raw
        assert parse_json(json.dumps(value).encode()) == value

    there_and_back()


def test_any_bytes_are_parsed_or_refused() -> None:
    pytest.importorskip("hypothesis")
    from hypothesis import given, settings
    from hypothesis import strategies as st

    pieces = st.sampled_from([*b'[]{}":,\\u0123ed+-.', *b"\xed\xa0\x80\xc3\xff", *b" \n\0"])

    @settings(max_examples=500, deadline=None, derandomize=True)
    @given(st.lists(pieces, max_size=60).map(bytes) | st.binary(max_size=60))
    def parsed_or_refused(raw: bytes) -> None:
        try:
            value = parse_json(raw)
        except Invalid:
            return
        assert parse_json(encode_json(value, LIMIT)) == value

    parsed_or_refused()
