"""README and docs name what a newcomer looks for, as it is."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import jobqueue
from _jobqueue.keys import parse_keys
from _jobqueue.web import dialects, routes
from tests.harness import EMBEDDED, ROOT, System

README = (ROOT / "README.md").read_text()
OPERATIONS = (ROOT / "docs/operations.md").read_text()
KEYS = (ROOT / "docs/redis.md").read_text()
CONFIGURATION = (ROOT / "docs/configuration.md").read_text()
CALLS = (ROOT / "docs/http.md").read_text()
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "examples").glob("*/*.md")]


@pytest.mark.parametrize("text", [README, OPERATIONS], ids=["README", "operations"])
def test_it_says_how_a_key_is_sent(text: str) -> None:
    assert "Authorization: Bearer <key>" in text and "--new-key" in OPERATIONS


def test_it_says_where_redis_cli_is() -> None:
    assert f"`{EMBEDDED.relative_to(ROOT).parent}/redis-cli`" in KEYS
    if EMBEDDED.exists():
        assert (EMBEDDED.parent / "redis-cli").exists()


def test_a_key_is_made_and_used_as_operations_says(system: System) -> None:
    command = [sys.executable, "api.py", "--new-key", "billing", "submit"]
    assert f"python {' '.join(command[1:])}" in OPERATIONS
    printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60).stdout
    assert [(key.name, key.scope) for key in parse_keys(printed)] == [("billing", "submit")]
    system.api(API_KEYS=printed)  # API_KEYS="$(cat keys)"
    (header,) = re.findall(r"curl -H '(.+?)' .*-d '\{\"payload\": 1\}'", OPERATIONS)
    key = printed.splitlines()[1].strip()
    name, _, value = header.replace("<key>", key).partition(": ")
    assert system.post("/jobs", {"payload": 1}, **{name: value}).status_code == 201
    assert system.post("/jobs", {"payload": 1}).status_code == 401


def test_the_jobs_that_are_shown_have_the_fields_of_a_job(system: System) -> None:
    system.api()
    fields = system.job(system.submit()).keys()
    shown = [json.loads(line) for line in CALLS.splitlines() if line.startswith('{"job_id"')]
    assert len(shown) == 2 and all(job.keys() == fields for job in shown)


@pytest.mark.long(4)
def test_what_the_page_on_handlers_shows_is_a_test_that_passes(tmp_path: Path) -> None:
    blocks = re.findall(r"```python\n# (\w+\.py)\n(.+?)```", (ROOT / "docs/handlers.md").read_text(), re.DOTALL)
    assert [name for name, _ in blocks] == ["my_jobs.py", "test_my_jobs.py"]
    for name, text in blocks:
        (tmp_path / name).write_text(text)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_my_jobs.py"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "REDIS_URL": "redis://127.0.0.1:1"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and "2 passed" in done.stdout, done.stdout


def test_redis_md_has_every_key_and_no_other() -> None:
    table = (jobqueue.__doc__ or "").split("and some belong to no queue")[0]
    names = re.findall(r"^    (\S.*?) +(?:hash|list|set|string|zset) ", table, re.MULTILINE)
    of_queues = {key for name in names for key in name.split()}
    rows = [row.split("|")[1] for row in KEYS.splitlines() if row.startswith("| `")]
    shown = {key for row in rows for key in re.findall(r"`(.+?)`", row)}
    assert {key for key in shown if not key.startswith("jq:")} == of_queues


def test_links_between_documents_lead_somewhere() -> None:
    for page in PAGES:
        for link in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
            assert (page.parent / link.replace("http://localhost:8000/", "docs")).exists(), (page.name, link)


def test_prose_has_at_most_a_hundred_columns() -> None:
    for page in PAGES:
        text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
        prose = [line for line in text.splitlines() if not line.startswith(("|", "!["))]
        assert [line for line in prose if len(line) > 100 and " " in line[:100].strip()] == [], page.name


def test_the_files_that_contributors_are_led_to_exist() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    named = re.findall(r"`((?:\w+/)*\w+\.(?:py|lua))`|(tests/[\w/]+(?:\.py)?)|`(_jobqueue/\w+/)`", text)
    paths = {"".join(each) for each in named} - {"exchange.lua", "reap.lua", "routes.py"}
    assert len(paths) > 10
    assert [path for path in paths if not (ROOT / path).exists() and not (ROOT / f"{path}.py").exists()] == []


def test_the_change_log_begins_with_this_release() -> None:
    titles = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert titles[0] == jobqueue.__version__


def test_every_setting_of_the_change_log_exists() -> None:
    settings = re.findall(r"`([A-Z]+_[A-Z_]+)`", (ROOT / "CHANGELOG.md").read_text())
    assert settings and set(settings) - {"ONE_CORE"} <= set(re.findall(r"`([A-Z_]+)`", CONFIGURATION))


def test_what_others_are_told_to_ask_is_there() -> None:
    """docs/coming-from.md: the services, keys and calls in the column `here`."""
    lines = (ROOT / "docs/coming-from.md").read_text().splitlines()
    here = "\n".join(line.split("|")[-2] for line in lines if line.startswith("|"))
    calls = "\n".join(line for line in lines if "`GET" in line or "`POST" in line)
    compose = (ROOT / "docker-compose.yml").read_text()
    for names in re.findall(r"docker compose logs -f (\w+)`, `… (\w+)`", here):
        assert all(f"\n  {name}:\n" in compose for name in names), names
    keys = (ROOT / "docs/redis.md").read_text()
    for key in re.findall(r"jq:\{default\}:(\w+)", here):
        assert f"`{key}" in keys or f"{key}`" in keys, key
    described = {(route.method, route.path) for room in (routes, dialects) for route in room.ROUTES}
    for method, path in re.findall(r"`(GET|POST) (/[\w/<>-]*)", calls):
        assert (method, path.replace("<id>", "<job_id>")) in described, path
