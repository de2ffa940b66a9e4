"""Makes the pictures of the dashboard in docs/images, of a real system with some life in it: make screenshots."""

from __future__ import annotations

import base64
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager

import requests

from jobqueue import JobQueue, NewJob
from tests.harness import ROOT, Server, System, eventually
from tests.pages.browser import browser

IMAGES = ROOT / "docs" / "images"
LIVE = (
    "document.querySelector('#pulse')?.textContent === 'live' && document.querySelector('main').innerText.length > 99"
)


WORKER = ("--queues", "default=6,email=4")
SECRETS = {"WEBHOOK_SECRETS": "whsec_" + base64.b64encode(b"only for these pictures!").decode(), "WEBHOOK_HTTP": "1"}


def submit(system: System, n: int) -> None:
    for at in range(n):
        system.submit(
            {"to": f"user{at}@example.org", "fail_rate": 0.3}, type="send_email", queue="email", tags=["welcome"]
        )
        system.submit({"order": 1000 + at, "currency": "EUR"}, type="task", max_attempts=1, limits=[f"tenant:{at % 3}"])
        if at % 6 == 0:
            system.submit({"month": "2026-11"}, type="report.generate", tags=["monthly"])
        if at % 9 == 0:
            system.submit({"task": "fail", "order": at}, type="task", max_attempts=1)
            system.submit({"image": f"{at}.png"}, type="image.process", backoff_s=0)
        if at % 12 == 0:
            system.submit("FAIL_NOW", type="TEST")
            system.submit({"cart": at}, type="echo", delay_s=900)


def arrange(system: System) -> None:
    """Limits, schedules, workflows, webhooks that do not arrive: one of everything that a view shows."""
    for path, limit in (
        ("default/limits/tenant:*", {"max_running": 2}),
        ("default/limits/type:report.generate", {"max_running": 1, "rate": {"starts": 30, "per_s": 60}}),
        (
            "default/schedules/monthly-report",
            {"cron": "0 6 1 * *", "timezone": "Europe/Berlin", "type": "report.generate"},
        ),
        ("email/schedules/reminders", {"every_s": 900, "type": "send_email", "payload": {"to": "all@example.org"}}),
    ):
        assert requests.put(f"{system.api_url}/queues/{path}", json=limit, timeout=30).status_code == 201
    system.post("/queues/email/schedules/reminders/pause")
    JobQueue(system.url).submit_many(
        [
            *(NewJob("task", {"page": n}, name=f"page-{n}") for n in range(4)),
            NewJob("report.generate", {"of": "pages"}, after=["*"], name="book"),
            NewJob("send_email", {"to": "ada@example.org"}, after=["book"], name="tell"),
        ]
    )
    for at in range(3):
        system.submit({"order": at}, type="task", webhook=f"http://127.0.0.1:9/hooks/{at}")


def trouble(system: System) -> None:
    """A queue that is paused, one without a worker, a type that nobody handles, a worker that has died."""
    for at in range(8):
        system.submit({"invoice": at}, type="invoice.print", queue="invoices")
        system.submit({"video": at}, type="video.encode")
    system.submit({"scan": 1}, type="scan", queue="scans")
    system.post("/queues/scans/pause")
    system.post("/marks", {"text": "deploy 3f2a"})


def age(system: System) -> None:
    """An hour of history: each minute much like the last one, which was real. What waits has grown of late."""
    client, chance = system.server.client, random.Random(3)
    for queue in JobQueue(system.url).queues():
        name = f"jq:{{{queue}}}:stats:"
        latest = max(client.scan_iter(f"{name}*", count=1000), key=lambda key: int(key.removeprefix(name)))
        counters, last = client.hgetall(latest), int(latest.removeprefix(name))
        for minute in range(last - 59, last):
            busy = chance.uniform(0.5, 1.1) + (minute % 20) / 20
            row = {
                field: max(0, round(int(value) * busy * chance.uniform(0.8, 1.2))) for field, value in counters.items()
            }
            ended, late = row.get("done", 0) + row.get("failed", 0), max(0, minute - last + 9)
            grown = {"submitted": ended + (2 if late else 0), "waiting": 2 * late}
            client.hset(f"{name}{minute}", mapping=row | grown)


@contextmanager
def filled() -> Iterator[System]:
    """A system at work, with an hour behind it."""
    server = Server()
    system = System(server)
    try:
        system.api(RATE_LIMIT_MAX="0", **SECRETS)
        system.reaper()
        worker = system.worker(*WORKER, SIMULATED_WORK_S="0.4", SIMULATED_FAILURES="1", **SECRETS)
        arrange(system)
        submit(system, 30)
        eventually(lambda: system.get("/jobs?status=queued").json()["total"], equals=0, within_s=60)
        worker.stop(60)
        age(system)
        trouble(system)
        lost = system.worker("--queues", "default=1", SIMULATED_WORK_S="4")
        system.worker(*WORKER, SIMULATED_WORK_S="4", SIMULATED_FAILURES="1", **SECRETS)
        submit(system, 12)
        time.sleep(6)  # until something has got somewhere
        lost.kill()
        yield system
    finally:
        system.close(show_logs=False)
        server.close()


def retried(system: System) -> str:
    """A job that has failed, and then not."""
    emails = system.get("/jobs?status=done&type=send_email&limit=100").json()["jobs"]
    return str(next(job["job_id"] for job in emails if job["errors"]))


def main() -> None:
    IMAGES.mkdir(parents=True, exist_ok=True)
    with filled() as system, browser() as tab:
        for name, view, width, dark in (
            ("light", "", 1300, False),
            ("dark", "", 1300, True),
            ("phone", "", 360, False),
            ("jobs", "jobs", 1300, False),
            ("job", f"jobs/{retried(system)}", 1300, True),
        ):
            tab.open(f"{system.api_url}/#/{view}", width=width, dark=dark, until=LIVE)
            tab.picture(IMAGES / f"dashboard-{name}.png")


if __name__ == "__main__":
    main()
