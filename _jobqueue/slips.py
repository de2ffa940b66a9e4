"""Names that a request has and nobody knows, with the one that was perhaps meant."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from difflib import get_close_matches

from _jobqueue.errors import pointer_to

GUESSED = 5  # so many names of a request are compared: the comparison costs more than all else that is done with a name
LONGEST = 24

# As other systems call it.
ELSEWHERE = {
    "args": "payload",
    "data": "payload",
    "body": "payload",
    "task": "type",
    "job_type": "type",
    "retries": "max_attempts",
    "max_retries": "max_attempts",
    "attempts": "max_attempts",
    "retry": "max_attempts",
    "countdown": "delay_s",
    "delay": "delay_s",
    "eta": "run_at",
    "at": "run_at",
    "expires": "expires_s",
    "ttl": "expires_s",
    "timeout": "timeout_s",
    "time_limit": "timeout_s",
    "depends_on": "after",
    "parents": "after",
    "callback": "webhook",
    "concurrency": "max_running",
    "max": "rate",
    "every": "every_s",
    "interval": "every_s",
    "schedule": "cron",
    "tz": "timezone",
}


def unknown_fields(names: Iterable[str], known: Collection[str], what: str) -> list[tuple[str, str]]:
    """A problem for each name that is not among the known ones. ``what`` has them, like ``a job``."""
    found = [name for name in names if name not in known]
    return [
        (pointer_to(name), f"is not a field of {what}" + (_meant(name, known) if at < GUESSED else ""))
        for at, name in enumerate(found)
    ]


def _meant(name: str, known: Collection[str]) -> str:
    if len(name) > LONGEST:
        return ""
    plain = name.lower().replace("-", "_")
    close = [plain] if plain in known else get_close_matches(plain, known, 1, 0.75)
    meant = next((each for each in (ELSEWHERE.get(plain), *close) if each in known), None)
    return f": did you mean {meant}?" if meant else ""
