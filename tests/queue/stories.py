"""Random stories: whatever workers, reapers, operators, the network and the clock do, the promises hold after every step.

Hypothesis drives all operations on a real Redis. Answers get lost, copies of calls arrive late, workers freeze and die,
reapers act on what they read long ago, the clock jumps. The scripts run on a clock of their own, so that every story can be
told again."""

from __future__ import annotations

import hashlib
import itertools
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import pytest

pytest.importorskip("hypothesis")
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from _jobqueue.books import Expired
from _jobqueue.records import BACKOFF, ENDED, IN_PLACE, INDEX_OF, NEVER, STATUSES, Claimed, Held, Settlement
from _jobqueue.store.scripts import Script
from jobqueue import Conflict, JobQueue, KeyReused, NewJob, NotFound, Unavailable
from tests.faults.proxy import Proxy
from tests.played import LEASE_MS, Call, Q, Worker, recover, run_script
from tests.queue.changed_scripts import CLOCK
from tests.queue.tagging import counted, living, there

KEPT_MS = {"done": 60_000, "cancelled": 60_000, "failed": 120_000}
OLD_CALLS = 20


class Slot(Worker):
    """What one thread of a worker knows: ``running`` is what it holds."""

    unanswered: Call | None = None

    def calls(self, want: int, ended: list[Settlement]) -> Call:
        """Its next exchange, which may never arrive. What it does not mention, it has dropped."""
        self.talk.seq, self.running = self.talk.seq + 1, []
        return Call(self.talk.slot, self.talk.seq, self.talk.seen, want, ended)

    def hears(self, jobs: list[Claimed]) -> None:
        self.unanswered, self.talk.seen, self.running = None, self.talk.seq, jobs


class Stories(RuleBasedStateMachine):
    url: str
    redis: Any
    proxy: Proxy
    random_bits: Iterator[bytes]  # of job ids, the same for each story

    def __init__(self) -> None:
        super().__init__()
        self.redis.flushall()
        type(self).random_bits = (hashlib.sha256(b"%d" % number).digest()[:16] for number in itertools.count())
        self.queue, self.recorded = JobQueue(self.url), JobQueue(self.proxy.url)
        self.clock(1_700_000_000_000)
        self.link = self.queue.link()
        self.worker_numbers = itertools.count(1)
        self.request_numbers = itertools.count(1)
        self.slots: list[Slot] = []
        self.dead: list[str] = []
        for _ in range(2):
            self.new_worker()
        self.jobs: list[str] = []
        self.keys: dict[str, tuple[NewJob, str]] = {}
        self.calls: list[Call] = []
        self.on_the_way: list[Call] = []
        self.copies: list[tuple[str, Callable[[], Any]]] = []
        self.looks: list[tuple[list[Expired], dict[str, bytes]]] = []
        self.answers: dict[str, list[str]] = {}
        self.epochs: dict[tuple[str, str], str] = {}
        self.starts: dict[tuple[str, str], set[str]] = defaultdict(set)
        self.successes: dict[str, set[str]] = defaultdict(set)
        self.ever_done: set[str] = set()

    # -- the world

    def clock(self, now: int) -> None:
        self.now = now
        self.redis.set(CLOCK, now)

    def new_worker(self) -> None:
        worker = f"w{next(self.worker_numbers)}"
        self.slots += [Slot(self.queue, worker, number) for number in (1, 2)]

    def hash(self, job_id: str) -> dict[str, str]:
        return dict(self.redis.hgetall(f"{Q}job:{job_id}"))

    def paused(self) -> bool:
        return bool(self.redis.hget(f"{Q}meta", "paused") == "1")

    def starts_to_run(self, job: Claimed) -> None:
        self.starts[job.id, self.epochs[job.id, job.token]].add(job.token)

    def has_started(self, job: Claimed) -> bool:
        return job.token in self.starts[job.id, self.epochs[job.id, job.token]]

    def copy(self, name: str, send: Callable[[], Any]) -> None:
        self.copies = [*self.copies, (name, send)][-OLD_CALLS:]

    # -- an exchange, and what may be said of its answer

    def arrives(self, call: Call) -> list[Claimed] | None:
        """Let a call reach Redis and check the answer. None: it was refused as a copy of an older one."""
        before = {end.id: self.hash(end.id) for end in call.ended}
        last = int(self.redis.hget(f"{Q}slots", call.slot) or 0)
        held = [job for job in self.answers.get(call.token, []) if self.hash(job).get("token") == call.token]
        try:
            accepted, jobs = call.arrives(self.queue, self.link)
        except Unavailable as refused:
            assert "newer claim" in str(refused) and 0 < call.seq < last
            return None
        for end, ok in zip(call.ended, accepted, strict=True):
            self.settled(end, ok, before[end.id])
        if call.seq == 0:
            assert jobs == []
        elif call.seq == last:
            assert [job.id for job in jobs] == [id for id in held if self.hash(id)["status"] == "processing"]
        else:
            assert call.seq > last
            self.claimed(call, jobs)
        for job in jobs:
            stored = self.hash(job.id)
            assert (stored["status"], stored["token"]) == ("processing", call.token) == ("processing", job.token)
            assert int(stored["attempts"]) == job.attempt
        return jobs

    def settled(self, end: Settlement, accepted: bool, before: dict[str, str]) -> None:
        assert accepted == (before.get("token") == end.token), (end, before)
        if accepted and end.outcome == "done":
            self.successes[end.id].add(end.token)
            assert self.hash(end.id)["status"] == "done"

    def claimed(self, call: Call, jobs: list[Claimed]) -> None:
        self.answers[call.token] = [job.id for job in jobs]
        for job in jobs:
            stored = self.hash(job.id)
            assert "cancel" not in stored
            self.epochs[job.id, job.token] = stored.get("retry", "")
        scores = [float(self.hash(job.id)["score"]) for job in jobs]
        left = self.redis.zrange(f"{Q}queue", 0, -1, withscores=True)
        assert scores == sorted(scores)
        assert not (scores and left) or scores[-1] < left[0][1], "somebody was overtaken"
        assert len(jobs) <= 1 or all(job.attempt == 1 for job in jobs), "a job that failed before was not alone"
        if self.paused():
            assert jobs == []
        elif len(jobs) < call.want and left:
            assert any(job.attempt > 1 for job in jobs) or int(self.hash(left[0][0]).get("attempts", 0)) > 0

    def send(self, slot: Slot, call: Call, fate: str) -> None:
        """``fate``: ok; lost (the answer); late (the call: it may arrive at any later time)."""
        if call.seq:
            slot.unanswered = call
        self.calls = [*self.calls, call][-OLD_CALLS:]
        if fate == "late":
            self.on_the_way.append(call)
            return
        jobs = self.arrives(call)
        if fate == "ok" and call.seq:
            assert jobs is not None
            slot.hears(jobs)

    def ends(self, job: Claimed, outcome: str, delay_ms: int) -> Settlement:
        """A handler that never started can only be released, one that did cannot."""
        if outcome == "released" and self.has_started(job):
            outcome = "failed"
        if outcome != "released":
            self.starts_to_run(job)
        return Settlement(job.id, job.token, outcome, delay_ms, f"Boom{job.attempt}", "boom")

    # -- rules

    fates = st.sampled_from(["ok", "ok", "ok", "lost", "late"])
    outcomes = st.sampled_from(["done", "done", "failed", "cancelled", "released", "snoozed", "forgotten"])
    delays = st.sampled_from([BACKOFF, IN_PLACE, NEVER, 0, 5000])
    numbers = st.integers(0, 99)

    @initialize(jobs=st.lists(st.tuples(st.sampled_from([1, 5, 9]), st.integers(1, 3)), min_size=1, max_size=6))
    def some_jobs_wait(self, jobs: list[tuple[int, int]]) -> None:
        for priority, attempts in jobs:
            job = self.queue.submit(priority=priority, max_attempts=attempts, backoff_s=0)
            self.jobs.append(job.id)

    @rule(
        count=st.integers(1, 3),
        priority=st.sampled_from([1, 5, 9]),
        delay_s=st.sampled_from([None, None, 1, 30]),
        attempts=st.integers(1, 3),
        timeout_s=st.sampled_from([None, 2]),
        backoff_s=st.sampled_from([0, 1]),
        tags=st.sampled_from([(), ("a",), ("a", "b")]),
    )
    def submit(self, count: int, priority: int, attempts: int, **fields: Any) -> None:
        self.proxy.seen.clear()
        answers = self.recorded.submit_many([NewJob(priority=priority, max_attempts=attempts, **fields)] * count)
        ids = [answer.job.id for answer in answers if answer.job]
        self.jobs += ids
        script = Script("submit")
        names = script.sha.encode(), script.text.encode()
        again = [message.words for message in self.proxy.seen if message.words[1:2] and message.words[1] in names][-1]
        self.copy("submit", lambda: self.redis.exists(f"{Q}job:{ids[0]}") and self.redis.execute_command(*again))

    @rule(key=st.sampled_from(["k1", "k2"]), payload=st.integers(0, 1))
    def submit_with_a_key(self, key: str, payload: int) -> None:
        job = NewJob(payload=payload, max_attempts=2)
        [answer] = self.queue.submit_many([job], key=key)
        first, job_id = self.keys.setdefault(key, (job, answer.job.id if answer.job else ""))
        if first != job:
            assert isinstance(answer.error, KeyReused)
        elif answer.job:
            assert (answer.job.id, answer.replayed) == (job_id, job_id in self.jobs)
        else:
            assert isinstance(answer.error, NotFound) and not self.redis.exists(f"{Q}job:{job_id}")
        if job_id not in self.jobs:
            self.jobs.append(job_id)

    @rule(number=numbers, want=st.integers(0, 4), ends=st.lists(st.tuples(outcomes, delays), max_size=4), fate=fates)
    def exchange(self, number: int, want: int, ends: list[tuple[str, int]], fate: str) -> None:
        """Settle what the slot holds and claim more. A call whose answer is still missing is given up."""
        slot = self.slots[number % len(self.slots)]
        ended = []
        for job, (outcome, delay_ms) in itertools.zip_longest(
            slot.running, ends[: len(slot.running)], fillvalue=("done", 0)
        ):
            if outcome == "forgotten":
                self.starts_to_run(job)
            else:
                ended.append(self.ends(job, outcome, delay_ms))
        self.send(slot, slot.calls(want, ended), fate)

    @rule(number=numbers, want=st.integers(1, 4), ends=st.lists(st.tuples(outcomes, delays), max_size=4))
    def woken_slot_works(self, number: int, want: int, ends: list[tuple[str, int]]) -> None:
        self.take_the_bell(number)
        self.exchange(number, want, ends, "ok")

    @rule(number=numbers, want=st.integers(1, 4), outcome=outcomes)
    def woken_slot_works_on_a_bad_line(self, number: int, want: int, outcome: str) -> None:
        self.take_the_bell(number)
        self.exchange(number, want, [(outcome, IN_PLACE)] * 4, "lost")

    def take_the_bell(self, number: int) -> None:
        self.redis.lmove(f"{Q}bell", f"{Q}processing:{self.slots[number % len(self.slots)].talk.slot}", "RIGHT", "LEFT")

    @rule()
    def leases_run_out(self) -> None:
        self.clock(self.now + LEASE_MS + 1)
        self.reaper_ticks()

    @rule(number=numbers)
    def beat_comes_between_a_look_and_its_reap(self, number: int) -> None:
        self.clock(self.now + LEASE_MS + 1)
        self.reaper_looks(100)
        self.beat(number, 60_000, False)
        self.reaper_acts_on_what_it_saw(0, 100)

    @precondition(lambda self: any(slot.unanswered for slot in self.slots))
    @rule(number=numbers, fate=fates)
    def send_again(self, number: int, fate: str) -> None:
        waiting = [slot for slot in self.slots if slot.unanswered]
        slot = waiting[number % len(waiting)]
        assert slot.unanswered
        self.send(slot, slot.unanswered, fate)

    @precondition(lambda self: self.on_the_way)
    @rule(number=numbers)
    def late_exchange_arrives(self, number: int) -> None:
        self.arrives(self.on_the_way.pop(number % len(self.on_the_way)))

    @precondition(lambda self: self.calls)
    @rule(number=numbers)
    def copy_of_an_exchange_arrives(self, number: int) -> None:
        self.arrives(self.calls[-1 - number % len(self.calls)])

    @precondition(lambda self: self.copies)
    @rule(number=numbers)
    def copy_of_something_else_arrives(self, number: int) -> None:
        self.copies[-1 - number % len(self.copies)][1]()

    @precondition(lambda self: any(slot.running for slot in self.slots))
    @rule(number=numbers, outcome=outcomes, delay_ms=delays, fate=fates)
    def settle_alone(self, number: int, outcome: str, delay_ms: int, fate: str) -> None:
        """As the beat thread does, or a slot that replaces a hung one."""
        held = [(slot, job) for slot in self.slots for job in slot.running]
        slot, job = held[number % len(held)]
        slot.running.remove(job)
        end = self.ends(job, outcome if outcome != "forgotten" else "failed", delay_ms)
        self.send(slot, Call(f"{slot.name}-0", 0, 0, 0, [end]), fate)

    @precondition(lambda self: any(slot.running for slot in self.slots))
    @rule(number=numbers)
    def handler_starts(self, number: int) -> None:
        held = [job for slot in self.slots for job in slot.running]
        self.starts_to_run(held[number % len(held)])

    @rule(number=numbers, left_ms=st.sampled_from([60_000, 500, -2000]), obeys=st.booleans())
    def beat(self, number: int, left_ms: int, obeys: bool) -> None:
        worker = self.slots[number % len(self.slots)].name
        held = [(slot, job) for slot in self.slots if slot.name == worker for job in slot.running]
        said = [Held(job.id, job.token, left_ms, ["progress", "{}"]) for _, job in held]

        def send() -> list[str]:
            return self.queue.presence("default", worker, LEASE_MS, self.link).beat({}, {}, said)[1]

        for (slot, job), answer in zip(held, send(), strict=True):
            stored = self.hash(job.id)
            assert (answer == "lost") == ((stored.get("status"), stored.get("token")) != ("processing", job.token))
            if answer == "lost" and obeys:
                slot.running.remove(job)
        self.copy(worker, send)

    @rule(number=numbers)
    def worker_is_killed(self, number: int) -> None:
        worker = self.slots[number % len(self.slots)].name
        for slot in self.slots:
            if slot.name == worker:
                for job in slot.running:
                    self.starts_to_run(job)
        self.slots = [slot for slot in self.slots if slot.name != worker]
        self.dead.append(worker)
        self.new_worker()

    @precondition(lambda self: self.dead)
    @rule(number=numbers)
    def dead_worker_is_forgotten(self, number: int) -> None:
        worker = self.dead[number % len(self.dead)]
        if self.queue.recovery.leave("default", worker, self.queue.recovery.slots("default", worker)):
            self.dead.remove(worker)
            self.calls = [call for call in self.calls if not call.slot.startswith(f"{worker}-")]
            self.on_the_way = [call for call in self.on_the_way if not call.slot.startswith(f"{worker}-")]
            self.copies = [copy for copy in self.copies if copy[0] != worker]

    @rule(limit=st.sampled_from([1, 100]))
    def reaper_looks(self, limit: int) -> None:
        _, expired, beats = self.queue.recovery.expired("default", limit)
        self.looks = [*self.looks, (expired, beats)][-4:]

    @precondition(lambda self: self.looks)
    @rule(number=numbers, limit=st.sampled_from([1, 100]))
    def reaper_acts_on_what_it_saw(self, number: int, limit: int) -> None:
        self.recover(self.looks[-1 - number % len(self.looks)][0], limit)

    @rule()
    def reaper_ticks(self) -> None:
        self.recover(self.queue.recovery.expired("default", 100)[1], 100)

    def recover(self, expired: list[Expired], limit: int) -> list[str]:
        leases = dict(self.redis.zrange(f"{Q}leases", 0, -1, withscores=True))
        before = {entry.id: self.hash(entry.id) for entry in expired}
        outcomes = recover(self.queue, expired, limit, KEPT_MS)[0]
        for entry, outcome in zip(expired, outcomes, strict=True):
            held = before[entry.id].get("status") == "processing"
            same = held and before[entry.id]["token"].encode() == entry.token
            over = leases.get(entry.id) == float(entry.lease_end) <= self.now
            assert (outcome in ("queued", "failed", "cancelled")) == (same and over), (outcome, entry, before[entry.id])
        return outcomes

    @precondition(lambda self: self.looks)
    @rule(number=numbers, look=numbers)
    def reaper_lowers_a_worker_it_thinks_dead(self, number: int, look: int) -> None:
        beats = self.looks[-1 - look % len(self.looks)][1]
        if beats:
            worker = sorted(beats)[number % len(beats)]
            unchanged = self.redis.zscore(f"{Q}workers", worker) == float(beats[worker])
            assert self.queue.recovery.lower("default", worker, beats[worker]) == 0 or unchanged
            self.copy(worker, lambda: self.queue.recovery.lower("default", worker, beats[worker]))

    @rule(by_ms=st.sampled_from([1, 999, 1000, 1001, 5000, LEASE_MS, LEASE_MS + 1, 60_000, 600_000, -1000, -600_000]))
    def clock_moves(self, by_ms: int) -> None:
        self.clock(self.now + by_ms)

    @precondition(lambda self: self.jobs)
    @rule(number=numbers)
    def cancel(self, number: int) -> None:
        job_id = self.jobs[-1 - number % len(self.jobs)]
        status = self.hash(job_id).get("status")
        try:
            said = self.queue.cancel(job_id)
            assert said == ("asked" if status == "processing" else "cancelled")
            self.copy("cancel", lambda: run_script(self.queue, "cancel", "default", [job_id]))
        except NotFound:
            assert status is None
        except Conflict as conflict:
            assert conflict.status == status in ("done", "failed")

    @precondition(lambda self: self.jobs)
    @rule(number=numbers)
    def retry(self, number: int) -> None:
        ended = [job for job in self.jobs if self.hash(job).get("status") in ("failed", "cancelled")]
        job_id = ended[number % len(ended)] if ended else self.jobs[number % len(self.jobs)]
        status, request = self.hash(job_id).get("status"), f"request {next(self.request_numbers)}"

        def send() -> Any:
            return run_script(self.queue, "retry", "default", [request, 1, job_id])[0]

        for _ in range(2):
            assert send() == (b"retried" if ended else status.encode() if status else None)
        if ended:
            self.copies = [copy for copy in self.copies if copy[0] != f"retry {job_id}"]
            self.copy(f"retry {job_id}", send)

    @rule()
    def pause_or_resume(self) -> None:
        if self.paused():
            self.redis.hset(f"{Q}meta", "paused", 0)
            self.recover([], 100)
        else:
            self.redis.hset(f"{Q}meta", "paused", 1)

    @precondition(lambda self: self.jobs)
    @rule(number=numbers, index=st.sampled_from(["leases", "scheduled", "queue", "done", "failed"]), slot=numbers)
    def stale_id_turns_up_in_an_index(self, number: int, index: str, slot: int) -> None:
        """It is dropped, not obeyed."""
        job_id = self.jobs[number % len(self.jobs)]
        before = self.hash(job_id)
        if not before or INDEX_OF[before["status"]] == index:
            return
        if index == "queue":
            if before["status"] != "done" or self.paused():
                return
            self.redis.zadd(Q + index, {job_id: 0})
            self.exchange(slot, 1, [], "ok")
        else:
            self.redis.zadd(Q + index, {job_id: 0})
            looked = self.queue.recovery.expired("default", 100)[1] if index == "leases" else []
            stale = [entry for entry in looked if entry.id == job_id]
            assert self.recover(stale, 100) == ["stale"] * len(stale)
        after = self.hash(job_id)
        trimmed, promoted = not after, before | {"status": "queued"}
        assert trimmed or after == before or (before["status"] == "scheduled" and after == promoted)

    # -- what holds after every step

    @invariant()
    def checker_finds_nothing(self) -> None:
        assert self.queue.check("default") == []

    @invariant()
    def tags_count_every_job_as_what_it_is(self) -> None:
        assert living(counted(self.redis)) == there(self.redis)

    @invariant()
    def every_dead_letter_has_a_kind(self) -> None:
        kinds = self.queue.kinds()
        assert sum(kind.count for kind in kinds) == self.redis.zcard(f"{Q}failed")
        assert all(self.queue.get(kind.job_id).errors[-1]["kind"] == kind.kind for kind in kinds)

    @invariant()
    def success_is_recorded_at_most_once(self) -> None:
        self.ever_done |= set(self.redis.zrange(f"{Q}done", 0, -1))
        assert int(self.redis.hget(f"{Q}totals", "done") or 0) == len(self.ever_done)
        assert all(len(tokens) == 1 for tokens in self.successes.values())
        assert self.successes.keys() == self.ever_done

    @invariant()
    def no_handler_starts_more_often_than_it_is_counted(self) -> None:
        for (job_id, epoch), tokens in self.starts.items():
            job = self.hash(job_id)
            if job and job.get("retry", "") == epoch:
                attempts, snoozes = int(job.get("attempts", 0)), int(job.get("snoozes", 0))
                assert len(tokens) <= attempts + snoozes and attempts <= int(job["max_attempts"])

    @invariant()
    def no_job_is_lost(self) -> None:
        there = sum(self.redis.exists(f"{Q}job:{job_id}") for job_id in self.jobs)
        assert len(self.jobs) - there == int(self.redis.hget(f"{Q}totals", "trimmed") or 0)

    @invariant()
    def bell_has_been_rung_for_what_waits(self) -> None:
        waiting = self.redis.zcard(f"{Q}queue") > 0 and not self.paused()
        assert int(waiting) <= self.redis.llen(f"{Q}bell") <= 1

    def teardown(self) -> None:
        """Every acknowledged job ends."""
        self.redis.hset(f"{Q}meta", "paused", 0)
        slot = Slot(self.queue, "last")
        for _ in range(100):
            self.clock(self.now + 1_200_000)
            recover(self.queue, self.queue.recovery.expired("default", 100)[1], 100, {})
            self.exchange_all(slot)
            sizes = self.queue.books("default").sizes
            if not any(sizes[status] for status in STATUSES if status not in ENDED):
                break
        else:
            raise AssertionError(f"not all jobs end: {sizes}")
        self.checker_finds_nothing()

    def exchange_all(self, slot: Slot) -> None:
        while True:
            ended = [Settlement(job.id, job.token, "done") for job in slot.running]
            jobs = self.arrives(slot.calls(10, ended))
            assert jobs is not None
            slot.hears(jobs)
            if not jobs:
                return
