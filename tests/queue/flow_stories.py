"""Random stories of jobs that wait for jobs, judged after each script."""

from __future__ import annotations

import os
import random
import secrets
from collections import Counter, defaultdict
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple

import pytest

from _jobqueue.errors import NotWithOthers, ParentGone
from _jobqueue.records import BACKOFF, IN_PLACE, NEVER, STATUSES, Settlement, Submitted
from _jobqueue.store.link import Link
from jobqueue import Invalid, JobQueue, NewJob, Unavailable
from tests.harness import Server
from tests.played import LEASE_MS, Q, Worker, recover
from tests.queue.changed_scripts import CLOCK
from tests.queue.tagging import Counts, counts_of

STEP = 250  # children that one script tells


FEW = 3  # most ends leave something to be told later


ENDED = ("done", "failed", "cancelled")


RETENTION_MS = {"done": 40_000, "cancelled": 50_000, "failed": 90_000}


WANTS_END = 2**50


NOBODY = "00000000-0000-8000-8000-000000000000"


TWICE, LATE = 0.08, 0.08


MAY_COME_LATE = {"exchange", "tell", "submit"}


LOOK = """
local jobs, edges, tallies = {}, {}, {}
for _, name in ipairs(redis.call('KEYS', KEYS[1] .. 'job:*')) do
  local f = redis.call('HMGET', name, 'status', 'needs', 'born', 'tags')
  jobs[#jobs + 1] = { string.sub(name, #KEYS[1] + 5), f[1] or '', f[2] or '', f[3] or '', f[4] or '' }
end
for _, name in ipairs(redis.call('KEYS', KEYS[1] .. 'then:*')) do
  edges[#edges + 1] = { string.sub(name, #KEYS[1] + 6), redis.call('ZRANGE', name, 0, -1, 'WITHSCORES') }
end
for _, name in ipairs(redis.call('KEYS', KEYS[1] .. 'tally:*')) do
  tallies[#tallies + 1] = { string.sub(name, #KEYS[1] + 7), redis.call('HGETALL', name) }
end
return { jobs, edges, redis.call('ZRANGE', KEYS[1] .. 'ends', 0, -1), tallies }
"""


class Seen(NamedTuple):
    """All jobs at one instant."""

    status: dict[str, str]
    needs: dict[str, int]
    open: dict[str, set[str]]  # child -> parents
    wants_end: dict[tuple[str, str], bool]
    closed: dict[str, set[str]]  # parent -> children
    owed: set[str]
    tags: dict[str, list[str]]
    tallies: Counts


class Story:
    """One queue, some slots, operators, reapers. ``step`` does something by chance."""

    def __init__(self, server: Server, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self.random, self.redis = random.Random(seed), server.client
        self.redis.flushall()
        self.look_at = self.redis.register_script(LOOK)
        self.queue = JobQueue(server.url)
        self.link = self.queue.link()
        self.workers = [Worker(self.queue, f"w{number}") for number in range(3)]
        self.counts = Counter[str]()
        self.last = Seen({}, {}, {}, {}, {}, set(), {}, {})
        self.left: Counts = {}  # of each tag that holds any, those that are gone
        self.edges: dict[str, dict[str, str]] = {}  # child -> parent -> done or ended
        self.satisfied: set[tuple[str, str]] = set()
        self.losses, self.cascades, self.released, self.retried = (Counter[str]() for _ in range(4))
        self.to_cancel: set[tuple[str, str]] = set()
        self.gone: set[str] = set()
        self.late: list[tuple[str, str, Any]] = []
        self.watching, self.acting, self.trims = True, "", False
        self.clock(1_700_000_000_000)
        self.watch(monkeypatch)
        self.steps: list[Callable[[], None]] = [self.submits] * 4 + [self.submits_a_batch] * 5 + [self.works] * 14
        self.steps += (
            [self.ticks] * 4 + [self.cancels] * 2 + [self.retries] * 4 + [self.deletes] * 2 + [self.runs, self.dies]
        )
        self.steps += [self.has_many_children]
        self.steps += [self.time_passes] * 3 + [self.something_comes_late]

    def clock(self, now: int) -> None:
        self.now = now
        self.redis.set(CLOCK, now)

    # -- every script, perhaps twice, perhaps again much later, or its sender has died before

    def watch(self, monkeypatch: pytest.MonkeyPatch) -> None:
        run, transaction = Link._run, Link.transaction

        def one(link: Link, place: str, name: str, key: str, args: Any, *rest: Any) -> Any:
            if not self.watching or key != Q:
                return run(link, place, name, key, args, *rest)
            if name == "tell" and list(args) == [0] and self.random.random() < 0.5:
                self.counts["never told"] += 1
                raise Unavailable("its sender has died")
            answer = run(link, place, name, key, args, *rest)
            self.look(name)
            if self.random.random() < TWICE:
                run(link, place, name, key, args)
                self.look(f"{name} again")
                self.counts["twice"] += 1
            if name in MAY_COME_LATE and self.random.random() < LATE:
                self.late.append((name, key, list(args)))
            return answer

        def many(link: Link, key: str, calls: Any) -> Any:
            self.trims = True
            answer = transaction(link, key, calls)
            self.look("tick")
            self.trims = False
            return answer

        monkeypatch.setattr(os, "urandom", self.random.randbytes)  # the same story each time
        monkeypatch.setattr(secrets, "token_urlsafe", lambda n: self.random.randbytes(n).hex())
        monkeypatch.setattr(Link, "_run", one)
        monkeypatch.setattr(Link, "transaction", many)

    # -- the oracle

    def seen(self) -> Seen:
        jobs, edges, owed, tallies = self.look_at(keys=[Q])
        born = {job_id: own for job_id, _, _, own, _ in jobs}
        open_, closed = defaultdict[str, set[str]](set), defaultdict[str, set[str]](set)
        wants_end = {}
        for parent, rows in edges:
            for child, score in zip(rows[::2], map(float, rows[1::2]), strict=True):
                if born.get(child) != f"{abs(score) % WANTS_END:.0f}":
                    continue
                if score < 0:
                    closed[parent].add(child)
                else:
                    open_[child].add(parent)
                    wants_end[parent, child] = score > WANTS_END
        status = {job_id: its for job_id, its, _, _, _ in jobs}
        needs = {job_id: int(n or 0) for job_id, _, n, _, _ in jobs}
        tags = {job_id: names.split() for job_id, _, _, _, names in jobs}
        counts = {tag: counts_of(dict(zip(flat[::2], flat[1::2], strict=True))) for tag, flat in tallies}
        return Seen(status, needs, open_, wants_end, closed, set(owed), tags, counts)

    def look(self, what: str) -> None:
        before, now = self.last, self.seen()
        self.last = now
        self.gone |= before.status.keys() - now.status.keys()
        for job_id in before.status.keys() | now.status.keys():
            self.note(job_id, before.status.get(job_id), now.status.get(job_id), now)
        for job_id in before.status.keys() | now.status.keys():
            self.judge(what, job_id, before.status.get(job_id), now.status.get(job_id))
        for job_id, needs in now.needs.items():
            assert needs == len(now.open[job_id]), (what, job_id, needs, now.open[job_id])
            assert (now.status[job_id] == "blocked") <= (needs > 0), (what, job_id, "is blocked by nothing")
            assert now.status[job_id] in ("blocked", "cancelled") or not needs, (
                what,
                job_id,
                now.status[job_id],
                needs,
            )
        for (parent, child), wants_end in now.wants_end.items():
            is_owed = self.is_satisfied(now.status.get(parent), wants_end) or parent not in now.status
            assert not is_owed or parent in now.owed, (what, f"{child} waits for {parent} and nobody will tell it")
        self.to_cancel = {
            (parent, child)
            for parent, child in self.to_cancel
            if now.status.get(child) == "blocked" and now.status.get(parent) == "cancelled"
        }
        assert {parent for parent, _ in self.to_cancel} <= now.owed, (what, "a cascade is forgotten", self.to_cancel)
        if self.trims:
            self.trimmed(before, now)
        self.tags_count(what, before, now)

    def tags_count(self, what: str, before: Seen, now: Seen) -> None:
        """Every job as what it is; those that are gone as trimmed or deleted, until the tag holds none."""
        right: Counts = defaultdict(Counter)
        for job_id, tags in now.tags.items():
            for tag in tags:
                right[tag][now.status[job_id]] += 1
        for job_id in before.status.keys() - now.status.keys():
            for tag in before.tags[job_id]:
                self.left.setdefault(tag, Counter())["trimmed" if self.trims else "deleted"] += 1
        self.left = {tag: gone for tag, gone in self.left.items() if tag in right}
        for tag, gone in self.left.items():
            right[tag] += gone
        assert now.tallies == right, (what, now.tallies, right)
        self.counts["counted"] += len(right)

    def trimmed(self, before: Seen, now: Seen) -> None:
        for parent in before.status.keys() - now.status.keys():
            waiting = any(
                parent in parents and before.status[child] == "blocked" for child, parents in before.open.items()
            )
            children = [
                child for child in before.closed[parent] if now.status.get(child) != "cancelled"
            ]  # it expired first
            readers = {before.status.get(child) for child in children} - {None, "done", "cancelled"}
            assert waiting or not readers, (parent, "was trimmed, and children may read it", readers)

    @staticmethod
    def is_satisfied(status: str | None, wants_end: bool) -> bool:
        return status == "done" or (wants_end and status in ENDED)

    def note(self, job_id: str, was: str | None, status: str | None, now: Seen) -> None:
        if was != status and status in ("cancelled", None) and was != "done":
            self.losses[job_id] += 1
        if was != status and status == "cancelled":
            self.to_cancel |= {
                (job_id, child)
                for (parent, child), wants_end in now.wants_end.items()
                if parent == job_id and not wants_end and now.status[child] == "blocked"
            }
        for child, parents in self.edges.items():
            if job_id in parents and self.is_satisfied(status, parents[job_id] == "ended"):
                self.satisfied.add((job_id, child))
        if was in ENDED and status in ("queued", "blocked"):
            self.retried[job_id] += 1

    def judge(self, what: str, job_id: str, was: str | None, status: str | None) -> None:
        assert status is None or status in STATUSES
        assert was != "done" or status in ("done", None), (what, job_id, status)
        if was == "blocked" and status in ("queued", "scheduled", "processing"):
            self.released[job_id] += 1
            self.counts["released"] += 1
            assert self.released[job_id] <= 1 + self.retried[job_id], (what, job_id, "was released too often")
            self.may_run(what, job_id)
        if was == "blocked" and status == "cancelled" and job_id not in self.acting:
            self.cascades[job_id] += 1
            self.counts["cascades"] += 1
            lost = sum(self.losses[parent] for parent, wants in self.edges[job_id].items() if wants == "done")
            assert self.cascades[job_id] <= lost, (what, job_id, "was cancelled, and no parent was lost")

    def may_run(self, what: str, job_id: str) -> None:
        for parent, wants in self.edges.get(job_id, {}).items():
            gone = parent in self.gone and (wants == "ended" or self.retried[job_id])
            assert gone or (parent, job_id) in self.satisfied, (what, f"{job_id} runs before {parent} is {wants}")

    # -- steps

    def step(self) -> str:
        chosen = self.random.choice(self.steps)
        if len(self.last.status) > 50 and chosen in (self.submits, self.submits_a_batch, self.has_many_children):
            chosen = self.works
        chosen()
        return chosen.__name__

    def one(self) -> str:
        return self.random.choice(sorted(self.last.status) or [NOBODY])

    def options(self) -> dict[str, Any]:
        pick = self.random.choice
        return {
            "max_attempts": pick([1, 2]),
            "backoff_s": 1,
            "delay_s": pick([None, None, None, 3]),
            "expires_s": pick([None, None, None, None, 5]),
            "unique_key": pick([None, None, None, f"u{pick([1, 2, 3])}"]),
            "when": pick(["done", "done", "ended"]),
            "tags": pick([(), ("x",), ("x", "y")]),
        }

    def submits(self) -> None:
        parents = [*{self.one(): 0 for _ in range(self.random.choice([0, 1, 1, 2, 6]))}]
        if self.random.random() < 0.05:
            parents.append(self.random.choice(sorted(self.gone) or [self.one()]))
        self.submit([NewJob(after=parents, **self.options())])

    def submits_a_batch(self) -> None:
        """With names, all before, and jobs that are there."""
        jobs: list[NewJob] = []
        for number in range(self.random.choice([2, 3, 5, 9])):
            pool = [*(f"n{n}" for n in range(number)), *(self.one() for _ in range(2))]
            some = [*{self.random.choice(pool): 0 for _ in range(self.random.choice([0, 1, 2, 3]))}]
            after = ["*"] if number and self.random.random() < 0.25 else some
            jobs.append(NewJob(name=f"n{number}", after=after, **self.options()))
        self.submit(jobs)

    def submit(self, jobs: list[NewJob]) -> None:
        """Edges are known to the oracle before the script has run."""
        before, key = self.last.status, self.random.choice([None, None, f"k{self.random.random()}"])
        self.watching = False  # whom a job waits for is known when its id is
        answers = self.queue.submit_many(jobs, key=key)
        self.watching = True
        if not answers[0].job:
            self.refused(jobs, answers, before)
        self.learn(jobs, answers, before)
        self.look("submit")
        for answer in answers:
            if answer.job and not answer.existing:
                self.born(answer.job.id, answer.job.status)
        if key and answers[0].job:
            again = self.queue.submit_many(jobs, key=key)
            assert [answer.job and answer.job.id for answer in again] == [
                answer.job and answer.job.id for answer in answers
            ]

    def learn(self, jobs: list[NewJob], answers: list[Submitted], before: dict[str, str]) -> None:
        ids = [answer.job.id if answer.job else "" for answer in answers]
        for place, (job, answer) in enumerate(zip(jobs, answers, strict=True)):
            if answer.job and not answer.existing:
                named = {f"n{n}": ids[n] for n in range(place)}
                parents = ids[:place] if job.after == ["*"] else [named.get(parent, parent) for parent in job.after]
                self.edges[answer.job.id] = dict.fromkeys(parents, job.when)
                for parent in parents:
                    if self.is_satisfied(before.get(parent), job.when == "ended"):
                        self.satisfied.add((parent, answer.job.id))

    def born(self, job_id: str, status: str) -> None:
        edges = self.edges.get(job_id, {})
        waits = any((parent, job_id) not in self.satisfied for parent in edges)
        assert (status == "blocked") == waits, (job_id, status, edges)
        self.counts["blocked"] += waits

    def refused(self, jobs: list[NewJob], answers: list[Submitted], before: dict[str, str]) -> None:
        """Nothing is stored, and one of them says why."""
        assert self.seen().status == before
        [wrong] = [place for place, answer in enumerate(answers) if not isinstance(answer.error, NotWithOthers)]
        error = answers[wrong].error
        assert isinstance(error, Invalid)
        [(pointer, _)] = error.problems
        assert pointer.startswith("/after/")
        if isinstance(error, ParentGone):
            assert "cancelled" in before.values() and jobs[wrong].when == "done"
        else:
            assert any(parent in {*self.gone, NOBODY} for parent in jobs[wrong].after), error
        self.counts["refused"] += 1

    def works(self) -> None:
        worker, ends = self.random.choice(self.workers), [("done", 0)] * 4 + [("failed", BACKOFF), ("failed", IN_PLACE)]
        ends += [("failed", NEVER), ("released", 0), ("cancelled", 0), ("snoozed", 500)]
        ended = []
        for job in worker.running:
            outcome, delay = self.random.choice(ends)
            ended.append(Settlement(job.id, job.token, outcome, delay, "Boom", "boom"))
        self.acting = " ".join(job.id for job in worker.running)
        try:
            worker.running = worker.exchange(*ended, want=self.random.choice([0, 1, 2, 5]))[1]
        except Unavailable:  # a copy that came late has used its number
            worker.running = []
        self.acting = ""

    def dies(self) -> None:
        self.workers.remove(self.random.choice(self.workers))
        self.workers.append(Worker(self.queue, f"w{self.random.random()}"))

    def ticks(self) -> None:
        expired = self.queue.recovery.expired("default", 100)[1]
        recover(self.queue, expired, 100, RETENTION_MS)

    def acts(self, action: str, n: int) -> None:
        ids = [self.one() for _ in range(n)]
        self.acting = " ".join(ids)
        self.queue.act_on(action, ids)
        self.acting = ""

    def cancels(self) -> None:
        self.acts("cancel", self.random.choice([1, 1, 5]))

    def retries(self) -> None:
        ended = [job_id for job_id, status in sorted(self.last.status.items()) if status in ("failed", "cancelled")]
        self.queue.act_on("retry", self.random.sample(ended, min(len(ended), self.random.choice([1, 2, 5]))))

    def deletes(self) -> None:
        """Also one that has not told all of its children yet."""
        owing = [job_id for job_id in sorted(self.last.owed) if job_id in self.last.status]
        if owing and self.random.random() < 0.5:
            self.acting = owing[0]
            self.queue.act_on("delete", owing[:1])
            self.acting = ""
        else:
            self.acts("delete", 1)

    def has_many_children(self) -> None:
        parent = self.one()
        if self.last.status.get(parent) not in (None, "cancelled"):
            self.submit([NewJob(after=[parent], **self.options()) for _ in range(8)])

    def runs(self) -> None:
        self.acts("run", 2)

    def time_passes(self) -> None:
        self.clock(self.now + self.random.choice([0, 1, 500, 1000, 4000, LEASE_MS + 1, -500]))

    def something_comes_late(self) -> None:
        for name, key, args in self.late:
            self.acting = " ".join(map(str, args))
            if name == "submit" and args[8] not in self.last.status:
                continue  # nobody's message is under way for as long as a job is kept
            with suppress(Unavailable):
                self.link.run(name, key, args)
            self.counts["late"] += 1
        self.acting, self.late = "", []

    # -- the end

    def ends(self) -> None:
        """What can run is done; then time alone empties the queue, and nothing is left of any edge."""
        self.something_comes_late()
        self.workers = [Worker(self.queue, "last")]
        self.clock(self.now + 2 * LEASE_MS)
        self.rests(lambda: not self.last.owed and not self.lives("queued", "scheduled", "processing"), 1000)
        self.counts["waiting at rest"] += len(self.lives("blocked"))
        assert self.queue.check("default") == []
        self.rests(lambda: not self.last.status and not self.last.owed, 20_000)
        kept = {key.removeprefix(Q).split(":")[0] for key in self.redis.scan_iter(f"{Q}*", 1000)}
        assert not kept & {"then", "after", "ends", "blocked", "stuck", "unique", "tag", "tally", "expires"}, kept
        assert self.queue.books("default").missing == 0

    def rests(self, rested: Callable[[], bool], step_ms: int) -> None:
        last = self.workers[0]
        for _ in range(400):
            self.ticks()
            self.acting = " ".join(job.id for job in last.running)
            last.running = last.exchange(*(Settlement(job.id, job.token, "done") for job in last.running), want=30)[1]
            if rested():
                return
            self.clock(self.now + step_ms)
        raise AssertionError(f"it comes to no rest: {Counter(self.last.status.values())}, {self.last.owed}")

    def lives(self, *statuses: str) -> list[str]:
        return [job_id for job_id, status in self.last.status.items() if status in statuses]


def tell(server: Server, seed: int, monkeypatch: pytest.MonkeyPatch, steps: int = 300) -> Counter[str]:
    told: list[str] = []
    with monkeypatch.context() as patch:
        story = Story(server, seed, patch)
        try:
            for number in range(steps):
                told.append(story.step())
                if number % 25 == 0:
                    assert story.queue.check("default") == []
            story.ends()
        except BaseException as error:
            if hasattr(error, "add_note"):
                error.add_note(f"seed {seed}, step {len(told)}: {told[-4:]}")
            raise
    return story.counts
