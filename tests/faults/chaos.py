"""Everything at once, by chance: ``python -m tests.faults.chaos --seconds 60 --seed 7`` prints a verdict, and exits 1 when
it is bad. Two threads each keep choosing one of the incidents, so that two faults meet. A seed repeats the choices."""

from __future__ import annotations

import argparse
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import redis

from tests.faults.proxy import APPLIED, BEFORE, Strike
from tests.faults.rows_of_http_workers import add_http_workers
from tests.faults.stage import LEASE_S, Actor, Stage, Verdict
from tests.harness import Server

Incident = Callable[["Hand"], None]


class Scene:
    """What the hands share. ``locks`` keep them off one program at a time."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.redis_lock = threading.Lock()
        self.locks = {actor: threading.Lock() for actor in stage.actors}
        self.happened: Counter[str] = Counter()
        self.wrong: list[str] = []


class Hand:
    """Does one incident after the other. Its choices follow from its seed."""

    def __init__(self, scene: Scene, seed: str) -> None:
        self.scene, self.stage, self.rng = scene, scene.stage, random.Random(seed)

    def go_on(self, until: float) -> None:
        while time.monotonic() < until:
            incident = self.rng.choice(INCIDENTS)
            self.scene.happened[incident.__name__] += 1
            try:
                incident(self)
            except Exception as error:
                self.scene.wrong.append(f"{incident.__name__}: {type(error).__name__}: {error}")

    def one(self) -> Actor:
        return self.rng.choice(self.stage.actors)

    def pause(self, most_s: float) -> None:
        self.stage.wait(self.rng.uniform(0.2, most_s))


def kill(hand: Hand) -> None:
    actor = hand.one()
    with hand.scene.locks[actor]:
        actor.kill()
        hand.pause(2.0)
        actor.start()


def terminate(hand: Hand) -> None:
    actor = hand.one()
    with hand.scene.locks[actor]:
        code = actor.program.stop(30)
        if code:
            hand.scene.wrong.append(f"{actor.script} ended with {code} on SIGTERM:\n{actor.program.log[-2000:]}")
        actor.start()


def freeze(hand: Hand) -> None:
    actor = hand.one()
    with hand.scene.locks[actor], actor.frozen():
        hand.pause(2 * LEASE_S)


def lose_messages(hand: Hand) -> None:
    proxy, moment = hand.one().proxy, hand.rng.choice([BEFORE, APPLIED])
    rng = random.Random(hand.rng.random())
    proxy.rule = lambda message: Strike(moment) if rng.random() < 0.05 else None
    hand.pause(3.0)
    proxy.rule = lambda message: None


def stall(hand: Hand) -> None:
    with hand.one().proxy.stalled(requests=hand.rng.random() < 0.5):
        hand.pause(2 * LEASE_S)


def silence(hand: Hand) -> None:
    hand.one().proxy.deafen(lambda: hand.rng.random() < 0.5)
    hand.pause(1.0)


def slow_down(hand: Hand) -> None:
    proxy = hand.one().proxy
    proxy.delay_s = lambda: 0.05
    hand.pause(3.0)
    proxy.delay_s = lambda: 0.0


def cut(hand: Hand) -> None:
    hand.one().proxy.cut()
    hand.pause(1.0)


def restart_redis(hand: Hand) -> None:
    with hand.scene.redis_lock:
        hand.stage.server.kill()
        hand.pause(1.0)
        hand.stage.server.start()


def trouble_redis(hand: Hand) -> None:
    order = hand.rng.choice(
        ["CLIENT KILL TYPE normal", "SCRIPT FLUSH", "CLIENT PAUSE 1500 ALL", "CLIENT PAUSE 1500 WRITE"]
    )
    with hand.scene.redis_lock, suppress(redis.RedisError):
        hand.stage.server.client.execute_command(*order.split())
    hand.pause(2.0)


INCIDENTS: list[Incident] = [
    kill, kill, terminate, freeze, lose_messages, stall, silence, slow_down, cut, restart_redis, trouble_redis
]  # fmt: skip


def run(seconds: float, seed: int, fsync: str = "always") -> tuple[Verdict, Scene]:
    """Play so long, settle and judge. The verdict holds what went wrong on the way, too.

    Redis syncs each write. With everysec it may keep writes to itself while the disk is busy, and lose them when it is
    killed: here only our own losses count."""
    stage = Stage(seed, server=Server("--appendfsync", fsync))
    folder = Path(tempfile.mkdtemp(prefix="jobqueue-http-"))
    try:
        (folder / "counts").touch()
        add_http_workers(stage, folder / "counts")
        scene = Scene(stage)
        stage.producer.start()
        until = time.monotonic() + seconds
        hands = [threading.Thread(target=Hand(scene, f"{seed}/{n}").go_on, args=(until,)) for n in range(2)]
        for hand in hands:
            hand.start()
        for hand in hands:
            hand.join()
        verdict = stage.judge(stage.settle())
        verdict.violations += scene.wrong
        for actor in stage.actors:
            if actor.program.process.poll() is not None:
                verdict.violations.append(f"{actor.script} has died:\n{actor.program.log[-2000:]}")
        return verdict, scene
    finally:
        stage.close()
        shutil.rmtree(folder)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60, help="default %(default)s")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6), help="default: by chance")
    parser.add_argument(
        "--fsync", choices=["always", "everysec"], default="always", help="how often Redis does, default %(default)s"
    )
    options = parser.parse_args()
    print(f"seed {options.seed}, {options.seconds:g} s, appendfsync {options.fsync}", flush=True)
    verdict, scene = run(options.seconds, options.seed, options.fsync)
    print(", ".join(f"{n} x {name}" for name, n in sorted(scene.happened.items())))
    print(verdict)
    print("\n".join(verdict.violations))
    print("PASS" if verdict.good else "FAIL")
    return 0 if verdict.good else 1


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(1))  # so that everything it started is ended
    sys.exit(main())
