"""The queues in Redis itself."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from typing import Any

from _jobqueue.commands.backend import Members
from _jobqueue.errors import Unavailable
from _jobqueue.limits import Limit
from _jobqueue.listed import Filter
from _jobqueue.records import ENDED, SAME
from _jobqueue.rfc3339 import moment
from _jobqueue.sentences import no_handler, none_serves
from jobqueue import Job, JobQueue, NewJob

LOOK_S = 0.1  # between two looks at a job that is waited for


class OnRedis:
    """What the HTTP API does, without it."""

    named_by = "--redis-url"

    def __init__(self, jobs: JobQueue, where: str) -> None:
        """``where``: the address of Redis without its password."""
        self.jobs, self.where = jobs, where
        self.plans = jobs.schedules
        self._pause = threading.Event()  # never set

    def submit(self, job: Members, key: str | None) -> Members:
        stored = self.jobs.submit_one(NewJob.of_json(job), key)
        assert stored.job is not None
        answer = stored.job.as_dict()
        with suppress(Unavailable):  # the job is stored: nothing that is asked after that may fail the command
            if stored.job.status not in ENDED and (warning := self._idle(stored.job)):
                answer["warning"] = warning
        return answer

    def _idle(self, job: Job) -> str:
        """Who is missing to run a job; '' when a living worker handles it. A mistyped name would wait in silence."""
        living = self.jobs.look(job.queue).living()
        if not living:
            return none_serves(job.queue)
        return "" if any(job.type in info.get("types", ()) for info in living) else no_handler(job.queue, job.type)

    def get(self, job_id: str) -> Members:
        return self.jobs.get(job_id).as_dict()

    def wait(self, job_id: str, wait_s: float) -> Members:
        deadline, seen = time.monotonic() + wait_s, dict[str, str]()
        job = self.jobs.get(job_id)
        while job.status not in ENDED and time.monotonic() < deadline:
            if self.jobs.ended([job_id], seen):
                break
            self._pause.wait(LOOK_S)
        return self.get(job_id)

    def page(self, wanted: dict[str, str], limit: int, cursor: str | None) -> Members:
        given: dict[str, Any] = {name: text for name, text in wanted.items() if name not in ("since", "until")}
        for name in wanted.keys() - given.keys():
            given[f"{name}_ms"] = moment(wanted[name], name)
        page = self.jobs.page(Filter(**given), limit=limit, cursor=cursor)
        return {"jobs": [job.as_dict() for job in page.jobs], "total": page.total, "next_cursor": page.cursor}

    def act(self, action: str, job_id: str, body: Members | None) -> Members:
        if action == "retry":
            self.jobs.retry(job_id, (body or {}).get("payload", SAME))
        else:
            {"cancel": self.jobs.cancel, "run": self.jobs.run_now}[action](job_id)
        return self.get(job_id)

    def delete(self, job_id: str) -> None:
        self.jobs.delete(job_id)

    def pause(self, queue: str, job_type: str | None, paused: bool) -> Members:
        if job_type is None:
            self.jobs.pause(queue, paused)
        else:
            self.jobs.pause_type(queue, job_type, paused)
        books = self.jobs.books(queue)
        return {"queue": queue, "paused": books.paused, "paused_types": books.paused_types, "jobs": books.sizes}

    def queues(self) -> dict[str, int]:
        return {queue: sum(books.sizes.values()) for queue, books in self.jobs.all_books().items()}

    def check(self, queue: str) -> list[str]:
        return self.jobs.check(queue)

    def limits(self, queue: str) -> list[Members]:
        found, after = [], ""
        while rows := self.jobs.limits.page(queue, after=after):
            found += [row.as_dict() for row in rows if row.by]
            after = rows[-1].name
        return found

    def limit(self, action: str, queue: str, name: str, definition: Members | None) -> Members:
        limits = self.jobs.limits
        if action == "delete":
            limits.delete(queue, name)
            return {}
        if action == "set":
            limits.put(queue, name, Limit.of_json(name, definition))
        return limits.get(queue, name).as_dict()

    def schedules(self, queue: str | None) -> list[Members]:
        names = [queue] if queue else self.jobs.queues()
        return [
            self.jobs.schedules.get(each, name).as_dict()
            for each in sorted(names)
            for name in self.jobs.schedules.names(each)
        ]

    def schedule(self, action: str, queue: str, name: str) -> Members:
        schedules = self.jobs.schedules
        if action == "delete":
            schedules.delete(queue, name)
            return {}
        if action == "run":
            return self.get(schedules.run(queue, name)[0])
        if action == "get":
            return schedules.get(queue, name).as_dict()
        return schedules.pause(queue, name, action == "pause").as_dict()
