"""Schedules over HTTP, and through a reaper and a worker."""

from __future__ import annotations

from typing import Any

import pytest
import requests

from tests.answers import invalid
from tests.harness import Server, System, eventually
from tests.played import now_ms

NIGHTLY = {"cron": "30 2 * * *", "timezone": "America/New_York", "type": "noop", "payload": {"of": "yesterday"}}
AT = "/queues/reports/schedules/nightly"


def put(system: System, path: str, body: Any, **headers: str) -> requests.Response:
    return requests.put(system.api_url + path, json=body, headers=headers, timeout=30)


def test_schedule_is_made_shown_replaced_paused_and_deleted(system: System) -> None:
    pytest.importorskip("cronsim")
    system.api()
    assert system.get("/schedules").json() == {"schedules": [], "total": 0, "next_cursor": None}
    made = put(system, AT, NIGHTLY)
    assert made.status_code == 201, made.text
    shown = made.json()
    assert (
        shown.items() >= (NIGHTLY | {"name": "nightly", "queue": "reports", "missed": "one", "overlap": "skip"}).items()
    )
    assert [each[10:19] for each in shown["next"]] == ["T02:30:00"] * 3
    assert {each[19:] for each in shown["next"]} <= {"-04:00", "-05:00"}
    assert shown["in_words"] == "At 02:30 every day, America/New_York" and shown["last"] is None
    assert put(system, AT, NIGHTLY | {"missed": "none"}).status_code == 200
    assert system.get(AT).json()["missed"] == "none"
    paused = system.post(f"{AT}/pause")
    assert (paused.status_code, paused.json()["paused"], paused.json()["next"]) == (200, True, [])
    assert system.post(f"{AT}/resume").json()["next"] == shown["next"]
    listed = system.get("/schedules").json()
    assert [each["name"] for each in listed["schedules"]] == ["nightly"] and listed["total"] == 1
    assert requests.delete(system.api_url + AT, timeout=30).status_code == 204
    gone = system.get(AT)
    assert (gone.status_code, gone.json()["code"]) == (404, "schedule_not_found")
    assert requests.delete(system.api_url + AT, timeout=30).status_code == 404


def test_it_says_who_is_missing_to_run_its_jobs(system: System) -> None:
    system.api()
    assert "no worker serves the queue reports" in put(system, AT, {"every_s": 3600}).json()["warning"]
    assert "warning" not in system.get(AT).json()
    system.worker(QUEUES="served")
    system.reaper()
    served = "/queues/served/schedules/hourly"
    eventually(
        lambda: (
            "no worker of the queue served has a handler for the type nonesuch"
            in put(system, served, {"every_s": 3600, "type": "nonesuch"}).json().get("warning", "")
        )
    )
    eventually(lambda: "warning" not in put(system, served, {"every_s": 3600, "type": "noop"}).json())


def test_dry_run_says_the_next_five_times_and_stores_nothing(system: System, server: Server) -> None:
    system.api()
    said = put(system, f"{AT}?dry_run", {"every_s": 3600})
    assert (said.status_code, len(said.json()["next"]), said.json()["in_words"]) == (200, 5, "Every hour")
    assert len(put(system, f"{AT}?dry_run=true", {"every_s": 3600}).json()["next"]) == 5
    assert invalid(put(system, f"{AT}?dry_run=0", {"every_s": 3600})) == ["/dry_run"]
    assert system.get(AT).status_code == 404 and server.client.keys("jq:*") == []
    assert put(system, f"{AT}?dry_run=false", {"every_s": 3600}).status_code == 201


def test_bad_schedules_are_refused_with_a_pointer(system: System, server: Server) -> None:
    system.api()
    for body, pointer in (
        ({"type": "noop"}, ""),
        ({"cron": "* * * * *", "every_s": 1}, ""),
        ({"cron": "99 * * * *"}, "/cron"),
        ({"every_s": 0.2}, "/every_s"),
        ({"every_s": 60, "timezone": "Mars/Olympus"}, "/timezone"),
        ({"every_s": 60, "ends_at": "2020-01-01T00:00:00Z"}, "/ends_at"),
        ({"every_s": 60, "queue": "x"}, "/queue"),
        ({"every_s": 60, "tags": ["no good"]}, "/tags/0"),
    ):
        refused = put(system, AT, body)
        assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, pointer), refused.text
    assert put(system, "/queues/no%20name/schedules/x", {"every_s": 60}).status_code == 422
    assert put(system, "/queues/x/schedules/no%20name", {"every_s": 60}).status_code == 422
    assert system.get("/schedules?cursor=no").status_code == 422
    assert system.get("/schedules?queue=").status_code == 422
    assert server.client.keys("jq:*") == []


def test_without_cronsim_an_interval_works_and_a_cron_expression_is_no_cron(system: System, tmp_path: Any) -> None:
    (tmp_path / "cronsim.py").write_text("raise ImportError('not installed')\n")
    system.api(PYTHONPATH=str(tmp_path))
    refused = put(system, AT, NIGHTLY)
    assert (refused.status_code, refused.json()["code"]) == (422, "no_cron")
    assert put(system, AT, {"every_s": 60}).status_code == 201
    assert system.get("/schedules").json()["total"] == 1


def test_pages_are_led_on_by_a_cursor(system: System) -> None:
    system.api()
    for n in range(5):
        assert put(system, f"/queues/q{n % 2}/schedules/s{n}", {"every_s": 60}).status_code == 201
    names, cursor = [], ""
    while cursor is not None:
        page = system.get("/schedules?limit=2" + (f"&cursor={cursor}" if cursor else "")).json()
        names += [f"{each['queue']} {each['name']}" for each in page["schedules"]]
        cursor = page["next_cursor"]
        assert page["total"] == 5
    assert names == ["q0 s0", "q0 s2", "q0 s4", "q1 s1", "q1 s3"]
    assert [each["name"] for each in system.get("/schedules?queue=q1").json()["schedules"]] == ["s1", "s3"]


def test_changing_takes_the_right_to_operate_and_looking_does_not(system: System) -> None:
    from _jobqueue.keys import new_key

    (reader, read), (submitter, submit) = new_key("r", "read"), new_key("s", "submit")
    system.api(API_KEYS=f"{read},{submit}")
    for key in (reader, submitter):
        bearer = {"Authorization": f"Bearer {key}"}
        assert put(system, AT, {"every_s": 60}, **bearer).status_code == 403
        assert system.post(f"{AT}/run", **bearer).status_code == 403
        assert requests.get(system.api_url + "/schedules", headers=bearer, timeout=30).status_code == 200


def test_reaper_fires_on_time_and_a_worker_does_the_job(system: System, server: Server) -> None:
    system.api()
    system.reaper()
    system.worker("--queues", "reports")
    assert put(system, AT, {"every_s": 1, "type": "noop", "payload": "x"}).status_code == 201
    eventually(lambda: system.get(AT).json()["counts"]["fired"], equals=lambda n: n >= 3)
    shown = system.get(AT).json()
    job = system.ends(shown["last"]["job_id"])
    assert (job["schedule"], job["payload"]) == ("nightly", "x") and job["scheduled_for"].endswith("Z")
    now = system.post(f"{AT}/run")
    assert now.status_code == 201 and now.headers["Location"] == f"/jobs/{now.json()['job_id']}"
    assert system.ends(now.json()["job_id"])["scheduled_for"] is None
    refused = requests.delete(system.api_url + "/queues/reports", timeout=30)
    assert refused.status_code == 409
    metrics = system.get("/metrics?format=prometheus").text
    assert 'jobqueue_schedules_fired_total{queue="reports"}' in metrics
    assert 'jobqueue_schedules_missed_total{queue="reports"} 0' in metrics
    system.check()


def test_health_says_what_nobody_fires_and_what_was_missed(system: System, server: Server) -> None:
    system.api()
    assert put(system, AT, {"every_s": 3600}).status_code == 201
    assert [each["code"] for each in system.get("/stats").json()["health"]] == []
    server.client.zadd("jq:{reports}:schedules", {"nightly": now_ms(server) - 7_300_000})
    [late] = [each for each in system.get("/stats").json()["health"] if each["code"] == "schedule_late"]
    assert late["queue"] == "reports" and "the schedule nightly was due 2 h ago" in late["text"]
    assert any("nightly" in text for text in system.get("/health?verbose").json()["warnings"])
    system.reaper()
    eventually(lambda: system.get(AT).json()["counts"], equals={"fired": 1, "late": 1, "skipped": 0, "missed": 2})
    [missed] = [each for each in system.get("/stats").json()["health"] if each["code"] == "schedules_missed"]
    assert "2 due times" in missed["text"]
