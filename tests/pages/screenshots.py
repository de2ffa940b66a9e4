"""Makes the pictures of the dashboard in docs/images, of a real system with some life in it: make screenshots."""

from __future__ import annotations

import random
import time

from jobqueue import JobQueue
from tests.harness import ROOT, Server, System, eventually
from tests.pages.browser import browser

IMAGES = ROOT / "docs" / "images"
LIVE = (
    "document.querySelector('#pulse')?.textContent === 'live' && document.querySelector('main').innerText.length > 99"
)


def submit(system: System, n: int) -> None:
    for at in range(n):
        system.submit(
            {"to": f"user{at}@example.org", "fail_rate": 0.3}, type="send_email", queue="email", tags=["welcome"]
        )
        system.submit({"order": 1000 + at, "currency": "EUR"}, type="task", max_attempts=1)
        if at % 6 == 0:
            system.submit({"month": "2026-11"}, type="report.generate", tags=["monthly"])
        if at % 9 == 0:
            system.submit({"task": "fail", "order": at}, type="task", max_attempts=1)
        if at % 12 == 0:
            system.submit("FAIL_NOW", type="TEST")
            system.submit({"cart": at}, type="echo", delay_s=900)


def age(system: System) -> None:
    """An hour of history: each minute much like the last one, which was real."""
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
            client.hset(f"{name}{minute}", mapping=row)


def main() -> None:
    IMAGES.mkdir(parents=True, exist_ok=True)
    server = Server()
    system = System(server)
    try:
        system.api(RATE_LIMIT_MAX="0")
        system.reaper()
        worker = system.worker("--queues", "default=6,email=4", SIMULATED_WORK_S="0.4", SIMULATED_FAILURES="1")
        submit(system, 30)
        eventually(lambda: system.get("/jobs?status=queued").json()["total"], equals=0, within_s=60)
        worker.stop(60)
        age(system)
        system.worker("--queues", "default=6,email=4", SIMULATED_WORK_S="4", SIMULATED_FAILURES="1")
        submit(system, 12)
        time.sleep(6)  # until something has got somewhere
        emails = system.get("/jobs?status=done&type=send_email&limit=100").json()["jobs"]
        retried = next(job["job_id"] for job in emails if job["errors"])
        with browser() as tab:
            for name, view, width, dark in (
                ("light", "", 1300, False),
                ("dark", "", 1300, True),
                ("phone", "", 360, False),
                ("jobs", "jobs", 1300, False),
                ("job", f"jobs/{retried}", 1300, True),
            ):
                tab.open(f"{system.api_url}/#/{view}", width=width, dark=dark, until=LIVE)
                tab.picture(IMAGES / f"dashboard-{name}.png")
    finally:
        system.close(show_logs=False)
        server.close()


if __name__ == "__main__":
    main()
