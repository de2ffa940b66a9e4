"""Random stories of jobs under limits, over those of workers that handle different types. The oracle knows the hashes of the jobs,
what is defined, and when which job was claimed. After each claim it says which jobs were allowed, one by one.

``LIMIT_STORIES=500 pytest tests/queue/test_limit_model.py -m long`` looks for new stories; LIMIT_SEED is the first of them."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from _jobqueue.limits import Limit
from _jobqueue.store import limit_checks
from jobqueue import NewJob
from tests.harness import Server
from tests.played import Q, Worker
from tests.queue.changed_scripts import change
from tests.queue.test_claim_model import FEW_MOVES, STRANGE, TYPES, Hashes, Story, bound
from tests.queue.test_claim_model import tell as tell_of_claims

STORIES, SEED = int(os.environ.get("LIMIT_STORIES", "20")), int(os.environ.get("LIMIT_SEED", "1"))
NAMES = ("api", "cpu", "tenant:1", "tenant:2", "tenant:3")
DEFINED = (*NAMES[:3], "tenant:*", "*", "type:a", "type:*")
EARLIEST, LATEST = 0, 1  # readings
Log = dict[str, list[tuple[int, int]]]


class LimitStory(Story):
    def __init__(self, server: Server, seed: int, moves: int) -> None:
        self.limits: dict[str, Limit] = {}
        self.log: Log = defaultdict(list)  # name -> when jobs were claimed under it, since its definition changed. Two
        # readings of each time, see `clock`
        self.not_opened: set[str] = set()  # jobs that wait at names which the next claim does not come to
        self.logged: set[tuple[str, str]] = set()  # claims: id and token
        self.passed = False  # time, since the last claim or tick
        super().__init__(server, seed, moves)
        self.steps += [self.defines] * 4 + [self.forgets] * 2 + [self.claims_as_time_passes] * 3

    # -- the oracle

    def definition(self, name: str) -> tuple[str, Limit] | None:
        if name in self.limits:
            return name, self.limits[name]
        fits = [each for each in self.limits if each.endswith("*") and name.startswith(each[:-1])]
        best = max(fits, key=len, default=None)
        return (best, self.limits[best]) if best else None

    @staticmethod
    def names_of(job: dict[str, str]) -> list[str]:
        return [f"type:{job['type']}", *job.get("limits", "").split()]

    def is_shut(self, name: str, running: Counter[str], log: Log, reading: int) -> bool:
        """By the earliest reading of the log (0), it must not let anybody in. By the latest (1), it need not."""
        found = self.definition(name)
        if not found:
            return False
        limit = found[1]
        if limit.max_running and running[name] >= limit.max_running:
            return True
        last = log[name][-limit.starts :] if limit.starts else []
        return limit.starts > 0 and len(last) == limit.starts and self.now - last[0][reading] <= limit.per_s * 1000

    def allowed(self, jobs: Hashes, types: Sequence[str], gone: Sequence[str]) -> list[str]:
        some = self.let_in(jobs, super().allowed(jobs, types, gone), gone, LATEST)
        return [job_id for job_id in some if job_id not in self.not_opened]

    def possible(self, jobs: Hashes, types: Sequence[str], gone: Sequence[str]) -> list[str]:
        return self.let_in(jobs, super().allowed(jobs, types, gone), gone, EARLIEST)

    def let_in(self, jobs: Hashes, some: Sequence[str], gone: Sequence[str], reading: int) -> list[str]:
        running = self.running(jobs, gone)
        log = defaultdict(list, {name: list(times) for name, times in self.log.items()})
        for job_id in gone:
            for name in self.names_of(jobs[job_id]):
                log[name].append((self.now, self.now))
        shut = {name for name in self.names() if self.is_shut(name, running, log, reading)}
        return [job_id for job_id in some if shut.isdisjoint(self.names_of(jobs[job_id]))]

    def running(self, jobs: Hashes, gone: Sequence[str] = ()) -> Counter[str]:
        busy = [job for job_id, job in jobs.items() if job["status"] == "processing" or job_id in gone]
        return Counter(name for job in busy for name in self.names_of(job))

    def is_limited(self, job: dict[str, str]) -> bool:
        return any(self.definition(name) for name in self.names_of(job))

    def is_last(self, job: dict[str, str]) -> bool:
        return self.is_limited(job)

    def before_a_claim(self, want: int) -> None:
        """It opens as many names as its bound allows, of those whose time has come, and none when it wants no job: the next claim
        or tick opens more. Who waits aside at one of the others may be passed over; who still stands in the queue may not."""
        late = set(self.redis.zrange(f"{Q}shut", "-inf", self.now, byscore=True)[self.moves if want else 0 :])
        held = self.redis.zrange(f"{Q}held", 0, -1) if late else []
        jobs = self.hashes() if held else {}
        self.not_opened = {job_id for job_id in held if not late.isdisjoint(self.names_of(jobs[job_id]))}

    def claimed(self, worker: Worker, jobs: Hashes, got: Sequence[str]) -> None:
        assert not any(self.is_limited(jobs[job_id]) for job_id in got[:-1]), "a job under a limit was not the last"
        self.passed = self.redis.zcount(f"{Q}shut", 0, self.now) > 0  # one claim opens a bounded number
        for job_id in got:
            self.logs(jobs, job_id, f"{worker.talk.slot}:{worker.talk.seq}")

    def logs(self, jobs: Hashes, job_id: str, token: str) -> None:
        if (job_id, token) not in self.logged:
            self.logged.add((job_id, token))
            for name in self.names_of(jobs[job_id]):
                self.log[name].append((self.now, self.now))
                self.seen.update(under=bool(self.definition(name)))

    def look(self) -> None:
        jobs = self.hashes()
        for worker in self.workers:  # also what was claimed and not judged
            for job in worker.running:
                self.logs(jobs, job.id, job.token)
        self.not_opened = set()
        if self.passed:  # what time has opened is found by the next claim or tick
            self.ticks()
        super().look()
        running = self.running(jobs)
        for name in self.redis.zrange(f"{Q}shut", 0, -1):
            assert self.is_shut(name, running, self.log, LATEST), ("open, and who waits is not let in", name)
        for name in {*NAMES, *(f"type:{each}" for each in (*TYPES, STRANGE))}:
            under = {
                job_id for job_id, job in jobs.items() if job["status"] == "processing" and name in self.names_of(job)
            }
            permits = self.redis.smembers(f"{Q}permits:{name}")
            assert permits == under if self.definition(name) else permits <= under, (name, permits, under)
        self.seen.update(shut=self.redis.zcard(f"{Q}shut"))

    def lanes_are_right(self, jobs: Hashes, held: dict[str, float]) -> None:
        lanes: dict[str, dict[str, float]] = defaultdict(dict)
        for job_id, score in held.items():
            lane = jobs[job_id]["type"]
            if self.redis.zscore(f"{Q}lane:{lane}", job_id) is None:  # else it was parked while there were no limits
                lane = " ".join([lane, *jobs[job_id].get("limits", "").split()])
            lanes[lane][job_id] = score
        self.same("lane:", lanes)
        under = self.redis.hgetall(f"{Q}under")
        assert under.keys() == {lane for lane in lanes if " " in lane}
        shut = set(self.redis.zrange(f"{Q}shut", 0, -1))
        groups: dict[str, dict[str, float]] = defaultdict(dict)
        opened: dict[str, dict[str, float]] = defaultdict(dict)
        heads: dict[str, float] = {lane: min(found.values()) for lane, found in lanes.items() if " " not in lane}
        waits: dict[str, set[str]] = defaultdict(set)
        for lane, name in under.items():
            job_type, *limits = lane.split()
            assert name in limits
            groups[f"{job_type} {name}"][lane] = min(lanes[lane].values())
            waits[name].add(job_type)
        for group, found in groups.items():
            job_type, name = group.split()
            if name not in shut:
                opened[job_type][name] = min(found.values())
                heads[job_type] = min(heads.get(job_type, float("inf")), *found.values())
        self.same("group:", groups)
        self.same("groups:", opened)
        assert {key.removeprefix(f"{Q}waits:") for key in self.redis.keys(f"{Q}waits:*")} == waits.keys()
        for name, types in waits.items():
            assert self.redis.smembers(f"{Q}waits:{name}") == types
        free = {name: head for name, head in heads.items() if name not in self.paused and f"type:{name}" not in shut}
        assert dict(self.redis.zrange(f"{Q}lanes", 0, -1, withscores=True)) == free
        gates = self.redis.hget(f"{Q}meta", "gates")
        assert gates == "2" if self.limits or under or shut else not held or gates in ("1", "2")

    def same(self, kind: str, expected: dict[str, dict[str, float]]) -> None:
        keys = self.redis.keys(f"{Q}{kind}*")
        assert {key.removeprefix(Q + kind) for key in keys} == expected.keys(), kind
        for name, members in expected.items():
            assert dict(self.redis.zrange(f"{Q}{kind}{name}", 0, -1, withscores=True)) == members, (kind, name)

    # -- steps

    def new_job(self, **options: Any) -> NewJob:
        some = self.random.sample(NAMES, self.random.choice([0, 1, 1, 2, 3]))
        return super().new_job(limits=some, **options)

    def defines(self) -> None:
        name = self.random.choice(DEFINED)
        most = self.random.choice([0, 1, 1, 2, 5])
        starts = self.random.choice([0, 0, 1, 3]) if most else self.random.choice([1, 2, 5])
        limit = Limit(most, starts, self.random.choice([1, 3]) if starts else 0)
        before = {each: self.definition(each) for each in self.names()}
        assert self.queue.limits.put("default", name, limit) == (name not in self.limits)
        self.limits[name] = limit
        for (
            each,
            was,
        ) in before.items():  # a rate counts from its last change on; what it has counted by then may still count
            if self.definition(each) != was:
                del self.log[each]
                self.redis.delete(f"{Q}starts:{each}")
        self.recover([])

    def forgets(self) -> None:
        if self.limits:
            name = self.random.choice(sorted(self.limits))
            before = {each: self.definition(each) for each in self.names()}
            self.queue.limits.delete("default", name)
            del self.limits[name]
            for each, was in before.items():
                if self.definition(each) != was:
                    del self.log[each]
                    self.redis.delete(f"{Q}starts:{each}")
            self.recover([])

    def names(self) -> list[str]:
        for name in (*NAMES, *(f"type:{each}" for each in (*TYPES, STRANGE))):
            self.log.setdefault(name, [])
        return list(self.log)

    def ticks(self) -> None:
        self.passed = False
        super().ticks()

    def reaps(self) -> None:
        self.passed = False
        super().reaps()

    def clock(self, now: int) -> None:
        """After it has gone back, what was claimed at a time that is still to come counts as claimed then, or earlier: as claimed
        when a script has first met such a time. When nobody looks before the clock is there again, nobody knows."""
        back = now < getattr(self, "now", 0)
        if back:
            for times in self.log.values():
                times[:] = [(min(earliest, now), latest) for earliest, latest in times]
        self.passed = True
        super().clock(now)
        if back:  # the next tick sees it
            self.ticks()

    def claims_as_time_passes(self) -> None:
        self.clock(self.now + self.random.choice([200, 1000, 1001, 3001]))
        for worker in self.workers:
            worker.renew()
        self.claims()

    def ends(self) -> None:
        for name in list(self.limits):
            self.queue.limits.delete("default", name)
        self.limits = {}
        self.recover([])
        super().ends()
        kept = {key.removeprefix(Q).split(":")[0] for key in self.redis.scan_iter(f"{Q}*", 1000)}
        rooms = {"limits", "patterns", "counting", "limited", "permits", "starts", "shut", "under", "group", "groups"}
        assert not kept & (rooms | {"waits"})

    def about(self) -> str:
        return f", {self.limits}"


tell = partial(tell_of_claims, kind=LimitStory)


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limit_checks, "AGAIN_S", 0)
    monkeypatch.setattr(limit_checks, "TWO_TICKS_S", 0)


def bind(lua: Path, moves: int) -> None:
    bound(lua, moves)
    change(lua, "parts/limited_claims.lua", "ENOUGH_BYTES = 250,", f"ENOUGH_BYTES = {moves},")
    if moves == FEW_MOVES:
        change(lua, "parts/limited_claims.lua", "LOOK, LAST, STEP = 8, '7', 50", "LOOK, LAST, STEP = 1, '0', 2")


@pytest.mark.parametrize("stories", [1, pytest.param(3, marks=pytest.mark.long(10))])
@pytest.mark.parametrize("moves", [pytest.param(250, marks=pytest.mark.long(5)), FEW_MOVES])
def test_each_claim_obeys_all_limits(moves: int, stories: int, lua: Path, server: Server) -> None:
    bind(lua, moves)
    seen = sum((tell(server, seed, moves, 150) for seed in range(stories)), Counter[str]())
    assert seen["claimed"] > 100 * stories // 3 and min(seen["under"], seen["shut"]) > 50 * stories // 3
    assert (seen["more"] > 0) == (moves == FEW_MOVES)


@pytest.mark.long(120)
@pytest.mark.parametrize("moves", [250, FEW_MOVES])
def test_many_stories(moves: int, lua: Path, server: Server) -> None:
    bind(lua, moves)
    for seed in range(SEED, SEED + STORIES):
        tell(server, seed, moves)


MUTANTS = {
    "a permit is not returned on reap": (
        "parts/leases.lua",
        "if also and string.find(also, '[ly]')",
        "if not refuse_late and also and string.find(also, '[ly]')",
    ),
    "a waiter is not let in after an end": ("parts/leases.lua", "opened = room.open(name) or opened", "opened = true"),
    "a waiter is not let in after a cancel of the one before it": (
        "parts/limits.lua",
        "if limits then room.refresh_lane_of_limits(job_type, lane, under) else",
        "if limits then return else",
    ),
    "the entry of an idle name is kept": (
        "let_in.lua",
        "if not used and not (limit and limit.by == name) then",
        "if false then",
    ),
    "one too many runs": ("parts/limits.lua", "if limit.running >= limit.max", "if limit.running > limit.max"),
    "a window is a moment too short": ("parts/limits.lua", "limit.per_ms < now then", "limit.per_ms <= now then"),
    "a start is not noted": ("parts/limits.lua", "if limit.starts > 0 then\n", "if limit.starts > 1 then\n"),
    "what runs is not counted": ("limit.lua", "or not known and call('ZCARD', key('leases')) > 0", "or false"),
    "not the last of its batch": ("parts/limited_claims.lua", "if under or again or", "if again or"),
    "the shortest pattern counts": (
        "parts/limits.lua",
        "return one > other",
        "return one < other",
    ),
    "all but the first limit is ignored": (
        "parts/limits.lua",
        "names[#names + 1] = name end\n      return names",
        "names[2] = name end\n      return names",
    ),
    "only its own kit hears of room": ("exchange.lua", "unsuccessful or opened", "unsuccessful"),
    "a claim does not look at the time": ("exchange.lua", "if due and due[1] then", "if false then"),
    "a shut type stays open": (
        "parts/lanes.lua",
        "if not plain and call('ZSCORE', key('shut')",
        "if false and call('ZSCORE', key('shut')",
    ),
}


@pytest.mark.long(120)
@pytest.mark.parametrize("mutant", MUTANTS)
def test_broken_limit_is_caught(mutant: str, lua: Path, server: Server) -> None:
    script, line, broken = MUTANTS[mutant]
    change(lua, script, line, broken)
    bind(lua, 250)
    with pytest.raises((AssertionError, KeyError)):
        for seed in range(12):
            tell(server, seed, 250, 200)
