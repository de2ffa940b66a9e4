"""Tells webhooks: the handler of the jobs that do it, and how many threads may."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from _jobqueue.context import Context
from _jobqueue.errors import NotFound, Unavailable
from _jobqueue.job_types import Fail, JobType, Retry, Snooze
from _jobqueue.records import DELIVERY, ENDED, JOB_ID, Job, __version__
from _jobqueue.rfc3339 import rfc3339
from _jobqueue.store.webhooks import Said
from _jobqueue.webhooks.address import Forbidden, Target, Unresolved, target_of
from _jobqueue.webhooks.call import CALL_S, Answer, Caller, NoAnswer
from _jobqueue.webhooks.signing import signature
from _jobqueue.work.slot import Slot
from jobqueue import JobQueue

SPARE_S = 10.0  # what an attempt may take beside its call
DELAYS_S = (
    5,
    300,
    1800,
    7200,
    18_000,
    36_000,
    50_400,
    72_000,
    86_400,
)  # between attempts, as Standard Webhooks has them
RESULT_BYTES = 256 * 1024
GONE, OK = 410, range(200, 300)
SHARE = 4  # of so many threads, one may deliver


class Deliveries:
    """The built-in handler."""

    def __init__(self, jobs: JobQueue, keys: Sequence[bytes], caller: Caller) -> None:
        self._jobs, self._keys, self._caller = jobs, keys, caller

    def job_type(self) -> JobType:
        attempts, place = 1 + len(DELAYS_S), "webhooks"
        return JobType(DELIVERY, self.deliver, CALL_S + SPARE_S, attempts, DELAYS_S[0], DELAYS_S[-1], place=place)

    def deliver(self, event: Any, ctx: Context) -> dict[str, Any]:
        """Tell one end of a job. Fail where that will never do, Retry where it did not now."""
        if not _is_event(event):
            raise Fail("its payload is not what the end of a job has left")
        target = self._target(ctx.job_id)
        said = self._jobs.deliveries.begin(ctx.job_id, target.authority, event["job"], round(1000 * (CALL_S + SPARE_S)))
        if said.busy_ms:
            raise Snooze(said.busy_ms / 1000)  # two calls of that host are being made
        began = time.monotonic()
        try:
            answer = self._call(target, ctx.job_id, body_of(event, said), ctx.attempt)
        finally:
            with suppress(Unavailable):  # it ends by itself
                self._jobs.deliveries.end(ctx.job_id, target.authority, round(1000 * (time.monotonic() - began)))
        return _outcome(target, answer, ctx.attempt)

    def _target(self, delivery: str) -> Target:
        try:
            target = target_of(self._jobs.deliveries.address(delivery))
        except NotFound:
            raise Fail("it was deleted") from None
        except ValueError as error:
            raise Fail(f"its address {error}") from None
        if target.scheme != "https" and self._jobs.store.webhooks != "http":
            raise Fail("its address is not https, which is for tests (WEBHOOK_HTTP=1)")
        return target

    def _call(self, target: Target, delivery: str, body: bytes, attempt: int) -> Answer:
        at_s = int(time.time())
        headers = {
            "Content-Type": "application/json",
            "User-Agent": f"jobqueue/{__version__}",
            "webhook-id": delivery,
            "webhook-timestamp": str(at_s),
            "webhook-signature": signature(self._keys, delivery, at_s, body),
        }
        try:
            return self._caller.post(target, headers, body)
        except Forbidden as error:
            raise Fail(str(error)) from None
        except (NoAnswer, Unresolved) as error:
            raise Retry(f"{target.host}: {error}", after=_delay_s(attempt)) from None


def _is_event(event: Any) -> bool:
    return (
        isinstance(event, dict)
        and isinstance(event.get("job"), str)
        and JOB_ID.fullmatch(event["job"]) is not None
        and event.get("status") in ENDED
        and all(type(event.get(name)) is int and event[name] >= 0 for name in ("n", "at"))
    )


def _outcome(target: Target, answer: Answer, attempt: int) -> dict[str, Any]:
    if answer.status in OK:
        return {"status": answer.status}
    if answer.status == GONE:
        raise Fail(f"{target.host} answered {GONE}: it wants to be told no more")
    why = f"{target.host} answered {answer.status}"
    if 300 <= answer.status < 400:
        why += ", and redirects are not followed"
    raise Retry(why, after=_delay_s(attempt) if answer.after_s is None else answer.after_s)


def _delay_s(attempt: int) -> float:
    return DELAYS_S[min(attempt, len(DELAYS_S)) - 1]


def body_of(event: Mapping[str, Any], said: Said) -> bytes:
    """What is sent: status and time are those of the event, the rest is the job as it is, if it has not ended again since."""
    at = rfc3339(event["at"])
    data = {"job_id": event["job"], "status": event["status"], "finished_at": at}
    if said.job:
        data = _told(said.job) | data
    elif said.over:
        data["superseded"] = True
    body = {"type": f"job.{event['status']}", "timestamp": at, "data": data}
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")


def _told(job: Job) -> dict[str, Any]:
    """A job as a stranger may see it: without its payload, and without the insides of its handlers."""
    shown = job.as_dict()
    del shown["payload"]
    shown["errors"] = [{name: value for name, value in each.items() if name != "traceback"} for each in shown["errors"]]
    if (
        len(json.dumps(shown["result"], ensure_ascii=False, separators=(",", ":")).encode(errors="replace"))
        > RESULT_BYTES
    ):
        shown |= {"result": None, "truncated": True}
    return shown


class Turns:
    """Which threads may be given a delivery: as many of a queue's at once as its share. The others claim under a kit without."""

    def __init__(self, threads: Mapping[str, int], kit: str, plain_kit: str) -> None:
        """``threads`` of each queue; ``kit``: of all types; ``plain_kit``: without deliveries."""
        self._most = {queue: max(1, n // SHARE) for queue, n in threads.items()}
        self._kit, self._plain_kit = kit, plain_kit
        self._lock = threading.Lock()
        self._taken: dict[str, set[str]] = {queue: set() for queue in threads}  # by slots

    def take(self, slot: Slot) -> None:
        """Say under which kit the slot claims next."""
        taken = self._taken[slot.queue]
        with self._lock:
            may = slot.id in taken or len(taken) < self._most[slot.queue]
            if may:
                taken.add(slot.id)
        slot.talk.kit = self._kit if may else self._plain_kit

    def give_back(self, slot: Slot) -> None:
        with self._lock:
            self._taken[slot.queue].discard(slot.id)
