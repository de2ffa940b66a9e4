"""The calls for probes, monitoring and programs that want to know what there is."""

from __future__ import annotations

from typing import Any

import bottle

import jobqueue
from _jobqueue.web import inputs
from _jobqueue.web import metrics as counts
from _jobqueue.web.backend import Backend
from _jobqueue.web.operators import backend_for

HEALTH_S = 1.0  # Redis has this long to answer a probe


def metrics(backend: Backend) -> dict[str, Any] | str:
    jobs = backend.jobs
    if inputs.wants_text():
        looks, limited = jobs.looks(), jobs.limits.first_of(jobs.queues())
        return counts.as_prometheus(looks, backend.overview.types.look(), jobs.server(), limited)
    return counts.as_json(jobs.all_books())


def stats(backend: Backend) -> dict[str, Any]:
    return backend.overview.stats() | {"record": backend.record is not None}


def system(backend: Backend) -> dict[str, Any]:
    found = backend.overview.system(backend.config)
    if backend.queues is not None:  # the names of other keys tell of other queues
        found["config"].pop("api_keys", None)
    return found


def health(backend: Backend) -> dict[str, Any]:
    """200 while Redis answers in time. ``?verbose`` adds what it found and what that means."""
    backend.probe.ping()
    answer: dict[str, Any] = {"status": "ok", "version": jobqueue.__version__}
    if "verbose" in bottle.request.query:
        environ = bottle.request.environ
        backend.gate.check(environ, "read")
        backend = backend_for(backend, environ, {})
        server, queues = backend.probe.server(), backend.probe.queues()
        warnings = [finding["text"] for finding in backend.overview.health(server)]
        del server["warnings"]
        answer |= {"redis": server, "queues": queues, "warnings": warnings}
    return answer


def livez(backend: Backend) -> dict[str, Any]:
    """200 while this process serves; does not ask Redis."""
    return {"status": "ok"}


def description(backend: Backend) -> bytes:
    """The description of all calls, as it was encoded at the start."""
    return backend.description.answer()
