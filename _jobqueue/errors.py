"""What can go wrong, and what the caller should do."""

from __future__ import annotations

from collections.abc import Sequence


class JobQueueError(Exception):
    """Base of all errors of this module."""


class Invalid(JobQueueError, ValueError):
    """The request is wrong and nothing was stored. ``problems`` names each field by JSON pointer: correct them."""

    def __init__(self, problems: Sequence[tuple[str, str]]) -> None:
        self.problems = list(problems)
        super().__init__("; ".join(f"{pointer or 'the body'}: {detail}" for pointer, detail in self.problems))


class TooManyTypes(Invalid):
    """The queue holds jobs of many types that nobody handles, and takes no further type. Start workers for them."""


class TooManyNames(Invalid):
    """Jobs of many names run or wait under the limits of patterns, and the queue takes no further name. Wait until some end."""


class OtherQueue(Invalid):
    """A job waits for one of another queue. A worker takes only the types that it knows: a step needs a type, not a queue."""


class ParentGone(Invalid):
    """A job waits for a cancelled one to be done. Retry that one first."""


class WebhooksOff(Invalid):
    """A job names a webhook, but none is told here. Set WEBHOOK_SECRETS, for the workers too."""


class NotWithOthers(Invalid):
    """Nothing is wrong with this job, but with another of its batch, which is stored whole or not at all."""

    def __init__(self) -> None:
        super().__init__([])
        self.args = ("another job of the batch is wrong, and it is stored whole or not at all",)


class NoCron(Invalid):
    """The package that reads cron expressions is not installed. Install cronsim, or use ``every_s``."""


class TooNew(JobQueueError):
    """A later release has written to this Redis. Start that one; ``docs/upgrade.md`` says how to go back."""


class NotFound(JobQueueError):
    """There is no such job, or its retention has ended. Of something else that there is not, one of the classes below."""


class QueueNotFound(NotFound):
    """No job was ever submitted to the queue, or it was deleted; or the key is not for it."""

    def __init__(self, queue: str) -> None:
        super().__init__(f"there is no queue {queue[:64]}")


class LimitNotFound(NotFound):
    """The queue has no limit of that name."""

    def __init__(self, queue: str, name: str) -> None:
        super().__init__(f"the queue {queue} has no limit {name}")


class ScheduleNotFound(NotFound):
    """The queue has no schedule of that name."""

    def __init__(self, queue: str, name: str) -> None:
        super().__init__(f"there is no schedule {name} of the queue {queue}")


class Conflict(JobQueueError):
    """The job's status forbids the operation. ``status`` is what it is now."""

    def __init__(self, status: str, detail: str) -> None:
        self.status = status
        super().__init__(detail)


class OldProgram(Conflict):
    """A program of the release before would do harm to what is asked for. Upgrade it, then repeat the call."""

    def __init__(self, queue: str, what: str, harm: str = "") -> None:
        """``what`` it is, a worker or a reaper, and the harm that it would do."""
        advice = f"{harm}. Upgrade it first" if harm else "upgrade it first"
        super().__init__("old_worker", f"a {what} of the release before serves the queue {queue}: {advice}")


class QueueFull(JobQueueError):
    """As many jobs wait in the queue as its ``max_queued`` allows; nothing was stored. Repeat it after ``retry_after_s``."""

    def __init__(self, detail: str, retry_after_s: int) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(detail)


class LeaseLost(Conflict):
    """The job was taken back, or settled by somebody else. Stop working on it: what comes of it is not stored."""

    def __init__(self, job_id: str) -> None:
        super().__init__("lease_lost", f"the job {job_id} is not yours any more: stop working on it")


class SeqUsed(Conflict):
    """The worker has made a later claim. Count on from that; a new worker takes a new name."""

    def __init__(self, worker: str, last: int) -> None:
        super().__init__("seq_used", f"{worker} has made its claim {last} already: count on, or take a new name")


class NameTaken(Conflict):
    """A worker of another sort has that name. Take a random one."""

    def __init__(self, worker: str) -> None:
        super().__init__("name_taken", f"another worker is called {worker}: take a new name at each start")


class TooManyHeld(Conflict):
    """The worker holds as many jobs as one may. Settle some, or start another."""

    def __init__(self, worker: str) -> None:
        super().__init__("too_many_held", f"{worker} holds as many jobs as a worker may: finish some")


class KeyReused(JobQueueError):
    """The idempotency key was used with another request. Choose a new key, or repeat the first request exactly."""


class TooOld(JobQueueError):
    """This Redis lacks what the scripts and workers use. Upgrade it."""


class Unavailable(JobQueueError):
    """Redis cannot answer now. Whether a write arrived is unknown: repeat it, with the same key or token.

    ``public`` may be shown to anybody; ``detail`` names addresses and is for the log. ``silent``: nothing came in time, and the
    next call would wait as long; else it was refused, or the connection was."""

    def __init__(self, public: str, detail: str = "", *, silent: bool = False) -> None:
        self.public, self.detail, self.silent = public, detail, silent
        super().__init__(f"{public}: {detail}" if detail else public)


def pointer_to(name: str) -> str:
    """The JSON pointer (RFC 6901) to a member of an object, cut where its name is long."""
    return "/" + name[:64].replace("~", "~0").replace("/", "~1")
