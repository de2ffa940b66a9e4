"""The whole system with all capabilities on it: its programs, its loads, and the judgement when all is quiet."""

from __future__ import annotations

import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import redis

from _jobqueue.records import DELIVERY, ENDED, STATUSES
from _jobqueue.store.scripts import Script
from jobqueue import JobQueueError
from tests.faults.mix.flows import Flows
from tests.faults.mix.limits import Limits
from tests.faults.mix.load import Load, Seen
from tests.faults.mix.operators import Operators
from tests.faults.mix.outbox import Outbox
from tests.faults.mix.plain import Plain
from tests.faults.mix.record import Record
from tests.faults.mix.schedules import Schedules
from tests.faults.mix.webhooks import Webhooks
from tests.faults.rows_of_http_workers import add_http_workers
from tests.faults.rows_of_webhooks import SETTINGS
from tests.faults.stage import PREFIX, QUEUE, Stage, Verdict
from tests.harness import Server

QUIET_S = 240.0  # within which all must have ended once the faults are over
MONTH_S = 30 * 86_400
KEPT = {"RESULT_TTL_S": str(MONTH_S), "FAILED_TTL_S": str(MONTH_S)}  # so that all can be judged, though the clock jumps


class Whole:
    """``clock``: the programs' scripts read a clock that can be moved, and so do ours. ``direct``: without proxies."""

    def __init__(
        self,
        seed: int,
        server: Server,
        record: str,
        *,
        programs: Callable[[], Path] | None = None,
        webhooks: type[Webhooks] = Webhooks,
        **environment: str,
    ) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="jobqueue-mix-"))
        self.scripts = Script.folder
        with ExitStack() as undo:
            undo.callback(shutil.rmtree, self.folder, ignore_errors=True)
            undo.callback(setattr, Script, "folder", self.scripts)
            folders = list[Path]()

            def noted() -> Path:
                assert programs
                folders.append(programs())
                Script.folder = folders[-1] / "_jobqueue/lua"
                return folders[-1]

            settings = SETTINGS | KEPT | environment
            self.stage = Stage(
                seed, server=server, programs=noted if programs else None, environment=settings, remember=False
            )
            undo.callback(self.stage.close)
            self.webhooks = webhooks(self.stage, str(seed))
            self.flows, self.outbox = Flows(self.stage, str(seed)), Outbox(self.stage, str(seed), self.folder)
            self.record = Record(self.stage, str(seed), self.folder, record)
            plain = Plain(self.stage, str(seed), self.folder, self.webhooks.url)
            others = [Limits(self.stage, str(seed)), Schedules(self.stage, str(seed)), Operators(self.stage, str(seed))]
            self.loads: list[Load] = [plain, self.flows, *others, self.webhooks, self.record, self.outbox]
            for load in self.loads:
                undo.callback(load.close)
            (self.folder / "counts").touch()
            add_http_workers(self.stage, self.folder / "counts")
            for load in self.loads:
                load.prepare()
            self._undo = undo.pop_all()

    def start(self) -> None:
        for load in self.loads:
            load.start()

    def settle(self) -> int:
        """The faults are over: no new jobs, and what waits for somebody's help gets it. Returns how many have not ended in time."""
        self.stage.heal()
        stopping = [threading.Thread(target=load.stop) for load in self.loads]
        for thread in stopping:
            thread.start()
        for thread in stopping:
            thread.join()
        deadline, left = time.monotonic() + QUIET_S, -1
        while left and time.monotonic() < deadline:
            with suppress(JobQueueError, OSError, redis.RedisError):
                left = self._left()
            self.stage.wait(0.2)
        self.stage.observer.stop()
        return left

    def _left(self) -> int:
        self.flows.help(all_of_them=True)
        hurried = self.webhooks.hurry()
        sizes = self.stage.queue.books(QUEUE).sizes
        waiting = sum(sizes[status] for status in STATUSES if status not in ENDED)
        return hurried + waiting + self.outbox.left()

    def judge(self, left: int) -> tuple[Verdict, dict[str, Any]]:
        """The verdict, and what else is worth telling."""
        seen = Seen.of(self.stage)
        self.stage.made |= {job_id for job_id, job in seen.jobs.items() if _made_itself(job)}
        said = [sentence for load in self.loads for sentence in load.judge(seen)]
        verdict = self.stage.judge(left)
        verdict.violations += said + [sentence for load in self.loads for sentence in load.wrong]
        if left:
            verdict.violations += self._waiting(seen)
        for actor in self.stage.actors:
            if actor.program.process.poll() is not None:
                verdict.violations.append(f"{actor.script} has died:\n{actor.program.log[-2000:]}")
        notes = {name: value for load in self.loads for name, value in load.notes.items()}
        return verdict, notes | {"looks": self.stage.observer.looks, "programs": len(self.stage.actors)}

    def _waiting(self, seen: Seen) -> list[str]:
        """Of some that have not ended: what they are, and why."""
        some = [job_id for job_id, job in seen.jobs.items() if job["status"] not in ENDED][:5]
        client = self.stage.server.client
        held = [job_id for job_id in some if client.zscore(f"{PREFIX}held", job_id) is not None]
        return [
            f"job {job_id} has not ended{' (held)' if job_id in held else ''}: {seen.jobs[job_id]}" for job_id in some
        ]

    def keep(self, folder: Path) -> None:
        """Copy what tells how it came to this: Redis's files, the ledger, the databases, what the programs have said."""
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copytree(self.stage.server.folder, folder / "redis", dirs_exist_ok=True)
        shutil.copytree(self.folder, folder / "mix", dirs_exist_ok=True)
        shutil.copy(self.stage.ledger.path, folder / "ledger")
        for program in self.stage.system.programs:
            (folder / f"{program.name}-{program.pid}.log").write_text(program.log)

    def close(self) -> None:
        self._undo.close()


def _made_itself(job: dict[str, str]) -> bool:
    return job["type"] == DELIVERY or "schedule" in job
