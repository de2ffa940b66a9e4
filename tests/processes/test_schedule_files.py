"""python jobqueue.py schedules apply FILE: a queue's set of schedules equals the file's."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from _jobqueue.store import schedule_files, schedules
from jobqueue import JobQueue
from tests.harness import Server, run
from tests.played import snapshot


def apply(server: Server, tmp_path: Path, file: Any, *flags: str) -> subprocess.CompletedProcess[str]:
    path = tmp_path / "schedules.json"
    path.write_text(file if isinstance(file, str) else json.dumps(file))
    return run("jobqueue.py", "schedules", "apply", str(path), "--redis-url", server.url, *flags)


def test_set_of_a_queue_becomes_that_of_the_file(server: Server, queue: JobQueue, tmp_path: Path) -> None:
    one, two = {"every_s": 60, "type": "a", "payload": {"n": 1}}, {"every_s": 3600, "tags": ["t"]}
    dry = apply(server, tmp_path, {"queue": "q", "schedules": {"one": one, "two": two}}, "--dry-run")
    assert (dry.returncode, "q" in queue.queues()) == (0, False), dry.stderr
    assert "q/one is new: Every minute; next 20" in dry.stdout and "2 changes, if this were no dry run" in dry.stdout
    assert apply(server, tmp_path, {"queue": "q", "schedules": {"one": one, "two": two}}).returncode == 0
    queue.schedules.pause("q", "two")
    before = snapshot(server)
    again = apply(server, tmp_path, {"queue": "q", "schedules": {"one": one, "two": two}})
    assert again.stdout.splitlines()[-1] == "0 changes" and "q/two stays: Every hour; paused" in again.stdout
    assert snapshot(server) == before
    last = apply(server, tmp_path, {"queue": "q", "schedules": {"one": one | {"payload": {"n": 2}}, "three": two}})
    assert [line.split(":")[0] for line in last.stdout.splitlines()] == [
        "q/two is deleted",
        "q/one changes",
        "q/three is new",
        "3 changes",
    ]
    assert queue.schedules.names("q") == ["one", "three"]
    assert queue.schedules.get("q", "one").payload == b'{"n":2}'


def test_file_that_is_wrong_anywhere_changes_nothing(server: Server, queue: JobQueue, tmp_path: Path) -> None:
    good = {"every_s": 60}
    bad = apply(server, tmp_path, {"queue": "q", "schedules": {"good": good, "bad": {"every_s": 0}, "no name": good}})
    assert bad.returncode == 1 and bad.stdout == ""
    assert [line.split(": ")[1] for line in bad.stderr.splitlines()] == ["/schedules/bad/every_s", "/schedules/no name"]
    for text in ("{", "[]", '{"queue": 1, "schedules": {}}', '{"queue": "q"}'):
        assert apply(server, tmp_path, text).returncode == 1
    assert queue.queues() == []


def test_schedule_that_never_fires_is_named_and_the_others_stay(
    server: Server, queue: JobQueue, tmp_path: Path
) -> None:
    over = {"every_s": 60, "ends_at": "2020-01-01T00:00:00Z"}
    file = {"queue": "q", "schedules": {"good": {"every_s": 60}, "over": over}}
    for flags in ((), ("--dry-run",)):
        bad = apply(server, tmp_path, file, *flags)
        assert (bad.returncode, bad.stdout) == (1, "")
        assert "/schedules/over/ends_at: never fires" in bad.stderr
    assert queue.queues() == []


def test_names_are_changed_in_a_queue_that_has_no_room_left(queue: JobQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedules, "MAX_SCHEDULES", 2)
    said: list[str] = []
    for names in ("ab", "bc"):
        text = json.dumps({"queue": "q", "schedules": {name: {"every_s": 60} for name in names}}).encode()
        assert schedule_files.apply(queue.schedules, text, said.append) > 0
    assert queue.schedules.names("q") == ["b", "c"]


def test_mistakes_are_told_in_sentences(server: Server, tmp_path: Path) -> None:
    assert "schedules.json: the file: not valid JSON" in apply(server, tmp_path, "").stderr
    away = apply(server, tmp_path, {"queue": "q", "schedules": {}}, "--redis-url", "redis://127.0.0.1:1/0")
    assert away.returncode == 75 and away.stderr.startswith("cannot apply schedules: Redis does not answer")
