"""What the verbs print: JSON for programs, or lines for people."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

from _jobqueue.commands.backend import Members

to_json = json.JSONEncoder(ensure_ascii=False).encode
LATER = ("payload", "result", "errors", "log", "log_times", "log_dropped")  # of a job, what may be long
COLUMNS = ("job_id", "status", "type", "queue", "attempts", "created_at", "error")
ERROR_CHARS = 60


def say(text: str) -> None:
    print(text, flush=True)


def warn(text: str) -> None:
    """One line to stderr."""
    print(plain(text), file=sys.stderr, flush=True)


def answer(value: Members, as_json: bool, *lines: str) -> None:
    """The JSON, or the lines."""
    for line in [to_json(value)] if as_json else lines:
        say(line)


def plain(value: Any) -> str:
    """On one line, whatever it holds: text of a job must not move a terminal's cursor."""
    text = value if isinstance(value, str) else to_json(value)
    return text if text.isprintable() else ascii(text)[1:-1]


def job(found: Members) -> list[str]:
    """A line for each field that says something; then the last traceback and the log."""
    short = {name: value for name, value in found.items() if name not in LATER and value not in (None, [], "")}
    short |= {name: found[name] for name in ("payload", "result") if found.get(name) is not None}
    width = max(map(len, short), default=0)
    lines = [f"{name:{width}}  {plain(value)}" for name, value in short.items()]
    traceback = found["errors"][-1]["traceback"] if found.get("error") and found.get("errors") else None
    for title, text in (("traceback", (traceback or "").splitlines()), ("log", _log(found))):
        lines += [title, *(f"  {plain(line)}" for line in text)] if text else []
    return lines


def _log(found: Members) -> list[str]:
    """What a handler said, each line with its time where that is known."""
    log, times = found.get("log") or [], found.get("log_times") or []
    timed = zip(times, log, strict=True) if len(times) == len(log) else ((None, line) for line in log)
    lines = [f"{at}  {line}" if at else line for at, line in timed]
    dropped = found.get("log_dropped")
    return [f"not kept of it: {dropped} before these", *lines] if dropped else lines


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns, each as wide as its widest text, under their heads."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(f"{text:{width}}" for text, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def jobs(found: Sequence[Members]) -> list[str]:
    rows = [[plain("" if each[name] is None else each[name]) for name in COLUMNS] for each in found]
    return table([COLUMNS, *([*row[:-1], row[-1][:ERROR_CHARS]] for row in rows)]) if rows else []


def schedules(found: Sequence[Members]) -> list[str]:
    return [f"{each['queue']}/{each['name']}: {schedule(each)}" for each in found]


def schedule(found: Members) -> str:
    following = "paused" if found["paused"] else f"next {(found['next'] or ['never'])[0]}"
    return f"{found['type']}; {plain(found['in_words'])}; {following}"
