"""Schedules of few seconds, with each policy for what was missed; one is paused and resumed under load."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from typing import Any

from tests.faults.mix.load import Load, Seen
from tests.faults.stage import PREFIX, QUEUE

ALWAYS: dict[str, dict[str, Any]] = {
    "each-second": {"every_s": 1, "missed": "one", "overlap": "allow"},
    "each-2-s": {"every_s": 2, "missed": "none", "overlap": "allow"},
    "each-3-s": {"every_s": 3, "missed": "one", "overlap": "skip"},
    "each-5-minutes": {"every_s": 300, "missed": "all", "overlap": "allow"},  # it makes up for 100 due times at once
}
PAUSED = "paused-now-and-then"
JOB = {"type": "noted", "payload": {"s": 0.02}}


class Schedules(Load):
    every_s = 5.0

    def prepare(self) -> None:
        self.paused, self.changes = False, 0
        for name, rule in {**ALWAYS, PAUSED: {"every_s": 2}}.items():
            assert self.ask("PUT", f"/queues/{QUEUE}/schedules/{name}", rule | JOB).ok

    def step(self) -> None:
        if self.rng.random() < 0.4:
            self.pause(not self.paused)

    def pause(self, paused: bool) -> None:
        answer = self.ask("POST", f"/queues/{QUEUE}/schedules/{PAUSED}/{'pause' if paused else 'resume'}")
        assert answer.ok, answer.text
        self.paused, self.changes = paused, self.changes + 1

    def stop(self) -> None:
        """All are paused, so that it becomes quiet."""
        super().stop()
        for name in (*ALWAYS, PAUSED):
            assert self.ask("POST", f"/queues/{QUEUE}/schedules/{name}/pause").ok

    def judge(self, seen: Seen) -> list[str]:
        wrong, made = list[str](), defaultdict(Counter)
        for job in seen.jobs.values():
            if "schedule" in job:
                made[job["schedule"]][job["scheduled_for"]] += 1
        for name in (*ALWAYS, PAUSED):
            schedule = self.stage.server.client.hgetall(f"{PREFIX}schedule:{name}")
            wrong += [f"the schedule {name} {said}" for said in _problems(name, schedule, made[name])]
        self.notes = {
            "due times fired": sum(times.total() for times in made.values()),
            "of them made up for or each 5 minutes": made["each-5-minutes"].total(),
            "schedules paused or resumed": self.changes,
        }
        return wrong


def _problems(name: str, schedule: dict[str, str], made: Counter[str]) -> list[str]:
    fired, skipped, missed = (int(schedule.get(what, 0)) for what in ("fired", "skipped", "missed"))
    wrong = []
    if twice := [at for at, n in made.items() if n > 1]:
        wrong.append(f"fired twice at {twice[:5]}")
    if fired != made.total():
        wrong.append(f"says that it fired {fired} times, and has made {made.total()} jobs")
    if name == PAUSED or not fired:
        return wrong
    every_ms = ALWAYS[name]["every_s"] * 1000
    due, rest = divmod(int(schedule["last_due"]) - json.loads(schedule["rule"])["anchor_ms"], every_ms)
    if rest:
        wrong.append(f"was due at {schedule['last_due']}, which is none of its times")
    if fired + skipped + missed != due:
        wrong.append(f"was due {due} times: {fired} fired, {skipped} skipped, {missed} missed")
    if missed and ALWAYS[name]["missed"] == "all":
        wrong.append(f"missed {missed} times, and shall miss none")
    return wrong
