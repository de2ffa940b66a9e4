"""docs/your-project.md, tried: its files are written into a folder and used as it says. Docker's own part is only read."""

from __future__ import annotations

import configparser
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import jobqueue
from jobqueue import JobQueue
from tests.harness import ROOT, System, eventually

PAGE = (ROOT / "docs/your-project.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
FILES = {named[1]: text for _, text in BLOCKS if (named := re.match(r"# (\S+\.\S+)\n", text))}


def blocks(kind: str) -> list[str]:
    return [text for found, text in BLOCKS if found == kind]


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """The folder that the page draws."""
    for name, text in FILES.items():
        if not name.startswith("/"):
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    (tmp_path / "jobs/requirements.txt").write_text("")
    return tmp_path


def run(folder: Path, *command: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_drawn_folder_has_the_files_of_the_page() -> None:
    drawn = re.search(r"^shop/\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    assert drawn
    names = {line.split()[0] for line in drawn[1].splitlines()}
    assert names == {"jobs/", "mail.py", "requirements.txt", "shop.py", "tests/test_mail.py"}
    assert {"jobs/mail.py", "shop.py", "tests/test_mail.py"} <= FILES.keys()


def test_a_worker_runs_the_handlers_in_their_folder(system: System, shop: Path) -> None:
    assert "../.venv/bin/python ~/jobqueue/worker.py --handlers mail" in PAGE
    (shop / "jobs/config.py").write_text("raise SystemExit('the worker has imported my config')\n")
    system.worker("--handlers", "mail", cwd=shop / "jobs")
    [line] = [line for text in blocks("sh") for line in text.splitlines() if "submit mail.welcome" in line]
    command = line.replace(".venv/bin/python ~/jobqueue/", f"{sys.executable} {ROOT}/")
    done = subprocess.run(
        ["bash", "-c", command],
        env={"PATH": os.environ["PATH"], "REDIS_URL": system.url},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0 and "welcome, ada@example.org" in done.stdout, done


def test_flask_submits_once_and_says_what_became_of_it(system: System, shop: Path) -> None:
    pytest.importorskip("flask", reason="Flask is in requirements-dev.txt")
    asks = """
from shop import app
client = app.test_client()
ids = {client.post("/signup", json={"to": "ada@example.org"}).get_json()["job"] for _ in range(2)}
[job] = ids
print(job, client.get(f"/signup/{job}").get_json(), client.get("/signup/x").status_code)
"""
    said = run(shop, "-c", asks, REDIS_URL=system.url)
    [job] = JobQueue(system.url).page().jobs
    assert said == f"{job.id} {{'status': 'queued'}} 404\n" and job.type == "mail.welcome"
    away = "from shop import app; print(app.test_client().post('/signup', json={'to': 'a@b'}).status_code)"
    assert run(shop, "-c", away, REDIS_URL="redis://127.0.0.1:1/0") == "503\n"


def test_django_submits_what_has_been_committed(system: System, shop: Path) -> None:
    pytest.importorskip("django", reason="Django is in requirements-dev.txt")
    asks = f"""
import django
from django.conf import settings
base = {{"ENGINE": "django.db.backends.sqlite3", "NAME": "db.sqlite3"}}
settings.configure(REDIS_URL={system.url!r}, DATABASES={{"default": base}}, ALLOWED_HOSTS=["*"])
django.setup()
from django.db import transaction
from django.test import RequestFactory
from welcome.views import jobs, signup
asked = RequestFactory().post("/", '{{"to": "ada@example.org"}}', content_type="application/json")
try:
    with transaction.atomic():
        signup(asked)
        print(len(jobs.page().jobs))
        raise ValueError
except ValueError:
    print(len(jobs.page().jobs))
print(signup(asked).status_code, len(jobs.page().jobs))
"""
    assert run(shop, "-c", asks) == "0\n0\n202 1\n"


@pytest.mark.skipif(not hasattr(jobqueue, "inline"), reason="this release has no inline")
def test_its_tests_pass(shop: Path) -> None:
    assert "PYTHONPATH=jobs .venv/bin/python -m pytest tests" in PAGE
    said = run(shop, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests", PYTHONPATH=f"jobs:{ROOT}")
    assert "2 passed" in said


# ------------------------------------------------------------------------------------------------------------- image


def as_the_image_has_it(folder: Path) -> Path:
    """The files of our image under ``folder``, by the lines of its Dockerfile. Returns the folder that it works in."""
    work = folder / "app"
    for line in (ROOT / "Dockerfile").read_text().splitlines():
        word, _, rest = line.partition(" ")
        if word == "WORKDIR":
            work = folder / rest.lstrip("/")
            work.mkdir(parents=True, exist_ok=True)
        if word == "COPY":
            *sources, target = rest.split()
            for source in sources:
                place = work / target / source if target == "./" else work / target
                if (ROOT / source).is_dir():
                    shutil.copytree(ROOT / source, place, ignore=shutil.ignore_patterns("__pycache__"))
                else:
                    shutil.copy(ROOT / source, place)
    return work


def test_the_image_runs_what_stands_in_app_jobs(system: System, shop: Path, tmp_path: Path) -> None:
    work = as_the_image_has_it(tmp_path / "image")
    assert work == tmp_path / "image/app/jobs"
    shutil.copytree(shop / "jobs", work, dirs_exist_ok=True)
    worker = system.start(str(work.parent / "worker.py"), cwd=work, HANDLERS="mail", PYTHONPATH="")
    worker.says("mail.welcome")
    job = JobQueue(system.url).submit("mail.welcome", {"to": "ada@example.org"})
    eventually(lambda: JobQueue(system.url).get(job.id).status, equals="done")


def test_the_image_without_handlers_of_ones_own_runs_the_samples(system: System, tmp_path: Path) -> None:
    work = as_the_image_has_it(tmp_path)
    system.start(str(work.parent / "worker.py"), cwd=work, PYTHONPATH="").says("email.send")


def test_the_dockerfile_on_top_has_six_lines_and_copies_what_is_there(shop: Path) -> None:
    [text] = blocks("dockerfile")
    lines = text.splitlines()
    assert len(lines) == 6 and lines[0] == "FROM jobqueue"
    ours = (ROOT / "Dockerfile").read_text()
    assert lines[-1] in ours and "WORKDIR /app/jobs" in ours
    for line in lines:
        if line.startswith("COPY"):
            assert (shop / line.split()[1]).exists(), line


def test_the_override_changes_what_compose_has() -> None:
    yaml = pytest.importorskip("yaml", reason="PyYAML is in requirements-dev.txt")
    compose: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    override = yaml.safe_load(FILES["docker-compose.override.yml"])
    for name, service in override["services"].items():
        assert service["environment"].keys() <= compose["services"][name]["environment"].keys()
        assert service["volumes"] == ["./jobs:/app/jobs:ro"]


# ----------------------------------------------------------------------------------------------------------- systemd


def test_the_unit_is_one_and_starts_what_is_there(shop: Path, tmp_path: Path) -> None:
    [text] = blocks("ini")
    unit = configparser.ConfigParser(interpolation=None)
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read_string(text)
    service = unit["Service"]
    assert service["ExecStart"].split()[1:] == ["/opt/jobqueue/worker.py"]
    assert int(service["TimeoutStopSec"]) >= 40
    if not (analyze := shutil.which("systemd-analyze")):
        pytest.skip("systemd-analyze is not there")
    here = text.replace("/srv/shop/.venv/bin/python", sys.executable).replace("/opt/jobqueue", str(ROOT))
    file = tmp_path / "shop-worker@.service"
    file.write_text(here.replace("/srv/shop/jobs", str(shop / "jobs")).replace("User=shop", "User=root"))
    done = subprocess.run([analyze, "verify", "--man=no", str(file)], capture_output=True, text=True, timeout=60)
    assert "shop-worker" not in done.stderr, done.stderr
