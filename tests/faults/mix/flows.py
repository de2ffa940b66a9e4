"""Workflows: chains, fans and callbacks, some parents of which fail for good. Who waits for these is helped on as an operator would."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from tests.faults.ledger import Run
from tests.faults.mix.load import Load, Seen, named
from tests.faults.stage import MAX_ATTEMPTS, PREFIX


@dataclass
class Member:
    """A job of a workflow, and what operators did to it."""

    id: str
    fails: Any
    after: list[Member]
    when: str
    retried_at: list[float] = field(default_factory=list)
    cancelled_at: list[float] = field(default_factory=list)


class Flows(Load):
    every_s = 0.5
    help_every = 6  # steps

    def prepare(self) -> None:
        self.members: dict[str, Member] = {}
        self.flows = self.turns = 0

    def step(self) -> None:
        self.turns += 1
        if self.turns % self.help_every == 0:
            self.help()
        else:
            self.submit(self.shape())

    def job(self, *after: str, when: str = "done", failing: float = 0.05) -> dict[str, Any]:
        chance = self.rng.random()
        fails = "always" if chance < failing else 1 if chance < failing + 0.05 else 0
        body: dict[str, Any] = {"type": "noted", "payload": {"s": round(self.rng.uniform(0, 0.1), 3), "fails": fails}}
        return body | ({"after": list(after), "when": when} if after else {})

    def shape(self) -> list[dict[str, Any]]:
        kind, width = self.rng.choice(("chain", "fan", "callback", "diamonds")), self.rng.randrange(2, 6)
        if kind == "chain":
            return [self.job(*([f"j{n - 1}"] if n else ())) | {"name": f"j{n}"} for n in range(width)]
        if kind == "fan":
            first = self.job() | {"name": "first"}
            return [first, *(self.job("first") | {"name": f"j{n}"} for n in range(width)), self.job("*", failing=0)]
        if kind == "callback":
            works = [self.job(failing=0.3) | {"name": f"j{n}"} for n in range(width)]
            return [*works, self.job("*", when="ended", failing=0)]
        return [
            self.job() | {"name": "a"},
            self.job("a") | {"name": "b1"},
            self.job("a") | {"name": "b2"},
            self.job("b1", "b2") | {"name": "c"},
            self.job("c", "a") | {"name": "d1"},
            self.job("c", when="ended") | {"name": "d2"},
            self.job("d1", "d2", when="ended"),
        ]

    def submit(self, jobs: list[dict[str, Any]]) -> None:
        self.flows += 1
        answer = self.ask("POST", "/jobs/batch", {"jobs": jobs}, key=f"flow-{self.flows}")
        assert answer.status_code in (200, 201), answer.text
        by_name: dict[str, Member] = {}
        so_far: list[Member] = []
        for body, told in zip(jobs, answer.json()["results"], strict=True):
            parents = so_far[:] if body.get("after") == ["*"] else [by_name[name] for name in body.get("after", ())]
            member = Member(told["job"]["job_id"], body["payload"]["fails"], parents, body.get("when", "done"))
            so_far.append(member)
            self.members[member.id] = self.stage.told[member.id] = member
            if "name" in body:
                by_name[body["name"]] = member

    def help(self, all_of_them: bool = False) -> None:
        """Dead letters for which jobs wait are retried with a payload that does it, or one that waits is cancelled."""
        for job_id in self.stage.server.client.zrange(f"{PREFIX}stuck", 0, -1):
            member = self.members.get(job_id)
            if member is None or not (all_of_them or self.rng.random() < 0.5):
                continue
            child = next((each for each in self.members.values() if member in each.after and each.when == "done"), None)
            if child and self.rng.random() < 0.4:
                child.cancelled_at.append(time.monotonic())
                self.ask("POST", f"/jobs/{child.id}/cancel")
            else:
                self.stage.operated.add(job_id)
                member.retried_at.append(time.monotonic())
                self.ask("POST", f"/jobs/{job_id}/retry", {"payload": {"s": 0.01, "fails": 0}})

    def judge(self, seen: Seen) -> list[str]:
        early, edges = [], 0
        for child in self.members.values():
            runs = seen.runs.get(child.id, ())
            for parent in child.after if runs else ():
                edges += 1
                if not _was_over(parent, child, seen, runs[0].started):
                    early.append(child.id)
        asked = {id(member) for member in self.members.values() if member.cancelled_at}
        for member in self.members.values():  # parents come first
            if any(id(parent) in asked for parent in member.after) and member.when == "done":
                asked.add(id(member))
        statuses = {each.id: seen.jobs.get(each.id, {}).get("status") for each in self.members.values()}
        by_nobody = [
            each.id for each in self.members.values() if statuses[each.id] == "cancelled" and id(each) not in asked
        ]
        self.notes = {
            "workflows": self.flows,
            "their jobs": len(self.members),
            "edges followed": edges,
            "cancelled": list(statuses.values()).count("cancelled"),
            "parents retried": sum(len(each.retried_at) for each in self.members.values()),
        }
        return [
            *named(early, "of workflows began before their parents had ended"),
            *named(by_nobody, "of workflows were cancelled by nobody"),
        ]


def _was_over(parent: Member, child: Member, seen: Seen, began: float) -> bool:
    """Whether the parent had ended, as the child asks for, when that began."""
    runs: list[Run] = seen.runs.get(parent.id, [])
    if any(run.ended and run.ended <= began and _succeeded(parent, run) for run in runs):
        return True
    if child.when == "done":
        return False
    for run in runs:
        if run.started <= began and run.attempt >= MAX_ATTEMPTS:  # its lease may have run out: then nobody knows when
            return True
        if run.ended and run.ended <= began and parent.fails == "always":
            return True
    asked = [at for member in _line(parent) for at in member.cancelled_at]
    return seen.jobs.get(parent.id, {}).get("status") == "cancelled" and min(asked, default=began + 1) <= began


def _succeeded(parent: Member, run: Run) -> bool:
    if any(at <= run.started for at in parent.retried_at):
        return True
    return parent.fails != "always" and run.attempt > parent.fails


def _line(member: Member) -> list[Member]:
    return [member, *(each for parent in member.after for each in _line(parent))]
