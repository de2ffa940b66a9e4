"""What a test plays itself: a worker of one thread, a reaper's tick, the clock of Redis.

Time passes by moving what is stored: a lease, a due time, a beat."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from _jobqueue.books import Expired
from _jobqueue.kits import kit_of
from _jobqueue.pieces import result_fields
from _jobqueue.records import BACKOFF, DAY_MS, NEVER, Claimed, Held, Settlement
from _jobqueue.store.link import Link
from jobqueue import Job, JobQueue, Policy
from tests.harness import Server, eventually

Q = "jq:{default}:"
LEASE_MS = 10_000
HOUR_MS = 3_600_000
UNHANDLED_MS = 7 * DAY_MS
RETENTION_MS = {"done": DAY_MS, "cancelled": DAY_MS, "failed": 7 * DAY_MS}


# ---------------------------------------------------------------------------------------------------------- worker


@dataclass(frozen=True)
class Call:
    """An exchange as it is sent. It may arrive late, or twice. ``seq`` 0: it settles only, as a worker's beat does."""

    slot: str
    seq: int
    seen: int
    want: int
    ended: Sequence[Settlement]

    @property
    def token(self) -> str:
        return f"{self.slot}:{self.seq}"

    def arrives(self, jobs: JobQueue, link: Link) -> tuple[list[bool], list[Claimed]]:
        if self.seq == 0:
            return jobs.presence("default", self.slot.rpartition("-")[0], LEASE_MS, link).settle(self.ended), []
        talk = jobs.conversation("default", self.slot, LEASE_MS, link)
        talk.seq, talk.seen = self.seq, self.seen
        return talk.exchange(self.ended, self.want, again=True)


class Worker:
    """A worker's side, played by a test: one thread that claims and settles, and the worker's beat."""

    def __init__(
        self, jobs: JobQueue, name: str = "w", number: int = 1, queue: str = "default", lease_ms: int = LEASE_MS
    ) -> None:
        self.jobs, self.name, self.queue = jobs, name, queue
        self.talk = jobs.conversation(queue, f"{name}-{number}", lease_ms)
        self.link = self.talk.link
        self.presence = jobs.presence(queue, name, lease_ms, self.link)
        self.types: tuple[str, ...] = ("echo",)
        self.policies: dict[str, Policy] = {}
        self.also: dict[str, Any] = {}  # said at each beat
        self.running: list[Claimed] = []  # claimed and not ended, as far as it knows

    def exchange(self, *ended: Settlement, want: int = 1, lost: bool = False) -> tuple[list[bool], list[Claimed]]:
        """Settle and claim under the next seq. ``lost``: the answer does not reach the worker."""
        seen = self.talk.seen
        self.call = Call(self.talk.slot, self.talk.seq + 1, seen, want, ended)
        answer = self.talk.exchange(ended, want)
        if lost:
            self.talk.seen = seen
        return answer

    def again(self) -> tuple[list[bool], list[Claimed]]:
        """The last exchange once more, to the byte."""
        self.talk.seen = self.call.seen
        return self.talk.exchange(self.call.ended, self.call.want, again=True)

    def claim(self, want: int = 1) -> list[Claimed]:
        claimed = self.exchange(want=want)[1]
        self.running += claimed
        return claimed

    def wait(self, want: int = 1, alive_ms: int = LEASE_MS, lost: bool = False) -> list[Claimed]:
        """For the bell, with a claim behind it under the next seq."""
        seen = self.talk.seen
        claimed = self.talk.wait_and_claim(want, alive_ms)
        if lost:
            self.talk.seen = seen
        return claimed

    def settle(self, *ended: Settlement) -> list[bool]:
        """Settle without a claim, as a worker's beat thread does."""
        return self.presence.settle(ended)

    def end(
        self, outcome: str, *jobs: Claimed, delay_ms: int = NEVER, kind: str = "Boom", message: str = "it went wrong"
    ) -> None:
        """End these jobs, or all that run."""
        ending = list(jobs) or self.running
        fields = result_fields("a result", 1000) if outcome == "done" else []
        ended = [Settlement(job.id, job.token, outcome, delay_ms, kind, message, fields) for job in ending]
        assert all(self.settle(*ended))
        self.running = [job for job in self.running if job not in ending]

    def give(self, outcome: str, n: int = 1, kind: str = "Boom", message: str = "it went wrong") -> list[str]:
        """End the next jobs of the queue so; their ids."""
        claimed = self.claim(n)
        assert len(claimed) == n
        self.end(outcome, *claimed, kind=kind, message=message)
        return [job.id for job in claimed]

    def beat(self, *held: Held, **types: Policy) -> list[str]:
        """What each attempt is told. The leases of those that are not mentioned stay as they are."""
        running = [{"job_id": job.id, "type": job.type, "for_s": 1} for job in self.running]
        info = {"host": "here", "pid": 1, "version": "0", "threads": 2, "types": self.types, "running": running}
        info["webhooks"] = True  # it writes what is to be told of an end
        return self.presence.beat(info | self.also, types or self.policies, held)[1]

    def handles(self, *types: str) -> Worker:
        """From now on it takes these types alone, as its beat says."""
        self.types, self.policies = types, dict.fromkeys(types, Policy())
        self.talk.kit = kit_of(self.policies)
        self.beat()
        return self

    def renew(self, *fields: str) -> list[str]:
        """Beat for all that run."""
        return self.beat(*[Held(job.id, job.token, 60_000, fields) for job in self.running])

    def tend(self) -> None:
        """What keeps a queue healthy: this worker's beat, and a reaper's tick."""
        self.renew()
        tick(self.jobs, self.queue)


def ended(job: Claimed, outcome: str = "done", delay_ms: int = BACKOFF, token: str = "") -> Settlement:
    fields = result_fields("a result", 1000) if outcome == "done" else []
    return Settlement(job.id, token or job.token, outcome, delay_ms, "Boom", "it went wrong", fields)


# ---------------------------------------------------------------------------------------------------------- reaper


def tick(jobs: JobQueue, queue: str = "default", retention_ms: dict[str, int] = RETENTION_MS) -> list[str]:
    """One tick of a reaper. Returns what became of expired leases."""
    _, expired, _ = jobs.recovery.expired(queue, 500)
    return recover(jobs, expired, 500, retention_ms, queue)[0]


def recover(
    jobs: JobQueue, expired: Sequence[Expired], limit: int, retention_ms: dict[str, int], queue: str = "default"
) -> tuple[list[str], int, int]:
    """A reaper's transaction after a look. Returns what became of the expired jobs, and how many were promoted and trimmed."""
    transaction = jobs.recovery.transaction(queue)
    transaction.expire(limit)
    transaction.promote(limit)
    for status, kept_ms in retention_ms.items():
        transaction.trim(status, kept_ms, limit)
    transaction.reap(expired, "its lease ran out")
    transaction.let_in(limit)
    transaction.tidy(limit, UNHANDLED_MS)
    transaction.tell(limit)
    return transaction.execute()


# ------------------------------------------------------------------------------------------------------ what is there


def ids(jobs: Sequence[Any]) -> list[str]:
    return [job.id for job in jobs]


def score(server: Server, index: str, job_id: str) -> float | None:
    return server.client.zscore(f"{Q}{index}", job_id)


def total(queue: JobQueue, name: str) -> int:
    return queue.books("default").totals.get(name, 0)


def dump(server: Server, key: str) -> Any:
    read = {
        "hash": server.client.hgetall,
        "string": server.client.get,
        "list": lambda key: server.client.lrange(key, 0, -1),
        "zset": lambda key: server.client.zrange(key, 0, -1, withscores=True),
        "set": server.client.smembers,
        "none": lambda key: None,
    }
    return read[server.client.type(key)](key)


def snapshot(server: Server) -> dict[str, Any]:
    """All that Redis holds."""
    return {key: dump(server, key) for key in sorted(server.client.keys())}


# ----------------------------------------------------------------------------------------------------------- clock


def now_ms(server: Server) -> int:
    seconds, micros = server.client.time()
    return int(seconds * 1000 + micros // 1000)


def passes(server: Server, index: str, *jobs: Claimed | Job) -> None:
    """The lease has run out, the delay is over: what these jobs wait for in an index was a moment ago."""
    assert all(score(server, index, job.id) is not None for job in jobs)
    server.client.zadd(f"{Q}{index}", {job.id: now_ms(server) - 1 for job in jobs}, xx=True)


def a_moment_passes(server: Server) -> None:
    """What fails now fails in a later millisecond than all before."""
    began = now_ms(server)
    eventually(lambda: now_ms(server), equals=lambda now: now > began)


# --------------------------------------------------------------------------------------- what is inside of JobQueue


def run_script(jobs: JobQueue, name: str, queue: str, args: Sequence[Any]) -> Any:
    """What a script answers, and changes, beside what JobQueue makes of it."""
    return jobs.store.run(name, queue, args)
