"""Who calls: the name of the key, the queues that there are for it, and what a line of the log says of an operator's action."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import bottle

from _jobqueue.errors import QueueNotFound
from _jobqueue.keys import Key
from _jobqueue.web.backend import Backend
from _jobqueue.web.security import KEY

ACTED = "jobqueue.acted"  # in the environ: what the request's line in the log says of an action
SAID = ("action", "operation", "dry_run", "matched", "changed", "requeued", "left", "erased")  # of an answer
MAX_CHARS = 64  # of what stands in the address


def key() -> Key | None:
    """The key of the request at hand; None where none is set."""
    found: Key | None = bottle.request.environ.get(KEY)
    return found


def operator() -> str:
    """Its name; '' where no keys are set."""
    known = key()
    return known.name if known else ""


def backend_for(backend: Backend, environ: Mapping[str, Any], arguments: Mapping[str, str]) -> Backend:
    """What is there for the caller. QueueNotFound for a queue in the address or in the query that is not."""
    known: Key | None = environ.get(KEY)
    if known is None or known.queues is None:
        return backend
    asked = [arguments["queue"]] if "queue" in arguments else bottle.request.query.getall("queue")
    for queue in asked:
        if queue not in known.queues:
            raise QueueNotFound(queue)
    return backend.bound_to(known.queues)


def action_of(name: str, environ: Mapping[str, Any], arguments: Mapping[str, str], answer: Any) -> dict[str, Any]:
    """What the log says of an operator's action: which, whose, on what, with what outcome."""
    known: Key | None = environ.get(KEY)
    told = {what: answer[what] for what in SAID if what in answer} if isinstance(answer, dict) else {}
    if "action" in told:
        told["does"] = told.pop("action")
    on = {what: text[:MAX_CHARS] for what, text in arguments.items()}
    return {"action": name, "by": known.name if known else None, **on, **told}


def whoami(backend: Backend) -> dict[str, Any]:
    """The key of the caller."""
    known = key()
    if known is None:
        return {"name": None, "scope": "admin", "queues": None}
    return {"name": known.name, "scope": known.scope, "queues": list(known.queues) if known.queues else None}
