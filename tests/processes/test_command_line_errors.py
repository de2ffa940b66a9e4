"""python jobqueue.py VERB, where something is wrong: with the words, the way, or who answers."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from _jobqueue.commands import remote
from _jobqueue.keys import new_key
from tests.harness import ROOT, System, free_port
from tests.processes.commanding import NOBODY, Run, sentence


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("sumbit", "x"),
        ("submit",),
        ("get",),
        ("list", "--status", "dead"),
        ("list", "--limit", "0"),
        ("list", "--limit", "10001"),
        ("get", "x", "--within", "soon"),
        ("schedules",),
        ("schedules", "get", "q"),
        ("check", "--repair", "--url", "http://127.0.0.1:1"),
        ("get", "x", "--url", "http://127.0.0.1:1", "--redis-url", "redis://127.0.0.1:1/0"),
        ("get", "x", "--url", "127.0.0.1:8000"),
        ("get", "x", "--url", "http://user:word@127.0.0.1:1"),
        ("get", "x", "--url", "http://127.0.0.1:1", "--key", "two words"),
        ("migrate", "--to", "1", "--url", "http://127.0.0.1:1"),
    ],
)
def test_wrong_usage_is_2_and_says_how(anywhere: Run, arguments: tuple[str, ...]) -> None:
    ran = anywhere(*arguments)
    assert (ran.code, ran.out) == (2, "") and "jobqueue.py" in ran.err.splitlines()[-1], ran


def test_without_a_verb_it_shows_them(anywhere: Run) -> None:
    said = anywhere().err
    assert "submit a job" in said and said.endswith("name a VERB, like list\n")


@pytest.mark.parametrize("program", ["api.py", "worker.py", "reaper.py", "history.py", "outbox.py", "jobqueue.py"])
def test_a_python_without_the_packages_is_told_in_one_line(program: str) -> None:
    bare = subprocess.run(
        [sys.executable, "-S", program, "--help"], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert (bare.returncode, bare.stdout) == (2, "") and len(bare.stderr.splitlines()) == 1, bare
    assert bare.stderr.startswith(f"{program}: this Python (") and "has no package" in bare.stderr


def test_a_program_of_others_gets_the_import_error() -> None:
    bare = subprocess.run([sys.executable, "-S", "-c", "import jobqueue"], cwd=ROOT, capture_output=True, text=True)
    assert bare.returncode == 1 and bare.stderr.endswith("ModuleNotFoundError: No module named 'redis'\n")


VERBS = (
    ("submit", "a.type"),
    ("get", NOBODY),
    ("list",),
    ("retry", NOBODY),
    ("cancel", NOBODY),
    ("run", NOBODY),
    ("delete", NOBODY),
    ("pause", "q"),
    ("resume", "q", "t"),
    ("schedules", "list"),
    ("schedules", "run", "q", "s"),
    ("check",),
)


@pytest.mark.parametrize("verb", VERBS, ids=" ".join)
def test_what_is_away_is_75_and_says_what_to_do(anywhere: Run, verb: tuple[str, ...]) -> None:
    port = str(free_port())
    ran = anywhere(*verb, "--url", f"http://127.0.0.1:{port}")
    assert ran.code == 75 and "start the API, or name another by --url" in ran.err.splitlines()[0], ran
    ran = anywhere(*verb, "--redis-url", f"redis://127.0.0.1:{port}/0")
    assert ran.code == 75 and "start it, or name another by --redis-url" in ran.err.splitlines()[0], ran
    assert ("--idempotency-key" in ran.err) == (verb[0] == "submit")


def test_a_redis_that_refuses_is_not_to_be_started(shop: System, anywhere: Run) -> None:
    for url in (shop.url.removesuffix("0") + "9999", shop.url.replace("redis://", "redis://:a-password@")):
        sentence(
            anywhere("list", "--redis-url", url), 75, "Redis refused: ", "; put right what it says, or name another"
        )


def test_a_key_is_given_by_flag_or_variable(system: System, anywhere: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    (reads, entry), (admin, other) = (new_key(scope, scope) for scope in ("read", "admin"))
    system.api(API_KEYS=f"{entry},{other}")
    at = ("--url", system.api_url)
    sentence(anywhere("submit", "a.type", *at), 2, "--key or JOBQUEUE_KEY")
    sentence(anywhere("submit", "a.type", *at, "--key", reads), 2, "needs a key with the scope submit", "--key")
    assert anywhere("submit", "a.type", *at, "--key", admin).code == 0
    for variable in ("API_KEY", "JOBQUEUE_KEY"):
        monkeypatch.setenv(variable, admin)
        assert anywhere("list", *at).code == 0
        monkeypatch.delenv(variable)


def test_the_rate_limit_is_75(system: System, anywhere: Run) -> None:
    system.api(RATE_LIMIT_MAX="1")
    assert anywhere("submit", "a.type", "--url", system.api_url).code == 0
    assert anywhere("submit", "a.type", "--url", system.api_url).code == 75


class Stranger(BaseHTTPRequestHandler):
    """Answers what its server was told to."""

    def do_GET(self) -> None:
        status, headers, body = self.server.answers  # type: ignore[attr-defined]
        self.server.heard.append(self.headers)  # type: ignore[attr-defined]
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def stranger() -> Iterator[Any]:
    server: Any = HTTPServer(("127.0.0.1", 0), Stranger)
    server.heard = []
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(
    "answers",
    [
        (200, {}, b"<html>"),
        (200, {}, b"[]"),
        (404, {}, b"<html>"),
        (404, {}, b'{"detail": "Not Found"}'),
        (302, {"Location": "http://127.0.0.1:1/"}, b""),
        (500, {}, b"oops"),
    ],
)
def test_another_program_at_the_address_is_told_apart(stranger: Any, anywhere: Run, answers: Any) -> None:
    stranger.answers = answers
    url = f"http://127.0.0.1:{stranger.server_port}"
    sentence(anywhere("get", "x", "--url", url, "--key", "secret"), 2, "look whether --url is the address of the API")
    assert len(stranger.heard) == 1, "no redirection is followed"


def test_text_of_a_job_moves_no_cursor(run: Run) -> None:
    (job_id,) = run("submit", "a.type", json.dumps("\u001b[2J\u009b2J\u202e"), "--queue", "idle").lines
    shown = run("get", job_id).out
    assert "\x1b" not in shown and "\x9b" not in shown and "\u202e" not in shown


def test_it_is_the_script_too_and_ends_quietly_when_its_reader_does(shop: System) -> None:
    command = f"{sys.executable} jobqueue.py list --limit 1000 --redis-url {shop.url} | head -1"
    ended = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert ended.stderr.count("Traceback") == 0 and ended.returncode == 0, ended


def test_all_of_ours_ask_for_our_words() -> None:
    assert remote.OURS == {"words": "canonical"}


def test_its_page_names_every_verb_and_exit_code(anywhere: Run) -> None:
    page = (ROOT / "docs/command-line.md").read_text()
    helped = anywhere("--help").out
    verbs = re.findall(r"^    (\w+) *(?: \w|$)", helped, re.MULTILINE)
    assert {"submit", "get", "list", "retry", "cancel", "run", "delete", "pause", "resume", "schedules"} <= set(verbs)
    for verb in verbs:
        assert re.search(rf"`{verb}\b", page), verb
    assert re.findall(r"^\| (\d+) \|", page, re.MULTILINE) == ["0", "1", "2", "75"]
