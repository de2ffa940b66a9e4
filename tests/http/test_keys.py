"""API keys as text: what API_KEYS may hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import requests

from _jobqueue.keys import new_key, new_key_says, parse_keys
from jobqueue import JobQueue
from tests.answers import invalid, refused
from tests.harness import System, eventually


def test_a_file_with_what_was_printed_lets_the_keys_in(system: System) -> None:
    said = [new_key_says("billing", "submit"), new_key_says("ops-1", "admin")]
    billing, ops = (text.splitlines()[1].strip() for text in said)
    system.api(API_KEYS="\n".join(said) + "\n")
    for key, status in ((billing, 403), (ops, 404), ("billing", 401)):
        assert system.post("/queues/unused/pause", Authorization=f"Bearer {key}").status_code == status


def test_entries_may_stand_one_a_line() -> None:
    entries = [new_key(name, "read")[1] for name in ("me", "you", "me")]
    assert parse_keys("\n".join(entries) + "\n\n") == parse_keys(",".join(entries))
    assert [key.name for key in parse_keys(f"{entries[0]},\n{entries[1]}".replace(",\n", " ,  "))] == ["me", "you"]


def test_only_what_was_printed_may_stand_around_an_entry() -> None:
    (key, entry), (other, _) = new_key("me", "read"), new_key("me", "read")
    assert len(parse_keys(f"{key}\n{entry}")) == 1
    for text in (
        "",
        "\n",
        key,
        f"{other}\n{entry}",
        f"hello\n{entry}",
        f"{entry},",
        f"Add this:\n{entry}",
        f"{entry}\nx:",
    ):
        with pytest.raises(ValueError, match="must be name:scope:sha256") as error:
            parse_keys(text)
        assert key not in str(error.value) and "hello" not in str(error.value)


# -------------------------------------------------------------------------------------------- keys bound to queues


class Caller:
    """Somebody with a key."""

    def __init__(self, system: System, key: str) -> None:
        self.system, self.headers = system, {"Authorization": f"Bearer {key}"}

    def get(self, path: str) -> requests.Response:
        return requests.get(self.system.api_url + path, headers=self.headers, timeout=30)

    def post(self, path: str, body: Any = None) -> requests.Response:
        return requests.post(self.system.api_url + path, json=body, headers=self.headers, timeout=30)

    def delete(self, path: str) -> requests.Response:
        return requests.delete(self.system.api_url + path, headers=self.headers, timeout=30)


def callers(system: System, **scopes: str) -> dict[str, Caller]:
    keys = {name: new_key(name, scope) for name, scope in scopes.items()}
    system.api(API_KEYS="\n".join(entry for _, entry in keys.values()))
    return {name: Caller(system, key) for name, (key, _) in keys.items()}


def test_whoami_says_what_a_key_may(system: System) -> None:
    known = callers(system, ops="admin", mailer="work@email+push")
    assert known["ops"].get("/whoami").json() == {"name": "ops", "scope": "admin", "queues": None}
    assert known["mailer"].get("/whoami").json() == {"name": "mailer", "scope": "work", "queues": ["email", "push"]}
    assert system.get("/whoami").status_code == 401


def test_a_work_key_claims_and_settles_and_no_more(system: System) -> None:
    known = callers(system, ops="admin", mailer="work")
    known["ops"].post("/jobs", {"payload": 1})
    mailer = known["mailer"]
    claim = {"worker": "w", "types": ["echo"]}
    (job,) = mailer.post("/queues/default/claim", claim).json()["jobs"]
    for path in ("/jobs", f"/jobs/{job['job_id']}", "/stats", "/workers", "/metrics", "/health?verbose"):
        refused(mailer.get(path), 403, "scope_too_small")
    for path in ("/jobs", f"/jobs/{job['job_id']}/cancel", "/queues/default/pause"):
        refused(mailer.post(path, {"payload": 1}), 403, "scope_too_small")
    refused(known["ops"].post("/queues/default/claim", claim), 403, "scope_too_small")
    done = mailer.post(f"/jobs/{job['job_id']}/finish", {"token": job["token"], "result": 1})
    assert done.json()["status"] == "done"


def test_other_queues_are_404_for_a_bound_key(system: System) -> None:
    known = callers(system, ops="admin", mail="admin@email", mailer="work@email")
    ops, mail, mailer = known["ops"], known["mail"], known["mailer"]
    theirs = ops.post("/jobs", {"queue": "shop", "tags": ["t"]}).json()["job_id"]
    ours = mail.post("/jobs", {"queue": "email", "tags": ["t"]}).json()["job_id"]
    assert ops.post("/queues/shop/pause").status_code == 200
    for path in (f"/jobs/{theirs}", f"/jobs/{theirs}/explain", f"/jobs/{theirs}/flow", f"/jobs/{theirs}/parents"):
        assert mail.get(path).status_code == 404, path
    for path in ("/jobs?queue=shop", "/dlq?queue=shop", "/dlq/kinds?queue=shop", "/schedules?queue=shop"):
        assert mail.get(path).status_code == 404, path
    for path in (f"/jobs/{theirs}/cancel", f"/jobs/{theirs}/retry", f"/jobs/{theirs}/run", f"/dlq/{theirs}/requeue"):
        assert mail.post(path).status_code == 404, path
    for path in ("pause", "resume", "types/echo/pause", "check", "schedules/s/run"):
        assert mail.post(f"/queues/shop/{path}").status_code == 404, path
    for path in (f"/jobs/{theirs}", "/queues/shop", "/queues/shop/schedules/s"):
        assert mail.delete(path).status_code == 404, path
    assert mail.post("/jobs", {"queue": "shop"}).status_code == 404
    assert mail.post("/jobs", {}).status_code == 404, "the default queue is not theirs either"
    assert mail.post("/jobs/bulk", {"action": "cancel", "filter": {"queue": "shop"}}).status_code == 404
    assert mail.post("/jobs/bulk", {"action": "cancel", "ids": [theirs]}).json()["skipped"] == {"not_found": 1}
    refused(mailer.post("/queues/shop/claim", {"worker": "w", "types": ["echo"]}), 404, "queue_not_found")
    for verb in ("extend", "finish", "release"):
        body = {"token": "t"} | ({"result": 1} if verb == "finish" else {})
        assert mailer.post(f"/jobs/{theirs}/{verb}", body).status_code == 404
    results = mail.post("/jobs/batch", {"jobs": [{"queue": "shop"}, {"queue": "email"}]}).json()["results"]
    assert [each["status"] for each in results] == [404, 201]
    assert ops.get(f"/jobs/{theirs}").json()["status"] == "queued"
    assert mail.get(f"/jobs/{ours}").json()["status"] == "queued"


def test_lists_and_numbers_show_bound_queues_alone(system: System) -> None:
    known = callers(system, ops="admin", mail="read@email")
    ops, mail = known["ops"], known["mail"]
    theirs = ops.post("/jobs", {"queue": "shop", "type": "payroll", "unique_key": "k", "tags": ["t"]}).json()["job_id"]
    ours = ops.post("/jobs", {"queue": "email", "tags": ["t"]}).json()["job_id"]
    for path in ("/jobs", "/jobs?tag=t", "/jobs?status=queued"):
        assert [job["job_id"] for job in mail.get(path).json()["jobs"]] == [ours], path
        assert len(ops.get(path).json()["jobs"]) == 2
    assert [row["queue"] for row in mail.get("/queues").json()["queues"]] == ["email"]
    stats = mail.get("/stats").json()
    assert stats["jobs"]["queued"] == 1 and [row["queue"] for row in stats["queues"]] == ["email"]
    assert "shop" not in mail.get("/stats").text and "payroll" not in mail.get("/stats").text
    for path in ("/metrics", "/metrics?format=prometheus", "/system", "/health?verbose", "/workers"):
        said = mail.get(path)
        assert said.status_code == 200 and "shop" not in said.text and "payroll" not in said.text, path
    for text in (theirs, theirs[:8], "k", "payroll", "shop"):
        assert mail.get(f"/search?q={text}").json()["found"] == [], text
    assert mail.get("/search?q=t").json()["found"][0]["jobs"] == 1
    assert ops.get("/stats").json()["jobs"]["queued"] == 2


def fails(caller: Caller, queue: str, message: str) -> None:
    """The next job of the queue, for good."""
    (job,) = caller.post(f"/queues/{queue}/claim", {"worker": f"of-{queue}", "types": ["bill"]}).json()["jobs"]
    body = {"token": job["token"], "error": {"kind": "Boom", "message": message}, "retry": False}
    assert caller.post(f"/jobs/{job['job_id']}/finish", body).status_code == 200


def test_figures_errors_workflows_and_operations_are_of_bound_queues_alone(system: System) -> None:
    known = callers(system, ops="admin", mail="admin@email", worker="work")
    ops, mail = known["ops"], known["mail"]
    for queue in ("shop", "email"):
        chain = [{"queue": queue, "type": "bill", "name": "a"}, {"queue": queue, "type": f"of.{queue}", "after": ["a"]}]
        assert ops.post("/jobs/batch", {"jobs": chain}).status_code == 201
        fails(known["worker"], queue, f"no money in {queue}")
    sweep = {"action": "retry", "filter": {"status": "failed"}, "operation": "rerun"}
    assert ops.post("/jobs/bulk", sweep).json()["changed"] == 2
    for queue in ("shop", "email"):
        fails(known["worker"], queue, f"no money in {queue}")
    for path in (*FIGURES, "/jobs?operation=rerun"):
        said = mail.get(path)
        assert said.status_code == 200 and "shop" not in said.text, path
        assert mail.get(f"{path}{'&' if '?' in path else '?'}queue=shop").status_code == 404, path
    for path in ("/types", "/dlq/errors", "/flows", "/jobs?operation=rerun"):
        assert "email" in mail.get(path).text and "shop" in ops.get(path).text, path
    for caller, n in ((mail, 1), (ops, 2)):
        for wanted in ("kind=Boom", "kind=Boom&error=no+money+in+email", "operation=rerun", "type=bill"):
            expected = 1 if "error" in wanted else n
            assert caller.get(f"/jobs/counts?{wanted}").json()["jobs"]["failed"] == expected, wanted
        rows = caller.get("/series").json()["rows"]
        assert sum(row["failed"] for row in rows) == 2 * n
    assert mail.get("/jobs/counts?kind=Boom&error=no+money+in+shop").json()["jobs"]["failed"] == 0
    assert mail.post("/jobs/bulk", sweep | {"filter": {"operation": "rerun"}}).json()["changed"] == 1
    assert ops.get("/jobs/counts?kind=Boom").json()["jobs"]["failed"] == 1


FIGURES = ("/series", "/series?type=bill", "/series?span=two_days", "/types", "/dlq/errors", "/jobs/counts", "/flows")


def test_the_record_shows_bound_queues_alone(system: System, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/history.db"
    keys = {
        name: new_key(name, scope)
        for name, scope in {"ops": "admin", "mail": "admin@email", "two": "read@email+push"}.items()
    }
    system.api(API_KEYS=",".join(entry for _, entry in keys.values()), HISTORY_URL=url)
    ops, mail, two = (Caller(system, key) for key, _ in keys.values())
    system.start("history.py", "--database", url).says("up to date")
    theirs, ours = (ops.post("/jobs", {"queue": queue}).json()["job_id"] for queue in ("shop", "email"))
    for job_id in (theirs, ours):
        ops.post(f"/jobs/{job_id}/cancel")
    eventually(lambda: len(ops.get("/history?status=cancelled").json()["jobs"]), equals=2)
    assert [job["job_id"] for job in mail.get("/history").json()["jobs"]] == [ours]
    assert mail.get("/history?queue=shop").status_code == 404
    assert invalid(two.get("/history")) == ["/queue"]
    assert [job["job_id"] for job in two.get("/history?queue=email").json()["jobs"]] == [ours]
    system.server.client.flushall()
    assert mail.get(f"/jobs/{ours}").json()["source"] == "history"
    assert mail.get(f"/jobs/{theirs}").status_code == 404
    assert mail.get("/search?q=shop").json()["found"] == []
    assert mail.post("/history/erase", {"filter": {"status": "cancelled"}}).json()["erased"] == 1
    assert ops.get(f"/jobs/{theirs}").status_code == 200


def test_the_limit_of_workers_is_their_own(system: System) -> None:
    system.api(RATE_LIMIT_MAX="2", WORK_RATE_MAX="3")
    claim = {"worker": "w", "types": ["echo"]}
    assert [system.post("/queues/default/claim", claim).status_code for _ in range(4)] == [204, 204, 204, 429]
    assert [system.post("/jobs", {"payload": 1}).status_code for _ in range(3)] == [201, 201, 429]
    system.api(RATE_LIMIT_MAX="1")
    assert {system.post("/queues/default/claim", claim).status_code for _ in range(5)} <= {200, 204}


@pytest.mark.parametrize("scope", ["work@", "work@a b", "work@a+", "read@a/b", "write@a"])
def test_queues_of_a_key_are_names(scope: str) -> None:
    with pytest.raises(ValueError, match="like work@email"):
        new_key("me", scope)
    with pytest.raises(ValueError, match="must be name:scope:sha256"):
        parse_keys(f"me:{scope}:{'ab' * 32}")


# ------------------------------------------------------------------------------------------- actions of operators


def test_an_action_is_a_line_of_the_log_and_a_step_of_the_job(system: System) -> None:
    known = callers(system, ops="admin")
    ops, program = known["ops"], system.programs[-1]
    job_id = ops.post("/jobs", {"delay_s": 3600}).json()["job_id"]
    for verb in ("run", "cancel", "retry", "cancel"):
        assert ops.post(f"/jobs/{job_id}/{verb}").status_code == 200
        assert ops.post(f"/jobs/{job_id}/{verb}").status_code in (200, 409)
    steps = ops.get(f"/jobs/{job_id}").json()["actions"]
    assert [(step["action"], step["by"]) for step in steps] == [
        (v, "ops") for v in ("run", "cancel", "retry", "cancel")
    ]
    program.says(f"action=cancel by=ops job_id={job_id}")
    ops.post("/queues/default/pause")
    program.says("action=pause by=ops queue=default")
    ops.post("/jobs/bulk", {"action": "retry", "filter": {"status": "cancelled"}})
    program.says("action=bulk by=ops dry_run=False matched=1 changed=1 does=retry")
    assert ops.get(f"/jobs/{job_id}").json()["actions"][-1]["action"] == "retry"
    named = ops.post("/jobs/bulk", {"action": "retry", "ids": [job_id], "operation": "night"}).json()
    assert named["operation"] == "night"
    program.says("action=bulk by=ops operation=night dry_run=False matched=1 changed=0 does=retry")
    assert ops.delete(f"/jobs/{job_id}").status_code == 204
    program.says(f"action=delete by=ops job_id={job_id}")


def test_without_keys_a_step_has_no_name(system: System) -> None:
    system.api(LOG_JOBS="failures")
    job_id = system.submit()
    system.post(f"/jobs/{job_id}/cancel")
    assert system.job(job_id)["actions"][0] | {"at": ""} == {"at": "", "action": "cancel", "by": None}
    system.programs[-1].says("action=cancel by=None")


def test_a_retry_with_another_payload_says_so(system: System, queue: JobQueue) -> None:
    system.api()
    job_id = queue.submit(delay_s=3600).id
    for body in (None, {"payload": 2}):
        system.post(f"/jobs/{job_id}/cancel")
        assert system.post(f"/jobs/{job_id}/retry", body).status_code == 200
    steps = system.job(job_id)["actions"]
    assert [(step["action"], step.get("payload")) for step in steps] == [
        *(("cancel", None), ("retry", None)),
        *(("cancel", None), ("retry", True)),
    ]


def test_what_a_program_does_is_no_step(system: System, queue: JobQueue) -> None:
    system.api()
    job_id = queue.submit().id
    queue.cancel(job_id)
    assert "actions" not in system.job(job_id)


def test_the_latest_twenty_actions_are_kept(queue: JobQueue) -> None:
    job_id = queue.submit().id
    for n in range(15):
        queue.cancel(job_id, by=f"n{n}")
        queue.retry(job_id, by=f"n{n}")
    actions = queue.get(job_id).actions
    assert len(actions) == 20 and (actions[-1]["action"], actions[-1]["by"]) == ("retry", "n14")
