"""A row of the fault table: a fault, how it is done, and what must be true afterwards. stage.py judges.

An act gets the stage, with its load already flowing, and a number of seconds to use; it returns what else is worth
telling. It may leave everything broken that ``Stage.heal`` mends: the proxies."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.faults.stage import PREFIX, Stage, Verdict
from tests.harness import Server

Act = Callable[[Stage, float], "dict[str, Any] | None"]


@dataclass(frozen=True)
class Row:
    """A fault, how it is injected, and what must be true besides a good verdict."""

    name: str
    fault: str
    injected: str
    act: Act
    expects: Callable[[Verdict], bool] = lambda verdict: True
    control: bool = False  # the verdict must be bad: it proves that the ledger sees a loss
    redis: Callable[[], Server] = Server
    setting: dict[str, Any] = field(default_factory=dict)

    def play(self, seconds: float, seed: int) -> tuple[Verdict, bool]:
        """The verdict, and whether it is what is promised."""
        stage = Stage(seed, server=self.redis(), **self.setting)
        try:
            stage.producer.start()
            stage.wait(1.0)
            notes = self.act(stage, seconds)
            verdict = stage.judge(stage.settle())
            verdict.notes |= notes or {}
            passed = verdict.good != self.control and self.expects(verdict)
            if not passed:
                print(stage.logs())
            return verdict, passed
        finally:
            stage.close()


ADDED: list[Row] = []


def row(name: str, fault: str, injected: str, **more: Any) -> Callable[[Act], Act]:
    def add(act: Act) -> Act:
        ADDED.append(Row(name, fault, injected, act, **more))
        return act

    return add


def repeated(stage: Stage, seconds: float, every_s: float, act: Callable[[], object]) -> int:
    """Do it again and again for so long. Returns how often."""
    deadline, n = time.monotonic() + seconds, 0
    while time.monotonic() < deadline:
        act()
        n += 1
        stage.wait(every_s)
    return n


def steady(seconds: float) -> Callable[[int], dict[str, Any]]:
    """Jobs that all take the same time and succeed."""
    return lambda n: {"type": "noted", "payload": {"n": n, "s": seconds}}


def reaped(stage: Stage) -> int:
    return int(stage.server.client.hget(PREFIX + "totals", "reaped") or 0)
