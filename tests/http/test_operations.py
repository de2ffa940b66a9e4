"""What an operator does over HTTP to a job or a queue: cancel, run now, delete, pause, and look. Stories on real processes."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from _jobqueue.records import STATUSES
from jobqueue import JobQueue, NotFound
from tests.answers import invalid, refused
from tests.harness import System, eventually
from tests.http.operating import listed, operate
from tests.played import Q, Worker, dump

# -------------------------------------------------------------------------------------------------------------- cancel


@pytest.mark.parametrize("delay_s", [0, 60])
def test_a_waiting_job_is_cancelled_at_once(delay_s: int, system: System, jobs: JobQueue) -> None:
    job_id = system.submit(delay_s=delay_s)
    for _ in range(2):  # saying it twice is harmless
        answer = operate(system, "cancel", job_id)
        assert (answer.status_code, answer.json()["status"]) == (200, "cancelled")
    assert jobs.books("default").totals["cancelled"] == 1


def test_a_running_job_is_asked_to_stop_and_ends_cancelled(system: System, jobs: JobQueue, tmp_path: Path) -> None:
    system.worker("--handlers", "tests.odd_handlers")
    job_id = system.submit({"gate": str(tmp_path / "gate")}, type="hold.politely")
    system.ends(job_id, "processing")
    answer = operate(system, "cancel", job_id)
    assert (answer.status_code, answer.json()["status"]) == (202, "processing")
    assert system.ends(job_id, "cancelled")["finished_at"]


def test_an_ended_job_cannot_be_cancelled_and_the_answer_names_its_status(
    system: System, jobs: JobQueue, hand: Worker
) -> None:
    for outcome in ("done", "failed"):
        job_id = system.submit()
        hand.give(outcome)
        assert outcome in refused(operate(system, "cancel", job_id), 409, "wrong_status")["detail"]


# ------------------------------------------------------------------------------------------------------------- run now


def test_a_scheduled_job_can_be_run_now_and_saying_it_twice_is_harmless(
    system: System, jobs: JobQueue, hand: Worker
) -> None:
    ahead, job_id = system.submit(), system.submit(delay_s=3600)
    for _ in range(2):
        answer = operate(system, "run", job_id)
        assert (answer.status_code, answer.json()["status"], answer.json()["position"]) == (200, "queued", 2)
    assert [job.id for job in hand.claim(3)] == [ahead, job_id]
    assert "processing" in refused(operate(system, "run", job_id), 409, "wrong_status")["detail"]


def test_a_retry_that_waits_can_be_run_now(system: System, jobs: JobQueue) -> None:
    system.worker("--handlers", "tests.odd_handlers")
    job_id = system.submit(3600, type="retry.after")
    system.ends(job_id, "scheduled")
    operate(system, "run", job_id)
    assert system.ends(job_id)["attempts"] == 2


# -------------------------------------------------------------------------------------------------------------- delete


@pytest.mark.parametrize("status", ["queued", "scheduled", "done", "failed", "cancelled"])
def test_a_deleted_job_is_gone_with_all_that_knew_of_it(
    status: str, system: System, jobs: JobQueue, hand: Worker
) -> None:
    fields = {"unique_key": "k", "tags": ["red", "blue"], "delay_s": 60 if status == "scheduled" else 0}
    body = {"payload": "x" * 300, **fields}
    job_id = system.post("/jobs", body, Idempotency_Key="once").json()["job_id"]
    if status in ("done", "failed"):
        hand.give(status)
    elif status == "cancelled":
        jobs.cancel(job_id)
    answer = operate(system, "delete", job_id)
    assert (answer.status_code, answer.content) == (204, b"")
    refused(operate(system, "delete", job_id), 404, "job_not_found")
    refused(system.get(f"/jobs/{job_id}"), 404, "job_not_found")
    keys = {key for key in system.server.client.scan_iter() if job_id in str(dump(system.server, key)) or job_id in key}
    assert keys <= {f"{Q}processing:hand-1"}
    assert listed(system, "tag=red")["total"] == 0
    assert system.submit(unique_key="k") != job_id
    assert jobs.books("default").totals["deleted"] == 1
    assert system.server.client.pttl(f"{Q}idem:once") > 0  # a late repeat is still known


def test_a_running_job_cannot_be_deleted(system: System, jobs: JobQueue, hand: Worker) -> None:
    job_id = system.submit()
    hand.claim()
    assert "processing" in refused(operate(system, "delete", job_id), 409, "wrong_status")["detail"]
    assert system.job(job_id)["status"] == "processing"


def test_the_unique_key_of_a_younger_job_survives_the_deletion_of_an_older_one(
    system: System, jobs: JobQueue, hand: Worker
) -> None:
    old = system.submit(unique_key="k")
    hand.give("done")
    new = system.submit(unique_key="k")
    operate(system, "delete", old)
    assert system.post("/jobs", {"payload": 1, "unique_key": "k"}).json()["job_id"] == new


@pytest.mark.parametrize("verb", ["cancel", "retry", "run", "delete", "requeue"])
def test_any_other_id_is_a_404_and_a_body_is_refused(verb: str, system: System, jobs: JobQueue) -> None:
    stranger = system.submit()[:-1] + "x"
    for job_id in (stranger, "x", "9f8b1c9e-4f9b-4d53-9d1a-5f6d3a1b2c3d"):
        refused(operate(system, verb, job_id), 404, "job_not_found")
    if verb not in ("delete", "requeue"):
        named = "/why" if verb in ("retry", "cancel") else ""
        assert invalid(system.post(f"/jobs/x/{verb}", {"why": "because"})) == [named]


# ---------------------------------------------------------------------------------------------------- pause and resume


def test_a_paused_queue_gives_out_nothing_and_resume_wakes_its_worker(system: System, jobs: JobQueue) -> None:
    system.submit()
    system.worker()
    eventually(lambda: listed(system, "status=done")["total"], equals=1)
    answer = system.post("/queues/default/pause")
    assert (answer.status_code, answer.json()["paused"]) == (200, True)
    assert system.post("/queues/default/pause").json()["paused"] is True
    waiting = [system.submit(n) for n in range(3)]
    other = Worker(jobs).claim(3)
    assert other == [] and {system.job(job_id)["status"] for job_id in waiting} == {"queued"}
    began = time.monotonic()
    assert system.post("/queues/default/resume").json()["paused"] is False
    for job_id in waiting:
        system.ends(job_id)
    assert time.monotonic() - began < 5.0
    assert system.post("/queues/default/resume").json()["paused"] is False


def test_a_queue_that_was_never_used_cannot_be_paused(system: System, jobs: JobQueue) -> None:
    for verb in ("pause", "resume"):
        assert "nowhere" in refused(system.post(f"/queues/nowhere/{verb}"), 404, "queue_not_found")["detail"]
    with pytest.raises(NotFound):
        jobs.pause("nowhere")
    assert jobs.queues() == []


# ------------------------------------------------------------------------------------------- queues, workers and stats


def test_queues_tell_their_sizes_and_what_they_have_done(system: System, jobs: JobQueue, hand: Worker) -> None:
    system.submit()
    hand.give("done")
    oldest, _ = system.submit(priority="low"), system.submit(queue="mail")
    default, mail = system.get("/queues").json()["queues"]
    assert (default["queue"], default["paused"], default["reaper"]) == ("default", False, False)
    assert default["jobs"] == dict.fromkeys(STATUSES, 0) | {"queued": 1, "done": 1}
    assert (default["totals"]["submitted"], default["totals"]["done"]) == (2, 1)
    assert default["oldest_queued_at"] == system.job(oldest)["created_at"]
    assert (mail["queue"], mail["jobs"]["queued"]) == ("mail", 1)


def test_workers_tell_who_they_are_and_what_they_run(system: System, jobs: JobQueue, tmp_path: Path) -> None:
    assert system.get("/workers").json() == {"workers": []}
    worker = system.worker("--handlers", "tests.odd_handlers", "--threads", "3")
    gate = tmp_path / "gate"
    job_id = system.submit({"gate": str(gate)}, type="hold")
    eventually(lambda: [row["running"] for row in system.get("/workers").json()["workers"]], equals=any)
    (row,) = system.get("/workers").json()["workers"]
    assert (row["queue"], row["pid"], row["threads"]) == ("default", worker.pid, 3)
    assert "hold" in row["types"] and row["worker"] and row["host"] and row["last_beat_at"].endswith("Z")
    assert [(run["job_id"], run["type"]) for run in row["running"]] == [(job_id, "hold")]
    assert system.job(job_id)["worker"] == row["worker"]
    gate.touch()
    system.ends(job_id)
