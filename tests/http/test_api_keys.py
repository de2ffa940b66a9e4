"""API keys: how they are made, what each may, and that no one is told."""

from __future__ import annotations

import hmac
import http.client
import re
import subprocess
from typing import Any

import pytest
import requests

from _jobqueue.config import Config
from _jobqueue.keys import ANY_KEY, SCOPES, WORK, new_key, parse_keys
from _jobqueue.web import security
from _jobqueue.web.security import Gate, Refused
from jobqueue import JobQueue
from tests.answers import refused
from tests.harness import System, eventually, free_port, run
from tests.http.locks import GUARDED, KEYS, NOBODY, OPEN, ROUTES, address, ask, bearer, environ, scope_of
from tests.http.talking import POST, head, say


def new_key_says(*flags: str) -> subprocess.CompletedProcess[str]:
    return run("api.py", "--new-key", *flags)


def test_a_new_key_is_printed_with_the_entry_that_lets_it_in(system: System) -> None:
    printed = new_key_says("ci.bot-1", "submit")
    key, entry = re.findall(r"\n {4}(\S+)", printed.stdout)
    assert printed.returncode == 0 and len(key) >= 32 and key not in entry
    assert re.fullmatch(r"ci\.bot-1:submit:[0-9a-f]{64}", entry)
    system.api(API_KEYS=entry)
    assert ask(system, "POST", "/jobs", Authorization=f"Bearer {key}").status_code == 201
    assert ask(system, "GET", "/jobs").status_code == 401
    assert new_key_says("ci.bot-1", "submit").stdout != printed.stdout


@pytest.mark.parametrize(
    "flags", [("me", "root"), ("me", "Admin"), ("a b", "read"), ("a:b", "read"), ("", "read"), ("me",)]
)
def test_a_key_of_no_known_scope_or_a_bad_name_is_not_made(flags: tuple[str, ...]) -> None:
    printed = new_key_says(*flags)
    assert printed.returncode == 2 and printed.stdout == "" and "api.py: " in printed.stderr


@pytest.mark.parametrize(
    "entries", ["canary", "me:read:canary", "me:root:" + "c0" * 32, "me:read:" + "C0" * 32, "me:read:" + "c0" * 33]
)
@pytest.mark.parametrize("before", ["", "good:read:" + "c0" * 32 + ","])
def test_a_wrong_entry_is_an_error_at_start_that_does_not_repeat_it(entries: str, before: str) -> None:
    with pytest.raises(ValueError, match="API_KEYS must be name:scope:sha256") as error:
        Config.from_environment({"API_KEYS": before + entries})
    assert "c0c0" not in str(error.value).lower() and "canary" not in str(error.value)


def test_an_api_with_a_wrong_entry_does_not_start(system: System) -> None:
    program = system.start("api.py", "--port", str(free_port()), API_KEYS="me:read:canary")
    assert program.exits() == 2
    assert "API_KEYS" in program.log and "canary" not in program.log and "listening" not in program.log


WITHOUT_KEY: dict[str, list[str | bytes]] = {
    "none": [],
    "empty": [""],
    "only the scheme": ["Bearer"],
    "an empty key": ["Bearer "],
    "another scheme": [f"Basic {KEYS['admin'][0]}"],
    "no scheme": [KEYS["admin"][0]],
    "too short": [bearer("admin")[:-1]],
    "too long": [bearer("admin") + "a"],
    "very long": ["Bearer " + "a" * 10_000],
    "in other letters": [bearer("admin").swapcase()],
    "not ASCII": ["Bearer kéÿ".encode("latin-1")],
    "not Latin": ["Bearer ключ".encode()],
    "the hash": ["Bearer " + KEYS["admin"][1].rpartition(":")[2]],
    "given twice": [bearer("admin"), bearer("admin")],
    "given after another": ["Bearer x", bearer("admin")],
}


def with_headers(system: System, method: str, path: str, values: list[str | bytes]) -> tuple[int, bytes, str | None]:
    """Status, body and WWW-Authenticate when the Authorization headers are these."""
    host = system.api_url.removeprefix("http://")
    connection = http.client.HTTPConnection(host, timeout=30)
    connection.putrequest(method, path)
    for value in values:
        connection.putheader("Authorization", value)
    connection.endheaders()
    answer = connection.getresponse()
    found = answer.status, answer.read(), answer.getheader("WWW-Authenticate")
    connection.close()
    return found


@pytest.mark.parametrize("values", WITHOUT_KEY.values(), ids=WITHOUT_KEY)
def test_without_a_valid_key_every_call_gets_the_same_401(locked: System, values: list[str | bytes]) -> None:
    assert len(GUARDED) >= 20
    expected = ask(locked, "GET", "/jobs")
    refused(expected, 401, "no_key")
    for method, rule in GUARDED:
        found = with_headers(locked, method, address(rule), values)
        assert found == (401, expected.content, "Bearer"), (method, rule)


def test_what_is_open_is_open_without_a_key(locked: System) -> None:
    assert {rule for _, rule in ROUTES} >= OPEN
    for path in (OPEN - {"/static/<name>"}) | {"/static/docs.js", "/static/docs.css"}:
        assert ask(locked, "GET", path).status_code == 200, path
    assert ask(locked, "OPTIONS", "/jobs").status_code == 204


def may(scope: str, wanted: str) -> bool:
    wider = scope in SCOPES and wanted in SCOPES and SCOPES.index(scope) >= SCOPES.index(wanted)
    return wider or wanted in (scope, ANY_KEY)


@pytest.mark.parametrize("scope", [*SCOPES, WORK])
def test_each_call_asks_for_its_scope_and_takes_a_wider_one(locked: System, scope: str) -> None:
    for method, rule in GUARDED:
        answer = ask(locked, method, address(rule), Authorization=bearer(scope))
        if not may(scope, scope_of(method, rule)):
            detail = refused(answer, 403, "scope_too_small")["detail"]
            assert scope_of(method, rule) in detail, (method, rule)
        else:
            assert answer.status_code not in (401, 403, 500, 503), (method, rule, answer.text)


def test_head_needs_what_get_needs(locked: System) -> None:
    assert requests.head(locked.api_url + "/jobs", timeout=30).status_code == 401


def test_the_details_of_health_need_a_key_and_the_probe_does_not(locked: System) -> None:
    assert locked.get("/health").json().keys() == {"status", "version"}
    refused(locked.get("/health?verbose"), 401, "no_key")
    assert "redis" in ask(locked, "GET", "/health?verbose", Authorization=bearer("read")).json()


def test_the_word_bearer_may_be_written_small(locked: System) -> None:
    assert ask(locked, "GET", "/jobs", Authorization=bearer("read").replace("Bearer", "bearer")).status_code == 200


def test_two_keys_of_one_name_work_while_one_replaces_the_other(system: System) -> None:
    old, new = new_key("app", "submit"), new_key("app", "submit")
    system.api(API_KEYS=f"{old[1]},{new[1]}")
    for key, _ in (old, new):
        assert ask(system, "POST", "/jobs", Authorization=f"Bearer {key}").status_code == 201
    system.api(API_KEYS=new[1])
    assert ask(system, "POST", "/jobs", Authorization=f"Bearer {new[0]}").status_code == 201
    refused(ask(system, "POST", "/jobs", Authorization=f"Bearer {old[0]}"), 401, "no_key")


def test_keys_are_compared_in_constant_time_as_hashes_of_one_length(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[Any, Any]] = []

    gate = Gate(Config(api_keys=parse_keys(",".join(entry for _, entry in KEYS.values()))), JobQueue(NOBODY))
    original = hmac.compare_digest

    def compare(one: bytes, other: bytes) -> bool:
        seen.append((one, other))
        return original(one, other)

    monkeypatch.setattr(security.hmac, "compare_digest", compare)
    with pytest.raises(Refused, match="send a valid API key"):
        gate.check(environ(HTTP_AUTHORIZATION="Bearer kéÿ"), "read")
    assert gate.check(environ(HTTP_AUTHORIZATION=bearer("read")), "read") == {}
    assert len(seen) == 2 * len(KEYS)
    assert {(type(part), len(part)) for pair in seen for part in pair} == {(bytes, 32)}


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_no_key_is_told_to_the_log(system: System, log_format: str) -> None:
    program = system.api(API_KEYS=",".join(entry for _, entry in KEYS.values()), LOG_FORMAT=log_format)
    for scope in SCOPES:
        ask(system, "POST", "/jobs", Authorization=bearer(scope))
        ask(system, "POST", "/jobs/x/retry", Authorization=bearer(scope))
        ask(system, "POST", "/jobs", Authorization=bearer(scope) + "canary")
        say(system, head(POST, f"Authorization: {bearer(scope)}", "Content-Length: x"))
        say(system, head(POST, f"Authorization: {bearer(scope)}\n{bearer(scope)}"))
        say(system, head(POST, f"Authorization{bearer(scope)}"))
    eventually(lambda: program.log.count("status"), equals=lambda lines: lines > 10)
    program.says("test-admin:admin")
    for key, entry in KEYS.values():
        assert key not in program.log and entry.rpartition(":")[2] not in program.log
