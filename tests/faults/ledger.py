"""What really happened, written where Redis cannot lose it: a file to which handlers append. Run a worker with
``--handlers tests.faults.ledger`` and its path in LEDGER.

A line is one write: ``start|end id attempt pid seconds``, by the machine's monotonic clock, which all processes share.
"""

from __future__ import annotations

import itertools
import os
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import jobqueue
from jobqueue import Fail, handler

VARIABLE = "LEDGER"


class Run(NamedTuple):
    """One start of a handler. ``ended`` is None when its process died, froze or was interrupted in it."""

    job_id: str
    attempt: int
    pid: int
    started: float
    ended: float | None


class Ledger:
    """The file, and what is in it."""

    def __init__(self) -> None:
        handle, path = tempfile.mkstemp(prefix="jobqueue-ledger-")
        os.close(handle)
        self.path = Path(path)

    @property
    def environment(self) -> dict[str, str]:
        return {VARIABLE: str(self.path)}

    def runs(self) -> dict[str, list[Run]]:
        """All runs of each job, in the order of their starts."""
        found: dict[tuple[str, int, int], list[Run]] = defaultdict(
            list
        )  # more than one: an operator's retry counts anew
        for line in self.path.read_text().splitlines():
            what, job_id, attempt, pid, at = line.split()
            key = job_id, int(attempt), int(pid)
            if what == "start":
                found[key].append(Run(*key, float(at), None))
            else:
                found[key][-1] = found[key][-1]._replace(ended=float(at))
        by_job: dict[str, list[Run]] = defaultdict(list)
        for run in sorted(itertools.chain(*found.values()), key=lambda run: run.started):
            by_job[run.job_id].append(run)
        return by_job

    def close(self) -> None:
        self.path.unlink(missing_ok=True)


def overlap_s(runs: Iterable[Run]) -> float:
    """How long two handlers of one job ran at the same time."""
    shared, until = 0.0, 0.0
    for run in sorted(runs, key=lambda run: run.started):
        ended = run.ended or run.started  # nobody knows how long a killed one ran
        shared += max(0.0, min(until, ended) - run.started)
        until = max(until, ended)
    return shared


def _write(what: str, ctx: Any) -> None:
    line = f"{what} {ctx.job_id} {ctx.attempt} {os.getpid()} {time.monotonic():.6f}\n"
    file = os.open(os.environ[VARIABLE], os.O_WRONLY | os.O_APPEND)
    try:
        os.write(file, line.encode())
    finally:
        os.close(file)


@handler("noted", max_attempts=4, backoff=0.2)
@handler("noted.twice", max_attempts=2, backoff=0.2)
@handler("noted.snoozing", max_attempts=4, backoff=0.2)
def noted(payload: Any, ctx: Any) -> Any:
    """Takes ``payload["s"]`` seconds, and until the file ``payload["gate"]`` exists. Fails its first ``payload["fails"]``
    attempts, for good if that is ``"always"``. Until the file ``payload["snoozed"]`` exists, makes it and snoozes."""
    _write("start", ctx)
    while "gate" in payload and not os.path.exists(payload["gate"]):
        time.sleep(0.01)
        ctx.check()
    deadline = time.monotonic() + payload.get("s", 0)
    while (left := deadline - time.monotonic()) > 0:
        time.sleep(min(left, 0.05))
        ctx.check()
    _write("end", ctx)
    if "snoozed" in payload and not os.path.exists(payload["snoozed"]):
        open(payload["snoozed"], "w").close()
        raise jobqueue.Snooze(0.2)  # the release before runs these handlers too, and has none
    fails = payload.get("fails", 0)
    if fails == "always":
        raise Fail("as it was told to")
    if ctx.attempt <= fails:
        raise RuntimeError("as it was told to")
    return payload.get("n")


@handler("noted.stubborn", max_attempts=2, backoff=0.2)
def stubborn(payload: Any, ctx: Any) -> Any:
    """Sleeps without a look at its context."""
    _write("start", ctx)
    time.sleep(payload["s"])
    _write("end", ctx)
