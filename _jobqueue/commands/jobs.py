"""The verbs for jobs: submit, get, list, retry, cancel, run, delete."""

from __future__ import annotations

import argparse
import math
import re
import sys
import threading
import time
from dataclasses import fields
from typing import Any

from _jobqueue.commands import show
from _jobqueue.commands.backend import FAILED, OK, UNAVAILABLE, Backend, Members
from _jobqueue.errors import Invalid, Unavailable
from _jobqueue.new_job import MEMBERS, NewJob
from _jobqueue.records import ENDED, STATUSES
from _jobqueue.strict_json import parse_json

WAIT_STEP_S = 20.0  # one look
AWAY_S = 1.0  # between two tries while Redis or the API is away
PAGE, LIST_MOST, NAMED_MOST = 200, 10_000, 10
FILTERS = ("type", "queue", "tag", "kind", "since", "until")
NUMBER = re.compile(r"-?\d{1,15}(\.\d{1,15})?")


def add(verbs: Any, common: argparse.ArgumentParser) -> None:
    """``verbs``: the subparsers; ``common``: flags of every verb."""
    _add_submit(verbs.add_parser("submit", parents=[common], help="submit a job; print its id, or with --wait its end"))
    _add_get(verbs.add_parser("get", parents=[common], help="show a job"))
    _add_list(verbs.add_parser("list", parents=[common], help="list jobs: what runs, what waits, what ended last"))
    for action, help in (
        ("retry", "run a failed or cancelled job again, with fresh attempts"),
        ("cancel", "cancel a job, or ask its handler to stop"),
        ("run", "run a scheduled job now"),
        ("delete", "forget a job that does not run"),
    ):
        verb = verbs.add_parser(action, parents=[common], help=help)
        _takes_id(verb)
        if action == "retry":
            _takes_payload(verb, "another payload (default: its own)")
        verb.set_defaults(do=_delete if action == "delete" else _act, doing=f"{action} the job", action=action)


def _add_submit(submit: argparse.ArgumentParser) -> None:
    """With a flag for each member of a job."""
    submit.add_argument("type", metavar="TYPE", help="which handler runs it")
    _takes_payload(submit, "the payload (default null)")
    for each in fields(NewJob):
        if each.name in MEMBERS and each.name not in ("type", "payload"):
            many, flag = "Sequence" in str(each.type), each.name.replace("_", "-")
            more: dict[str, Any] = (
                {"action": "append", "help": "again for more"} if many else {"help": f"`{each.name}` of the job"}
            )
            submit.add_argument(f"--{flag.rstrip('s') if many else flag}", dest=f"job_{each.name}", metavar="X", **more)
    submit.add_argument("--idempotency-key", metavar="KEY", help="makes it harmless to repeat the command")
    _waits(submit)
    submit.set_defaults(do=_submit, doing="submit")


def _add_get(get: argparse.ArgumentParser) -> None:
    _takes_id(get)
    _waits(get)
    get.set_defaults(do=_get, doing="show the job")


def _add_list(many: argparse.ArgumentParser) -> None:
    many.add_argument("--status", choices=STATUSES)
    for name in FILTERS:
        many.add_argument(f"--{name}", help="a time of RFC 3339" if name in ("since", "until") else None)
    many.add_argument(
        "--limit", type=_limit, default=20, metavar="N", help=f"up to {LIST_MOST:,} (default %(default)s)"
    )
    many.set_defaults(do=_list, doing="list jobs")


def _takes_id(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("job_id", metavar="ID")


def _takes_payload(verb: argparse.ArgumentParser, help: str) -> None:
    verb.add_argument("payload", metavar="JSON", nargs="?", help=f"{help}; - reads standard input")


def _waits(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--wait", action="store_true", help="until it has ended; exit 1 unless it is done")
    verb.add_argument(
        "--within",
        type=_seconds,
        default=math.inf,
        metavar="S",
        help="wait no longer; exit 75 if it has not ended then",
    )


def _limit(text: str) -> int:
    if not re.fullmatch(r"\d{1,6}", text) or not 1 <= int(text) <= LIST_MOST:
        raise argparse.ArgumentTypeError(f"must be a whole number from 1 to {LIST_MOST}")
    return int(text)


def _seconds(text: str) -> float:
    if not re.fullmatch(r"\d{1,9}(\.\d{1,6})?", text):
        raise argparse.ArgumentTypeError("must be a number of seconds")
    return float(text)


# ---------------------------------------------------------------------------------------------------------- what they do


def _submit(backend: Backend, options: argparse.Namespace) -> int:
    job: Members = {"type": options.type}
    if options.payload is not None:
        job["payload"] = _payload(options.payload)
    for name in MEMBERS:
        if (text := getattr(options, f"job_{name}", None)) is not None:
            job[name] = text if isinstance(text, list) else _value(name, text)
    stored = backend.submit(job, options.idempotency_key)
    if "warning" in stored:
        show.warn(stored["warning"])
    if options.wait:
        return _wait(backend, options, stored["job_id"])
    show.answer(stored, options.json, stored["job_id"])
    return OK


def _value(name: str, text: str) -> Any:
    """As a request would have it: a number where the field takes one. Whether it may be is asked where the job is stored."""
    kind = str(NewJob.__dataclass_fields__[name].type)
    takes_number = "int" in kind or "float" in kind
    return parse_json(text.encode()) if takes_number and NUMBER.fullmatch(text) else text


def _payload(text: str) -> Any:
    raw = sys.stdin.buffer.read() if text == "-" else text.encode(errors="surrogateescape")
    try:
        return parse_json(raw)
    except Invalid as error:
        raise Invalid(
            [
                (
                    "",
                    f"""the payload is {error.problems[0][1]}; write it as JSON in quotes of the shell, like '{{"n": 1}}'""",
                )
            ]
        ) from None


def _get(backend: Backend, options: argparse.Namespace) -> int:
    if options.wait:
        return _wait(backend, options, options.job_id)
    found = backend.get(options.job_id)
    show.answer(found, options.json, *show.job(found))
    return OK


def _wait(backend: Backend, options: argparse.Namespace, job_id: str) -> int:
    """Until the job has ended, over outages too. Says them once."""
    deadline, pause, away = time.monotonic() + options.within, threading.Event(), False
    found: Members = {}
    while found.get("status") not in ENDED:
        left_s = deadline - time.monotonic()
        if left_s <= 0:
            show.warn(f"job {job_id} has not ended within {options.within:g} s; wait on with `get {job_id} --wait`")
            return UNAVAILABLE
        try:
            found = backend.wait(job_id, min(left_s, WAIT_STEP_S))
        except Unavailable as error:
            if not away:
                show.warn(f"waiting for job {job_id}: {error}")
            away = True
            pause.wait(min(left_s, AWAY_S))
    show.answer(found, options.json, *show.job(found))
    if found["status"] == "done":
        return OK
    show.warn(f"job {job_id} is {found['status']}; `retry {job_id}` runs it again")
    return FAILED


def _list(backend: Backend, options: argparse.Namespace) -> int:
    wanted = {name: text for name in ("status", *FILTERS) if (text := getattr(options, name)) is not None}
    jobs: list[Members] = []
    page: Members = {"next_cursor": None}
    while len(jobs) < options.limit:
        page = backend.page(wanted, min(PAGE, options.limit - len(jobs)), page["next_cursor"])
        jobs += page["jobs"]
        if not page["next_cursor"]:
            break
    show.answer(
        {"jobs": jobs, "total": page["total"], "next_cursor": page["next_cursor"]}, options.json, *show.jobs(jobs)
    )
    if page["next_cursor"] and not options.json:
        show.warn(f"there are more than these {len(jobs)}: name a status, type, queue or tag, or a larger --limit")
    elif not jobs:
        show.warn(_why_none(backend, wanted))
    return OK


def _why_none(backend: Backend, wanted: dict[str, str]) -> str:
    """An empty list is a good answer; but a queue's name may be a slip."""
    there = sorted(backend.queues())
    if wanted.get("queue", "") in ("", *there):
        return "no job matches" if wanted else "there are no jobs"
    known = (
        f"there are: {', '.join(there[:NAMED_MOST])}{', …' * (len(there) > NAMED_MOST)}"
        if there
        else "there is none yet"
    )
    return f"there is no queue {wanted['queue']}; {known}"


def _act(backend: Backend, options: argparse.Namespace) -> int:
    text = getattr(options, "payload", None)
    found = backend.act(options.action, options.job_id, None if text is None else {"payload": _payload(text)})
    asked = " and is asked to stop" if options.action == "cancel" and found["status"] == "processing" else ""
    show.answer(found, options.json, f"{found['job_id']} is {found['status']}{asked}")
    return OK


def _delete(backend: Backend, options: argparse.Namespace) -> int:
    backend.delete(options.job_id)
    show.answer({"job_id": options.job_id, "deleted": True}, options.json, f"{options.job_id} is deleted")
    return OK
