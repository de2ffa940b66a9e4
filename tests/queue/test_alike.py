"""What errors have in common."""

from __future__ import annotations

import time

import pytest

from _jobqueue.alike import MAX_PATTERN_CHARS, pattern_of


@pytest.mark.parametrize(
    "message, pattern",
    [
        ("order 4711 of customer 17 not found", "order … of customer … not found"),
        ("no user 'ada' in group \"staff\"", "no user … in group …"),
        ("it can't open the users' file 'a b.txt'", "it can't open the users' file …"),
        ("job 0f8fad5b-d9cb-8000-a165-70867728950e is gone", "job … is gone"),
        ("ada.l@mail.example.org bounced", "… bounced"),
        ("timed out after 2.5s at 10.0.0.7:5432", "timed out after …s at …"),
        ("HTTP 503 from hooks.example.org", "HTTP … from hooks.example.org"),
        ("charge ch_3Nk29sLk at 0xdeadbeef failed", "charge … at … failed"),
        ("column vat_id_v2 of utf8 text", "column vat_id_v2 of utf8 text"),
        ("two\n  lines\tof it", "two lines of it"),
        ("Boom: it broke", "it broke"),
        ("'vat_id_v2'", "'vat_id_v2'"),
        ("'order-4711'", "'order-…'"),
        ("", ""),
        ("4711", "…"),
    ],
)
def test_what_differs_from_job_to_job_is_left_out(message: str, pattern: str) -> None:
    assert pattern_of("Boom", message) == pattern


def test_a_quote_that_the_cut_has_opened_ends_there() -> None:
    long = [f"no row like '{letter * 600}'" for letter in "ab"]
    assert {pattern_of("Boom", each) for each in long} == {"no row like …"}
    assert len(pattern_of("Boom", "word " * 200)) == MAX_PATTERN_CHARS


@pytest.mark.parametrize("text", ["'", '"', "`", "1.", "a@", "a.", "0x", "1a1", "-", "\\", "“", "'a "])
def test_no_message_takes_long(text: str) -> None:
    began = time.process_time()
    pattern_of.__wrapped__("Boom", text * 4000)
    assert time.process_time() - began < 0.2
