"""F43, every error string: Redis answers it once or five times in a row, at any message of any process. The process lives on, the
job is done in one attempt. The client gets a 503 that it can understand, and no log tells a secret."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests

from jobqueue import Job, JobQueue
from tests.faults.forge import Forge, forging
from tests.faults.ledger import Ledger
from tests.faults.proxy import Answer, Message, Proxy
from tests.harness import Program, Server, eventually, free_port
from tests.played import Worker

pytestmark = pytest.mark.long(12)
PASSWORD, PAYLOAD = "canary-in-the-url-81c2", "canary-in-the-payload-4e07"
TEXTS = (
    b"LOADING Redis is loading the dataset in memory",
    b"READONLY You can't write against a read only replica.",
    b"MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
    b"NOREPLICAS Not enough good replicas to write.",
    b"MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk.",
    b"OOM command not allowed when used memory > 'maxmemory'.",
    b"BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
    b"UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)",
    b"NOAUTH Authentication required.",
    b"WRONGPASS invalid username-password pair or user is disabled.",
    b"NOPERM this user has no permissions to run this command",
    b"TRYAGAIN Multiple keys request during rehashing of slot",
    b"CLUSTERDOWN The cluster is down",
    b"MOVED 1 127.0.0.1:1",
    b"ASK 1 127.0.0.1:1",
    b"NOSCRIPT No matching script. Please use EVAL.",
    b"ERR odd \xff\xfe %s {0} \x1b[31m \xe2\x80\xae text",
)
ERRORS = {text.split(b" ")[0].decode(): Answer(b"-%s\r\n" % text) for text in TEXTS}
ERRORS |= {"garbage": Answer(b"\x01\x02 what is this\r\n"), "half a bulk": Answer(b"$100\r\nhalf of", cut=True)}
SHARES = [(1, list(ERRORS)), (5, list(ERRORS)[::2]), (5, list(ERRORS)[1::2])]  # of a lane; five take longer than one
CONNECTING = ("AUTH", "CLIENT SETNAME", "CLIENT SETINFO", "CLIENT ID")


class Injection:
    """A rule: the next so many messages of a label get this answer."""

    def __init__(self, label: str, answer: Answer, times: int) -> None:
        self.label, self.answer, self.left = label, answer, times
        self._lock = threading.Lock()

    def __call__(self, message: Message) -> Answer | None:
        with self._lock:
            if message.label != self.label or not self.left:
                return None
            self.left -= 1
        return self.answer

    def spent(self) -> bool:
        return self.left == 0


class Stage:
    """A Redis with a password, and as many databases as there are lanes: each has programs, and a proxy, of its own."""

    def __init__(self, server: Server, forge: Forge, ledger: Ledger) -> None:
        self.server, self.forge, self.ledger = server, forge, ledger
        server.client.config_set("requirepass", PASSWORD)

    def url(self, port: int, database: int) -> str:
        return f"redis://:{PASSWORD}@127.0.0.1:{port}/{database}"

    def nothing_told(self) -> None:
        logs = "\n".join(program.log for program in self.forge.programs)
        assert PASSWORD not in logs and PAYLOAD not in logs
        assert "Traceback" not in logs, logs[logs.index("Traceback") - 200 :][:2000]


class Lane:
    """One program behind its proxy, and injections one after the other."""

    def __init__(self, stage: Stage, database: int, label: str, share: tuple[int, list[str]]) -> None:
        self.stage, self.database, self.label, (self.times, self.errors) = stage, database, label, share
        self.proxy = Proxy(stage.server.port)
        self.jobs = JobQueue(stage.url(stage.server.port, database))
        self.count = 0

    def start(self, name: str, *flags: str, **environment: str) -> Program:
        url = self.stage.url(self.proxy.port, self.database)
        return self.stage.forge.start(name, *flags, REDIS_URL=url, **environment, **self.stage.ledger.environment)

    def worker(self, *flags: str) -> Program:
        return self.start(
            "worker", "--threads", "1", "--handlers", "tests.faults.ledger", *flags, PROCESSING_TIMEOUT_S="1"
        )

    def inject(self, story: Callable[[Injection, str], None], program: Program | None = None) -> None:
        """Play the story with each error."""
        for name in self.errors:
            self.proxy.rule = injection = Injection(self.label, ERRORS[name], self.times)
            try:
                story(injection, f"{self.label}-{name}".replace(" ", "-")[:64])
            except Exception as error:
                log = program.log[-3000:] if program else ""
                raise AssertionError(f"{self.label}, {self.times} times {name}: {error}\n{log}") from error
            assert program is None or program.process.poll() is None, program.log[-3000:]
            self.count += 1

    def until_spent(self, injection: Injection, act: Callable[[], None] = lambda: None) -> None:
        """What is only said by a new connection needs as many of them."""
        deadline = time.monotonic() + 20
        while not injection.spent():
            assert time.monotonic() < deadline, f"{injection.left} are left"
            if injection.label in CONNECTING:
                self.proxy.cut()
            act()
            time.sleep(0.05)

    def done_at_once(self, job: Job) -> None:
        """In one attempt, which ran."""
        eventually(lambda: self.jobs.get(job.id).status, equals="done", within_s=20)
        assert self.jobs.get(job.id).attempts == len(self.stage.ledger.runs()[job.id]) == 1


@pytest.fixture
def stage() -> Iterator[Stage]:
    with forging("--databases", "100") as (server, forge, ledger):
        yield Stage(server, forge, ledger)


def run(stage: Stage, row: str, play: Callable[[Lane], None], labels: Sequence[str]) -> None:
    """For each label a lane in which errors come once, and two in which they come five times; all at once."""
    began = time.monotonic()
    lanes = [Lane(stage, at, *lane) for at, lane in enumerate(itertools.product(labels, SHARES))]

    def played(lane: Lane) -> str | None:
        try:
            play(lane)
            return None
        except Exception as error:
            return str(error)

    with ThreadPoolExecutor(len(lanes)) as pool:
        failures = [failure for failure in pool.map(played, lanes) if failure]
    for lane in lanes:
        lane.proxy.close()
    injected = sum(lane.count for lane in lanes)
    print(f"F43, {row}: {injected} injections, {len(failures)} failures, {time.monotonic() - began:.0f} s")
    assert not failures, "\n".join(failures)
    assert injected == len(labels) * 2 * len(ERRORS)
    stage.nothing_told()


def test_a_worker_outlives_every_error(stage: Stage) -> None:
    def play(lane: Lane) -> None:
        worker = lane.worker()
        worker.says("ready")

        def story(injection: Injection, name: str) -> None:
            job = lane.jobs.submit("noted", {"secret": PAYLOAD})
            lane.until_spent(injection)
            lane.done_at_once(job)

        lane.inject(story, worker)
        assert lane.jobs.check("default") == []

    run(stage, "a worker at work", play, ["exchange", "beat", "BLMOVE", *CONNECTING])


def test_a_worker_starts_and_leaves_through_every_error(stage: Stage) -> None:
    def play(lane: Lane) -> None:
        def story(injection: Injection, name: str) -> None:
            worker = lane.worker("--queues", name)
            eventually(lambda: injection.spent() or injection.label == "leave", within_s=20)
            job = lane.jobs.submit("noted", {"secret": PAYLOAD}, queue=name)
            lane.done_at_once(job)
            assert worker.stop() == 0, worker.log
            assert injection.spent()

        lane.inject(story)

    run(stage, "a worker that starts and leaves", play, ["PING", "HGETALL", "register", "leave"])


def test_a_reaper_outlives_every_error(stage: Stage) -> None:
    def play(lane: Lane) -> None:
        reaper, dead = lane.start("reaper", "--interval", "0.05"), Worker(lane.jobs, "dead", lease_ms=1)

        def story(injection: Injection, name: str) -> None:
            expired = lane.jobs.submit(payload={"secret": PAYLOAD})
            assert len(dead.claim()) == 1
            due = lane.jobs.submit(payload={"secret": PAYLOAD}, delay_s=0.001)
            lane.until_spent(injection)
            for job, attempts in ((expired, 1), (due, 0)):
                eventually(lambda: lane.jobs.get(job.id).status, equals="queued")  # noqa: B023
                assert lane.jobs.get(job.id).attempts == attempts
                lane.jobs.cancel(job.id)

        lane.inject(story, reaper)
        assert lane.jobs.check("default") == []
        dead.link.close()

    of_a_tick = ["HGETALL", "expired", "MULTI", "promote", "trim", "reap", "EXEC"]
    run(stage, "a reaper", play, [*of_a_tick, *(label for label in CONNECTING if label != "CLIENT ID")])


def test_a_client_of_the_api_gets_its_answer_or_a_503_for_every_error(stage: Stage) -> None:
    def play(lane: Lane) -> None:
        port = free_port()
        api = lane.start("api", "--port", str(port), RATE_LIMIT_MAX="100000")
        api.says("listening")

        def answered(method: str, path: str, **options: Any) -> dict[str, Any]:
            while True:
                answer = requests.request(method, f"http://127.0.0.1:{port}{path}", timeout=10, **options)
                assert PASSWORD not in answer.text and "127.0.0.1" not in answer.text
                if answer.ok:
                    return dict(answer.json())
                assert answer.status_code == 503 and answer.headers["Content-Type"] == "application/problem+json"
                assert answer.json()["code"] == "redis_unavailable" and int(answer.headers["Retry-After"]) > 0
                time.sleep(0.02)

        def story(injection: Injection, name: str) -> None:
            queues = (f"{name[:50]}-{number}" for number in itertools.count())  # much is asked only of a new queue
            stored: list[dict[str, Any]] = []

            def submit() -> None:
                queue = next(queues)
                body = {"type": "noted", "payload": {"secret": PAYLOAD}, "queue": queue}
                stored.append(answered("POST", "/jobs", json=body, headers={"Idempotency-Key": queue}))
                assert answered("GET", f"/jobs/{stored[-1]['job_id']}")["status"] == "queued"

            lane.until_spent(injection, submit)
            assert all(lane.jobs.books(job["queue"]).totals["submitted"] == 1 for job in stored)

        lane.inject(story, api)

    asked = ["rate", "HGETALL", "register", "submit", "look", "get"]
    run(stage, "an API", play, [*asked, *(label for label in CONNECTING if label != "CLIENT ID")])


def test_a_result_that_redis_does_not_take_for_longer_than_a_lease_is_not_forgotten_meanwhile(stage: Stage) -> None:
    """The beats get through: they say that the worker lives and still has something to say of the job."""
    lane = Lane(stage, 0, "exchange", (0, []))
    stage.forge.start(
        "reaper", "--interval", "0.1", REDIS_URL=stage.url(stage.server.port, 0), PROCESSING_TIMEOUT_S="1"
    )
    lane.worker().says("ready")
    eventually(lambda: any(message.label == "BLMOVE" for message in lane.proxy.seen))
    refusing = Injection("exchange", ERRORS["BUSY"], 100)
    job = lane.jobs.submit("noted", {"s": 0.3})
    eventually(lambda: lane.jobs.get(job.id).status, equals="processing")
    lane.proxy.rule = refusing
    until = time.monotonic() + 3
    eventually(lambda: time.monotonic() > until or lane.jobs.get(job.id).status != "processing")
    lane.proxy.heal()
    lane.done_at_once(job)
    assert refusing.left < 100
    lane.proxy.close()
