"""README and docs, played as they stand there: tests/readme.py."""

from __future__ import annotations

import os
import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from tests import readme
from tests.harness import ROOT

TOOLS = ("curl", "ps", "sqlite3")


@pytest.fixture(scope="module")
def place() -> Iterator[tuple[Path, dict[str, str]]]:
    missing = [tool for tool in TOOLS if not shutil.which(tool)]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")
    with readme.running() as found:
        yield found


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, marks=pytest.mark.long(13)) if page == "README.md" else page  # CI always plays it
        for page in readme.played()
    ],
)
def test_what_a_page_shows_is_what_happens(page: str, place: tuple[Path, dict[str, str]]) -> None:
    assert readme.play(page, *place) > 0


def test_each_look_at_redis_is_answered(place: tuple[Path, dict[str, str]]) -> None:
    """docs/redis.md: after all that was played, each key is of the type that its command takes."""
    port = int(place[1]["REDIS_URL"].rpartition(":")[2].partition("/")[0])
    commands = re.findall(r"`redis-cli (.+?)`", (ROOT / "docs/redis.md").read_text())
    assert len(commands) > 30
    with redis.Redis(port=port, decode_responses=True) as client:
        for command in commands:
            words = [word for word in shlex.split(command) if word not in ("--scan", "--pattern")]
            scan = "--scan" in command
            keys = words if scan else [words[1]]
            for key in client.keys(re.sub(r"<\w+>", "*", keys[0])):
                client.execute_command(*(("TYPE", key) if scan else (words[0], key, *words[2:])))


def test_what_is_not_played_is_tried_elsewhere() -> None:
    blocks = [block for page in readme.pages() for block in readme.blocks(page) if block.kind == "sh"]
    tests = {readme.elsewhere(block) for block in blocks} - {""}
    assert tests == set(readme.ELSEWHERE.values()), "each entry is about a block"
    assert all((ROOT / test).exists() for test in tests)


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[readme.Reader]:
    reader = readme.Reader(tmp_path, {"PATH": os.environ["PATH"], "API": "", "REDIS_URL": ""})
    yield reader
    reader.close()


def block(text: str, printed: str = "") -> readme.Block:
    return readme.Block("a page", 1, "sh", text, printed)


def test_what_is_not_printed_is_seen(reader: readme.Reader) -> None:
    reader.plays(block("name=ada\necho hello $name   # → hello ada\n"))
    with pytest.raises(readme.Wrong, match="hello bob"):
        reader.plays(block("echo hello $name   # → hello bob\n"))
    with pytest.raises(readme.Wrong):
        reader.plays(block("printf 'a\\nb'\n", "a\n"))


def test_a_command_that_does_something_is_typed_once() -> None:
    looks = (
        "curl -s localhost:8000/stats",
        "curl -s 'localhost:8000/tags/t?wait_s=20'",
        "curl -si localhost:8000/livez",
    )
    assert all(readme.LOOK.match(command) for command in looks)
    deeds = ("curl -s localhost:8000/jobs \\\n     -d '{}'", "curl -s -X PUT localhost:8000/queues/q -d '{}'")
    assert not any(readme.LOOK.match(command) for command in (*deeds, "sleep 1; curl -s localhost:8000/jobs", "kill 1"))


def test_an_id_of_the_page_is_the_same_id_everywhere(reader: readme.Reader) -> None:
    shown, actual, other = (f"f734981c-8eea-8000-8422-8fc73fe3897{n}" for n in range(3))
    assert reader.recognizes(f'{{"id": "{shown}", ...}}', f'{{"id": "{actual}", "at": 1}}')
    assert not reader.recognizes(shown, other) and reader.recognizes(shown, actual)
    reader.plays(block(f"echo {shown}   # → {actual}\n"))


def test_times_are_aside_and_numbers_are_not(reader: readme.Reader) -> None:
    assert reader.recognizes("at 2026-11-22T09:25:43.812Z: 3", "at 2026-12-24T10:00:00.000Z: 3")
    assert not reader.recognizes("at 2026-11-22T09:25:43.812Z: 3", "at 2026-12-24T10:00:00.000Z: 4")


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 220
