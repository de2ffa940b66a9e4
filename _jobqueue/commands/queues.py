"""The verbs for queues and schedules: pause, resume, schedules."""

from __future__ import annotations

import argparse
from typing import Any

from _jobqueue.commands import show
from _jobqueue.commands.backend import OK, Backend
from _jobqueue.records import NAME, NAME_RULE


def name(text: str) -> str:
    """A queue, a type or a schedule, as a flag or an argument names it."""
    if not NAME.fullmatch(text):
        raise argparse.ArgumentTypeError(NAME_RULE)
    return text


def add(verbs: Any, common: argparse.ArgumentParser) -> None:
    for verb, what in (("pause", "stop a queue, or a type in it, from giving out jobs"), ("resume", "let it go on")):
        parser = verbs.add_parser(verb, parents=[common], help=what)
        parser.add_argument("queue", metavar="QUEUE", type=name)
        parser.add_argument("type", metavar="TYPE", nargs="?", type=name)
        parser.set_defaults(do=_pause, doing=f"{verb} the queue", paused=verb == "pause")


def add_schedules(verbs: Any, common: argparse.ArgumentParser) -> Any:
    """Returns the subparsers of its actions, for those that another file adds."""
    schedules = verbs.add_parser("schedules", help="list schedules; see, run, pause, resume, delete one; apply a file")
    actions = schedules.add_subparsers(dest="action", required=True)
    many = actions.add_parser("list", parents=[common], help="all, or a queue's")
    many.add_argument("queue", metavar="QUEUE", nargs="?", type=name)
    many.add_argument("--queue", dest="of_queue", metavar="QUEUE", type=name, help="the same")
    many.set_defaults(do=_list, doing="list schedules")
    for action, what in (
        ("get", "show one"),
        ("run", "submit its job now"),
        ("pause", "let it not fire"),
        ("resume", "let it fire again, from now on"),
        ("delete", "forget it; the jobs that it has made stay"),
    ):
        one = actions.add_parser(action, parents=[common], help=what)
        one.add_argument("queue", metavar="QUEUE", type=name)
        one.add_argument("name", metavar="NAME", type=name)
        one.set_defaults(do=_one, doing=f"{action} the schedule")
    return actions


def _pause(backend: Backend, options: argparse.Namespace) -> int:
    found = backend.pause(options.queue, options.type, options.paused)
    what = f"the type {options.type} of queue {options.queue}" if options.type else f"queue {options.queue}"
    show.answer(found, options.json, f"{what} {'is paused' if options.paused else 'goes on'}")
    return OK


def _list(backend: Backend, options: argparse.Namespace) -> int:
    queue = options.of_queue or options.queue
    found = backend.schedules(queue)
    show.answer({"schedules": found}, options.json, *show.schedules(found))
    if not found:
        show.warn(f"queue {queue} has no schedules" if queue else "there are no schedules")
    return OK


def _one(backend: Backend, options: argparse.Namespace) -> int:
    found = backend.schedule(options.action, options.queue, options.name)
    if options.action == "delete":
        found = {"queue": options.queue, "name": options.name, "deleted": True}
        show.answer(found, options.json, f"{options.queue}/{options.name} is deleted")
    elif options.action == "run":
        show.answer(found, options.json, found["job_id"])
    elif options.action == "get":
        show.answer(found, options.json, *show.job(found))
    else:
        show.answer(found, options.json, *show.schedules([found]))
    return OK
