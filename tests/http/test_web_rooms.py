"""The rooms of HTTP: who imports whom, one table for routes and description, codes beside sentences."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from _jobqueue.records import REAPER_MISSED_S, Warned
from _jobqueue.web import diagnosis
from _jobqueue.web.diagnosis import Advice, Patience
from jobqueue import JobQueue, NewJob
from tests.harness import ROOT, System, eventually

INSIDE = sorted(path for path in ROOT.glob("_jobqueue/**/*.py"))
SCRIPTS = sorted(ROOT.glob("*.py"))


def imports(path: Path) -> set[str]:
    """The modules that a file imports, wherever it does."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def importers(*modules: str) -> Iterator[str]:
    for path in (*INSIDE, *SCRIPTS):
        if any(name == module or name.startswith(f"{module}.") for name in imports(path) for module in modules):
            yield name_of(path)


def test_only_the_rooms_of_http_and_the_api_know_http() -> None:
    assert {name for name in importers("bottle", "waitress") if not name.startswith("_jobqueue/web/")} == {"api.py"}
    assert {name for name in importers("_jobqueue.web") if not name.startswith("_jobqueue/web/")} == {"api.py"}


def test_imports_go_one_way() -> None:
    processes = ("api", "worker", "reaper", "history", "outbox", "run", "loadtest")
    assert not [name for name in importers(*processes) if name.startswith("_jobqueue/")]
    assert not [name for name in importers("jobqueue") if name.startswith("_jobqueue/store/")]
    ground = [path for path in INSIDE if path.parent.name == "_jobqueue"]
    store = [path for path in ground if any(name.startswith("_jobqueue.store") for name in imports(path))]
    assert not store, [name_of(path) for path in store]


# -------------------------------------------------------------------------------------------------- the description


def test_the_description_names_the_bounds_that_are_enforced(api: System) -> None:
    described = api.get("/openapi.json").json()["components"]["parameters"]
    job_id = api.submit(1)
    for name, path in (("limit", "/jobs"), ("offset", "/jobs"), ("wait_s", f"/jobs/{job_id}")):
        low, high = described[name]["schema"]["minimum"], described[name]["schema"]["maximum"]
        values = ((low, 200), (low - 1, 422), (high + 1, 422), *([(high, 200)] if name != "wait_s" else []))
        for value, status in values:
            assert api.get(f"{path}?{name}={value}").status_code == status, (name, value)


def members() -> list[tuple[str, Any, int]]:
    """Of a new job: name, value, status."""
    return [
        *(("priority", value, status) for value, status in ((0, 201), (9, 201), (10, 422))),
        *(("max_attempts", value, status) for value, status in ((1, 201), (100, 201), (101, 422))),
        *(("timeout_s", value, status) for value, status in ((0.1, 201), (0.09, 422), (86400, 201), (86401, 422))),
        *(("tags", ["t"] * n, status) for n, status in ((10, 201), (11, 422))),
    ]


@pytest.mark.parametrize("name, value, status", members(), ids=str)
def test_a_value_that_the_description_allows_is_taken_and_no_other(
    api: System, name: str, value: Any, status: int
) -> None:
    jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is not installed: make test does it")
    schema = api.get("/openapi.json").json()["components"]["schemas"]["NewJob"]
    allowed = jsonschema.Draft202012Validator(schema).is_valid({name: value})
    assert (api.post("/jobs", {name: value}).status_code, allowed) == (status, status == 201)


# --------------------------------------------------------------------------------------------------------- sentences


def test_advice_is_a_code_and_a_sentence(queue: JobQueue) -> None:
    (warned,) = Advice(queue, Patience(0)).on([NewJob(), NewJob()])
    assert isinstance(warned, Warned) and warned.code == "no_worker" and "no worker serves" in warned.text


def test_a_reaper_is_missed_only_when_it_had_time_to_tick(queue: JobQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [1000.0]
    monkeypatch.setattr(diagnosis.time, "monotonic", lambda: clock[0])
    patience = Patience()
    queue.submit()
    assert not patience.misses_reaper("default", queue.books("default"))
    clock[0] += REAPER_MISSED_S - 0.1
    assert not patience.misses_reaper("default", queue.books("default"))
    clock[0] += 0.2
    assert patience.misses_reaper("default", queue.books("default"))
    queue.submit(queue="new")
    assert not patience.misses_reaper("new", queue.books("new"))
    ticked = queue.recovery.transaction("default")
    ticked.promote(1)
    ticked.execute()
    assert not patience.misses_reaper("default", queue.books("default"))


@pytest.mark.long(4)
def test_the_first_submit_of_a_system_does_not_miss_a_reaper_that_is_starting(system: System) -> None:
    system.worker()
    system.api()
    first = system.post("/jobs", {"delay_s": 60}).json()
    assert "warning" not in first, first["warning"]
    assert system.get("/stats").json()["health"] == []
    assert system.get(f"/jobs/{first['job_id']}/explain").json()["code"] == "delayed"
    eventually(
        lambda: [each["code"] for each in system.get("/stats").json()["health"]], equals=["no_reaper"], within_s=15
    )
    assert "no reaper" in system.post("/jobs", {"delay_s": 60}).json()["warning"]
    system.reaper()
    eventually(lambda: system.get("/stats").json()["health"], equals=[])
