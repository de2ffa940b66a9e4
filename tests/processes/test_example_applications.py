"""The example applications, run as their pages say, against remote sides that the test plays."""

from __future__ import annotations

import json
import os
import re
import shlex
import socketserver
import sqlite3
import subprocess
import sys
import threading
import time
from base64 import b64encode
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from email import message_from_bytes
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import requests
from PIL import Image
from standardwebhooks import Webhook

from jobqueue import Filter, JobQueue
from tests.harness import ROOT, Program, System, eventually, free_port
from tests.played import Q, now_ms
from tests.webhooks.receiver import Receiver

pytestmark = pytest.mark.usefixtures("in_the_end_all_is_well")

EXAMPLES = ROOT / "examples"
SECRET = "whsec_" + b64encode(b"k" * 32).decode()
WEBHOOKS = {"WEBHOOK_SECRETS": SECRET, "WEBHOOK_HTTP": "1", "WEBHOOK_ALLOW": "127.0.0.1"}


def line_of(example: str, begin: str) -> list[str]:
    """The arguments of the one command of its README that begins so."""
    blocks = re.findall(r"```sh\n(.*?)```", (EXAMPLES / example / "README.md").read_text(), re.DOTALL)
    [line] = [line for line in "".join(blocks).splitlines() if line.startswith(begin)]
    return shlex.split(line)[len(begin.split()) :]


def worker(system: System, example: str, **environment: str) -> Program:
    flags = line_of(example, "python ../../worker.py")
    return system.worker(*flags, cwd=EXAMPLES / example, PROCESSING_TIMEOUT_S="10", **environment)


def submit(system: System, example: str, *arguments: str) -> str:
    """What its submit.py says; as many arguments as the README gives."""
    assert len(arguments) == len(line_of(example, "python submit.py"))
    done = subprocess.run(
        [sys.executable, "submit.py", *arguments],
        cwd=EXAMPLES / example,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "REDIS_URL": system.url, "API": system.api_url},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@contextmanager
def serving(server: socketserver.BaseServer) -> Iterator[None]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)


# ------------------------------------------------------------------------------------------------------ thumbnails


def test_thumbnails_of_a_folder_become_a_contact_sheet(system: System, queue: JobQueue, tmp_path: Path) -> None:
    pictures, album = tmp_path / "pictures", tmp_path / "summer"
    pictures.mkdir()
    colors = ["red", "lime", "blue", "yellow", "aqua"]
    for color in colors:
        Image.new("RGB", (400, 200), color).save(pictures / f"{colors.index(color)}.png")
    (pictures / "9.png").write_text("no picture")
    system.api()
    system.reaper()
    worker(system, "thumbnails")
    said = submit(system, "thumbnails", str(pictures), str(album))
    assert "7 jobs, tag album:summer" in said and "'pictures': 5, 'left_out': ['9.png is no picture']" in said
    assert sorted(os.listdir(album)) == [f"{n}.png.jpg" for n in range(5)] + ["sheet.jpg"]
    with Image.open(album / "sheet.jpg") as sheet:
        assert sheet.size == (512, 256)
        at = [(64 + 128 * (n % 4), 32 + 128 * (n // 4)) for n in range(5)]
        seen = [tuple(round(value / 255) for value in sheet.convert("RGB").getpixel(place)) for place in at]
    assert seen == [(1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (0, 1, 1)]
    tally = system.get("/tags/album:summer?wait_s=20").json()
    assert (tally["jobs"]["done"], tally["jobs"]["failed"], tally["ended"], tally["total"]) == (6, 1, 7, 7)
    broken = queue.page(Filter(status="failed")).jobs[0]
    assert (broken.type, broken.attempts) == ("thumb.make", 1)


# ------------------------------------------------------------------------------------------------------------ sync


class Shop(ThreadingHTTPServer):
    """A remote list of ten customers on five pages. The second is refused once, the third is spoiled once, the fourth breaks."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Shown)
        self.url = f"http://127.0.0.1:{self.server_port}/1.json"
        self.asked: Counter[int] = Counter()
        self.now, self.most, self.lock = 0, 0, threading.Lock()

    def page(self, n: int) -> dict[str, Any]:
        rows = [{"id": 2 * n + each, "name": f"customer {2 * n + each}"} for each in range(2)]
        if n == 3 and self.asked[n] == 1:
            del rows[0]["name"]
        return {"rows": rows, "next": f"{n + 1}.json" if n < 5 else None}


class _Shown(BaseHTTPRequestHandler):
    server: Shop

    def do_GET(self) -> None:
        shop, n = self.server, int(self.path[1:].partition(".")[0])
        with shop.lock:
            shop.asked[n] += 1
            shop.now += 1
            shop.most = max(shop.most, shop.now)
        code = {2: 429, 4: 500}.get(n, 200) if shop.asked[n] == 1 else 200
        time.sleep(0.02)  # an answer takes its time: two at once would be seen
        with shop.lock:
            shop.now -= 1  # before the head has left: the client may ask for the next page then
        self.send_response(code)
        self.send_header("Retry-After", "0.1")
        self.end_headers()
        self.wfile.write(json.dumps(shop.page(n)).encode())

    def log_message(self, *what: Any) -> None:
        pass


def rows(file: Path, sql: str) -> list[Any]:
    try:
        with closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True, timeout=10)) as connection:
            return connection.execute(sql).fetchall()
    except sqlite3.OperationalError:  # it is being made
        return []


@pytest.mark.long(5)
def test_sync_copies_all_pages_once_under_its_limit(system: System, queue: JobQueue, tmp_path: Path) -> None:
    copied, record = tmp_path / "customers.db", tmp_path / "history.db"
    system.api()
    system.reaper()
    system.start("history.py", "--database", f"sqlite:///{record}")
    worker(system, "sync")
    with serving(shop := Shop()):
        said = submit(system, "sync", shop.url, str(copied))
        assert submit(system, "sync", shop.url, str(copied)).split()[-1] == said.split()[-1]  # today's, once
        tally = system.get("/tags/sync:customers?wait_s=20&total=5").json()
    assert (tally["total"], tally["jobs"]["done"], sum(shop.asked.values())) == (5, 5, 8)
    everyone = [(n, f"customer {n}") for n in range(2, 12)]
    assert rows(copied, line_of("sync", "sqlite3 /tmp/customers.db")[0] + " ORDER BY id") == everyone
    jobs = queue.page(Filter(tag="sync:customers")).jobs
    assert {job.payload["url"][-6:-5]: job.attempts for job in jobs} == {"1": 1, "2": 2, "3": 2, "4": 2, "5": 1}
    assert shop.most == 1 and all(job.limits == ["api:shop"] for job in jobs)
    sql = line_of("sync", "sqlite3 -column")[1]
    kept = eventually(lambda: rows(record, sql), equals=lambda found: [row[1] for row in found] == ["done"] * 5)
    assert [(row[0], row[2], str(row[4])) for row in kept] == [("sync.page", n, "2") for n in (1, 2, 2, 2, 1)]
    times = "SELECT 86400 * julianday(started_at) FROM attempt ORDER BY 1"
    starts = [row[0] for row in eventually(lambda: rows(record, times), equals=lambda found: len(found) == 8)]
    assert all(later - first > 0.99 for first, later in zip(starts, starts[2:], strict=False))  # two a second


class _Files(SimpleHTTPRequestHandler):
    def __init__(self, *what: Any) -> None:
        super().__init__(*what, directory=str(EXAMPLES / "sync" / line_of("sync", "python -m http.server -d")[0]))

    def log_message(self, *what: Any) -> None:
        pass


@pytest.mark.long(4)
def test_sync_of_the_shipped_pages_is_scheduled(system: System, queue: JobQueue, tmp_path: Path) -> None:
    copied = tmp_path / "customers.db"
    system.api()
    system.reaper()
    worker(system, "sync")
    with serving(server := ThreadingHTTPServer(("127.0.0.1", 0), _Files)):
        url = f"http://127.0.0.1:{server.server_port}"
        assert submit(system, "sync", f"{url}/1.json", str(copied)).startswith("Every hour, next ")
        assert system.get("/tags/sync:customers?wait_s=20&total=3").json()["jobs"]["done"] == 3
        first = rows(copied, "SELECT * FROM customer")
        system.server.client.zadd(
            f"{Q}schedules", {"customers": now_ms(system.server) - 1}, xx=True
        )  # an hour has passed
        assert system.get("/tags/sync:customers?wait_s=20&total=6").json()["jobs"]["done"] == 6
        gone = system.submit({"url": f"{url}/9.json", "database": str(copied)}, type="sync.page")
        failed = system.ends(gone, "failed")
        ours = system.submit({"url": "file:///etc/hostname", "database": str(copied)}, type="sync.page")
        assert system.ends(ours, "failed")["attempts"] == 1
    assert failed["attempts"] == 1 and failed["error"] == f"{url}/9.json: 404 File not found"
    assert [name for _, name in first] == ["Ada", "Grace", "Edsger", "Barbara", "Leslie"]
    assert rows(copied, "SELECT * FROM customer") == first
    schedule = system.get("/queues/default/schedules/customers").json()
    assert schedule["counts"]["fired"] == 1 and schedule["last"]["outcome"] == "fired"


# ------------------------------------------------------------------------------------------------------------ drip


class Mail(socketserver.ThreadingTCPServer):
    """A mail server. The first connection is cut, the first recipient is told to come later; nobody@ does not exist."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Talk)
        self.port = int(self.server_address[1])
        self.connections, self.later, self.mails = 0, 1, list[Any]()


class _Talk(socketserver.StreamRequestHandler):
    server: Mail

    def handle(self) -> None:
        self.server.connections += 1
        if self.server.connections == 1:
            return
        self.say("220 here")
        for line in self.rfile:
            verb, _, rest = line.decode().strip().partition(" ")
            if verb.upper() == "DATA":
                self.say("354 go on")
                text = b"".join(iter(self.rfile.readline, b".\r\n"))
                self.server.mails.append(message_from_bytes(text))
            self.say(self.answer(verb.upper(), rest))
            if verb.upper() == "QUIT":
                return

    def answer(self, verb: str, rest: str) -> str:
        if verb == "RCPT" and "nobody@" in rest:
            return "550 no such mailbox"
        if verb == "RCPT" and self.server.later:
            self.server.later -= 1
            return "451 greylisted, come back later"
        return "221 bye" if verb == "QUIT" else "250 ok"

    def say(self, text: str) -> None:
        self.wfile.write(f"{text}\r\n".encode())


@pytest.fixture
def mail() -> Iterator[Mail]:
    with serving(mail := Mail()):
        yield mail


def mailing(system: System, mail: Mail) -> None:
    system.api(**WEBHOOKS)
    system.reaper()
    worker(system, "drip", MAIL_HOST="127.0.0.1", MAIL_PORT=str(mail.port), GREYLISTED_S="0.2", **WEBHOOKS)


def told(receiver: Receiver) -> list[dict[str, Any]]:
    """What has come; each is signed."""
    for request in receiver.requests:
        Webhook(SECRET).verify(request.body, request.headers)
    return [json.loads(request.body) for request in receiver.requests]


def test_drip_sends_its_mails_in_order_and_tells_each_once(system: System, queue: JobQueue, mail: Mail) -> None:
    mailing(system, mail)
    with Receiver() as receiver:
        said = submit(system, "drip", "ada@example.org", receiver.url(), "0.2")
        assert submit(system, "drip", "ada@example.org", receiver.url(), "0.2").split()[0] == said.split()[0]  # once
        eventually(lambda: len(receiver.requests), equals=lambda n: n >= 3)
        eventually(lambda: queue.tags.tally("drip:ada@example.org").as_dict()["jobs"]["done"], equals=3)
        ids = [line.split()[0] for line in said.splitlines()]
        jobs = [system.ends(job_id) for job_id in ids]
        eventually(lambda: [row["status"] for row in deliveries(system, ids)], equals=["done"] * 3)
    assert [each["Subject"] for each in mail.mails] == ["welcome", "first-steps", "offer"]
    assert [each["Message-ID"] for each in mail.mails] == [f"<{job_id}@example.org>" for job_id in ids]
    assert [job["attempts"] for job in jobs] == [3, 1, 1]  # cut, then greylisted
    ends = told(receiver)
    assert sorted(each["data"]["job_id"] for each in ends) == sorted(ids)
    assert {each["type"] for each in ends} == {"job.done"}
    for before, after in pairwise(jobs):
        assert (
            before["finished_at"] < after["run_at"] <= after["started_at"]
        )  # the delay begins when the one before is done


def deliveries(system: System, ids: list[str]) -> list[dict[str, Any]]:
    return [row for job_id in ids for row in system.get(f"/jobs/{job_id}/deliveries").json()["deliveries"]]


def test_drip_ends_at_a_mailbox_that_does_not_exist(system: System, queue: JobQueue, mail: Mail) -> None:
    mail.connections, mail.later = 1, 0
    mailing(system, mail)
    with Receiver() as receiver:
        said = submit(system, "drip", "nobody@example.org", receiver.url(), "0")
        ids = [line.split()[0] for line in said.splitlines()]
        failed = system.ends(ids[0], "failed")
        assert (failed["attempts"], failed["error"]) == (1, "nobody@example.org: 550 no such mailbox")
        eventually(lambda: len(receiver.requests), equals=1)
        assert [system.job(job_id)["status"] for job_id in ids[1:]] == ["blocked"] * 2
        body = {"action": "cancel", "filter": {"tag": "drip:nobody@example.org"}}
        assert system.post("/jobs/bulk", body).status_code == 200
        eventually(lambda: len(receiver.requests), equals=3)
        assert Counter(each["type"] for each in told(receiver)) == {"job.failed": 1, "job.cancelled": 2}
    assert mail.mails == []


def test_receiver_of_the_drip_believes_what_is_signed(system: System, queue: JobQueue, mail: Mail) -> None:
    mail.connections, mail.later = 1, 0
    port = free_port()
    assert line_of("drip", "python receive.py") == ["9000"]
    receiver = system.start("examples/drip/receive.py", str(port), **WEBHOOKS)
    receiver.says("listening")
    mailing(system, mail)
    submit(system, "drip", "ada@example.org", f"http://127.0.0.1:{port}/", "0")
    receiver.says("job.done {'to': 'ada@example.org', 'mail': 'offer'}")
    assert requests.post(f"http://127.0.0.1:{port}/", b"{}", timeout=30).status_code == 401
