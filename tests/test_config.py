"""Settings: a flag over the environment over the default, and a mistake is named, without secrets."""

from __future__ import annotations

import dataclasses
import logging
from typing import Any

import pytest

from config import Config, _Json, _Text, parse_queues, without_password
from jobqueue import JobQueue

SETTINGS = {setting.name: setting for setting in dataclasses.fields(Config)}
SECRET = "hunter2"


def refusal(environment: dict[str, str], flags: dict[str, str] | None = None) -> str:
    with pytest.raises(ValueError) as error:
        Config.from_environment(environment, flags)
    return str(error.value)


def flag_of(name: str) -> str:
    return SETTINGS[name].metadata["flag"] or "--" + name.replace("_", "-")


# ---------------------------------------------------------------------------------------------------------- sources


def test_defaults_are_those_of_the_contract() -> None:
    config = Config.from_environment({})
    assert config == Config()
    assert (config.api_host, config.api_port, config.worker_threads, config.queues) == ("127.0.0.1", 8000, 8, "default")
    assert config.policy() == (2, 10_000, 1000)
    assert (config.result_ttl_s, config.failed_ttl_s) == (86_400, 604_800)


def test_flag_wins_over_environment_over_default() -> None:
    environment = {"WORKER_THREADS": "3", "MAX_ATTEMPTS": "7"}
    config = Config.from_environment(environment, {"worker_threads": "5"})
    assert (config.worker_threads, config.max_attempts, config.worker_processes) == (5, 7, 1)


def test_command_line_wins_over_environment_over_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKER_THREADS", "3")
    monkeypatch.setenv("MAX_ATTEMPTS", "7")
    names = ("worker_threads", "max_attempts", "queues")
    config, _ = Config.parse("", names, arguments=["--threads", "5"])
    assert (config.worker_threads, config.max_attempts, config.queues) == (5, 7, "default")


@pytest.mark.parametrize("name", SETTINGS)
def test_each_setting_is_the_variable_of_its_name(name: str) -> None:
    default = SETTINGS[name].default
    other = {
        "redis_url": "unix:///run/redis.sock",
        "log_format": "json",
        "log_jobs": "failures",
        "durability": "fast",
        "trusted_proxy": "::1",
        "api_keys": f"me:read:{'0' * 64}",
    }
    text = other.get(name) or (
        str(
            default + 1
            if name not in ("simulated_failures", "api_insecure", "one_core", "api_one_core")
            else 1 - default
        )
        if default != str(default)
        else "a"
    )
    value = getattr(Config.from_environment({name.upper(): text}), name)
    assert str(value) == str(type(default)(text))


@pytest.mark.parametrize("name", SETTINGS)
def test_empty_variable_is_no_setting_and_an_empty_flag_is_a_mistake(name: str) -> None:
    assert Config.from_environment({name.upper(): ""}) == Config()
    assert refusal({}, {name: ""}).startswith(flag_of(name))


def test_settings_do_not_change() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Config().max_attempts = 3  # type: ignore[misc]


# ---------------------------------------------------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        (
            "redis_url",
            ["localhost:6379", "http://localhost", "redis:/localhost", "redis://localhost:x", "redis://h:70000"],
        ),
        ("api_port", ["0", "65536", "http", "-1", "8000.0", "1e3", " 80", "80 ", "0x50", "9" * 30]),
        ("api_threads", ["0", "257", "many"]),
        ("api_waiters", ["-1", "1001", "many"]),
        ("api_one_core", ["2", "yes"]),
        ("max_body_bytes", ["1023", "1MB", "2147483648"]),
        ("max_result_bytes", ["15"]),
        ("worker_threads", ["0", "1001"]),
        ("worker_processes", ["0", "auto"]),
        ("queues", ["a b", "a,,b", "a,a", "a=0", "a=1,b", "a,b=1", "a=", "=1", "a=x", ","]),
        ("drain_s", ["-1", "inf", "nan", "1e9", "86401", "soon"]),
        ("processing_timeout_s", ["0", "0.5", "86401"]),
        ("max_attempts", ["0", "101", "2.5", "ten"]),
        ("backoff_s", ["-1", "86401"]),
        ("reaper_interval_s", ["0", "0.01", "61"]),
        ("result_ttl_s", ["0", "59"]),
        ("failed_ttl_s", ["-1", "1d"]),
        ("durability", ["none", "FAST"]),
        ("log_format", ["xml"]),
        ("log_jobs", ["none"]),
        ("simulated_failures", ["2", "true"]),
    ],
)
def test_bad_value_is_refused_by_the_name_of_its_source(name: str, bad: list[str]) -> None:
    for text in bad:
        for source, said in ((name.upper(), refusal({name.upper(): text})), (flag_of(name), refusal({}, {name: text}))):
            assert said.startswith(source)
            assert name == "redis_url" or repr(text) in said


def test_mistake_on_the_command_line_ends_with_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit:
        Config.parse("", ("worker_threads",), arguments=["--threads", "none"])
    assert exit.value.code == 2
    assert "--threads is 'none': must be a whole number from 1 to 1000" in capsys.readouterr().err


def test_mistake_in_the_environment_ends_every_process(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("API_PORT", "http")
    with pytest.raises(SystemExit):
        Config.parse("", ("worker_threads",), arguments=[])
    assert "API_PORT is 'http': must be a whole number from 1 to 65535" in capsys.readouterr().err


def test_unknown_flag_is_a_mistake(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        Config.parse("", ("worker_threads",), arguments=["--therads", "3"])
    assert "--therads" in capsys.readouterr().err


def test_help_names_every_variable(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        Config.parse("", ("worker_threads",), arguments=["--help"])
    shown = capsys.readouterr().out
    assert all(name.upper() in shown for name in SETTINGS)


# ------------------------------------------------------------------------------------------------------------- redis


@pytest.mark.parametrize(
    ("environment", "url"),
    [
        ({}, "redis://localhost:6379/0"),
        ({"REDIS_HOST": "redis"}, "redis://redis:6379/0"),
        ({"REDIS_PORT": "6380"}, "redis://localhost:6380/0"),
        ({"REDIS_HOST": "redis", "REDIS_PORT": "6380"}, "redis://redis:6380/0"),
        ({"REDIS_HOST": "redis", "REDIS_URL": ""}, "redis://redis:6379/0"),
        ({"REDIS_HOST": "redis", "REDIS_URL": "rediss://other:1/2"}, "rediss://other:1/2"),
    ],
)
def test_redis_is_named_by_its_url_or_by_host_and_port(environment: dict[str, str], url: str) -> None:
    assert Config.from_environment(environment).redis_url == url
    assert Config.from_environment(environment, {"redis_url": "redis://flag"}).redis_url == "redis://flag"


def test_bad_redis_port_is_named() -> None:
    assert refusal({"REDIS_PORT": "x"}).startswith("REDIS_HOST, REDIS_PORT")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://localhost:6379/0", "redis://localhost:6379/0"),
        (f"redis://:{SECRET}@localhost:6379/0", "redis://***@localhost:6379/0"),
        (f"rediss://user:{SECRET}@h/1?ssl_ca_certs=/x", "rediss://***@h/1"),
        (f"redis://h:1/0?password={SECRET}", "redis://h:1/0"),
        (f"redis://h:1/0?password=a@{SECRET}", "redis://***"),
        (f"redis://:a@b@{SECRET}@h:1", "redis://***@h:1"),
        (f"redis://:1/{SECRET}@h:1/0", "redis://***@h:1/0"),
        (f"redis://:1?{SECRET}@h:1/0", "redis://***"),
        (f"redis://:1#{SECRET}@h:1/0", "redis://***"),
        (f"unix://user:{SECRET}@/run/redis.sock?db=1", "unix://***@/run/redis.sock"),
        ("unix:///run/redis.sock", "unix:///run/redis.sock"),
        (f"redis+sentinel://user:{SECRET}@h:1,i:2/jobs/0", "redis+sentinel://***@h:1,i:2/jobs/0"),
        (f"redis+sentinel://h:1/jobs?sentinel_password={SECRET}", "redis+sentinel://h:1/jobs"),
        (f"rediss+cluster://:{SECRET}@h:1,i:2", "rediss+cluster://***@h:1,i:2"),
        (f"redis+cluster://:{SECRET},x@h:1", "redis+cluster://***@h:1"),
    ],
)
def test_password_is_not_shown(url: str, shown: str) -> None:
    assert without_password(url) == shown
    assert SECRET not in shown
    assert Config(redis_url=url).in_effect()["redis_url"] == shown


@pytest.mark.parametrize(
    "url",
    [
        f"http://:{SECRET}@h",
        f":{SECRET}@h:1",
        f"redis://:{SECRET}/x@h:1",
        f"redis://:x@{SECRET}/y@h",
        f"redis://[{SECRET}",
        f"redis://:{SECRET}\u2100@h",
        f"redis+sentinel://:{SECRET}@h:1,h:2",
        f"redis+sentinel://:{SECRET}/x@h:1/jobs",
        f"redis+sentinel://:x@{SECRET}@h:1/jobs",
        f"redis+cluster://:{SECRET}@h",
        f"redis+cluster://:{SECRET}@h:1/1",
        f"redis+cluster://:{SECRET}?x@h:1",
    ],
)
def test_mistake_in_an_url_is_told_without_the_password(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert SECRET not in refusal({"REDIS_URL": url})
    with pytest.raises(SystemExit):
        Config.parse("", (), arguments=["--redis-url", url])
    assert SECRET not in capsys.readouterr().err


@pytest.mark.parametrize(
    "url",
    [
        "redis+sentinel://h:26379,i:26379,j:26379/mymaster",
        "rediss+sentinel://user:p%40ss@h:1,[::1]:2/my.master-1/15?sentinel_password=x",
        "redis+cluster://h:7000",
        "redis+cluster://:pa,ss@h:7000,i:7001/0",
        "rediss+cluster://h:7000,i:7001?ssl_ca_certs=ca.pem",
    ],
)
def test_sentinels_and_a_cluster_are_named_by_several_addresses(url: str) -> None:
    assert Config.from_environment({"REDIS_URL": url}).redis_url == url
    JobQueue(url)  # understands it, and asks nobody yet


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("redis+sentinel://h:1,i:2", "must name the service"),
        ("redis+sentinel://h:1/jobs/x", "must name the service"),
        ("redis+sentinel://h:1/jobs/0/0", "must name the service"),
        ("redis+sentinel://h/jobs", "host:port"),
        ("redis+sentinel://h:0/jobs", "host:port"),
        ("redis+cluster://h:70000", "host:port"),
        ("redis+cluster://h:1,", "host:port"),
        ("redis+cluster://", "host:port"),
        ("redis+cluster://h:1/3", "only number 0"),
        ("redis+other://h:1", "must start with"),
    ],
)
def test_a_mistake_in_several_addresses_is_explained(url: str, said: str) -> None:
    assert said in refusal({"REDIS_URL": url})


def test_everything_but_the_password_is_in_effect() -> None:
    assert Config().in_effect().keys() == SETTINGS.keys()
    assert Config(worker_threads=3).in_effect()["worker_threads"] == 3


# ------------------------------------------------------------------------------------------------------------ queues


@pytest.mark.parametrize(
    ("text", "threads", "shares"),
    [
        ("default", 8, {"default": 8}),
        ("a,b", 8, {"a": 4, "b": 4}),
        ("a,b,c", 8, {"a": 3, "b": 3, "c": 2}),
        ("a,b,c", 2, {"a": 1, "b": 1, "c": 1}),
        ("default=6,email=2", 1, {"default": 6, "email": 2}),
        ("A-Z_0.9=1000", 1, {"A-Z_0.9": 1000}),
    ],
)
def test_threads_are_shared_out_to_queues(text: str, threads: int, shares: dict[str, int]) -> None:
    assert parse_queues(text, threads) == shares
    assert Config.from_environment({"QUEUES": text}).queues == text


# --------------------------------------------------------------------------------------------------------------- log


def record(message: str, **fields: Any) -> logging.LogRecord:
    made = logging.LogRecord("worker", logging.WARNING, "", 0, message, (), None)
    made.fields = fields
    return made


def test_log_line_cannot_be_made_to_look_like_two() -> None:
    hostile = record("a\nb", error="x\r\nINFO all is well\x1b[2J\u2028")
    assert len(_Text().format(hostile).splitlines()) == 1
    assert len(_Json().format(hostile).splitlines()) == 1
    assert "\x1b" not in _Text().format(hostile) + _Json().format(hostile)


def test_fields_of_a_log_line_do_not_replace_its_own() -> None:
    assert '"message": "true"' in _Json().format(record("true", job="1"))
