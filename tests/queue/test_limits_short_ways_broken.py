"""Each case of test_limits_short_ways.py can fail: the scripts broken in one place, and the case that tells."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from _jobqueue.limits import Limit
from _jobqueue.store import limit_checks
from jobqueue import JobQueue
from tests.harness import Server
from tests.queue import test_limits_short_ways as cases
from tests.queue.changed_scripts import CLOCK, change

NEXT = cases.test_next_that_waits_takes_the_permit
STAYS = cases.test_what_is_not_handed_over_lets_others_in
MUTANTS: dict[str, tuple[str, str, str, Callable[..., None], dict[str, Any]]] = {
    # what is broken: part, line, what stands there instead, the case that tells, its parameters
    "one: max not looked at": (
        "claim_one",
        "if max ~= '0' and running >= tonumber(max) then return nil end",
        "",
        cases.test_first_job_takes_its_permit,
        {"name": "api"},
    ),
    "one: rate not looked at": (
        "claim_one",
        "if first and first + per_s * 1000 >= now then return nil end",
        "",
        cases.test_first_job_notes_its_start,
        {"limit": Limit(starts=2, per_s=10)},
    ),
    "one: a window a moment too short": (
        "claim_one",
        "first + per_s * 1000 >= now",
        "first + per_s * 1000 > now",
        cases.test_first_job_notes_its_start,
        {"limit": Limit(starts=2, per_s=10)},
    ),
    "one: rate not noted": (
        "claim_one",
        "if starts ~= '0' and call('LPUSH'",
        "if false and call('LPUSH'",
        cases.test_first_job_notes_its_start,
        {"limit": Limit(starts=2, per_s=10)},
    ),
    "one: starts kept for good": (
        "claim_one",
        "call('LTRIM', key('starts:' .. name), '0', starts - 1)",
        "starts = starts",
        cases.test_no_more_starts_are_kept_than_count,
        {},
    ),
    "one: though its time is over": (
        "../exchange",
        "and not expires and paused ~= '1' then",
        "and paused ~= '1' then",
        cases.test_first_job_whose_time_is_over_is_left,
        {},
    ),
    "one: permit not counted": (
        "claim_one",
        "call('SADD', key('permits:' .. name), id)",
        "",
        cases.test_first_job_takes_its_permit,
        {"name": "api"},
    ),
    "one: permit not given back": (
        "claim_one",
        "'also', also .. letter) end",
        "'also', also) end",
        cases.test_first_job_takes_its_permit,
        {"name": "type:echo"},
    ),
    "one: nobody looks after the name": (
        "claim_one",
        "if running == 0 and longest >= 0 then call('ZADD', key('limited'), '0', name) end",
        "",
        cases.test_first_job_takes_its_permit,
        {"name": "tenant:*"},
    ),
    "one: not the best": (
        "claim_one",
        "call('ZRANGE', key('queue'), '0', '0')[1]",
        "call('ZRANGE', key('queue'), '-1', '-1')[1]",
        cases.test_first_job_takes_its_permit,
        {"name": "api"},
    ),
    "one: while its limit counts": (
        "claim_one",
        "(%d+) %-$')",
        "(%d+) [-c]$')",
        cases.test_first_job_waits_while_its_limit_counts,
        {},
    ),
    "one: the limit of its type is ignored": (
        "claim_one",
        "if name and texts[2] then return nil end",
        "",
        cases.test_first_job_obeys_the_limit_of_its_type_too,
        {"name": "type:echo"},
    ),
    "one: the pattern of its type is ignored": (
        "claim_one",
        "if not texts[2] and string.sub(type_name, 1, length) == start then return nil end",
        "",
        cases.test_first_job_obeys_the_limit_of_its_type_too,
        {"name": "type:*"},
    ),
    "one: several limits are none": (
        "claim_one",
        "or name and string.find(name, ' ', 1, true) then",
        "then",
        cases.test_first_job_obeys_all_its_limits,
        {},
    ),
    "one: any pattern counts": (
        "claim_one",
        "and length > longest and",
        "and",
        cases.test_longest_pattern_counts_for_the_first_job,
        {},
    ),
    "one: a pattern before the exact name": (
        "claim_one",
        "if name and not texts[3] and length",
        "if name and length",
        cases.test_exact_name_counts_before_a_pattern_for_the_first_job,
        {},
    ),
    "one: any type": (
        "claim_one",
        "if not timeout_ms or",
        "timeout_ms = timeout_ms or 1000 if",
        cases.test_first_job_that_nobody_may_start_is_left,
        {},
    ),
    "one: though somebody waits aside": (
        "../exchange",
        "if not aside and one",
        "if one",
        cases.test_first_job_that_nobody_may_start_is_left,
        {},
    ),
    "one: though the queue is paused": (
        "../exchange",
        "and not expires and paused ~= '1' then",
        "and not expires then",
        cases.test_first_job_of_a_paused_queue_is_left,
        {},
    ),
    "one: any first job is a batch of its own": (
        "claim_one",
        "if not text and want > 1 then return nil end",
        "",
        cases.test_first_job_under_a_limit_is_a_batch_of_its_own,
        {},
    ),
    "one: it is given with others": (
        "../exchange",
        "room = room or not ids[1] and limits_room(refresh_lane)",
        "room = room or (want > 1 or not ids[1]) and limits_room(refresh_lane) if want > 1 then ids[1] = nil end",
        cases.test_first_job_under_a_limit_is_a_batch_of_its_own,
        {},
    ),
    "one: not for who wants several": (
        "../exchange",
        "local one = want == 1 or tonumber(ARGV[11]) < 2",
        "local one = want == 1",
        cases.test_slot_that_wants_several_is_given_one_by_the_short_way,
        {},
    ),
    "over: it stays shut when nobody waits any more": (
        "hand_over",
        "      call('ZREM', key('shut'), name)\n",
        "",
        NEXT,
        {},
    ),
    "over: what nobody takes is not opened": (
        "limited_claims",
        "stale, looks = true, true\n          room.open_freed()",
        "stale, looks, room.freed = true, true, false",
        STAYS,
        {"how": "echo"},
    ),
    "over: full though one may start": (
        "hand_over",
        "room.freed = limit.running + 1 < limit.max and room.freed",
        "room.freed = false",
        cases.test_two_permits_that_come_back_let_two_in,
        {},
    ),
    "over: counted twice": (
        "hand_over",
        "limit.running + 1 < limit.max and",
        "limit.running + 2 < limit.max and",
        cases.test_two_permits_that_come_back_let_two_in,
        {},
    ),
    "over: start noted twice": (
        "hand_over",
        "  local _, rooms =",
        "  room:take(id, names, now, job.also, true, name)\n  local _, rooms =",
        cases.test_hand_over_notes_the_start_once,
        {},
    ),
    "over: permit not counted": (
        "hand_over",
        "local _, rooms = room:take(id, names, now, job.also, true, name)",
        "local rooms = nil",
        NEXT,
        {},
    ),
    "over: permit not given back": (
        "hand_over",
        "if rooms then call('HSET'",
        "if false then call('HSET'",
        cases.test_job_that_was_handed_over_gives_all_its_permits_back,
        {},
    ),
    "over: though another is better": (
        "hand_over",
        "if tonumber(score) >= best then",
        "if false then",
        cases.test_hand_over_lets_better_ones_first,
        {},
    ),
    "over: not the first of its lane": ("hand_over", "local id = two[1]", "local id = two[3] or two[1]", NEXT, {}),
    "over: though another limit is full": (
        "hand_over",
        "if room:shut_until(names[i], now, true) then return nil end",
        "if room:shut_until(names[i], now, true) and names[i] == name then return nil end",
        cases.test_hand_over_leaves_what_another_limit_holds,
        {"other": cases.ONE},
    ),
    "over: one of several types": (
        "hand_over",
        "or waits[2] or",
        "or",
        cases.test_hand_over_looks_at_all_types_that_wait,
        {},
    ),
    "over: its lane keeps its place": (
        "hand_over",
        "call('ZADD', key('group:' .. group), two[4], lane)",
        "two = nil",
        cases.test_hand_over_looks_at_all_lanes_of_a_limit,
        {},
    ),
    "over: it still waits aside": ("hand_over", "  call('ZREM', key('held'), id)\n", "", NEXT, {}),
    "over: any type": (
        "hand_over",
        "call('ZSCORE', key('kit:' .. args[10]), job_type)",
        "call('ZSCORE', key('kit:' .. args[10]), job_type) or '1000'",
        cases.test_hand_over_obeys_pauses_and_types,
        {},
    ),
    "over: though its type is paused": (
        "hand_over",
        "or call('SISMEMBER', key('pauses'), job_type) == 1 then",
        "then",
        cases.test_hand_over_obeys_pauses_and_types,
        {},
    ),
}


@pytest.mark.long(30)
@pytest.mark.parametrize("mutant", MUTANTS)
def test_broken_short_way_is_caught(
    mutant: str, lua: Path, queue: JobQueue, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    part, line, broken, case, parameters = MUTANTS[mutant]
    change(lua, f"parts/{part}.lua", line, broken)

    def put(name: str, limit: Limit = cases.ONE) -> bool:
        return queue.limits.put("default", name, limit)

    monkeypatch.setattr(limit_checks, "AGAIN_S", 0)
    monkeypatch.setattr(limit_checks, "TWO_TICKS_S", 0)
    queue.register("default")
    fixtures = {"lua": lua, "queue": queue, "server": server, "put": put, "monkeypatch": monkeypatch} | parameters
    server.client.set(CLOCK, 1_700_000_000_000)
    with pytest.raises(AssertionError):
        case(**{name: fixtures[name] for name in inspect.signature(case).parameters})
