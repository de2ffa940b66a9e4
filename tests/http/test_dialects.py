"""The documented calls of five other systems, word for word, on one API with a worker and a reaper."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
import requests

from _jobqueue.records import STATUSES
from _jobqueue.web import dialects
from jobqueue import NewJob
from tests.harness import ROOT, Server, System, eventually

UUID = r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"


@pytest.fixture(scope="module")
def shop(request: pytest.FixtureRequest) -> Iterator[System]:
    """One API, worker and reaper for all of them; nobody works on the queue ``idle``. Simulated work takes no time."""
    server = Server()
    system = System(server)
    system.api()
    system.worker(BACKOFF_S="0.05")
    system.reaper()
    yield system
    system.close(show_logs=request.session.testsfailed > 0)
    server.close()


def send(system: System, path: str, body: str, **headers: str) -> requests.Response:
    """``curl -X POST -H 'Content-Type: application/json' -d <body>``."""
    named = {name.replace("_", "-"): value for name, value in headers.items()} | {"Content-Type": "application/json"}
    return requests.post(system.api_url + path, data=body.encode(), headers=named, timeout=30)


def created(answer: requests.Response) -> dict[str, Any]:
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def problem(answer: requests.Response, status: int = 422) -> list[str]:
    assert answer.status_code == status, answer.text
    return [error["pointer"] for error in answer.json().get("errors", [])]


def runs_to_its_end(system: System, job_id: str, status: str) -> dict[str, Any]:
    def look() -> str:
        if (seen := str(ours(system, job_id)["status"])) == "scheduled":
            system.post(f"/jobs/{job_id}/run")
        return seen

    eventually(look, equals=status, within_s=20)
    return ours(system, job_id)


def ours(system: System, job_id: str) -> dict[str, Any]:
    """The job in our words, whoever has submitted it."""
    return system.job(f"{job_id}?words=canonical")


# ------------------------------------------------------------------------------------------- a reliable Redis queue


@pytest.mark.parametrize("payload", ['{"n": [1, 2.5, null]}', '"text"', "null", "7"])
def test_a_job_without_a_type_gives_its_payload_back(shop: System, payload: str) -> None:
    job_id = created(send(shop, "/jobs", f'{{"payload": {payload}}}'))["job_id"]
    assert re.fullmatch(UUID, job_id)
    job = shop.ends(job_id)
    assert (job["job_id"], job["attempts"]) == (job_id, 1)
    assert job["result"] == json.loads(payload)


def test_a_job_that_waits_has_no_result_and_no_attempts(shop: System) -> None:
    job = shop.job(shop.submit(1, queue="idle"))
    assert (job["status"], job["result"], job["attempts"], job["max_attempts"]) == ("queued", None, 0, 2)


# ------------------------------------------------------------------------------------------ a priority queue of e-mails

EMAIL = '{"job_type": "send_email", "priority": "high", "payload": {"to": "ada@example.org", "subject": "hello"}}'
STATUS_FIELDS = {"job_id", "job_type", "priority", "payload", "status", "retry_count"}
STATUS_FIELDS |= {"created_ts", "picked_ts", "completed_ts", "available_after"}


def test_an_email_is_submitted_and_followed_in_its_own_words(shop: System) -> None:
    answer = created(send(shop, "/submit-job", EMAIL))
    assert answer.keys() == {"job_id"}
    shop.ends(answer["job_id"])
    job = shop.get(f"/jobs/status/{answer['job_id']}").json()
    assert job.keys() == STATUS_FIELDS
    assert (job["job_type"], job["priority"], job["status"]) == ("send_email", "high", "completed")
    assert job["payload"] == {"to": "ada@example.org", "subject": "hello"} and job["retry_count"] == 0
    assert 1.6e9 < job["created_ts"] <= job["picked_ts"] <= job["completed_ts"]
    assert job["available_after"] is None


@pytest.mark.parametrize("priority, number", [("high", 9), ("low", 1)])
def test_its_priorities_are_ours(shop: System, priority: str, number: int) -> None:
    job_id = created(send(shop, "/submit-job", EMAIL.replace('"high"', f'"{priority}"')))["job_id"]
    assert shop.job(job_id)["priority"] == number
    assert shop.get(f"/jobs/status/{job_id}").json()["priority"] == priority


@pytest.mark.parametrize(
    "body, wrong",
    [
        (EMAIL.replace('"high"', '"urgent"'), ["/priority"]),
        (EMAIL.replace('"high"', "9"), ["/priority"]),
        (EMAIL.replace('"priority": "high", ', ""), ["/priority"]),
        (EMAIL.replace("send_email", "resize_image"), ["/job_type"]),
        ('{"priority": "low", "payload": {"to": "a@b.c"}}', ["/job_type"]),
        ('{"job_type": "send_email", "priority": "low", "payload": {}}', ["/payload/to"]),
        ('{"job_type": "send_email", "priority": "low", "payload": null}', ["/payload"]),
        ('{"job_type": "send_email", "priority": "low"}', ["/payload"]),
        (EMAIL.replace("ada@example.org", "ada"), ["/payload/to"]),
        (EMAIL.replace("ada@example.org", "ada@example"), ["/payload/to"]),
        (EMAIL.replace("ada@example.org", "a da@example.org"), ["/payload/to"]),
        (EMAIL.replace('"ada@example.org"', '["ada@example.org"]'), ["/payload/to"]),
        (EMAIL.replace('"priority"', '"colour": 1, "priority"'), ["/colour"]),
        ('{"job_type": [], "priority": {}, "payload": []}', ["/job_type", "/priority", "/payload"]),
        ("[]", [""]),
        ("null", [""]),
    ],
)
def test_a_wrong_email_is_a_422_that_names_the_field(shop: System, body: str, wrong: list[str]) -> None:
    assert problem(send(shop, "/submit-job", body)) == wrong


def test_another_email_is_a_404(shop: System) -> None:
    for job_id in ("x", "9f8b1c9e-4f9b-4d53-9d1a-5f6d3a1b2c3d"):
        assert problem(shop.get(f"/jobs/status/{job_id}"), 404) == []


def test_each_status_has_its_word(shop: System) -> None:
    def seen(job_id: str) -> tuple[str, int]:
        job = shop.get(f"/jobs/status/{job_id}").json()
        return job["status"], job["retry_count"]

    waiting = shop.submit({"to": "a@b.c"}, type="send_email", queue="idle", priority="low")
    later = shop.submit({"to": "a@b.c"}, type="send_email", queue="idle", delay_s=60)
    assert [seen(waiting), seen(later)] == [("pending", 0), ("pending", 0)]
    assert shop.get(f"/jobs/status/{later}").json()["available_after"] > 1.6e9
    failing = shop.submit({"to": "a@b.c", "fail_rate": 1}, type="send_email")
    runs_to_its_end(shop, failing, "failed")
    assert seen(failing) == ("failed", 3)
    words = [dialects.STATUS_WORDS.get(status, status) for status in STATUSES]
    assert set(words) == {"pending", "processing", "completed", "failed"}


def test_an_email_that_failed_is_tried_again_after_1_2_and_4_seconds(shop: System) -> None:
    job_id = shop.submit({"to": "a@b.c", "fail_rate": 1}, type="send_email")
    delays: list[float] = []

    def look() -> str:
        job = shop.job(job_id)
        if job["status"] == "scheduled" and len(job["errors"]) > len(delays):
            delays.append(seconds(job["run_at"]) - seconds(job["errors"][-1]["at"]))
            shop.post(f"/jobs/{job_id}/run")
        return str(job["status"])

    eventually(look, equals="failed", within_s=20)
    assert delays == pytest.approx([1, 2, 4])
    assert (shop.job(job_id)["attempts"], shop.job(job_id)["max_attempts"]) == (4, 4)


def seconds(time: str) -> float:
    return datetime.fromisoformat(time[:-1]).replace(tzinfo=timezone.utc).timestamp()


def test_docs_pages_are_there(shop: System) -> None:
    for path in ("/docs", "/redoc"):
        answer = shop.get(path)
        assert answer.status_code == 200 and answer.headers["Content-Type"].startswith("text/html")


# ---------------------------------------------------------------------------------------------------- a job flow


def test_a_typed_job_with_its_attempts_runs(shop: System) -> None:
    answer = created(send(shop, "/jobs", '{"type": "email.send", "payload": {"to": "a@b.c"}, "max_attempts": 5}'))
    assert answer["max_attempts"] == 5
    assert shop.ends(answer["job_id"])["result"] == {"sent": True}


def test_the_same_idempotency_key_gives_the_first_answer_again(shop: System) -> None:
    body = '{"type": "email.send", "payload": {}, "max_attempts": 5}'
    first = created(send(shop, "/jobs", body, Idempotency_Key="flow"))
    again = send(shop, "/jobs", body, Idempotency_Key="flow")
    assert (again.status_code, again.json()["job_id"]) == (200, first["job_id"])


def test_an_image_shows_the_way_to_the_dead_letters_and_back(shop: System) -> None:
    answer = created(send(shop, "/jobs", '{"type": "image.process", "payload": {}, "max_attempts": 2}'))
    job_id = answer["job_id"]
    job = runs_to_its_end(shop, job_id, "failed")
    assert {error["kind"] for error in job["errors"]} == {"RuntimeError"}
    page = shop.get("/jobs?status=failed&limit=10&offset=0").json()
    assert job_id in [each["job_id"] for each in page["jobs"]] and page["total"] >= 1
    retried = shop.post(f"/jobs/{job_id}/retry")
    assert (retried.status_code, retried.json()["job_id"]) == (200, job_id)
    again = runs_to_its_end(shop, job_id, "failed")
    assert len(again["errors"]) > len(job["errors"])


def test_a_report_is_generated(shop: System) -> None:
    job_id = created(send(shop, "/jobs", '{"type": "report.generate", "payload": {}}'))["job_id"]
    assert shop.ends(job_id)["result"]["pages"] >= 20


def test_metrics_have_its_names(shop: System) -> None:
    counts = shop.get("/metrics").json()
    names = ["total_jobs", "active_jobs", "completed_jobs", "failed_jobs", "dead_letter_jobs"]
    for name in [*names, "queue_length", "retry_queue_length", "dlq_length"]:
        assert isinstance(counts[name], int), name


# ------------------------------------------------------------------------------------------- a queue of named tasks


def test_a_task_is_submitted_by_its_name(shop: System) -> None:
    answer = created(send(shop, "/submit", '{"task": "my-job-name"}'))
    assert answer == {"status": "queued", "task": "my-job-name", "id": answer["id"]}
    assert re.fullmatch(UUID, answer["id"])
    assert shop.ends(f"{answer['id']}?words=canonical")["result"] == {"task": "my-job-name"}


POLLS = """
import json, sys, time, urllib.request
base, task = sys.argv[1:]
def call(path, body=None):
    sent = urllib.request.Request(base + path, body and json.dumps(body).encode(), {"Content-Type": "application/json"})
    return json.load(urllib.request.urlopen(sent, timeout=30))
job = call("/submit", {"task": task})
deadline = time.time() + 60
while job["status"] not in ("completed", "failed") and time.time() < deadline:
    assert job["status"] in ("queued", "processing"), job
    time.sleep(0.02)
    job = call("/jobs/" + job["id"])
print(json.dumps(job))
"""


def test_a_client_of_theirs_polls_until_its_job_is_completed_or_failed(shop: System) -> None:
    seen = {}
    for task in ("my-job-name", "fail"):
        command = [sys.executable, "-c", POLLS, shop.api_url, task]
        ran = subprocess.run(command, capture_output=True, text=True, timeout=90)
        assert ran.returncode == 0, ran.stderr
        seen[task] = json.loads(ran.stdout)
    good, bad = seen["my-job-name"], seen["fail"]
    assert (good["status"], good["task"], good["result"]) == ("completed", "my-job-name", {"task": "my-job-name"})
    assert good["created_at"] <= good["completed_at"] and not {"error", "failed_at"} & good.keys()
    assert (bad["status"], bad["task"]) == ("failed", "fail") and "always fails" in bad["error"]
    assert bad["created_at"] <= bad["failed_at"] and not {"result", "completed_at"} & bad.keys()
    for job in (good, bad):
        assert re.fullmatch(UUID, job["id"]) and job["job_id"] == job["id"]
        assert (job["type"], job["queue"], job["attempts"]) == (
            "task",
            "default",
            {"completed": 1, "failed": 4}[job["status"]],
        )


def test_its_words_are_told_where_its_clients_look_and_nowhere_else(shop: System) -> None:
    shop.post("/jobs", {"payload": 1, "queue": "default"})
    shop.post("/queues/default/types/task/pause")
    try:
        job_id = created(send(shop, "/submit", '{"task": "later"}'))["id"]
        theirs, canonical = shop.job(job_id), ours(shop, job_id)
        assert (theirs["id"], theirs["status"], theirs["task"]) == (job_id, "queued", "later")
        assert not {"result", "error"} & theirs.keys()
        assert canonical.items() >= {"job_id": job_id, "status": "queued", "result": None}.items()
        assert not {"id", "task", "words"} & canonical.keys()
        assert shop.get(f"/jobs/{job_id}/explain").json()["job"].keys() == canonical.keys()
        assert shop.post(f"/jobs/{job_id}/cancel").json()["status"] == "cancelled"
        cancelled = shop.job(job_id)
        assert (cancelled["status"], cancelled["error"]) == ("failed", "cancelled") and cancelled["failed_at"]
        assert ours(shop, job_id)["status"] == "cancelled"
        assert shop.post(f"/jobs/{job_id}/retry", {"payload": [1]}).json()["status"] == "queued"
        assert (shop.job(job_id)["status"], shop.job(job_id)["task"]) == ("queued", None)
        [listed] = [job for job in shop.get("/jobs?type=task").json()["jobs"] if job["job_id"] == job_id]
        assert listed.keys() == {*canonical, "actions"}
    finally:
        shop.post("/queues/default/types/task/resume")
    assert problem(shop.get(f"/jobs/{job_id}?words=theirs")) == ["/words"]


def test_each_status_has_its_word_there(shop: System) -> None:
    words = [dialects.TASK_WORDS.get(status, status) for status in STATUSES]
    assert words == ["queued", "queued", "queued", "processing", "completed", "failed", "failed"]


def test_the_same_task_submitted_by_our_call_is_told_in_our_words(shop: System) -> None:
    job_id = shop.submit({"task": "mine"}, type="task")
    assert shop.ends(job_id)["job_id"] == job_id and "id" not in shop.job(job_id)


def test_the_task_named_fail_becomes_a_dead_letter_after_three_retries(shop: System) -> None:
    job_id = created(send(shop, "/submit", '{"task": "fail"}'))["id"]
    job = runs_to_its_end(shop, job_id, "failed")
    assert job["attempts"] == 4 and "always fails" in job["error"]
    assert job_id in [each["job_id"] for each in shop.get("/dlq").json()["jobs"]]


@pytest.mark.parametrize(
    "body, wrong",
    [
        ("{}", "/task"),
        ('{"task": ""}', "/task"),
        ('{"task": 7}', "/task"),
        ("[]", "/task"),
        ('{"task": "a", "colour": 1}', "/colour"),
    ],
)
def test_a_task_without_a_name_is_a_422(shop: System, body: str, wrong: str) -> None:
    assert problem(send(shop, "/submit", body)) == [wrong]


def test_its_calls_take_an_idempotency_key_too(shop: System) -> None:
    for path, body, name in (("/submit", '{"task": "once"}', "id"), ("/submit-job", EMAIL, "job_id")):
        first = created(send(shop, path, body, Idempotency_Key=f"dialect{path}"))
        again = send(shop, path, body, Idempotency_Key=f"dialect{path}")
        assert (again.status_code, again.json()[name]) == (200, first[name])
        assert problem(send(shop, path, "not json"), 400) == []


def test_health_and_an_unknown_job_answer_as_documented(shop: System) -> None:
    assert shop.get("/health").status_code == 200
    assert shop.get("/jobs/9f8b1c9e-4f9b-4d53-9d1a-5f6d3a1b2c3d").status_code == 404


# ------------------------------------------------------------------------------------- a queue with a dead-letter API


def test_a_test_job_is_done_at_once(shop: System) -> None:
    answer = created(send(shop, "/jobs", '{"type": "TEST", "payload": "hello"}'))
    assert answer["status"] == "queued"
    assert shop.ends(answer["job_id"])["result"] == "hello"


def test_a_job_that_fails_twice_is_done_on_its_third_attempt(shop: System) -> None:
    job_id = created(send(shop, "/jobs", '{"type": "TEST", "payload": "FAIL_TIMES=2"}'))["job_id"]
    job = runs_to_its_end(shop, job_id, "done")
    assert (job["attempts"], job["error"]) == (3, None)
    assert [error["attempt"] for error in job["errors"]] == [1, 2]


def test_a_job_that_always_fails_is_dead_after_three_and_can_be_requeued(shop: System) -> None:
    job_id = created(send(shop, "/jobs", '{"type": "TEST", "payload": "FAIL_ALWAYS"}'))["job_id"]
    assert runs_to_its_end(shop, job_id, "failed")["attempts"] == 3
    assert job_id in [each["job_id"] for each in shop.get("/dlq").json()["jobs"]]
    requeued = shop.post(f"/dlq/{job_id}/requeue")
    assert (requeued.status_code, requeued.json()["job_id"]) == (200, job_id)
    eventually(lambda: len(shop.job(job_id)["errors"]), equals=lambda n: n > 3)
    assert runs_to_its_end(shop, job_id, "failed")["attempts"] == 3


# ------------------------------------------------------------------------------------------------------- the module


BUILD = """
import json
from api import Api
from _jobqueue.config import Config
from _jobqueue.logs import Log
from jobqueue import JobQueue
api = Api(Config(), JobQueue(), JobQueue(), Log("test"))
print(json.dumps([[route.rule for route in api.app.routes], json.loads(api.backend.description.plain)]))
"""


def built(folder: Path) -> tuple[list[str], dict[str, Any]]:
    """The routes of the API whose files are in a folder, and its description."""
    finished = subprocess.run([sys.executable, "-c", BUILD], cwd=folder, capture_output=True, text=True, timeout=60)
    assert finished.returncode == 0, finished.stderr
    routes, described = json.loads(finished.stdout)
    return routes, described


@pytest.mark.long(5)
def test_the_dialects_are_gone_when_their_file_and_their_line_are(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "_jobqueue", tmp_path / "_jobqueue", ignore=shutil.ignore_patterns("__pycache__"))
    for path in ROOT.glob("*.py"):
        shutil.copy(path, tmp_path)
    routes, described = built(tmp_path)
    (tmp_path / "_jobqueue/web/dialects.py").unlink()
    lines = (tmp_path / "api.py").read_text().splitlines()
    left = [line for line in lines if "dialects" not in line]
    (tmp_path / "api.py").write_text("\n".join(left))
    fewer, less = built(tmp_path)
    theirs = {route.path for route in dialects.ROUTES}
    assert len(lines) - len(left) == 1 and fewer == [rule for rule in routes if rule not in theirs]
    assert described["paths"].keys() - less["paths"].keys() == {re.sub("<(.+)>", r"{\1}", path) for path in theirs}
    assert {tag["name"] for tag in described["tags"]} - {tag["name"] for tag in less["tags"]} == dialects.TAGS.keys()
    assert "dialect" not in json.dumps(less) and described["components"] == less["components"]


def test_nothing_but_the_api_knows_of_the_dialects() -> None:
    product = {*ROOT.glob("*.py"), *ROOT.glob("_jobqueue/**/*.py")} - {ROOT / "_jobqueue/web/dialects.py"}
    files = [path for path in product if re.search(r"\bdialects\b", path.read_text())]
    assert [path.name for path in files] == ["api.py"]


def test_an_address_takes_linear_time_to_be_refused() -> None:
    assert not dialects.ADDRESS.fullmatch("a@" + "b." * 200_000)
    assert not dialects.ADDRESS.fullmatch("a" * 500_000)
    assert NewJob("send_email", {"to": "a@b.c"}, priority="high").priority == 9
