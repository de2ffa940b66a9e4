"""What the scripts answer, as records."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from _jobqueue.books import Backlog, Books, Look, Recent, Untold
from _jobqueue.listed import Kind
from _jobqueue.log_lines import lines_of
from _jobqueue.pieces import joined
from _jobqueue.records import (
    ANOTHER_PAYLOAD,
    BEAT_LOST_MS,
    DEFAULT_TYPE,
    ENDED,
    MAX_PRIORITY,
    PRIORITY_STEP,
    STATUSES,
    Job,
    told_apart,
)
from _jobqueue.rfc3339 import rfc3339
from _jobqueue.tokens import worker_of
from _jobqueue.trace_context import unpacked

BOOKS = 13  # parts of what lua/look.lua answers that are always there


def pairs_of(flat: Sequence[Any]) -> dict[Any, Any]:
    return dict(zip(flat[::2], flat[1::2], strict=True))


def job_of(job_id: str, queue: str, flat: Sequence[bytes], ahead: int, policy: Sequence[int]) -> Job:
    """``flat``: fields and values of its hash; in lists ``truncated`` among them names those that are cut."""
    fields: dict[bytes, bytes] = pairs_of(flat)

    def number(name: bytes) -> int | None:
        return int(fields[name]) if name in fields else None

    status = fields[b"status"].decode()
    cut = fields.get(b"truncated", b"").decode().split()
    if "result" in cut and status != "done":
        cut.remove("result")
    max_attempts, timeout_ms, _ = policy
    failures = error_names(fields)
    log, log_times, log_dropped = lines_of(fields)
    traceparent, tracestate = unpacked(fields[b"trace"].decode()) if b"trace" in fields else (None, None)
    return Job(
        id=job_id,
        status=status,
        type=fields.get(b"type", DEFAULT_TYPE.encode()).decode(),
        queue=queue,
        priority=MAX_PRIORITY - (number(b"score") or 0) // PRIORITY_STEP,
        payload=None if "payload" in cut else json.loads(joined("payload", fields)),
        result=json.loads(joined("result", fields)) if status == "done" and "result" not in cut else None,
        attempts=number(b"attempts") or 0,
        max_attempts=max_attempts,
        timeout_ms=timeout_ms,
        created_ms=number(b"created") or 0,
        started_ms=number(b"started"),
        finished_ms=number(b"finished") if status in ENDED else None,
        run_at_ms=number(b"due"),
        position=ahead + 1 if status == "queued" and ahead >= 0 else None,
        worker=worker_of(fields.get(b"token", b"")),
        cancel_requested_ms=number(b"cancel"),
        progress=_progress_of(fields, status),
        log=log,
        log_times_ms=log_times,
        log_dropped=log_dropped,
        errors=[error_of(fields[name]) for name in failures],
        first_error=int(failures[0][6:]) if failures else 1,
        tags=fields.get(b"tags", b"").decode().split(),
        limits=fields.get(b"limits", b"").decode().split(),
        name=fields[b"name"].decode() if b"name" in fields else None,
        fair_key=fields[b"fair_key"].decode() if b"fair_key" in fields else None,
        after=_after(fields, cut) if b"after" in fields else [],
        when=fields.get(b"when", b"done").decode(),
        blocked_by=number(b"needs") or 0,
        webhook=fields[b"webhook"].decode() if b"webhook" in fields else None,
        snoozes=number(b"snoozes") or 0,
        snoozed_ms=number(b"snoozed"),
        expires_ms=number(b"expires_ms"),
        expires_at_ms=number(b"expires"),
        schedule=fields[b"schedule"].decode() if b"schedule" in fields else None,
        scheduled_for_ms=number(b"scheduled_for"),
        traceparent=traceparent,
        tracestate=tracestate,
        words=fields[b"words"].decode() if b"words" in fields else None,
        unique_key=fields[b"unique"].decode() if b"unique" in fields else None,
        backoff_ms=number(b"backoff_ms"),
        max_backoff_ms=number(b"max_backoff_ms"),
        jitter=float(fields[b"jitter"]) if b"jitter" in fields else None,
        actions=_actions(fields),
        truncated=tuple(cut),
        previews=_previews(fields, cut),
    )


def _after(fields: dict[bytes, bytes], cut: list[str]) -> list[str]:
    """The jobs that it waits for. The first stand in its hash, the rest is told of one job alone."""
    first = [fields[name] for name in (b"after", b"after.1", b"after.2", b"after.3") if name in fields]
    rest = fields.get(b"after:", b"").split(b"\n") if b"after:" in fields else []
    if b"more_after" in fields and not rest:
        cut.append("after")
    return [text.split()[0].decode() for text in (*first, *rest)]


def _actions(fields: dict[bytes, bytes]) -> list[dict[str, Any]]:
    """What operators did to it, as lua/operate.lua notes it."""
    rows = (line.split(" ", 3) for line in fields.get(b"acts", b"").decode(errors="replace").splitlines())
    return [
        {"at": rfc3339(int(at)), "action": action, "by": by or None}
        | ({"payload": True} if request.endswith(ANOTHER_PAYLOAD) else {})
        for at, action, request, by in rows
    ]


def _previews(fields: dict[bytes, bytes], cut: Sequence[str]) -> dict[str, str] | None:
    """The beginnings of what is cut and cannot be shown in parts; None where there is none."""
    shown = [name for name in ("payload", "result") if name in cut]
    return {
        name: fields[name.encode()].decode(errors="ignore") for name in shown
    } or None  # perhaps cut inside a character


def _progress_of(fields: dict[bytes, bytes], status: str) -> dict[str, Any] | None:
    """What the handler last told. Of a done job only the end: half of it done is no longer so."""
    told: dict[str, Any] | None = json.loads(fields.get(b"progress", b"null"))
    return None if told and status == "done" and told.get("fraction") != 1 else told


def books_of(answer: Sequence[Any]) -> Books:
    sizes, totals, bell, (reaper, lease), paused, oldest, now, checked, paused_types, stuck, record, most, webhooks = (
        answer
    )
    checked_ms, problems = map(int, checked.split()) if checked else (None, None)
    return Books(
        dict(zip(STATUSES, sizes, strict=True)),
        {name.decode(): int(value) for name, value in pairs_of(totals).items()},
        bell,
        int(reaper) if reaper else None,
        bool(paused),
        int(oldest) if oldest else None,
        int(now),
        checked_ms,
        problems,
        int(lease or 0) or None,
        sorted(name.decode() for name in paused_types),
        [job_id.decode() for job_id in stuck],
        _backlog_of(record) if record else None,
        int(most) if most else None,
        Untold(*webhooks),
    )


def _backlog_of(row: Sequence[Any]) -> Backlog:
    size, since, history, refused, refused_id, why = row
    seen, _, note = history.decode(errors="replace").partition(" ")
    away_ms, _, away = note.partition(" ")
    return Backlog(
        size,
        int(since) if since else None,
        int(seen) if seen else None,
        int(away_ms) if away_ms else None,
        away,
        refused,
        refused_id.decode(errors="replace"),
        why.decode(errors="replace"),
    )


def look_of(answer: Sequence[Any]) -> Look:
    books, (types, workers, rows, recent) = books_of(answer[:BOOKS]), answer[BOOKS:]
    last = books.now_ms // 60_000
    rows_of_workers = {name.decode(): _worker_of(info, int(beat), books.now_ms) for name, beat, info in workers}
    return Look(
        books,
        [name.decode() for name in types],
        {name: info for name, info in rows_of_workers.items() if info},
        {last - ago: {name.decode(): int(n) for name, n in pairs_of(row).items()} for ago, row in enumerate(rows)},
        [Recent(*map(int, each.split())) for each in recent],
    )


def _worker_of(info: bytes, beat_ms: int, now_ms: int) -> dict[str, Any]:
    """What a worker said of itself. {} of one that speaks HTTP and may have ended: it holds nothing, and says no goodbye."""
    said: dict[str, Any] = json.loads(info) | {"beat_ms": beat_ms}
    if not said.get("http"):
        return said
    said["lease_s"] = said.pop("longest_lease_s")  # as lua/parts/remotes.lua writes it
    if not said["running"] and now_ms - beat_ms >= BEAT_LOST_MS:
        return {}
    runs = [(run, run.pop("since_ms")) for run in said["running"]]
    said["running"] = [run | {"for_s": max(0, now_ms - since_ms) / 1000} for run, since_ms in runs]
    return said


def kind_of(row: Sequence[Any]) -> Kind:
    kind, count, job_id, at_ms, job_type, record, first_ms = row
    name = job_type.decode() or DEFAULT_TYPE
    return Kind(kind.decode(), count, job_id.decode(), int(at_ms), name, message_of(record), int(first_ms))


def message_of(record: bytes) -> str:
    """The message of the beginning of an error."""
    text = record.partition(b"\n")[2].decode(errors="replace")
    message = told_apart(text)[0] if "\0\0" in text else text.partition("\0")[0]  # mostly the quicker way will do
    return message.rstrip("\ufffd")  # it may have been cut inside a character


def error_names(fields: dict[bytes, bytes]) -> list[bytes]:
    return sorted((name for name in fields if name.startswith(b"error:")), key=lambda name: int(name[6:]))


def error_of(record: bytes) -> dict[str, Any]:
    head, _, text = record.decode(errors="replace").partition("\n")
    at, attempt, kind, worker, *started = head.split(" ")  # older records do not have the start
    message, traceback = told_apart(text)
    return {
        "attempt": int(attempt),
        "started_at": rfc3339(int(started[0])) if started and started[0] != "-" else None,
        "at": rfc3339(int(at)),
        "kind": kind,
        "message": message,
        "traceback": traceback or None,
        "worker": None if worker == "-" else worker,
    }
