"""The call that says what a text names, in the queues and in the record."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from _jobqueue.listed import Hit
from _jobqueue.record.database import Record
from _jobqueue.record.errors import RecordUnavailable
from _jobqueue.record.reads import FIRST_ID
from _jobqueue.records import HITS_MOST, JOB_ID, MAX_KEY_CHARS
from _jobqueue.web import inputs
from _jobqueue.web.backend import Backend
from _jobqueue.web.history import recorded
from _jobqueue.web.openapi import Route
from _jobqueue.web.schemas import FOUND
from jobqueue import Filter, Invalid

UUID = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}")
BEGINNING_CHARS = 8  # of an id, at least
AWAY = "the record is away: only what the queues still have was looked at"


def search(backend: Backend) -> dict[str, Any]:
    """What a text names, each with what it is."""
    text = inputs.query("q").get("q", "").strip()
    if not 1 <= len(text) <= MAX_KEY_CHARS:
        raise Invalid([("/q", f"must be 1 to {MAX_KEY_CHARS} characters")])
    lower = text.lower()
    text = lower if JOB_ID.fullmatch(lower) or _begins_an_id(lower) else text
    found, notes = [_shown(hit, text) for hit in backend.jobs.search(text)], list[str]()
    if backend.record:
        keys = backend.jobs.ids_under_key(text)
        try:
            there = backend.record.ask(lambda record: list(_in_record(backend, record, text, keys)))
            known = {each["job"]["job_id"] for each in found if each["job"]}
            found += [each for each in there if not each["job"] or each["job"]["job_id"] not in known]
        except RecordUnavailable:
            notes.append(AWAY)
    if _begins_an_id(text) and not any(each["job"] for each in found):
        hits, most = backend.jobs.starting(text)
        found += [_shown(hit, text) for hit in hits]
        notes.append(f"ids were looked for among the newest {most:,} jobs of each status in each queue")
    return {"q": text, "found": found, "notes": notes}


def _begins_an_id(text: str) -> bool:
    return BEGINNING_CHARS <= len(text) < len(FIRST_ID) and bool(UUID.fullmatch(text + FIRST_ID[len(text) :]))


def _shown(hit: Hit, text: str) -> dict[str, Any]:
    is_job = hit.job is not None
    return {
        "as": hit.what,
        "job": hit.job.as_dict() if hit.job else None,
        "filter": None if is_job else {hit.what: text},
        "jobs": hit.jobs,
        "source": "queue",
    }


def _in_record(backend: Backend, record: Record, text: str, keys: list[str]) -> Iterator[dict[str, Any]]:
    """The same from the record. It does not know unique keys."""
    lists = {"job": [text] if JOB_ID.fullmatch(text) else [], "idempotency_key": keys}
    if _begins_an_id(text):
        lists["job"] += record.starting(text, HITS_MOST)
    for what, ids in lists.items():
        for row in record.some(ids):
            if not row.deleted and backend.shows(row.job.queue):
                yield {"as": what, "job": recorded(row), "filter": None, "jobs": None, "source": "history"}
    filters = {
        "tag": Filter(tag=text),
        "kind": Filter(kind=text),
        "queue": Filter(queue=text),
        "type": Filter(type=text),
    }
    for what, wanted in filters.items():
        ours = [wanted] if backend.queues is None else [replace(wanted, queue=queue) for queue in backend.queues]
        if any(record.has(each) for each in ours if wanted.queue in (None, each.queue)):
            yield {"as": what, "job": None, "filter": {what: text}, "jobs": None, "source": "history"}


TAGS: dict[str, str] = {}

# fmt: off
ROUTES = (
    Route("GET", "/search", "read", "Jobs", "search", "Find what a text names: a job, a tag, a key, a queue, a type, a kind of error",
          {200: FOUND}, search, ("q",)),
)
# fmt: on
