"""The verb for limits: list, get, set, delete."""

from __future__ import annotations

import argparse
import re
from typing import Any

from _jobqueue.commands import show
from _jobqueue.commands.backend import OK, Backend, Members
from _jobqueue.commands.queues import name
from _jobqueue.limits import LIMIT, LIMIT_RULE, PATTERN


def add(verbs: Any, common: argparse.ArgumentParser) -> None:
    limits = verbs.add_parser("limits", help="list the limits of a queue; see, set, delete one")
    actions = limits.add_subparsers(dest="action", required=True)
    for action, what in (
        ("list", "what is defined, and what runs or waits under a name that ends in *"),
        ("get", "show one"),
        ("set", "define or change one; a name that ends in * is the default for names that begin so"),
        ("delete", "forget it: who waits for it may start"),
    ):
        parser = actions.add_parser(action, parents=[common], help=what)
        parser.add_argument("queue", metavar="QUEUE", type=name)
        if action != "list":
            parser.add_argument("name", metavar="NAME", type=_limit)
        if action == "set":
            parser.add_argument("--max-running", metavar="N", type=int, help="jobs that run at once")
            parser.add_argument("--rate", metavar="N/S", type=_rate, help="starts in so many seconds, like 100/60")
        parser.set_defaults(do=_list if action == "list" else _one, doing=f"{action} limits")


def _limit(text: str) -> str:
    if not (LIMIT.fullmatch(text) or PATTERN.fullmatch(text)):
        raise argparse.ArgumentTypeError(f"{LIMIT_RULE}, and may end in *")
    return text


def _rate(text: str) -> Members:
    found = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text)
    if not found:
        raise argparse.ArgumentTypeError("must be starts and seconds, like 100/60")
    return {"starts": int(found[1]), "per_s": int(found[2])}


def _list(backend: Backend, options: argparse.Namespace) -> int:
    found = backend.limits(options.queue)
    show.answer({"limits": found}, options.json, *map(_line, found))
    if not found:
        show.warn(f"queue {options.queue} has no limits")
    return OK


def _one(backend: Backend, options: argparse.Namespace) -> int:
    definition = None
    if options.action == "set":
        given = {"max_running": options.max_running, "rate": options.rate}
        definition = {member: value for member, value in given.items() if value is not None}
    found = backend.limit(options.action, options.queue, options.name, definition)
    if options.action == "delete":
        found = {"queue": options.queue, "name": options.name, "deleted": True}
        show.answer(found, options.json, f"the limit {options.name} of queue {options.queue} is deleted")
    else:
        show.answer(found, options.json, _line(found))
    return OK


def _line(limit: Members) -> str:
    most, rate = limit["max_running"], limit["rate"]
    running = f"{limit['running']} of {most} running" if most else f"{limit['running']} running"
    starts = f", {rate['starts']} starts in {rate['per_s']} s" if rate else ""
    opens = f", opens {limit['opens_at']}" if limit["opens_at"] else ""
    return f"{limit['name']}: {running}{starts}, {limit['waiting']} waiting{opens}"
