"""Operators: they cancel, retry, delete and run now, one job or many, and pause the queue or a type for a moment."""

from __future__ import annotations

from _jobqueue.records import DELIVERY
from tests.faults.mix.load import Load
from tests.faults.stage import QUEUE

OURS = 13  # of 16 plain jobs: the others are not touched, so that they can be judged


class Operators(Load):
    every_s = 0.5

    def prepare(self) -> None:
        self.acts = 0

    def step(self) -> None:
        chance = self.rng.random()
        if chance < 0.04:
            self.pause(f"/queues/{QUEUE}")
        elif chance < 0.08:
            self.pause(f"/queues/{QUEUE}/types/{self.rng.choice(('noted', 'noted.snoozing', DELIVERY))}")
        else:
            self.act(bulk=chance < 0.2)
        self.acts += 1

    def pause(self, path: str) -> None:
        try:
            self.ask("POST", f"{path}/pause")
            self._stopping.wait(self.rng.uniform(0.2, 2))
        finally:
            self.ask("POST", f"{path}/resume")

    def act(self, bulk: bool) -> None:
        numbers = [n for n in list(self.stage.producer.acked)[-400:] if n % 16 == OURS]
        if not numbers:
            return
        what = self.rng.choice(["cancel", "retry", "run"] * 4 + ["delete"])
        ids = [self.stage.producer.acked[n] for n in self.rng.sample(numbers, min(len(numbers), 8 if bulk else 1))]
        self.stage.operated.update(ids)
        if what == "delete":
            for job_id in ids:
                self.delete(job_id)
        elif bulk:
            assert self.ask("POST", "/jobs/bulk", {"action": what, "ids": ids}).ok
        else:
            self.ask("POST", f"/jobs/{ids[0]}/{what}", {"force": True} if self.rng.random() < 0.2 else None)

    def delete(self, job_id: str) -> None:
        """A lost answer is asked again, and then says that it is gone."""
        if self.ask("DELETE", f"/jobs/{job_id}").status_code in (204, 404):
            self.stage.deleted.add(job_id)
            self.stage.undone += 1
