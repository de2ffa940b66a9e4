"""The limit, the schedule and today's first sync: python submit.py http://localhost:9000/1.json customers.db"""

import json
import os
import sys
from datetime import date
from pathlib import Path
from urllib.request import Request, urlopen

from sync import LIMITS, TAGS

API = os.environ.get("API", "http://localhost:8000")


def call(method, path, body, **headers):
    headers = {"Content-Type": "application/json"} | {name.replace("_", "-"): value for name, value in headers.items()}
    with urlopen(Request(API + path, json.dumps(body).encode(), headers, method=method), timeout=10) as answer:
        return json.load(answer)


def main(url, database):
    call("PUT", f"/queues/default/limits/{LIMITS[0]}", {"max_running": 1, "rate": {"starts": 2, "per_s": 1}})
    payload = {"url": url, "database": str(Path(database).resolve())}
    job = {"type": "sync.page", "payload": payload, "limits": LIMITS, "tags": TAGS}
    schedule = call("PUT", "/queues/default/schedules/customers", job | {"every_s": 3600})
    print(f"{schedule['in_words']}, next {schedule['next'][0]}")
    first = call("POST", "/jobs", job, Idempotency_Key=f"customers {date.today()}")
    print(f"job {first['job_id']}")


if __name__ == "__main__":
    main(*sys.argv[1:])
