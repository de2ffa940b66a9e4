"""When schedules are due: around every kind of clock change, and after a time without a reaper."""

from __future__ import annotations

import bisect
import functools
import itertools
import subprocess
import sys
from datetime import datetime
from itertools import islice
from typing import Any

import pytest

from _jobqueue.errors import Invalid
from _jobqueue.schedules import Schedule, steps_of
from _jobqueue.timetable import Timetable, checked
from tests.harness import ROOT

pytest.importorskip("cronsim")

MINUTE_MS, HOUR_MS, DAY_MS = 60_000, 3_600_000, 86_400_000

# What, zone, expression, from when on, and the next due times.
# fmt: off
CASES = [
    ("New York, gap", "America/New_York", "30 2 * * *", "2026-03-07T12:00-05:00", "2026-03-08T03:00:00-04:00 2026-03-09T02:30:00-04:00 2026-03-10T02:30:00-04:00"),
    ("New York, hourly spring", "America/New_York", "0 * * * *", "2026-03-08T01:10-05:00", "2026-03-08T03:00:00-04:00 2026-03-08T04:00:00-04:00 2026-03-08T05:00:00-04:00 2026-03-08T06:00:00-04:00"),
    ("New York, half spring", "America/New_York", "*/30 * * * *", "2026-03-08T01:10-05:00", "2026-03-08T01:30:00-05:00 2026-03-08T03:00:00-04:00 2026-03-08T03:30:00-04:00 2026-03-08T04:00:00-04:00"),
    ("New York, daily spring", "America/New_York", "0 12 * * *", "2026-03-07T12:00-05:00", "2026-03-08T12:00:00-04:00 2026-03-09T12:00:00-04:00"),
    ("New York, repeated", "America/New_York", "30 1 * * *", "2026-10-31T12:00-04:00", "2026-11-01T01:30:00-04:00 2026-11-02T01:30:00-05:00 2026-11-03T01:30:00-05:00"),
    ("New York, hourly autumn", "America/New_York", "0 * * * *", "2026-11-01T00:40-04:00", "2026-11-01T01:00:00-04:00 2026-11-01T01:00:00-05:00 2026-11-01T02:00:00-05:00 2026-11-01T03:00:00-05:00"),
    ("New York, half autumn", "America/New_York", "*/30 * * * *", "2026-11-01T00:40-04:00", "2026-11-01T01:00:00-04:00 2026-11-01T01:30:00-04:00 2026-11-01T01:00:00-05:00 2026-11-01T01:30:00-05:00 2026-11-01T02:00:00-05:00 2026-11-01T02:30:00-05:00"),
    ("New York, daily autumn", "America/New_York", "0 12 * * *", "2026-10-31T12:00-04:00", "2026-11-01T12:00:00-05:00 2026-11-02T12:00:00-05:00"),
    ("Santiago, gap", "America/Santiago", "30 0 * * *", "2026-09-05T12:00-04:00", "2026-09-06T01:00:00-03:00 2026-09-07T00:30:00-03:00 2026-09-08T00:30:00-03:00"),
    ("Santiago, hourly spring", "America/Santiago", "0 * * * *", "2026-09-05T22:40-04:00", "2026-09-05T23:00:00-04:00 2026-09-06T01:00:00-03:00 2026-09-06T02:00:00-03:00 2026-09-06T03:00:00-03:00"),
    ("Santiago, half spring", "America/Santiago", "*/30 * * * *", "2026-09-05T22:40-04:00", "2026-09-05T23:00:00-04:00 2026-09-05T23:30:00-04:00 2026-09-06T01:00:00-03:00 2026-09-06T01:30:00-03:00"),
    ("Santiago, daily spring", "America/Santiago", "0 12 * * *", "2026-09-05T12:00-04:00", "2026-09-06T12:00:00-03:00 2026-09-07T12:00:00-03:00"),
    ("Santiago, repeated", "America/Santiago", "30 23 * * *", "2026-04-04T12:00-03:00", "2026-04-04T23:30:00-03:00 2026-04-05T23:30:00-04:00 2026-04-06T23:30:00-04:00"),
    ("Santiago, hourly autumn", "America/Santiago", "0 * * * *", "2026-04-04T22:40-03:00", "2026-04-04T23:00:00-03:00 2026-04-04T23:00:00-04:00 2026-04-05T00:00:00-04:00 2026-04-05T01:00:00-04:00"),
    ("Santiago, half autumn", "America/Santiago", "*/30 * * * *", "2026-04-04T22:40-03:00", "2026-04-04T23:00:00-03:00 2026-04-04T23:30:00-03:00 2026-04-04T23:00:00-04:00 2026-04-04T23:30:00-04:00 2026-04-05T00:00:00-04:00 2026-04-05T00:30:00-04:00"),
    ("Santiago, daily autumn", "America/Santiago", "0 12 * * *", "2026-04-04T12:00-03:00", "2026-04-05T12:00:00-04:00 2026-04-06T12:00:00-04:00"),
    ("Lord Howe, gap", "Australia/Lord_Howe", "15 2 * * *", "2026-10-03T12:00+10:30", "2026-10-04T02:30:00+11:00 2026-10-05T02:15:00+11:00 2026-10-06T02:15:00+11:00"),
    ("Lord Howe, hourly spring", "Australia/Lord_Howe", "0 * * * *", "2026-10-04T00:40+10:30", "2026-10-04T01:00:00+10:30 2026-10-04T03:00:00+11:00 2026-10-04T04:00:00+11:00 2026-10-04T05:00:00+11:00"),
    ("Lord Howe, half spring", "Australia/Lord_Howe", "*/30 * * * *", "2026-10-04T00:40+10:30", "2026-10-04T01:00:00+10:30 2026-10-04T01:30:00+10:30 2026-10-04T02:30:00+11:00 2026-10-04T03:00:00+11:00"),
    ("Lord Howe, daily spring", "Australia/Lord_Howe", "0 12 * * *", "2026-10-03T12:00+10:30", "2026-10-04T12:00:00+11:00 2026-10-05T12:00:00+11:00"),
    ("Lord Howe, repeated", "Australia/Lord_Howe", "45 1 * * *", "2026-04-04T12:00+11:00", "2026-04-05T01:45:00+11:00 2026-04-06T01:45:00+10:30 2026-04-07T01:45:00+10:30"),
    ("Lord Howe, hourly autumn", "Australia/Lord_Howe", "0 * * * *", "2026-04-05T00:40+11:00", "2026-04-05T01:00:00+11:00 2026-04-05T02:00:00+10:30 2026-04-05T03:00:00+10:30 2026-04-05T04:00:00+10:30"),
    ("Lord Howe, half autumn", "Australia/Lord_Howe", "*/30 * * * *", "2026-04-05T00:40+11:00", "2026-04-05T01:00:00+11:00 2026-04-05T01:30:00+11:00 2026-04-05T01:30:00+10:30 2026-04-05T02:00:00+10:30 2026-04-05T02:30:00+10:30 2026-04-05T03:00:00+10:30"),
    ("Lord Howe, daily autumn", "Australia/Lord_Howe", "0 12 * * *", "2026-04-04T12:00+11:00", "2026-04-05T12:00:00+10:30 2026-04-06T12:00:00+10:30"),
    ("Chatham, gap", "Pacific/Chatham", "0 3 * * *", "2026-09-26T12:00+12:45", "2026-09-27T03:45:00+13:45 2026-09-28T03:00:00+13:45 2026-09-29T03:00:00+13:45"),
    ("Chatham, hourly spring", "Pacific/Chatham", "0 * * * *", "2026-09-27T01:10+12:45", "2026-09-27T02:00:00+12:45 2026-09-27T04:00:00+13:45 2026-09-27T05:00:00+13:45 2026-09-27T06:00:00+13:45"),
    ("Chatham, half spring", "Pacific/Chatham", "*/30 * * * *", "2026-09-27T01:10+12:45", "2026-09-27T01:30:00+12:45 2026-09-27T02:00:00+12:45 2026-09-27T02:30:00+12:45 2026-09-27T04:00:00+13:45"),
    ("Chatham, daily spring", "Pacific/Chatham", "0 12 * * *", "2026-09-26T12:00+12:45", "2026-09-27T12:00:00+13:45 2026-09-28T12:00:00+13:45"),
    ("Chatham, repeated", "Pacific/Chatham", "0 3 * * *", "2026-04-04T12:00+13:45", "2026-04-05T03:00:00+13:45 2026-04-06T03:00:00+12:45 2026-04-07T03:00:00+12:45"),
    ("Chatham, hourly autumn", "Pacific/Chatham", "0 * * * *", "2026-04-05T02:10+13:45", "2026-04-05T03:00:00+13:45 2026-04-05T03:00:00+12:45 2026-04-05T04:00:00+12:45 2026-04-05T05:00:00+12:45"),
    ("Chatham, half autumn", "Pacific/Chatham", "*/30 * * * *", "2026-04-05T02:10+13:45", "2026-04-05T02:30:00+13:45 2026-04-05T03:00:00+13:45 2026-04-05T03:30:00+13:45 2026-04-05T03:00:00+12:45 2026-04-05T03:30:00+12:45 2026-04-05T04:00:00+12:45"),
    ("Chatham, daily autumn", "Pacific/Chatham", "0 12 * * *", "2026-04-04T12:00+13:45", "2026-04-05T12:00:00+12:45 2026-04-06T12:00:00+12:45"),
    ("Apia, gap", "Pacific/Apia", "30 3 * * *", "2020-09-26T12:00+13:00", "2020-09-27T04:00:00+14:00 2020-09-28T03:30:00+14:00 2020-09-29T03:30:00+14:00"),
    ("Apia, hourly spring", "Pacific/Apia", "0 * * * *", "2020-09-27T01:40+13:00", "2020-09-27T02:00:00+13:00 2020-09-27T04:00:00+14:00 2020-09-27T05:00:00+14:00 2020-09-27T06:00:00+14:00"),
    ("Apia, half spring", "Pacific/Apia", "*/30 * * * *", "2020-09-27T01:40+13:00", "2020-09-27T02:00:00+13:00 2020-09-27T02:30:00+13:00 2020-09-27T04:00:00+14:00 2020-09-27T04:30:00+14:00"),
    ("Apia, daily spring", "Pacific/Apia", "0 12 * * *", "2020-09-26T12:00+13:00", "2020-09-27T12:00:00+14:00 2020-09-28T12:00:00+14:00"),
    ("Apia, repeated", "Pacific/Apia", "30 3 * * *", "2021-04-03T12:00+14:00", "2021-04-04T03:30:00+14:00 2021-04-05T03:30:00+13:00 2021-04-06T03:30:00+13:00"),
    ("Apia, hourly autumn", "Pacific/Apia", "0 * * * *", "2021-04-04T02:10+14:00", "2021-04-04T03:00:00+14:00 2021-04-04T03:00:00+13:00 2021-04-04T04:00:00+13:00 2021-04-04T05:00:00+13:00"),
    ("Apia, half autumn", "Pacific/Apia", "*/30 * * * *", "2021-04-04T02:10+14:00", "2021-04-04T02:30:00+14:00 2021-04-04T03:00:00+14:00 2021-04-04T03:30:00+14:00 2021-04-04T03:00:00+13:00 2021-04-04T03:30:00+13:00 2021-04-04T04:00:00+13:00"),
    ("Apia, daily autumn", "Pacific/Apia", "0 12 * * *", "2021-04-03T12:00+14:00", "2021-04-04T12:00:00+13:00 2021-04-05T12:00:00+13:00"),
    ("London, gap", "Europe/London", "30 1 * * *", "2026-03-28T12:00+00:00", "2026-03-29T02:00:00+01:00 2026-03-30T01:30:00+01:00 2026-03-31T01:30:00+01:00"),
    ("London, hourly spring", "Europe/London", "0 * * * *", "2026-03-29T00:10+00:00", "2026-03-29T02:00:00+01:00 2026-03-29T03:00:00+01:00 2026-03-29T04:00:00+01:00 2026-03-29T05:00:00+01:00"),
    ("London, half spring", "Europe/London", "*/30 * * * *", "2026-03-29T00:10+00:00", "2026-03-29T00:30:00+00:00 2026-03-29T02:00:00+01:00 2026-03-29T02:30:00+01:00 2026-03-29T03:00:00+01:00"),
    ("London, daily spring", "Europe/London", "0 12 * * *", "2026-03-28T12:00+00:00", "2026-03-29T12:00:00+01:00 2026-03-30T12:00:00+01:00"),
    ("London, repeated", "Europe/London", "30 1 * * *", "2026-10-24T12:00+01:00", "2026-10-25T01:30:00+01:00 2026-10-26T01:30:00+00:00 2026-10-27T01:30:00+00:00"),
    ("London, hourly autumn", "Europe/London", "0 * * * *", "2026-10-25T00:40+01:00", "2026-10-25T01:00:00+01:00 2026-10-25T01:00:00+00:00 2026-10-25T02:00:00+00:00 2026-10-25T03:00:00+00:00"),
    ("London, half autumn", "Europe/London", "*/30 * * * *", "2026-10-25T00:40+01:00", "2026-10-25T01:00:00+01:00 2026-10-25T01:30:00+01:00 2026-10-25T01:00:00+00:00 2026-10-25T01:30:00+00:00 2026-10-25T02:00:00+00:00 2026-10-25T02:30:00+00:00"),
    ("London, daily autumn", "Europe/London", "0 12 * * *", "2026-10-24T12:00+01:00", "2026-10-25T12:00:00+00:00 2026-10-26T12:00:00+00:00"),
    ("Santiago, midnight gap", "America/Santiago", "0 0 * * *", "2026-09-05T12:00-04:00", "2026-09-06T01:00:00-03:00 2026-09-07T00:00:00-03:00 2026-09-08T00:00:00-03:00"),
    ("Apia, day left out", "Pacific/Apia", "0 9 * * *", "2011-12-29T00:00-10:00", "2011-12-29T09:00:00-10:00 2011-12-31T00:00:00+14:00 2011-12-31T09:00:00+14:00 2012-01-01T09:00:00+14:00"),
    ("Apia, day left out hourly", "Pacific/Apia", "0 * * * *", "2011-12-29T22:30-10:00", "2011-12-29T23:00:00-10:00 2011-12-31T00:00:00+14:00 2011-12-31T01:00:00+14:00"),
    ("Apia, day left out 30", "Pacific/Apia", "*/30 * * * *", "2011-12-29T23:10-10:00", "2011-12-29T23:30:00-10:00 2011-12-31T00:00:00+14:00 2011-12-31T00:30:00+14:00"),
    ("New York, in the second 1:10", "America/New_York", "30 1 * * *", "2026-11-01T01:10-05:00", "2026-11-02T01:30:00-05:00 2026-11-03T01:30:00-05:00"),
    ("Lord Howe, half of a night hour", "Australia/Lord_Howe", "*/30 3 * * *", "2026-10-03T12:00+10:30", "2026-10-04T03:00:00+11:00 2026-10-04T03:30:00+11:00 2026-10-05T03:00:00+11:00 2026-10-05T03:30:00+11:00"),
    ("New York, two in one gap", "America/New_York", "0,30 2 * * *", "2026-03-07T12:00-05:00", "2026-03-08T03:00:00-04:00 2026-03-09T02:00:00-04:00 2026-03-09T02:30:00-04:00 2026-03-10T02:00:00-04:00"),
    ("New York, */30 2", "America/New_York", "*/30 2 * * *", "2026-03-07T12:00-05:00", "2026-03-09T02:00:00-04:00 2026-03-09T02:30:00-04:00"),
    ("New York, */30 1", "America/New_York", "*/30 1 * * *", "2026-10-31T12:00-04:00", "2026-11-01T01:00:00-04:00 2026-11-01T01:30:00-04:00 2026-11-01T01:00:00-05:00 2026-11-01T01:30:00-05:00 2026-11-02T01:00:00-05:00"),
]
# fmt: on


def ms(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1000)


def due(timetable: Timetable, after: str, n: int) -> list[str]:
    return [timetable.shown(each) for each in islice(timetable.times(ms(after)), n)]


@pytest.mark.parametrize(("zone", "cron", "after", "expected"), [each[1:] for each in CASES], ids=[e[0] for e in CASES])
def test_due_times_around_a_change_of_the_clock(zone: str, cron: str, after: str, expected: str) -> None:
    timetable = checked(Timetable(cron=cron, timezone=zone))
    assert due(timetable, after, len(expected.split())) == expected.split()


@functools.cache
def clock_changes(zone: str, start: int) -> list[int]:
    """The hours of a year after which clocks there show another offset."""
    shown = Timetable(cron="0 0 1 1 *", timezone=zone).shown
    hours = range(start, start + 365 * DAY_MS, HOUR_MS)
    return [each for each in hours if shown(each)[-6:] != shown(each + HOUR_MS)[-6:]]


@pytest.mark.parametrize(("zone", "cron"), sorted({each[1:3] for each in CASES}))
def test_next_due_time_does_not_depend_on_where_one_looks_from(zone: str, cron: str) -> None:
    """A reaper that stood still, or another one, computes the same times, from every place between two of them: over a
    year, or, of what is due each hour or oftener, over a day on both sides of a change."""
    timetable = Timetable(cron=cron, timezone=zone)
    start = ms("2026-01-01T00:00:00+00:00")
    changes = clock_changes(zone, start)
    assert len(changes) == (0 if zone == "Pacific/Apia" else 2)
    often = cron.endswith(" * * * *")
    for change in changes or [start]:
        first, last = (change - DAY_MS, change + DAY_MS) if often else (start - DAY_MS, start + 366 * DAY_MS)
        chain = list(itertools.takewhile(lambda each, last=last: each < last, timetable.times(first)))
        assert chain == sorted(set(chain)) != []
        for at in range(change - 5 * HOUR_MS, change + 5 * HOUR_MS, 7 * MINUTE_MS):
            assert timetable.next(at) == chain[bisect.bisect_right(chain, at)], timetable.shown(at)


def test_intervals_count_from_when_the_schedule_was_made_or_from_its_start() -> None:
    assert list(islice(Timetable(every_ms=90_000, anchor_ms=1000).times(500_000), 2)) == [541_000, 631_000]
    assert Timetable(every_ms=90_000, anchor_ms=1000).next(0) == 91_000
    started = Timetable(every_ms=90_000, starts_ms=50_000, ends_ms=230_000, anchor_ms=1000)
    assert list(started.times(0)) == [50_000, 140_000, 230_000]


def test_start_and_end_bound_a_cron_expression() -> None:
    bounded = Timetable(cron="0 0 * * *", starts_ms=ms("2026-05-01T00:00+00:00"), ends_ms=ms("2026-05-02T00:00+00:00"))
    assert [bounded.shown(each) for each in bounded.times(0)] == [
        "2026-05-01T00:00:00+00:00",
        "2026-05-02T00:00:00+00:00",
    ]


@pytest.mark.parametrize(
    ("members", "pointer", "words"),
    [
        ({}, "", "either cron or every_s"),
        ({"cron": "* * * * *", "every_s": 5}, "", "either cron or every_s"),
        ({"cron": "61 * * * *"}, "/cron", "Bad minute"),
        ({"cron": "* * * *"}, "/cron", "five fields"),
        ({"cron": "* * * * * *"}, "/cron", "five fields"),
        ({"cron": "0 0 31 2 *"}, "/cron", "Bad day-of-month"),
        ({"cron": "0 0 30 2 */8"}, "/cron", "Bad day-of-month"),
        ({"cron": 5}, "/cron", "a text"),
        ({"every_s": 0.5}, "/every_s", "from 1 to"),
        ({"every_s": True}, "/every_s", "from 1 to"),
        ({"every_s": 60, "timezone": "Europe/Atlantis"}, "/timezone", "not a time zone"),
        ({"every_s": 60, "timezone": "../../etc/passwd"}, "/timezone", "not a time zone"),
        ({"every_s": 60, "missed": "some"}, "/missed", "one of"),
        ({"every_s": 60, "overlap": []}, "/overlap", "one of"),
        ({"every_s": 60, "grace_s": -1}, "/grace_s", "from 0 to"),
        ({"every_s": 60, "starts_at": "tomorrow"}, "/starts_at", "a time with its offset"),
        ({"every_s": 60, "starts_at": "2027-01-01T00:00:00Z", "ends_at": "2026-01-01T00:00:00Z"}, "/ends_at", "later"),
        ({"every_s": 60, "priority": 11}, "/priority", "must be 0 to 9"),
        ({"every_s": 60, "queue": "x"}, "/queue", "not a field"),
        ({"every_s": 60, "delay_s": 1}, "/delay_s", "not a field"),
    ],
)
def test_wrong_schedule_is_refused_by_name(members: dict[str, object], pointer: str, words: str) -> None:
    with pytest.raises(Invalid) as refused:
        Schedule.of_json(members)
    [(named, detail)] = refused.value.problems
    assert named == pointer and words in detail


def run_without(code: str, **environment: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_system_without_zone_data_says_so_and_knows_utc() -> None:
    code = "from _jobqueue.timetable import Timetable, checked\n"
    code += "print(checked(Timetable(cron='0 0 * * *')).next(0))\n"
    code += (
        "try: checked(Timetable(cron='0 0 * * *', timezone='Europe/London'))\nexcept ValueError as error: print(error)"
    )
    said = run_without(code, PYTHONTZPATH="")
    if "needs" not in said and "tzdata" not in said:
        pytest.skip("the package tzdata is installed here")
    assert said.splitlines() == [
        "86400000",
        "/timezone: is not a time zone that this system knows: it has no zone data, install tzdata (of the system, or by pip)",
    ]


def test_without_cronsim_intervals_work_and_a_cron_expression_says_what_is_missing() -> None:
    code = "import sys\nsys.modules['cronsim'] = None\nfrom _jobqueue.schedules import Schedule\n"
    code += "print(Schedule.of_json({'every_s': 60}).timetable.next(0))\n"
    code += (
        "try: Schedule.of_json({'cron': '* * * * *'})\nexcept Exception as error: print(type(error).__name__, error)"
    )
    assert run_without(code).splitlines() == [
        "60000",
        "NoCron /cron: needs the package cronsim, which is not installed here; every_s does not",
    ]


# ------------------------------------------------------------------------------------------- what was due meanwhile


def hourly(**more: object) -> Schedule:
    return Schedule.of_json({"every_s": 3600, **more})


@pytest.mark.parametrize(
    ("schedule", "late_ms", "expected"),
    [
        (hourly(), 0, [(True, 0, 0)]),
        (hourly(), HOUR_MS - 1, [(True, 0, 0)]),
        (hourly(), 3 * HOUR_MS + 5, [(True, 3, 3)]),
        (hourly(grace_s=60), 3 * HOUR_MS + 60_000, [(True, 3, 3)]),
        (hourly(grace_s=60), 3 * HOUR_MS + 60_001, [(False, 3, 4)]),
        (hourly(missed="none"), 10_000, [(True, 0, 0)]),
        (hourly(missed="none"), 10_001, [(False, 0, 1)]),
        (hourly(missed="all"), 2 * HOUR_MS, [(True, 0, 0), (True, 1, 0), (True, 2, 0)]),
        (hourly(missed="all", grace_s=3600), 2 * HOUR_MS, [(True, 1, 1), (True, 2, 0)]),
        (hourly(missed="all", grace_s=0), 2 * HOUR_MS + 2000, [(True, 2, 2)]),  # a reaper looks once a second
        (hourly(missed="all", grace_s=0), 2 * HOUR_MS + 2001, [(False, 2, 3)]),
    ],
)
def test_what_is_done_so_late(schedule: Schedule, late_ms: int, expected: list[tuple[bool, int, int]]) -> None:
    due_ms = HOUR_MS
    steps = steps_of(schedule, due_ms, due_ms + late_ms)
    assert [(step.runs, (step.over_ms - due_ms) // HOUR_MS, step.passed) for step in steps] == expected
    assert [step.due_ms for step in steps[1:]] == [step.next_ms for step in steps[:-1]]
    last = steps[-1].next_ms
    assert steps[0].due_ms == due_ms and last is not None and due_ms + late_ms < last <= due_ms + late_ms + HOUR_MS


@pytest.mark.parametrize(("late_ms", "runs"), [(0, 1), (999, 1), (1000, 2), (2000, 3), (2001, 1), (30_000, 1)])
@pytest.mark.parametrize("missed", ["one", "none"])
def test_due_times_between_two_looks_of_a_reaper_all_run(missed: str, late_ms: int, runs: int) -> None:
    steps = steps_of(Schedule.of_json({"every_s": 1, "missed": missed}), HOUR_MS, HOUR_MS + late_ms)
    assert [step.runs for step in steps] == [True] * runs
    assert sum(step.passed for step in steps) == late_ms // 1000 + 1 - runs
    assert [step.due_ms for step in steps[1:]] == [step.next_ms for step in steps[:-1]]
    assert steps[-1].next_ms == HOUR_MS + (late_ms // 1000 + 1) * 1000


def test_daily_job_is_made_up_for_within_an_hour_and_no_later() -> None:
    daily = Schedule.of_json({"cron": "30 2 * * *"})
    due_ms = ms("2026-06-01T02:30+00:00")
    assert [steps_of(daily, due_ms, due_ms + late)[0].runs for late in (HOUR_MS, HOUR_MS + 1)] == [True, False]


def test_at_most_a_hundred_runs_are_made_up_for_and_the_rest_is_counted() -> None:
    for schedule in (hourly(missed="all"), Schedule.of_json({"cron": "0 * * * *", "missed": "all"})):
        steps = steps_of(schedule, HOUR_MS, 300 * HOUR_MS)
        assert len(steps) == 100 and [step.passed for step in steps[:2]] == [200, 0]
        assert [steps[0].over_ms, steps[-1].over_ms, steps[-1].next_ms] == [201 * HOUR_MS, 300 * HOUR_MS, 301 * HOUR_MS]


def test_year_without_a_reaper_is_looked_through_in_bounded_steps() -> None:
    minutely = Schedule.of_json({"cron": "* * * * *", "timezone": "America/New_York", "missed": "all"})
    now_ms = ms("2026-06-01T00:00+00:00")
    steps = steps_of(minutely, now_ms - 365 * DAY_MS, now_ms)
    assert [len(steps), steps[-1].over_ms, steps[-1].next_ms] == [100, now_ms, now_ms + MINUTE_MS]
    assert steps[0].passed >= 900


@pytest.mark.parametrize("rule", [{"every_s": 60}, {"cron": "* * * * *"}], ids=["every_s", "cron"])
@pytest.mark.parametrize("missed, runs", [("all", [1, 2, 3]), ("one", [3]), ("none", [])])
def test_what_is_made_up_for_ends_with_the_schedule(rule: dict[str, Any], missed: str, runs: list[int]) -> None:
    """No reaper was there from before its first due time until long after its end."""
    grace = {} if missed == "none" else {"grace_s": 3600}
    schedule = Schedule.of_json({**rule, **grace, "missed": missed, "ends_at": "2027-01-01T00:03:30Z"})
    start_ms = ms("2027-01-01T00:00:00Z")
    steps = steps_of(schedule, start_ms + 60_000, start_ms + 20 * 60_000)
    assert [(step.over_ms - start_ms) // 60_000 for step in steps if step.runs] == runs
    assert sum(step.passed for step in steps) == 3 - len(runs) and steps[-1].next_ms is None
