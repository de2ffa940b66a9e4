"""Every sample and odd handler, inline and through a worker: the jobs' JSON is the same but for times, ids and the worker."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from _jobqueue.loading import load_handlers
from jobqueue import JobQueue
from tests.harness import ROOT, System, eventually
from tests.library.both_ways import NOT_INLINE, cases, told

ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
PROCESSES = {"hold", "hold.politely", "tell", "fork", "hog"}  # they return their process id
BY_CHANCE = {"report.generate", "leave.pool"}  # or a number that is another each time
ENVIRONMENT = {"SIMULATED_WORK_S": "0", "SIMULATED_FAILURES": "0"}


def comparable(job: dict[str, Any]) -> Any:
    """Without times, ids and the worker; whether there is one stays."""
    if job["type"] in PROCESSES | BY_CHANCE:
        job["result"] = type(job["result"]).__name__
    if (job["type"], job["status"]) == ("leak", "failed"):
        job["errors"][0]["traceback"] = "memory may run out in any line"
    job["log_times"] = [at is not None for at in job.get("log_times", [])]
    places = [job, *job["errors"]]
    for place in places:
        for name in ("job_id", "worker", *(name for name in place if name.endswith("at"))):
            if name in place:
                place[name] = place[name] is not None
    return json.loads(ID.sub("<id>", json.dumps(job)))


def inline_jobs(module: str, folder: Path, url: str) -> dict[str, list[dict[str, Any]]]:
    command = [sys.executable, "-m", "tests.library.both_ways", module, str(folder)]
    environment = os.environ | ENVIRONMENT | {"REDIS_URL": url, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and done.stdout.startswith("{"), done.stderr
    found: dict[str, list[dict[str, Any]]] = json.loads(done.stdout)
    return found


@pytest.mark.long(6)
@pytest.mark.parametrize("module", ["handlers", "tests.odd_handlers"])
def test_a_job_is_the_same_inline_and_through_a_worker(
    system: System, queue: JobQueue, tmp_path: Path, module: str
) -> None:
    named = cases(module, tmp_path)
    covered = {job.type for case in named.values() for job in case} | NOT_INLINE
    assert not load_handlers(module).keys() - covered, "each type has a case"
    inline = inline_jobs(module, tmp_path, system.url)
    system.reaper()
    system.worker("--handlers", module, "--threads", "4")
    submitted = {name: queue.submit_many(case) for name, case in cases(module, tmp_path).items()}
    for name, case in submitted.items():
        ids = [each.job.id for each in case if each.job]
        ended = ("done", "failed") if name != "noop, blocked" else ("done", "failed", "blocked")
        eventually(lambda ids=ids, ended=ended: all(queue.get(each).status in ended for each in ids), within_s=60)
        if name == "split":
            eventually(lambda ids=ids: all(queue.get(each).status == "done" for each in queue.get(ids[0]).result))
        through = told([each.job for each in case if each.job], queue)
        assert list(map(comparable, inline[name])) == list(map(comparable, through)), name
