"""A series of mails to one address: python submit.py ada@example.org http://localhost:9000/ [seconds a day has]"""

import json
import os
import sys
from urllib.request import Request, urlopen

API = os.environ.get("API", "http://localhost:8000")
SERIES = [("welcome", 0), ("first-steps", 1), ("offer", 3)]  # days after the one before was sent


def series(to, webhook, day_s):
    """Each mail waits for the one before, then for its days. A job with an end that is told, and a tag to cancel it by."""
    before = []
    for mail, days in SERIES:
        job = {"name": mail, "type": "drip.mail", "payload": {"to": to, "mail": mail}, "webhook": webhook}
        yield job | {"after": before, "delay_s": days * day_s, "tags": [f"drip:{to}"]}
        before = [mail]


def main(to, webhook, day_s="86400"):
    body = json.dumps({"jobs": list(series(to, webhook, float(day_s)))}).encode()
    headers = {
        "Content-Type": "application/json",
        "Idempotency-Key": f"drip {to}",
    }  # who signs up twice gets one series
    with urlopen(Request(f"{API}/jobs/batch", body, headers), timeout=10) as answer:
        for (mail, _), result in zip(SERIES, json.load(answer)["results"], strict=True):
            print(result["job"]["job_id"], result["job"]["status"], mail)


if __name__ == "__main__":
    main(*sys.argv[1:])
