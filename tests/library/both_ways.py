"""The same jobs inline: run as a process, because some odd handlers change what belongs to one.

``python -m tests.library.both_ways MODULE FOLDER`` prints the jobs of ``cases`` as JSON, as ``inline`` has run them."""

from __future__ import annotations

import json
import os
import sys
import threading
from pathlib import Path
from typing import Any

from jobqueue import Job, JobQueue, NewJob, inline

Case = list[NewJob]  # jobs that are submitted together


def cases(module: str, folder: Path) -> dict[str, Case]:
    """What is submitted, by a name that begins with the type that it is for."""
    return SAMPLES if module == "handlers" else odd(folder)


SAMPLES = {
    "noop": [NewJob("noop")],
    "echo": [NewJob("echo", {"hello": ["world", 1.5, None, "\u2713"]})],
    "email.send": [NewJob("email.send", priority="high", tags=["a", "b", "a"])],
    "send_email": [NewJob("send_email", {"to": "ada@example.org"})],
    "send_email, always refused": [NewJob("send_email", {"fail_rate": 1}, backoff_s=0)],
    "report.generate": [NewJob("report.generate")],
    "image.process": [NewJob("image.process", backoff_s=0)],
    "task": [NewJob("task", "x")],
    "task, fails": [NewJob("task", {"task": "fail"}, backoff_s=0)],
    "TEST": [NewJob("TEST", "FAIL_TIMES=2", backoff_s=0)],
    "TEST, always": [NewJob("TEST", "FAIL_ALWAYS", backoff_s=0)],
    "TEST, now": [NewJob("TEST", "FAIL_NOW")],
    "echo, later": [NewJob("echo", 1, delay_s=0.3)],
}


def odd(folder: Path) -> dict[str, Case]:
    from tests.odd_handlers import EXCEPTIONS, RESULTS

    (folder / "gate").touch()
    (folder / "times").unlink(missing_ok=True)
    gate = {"gate": str(folder / "gate")}
    once: dict[str, Any] = {"max_attempts": 1}
    brief: dict[str, Any] = {"timeout_s": 0.3, "max_attempts": 1}
    hangs = ("error", "cause", "result", "log", "text", "dropped with the result", "dropped with the error")
    raised = ("sys.exit", *EXCEPTIONS)
    found = {
        "hold": [NewJob("hold", gate)],
        "hold.politely": [NewJob("hold.politely", gate)],
        "tell": [NewJob("tell", {**gate, "progress": 1, "note": "n", "lines": ["one", "two\nin one"]})],
        "tell, half": [NewJob("tell", {**gate, "progress": 0.5, "note": "n" * 300, "lines": []})],
        "say": [NewJob("say", "x" * 3000)],
        "split": [NewJob("split", [1, 2, 3])],
        "double": [NewJob("double", 2), NewJob("double", "fails not", name="b")],
        "sum": [NewJob("double", 2, name="two"), NewJob("double", 4), NewJob("sum", after=["*"])],
        "lengths": [NewJob("long", 9, name="nine"), NewJob("long", 5000), NewJob("lengths", after=["*"])],
        "long": [NewJob("long", 200)],
        "noop": [NewJob("fail", name="a", max_attempts=1), NewJob("noop", after=["a"], when="ended")],
        "noop, blocked": [NewJob("fail", name="a", max_attempts=1), NewJob("noop", after=["a"])],
        "noop, later": [NewJob("noop", name="a"), NewJob("noop", after=["a"], delay_s=0.2)],
        "sleep": [NewJob("sleep", 0.01)],
        "sleep, too long": [NewJob("sleep", 0.6, **brief)],
        "spin": [NewJob("spin", **brief)],
        "spin.briefly": [NewJob("spin.briefly", backoff_s=0)],
        "spin.stubborn": [NewJob("spin.stubborn", gate)],
        **{f"hang, {where}": [NewJob("hang", [where, False])] for where in hangs},
        **{f"raise, {what}": [NewJob("raise", what, **once)] for what in raised},
        **{f"return, {what}": [NewJob("return", what)] for what in RESULTS},
        "fail": [NewJob("fail", max_attempts=3)],
        "fail.for.good": [NewJob("fail.for.good")],
        "retry.after": [NewJob("retry.after", 0.05)],
        "snooze": [NewJob("snooze", gate)],
        "snooze.twice": [NewJob("snooze.twice", str(folder / "times"))],
        "noop, limited": [NewJob("noop", limits=["api:mail", "tenant:7"])],
        "noop, in time": [NewJob("noop", expires_s=60)],
        "fork": [NewJob("fork")],
        "leave.pool": [NewJob("leave.pool")],
        "submit.in.children": [NewJob("submit.in.children")],
        "meddle": [NewJob("meddle")],
        "nap": [NewJob("nap")],
        "leak": [NewJob("leak", **once)],
        "hog": [NewJob("hog", 0)],
        "kill.connections": [NewJob("kill.connections")],
        "log.line": [NewJob("log.line", 1)],
        "await": [NewJob("await", 0.01)],
        "await, too long": [NewJob("await", 600, **brief)],
        **{f"await.raise, {what}": [NewJob("await.raise", what, **once)] for what in raised},
        "await.tidily": [NewJob("await.tidily", gate, **brief)],
        "await.stubborn": [NewJob("await.stubborn", gate)],
        "block.loop": [NewJob("block.loop", 0.01)],
        "meet": [NewJob("meet", 1)],
    }
    return found


# These end the process or take away what it stands on; a test that runs them inline would end with it.
NOT_INLINE = {"die", "segfault", "close.files", "close.loop"}


def run(module: str, folder: Path) -> None:
    jobs = inline(module)
    found: dict[str, list[dict[str, Any]]] = {}
    for name, case in cases(module, folder).items():
        stored = jobs.submit_many(case)
        found[name] = told([each.job for each in stored if each.job], jobs)
    print(json.dumps(found), flush=True)


def told(jobs: list[Job], queue: JobQueue | Any) -> list[dict[str, Any]]:
    """The jobs, and those whose ids they return."""
    first = [queue.get(job.id) for job in jobs]
    ids = [each for job in first if job.type == "split" for each in job.result]
    return [job.as_dict() for job in [*first, *map(queue.get, ids)]]


if __name__ == "__main__":
    thread = threading.Thread(
        target=run, args=(sys.argv[1], Path(sys.argv[2]))
    )  # as a worker's handlers run in threads
    thread.start()
    thread.join()
    os._exit(0)  # odd handlers leave threads behind
