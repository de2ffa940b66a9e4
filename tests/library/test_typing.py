"""Types: what a checker refuses, and that the one list of options says what a job may say."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from _jobqueue.new_job import JobOptions, NewJob
from tests.harness import ROOT

TYPED = ROOT / "tests/library/typed.py"


def test_the_options_of_a_submit_are_the_fields_of_a_job() -> None:
    taken = {each.name for each in fields(NewJob) if each.init}
    assert JobOptions.__annotations__.keys() == taken - {"type", "payload", "words"}  # words are for HTTP


@pytest.mark.long(15)
def test_a_checker_refuses_what_is_misspelt_and_nothing_else(tmp_path: Path) -> None:
    pytest.importorskip("mypy", reason="mypy is in requirements-dev.txt")
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path), "--config-file", "", str(TYPED)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    said = re.findall(r"typed\.py:(\d+): error: .*\[([\w-]+)\]", done.stdout)
    wanted = []
    for number, line in enumerate(TYPED.read_text().splitlines(), 1):
        if found := re.search(r"# (above: )?refused (?:\[([\w-]+)\])", line):
            wanted.append((str(number - 1 if found[1] else number), found[2]))
    assert said == wanted, done.stdout + done.stderr
