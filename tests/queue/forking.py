"""A program that has used JobQueue and then forks. Prints a line for each child that got somebody else's answer; no line is good.

python tests/queue/forking.py URL preload | multiprocessing | threads | locks
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from jobqueue import Filter, JobQueue

CHILDREN = 4
JOBS = 20
WITHIN_S = 20

queue = JobQueue(sys.argv[1], timeout_s=5.0)


def use(who: str, jobs: int = JOBS) -> None:
    """Fails when an answer is that to another question."""
    for number in range(jobs):
        job = queue.submit("noop", f"{who} {number}", tags=[who.replace(" ", "-")])
        assert job.payload == f"{who} {number}"
        found = queue.get(job.id)
        assert (found.id, found.payload) == (job.id, job.payload), (who, job.payload, found.payload)
    assert queue.page(Filter(tag=who.replace(" ", "-"))).total == jobs
    queue.ping()
    assert queue.server()["role"] in ("master", "?"), "INFO was answered with something else"


def child(call: Callable[[], Any]) -> int:
    """Its process id. It ends as a forking server's children do: through the interpreter's end."""
    pid = os.fork()
    if pid:
        return pid
    signal.alarm(WITHIN_S)  # a child that waits for ever dies of it
    code = 1
    try:
        call()
        code = 0
    except BaseException:
        traceback.print_exc()
    sys.stderr.flush()
    sys.exit(code)


def wait_for(pids: list[int]) -> None:
    for pid in pids:
        _, status = os.waitpid(pid, 0)
        if status:
            print(f"child {pid} ended with {status}", flush=True)


def preload() -> None:
    """The parent goes on to use its connections, too, and may end before its children."""
    use("parent before", 2)
    pids = [child(lambda n=n: use(f"child {n}")) for n in range(CHILDREN)]  # type: ignore[misc]
    use("parent")
    wait_for(pids)


def in_pool(number: int) -> str:
    use(f"pool {number}", 10)
    return "good"


def with_multiprocessing() -> None:
    use("parent before", 2)
    context = multiprocessing.get_context("fork")
    with context.Pool(CHILDREN) as pool:
        asked = pool.map_async(in_pool, range(3 * CHILDREN))
        use("parent")
        print(*(answer for answer in asked.get(WITHIN_S) if answer != "good"), sep="", end="")


def threads() -> None:
    """Other threads are in the middle of their calls when children are made, and go on."""
    use("parent before", 2)
    stop, errors = threading.Event(), list[str]()

    def busy(number: int) -> Iterator[None]:
        turn = 0
        while not stop.is_set():
            turn += 1
            use(f"thread {number} {turn}", 3)
            yield

    def run(number: int) -> None:
        try:
            for _ in busy(number):
                pass
        except BaseException as error:
            errors.append(f"thread {number}: {error!r}")

    workers = [threading.Thread(target=run, args=(n,)) for n in range(3)]
    for worker in workers:
        worker.start()
    for turn in range(3):
        wait_for([child(lambda n=n, turn=turn: use(f"child {turn} {n}", 5)) for n in range(CHILDREN)])  # type: ignore[misc]
    stop.set()
    for worker in workers:
        worker.join()
    print("\n".join(errors), end="")


def locks() -> None:
    """A thread holds every lock of redis-py and of the connections to it at the moment of the fork."""
    use("parent before", 2)
    held, stop = threading.Event(), threading.Event()

    def hold() -> None:
        for lock in _locks():
            lock.acquire()
        held.set()
        stop.wait()

    holder = threading.Thread(target=hold, daemon=True)
    holder.start()
    held.wait()
    began = time.monotonic()
    wait_for([child(lambda: use("child", 3))])
    print(
        f"the child took {time.monotonic() - began:.1f} s" if time.monotonic() - began > 4 else "", end="", flush=True
    )
    os._exit(0)  # the locks stay locked


def _locks() -> Iterator[Any]:
    """Of what a call may be in the middle of."""
    servers: Any = queue.store.servers
    things: list[Any] = [servers]
    if servers.kind == "cluster":
        nodes = servers._cluster.nodes_manager
        pools = [node.redis_connection.connection_pool for node in nodes.nodes_cache.values()]
        things += [servers._cluster, nodes, *pools]
    else:
        made = servers._pools()
        things += [made.links, *(client.connection_pool for client in (made.client, *made.sentinels))]
    kinds = (type(threading.Lock()), type(threading.RLock()))
    yield from {id(lock): lock for thing in things for lock in vars(thing).values() if isinstance(lock, kinds)}.values()


if __name__ == "__main__":
    {"preload": preload, "multiprocessing": with_multiprocessing, "threads": threads, "locks": locks}[sys.argv[2]]()
