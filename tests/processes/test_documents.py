"""README and docs name what a newcomer looks for, as it is."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest

import jobqueue
from _jobqueue.keys import parse_keys
from tests.harness import EMBEDDED, ROOT, System

README = (ROOT / "README.md").read_text()
OPERATIONS = (ROOT / "docs/operations.md").read_text()
KEYS = (ROOT / "docs/redis.md").read_text()
CALLS = (ROOT / "docs/http.md").read_text()


@pytest.mark.parametrize("text", [README, OPERATIONS], ids=["README", "operations"])
def test_it_says_how_a_key_is_sent(text: str) -> None:
    assert "Authorization: Bearer <key>" in text and "--new-key" in OPERATIONS


def test_it_says_where_redis_cli_is() -> None:
    assert f"`{EMBEDDED.relative_to(ROOT).parent}/redis-cli`" in README
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


def test_redis_md_has_every_key_and_no_other() -> None:
    table = (jobqueue.__doc__ or "").split("and some belong to no queue")[0]
    names = re.findall(r"^    (\S.*?) +(?:hash|list|set|string|zset) ", table, re.MULTILINE)
    of_queues = {key for name in names for key in name.split()}
    rows = [row.split("|")[1] for row in KEYS.splitlines() if row.startswith("| `")]
    shown = {key for row in rows for key in re.findall(r"`(.+?)`", row)}
    assert {key for key in shown if not key.startswith("jq:")} == of_queues


def test_links_between_documents_lead_somewhere() -> None:
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for link in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
            assert (page.parent / link.replace("http://localhost:8000/", "docs")).exists(), (page.name, link)
