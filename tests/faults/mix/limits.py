"""Limits: some never change and are judged by the ledger; a pattern is changed and deleted under load."""

from __future__ import annotations

from tests.faults.mix.load import Load, Seen, named
from tests.faults.rows_of_limits import most_at_once, most_in_a_window
from tests.faults.stage import PREFIX, QUEUE

GATE, FAST, BOTH = "gate", "fast", "both"
MOST, STARTS, PER_S = 3, 8, 1
NAMES = (GATE, FAST, BOTH, "tenant:1", "tenant:2", "tenant:3")
DEFINED = {
    GATE: {"max_running": MOST},
    FAST: {"rate": {"starts": STARTS, "per_s": PER_S}},
    BOTH: {"max_running": MOST, "rate": {"starts": STARTS, "per_s": PER_S}},
}


class Limits(Load):
    every_s = 3.0

    def prepare(self) -> None:
        for name, limit in DEFINED.items():
            assert self.ask("PUT", f"/queues/{QUEUE}/limits/{name}", limit).ok
        self.changes = 0

    def step(self) -> None:
        path = f"/queues/{QUEUE}/limits/tenant:*"
        if self.rng.random() < 0.25:
            self.ask("DELETE", path)
        else:
            self.ask("PUT", path, {"max_running": self.rng.choice((1, 2, 5))})
        self.changes += 1

    def judge(self, seen: Seen) -> list[str]:
        under: dict[str, list[str]] = {name: [] for name in DEFINED}
        for job_id, job in seen.jobs.items():
            if job.get("limits") in under and job_id not in self.stage.operated:
                under[job["limits"]].append(job_id)
        at_once = {
            name: most_at_once([run for job_id in under[name] for run in seen.fenced(job_id)]) for name in (GATE, BOTH)
        }
        in_a_window = {
            name: most_in_a_window(sorted(at for job_id in under[name] for at in _claims(seen, job_id)), PER_S * 1000)
            for name in (FAST, BOTH)
        }
        client = self.stage.server.client
        left = [key for key in client.scan_iter(f"{PREFIX}permits:*", 1000) if client.scard(key)]
        self.notes = {
            "limits changed": self.changes,
            "most at once": f"{max(at_once.values())} of {MOST}",
            "most in a second": f"{max(in_a_window.values())} of {STARTS}",
        }
        return [
            *(f"{n} jobs of the limit {name} ran at once" for name, n in at_once.items() if n > MOST),
            *(f"{n} jobs of the limit {name} started in {PER_S} s" for name, n in in_a_window.items() if n > STARTS),
            *named(left, "hold permits though nothing runs"),
        ]


def _claims(seen: Seen, job_id: str) -> set[int]:
    """When a job's attempts were claimed, by Redis's clock."""
    fields = seen.jobs[job_id]
    records = [record.split()[4] for name, record in fields.items() if name.startswith("error:")]
    return {int(at) for at in (*records, fields.get("started", "-")) if at != "-"}
