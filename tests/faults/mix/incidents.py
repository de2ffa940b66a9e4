"""What happens to the whole: each incident is a function of a hand, whose choices follow from its seed."""

from __future__ import annotations

import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress

import redis

from tests.faults.mix.load import HOUR_S
from tests.faults.mix.record import Record
from tests.faults.proxy import APPLIED, BEFORE, Strike
from tests.faults.stage import LEASE_S, Actor, Stage

Incident = Callable[["Hand"], None]
HOURS_MOST = 24


class Scene:
    """What the hands share. ``locks`` keep them off one program at a time."""

    def __init__(self, stage: Stage, record: Record) -> None:
        self.stage, self.record = stage, record
        self.redis_lock, self.record_lock, self.clock_lock = (threading.Lock() for _ in range(3))
        self.locks = {actor: threading.Lock() for actor in stage.actors}
        self.happened: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.hours = 0  # that the clock is ahead


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
        code = actor.program.stop(60)
        starting = "--language" in actor.flags and code == -signal.SIGTERM  # it does not know the signal yet
        if code and not starting:
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


def fail_over(hand: Hand) -> None:
    with hand.scene.redis_lock:
        if not hand.stage.server.promote():
            hand.scene.happened["fail_over, not ready"] += 1
    hand.pause(1.0)


def trouble_redis(hand: Hand) -> None:
    order = hand.rng.choice(
        ["CLIENT KILL TYPE normal", "SCRIPT FLUSH", "SCRIPT FLUSH", "CLIENT PAUSE 1500 ALL", "CLIENT PAUSE 1500 WRITE"]
    )
    with hand.scene.redis_lock, suppress(redis.RedisError):
        hand.stage.server.client.execute_command(*order.split())
    hand.pause(2.0)


def jump_ahead(hand: Hand) -> None:
    """By an hour, as the scripts read it, and it stays so."""
    with hand.scene.clock_lock:
        if hand.scene.hours < HOURS_MOST:
            hand.scene.hours += 1
            set_clock(hand.scene, hand.scene.hours)
    hand.pause(2.0)


def jump_back(hand: Hand) -> None:
    """By an hour, and some seconds later ahead again: what is due in an hour would keep everybody waiting."""
    with hand.scene.clock_lock:
        set_clock(hand.scene, hand.scene.hours - 1)
        hand.pause(10.0)
        set_clock(hand.scene, hand.scene.hours)


def set_clock(scene: Scene, hours: int) -> None:
    """Until it is so, for Redis may be away."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with suppress(redis.RedisError):
            scene.stage.jumped_at = float("inf")  # from now on, though it may take a while
            scene.stage.server.client.set("clock", hours * HOUR_S)
            scene.stage.jumped_at = time.monotonic()
            return
        scene.stage.wait(0.1)
    raise TimeoutError("the clock could not be set")


def lose_database(hand: Hand) -> None:
    with hand.scene.record_lock:
        hand.scene.record.away()


INCIDENTS: list[Incident] = [
    kill, kill, kill, terminate, terminate, freeze, lose_messages, stall, silence, slow_down, cut,
    restart_redis, trouble_redis, fail_over, jump_ahead, jump_back, lose_database
]  # fmt: skip
