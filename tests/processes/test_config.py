"""Settings: a flag over the environment over the default, and a mistake is named, without secrets."""

from __future__ import annotations

import dataclasses
import json
import logging
from pathlib import Path
from typing import Any

import pytest

from _jobqueue.config import Config, misspelt
from _jobqueue.keys import Key
from _jobqueue.logs import _Json, _Text
from jobqueue import Policy
from tests.harness import System, free_port
from tests.processes.settings import SECRET, SETTINGS, refusal


def flag_of(name: str) -> str:
    return SETTINGS[name].metadata["flag"] or "--" + name.replace("_", "-")


# ---------------------------------------------------------------------------------------------------------------- sources


def test_defaults_are_those_of_the_contract() -> None:
    config = Config.from_environment({})
    assert config == Config()
    assert (config.api_host, config.api_port, config.worker_threads, config.shares) == (
        "127.0.0.1",
        8000,
        8,
        {"default": 8},
    )
    assert config.policy == Policy(2, 10_000, 1000)
    assert (config.result_ttl_s, config.failed_ttl_s) == (86_400, 604_800)


def test_flag_wins_over_environment_over_default() -> None:
    environment = {"WORKER_THREADS": "3", "MAX_ATTEMPTS": "7"}
    config = Config.from_environment(environment, {"worker_threads": "5"})
    assert (config.worker_threads, config.max_attempts, config.worker_processes) == (5, 7, 1)


def test_command_line_wins_over_environment_over_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKER_THREADS", "3")
    monkeypatch.setenv("MAX_ATTEMPTS", "7")
    names = ("worker_threads", "max_attempts", "queues")
    config, _ = Config.parse("", "", names, arguments=["--threads", "5"])
    assert (config.worker_threads, config.max_attempts, config.shares) == (5, 7, {"default": 5})


OTHERS = {
    "redis_url": "unix:///run/redis.sock",
    "log_format": "json",
    "log_jobs": "failures",
    "durability": "fsync",
    "trusted_proxy": "::1",
    "api_keys": f"me:read:{'0' * 64}",
    "queues": "a=3,b=1",
    "simulated_failures": "0",
    "api_one_core": "0",
    "history_url": "sqlite:///here.db",
    "outbox_url": "sqlite:///here.db",
    "history_detail": "all",
    "history_payloads": "0",
    "webhook_secrets": "whsec_" + "A" * 40,
}


SHOWN = {"api_keys": "['me:read']", "webhook_secrets": "1"}  # of what is not for everybody


@pytest.mark.parametrize("name", SETTINGS)
def test_each_setting_is_the_variable_of_its_name_in_its_final_type(name: str) -> None:
    default, config = SETTINGS[name].default, Config()
    shown = config.in_effect()[name]
    text = OTHERS.get(name) or ("a" if isinstance(shown, str) else str(shown + 1))
    other = Config.from_environment({name.upper(): text})
    value = getattr(other, name)
    assert value != default and other == dataclasses.replace(config, **{name: value})
    assert type(value) is type(default) or name == "trusted_proxy"
    assert str(other.in_effect()[name]) == SHOWN.get(name, text)


def test_settings_arrive_parsed() -> None:
    given = {
        "API_KEYS": f" me:read:{'ab' * 32},you:admin:{'cd' * 32} ",
        "ALLOWED_HOSTS": "Jobs.example, [2001:DB8::1]",
        "TRUSTED_PROXY": "::ffff:10.0.0.1",
        "QUEUES": "a=3,b=1",
        "ONE_CORE": "1",
    }
    config = Config.from_environment(given)
    assert config.api_keys == (Key("me", "read", b"\xab" * 32), Key("you", "admin", b"\xcd" * 32))
    assert config.allowed_hosts == ("jobs.example", "[2001:db8::1]")
    assert str(config.trusted_proxy) == "10.0.0.1"
    assert config.queues == (("a", 3), ("b", 1))
    assert config.one_core is True and config.api_insecure is False


def test_what_is_in_effect_can_be_sent_as_json() -> None:
    assert json.loads(json.dumps(Config().in_effect())) == Config().in_effect()


def test_secrets_are_not_in_what_is_printed_of_the_settings() -> None:
    urls = {"REDIS_URL": f"redis://:{SECRET}@h", "HISTORY_URL": f"postgresql://me:{SECRET}@h/jobs"}
    config = Config.from_environment(urls | {"API_KEYS": f"me:read:{'ab' * 32}"})
    for shown in (repr(config), str(config.in_effect())):
        assert SECRET not in shown and "abab" not in shown and str(b"\xab\xab") not in shown
    wrong = refusal({"API_KEYS": f"me:read:{'ab' * 32},you:write:{'cd' * 32}"})
    assert wrong.startswith("API_KEYS must be") and "abab" not in wrong and "cdcd" not in wrong


@pytest.mark.parametrize("name", SETTINGS)
def test_empty_variable_is_no_setting_and_an_empty_flag_is_a_mistake(name: str) -> None:
    assert Config.from_environment({name.upper(): ""}) == Config()
    assert refusal({}, {name: ""}).startswith(flag_of(name))


def test_settings_do_not_change() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Config().max_attempts = 3  # type: ignore[misc]


# --------------------------------------------------------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        (
            "redis_url",
            ["localhost:6379", "http://localhost", "redis:/localhost", "redis://localhost:x", "redis://h:70000"],
        ),
        ("api_port", ["0", "65536", "http", "-1", "8000.0", "1e3", " 80", "80 ", "0x50", "9" * 30]),
        ("api_threads", ["0", "257", "many"]),
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
        ("history_url", ["none", "sqlite:here.db", "mysql://host/name"]),
        ("outbox_url", ["none", "sqlite:here.db", "mysql://host/name"]),
        ("history_detail", ["none"]),
        ("history_ttl_days", ["-1", "1d"]),
        ("history_hold_max", ["0", "999"]),
        ("log_format", ["xml"]),
        ("log_jobs", ["none"]),
        ("simulated_failures", ["2", "true"]),
    ],
)
def test_bad_value_is_refused_by_the_name_of_its_source(name: str, bad: list[str]) -> None:
    for text in bad:
        for source, said in ((name.upper(), refusal({name.upper(): text})), (flag_of(name), refusal({}, {name: text}))):
            assert said.startswith(source)
            assert name.endswith("_url") or repr(text) in said


def test_mistake_on_the_command_line_ends_with_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit:
        Config.parse("", "", ("worker_threads",), arguments=["--threads", "none"])
    assert exit.value.code == 2
    assert "--threads is 'none': must be a whole number from 1 to 1000" in capsys.readouterr().err


def test_mistake_in_the_environment_ends_the_program_whose_setting_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("API_PORT", "tcp://10.0.0.1:8000")  # a container platform sets this for a service named api
    for program in ("api", ""):
        with pytest.raises(SystemExit):
            Config.parse(program, "", (), arguments=[])
        said = "API_PORT is 'tcp://10.0.0.1:8000': must be a whole number from 1 to 65535"
        assert said in capsys.readouterr().err
    for program in ("worker", "reaper", "history", "outbox", "jobqueue"):
        assert Config.parse(program, "", (), arguments=[])[0].api_port == 8000


WRONG = {
    "api": "API_THREADS",
    "worker": "WORKER_THREADS",
    "reaper": "REAPER_INTERVAL_S",
    "history": "HISTORY_TTL_DAYS",
}


@pytest.mark.parametrize("program", WRONG)
def test_a_program_starts_over_the_wrong_settings_of_others(system: System, program: str, tmp_path: Path) -> None:
    flags = ["--port", str(free_port())] if program == "api" else []
    record = {"HISTORY_URL": f"sqlite:///{tmp_path}/history.db"}
    others = record | {variable: "none" for owner, variable in WRONG.items() if owner != program}
    running = system.start(f"{program}.py", *flags, **others)
    running.says("listening" if program == "api" else "starting")
    assert running.stop() == 0 and "none" not in running.log
    wrong = system.start(f"{program}.py", *flags, **{WRONG[program]: "none"})
    assert wrong.exits() == 2 and f"{WRONG[program]} is 'none'" in wrong.log


@pytest.mark.parametrize("program", WRONG)
def test_a_program_shows_and_explains_its_own_settings(program: str, capsys: pytest.CaptureFixture[str]) -> None:
    shown = Config.from_environment({}, program=program).in_effect()
    with pytest.raises(SystemExit):
        Config.parse(program, "", (), arguments=["--help"])
    said = capsys.readouterr().out
    for owner, variable in WRONG.items():
        assert (variable.lower() in shown) == (variable in said) == (owner == program)
    assert shown.keys() >= {"redis_url", "processing_timeout_s", "log_format"}


# --------------------------------------------------------------------------------------------------------- misspelt names


SLIPS = {
    "MAX_ATEMPTS": "MAX_ATTEMPTS",
    "MAX_ATTEMPT": "MAX_ATTEMPTS",
    "max_attempts": "MAX_ATTEMPTS",
    "PROCESSING_TIMEOUT": "PROCESSING_TIMEOUT_S",
    "WORKERS_THREADS": "WORKER_THREADS",
    "QUEUE": "QUEUES",
    "HANDLER": "HANDLERS",
    "REDIS_URI": "REDIS_URL",
    "LOG_FORMATS": "LOG_FORMAT",
    "BACKOFF": "BACKOFF_S",
    "RESULT_TTL": "RESULT_TTL_S",
}


OF_OTHERS = """PATH HOME HOSTNAME LANG PWD SHLVL TERM USER TZ PORT HOST VIRTUAL_ENV PYTHONPATH API_KEY API_URL API_TOKEN
    API_SECRET API_VERSION API_SERVICE_HOST API_SERVICE_PORT API_PORT_8000_TCP API_PORT_8000_TCP_ADDR REDIS_HOST REDIS_PORT
    REDIS_DB REDIS_PASSWORD REDIS_TLS_URL REDIS_SERVICE_HOST REDIS_SERVICE_PORT REDIS_PORT_6379_TCP REDIS_CLUSTER_URL
    WORKER_ID WORKER_NAME WORKER_CONCURRENCY WORKER_CLASS WEB_CONCURRENCY MAX_RETRIES MAX_WORKERS MAX_THREADS QUEUE_URL
    QUEUE_NAME RATE_LIMIT LOG_LEVEL LOG_FILE LOG_DIR LOG_COLOR DATABASE_URL ALLOWED_ORIGINS BASE_URL SECRET_KEY DURATION
    PROCESSING_QUEUE RESULT_BACKEND TIMEOUT THREADS PROCESSES DRAIN JOBQUEUE_PARENT OMP_NUM_THREADS COMPOSE_PROJECT_NAME"""


@pytest.mark.parametrize(("slip", "meant"), SLIPS.items())
def test_a_variable_that_looks_like_a_setting_names_the_nearest(slip: str, meant: str) -> None:
    assert misspelt({slip: "3", "PATH": "/bin"}) == {slip: meant}


def test_variables_of_others_are_no_slips() -> None:
    ours = {name.upper(): "" for name in SETTINGS}
    assert misspelt(dict.fromkeys(OF_OTHERS.split(), "") | ours) == {}


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_a_slip_is_a_warning_of_the_program_that_misses_it(system: System, log_format: str) -> None:
    slips = {"MAX_ATEMPTS": SECRET, "REAPER_INTERVALS": SECRET, "LOG_FORMAT": log_format}
    worker, reaper = system.worker(**slips), system.start("reaper.py", **slips)
    for program in (worker, reaper):
        program.says("the variable MAX_ATEMPTS is no setting; is MAX_ATTEMPTS meant?")
        assert SECRET not in program.log
    reaper.says("is REAPER_INTERVAL_S meant?")
    assert "REAPER" not in worker.log


# ------------------------------------------------------------------------------------------------------------------ flags


def test_unknown_flag_is_a_mistake(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        Config.parse("", "", ("worker_threads",), arguments=["--therads", "3"])
    assert "--therads" in capsys.readouterr().err


def test_help_names_every_variable(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        Config.parse("", "", ("worker_threads",), arguments=["--help"])
    shown = capsys.readouterr().out
    assert all(name.upper() in shown for name in SETTINGS)


# ----------------------------------------------------------------------------------------------------------------- queues


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
    config = Config.from_environment({"QUEUES": text, "WORKER_THREADS": str(threads)})
    assert config.shares == shares
    assert config.in_effect()["queues"] == text


# -------------------------------------------------------------------------------------------------------------------- log


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
