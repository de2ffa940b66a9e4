"""Random stories of workers that handle different types: an oracle that knows nothing but the hashes of the jobs says after each
claim which jobs were allowed, one by one.

``CLAIM_STORIES=500 pytest tests/queue/test_claim_model.py -m long`` looks for new stories; CLAIM_SEED is the first of them."""

from __future__ import annotations

import os
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from _jobqueue.records import BACKOFF, IN_PLACE, NEVER, Settlement
from jobqueue import JobQueue, NewJob
from tests.harness import Server
from tests.played import LEASE_MS, Q, Worker, recover
from tests.queue.changed_scripts import CLOCK, change

KITS = (("a", "b", "c", "d"), ("a", "b"), ("b", "c"), ("d",))
TYPES = "abcd"
STRANGE = "x"  # nobody handles it
STORIES, SEED = int(os.environ.get("CLAIM_STORIES", "20")), int(os.environ.get("CLAIM_SEED", "1"))
FEW_MOVES = 3  # a claim meets its bounds often, and looks at one lane first: some errors show only then

Hashes = dict[str, dict[str, str]]


class Story:
    """Some workers of each kit and one queue. ``step`` does something by chance and looks at what it has done."""

    def __init__(self, server: Server, seed: int, moves: int) -> None:
        self.random, self.redis, self.moves = random.Random(seed), server.client, moves
        self.redis.flushall()
        self.queue = JobQueue(server.url)
        self.clock(1_700_000_000_000)
        self.paused: set[str] = set()
        self.ids = [self.queue.submit("a").id]  # a queue that was used may be paused
        self.workers: list[Worker] = []
        self.number = 0
        self.seen = Counter[str]()
        for types in (*KITS, *KITS):
            self.join(types)
        self.steps: list[Callable[[], None]] = [self.submits] * 8 + [self.claims] * 14 + [self.ticks] * 2
        self.steps += [self.settles_and_claims_in_one] * 5 + [self.drops]
        self.steps += [self.reaps, self.dies, self.cancels, self.deletes, self.retries, self.runs]
        self.steps += [self.time_passes] * 2 + [self.pauses_a_type] * 2 + [self.pauses]

    def clock(self, now: int) -> None:
        self.now = now
        self.redis.set(CLOCK, now)

    def join(self, types: Sequence[str]) -> Worker:
        self.number += 1
        worker = Worker(self.queue, f"w{self.number}").handles(*types)
        self.workers.append(worker)
        return worker

    # -- the oracle

    def hashes(self) -> Hashes:
        pipe = self.redis.pipeline(transaction=False)
        self.ids = list(dict.fromkeys(self.ids))
        for job_id in self.ids:
            pipe.hgetall(f"{Q}job:{job_id}")
        return {job_id: found for job_id, found in zip(self.ids, pipe.execute(), strict=True) if found}

    def queue_paused(self) -> bool:
        return bool(self.redis.hget(f"{Q}meta", "paused") == "1")

    def allowed(self, jobs: Hashes, types: Sequence[str], gone: Sequence[str]) -> list[str]:
        """What a claim may give and must not pass over, the best first."""
        if self.queue_paused():
            return []
        good = [
            job_id
            for job_id, job in jobs.items()
            if job["status"] == "queued"
            and job["type"] in types
            and job["type"] not in self.paused
            and job_id not in gone
            and not self.is_late(job)
        ]
        return sorted(good, key=lambda job_id: float(jobs[job_id]["score"]))

    def possible(self, jobs: Hashes, types: Sequence[str], gone: Sequence[str]) -> list[str]:
        """What a claim may give. It may also pass over those of them that are not in ``allowed``."""
        return self.allowed(jobs, types, gone)

    def is_late(self, job: dict[str, str]) -> bool:
        """It has not started, and must not any more."""
        started = job.get("attempts", "0") != "0" or "snoozes" in job
        return not started and int(job.get("expires", self.now + 1)) <= self.now

    def judge(self, jobs: Hashes, worker: Worker, want: int, got: Sequence[str]) -> None:
        again = [job_id for job_id in got if jobs[job_id].get("attempts", "0") != "0"]
        assert not again or len(got) == 1, "a job that failed before was not alone"
        for number, job_id in enumerate(got):
            best = self.allowed(jobs, worker.types, got[:number])
            assert job_id in self.possible(jobs, worker.types, got[:number]), ("it may not run", want, got, number)
            assert not best or float(jobs[job_id]["score"]) <= float(jobs[best[0]]["score"]), (want, got, number, best)
        left = self.allowed(jobs, worker.types, got)
        if (
            len(got) < want
            and not again
            and not worker.talk.more
            and left
            and not (got and self.is_last(jobs[got[-1]]))
        ):
            assert got and jobs[left[0]].get("attempts", "0") != "0", ("there was more", want, got, left)
        self.claimed(worker, jobs, got)

    def is_last(self, job: dict[str, str]) -> bool:
        """A claim gives nothing behind it."""
        return False

    def claimed(self, worker: Worker, jobs: Hashes, got: Sequence[str]) -> None:
        """Called after each claim that was right."""

    def before_a_claim(self, want: int) -> None:
        """What it will find is to be known to its judge."""

    def bell(self, worker: Worker) -> int:
        return int(self.redis.llen(f"{Q}bell:{worker.talk.kit}"))

    def look(self) -> None:
        """What holds after each step."""
        assert self.queue.check("default") == []
        assert self.queue.books("default").missing == 0
        jobs, held = self.hashes(), dict(self.redis.zrange(f"{Q}held", 0, -1, withscores=True))
        in_queue = dict(self.redis.zrange(f"{Q}queue", 0, -1, withscores=True))
        queued = {job_id: float(job["score"]) for job_id, job in jobs.items() if job["status"] == "queued"}
        assert not in_queue.keys() & held.keys() and in_queue | held == queued
        self.lanes_are_right(jobs, held)
        for types in KITS:
            worker = next((each for each in self.workers if each.types == types), None)
            if worker and self.allowed(jobs, types, ()):
                assert self.bell(worker) == 1, ("nobody is called for", types)
        order = sorted(queued, key=lambda job_id: queued[job_id])
        if order:
            at = self.random.randrange(len(order))
            assert self.queue.get(order[at]).position == at + 1

    def lanes_are_right(self, jobs: Hashes, held: dict[str, float]) -> None:
        lanes: dict[str, dict[str, float]] = defaultdict(dict)
        for job_id, score in held.items():
            lanes[jobs[job_id]["type"]][job_id] = score
        for name, members in lanes.items():
            assert dict(self.redis.zrange(f"{Q}lane:{name}", 0, -1, withscores=True)) == members
        heads = {name: min(members.values()) for name, members in lanes.items() if name not in self.paused}
        assert dict(self.redis.zrange(f"{Q}lanes", 0, -1, withscores=True)) == heads
        assert not held or self.redis.hget(f"{Q}meta", "gates") == "1"

    # -- steps

    def step(self) -> str:
        chosen = self.random.choice(self.steps)
        if len(self.ids) > 100:
            ended = [
                job_id for job_id, job in self.hashes().items() if job["status"] in ("done", "failed", "cancelled")
            ]
            self.queue.act_on("delete", ended)
            self.ids = [job_id for job_id in self.ids if job_id not in ended]
            chosen = self.claims if chosen == self.submits else chosen
        chosen()
        return chosen.__name__

    def submits(self) -> None:
        new = [
            self.new_job(
                type=STRANGE if self.random.random() < 0.1 else self.random.choice(TYPES),
                priority=self.random.choice([1, 5, 5, 9]),
                delay_s=self.random.choice([None, None, None, None, 3]),
                expires_s=self.random.choice([None, None, None, 4, 20]),
                max_attempts=3,
                backoff_s=1,
            )
            for _ in range(self.random.choice([1, 1, 1, 5]))
        ]
        self.ids += [answer.job.id for answer in self.queue.submit_many(new) if answer.job]

    def new_job(self, **options: Any) -> NewJob:
        return NewJob(**options)

    def claims(self) -> None:
        worker = self.random.choice(self.workers)
        self.exchange(worker, self.ended(worker), self.random.choice([0, 1, 1, 1, 2, 5, 30]))

    def settles_and_claims_in_one(self) -> None:
        """As workers do. What is given back may be for others, who are called."""
        worker = self.random.choice(self.workers)
        worker.running = worker.exchange(*self.ended(worker), want=self.random.choice([0, 1, 3]))[1]

    def drops(self) -> None:
        """The slot forgets what it held: the next claim gives it back."""
        worker = self.random.choice(self.workers)
        worker.running = worker.exchange(want=1)[1]

    def ended(self, worker: Worker) -> list[Settlement]:
        ends = [("done", 0), ("done", 0), ("failed", BACKOFF), ("failed", IN_PLACE), ("failed", NEVER), ("released", 0)]
        outcomes = [(job, *self.random.choice([*ends, ("cancelled", 0), ("snoozed", 500)])) for job in worker.running]
        return [Settlement(job.id, job.token, outcome, delay, "Boom", "boom") for job, outcome, delay in outcomes]

    def exchange(self, worker: Worker, ended: Sequence[Settlement], want: int) -> None:
        if ended:  # alone, so that what may be claimed is known
            worker.settle(*ended)
            worker.running = []
        rung = self.redis.lpop(f"{Q}bell:{worker.talk.kit}") if self.random.random() < 0.6 else None
        jobs = self.hashes()
        parked = self.redis.zcard(f"{Q}held")
        self.before_a_claim(want)
        _, claimed = worker.exchange(want=want)
        got, more = [job.id for job in claimed], worker.talk.more
        self.seen.update(claims=1, claimed=len(got), more=more)
        self.judge(jobs, worker, want, got)
        assert self.redis.zcard(f"{Q}held") - parked <= self.moves
        if self.random.random() < 0.2:
            assert [job.id for job in worker.again()[1]] == got
        worker.running = claimed
        left = self.allowed(self.hashes(), worker.types, ())
        if rung and left:
            assert self.bell(worker) == 1, "work is left and the bell does not ring"
        if rung and want and not got and not more and not self.possible(self.hashes(), worker.types, ()):
            assert self.bell(worker) == 0, "the bell rings for nothing"

    def ticks(self) -> None:
        self.recover([])

    def recover(self, expired: Any) -> None:
        recover(self.queue, expired, 100, {})
        waiting = [job for job in self.hashes().values() if job["status"] in ("queued", "scheduled")]
        assert not any(self.is_late(job) for job in waiting), "it waits in vain"

    def reaps(self) -> None:
        self.recover(self.queue.recovery.expired("default", 100)[1])
        jobs = self.hashes()
        for worker in self.workers:
            worker.running = [job for job in worker.running if jobs.get(job.id, {}).get("token") == job.token]

    def dies(self) -> None:
        worker = self.random.choice(self.workers)
        self.workers.remove(worker)
        self.join(worker.types)

    def one(self) -> str:
        return self.random.choice(self.ids) if self.ids else ""

    def cancels(self) -> None:
        self.queue.act_on("cancel", [self.one(), self.one()])

    def deletes(self) -> None:
        self.queue.act_on("delete", [self.one()])

    def retries(self) -> None:
        self.queue.act_on("retry", [self.one()])

    def runs(self) -> None:
        self.queue.act_on("run", [self.one()])

    def time_passes(self) -> None:
        self.clock(self.now + self.random.choice([0, 1, 500, 1000, 5000, LEASE_MS + 1, -500]))
        for worker in self.workers:
            worker.renew()

    def pauses_a_type(self) -> None:
        name = self.random.choice("ad")
        self.queue.pause_type("default", name, name not in self.paused)
        self.paused ^= {name}

    def pauses(self) -> None:
        self.queue.pause("default", self.random.random() < 0.3)

    # -- the end

    def ends(self) -> None:
        """Everything is opened and done: what nobody handles stays, and nothing of the lanes is left without it."""
        for name in self.paused:
            self.queue.pause_type("default", name, False)
        self.paused = set()
        self.queue.pause("default", False)
        self.clock(self.now + 100 * LEASE_MS)
        last = self.join(KITS[0])
        for _ in range(500):
            self.exchange(last, [Settlement(job.id, job.token, "done") for job in last.running], 30)
            self.clock(self.now + 1000)
            self.reaps()
            jobs = self.hashes()
            left = [job for job in jobs.values() if job["status"] in ("queued", "scheduled", "processing")]
            if all(job["type"] == STRANGE for job in left):
                break
        else:
            raise AssertionError(f"not drained: {left}")
        self.queue.act_on("cancel", [job_id for job_id, job in self.hashes().items() if job["type"] == STRANGE])
        self.ticks()
        self.look()
        kept = {key.removeprefix(Q).split(":")[0] for key in self.redis.scan_iter(f"{Q}*", 1000)}
        assert not kept & {"held", "lane", "lanes", "pauses", "expires"}
        assert self.redis.hget(f"{Q}meta", "gates") is None

    def about(self) -> str:
        """What else to say of a story that went wrong."""
        return ""


def tell(server: Server, seed: int, moves: int, steps: int = 300, kind: type[Story] = Story) -> Counter[str]:
    story = kind(server, seed, moves)
    told: list[str] = []
    try:
        for _ in range(steps):
            told.append(story.step())
            story.look()
        story.ends()
    except BaseException as error:
        if hasattr(error, "add_note"):
            error.add_note(f"seed {seed}, moves {moves}, step {len(told)}: {told[-4:]}{story.about()}")
        raise
    return story.seen


def bound(lua: Path, moves: int) -> None:
    change(lua, "exchange.lua", "local MOVES = 250", f"local MOVES = {moves}")
    for part in ("claims", "prelude") if moves == FEW_MOVES else ():
        change(lua, f"parts/{part}.lua", "local LOOK = 8", "local LOOK = 1")


@pytest.mark.parametrize("stories", [1, pytest.param(3, marks=pytest.mark.long(5))])
@pytest.mark.parametrize("moves", [pytest.param(250, marks=pytest.mark.long(3)), FEW_MOVES])
def test_each_claim_takes_the_best_that_it_may(moves: int, stories: int, lua: Path, server: Server) -> None:
    bound(lua, moves)
    seen = sum((tell(server, seed, moves, 150) for seed in range(stories)), Counter[str]())
    assert seen["claimed"] > 100 * stories // 3
    assert (seen["more"] > 0) == (moves == FEW_MOVES)


@pytest.mark.long(120)
@pytest.mark.parametrize("moves", [250, FEW_MOVES])
def test_many_stories(moves: int, lua: Path, server: Server) -> None:
    bound(lua, moves)
    for seed in range(SEED, SEED + STORIES):
        tell(server, seed, moves)


MUTANTS = {
    "ignores types": (
        "exchange.lua",
        "key('kit:' .. kit), job_type)) or false",
        "key('kit:' .. kit), job_type)) or 10000",
    ),
    "ignores pauses": ("exchange.lua", "call('SISMEMBER', key('pauses'), job_type) == 1", "false"),
    "queue before lanes": ("exchange.lua", "tonumber(waiting[at + 1]) < least", "true"),
    "no bell for what is left": ("exchange.lua", "elseif claimed then", "elseif false then"),
    "no bell for what is given back": (
        "exchange.lua",
        "if requeued then\n  ring()\nelseif claimed then",
        "if requeued or claimed then",
    ),
    "starts too late": ("exchange.lua", "if expired then queued = false end", ""),
    "given back and never looked at": ("parts/failures.lua", "may_start_until(job.id, job.expires)", ""),
    "nobody cancels": ("expire.lua", "if #ids == 0 then return { 0 } end", "if true then return { 0 } end"),
    "not alone": ("exchange.lua", "if again or n + 1 == want or bytes", "if n + 1 == want or bytes"),
    "head not refreshed by a claim": (
        "parts/claims.lua",
        "for job_type in pairs(passed) do refresh_lane(job_type, true) end",
        "",
    ),
    "lane not left": ("parts/claims.lua", "call('ZREM', key('lane:' .. job_type), unpack(ids))", ""),
    "looks at few lanes": (
        "parts/claims.lua",
        "horizon = #first == 2 * LOOK and tonumber(first[#first]) or math.huge",
        "horizon = math.huge",
    ),
    "rings for few lanes": ("parts/prelude.lua", "work = work or #heads == LOOK", "work = work or false"),
    "head not refreshed by a cancel": (
        "parts/parked.lua",
        "== 1 then held = refresh_lane(each) end",
        "== 1 then break end",
    ),
    "paused lane stays open": ("parts/lanes.lua", "and call('SISMEMBER', key('pauses'), job_type) == 0", ""),
    "flag cleared too early": (
        "tidy.lua",
        "key('held'), key('pauses')) == 0 then",
        "key('held'), key('pauses')) >= 0 then",
    ),
    "flag not set": ("parts/claims.lua", "if next(parked) then call('HSET', key('meta'), 'gates', '1') end", ""),
    "no bell at a submit": ("submit.lua", "ring(meta)", ""),
    "no bell for the lanes": ("parts/prelude.lua", "if not work and meta[2] then", "if false then"),
}


@pytest.mark.long(60)
@pytest.mark.parametrize("mutant", MUTANTS)
def test_broken_claim_is_caught(mutant: str, lua: Path, server: Server) -> None:
    script, line, broken = MUTANTS[mutant]
    change(lua, script, line, broken)
    moves = FEW_MOVES if "few" in mutant else 250
    bound(lua, moves)
    with pytest.raises(AssertionError):
        for seed in range(40):
            tell(server, seed, moves, 200)
