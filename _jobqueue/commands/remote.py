"""The queues behind the HTTP API."""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.request
from typing import Any
from urllib.parse import quote, urlencode

from _jobqueue.commands.backend import Members, NoAnswer, NoApi, Refused
from _jobqueue.commands.remote_schedules import RemoteSchedules
from _jobqueue.errors import Conflict, Invalid, JobQueueError, KeyReused, NotFound

ANSWER_S = 30.0
WAIT_S = 20.0  # as long as one request may wait
PAGE = 200
OURS = {"words": "canonical"}  # also of a job that came by another system's call


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """The key is for the address that was named, and for no other."""

    def redirect_request(self, *args: Any, **more: Any) -> None:
        return None


class OverHttp:
    """Each call is a request."""

    named_by = "--url"

    def __init__(self, url: str, key: str | None) -> None:
        self.where = url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._opener = urllib.request.build_opener(_NoRedirects)
        self.plans = RemoteSchedules(self)

    def submit(self, job: Members, key: str | None) -> Members:
        return self._call("POST", "/jobs", job, headers={"Idempotency-Key": key} if key else {})

    def get(self, job_id: str) -> Members:
        return self._call("GET", _job(job_id), query=OURS)

    def wait(self, job_id: str, wait_s: float) -> Members:
        waits = {"wait_s": f"{min(wait_s, WAIT_S):.3f}"}
        return self._call("GET", _job(job_id), query=OURS | waits, within_s=WAIT_S + ANSWER_S)

    def page(self, wanted: dict[str, str], limit: int, cursor: str | None) -> Members:
        return self._call("GET", "/jobs", query=wanted | {"limit": str(limit)} | ({"cursor": cursor} if cursor else {}))

    def act(self, action: str, job_id: str, body: Members | None) -> Members:
        return self._call("POST", f"{_job(job_id)}/{action}", body)

    def delete(self, job_id: str) -> None:
        self._call("DELETE", _job(job_id))

    def pause(self, queue: str, job_type: str | None, paused: bool) -> Members:
        of_type = f"/types/{_part(job_type)}" if job_type is not None else ""
        row = self._call("POST", f"/queues/{_part(queue)}{of_type}/{'pause' if paused else 'resume'}")
        return {name: row[name] for name in ("queue", "paused", "paused_types", "jobs")}

    def queues(self) -> dict[str, int]:
        return {row["queue"]: sum(row["jobs"].values()) for row in self._call("GET", "/queues")["queues"]}

    def check(self, queue: str) -> list[str]:
        verdict = self._call("POST", f"/queues/{_part(queue)}/check", within_s=10 * ANSWER_S)
        more = [f"{queue}: and {verdict['more']} more"] if verdict["more"] else []
        return [*verdict["problems"], *more]

    def limits(self, queue: str) -> list[Members]:
        return self._all(f"/queues/{_part(queue)}/limits", "limits", {})

    def limit(self, action: str, queue: str, name: str, definition: Members | None) -> Members:
        method = "PUT" if action == "set" else action.upper()
        return self._call(method, f"/queues/{_part(queue)}/limits/{_part(name)}", definition)

    def schedules(self, queue: str | None) -> list[Members]:
        return self._all("/schedules", "schedules", {"queue": queue} if queue else {})

    def schedule(self, action: str, queue: str, name: str) -> Members:
        path = f"/queues/{_part(queue)}/schedules/{_part(name)}"
        if action in ("get", "delete"):
            return self._call(action.upper(), path)
        return self._call("POST", f"{path}/{action}")

    def put_schedule(self, queue: str, name: str, body: Members, dry_run: bool) -> Members:
        path = f"/queues/{_part(queue)}/schedules/{_part(name)}"
        return self._call("PUT", path, body, query={"dry_run": ""} if dry_run else {})

    def _all(self, path: str, rows: str, query: dict[str, str]) -> list[Members]:
        """A list, page by page."""
        found: list[Members] = []
        query = {"limit": str(PAGE)} | query
        while True:
            page = self._call("GET", path, query=query)
            found += page[rows]
            if not page["next_cursor"]:
                return found
            query["cursor"] = page["next_cursor"]

    # -- one request

    def _call(
        self,
        method: str,
        path: str,
        body: Members | None = None,
        *,
        query: dict[str, str] | None = None,
        headers: dict[str, str] | None = None,
        within_s: float = ANSWER_S,
    ) -> Members:
        """What is answered as JSON, {} for none. An answer that is an error is raised as one of ours."""
        data = None if body is None else json.dumps(body).encode()
        named = self._headers | (headers or {}) | ({"Content-Type": "application/json"} if data else {})
        url = self.where + path + ("?" + urlencode(query) if query else "")
        try:
            request = urllib.request.Request(url, data, named, method=method)
            with self._opener.open(request, timeout=within_s) as answer:
                raw = answer.read()
        except urllib.error.HTTPError as error:
            with error:
                raise _error_of(error.code, _object(error.read())) from None
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", None) or str(error) or type(error).__name__
            raise NoAnswer(f"{self.where} does not answer", str(reason)) from None
        answered = _object(raw) if raw else {}
        if answered is None:
            raise NoApi(f"{self.where} answers something else")
        return answered


def _job(job_id: str) -> str:
    if "/" in job_id:  # servers decode it before they look for the route
        raise NotFound(f"there is no job {job_id}")
    return f"/jobs/{_part(job_id)}"


def _part(text: str) -> str:
    return quote(text, safe="")


def _object(raw: bytes) -> Members | None:
    try:
        value = json.loads(raw)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _error_of(status: int, problem: Members | None) -> JobQueueError:
    """The error that the API has told."""
    if problem is None or "code" not in problem or problem["code"] in ("no_such_route", "method_not_allowed"):
        return NoApi(f"the answer is {status}")
    code, detail = problem["code"], str(problem.get("detail"))
    if status in (429, 503):
        return NoAnswer(detail)
    if code in ("no_key", "scope_too_small"):
        return Refused(detail)
    if status == 404:
        return NotFound(detail)
    if code == "idempotency_key_reused":
        return KeyReused(detail)
    if status in (400, 413, 415, 422):
        return Invalid([(each["pointer"], each["detail"]) for each in problem.get("errors", [])] or [("", detail)])
    return Conflict(code, detail) if status == 409 else JobQueueError(f"{detail} (the answer is {status})")
