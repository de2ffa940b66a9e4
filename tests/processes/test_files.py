"""The shipped files agree with each other and with the code: Compose, Dockerfile, .env.example, requirements."""

from __future__ import annotations

import ast
import fnmatch
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from _jobqueue.config import Config, settings_of
from tests.harness import ROOT

PROGRAMS = ("api", "worker", "reaper", "history")
SETTINGS = {setting.name.upper(): setting for setting in settings_of()}
# docker-compose.yml sets these itself; the two ports are where it publishes, the password is its own.
FIXED = {"REDIS_URL", "HISTORY_URL", "API_HOST", "API_PORT", "API_INSECURE"}
PUBLISHED = {"API_PORT", "REDIS_PORT", "POSTGRES_PASSWORD"}


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    yaml = pytest.importorskip("yaml", reason="PyYAML is in requirements-dev.txt")
    return dict(yaml.safe_load((ROOT / "docker-compose.yml").read_text()))


def copied() -> list[str]:
    """What the Dockerfile copies."""
    lines = re.findall(r"^COPY (.+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    return [name for line in lines for name in line.split()[:-1]]


def env_example() -> dict[str, str]:
    return dict(re.findall(r"^#?([A-Z_]+)=(.*)$", (ROOT / ".env.example").read_text(), re.MULTILINE))


def source_of(module: str) -> Path:
    return ROOT / f"{module.replace('.', '/')}.py"


def our_imports(module: str, seen: set[str]) -> set[str]:
    """Our modules that one needs, itself included."""
    if module not in seen:
        seen.add(module)
        for node in ast.walk(ast.parse(source_of(module).read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
            for name in names:
                if source_of(name).exists():
                    our_imports(name, seen)
    return seen


def seconds(text: str) -> float:
    assert text.endswith("s")
    return float(text[:-1])


# ------------------------------------------------------------------------------------------------------- settings


def test_env_example_lists_every_setting_with_its_default() -> None:
    listed = env_example()
    assert listed.keys() == SETTINGS.keys() - FIXED | PUBLISHED
    for name in listed.keys() & SETTINGS.keys():
        assert Config.from_environment({name: listed[name]}) == Config(), name
        assert listed[name] or not SETTINGS[name].default, name


def test_compose_passes_every_setting_on(compose: dict[str, Any]) -> None:
    for program in PROGRAMS:
        given = compose["services"][program]["environment"]
        assert {name for name, value in given.items() if value is None} == SETTINGS.keys() - FIXED, program
        assert {name for name, value in given.items() if value is not None} <= FIXED, program


def test_the_settings_that_compose_fixes_are_valid(compose: dict[str, Any]) -> None:
    for program in PROGRAMS:
        given = compose["services"][program]["environment"]
        config = Config.from_environment({name: value for name, value in given.items() if value is not None})
        assert config.redis_url == "redis://redis:6379/0"
        assert config.history_url.endswith("@postgres:5432/jobqueue")
    api = compose["services"]["api"]
    assert api["environment"]["API_HOST"] == "0.0.0.0"
    assert api["ports"] == [f"127.0.0.1:${{API_PORT:-8000}}:{api['environment']['API_PORT']}"]


# ------------------------------------------------------------------------------------------------------ containers


def test_programs_run_unprivileged_on_a_read_only_root(compose: dict[str, Any]) -> None:
    for program in PROGRAMS:
        service = compose["services"][program]
        assert service["user"] == "10001:10001"
        assert service["read_only"] and service["init"]
        assert service["tmpfs"] == ["/tmp"]
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["depends_on"] == {"redis": {"condition": "service_healthy"}}


def test_commands_are_lists_so_that_no_shell_keeps_a_signal_back(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        assert isinstance(service["command"], list), name
        assert service["restart"] == "unless-stopped", name
    dockerfile = (ROOT / "Dockerfile").read_text()
    assert re.search(r"^CMD \[", dockerfile, re.MULTILINE)
    assert "STOPSIGNAL SIGTERM" in dockerfile
    for program in PROGRAMS:
        assert compose["services"][program]["command"] == ["python", f"/app/{program}.py"]


def test_a_worker_is_given_more_time_to_stop_than_it_takes(compose: dict[str, Any]) -> None:
    assert seconds(compose["services"]["worker"]["stop_grace_period"]) >= Config().drain_s + 10


def test_every_service_tells_whether_it_is_well(compose: dict[str, Any]) -> None:
    services = compose["services"]
    assert all(service["healthcheck"]["test"][0] == "CMD" for service in services.values())
    for program in ("worker", "reaper", "history"):
        assert services[program]["healthcheck"]["test"] == ["CMD", "python", f"/app/{program}.py", "--check"]


def test_workers_can_be_scaled(compose: dict[str, Any]) -> None:
    assert not {"container_name", "ports", "hostname"} & compose["services"]["worker"].keys()


def test_redis_is_published_to_this_machine_only_and_keeps_jobs_on_disk(compose: dict[str, Any]) -> None:
    redis = compose["services"]["redis"]
    assert redis["ports"] == ["127.0.0.1:${REDIS_PORT:-6379}:6379"]
    assert redis["image"] == "redis:7.4-alpine"
    settings = dict(zip(redis["command"][1::2], redis["command"][2::2], strict=True))
    assert settings == {
        "--appendonly": "yes",
        "--appendfsync": "everysec",
        "--save": "",
        "--maxmemory-policy": "noeviction",
        "--tcp-keepalive": "30",
    }
    assert redis["healthcheck"]["test"] == ["CMD", "redis-cli", "ping"]
    assert redis["volumes"] == ["redis-data:/data"]


# ----------------------------------------------------------------------------------------------------------- image


def test_image_holds_what_the_programs_import() -> None:
    needed: set[str] = {"handlers"}
    for program in (*PROGRAMS, "outbox"):  # Compose starts none of the last: its table is a user's
        our_imports(program, needed)
    our_imports("handlers", needed)
    assert {name for name in copied() if name.endswith(".py")} == {
        f"{module}.py" for module in needed if "." not in module
    }
    assert {"requirements.txt", "_jobqueue"} <= set(copied())
    for name in copied():
        assert (ROOT / name).exists(), name


def test_dockerignore_lets_through_what_the_image_copies_and_no_more() -> None:
    rules = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]

    def passes(name: str) -> bool:
        verdict = True
        for rule in rules:
            if any(fnmatch.fnmatchcase(part, rule.lstrip("!")) for part in (name, *map(str, Path(name).parents))):
                verdict = rule.startswith("!")
        return verdict

    wanted = {str(path.relative_to(ROOT)) for name in copied() for path in files_of(ROOT / name)}
    passing = {path.name for path in ROOT.glob("*") if path.is_file() and passes(path.name)}
    passing |= {name for path in files_of(ROOT / "_jobqueue") if passes(name := str(path.relative_to(ROOT)))}
    assert passing == wanted
    assert not passes("_jobqueue/__pycache__/config.pyc")
    assert not passes(".env") and not passes("data/redis.log")


def files_of(path: Path) -> list[Path]:
    return (
        [path]
        if path.is_file()
        else [each for each in path.rglob("*") if each.is_file() and "__pycache__" not in each.parts]
    )


# --------------------------------------------------------------------------------------------------- users' modules


def test_a_worker_takes_no_name_from_its_users_but_jobqueue() -> None:
    """A module of ours that it imports from the root would hide a user's module of that name."""
    imported = our_imports("worker", set())
    assert {module for module in imported if "." not in module} == {"worker", "jobqueue"}
    assert len(imported) > 2


# ---------------------------------------------------------------------------------------------------- requirements


def test_requirements_hold_six_pinned_packages() -> None:
    lines = (ROOT / "requirements.txt").read_text().split()
    packages = ["redis", "bottle", "waitress", "cronsim", "pytest", "requests"]
    assert [re.split(r"[\[=]", line)[0] for line in lines] == packages
    for name in ("requirements.txt", "requirements-dev.txt", "requirements-embedded.txt"):
        for line in (ROOT / name).read_text().splitlines():
            assert not line or line.startswith(("#", "-r ")) or "==" in line, line


# ------------------------------------------------------------------------------------------------- tools for the pages


def test_node_is_for_checking_the_pages_only() -> None:
    package = json.loads((ROOT / "package.json").read_text())
    assert package["private"]
    assert package.keys() == {"name", "description", "private", "type", "devDependencies", "prettier"}
    for name, version in package["devDependencies"].items():
        assert re.fullmatch(r"[0-9]+\.[0-9]+\.[0-9]+", version), name
    assert not set(copied()) & {"package.json", "package-lock.json", "eslint.config.js"}


def test_the_lock_of_these_tools_says_what_is_installed_but_not_from_where() -> None:
    text = (ROOT / "package-lock.json").read_text()
    packages = json.loads(text)["packages"]
    root = packages.pop("")
    assert root["devDependencies"] == json.loads((ROOT / "package.json").read_text())["devDependencies"]
    assert packages and all(each["integrity"].startswith("sha512-") and each["dev"] for each in packages.values())
    assert "://" not in text, "npm install --omit-lockfile-registry-resolved, and take out what is called funding"


def test_lint_says_what_it_leaves_out_where_there_is_no_node(tmp_path: Path) -> None:
    make = shutil.which("make")
    assert make
    said = subprocess.run([make, "lint-pages"], cwd=ROOT, env={"PATH": str(tmp_path)}, capture_output=True, text=True)
    assert said.returncode == 0, said.stderr
    assert said.stdout.startswith("left out: prettier and eslint") and said.stdout.count("\n") == 1
