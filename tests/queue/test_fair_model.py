"""Random stories of fair keys: an oracle that knows only who was able to run since when says of each claim whether it was that
key's turn. Scripts are sent twice, workers die, jobs are parked, turns begin and end.

``FAIR_STORIES=500 pytest tests/queue/test_fair_model.py -m long`` looks for new stories; FAIR_SEED is the first of them."""

from __future__ import annotations

import os
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from _jobqueue.records import BACKOFF, IN_PLACE, NEVER, Claimed, Settlement
from _jobqueue.store.leases import claimed_in
from _jobqueue.store.link import Link
from jobqueue import Conflict, Invalid, JobQueue, NewJob, NotFound
from tests.harness import Server
from tests.played import LEASE_MS, Q, Worker, recover, run_script
from tests.queue.changed_scripts import CLOCK, change

STORIES, SEED = int(os.environ.get("FAIR_STORIES", "20")), int(os.environ.get("FAIR_SEED", "1"))
STEPS = 150
TWICE = 0.1
RETENTION_MS = {"done": 10**9, "cancelled": 10**9, "failed": 10**9}
KEYS = (None, None, "a", "b", "c", "d")
RARE = "rare"  # a type that one worker alone handles, and a key that all its jobs have
MOST = 2  # jobs of another key that are claimed while one is the next of its own: one of this round, one of the next
READS = ("turns", "look", "get", "allowed")  # scripts that change nothing
FIELDS = ("status", "score", "fair_key", "started", "type", "due")

LOOK = """
local jobs = {}
for _, name in ipairs(redis.call('KEYS', KEYS[1] .. 'job:*')) do
  jobs[#jobs + 1] = { string.sub(name, #KEYS[1] + 5), redis.call('HMGET', name, unpack(ARGV)) }
end
return jobs
"""


class Able(NamedTuple):
    """A job that has not run yet and may: since when, as a number and, of those that may since then, its due time or number."""

    job_id: str
    key: str
    since: int
    order: int
    place: int
    by_turn: bool  # else keys take no turns, and its place is that of its submit
    in_debt: bool  # jobs of its key were cancelled, and it pays for their turns


class Story:
    """One queue, three workers, operators, a reaper. ``step`` does something by chance."""

    def __init__(self, server: Server, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self.random, self.redis = random.Random(seed), server.client
        self.redis.flushall()
        self.look_at = self.redis.register_script(LOOK)
        self.queue = JobQueue(server.url)
        self.clock(1_700_000_000_000)
        self.workers = [Worker(self.queue, f"w{number}") for number in range(3)]
        self.workers[0].handles("echo", RARE), self.workers[1].handles("echo"), self.workers[2].handles("echo", RARE)
        self.jobs: dict[str, dict[str, str]] = {}
        self.able: dict[int, dict[str, Able]] = defaultdict(dict)  # by priority
        # (job, since when, other key) -> claims of that while it was the next of its own
        self.passed = Counter[tuple[str, int, str]]()
        self.own_turns = Counter[tuple[str, int]]()  # (job, since when) -> jobs of its key that ran again meanwhile
        self.ran_again: set[str] = set()
        self.debts: set[tuple[int, str]] = set()
        self.events, self.twice, self.judged = 0, 0, 0
        self.names: list[str] = []  # of the jobs of a submit, in their order
        self.claims_for: set[str] = set()
        self.watch(monkeypatch)
        self.steps: list[Callable[[], None]] = [self.submits] * 6 + [self.submits_a_mixture, self.submits_children]
        self.steps += [self.works] * 12 + [self.ticks] * 4 + [self.time_passes] * 2
        self.steps += [self.cancels, self.deletes, self.retries, self.retries, self.runs_now, self.dies]

    def clock(self, now: int) -> None:
        self.now = now
        self.redis.set(CLOCK, now)

    def watch(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Look after each script, and send some twice."""
        run, transaction = Link._run, Link.transaction

        def one(link: Link, place: str, name: str, key: str, args: Any, *rest: Any) -> Any:
            args = list(args)
            self.names = _ids_of(args) if name == "submit" else []
            answer = run(link, place, name, key, args, *rest)
            if key == Q and name not in READS:
                self.look(name, answer)
                if self.random.random() < TWICE:
                    run(link, place, name, key, args)
                    self.twice += 1
                    self.look(name, None)
            return answer

        def many(link: Link, key: str, calls: Any) -> Any:
            answer = transaction(link, key, calls)
            self.look("tick", None)
            return answer

        monkeypatch.setattr(os, "urandom", self.random.randbytes)  # of job ids
        monkeypatch.setattr(Link, "_run", one)
        monkeypatch.setattr(Link, "transaction", many)

    # -- the oracle

    def look(self, script: str, answer: Any) -> None:
        """What has become of all jobs since the last look."""
        rows = sorted(self.look_at(keys=[Q], args=FIELDS))  # a story is told by its seed alone
        jobs = {job_id: dict(zip(FIELDS, values, strict=True)) for job_id, values in rows}
        if script == "exchange" and answer and answer[2:]:
            self.claimed([job.id for job in claimed_in(answer, "")], jobs)
        self.events += 1
        self.on = bool(self.redis.hget(f"{Q}meta", "fair"))
        for job_id, job in jobs.items():
            before = self.jobs.get(job_id)
            if job["status"] == "queued" and not job["started"] and (before is None or before["status"] != "queued"):
                self.may_run(job_id, job)
            elif before and before["started"] and job["started"]:
                assert job["score"] == before["score"], "an attempt that was made has changed its place"
        for by_id in self.able.values():
            for job_id in [job_id for job_id in by_id if jobs.get(job_id, {}).get("status") != "queued"]:
                gone = by_id.pop(job_id)
                if job_id not in jobs or jobs[job_id]["status"] == "cancelled":
                    self.debts.add((_priority(self.jobs[job_id]), gone.key))
                    mine = {each: able for each, able in by_id.items() if able.key == gone.key}
                    by_id.update({each: able._replace(in_debt=True) for each, able in mine.items()})
        self.jobs = jobs
        self.agrees()

    def may_run(self, job_id: str, job: dict[str, str]) -> None:
        key, priority = job["fair_key"] or "", _priority(job)
        order = self.names.index(job_id) if job_id in self.names else int(job["due"] or 0)
        in_debt = (priority, key) in self.debts
        self.able[priority][job_id] = Able(job_id, key, self.events, order, int(job["score"]), self.on, in_debt)

    def claimed(self, ids: Sequence[str], jobs: dict[str, dict[str, str]]) -> None:
        """Whether it was the turn of each."""
        for job_id in ids:
            job = self.jobs[job_id]
            by_id = self.able[_priority(job)]
            able = by_id.pop(job_id, None)
            if able is None:
                self.came_back(job_id, self.next_of_each_key(by_id).get(job["fair_key"] or ""))
                continue
            for other in by_id.values():
                if other.key == able.key and other.by_turn and able.by_turn:
                    earlier = (other.since, other.order) < (able.since, able.order)
                    assert not earlier, f"{job_id} of {able.key or 'no key'} came before {other.job_id}"
            for other in self.next_of_each_key(by_id).values():
                if self.jobs[other.job_id]["type"] not in self.claims_for or job["type"] == RARE:
                    continue
                if other.key == able.key:
                    continue
                self.passed[other.job_id, other.since, able.key] += 1
                self.judged += 1
                if not other.in_debt:
                    told = f"{other.job_id} of {other.key or 'no key'} was passed by {able.key or 'no key'} again"
                    most = MOST + self.own_turns[other.job_id, other.since]
                    assert self.passed[other.job_id, other.since, able.key] <= most, told

    def came_back(self, job_id: str, behind: Able | None) -> None:
        """It has run before, and is claimed at its old place. Where turns have begun among such jobs, a round of theirs is one
        that new jobs of its key have to wait for."""
        if behind and job_id not in self.ran_again:
            self.own_turns[behind.job_id, behind.since] += 1
        self.ran_again.add(job_id)

    def next_of_each_key(self, by_id: dict[str, Able]) -> dict[str, Able]:
        first: dict[str, Able] = {}
        for able in by_id.values():
            first[able.key] = min(first.get(able.key, able), able, key=lambda each: each.place)
        return first

    def agrees(self) -> None:
        """All that is stored of turns agrees with the jobs."""
        queued = [job_id for job_id, job in self.jobs.items() if job["status"] == "queued"]
        assert run_script(self.queue, "turns", "default", [0, *queued]) == [0, [], [], []]
        for priority, key in list(self.debts):
            if self.redis.zscore(f"{Q}turns", f"{priority} {key}") is None:
                self.debts.discard((priority, key))

    # -- what happens

    def step(self) -> None:
        self.random.choice(self.steps)()

    def submit(self, jobs: Sequence[NewJob]) -> None:
        self.queue.submit_many(jobs)

    def a_job(self, **more: Any) -> NewJob:
        key = self.random.choice(KEYS)
        rare = {"type": RARE, "fair_key": RARE} if self.random.random() < 0.05 else {"fair_key": key}
        delay = {"delay_s": self.random.choice((1, 5, 30))} if self.random.random() < 0.2 else {}
        return NewJob(**{"priority": self.random.choice((5, 5, 5, 9)), "max_attempts": 3, **rare, **delay, **more})

    def submits(self) -> None:
        like, n = self.a_job(), self.random.choice((1, 1, 2, 5, 12))
        self.submit([like] * n)

    def submits_a_mixture(self) -> None:
        self.submit([self.a_job() for _ in range(self.random.randint(2, 10))])

    def submits_children(self) -> None:
        parents = [job_id for job_id, job in self.jobs.items() if job["status"] in ("queued", "processing")]
        if parents:
            self.submit([self.a_job(after=[self.random.choice(parents)], when="ended") for _ in range(3)])

    def works(self) -> None:
        worker = self.random.choice(self.workers)
        self.claims_for = set(worker.types)
        ended = [self.end_of(job) for job in worker.running]
        claimed = worker.exchange(*ended, want=self.random.choice((1, 1, 2, 6)))[1]
        worker.running = claimed

    def end_of(self, job: Claimed) -> Settlement:
        outcome = self.random.choice(("done",) * 6 + ("failed",) * 3 + ("released",))
        delay = self.random.choice((0, 2000, BACKOFF, IN_PLACE, NEVER))
        fields: list[Any] = ["result", "1"] if outcome == "done" else []
        return Settlement(job.id, job.token, outcome, delay, "Boom", "it went wrong", fields)

    def ticks(self) -> None:
        _, expired, _ = self.queue.recovery.expired("default", 500)
        recover(self.queue, expired, self.random.choice((1, 500)), RETENTION_MS)

    def time_passes(self) -> None:
        self.clock(self.now + self.random.choice((10, 1000, 6000)))

    def dies(self) -> None:
        number = self.random.randrange(3)
        gone, self.workers[number] = self.workers[number], Worker(self.queue, f"x{self.random.getrandbits(60)}")
        self.workers[number].handles(*gone.types)
        self.clock(self.now + LEASE_MS + 1)
        self.ticks()

    def operates(self, statuses: tuple[str, ...], act: Callable[[str], Any]) -> None:
        some = [job_id for job_id, job in self.jobs.items() if job["status"] in statuses]
        for job_id in self.random.sample(some, min(len(some), self.random.choice((1, 1, 6)))):
            try:
                act(job_id)
            except (Conflict, NotFound, Invalid):
                pass

    def cancels(self) -> None:
        self.operates(("queued", "scheduled", "processing"), self.queue.cancel)

    def deletes(self) -> None:
        self.operates(("queued", "scheduled", "failed", "done"), self.queue.delete)

    def retries(self) -> None:
        self.operates(("failed", "cancelled"), self.queue.retry)

    def runs_now(self) -> None:
        self.operates(("scheduled",), self.queue.run_now)

    def ends(self) -> None:
        """All is done, and nothing of turns is left."""
        for _ in range(2000):
            self.clock(self.now + 60_000)
            self.ticks()
            worker = self.workers[0]
            self.claims_for = set(worker.types)
            for each in self.workers[1:]:
                each.running = []
            done = [Settlement(job.id, job.token, "done", fields=["result", "1"]) for job in worker.running]
            worker.running = worker.exchange(*done, want=6)[1]
            if not any(job["status"] in ("queued", "scheduled", "processing", "blocked") for job in self.jobs.values()):
                break
        for _ in range(20):
            self.ticks()
        assert not self.redis.exists(f"{Q}turns") and self.redis.hget(f"{Q}meta", "fair") is None
        assert self.queue.check("default") == []


class Pauses(Story):
    """The machine stands still between two calls: leases end, and jobs with long delays come due together. In between workers
    have time for all that waits, so that turns end while other jobs are still to come due."""

    PAUSE = 0.02  # a script comes after one
    PAUSES_MS = (3000, LEASE_MS + 1, 60_000, 600_000)

    def __init__(self, server: Server, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(server, seed, monkeypatch)
        self.pauses = random.Random(seed)
        run, transaction = Link._run, Link.transaction

        def one(link: Link, place: str, name: str, *call: Any) -> Any:
            if name not in READS:
                self.pause()
            return run(link, place, name, *call)

        def many(link: Link, *call: Any) -> Any:
            self.pause()
            return transaction(link, *call)

        monkeypatch.setattr(Link, "_run", one)
        monkeypatch.setattr(Link, "transaction", many)
        self.steps += [self.works_long] * 4

    def pause(self) -> None:
        if self.pauses.random() < self.PAUSE:
            self.clock(self.now + self.pauses.choice(self.PAUSES_MS))

    def time_passes(self) -> None:
        self.clock(self.now + 10)

    def a_job(self, **more: Any) -> NewJob:
        delay = {"delay_s": self.random.choice((30, 300))} if self.random.random() < 0.3 else {}
        return super().a_job(**{**delay, **more})

    def works_long(self) -> None:
        for _ in range(self.random.choice((3, 10, 20))):
            self.works()
        self.ticks()


def _ids_of(args: Sequence[Any]) -> list[str]:
    """Of a submit, in its order."""
    ids, at = [], 9
    for _ in range(args[2]):
        ids.append(args[at])
        at += 6 + 2 * args[at + 5]
    return ids


def _priority(job: dict[str, str]) -> int:
    return 9 - int(job["score"]) // 2**43


def tell(server: Server, seed: int, steps: int = STEPS, kind: type[Story] | None = None) -> Story:
    with pytest.MonkeyPatch.context() as patch:
        story = (kind or Story)(server, seed, patch)
        for _ in range(steps):
            story.step()
        story.ends()
    return story


def few(lua: Path) -> None:
    """A tick drops three entries."""
    change(lua, "parts/idle.lua", "IDLE_MOST = redis.call, 250", "IDLE_MOST = redis.call, 3")


@pytest.mark.parametrize("steps", [80, pytest.param(STEPS, marks=pytest.mark.long(4))])
@pytest.mark.parametrize("bound", [pytest.param(250, marks=pytest.mark.long(3)), 3])
def test_no_story_breaks_a_turn(bound: int, steps: int, lua: Path, server: Server) -> None:
    if bound == 3:
        few(lua)
    story = tell(server, 1, steps)
    assert story.judged and story.twice


@pytest.mark.long(200)
@pytest.mark.parametrize("kind", [Story, Pauses])
@pytest.mark.parametrize("bound", [250, 3])
def test_many_stories(bound: int, kind: type[Story], lua: Path, server: Server) -> None:
    if bound == 3:
        few(lua)
    for seed in range(SEED, SEED + STORIES):
        tell(server, seed, 300, kind)


@pytest.mark.long(60)
@pytest.mark.parametrize(
    ("script", "line", "broken"),
    [
        ("parts/idle.lua", "if #idle > 0 then", "if false then"),
        ("parts/fair.lua", "math.max(round, last or 0)", "round"),
        ("parts/fair.lua", "math.max(round, last or 0)", "(last or round)"),
        ("parts/fair.lua", "digits(first_behind('(' .. digits(behind)) or behind + 1)", "digits(behind + 1)"),
        ("parts/fair.lua", "if last then call('ZADD'", "if false then call('ZADD'"),
        ("parts/passed.lua", "tonumber(place) > tonumber(round)", "false"),
        ("parts/edges.lua", "if not (fair.on or fair.over or job.fair_key) then", "if true then"),
        ("promote.lua", "if d.new and (fair.on or fair.over or keyed) then", "if false then"),
        ("promote.lua", "new = not f[5]", "new = true"),
        ("run.lua", "if job.new and (fair.on or fair.over or job[3]) then", "if false then"),
        ("retry.lua", "if not open and (fair.on or job.fair_key) then", "if false then"),
    ],
    ids=[
        *("keeps idle entries", "a key twice a round", "credit for idleness", "new rounds in between"),
        *("forgets who waits", "forgets the rounds", "children without turns", "delayed jobs without turns"),
        *("failed attempts lose their turns", "run now without a turn", "retries without turns"),
    ],
)
def test_broken_script_is_caught(script: str, line: str, broken: str, lua: Path, server: Server) -> None:
    change(lua, script, line, broken)
    with pytest.raises(AssertionError):
        for seed in range(1, 200):
            tell(server, seed)


@pytest.mark.long(60)
@pytest.mark.parametrize(
    ("script", "line", "broken"),
    [
        ("promote.lua", "over = not keyed and meta[6]", "over = false"),
        ("promote.lua", "keyed = keyed or f[4] and not f[5]", ""),
        ("turns.lua", "place > tonumber(round) and not f[4]", "place > tonumber(round)"),
    ],
    ids=["old numbers before rounds", "jobs due together begin no turns", "attempts from before turns"],
)
def test_pauses_catch_what_depends_on_the_clock(script: str, line: str, broken: str, lua: Path, server: Server) -> None:
    change(lua, script, line, broken)
    with pytest.raises(AssertionError):
        for seed in range(200, 300):
            tell(server, seed, kind=Pauses)
