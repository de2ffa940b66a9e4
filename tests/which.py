"""Which tests run, in which order, and how the programs start.

``make test`` leaves out what is marked ``long(seconds)``; ``--sample-seconds`` takes a random part of it. ``--anew`` starts
each program anew, as users do; else most are forked."""

from __future__ import annotations

import itertools
import random
from pathlib import Path

import pytest

from tests import fork_server

# What these assert is shown as in a test.
pytest.register_assert_rewrite("tests.queue.stories", "tests.queue.flow_stories", "tests.faults.scene")

# Files that take long, the slowest of them first.
SLOW = (
    *("test_e2e", "test_checker", "test_dashboard", "test_incidents_of_jobs", "test_claims_over_http"),
    *("test_timeouts", "test_bulk", "test_server", "test_job_page", "test_command_line", "test_run", "test_hostile"),
    *("test_api", "test_findings", "test_starting_workers", "test_bounds", "test_async_handlers"),
    *("test_dashboard_in_trouble", "test_history_over_http", "test_workers_page", "test_explain", "test_operations"),
    *("test_fairness", "test_readme", "test_forks", "test_history", "test_marks", "test_delivering", "test_leaving"),
    *("test_logs", "test_durability", "test_outages", "test_outbox", "test_examples", "test_stop_now"),
    *("test_command_line_errors", "test_worker", "test_reaper"),
)
QUICK_ONES = 3  # after each of them


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("jobqueue")
    group.addoption(
        "--sample-seconds", type=float, metavar="S", help="of the tests marked long, run some that take S in all"
    )
    group.addoption("--sample-seed", type=int, metavar="N", help="which of them (default: others each time)")
    group.addoption("--anew", action="store_true", help="start each program anew: slower")


def pytest_configure(config: pytest.Config) -> None:
    fork_server.used = fork_server.POSSIBLE and not config.option.anew
    if config.option.sample_seconds is not None and config.option.sample_seed is None:
        config.option.sample_seed = random.randrange(10**6)  # here, so that all processes choose the same
    _begin_elsewhere(config)


def _begin_elsewhere(config: pytest.Config) -> None:
    """Each of several processes collects from another file on: of what the first run makes of the asserts in each file, it
    finds most made by the others."""
    worker, root = getattr(config, "workerinput", None), config.rootpath
    whole = [root / each for each in config.getini("testpaths")]
    if not worker or [root / each for each in config.args] != whole:
        return
    files = [str(path) for each in whole for path in sorted(each.rglob("test_*.py")) or [each]]
    at = len(files) * int(worker["workerid"].removeprefix("gw")) // worker["workercount"]
    config.args[:] = [*files[at:], *files[:at]]


def pytest_report_header(config: pytest.Config) -> str | None:
    if config.option.sample_seconds is None:
        return None
    return f"long tests: --sample-seconds {config.option.sample_seconds:g} --sample-seed {config.option.sample_seed}"


def pytest_unconfigure() -> None:
    fork_server.close()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.option.sample_seconds is not None:
        chosen = _sample(items, config.option.sample_seconds, config.option.sample_seed)
        config.hook.pytest_deselected(items=[item for item in items if item.nodeid not in chosen])
        items[:] = [item for item in items if item.nodeid in chosen]
    files = {path: at for at, path in enumerate(_in_order(sorted({item.path for item in items})))}
    items.sort(key=lambda item: files[item.path])


def _in_order(files: list[Path]) -> list[Path]:
    """Those that take long come early, so the processes end at about the same time. Quick ones stand between
    them: one sees from the beginning that it goes on."""
    quick = iter([path for path in files if path.stem not in SLOW])
    slow = sorted((path for path in files if path.stem in SLOW), key=lambda path: SLOW.index(path.stem))
    mixed = [each for path in slow for each in (path, *itertools.islice(quick, QUICK_ONES))]
    return [*mixed, *quick]


def _seconds(item: pytest.Item) -> float:
    mark = item.get_closest_marker("long")
    return float(mark.args[0]) if mark else 0.0


def _sample(items: list[pytest.Item], seconds: float, seed: int) -> set[str]:
    """What is not long, and of the rest whatever still fits, in a random order."""
    chosen, left = set[str](), seconds
    by_chance = sorted(items, key=lambda item: item.nodeid)
    random.Random(seed).shuffle(by_chance)
    for item in by_chance:
        if _seconds(item) <= left:
            chosen.add(item.nodeid)
            left -= _seconds(item)
    return chosen
