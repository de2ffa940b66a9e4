"""python jobqueue.py VERB, against Redis itself and over HTTP: what it prints, what it does, how it exits."""

from __future__ import annotations

import io
import json
import secrets
import subprocess
import sys
from typing import Any

import pytest

from _jobqueue.commands import show
from _jobqueue.new_job import MEMBERS
from jobqueue import JobQueue, NewJob
from tests.harness import ROOT, Server, System, eventually
from tests.played import Worker
from tests.processes.commanding import NOBODY, Ran, Run, runner, sentence

# ------------------------------------------------------------------------------------------------------------ submit, get


def test_submit_prints_the_id_alone_and_get_shows_the_job(run: Run, redis_jobs: JobQueue) -> None:
    ran = run("submit", "a.type", '{"n": [1, 2.5, null]}', "--queue", "idle")
    (job_id,) = ran.lines
    assert (ran.code, redis_jobs.get(job_id).payload) == (0, {"n": [1, 2.5, None]})
    shown = run("get", job_id)
    assert shown.code == 0
    assert [line.split()[:2] for line in shown.lines[:3]] == [
        ["job_id", job_id],
        ["status", "queued"],
        ["type", "a.type"],
    ]
    assert any(line.split(None, 1) == ["payload", '{"n": [1, 2.5, null]}'] for line in shown.lines)
    assert run("get", job_id, "--json").json["payload"] == {"n": [1, 2.5, None]}


def test_every_member_of_a_submit_has_its_flag(run: Run, redis_jobs: JobQueue) -> None:
    given = {
        "queue": "idle",
        "priority": "high",
        "delay-s": "3600.5",
        "max-attempts": "7",
        "timeout-s": "1.5",
        "backoff-s": "2",
        "max-backoff-s": "9",
        "jitter": "0.25",
        "unique-key": f"u{id(run)}",
        "name": "one",
    }
    flags = [part for name, text in given.items() for part in (f"--{name}", text)]
    ran = run("submit", "a.type", "null", *flags, "--tag", "a:1", "--tag", "b", "--json")
    assert ran.code == 0, ran.err
    job = ran.json
    assert (job["status"], job["priority"], job["max_attempts"], job["timeout_s"]) == ("scheduled", 9, 7, 1.5)
    assert (job["tags"], job["name"]) == (["a:1", "b"], "one")
    again = run("submit", "a.type", "null", "--queue", "idle", "--unique-key", given["unique-key"])
    assert again.lines == [job["job_id"]]
    helped = run("submit", "--help", at=()).out
    for name in set(MEMBERS) - {"type", "payload"}:
        assert (
            f"--{name.replace('_', '-').removesuffix('s') if name in ('tags', 'limits') else name.replace('_', '-')}"
            in helped
        )


def test_a_job_waits_for_others(run: Run) -> None:
    (first,) = run("submit", "a.type", "--queue", "idle").lines
    blocked = run("submit", "a.type", "--queue", "idle", "--after", first, "--when", "ended", "--json").json
    assert (blocked["status"], blocked["after"]) == ("blocked", [first])


def test_a_submit_under_a_key_is_done_once(run: Run) -> None:
    key = f"k{id(run)}"
    one = run("submit", "a.type", "1", "--queue", "idle", "--idempotency-key", key)
    assert run("submit", "a.type", "1", "--queue", "idle", "--idempotency-key", key).lines == one.lines
    sentence(run("submit", "a.type", "2", "--queue", "idle", "--idempotency-key", key), 1, "cannot submit: ", "new one")


def test_the_payload_comes_from_standard_input(run: Run, monkeypatch: pytest.MonkeyPatch, redis_jobs: JobQueue) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO('{"é": 1}'.encode())))
    (job_id,) = run("submit", "a.type", "-", "--queue", "idle").lines
    assert redis_jobs.get(job_id).payload == {"é": 1}


@pytest.mark.parametrize(
    "arguments, told",
    [
        (("--priority", "11"), "priority must be 0 to 9"),
        (("--timeout-s", "soon"), "timeout_s must be a number of seconds"),
        (("--jitter", "2"), "jitter must be a number from 0 to 1"),
        (("--queue", "no name"), "queue must be 1 to 64"),
        (("--tag", "a b"), "tags/0 must be 1 to 64"),
        (("--run-at", "tomorrow"), "run_at must be a time with its offset"),
        (("--after", NOBODY), "after/0"),
    ],
)
def test_a_wrong_member_is_named_as_the_api_names_it(run: Run, arguments: tuple[str, ...], told: str) -> None:
    sentence(run("submit", "a.type", *arguments), 2, "cannot submit: ", told)


def test_a_payload_that_is_no_json_says_how_to_write_it(run: Run) -> None:
    sentence(run("submit", "a.type", "{n: 1}"), 2, "the payload is not valid JSON", """like '{"n": 1}'""")


def test_a_wait_ends_with_the_job(run: Run) -> None:
    good = run("submit", "echo", '{"hello": "world"}', "--queue", "served", "--wait", "--json")
    assert (good.code, good.json["status"], good.json["result"]) == (0, "done", {"hello": "world"})
    bad = run("submit", "TEST", '"FAIL_NOW"', "--queue", "served", "--wait")
    assert bad.code == 1 and "asked to fail without a retry" in bad.out
    job_id = bad.lines[0].split()[1]
    assert bad.err == f"job {job_id} is failed; `retry {job_id}` runs it again\n"
    assert run("get", job_id, "--wait").code == 1
    traced = run("submit", "TEST", '"FAIL_ALWAYS"', "--queue", "served", "--max-attempts", "1", "--wait")
    assert "traceback" in traced.lines and any("RuntimeError" in line for line in traced.lines)


def test_a_log_is_shown_with_the_times_of_its_lines() -> None:
    job = {"status": "done", "log": ["one", "two"]}
    assert show.job(job) == ["status  done", "log", "  one", "  two"]
    timed = job | {"log_times": ["2026-11-26T06:56:01.552Z", None], "log_dropped": 0}
    assert show.job(timed) == ["status  done", "log", "  2026-11-26T06:56:01.552Z  one", "  two"]
    assert show.job(timed | {"log_dropped": 7})[2] == "  not kept of it: 7 before these"


def test_a_wait_gives_up_after_its_time(run: Run) -> None:
    (job_id,) = run("submit", "a.type", "--queue", "idle").lines
    sentence(
        run("get", job_id, "--wait", "--within", "0.3"), 75, f"job {job_id} has not ended within 0.3 s; wait on with"
    )


def test_a_wait_outlasts_an_outage(own_system: System, capsys: pytest.CaptureFixture[str]) -> None:
    server = own_system.server
    (job_id,) = runner(capsys, "--redis-url", server.url)("submit", "echo", "1").lines
    before = scripts_run(server)
    command = [sys.executable, "jobqueue.py", "get", job_id, "--wait", "--json", "--redis-url", server.url]
    waiting = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        eventually(lambda: scripts_run(server), equals=lambda n: n > before + 5)  # it looks again and again
        server.kill()
        assert waiting.stderr is not None and waiting.stderr.readline().startswith(f"waiting for job {job_id}: Redis")
        server.start()
        own_system.worker()
        out, err = waiting.communicate(timeout=60)
        assert (waiting.returncode, json.loads(out)["status"], err) == (0, "done", "")
    finally:
        waiting.kill()
        waiting.communicate()


def scripts_run(server: Server) -> int:
    return int(server.client.info("commandstats")["cmdstat_evalsha"]["calls"])


# ---------------------------------------------------------------------------------------------------------- list, operate


def test_list_shows_those_that_match_in_columns_or_as_json(run: Run) -> None:
    tag = f"t{id(run)}"
    ids = [run("submit", "a.type", str(n), "--queue", "idle", "--tag", tag).lines[0] for n in range(3)]
    shown = run("list", "--tag", tag)
    assert (shown.code, shown.err) == (0, "")
    assert shown.lines[0].split() == ["job_id", "status", "type", "queue", "attempts", "created_at", "error"]
    assert [line.split()[:4] for line in shown.lines[1:]] == [[each, "queued", "a.type", "idle"] for each in ids[::-1]]
    some = run("list", "--tag", tag, "--limit", "2")
    assert len(some.lines) == 3 and some.err.startswith("there are more than these 2: ")
    found = run("list", "--tag", tag, "--json").json
    assert [job["job_id"] for job in found["jobs"]] == ids[::-1] and found["next_cursor"] is None
    assert run("list", "--tag", tag, "--since", "2999-01-01T00:00:00Z") == (0, "", "no job matches\n")
    assert run("list", "--queue", "idle", "--status", "failed").code == 0
    slip = run("list", "--queue", "idel")
    assert (slip.code, slip.out) == (0, "") and slip.err.startswith("there is no queue idel; there are: ")
    assert run("list", "--queue", "idel", "--json").json == {"jobs": [], "total": 0, "next_cursor": None}


def test_list_goes_on_from_page_to_page(run: Run, redis_jobs: JobQueue, shop: System) -> None:
    if "many" not in redis_jobs.queues():
        redis_jobs.submit_many([NewJob("a.type", n, queue="many") for n in range(450)])
    found = run("list", "--queue", "many", "--limit", "1000", "--json").json["jobs"]
    assert sorted(job["payload"] for job in found) == list(range(450))


@pytest.mark.parametrize(
    "arguments, told",
    [
        (("--since", "yesterday", "--tag", "a"), "since must be a time with its offset"),
        (("--since", "2027-01-31T08:00:00Z", "--status", "queued"), "since"),
    ],
)
def test_a_wrong_filter_is_told(run: Run, arguments: tuple[str, ...], told: str) -> None:
    sentence(run("list", *arguments), 2, "cannot list jobs: ", told)


def test_jobs_are_cancelled_retried_run_and_deleted(run: Run, redis_jobs: JobQueue) -> None:
    (job_id,) = run("submit", "a.type", "1", "--queue", "idle", "--delay-s", "3600").lines
    assert run("run", job_id) == (0, f"{job_id} is queued\n", "")
    assert run("run", job_id).out == f"{job_id} is queued\n", "a repeat does no harm"
    assert run("cancel", job_id).out == f"{job_id} is cancelled\n"
    sentence(run("run", job_id), 1, "cannot run the job: ", "a job that is cancelled", "`get`")
    assert run("retry", job_id, '{"mended": true}').out == f"{job_id} is queued\n"
    assert redis_jobs.get(job_id).payload == {"mended": True}
    sentence(run("retry", job_id, "{"), 2, "cannot retry the job: the payload is not valid JSON")
    assert run("delete", job_id).out == f"{job_id} is deleted\n"
    for verb in ("get", "cancel", "retry", "run", "delete"):
        sentence(run(verb, job_id), 1, f"there is no job {job_id}", "see what is there with `list`")
    sentence(run("limits", "get", "idle", "none"), 1, "the queue idle has no limit none", "`limits list`")
    sentence(run("submit", "a.type", "--delay-s", "1e9"), 2, "delay_s must be a number of seconds from 0 to 31536000")


def test_operating_says_what_it_did_as_json(run: Run) -> None:
    (job_id,) = run("submit", "a.type", "1", "--queue", "idle").lines
    assert run("cancel", job_id, "--json").json["status"] == "cancelled"
    assert run("retry", job_id, "--json").json["status"] == "queued"
    assert run("delete", job_id, "--json").json == {"job_id": job_id, "deleted": True}


@pytest.mark.parametrize("job_id", ["x", "../queues", "a b", NOBODY, "%2e%2e", "é"])
def test_no_id_leads_elsewhere(run: Run, job_id: str) -> None:
    ran = run("get", job_id)
    assert ran.code == 1 and "there is no job" in ran.err, ran


# --------------------------------------------------------------------------------------------------- queues and schedules


def test_a_queue_and_a_type_are_paused_and_go_on(run: Run, redis_jobs: JobQueue) -> None:
    run("submit", "a.type", "--queue", "stopped")
    assert run("pause", "stopped") == (0, "queue stopped is paused\n", "")
    assert redis_jobs.books("stopped").paused
    assert run("resume", "stopped").out == "queue stopped goes on\n"
    assert run("pause", "stopped", "a.type", "--json").json["paused_types"] == ["a.type"]
    assert run("resume", "stopped", "a.type").out == "the type a.type of queue stopped goes on\n"
    assert run("resume", "stopped", "--json").json["paused"] is False
    sentence(run("pause", "nowhere"), 1, "cannot pause the queue: there is no queue nowhere")
    assert run("pause", "no name").code == 2


def test_limits_are_seen_and_operated(run: Run, redis_jobs: JobQueue) -> None:
    line = "tenant:*: 0 of 2 running, 100 starts in 60 s, 0 waiting\n"
    assert run("limits", "set", "lanes", "tenant:*", "--max-running", "2", "--rate", "100/60") == (0, line, "")
    assert run("limits", "set", "lanes", "api", "--max-running", "3", "--json").json["max_running"] == 3
    assert run("limits", "list", "lanes").lines == ["api: 0 of 3 running, 0 waiting", line[:-1]]
    assert [each["name"] for each in run("limits", "list", "lanes", "--json").json["limits"]] == ["api", "tenant:*"]
    assert run("limits", "get", "lanes", "tenant:*").out == line
    sentence(run("limits", "set", "lanes", "api"), 2, "must have max_running, or rate, or both")
    sentence(run("limits", "set", "lanes", "api", "--max-running", "0"), 2, "must be a whole number from 1 to 100000")
    assert run("limits", "set", "lanes", "api", "--rate", "5").code == 2
    assert run("limits", "delete", "lanes", "api").out == "the limit api of queue lanes is deleted\n"
    sentence(run("limits", "get", "lanes", "api"), 1, "has no limit api")
    redis_jobs.limits.delete("lanes", "tenant:*")


def test_schedules_are_seen_and_operated(run: Run, redis_jobs: JobQueue, shop: System, tmp_path: Any) -> None:
    file = tmp_path / "s.json"
    file.write_text(json.dumps({"queue": "idle", "schedules": {"hourly": {"every_s": 3600, "type": "a.type"}}}))
    assert run("schedules", "apply", str(file), at=("--redis-url", shop.url)).code == 0
    assert run("schedules", "list", "--queue", "idle").out.startswith("idle/hourly: a.type; Every hour; next 20")
    assert "idle/hourly" in run("schedules", "list").out
    assert run("schedules", "list", "--queue", "nowhere").out == ""
    assert [each["name"] for each in run("schedules", "list", "--json").json["schedules"]] == ["hourly"]
    assert run("schedules", "pause", "idle", "hourly").out == "idle/hourly: a.type; Every hour; paused\n"
    assert run("schedules", "resume", "idle", "hourly", "--json").json["paused"] is False
    assert run("schedules", "get", "idle", "hourly").lines[0].split() == ["name", "hourly"]
    (job_id,) = run("schedules", "run", "idle", "hourly").lines
    assert redis_jobs.get(job_id).schedule == "hourly"
    assert run("schedules", "delete", "idle", "hourly").out == "idle/hourly is deleted\n"
    sentence(run("schedules", "get", "idle", "hourly"), 1, "there is no schedule hourly of the queue idle")


def test_a_file_of_schedules_is_applied_in_either_way(run: Run, redis_jobs: JobQueue, tmp_path: Any) -> None:
    def apply(schedules: Any, *flags: str) -> Ran:
        file = tmp_path / "s.json"
        file.write_text(json.dumps({"queue": "planned", "schedules": schedules}))
        return run("schedules", "apply", str(file), *flags)

    one, two = {"every_s": 60, "type": "a", "payload": {"n": 1}, "tags": ["t"]}, {"cron": "30 2 * * *"}
    dry = apply({"one": one, "two": two}, "--dry-run")
    assert dry.lines[-1] == "2 changes, if this were no dry run" and redis_jobs.schedules.names("planned") == []
    first = apply({"one": one, "two": two})
    assert first.lines[0].startswith("planned/one is new: Every minute; next 20") and first.lines[-1] == "2 changes"
    redis_jobs.schedules.pause("planned", "one")
    again = apply({"one": one, "two": two})
    assert again.lines[-1] == "0 changes" and again.lines[0] == "planned/one stays: Every minute; paused"
    other = apply({"one": one | {"payload": {"n": 2}}}, "--json")
    assert other.json == {"changes": 2, "dry_run": False}
    assert redis_jobs.schedules.get("planned", "one").payload == b'{"n":2}'
    wrong = apply({"one": {"every_s": 60, "ends_at": "2020-01-01T00:00:00Z"}})
    assert (wrong.code, wrong.out) == (1, "") and "/schedules/one/ends_at: never fires" in wrong.err
    assert apply({}).lines == ["planned/one is deleted: the file does not have it", "1 change"]


def test_going_back_says_what_it_forgets(run: Run, redis_jobs: JobQueue, shop: System) -> None:
    queue = f"limited-{secrets.token_hex(4)}"
    run("submit", "a.type", "--queue", queue)
    limit = run("limits", "set", queue, "tenant:*", "--max-running", "2")
    assert limit.code == 0, limit.err
    shop.server.client.hset(f"jq:{{{queue}}}:meta", "max_queued", 9)
    back = run("migrate", "--to", "1", "--queue", queue, at=("--redis-url", shop.url))
    assert back.lines == [
        f"{queue}: 0 parked jobs are back in the queue",
        f"{queue}: forgotten: 1 limit and max_queued",
    ]
    again = run("migrate", "--to", "1", "--queue", queue, at=("--redis-url", shop.url))
    assert again.lines == [f"{queue}: 0 parked jobs are back in the queue"]


def test_going_back_changes_nothing_while_it_would_not_hold(run: Run, redis_jobs: JobQueue, shop: System) -> None:
    queue, at = f"served-{secrets.token_hex(4)}", ("--redis-url", shop.url)
    run("limits", "set", queue, "tenant:*", "--max-running", "2")
    (first,) = run("submit", "a.type", "--queue", queue).lines
    (blocked,) = run("submit", "a.type", "--queue", queue, "--after", first, "--when", "ended").lines
    worker = Worker(redis_jobs, queue=queue).handles("a.type")
    redis, prefix = shop.server.client, f"jq:{{{queue}}}:"
    held = {key: redis.dump(key) for key in (f"{prefix}{name}" for name in ("queue", "blocked", "patterns", "kits"))}
    assert all(held.values())
    refused = run("migrate", "--to", "1", "--queue", queue, at=at)
    assert (refused.code, refused.out) == (1, "")
    assert "1 worker of this release" in refused.err and "stop them and repeat this" in refused.err
    assert "1 job waits for others: let them end or cancel them" in refused.err
    assert refused.err.endswith("nothing was changed\n")
    assert {key: redis.dump(key) for key in held} == held
    worker.presence.leave([worker.talk.slot])
    redis_jobs.cancel(blocked)
    assert run("migrate", "--to", "1", "--queue", queue, at=at).code == 0


def test_check_of_a_queue_that_is_not_there_is_not_well(run: Run) -> None:
    sentence(run("check", "--queue", "chekced"), 1, "there is no queue chekced")


def test_an_empty_list_says_so(run: Run) -> None:
    for verb, flags in (("limits", ("bare",)), ("schedules", ("bare",)), ("schedules", ("--queue", "bare"))):
        ran = run(verb, "list", *flags)
        assert (ran.code, ran.out, ran.err) == (0, "", f"queue bare has no {verb}\n"), verb


def test_a_submit_that_nobody_would_run_says_so(run: Run) -> None:
    nobody = run("submit", "a.type", "--queue", "unserved")
    assert nobody.code == 0 and len(nobody.lines) == 1
    assert nobody.err == "no worker serves the queue unserved: start one (python worker.py --queues unserved)\n"
    slip = run("submit", "ehco", "--queue", "served")
    assert slip.code == 0 and "no worker of the queue served has a handler for the type ehco" in slip.err
    assert run("submit", "echo", "--queue", "served").err == ""


def test_check_says_whether_all_is_well(run: Run, redis_jobs: JobQueue, shop: System) -> None:
    run("submit", "a.type", "--queue", "checked")
    good = run("check", "--queue", "checked")
    assert good.code == 0 and good.out.startswith("ok: ") and " in 1 queue, every" in good.out
    assert run("check", "--queue", "checked", "--json").json["queues"] == {"checked": []}
    job_id = redis_jobs.submit("a.type", queue="spoiled").id
    shop.server.client.zrem("jq:{spoiled}:queue", job_id)
    bad = run("check", "--queue", "spoiled")
    assert bad.code == 1 and f"spoiled: job {job_id} is queued but stands in no index" in bad.lines
    assert run("check", "--queue", "spoiled", "--repair", at=("--redis-url", shop.url)).code == 1
    assert run("check", "--queue", "spoiled").code == 0
    for verb in ("check", "migrate"):
        mistyped = run(
            verb, "--queue", "chekced", *(("--to", "1") if verb == "migrate" else ()), at=("--redis-url", shop.url)
        )
        assert (mistyped.code, mistyped.out) == (1, "") and "there is no queue chekced" in mistyped.err
