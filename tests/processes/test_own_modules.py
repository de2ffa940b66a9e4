"""Modules of a user beside the handlers, named like ours: the user's are imported."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobqueue import JobQueue
from tests.harness import ROOT, System, eventually

NAMED_LIKE_OURS = sorted(
    {"config", "processes", "logs", "keys", "store", "web", "utils", "work", "records", "liveness", "output"}
    | {path.stem for path in ROOT.glob("*.py")} - {"jobqueue", "handlers"}
)
HANDLERS = """
import {names}
from jobqueue import handler

@handler("own")
def own(payload, ctx):
    import {late}
    return {{**{{module.__name__: module.NAME for module in [{names}]}}, "late": {late}.NAME}}
"""


@pytest.mark.parametrize("python_path", ["", str(ROOT)], ids=["no path", "ours in the path"])
@pytest.mark.parametrize("module", ["my_jobs", "handlers"])
def test_a_users_modules_are_not_hidden_by_ours(
    system: System, queue: JobQueue, tmp_path: Path, module: str, python_path: str
) -> None:
    for name in (*NAMED_LIKE_OURS, "redis_url"):
        (tmp_path / f"{name}.py").write_text(f"NAME = 'my {name}'\n")
    source = HANDLERS.format(names=", ".join(NAMED_LIKE_OURS), late="redis_url")
    (tmp_path / f"{module}.py").write_text(source)
    job_id = queue.submit("own").id
    system.worker("--handlers", module, cwd=tmp_path, PYTHONPATH=python_path)
    eventually(lambda: queue.get(job_id).status, equals="done")
    assert queue.get(job_id).result == {name: f"my {name}" for name in NAMED_LIKE_OURS} | {"late": "my redis_url"}


@pytest.mark.parametrize("flags", [(), ("--processes", "2")], ids=["one", "two processes"])
def test_a_users_own_handlers_are_the_default(
    system: System, queue: JobQueue, tmp_path: Path, flags: tuple[str, ...]
) -> None:
    (tmp_path / "config.py").write_text("GREETING = 'hello'\n")
    (tmp_path / "handlers.py").write_text(
        "import config\nfrom jobqueue import handler\n\n@handler('mine')\ndef mine(payload, ctx):\n    return config.GREETING\n"
    )
    job_id = queue.submit("mine").id
    system.worker(*flags, cwd=tmp_path, PYTHONPATH="")
    eventually(lambda: queue.get(job_id).status, equals="done")
    assert queue.get(job_id).result == "hello"
