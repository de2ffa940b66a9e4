"""The handler: a page of a remote list goes into a table, and the next page becomes a job of its own."""

import json
import sqlite3
import urllib.error
import urllib.request
from contextlib import closing
from urllib.parse import urljoin

from jobqueue import Fail, Retry, handler

# A limit and tags are not inherited: each job names its own.
LIMITS, TAGS = ["api:shop"], ["sync:customers"]
TABLE = "CREATE TABLE IF NOT EXISTS customer (id INTEGER PRIMARY KEY, name TEXT NOT NULL)"
UPSERT = "INSERT INTO customer VALUES (:id, :name) ON CONFLICT (id) DO UPDATE SET name = excluded.name"


@handler("sync.page", timeout=30, max_attempts=5, backoff=1, max_backoff=300)
def page(payload, ctx):
    got = fetch(payload["url"])
    if got["next"]:
        # Before the rows are stored, so that rows that cannot be stored hold up no other page. A later attempt that submits
        # the same page under the same key gets the same job.
        after = payload | {"url": urljoin(payload["url"], got["next"])}
        ctx.submit("sync.page", after, key=got["next"], limits=LIMITS, tags=TAGS)
    store(payload["database"], got["rows"])
    return {"rows": len(got["rows"])}


def fetch(url):
    if not url.startswith(("http://", "https://")):
        raise Fail(f"{url} is no web address")  # the remote side names the next page: it shall not name a file of ours
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        if error.code == 429:
            raise Retry("the API is busy", after=float(error.headers.get("Retry-After", 60))) from error
        if error.code < 500:
            raise Fail(f"{url}: {error.code} {error.reason}") from error
        raise  # retried after the backoff, as a connection that breaks is


def store(database, rows):
    """All rows of a page or none, by their own ids: another attempt, and another sync, writes the same rows again."""
    with closing(sqlite3.connect(database, timeout=10)) as connection, connection:
        connection.execute(TABLE)
        connection.executemany(UPSERT, rows)
