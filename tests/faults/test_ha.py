"""F47 to F50: a primary is lost, demoted, frozen or cut off while jobs are submitted and done.

Threads submit through JobQueue and note, outside Redis, what they were told; one worker process does the jobs and a reaper
looks after them. What must hold is asserted: no job that a replica had confirmed is lost, none succeeds twice on the Redis
that is left, every invariant holds. What asynchronous replication may lose of the others is printed, with the downtime.
"""

from __future__ import annotations

import itertools
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import pytest

from jobqueue import JobQueue, NewJob, NotFound, Unavailable
from tests.faults.ledger import Ledger
from tests.harness import Cluster, Sentinels, Server, System, eventually

pytestmark = pytest.mark.long(12)
TIMEOUT_S = "3"  # of a job, and the lease
CUT_OFF_S = 10


@dataclass
class Told:
    """What submitters were told. Monotonic seconds."""

    acked: dict[str, bool] = field(default_factory=dict)  # id -> confirmed
    at: list[tuple[float, float]] = field(default_factory=list)  # begin and end of each submit that was answered

    def longest_gap_s(self) -> float:
        """The longest time without an answer."""
        ends = sorted(end for _, end in self.at)
        return max((after - before for before, after in itertools.pairwise(ends)), default=0.0)

    def slowest(self, share: float) -> float:
        lasted = sorted(end - begin for begin, end in self.at)
        return lasted[int(share * (len(lasted) - 1))]


@contextmanager
def load(url: str, queue: str, durability: str = "fast", every_s: float = 0.01, threads: int = 3) -> Iterator[Told]:
    """Submit all the time, each job under a key of its own, which is repeated until there is an answer."""
    told, stop, lock = Told(), threading.Event(), threading.Lock()
    jobs = JobQueue(url, timeout_s=1.0, retries=1, durability=durability)

    def submit(number: int) -> None:
        count = 0
        while not stop.wait(every_s):
            count, began = count + 1, time.monotonic()
            while not stop.is_set():
                try:
                    stored = jobs.submit_one(
                        NewJob("noted", {"s": 0.005}, queue=queue), key=f"{queue}-{number}-{count}"
                    )
                except (Unavailable, NotFound):  # not found: stored, answered to nobody, and lost
                    stop.wait(0.02)
                    continue
                with lock:
                    assert stored.job
                    told.acked[stored.job.id] = bool(stored.job.durability)
                    told.at.append((began, time.monotonic()))
                break

    submitters = [threading.Thread(target=submit, args=(number,)) for number in range(threads)]
    for submitter in submitters:
        submitter.start()
    try:
        yield told
    finally:
        stop.set()
        for submitter in submitters:
            submitter.join()


@contextmanager
def programs(url: str, server: Server, queues: Sequence[str]) -> Iterator[tuple[System, Ledger]]:
    """A worker with the noting handlers, and a reaper."""
    system, ledger = System(server, url), Ledger()
    failed = True
    try:
        flags = ("--queues", ",".join(queues), "--threads", str(4 * len(queues)), "--handlers", "tests.faults.ledger")
        system.worker(*flags, PROCESSING_TIMEOUT_S=TIMEOUT_S, LOG_JOBS="failures", **ledger.environment)
        system.reaper(PROCESSING_TIMEOUT_S=TIMEOUT_S)
        yield system, ledger
        failed = False
    finally:
        system.close(show_logs=failed)
        ledger.close()


@dataclass
class Verdict:
    acked: int
    confirmed: int
    lost: list[str]
    lost_confirmed: list[str]
    dup: int
    rerun: int  # jobs of which a success was recorded, forgotten, and recorded again


def verdict(system: System, ledger: Ledger, queue: str, told: Told) -> Verdict:
    """Once all that is left has ended."""
    jobs = JobQueue(system.url)

    def waiting() -> Any:
        try:
            sizes = jobs.books(queue).sizes
            return sum(sizes[status] for status in ("queued", "scheduled", "processing"))
        except Unavailable as error:
            return error

    eventually(waiting, equals=0, within_s=40)
    assert jobs.check(queue) == []
    lost = []
    for job_id in told.acked:
        try:
            assert jobs.get(job_id).status == "done"
        except NotFound:
            lost.append(job_id)
    books = jobs.books(queue)
    ended = {job_id: sum(run.ended is not None for run in runs) for job_id, runs in ledger.runs().items()}
    return Verdict(
        len(told.acked),
        sum(told.acked.values()),
        lost,
        [job_id for job_id in lost if told.acked[job_id]],
        books.totals.get("done", 0) - books.sizes["done"],  # each success that was accepted is one job
        sum(n > 1 for n in ended.values()),
    )


def say(row: str, told: Told, found: Verdict, more: str = "") -> None:
    confirmed = f" ({found.confirmed} confirmed)" if found.confirmed else ""
    print(
        f"\n{row}: acked {found.acked}{confirmed}, lost {len(found.lost)}, lost of the confirmed {len(found.lost_confirmed)}, "
        f"dup {found.dup}, handlers run again {found.rerun}, downtime {told.longest_gap_s():.1f} s{more}"
    )


def passed(found: Verdict) -> None:
    assert found.acked > 50
    assert not found.lost_confirmed
    assert found.dup == 0


# ------------------------------------------------------------------------------------------------ F47: Sentinel


def kill_primary(sentinels: Sentinels) -> None:
    before = sentinels.named()
    before.kill()
    eventually(lambda: sentinels.named() is not before, within_s=20)


def ask_for_failover(sentinels: Sentinels) -> None:
    before = sentinels.named()
    sentinels.watchers[0].client.execute_command("SENTINEL FAILOVER", sentinels.SERVICE)
    eventually(lambda: sentinels.named() is not before, within_s=20)


def pause_and_ask_for_failover(sentinels: Sentinels) -> None:
    """Until it has become a replica, the old primary takes nothing that would be lost."""
    before = sentinels.named()
    before.client.client_pause(20_000, all=False)
    assert before.client.wait(2, 2000) == 2
    ask_for_failover(sentinels)


def freeze_primary(sentinels: Sentinels) -> None:
    before = sentinels.named()
    before.process.send_signal(signal.SIGSTOP)
    threading.Event().wait(10)
    before.process.send_signal(signal.SIGCONT)
    eventually(lambda: before.client.info("replication")["role"], equals="slave", within_s=20)


@pytest.mark.parametrize(
    ("name", "strike", "durability"),
    [
        ("kill -9", kill_primary, "replicated"),
        ("SENTINEL FAILOVER", ask_for_failover, "replicated"),
        ("kill -9", kill_primary, "fast"),
        ("SENTINEL FAILOVER", ask_for_failover, "fast"),
        ("CLIENT PAUSE, SENTINEL FAILOVER", pause_and_ask_for_failover, "fast"),
        ("SIGSTOP 10 s", freeze_primary, "fast"),
        ("SIGSTOP 10 s", freeze_primary, "replicated"),
    ],
)
def test_f47_a_failover_loses_no_confirmed_job(
    name: str, strike: Callable[[Sentinels], None], durability: str, capsys: pytest.CaptureFixture[str]
) -> None:
    sentinels = Sentinels()
    try:
        with programs(sentinels.url, sentinels.primary, ["default"]) as (system, ledger):
            with load(sentinels.url, "default", durability) as told:
                eventually(lambda: len(told.acked) > 100)
                strike(sentinels)
                count = len(told.acked)
                eventually(lambda: len(told.acked) > count + 100, within_s=20)
            found = verdict(system, ledger, "default", told)
            with capsys.disabled():
                say(f"F47 {name}, {durability}", told, found)
            passed(found)
    finally:
        sentinels.close()


# ------------------------------------------------------------------------------------------------ F48: split brain


class Wire:
    """A port that leads to another one, until it is cut: then nothing passes, as when packets are dropped."""

    def __init__(self, port: int) -> None:
        self.to, self.passes = port, threading.Event()
        self.passes.set()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self.listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self.listener.accept()
                far = socket.create_connection(("127.0.0.1", self.to))
                for source, sink in ((near, far), (far, near)):
                    threading.Thread(target=self._pump, args=(source, sink), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                self.passes.wait()
                sink.sendall(data)
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self.passes.set()
        self.listener.close()


@pytest.mark.long(20)
@pytest.mark.parametrize(
    ("name", "settings", "durability"),
    [
        ("without min-replicas-to-write, replicated", (), "replicated"),
        ("without min-replicas-to-write, fast", (), "fast"),
        (
            "min-replicas-to-write 1, max-lag 2, fast",
            ("--min-replicas-to-write", "1", "--min-replicas-max-lag", "2"),
            "fast",
        ),
    ],
)
def test_f48_a_primary_that_is_cut_off_with_its_clients_loses_no_confirmed_job(
    name: str, settings: Sequence[str], durability: str, capsys: pytest.CaptureFixture[str]
) -> None:
    wires: list[Wire] = []

    def through(port: int) -> int:
        wires.append(Wire(port))
        return wires[0].port

    sentinels = Sentinels(*settings, through=through)
    try:
        # These clients are on the primary's side of the cut and know nothing of the Sentinels on the other.
        with load(sentinels.primary.url, "default", durability) as told:
            eventually(lambda: len(told.acked) > 100)
            cut_at = time.monotonic()
            wires[0].passes.clear()
            eventually(lambda: sentinels.named() is not sentinels.primary, within_s=20)
            threading.Event().wait(max(0.0, cut_at + CUT_OFF_S - time.monotonic()))
        took_s = max(end for _, end in told.at) - cut_at
        wires[0].passes.set()
        old = sentinels.primary.client
        eventually(lambda: old.info("replication").get("master_link_status"), equals="up", within_s=30)
        jobs = JobQueue(sentinels.url)
        there = set(sentinels.named().client.zrange("jq:{default}:queue", 0, -1))
        lost = told.acked.keys() - there
        found = Verdict(len(told.acked), sum(told.acked.values()), [*lost], [i for i in lost if told.acked[i]], 0, 0)
        with capsys.disabled():
            say(f"F48 {name}", told, found, f", took jobs for {took_s:.1f} of {CUT_OFF_S} s")
        passed(found)
        assert jobs.check("default") == []
        if settings:
            assert took_s < 6
    finally:
        wires[0].close()
        sentinels.close()


# ------------------------------------------------------------------------------------------------ F49: reshard


def test_f49_a_queue_whose_slot_is_moved_twenty_times_loses_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    cluster, pauses = Cluster(), list[float]()
    queue, other, _ = cluster.queues()
    try:
        with programs(cluster.url, cluster.nodes[0], [queue]) as (system, ledger):
            with load(cluster.url, queue) as told, load(cluster.url, other) as spared:
                eventually(lambda: len(told.acked) > 100)
                for turn in range(20):
                    count = len(told.acked)
                    began = time.monotonic()
                    with cluster.moving(queue, cluster.masters[(turn + 1) % 2]):
                        pass
                    pauses.append(time.monotonic() - began)
                    eventually(lambda count=count: len(told.acked) > count + 20, within_s=20)
            found = verdict(system, ledger, queue, told)
            pauses.sort()
            with capsys.disabled():
                say(
                    "F49 20 moves",
                    told,
                    found,
                    f", moves p50 {pauses[9]:.2f} max {pauses[-1]:.2f} s, submits p99 {told.slowest(0.99):.2f} s, "
                    f"elsewhere {spared.longest_gap_s():.2f} s",
                )
            passed(found)
            assert not found.lost
    finally:
        cluster.close()


# ------------------------------------------------------------------------------------------------ F50: Cluster


def kill_master(cluster: Cluster, queue: str) -> None:
    cluster.owner(queue).kill()


def cluster_failover(cluster: Cluster, queue: str) -> None:
    replica = cluster.nodes[len(cluster.masters) + cluster.masters.index(cluster.owner(queue))]
    replica.client.execute_command("CLUSTER FAILOVER")
    eventually(lambda: replica.client.info("replication")["role"], equals="master", within_s=20)


@pytest.mark.parametrize(
    ("name", "strike", "durability"),
    [
        ("kill -9", kill_master, "replicated"),
        ("kill -9", kill_master, "fast"),
        ("CLUSTER FAILOVER", cluster_failover, "fast"),
    ],
)
def test_f50_a_shard_that_fails_over_leaves_the_others_alone(
    name: str, strike: Callable[[Cluster, str], None], durability: str, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster = Cluster(masters=3, replicas=1)
    # The worst case: the shard also has the registry of the queues.
    queue = next(name for name in cluster.queues() if cluster.owner(name) is cluster.owner("jq:queues"))
    other = next(name for name in cluster.queues() if name != queue)
    survivor = next(master for master in cluster.masters if master is not cluster.owner(queue))
    try:
        with programs(cluster.url, survivor, [queue, other]) as (system, ledger):
            with load(cluster.url, queue, durability) as told, load(cluster.url, other, durability) as spared:
                eventually(lambda: min(len(told.acked), len(spared.acked)) > 100)
                strike(cluster, queue)
                count = len(told.acked)
                eventually(lambda: len(told.acked) > count + 50, within_s=30)
            found, elsewhere = verdict(system, ledger, queue, told), verdict(system, ledger, other, spared)
            with capsys.disabled():
                say(
                    f"F50 {name}, {durability}",
                    told,
                    found,
                    f"; on another shard lost {len(elsewhere.lost)}, downtime {spared.longest_gap_s():.1f} s",
                )
            passed(found)
            passed(elsewhere)
            assert not elsewhere.lost
    finally:
        cluster.close()
