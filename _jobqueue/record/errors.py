"""What can go wrong with the record, and what the caller should do."""

from __future__ import annotations

from _jobqueue.errors import JobQueueError


class RecordUnavailable(JobQueueError):
    """The record's database cannot answer now, or not in time. Nothing was written: repeat it later.

    ``public`` may be shown to anybody; ``detail`` names addresses and is for the log."""

    def __init__(self, public: str, detail: str = "") -> None:
        self.public, self.detail = public, detail
        super().__init__(f"{public}: {detail}" if detail else public)


class RecordMissing(RecordUnavailable):
    """It was never made: there is nothing in it."""


class FileMissing(RecordMissing):
    """Nor is the file there that would hold it."""


class RecordTooNew(JobQueueError):
    """A later release has changed the record's tables. Start that one."""


class RecordUrlWrong(JobQueueError, ValueError):
    """HISTORY_URL names no database that can be a record. Correct it."""
