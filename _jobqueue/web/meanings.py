"""What fields are called everywhere, and what they mean: a field of the description that says nothing itself says this."""

from __future__ import annotations

from typing import Any

MEANINGS = {
    # A job
    "job_id": "The id of the job.",
    "id": "The id of the job.",
    "status": "The status of the job.",
    "type": "The type of the job, which names its handler.",
    "queue": "The name of the queue.",
    "name": "Its name.",
    "priority": "Jobs of a higher one come first.",
    "payload": "What the handler is given: any JSON.",
    "attempts": "How often it has been started, since its submit or an operator's retry.",
    "attempt": "The number of the attempt; the first is 1.",
    "max_attempts": "After so many attempts without success it is a dead letter.",
    "timeout_s": "One attempt may take so long.",
    "tags": "Words by which lists find it.",
    "tag": "A tag of the job.",
    "limits": "The limits.",
    "when": "It waits until the others are done, or have ended in any way.",
    "after": "The ids of the jobs that it waits for.",
    "worker": "The worker that runs it, or has run it last.",
    "created_at": "When it was made.",
    "updated_at": "When it was last changed.",
    "started_at": "When the attempt began.",
    "finished_at": "When it ended.",
    "progress": "How far it has come.",
    "fraction": "How much of it is done, 0 to 1.",
    "note": "A text beside it.",
    "text": "What it says.",
    "log": "Lines of its log, the latest last.",
    "error": "What went wrong.",
    "errors": "Its attempts that failed, the latest last.",
    "kind": "The kind of an error: an exception's class, or timeout, worker_lost and the like.",
    "message": "What the error says.",
    "traceback": "Where the error was raised.",
    "at": "When that was.",
    "by": "The name of the operator's key.",
    "action": "What to do to each job.",
    "job": "The job.",
    "jobs": "The jobs.",
    "token": "As the claim gave it.",
    "tracestate": "State of that trace (W3C Trace Context).",
    "lease_until": "Until then the job is the worker's.",
    "truncated": "What was cut, since it is long.",
    # Figures
    "total": "How many there are.",
    "count": "How many there are.",
    "latest": "The latest of them.",
    "first_at": "When the first of them was.",
    "submitted": "How many were submitted.",
    "queued": "How many wait for a worker.",
    "scheduled": "How many wait for their time, or for their next attempt.",
    "blocked": "How many wait for other jobs.",
    "processing": "How many run.",
    "done": "How many have succeeded.",
    "failed": "How many have failed for good.",
    "cancelled": "How many were cancelled.",
    "retried": "How many attempts failed and are followed by another.",
    "trimmed": "How many are no longer kept, since they ended long ago.",
    "deleted": "How many were deleted.",
    "workers": "The workers.",
    "threads": "How many jobs it can run at once.",
    "busy": "How many threads run a job.",
    "oldest_age_s": "Age of the job that has waited longest.",
    "oldest_queued_at": "Since when the job waits that has waited longest; null where none waits.",
    # Programs
    "version": "The release of the program.",
    "host": "The machine that it runs on.",
    "pid": "Its process there.",
    "python": "The version of Python.",
    "types": "The types that it has handlers for.",
    "for_s": "For how long.",
    "paused": "Whether it is paused.",
    "reaper_at": "The reaper's last tick.",
    "checked_at": "When the invariants were last checked; null: never.",
    "now": "The time of this answer.",
    # Lists and filters
    "queues": "The queues.",
    "kinds": "The kinds, the most frequent first.",
    "limit": "At most so many on a page.",
    "offset": "Leave out so many; better use the cursor.",
    "next_cursor": "Continues the list; null at the end.",
    "since": "From then on.",
    "until": "Before then.",
    "ids": "The ids of the jobs.",
    "filter": "Which jobs.",
    "source": "Where it was found.",
    "q": "The text to look for.",
    "format": "JSON, or the text format of Prometheus; else as Accept asks.",
    "operation": "The name of an action on many jobs.",
    "span": "How far back.",
    "dry_run": "True: nothing was changed.",
    # Problems
    "code": "Stable; for programs.",
    "level": "How bad it is.",
    "title": "The status in words.",
    "detail": "What is wrong with it.",
    "warnings": "What to know beside that.",
    # Parts of addresses
    "job_type": "The type of the jobs.",
    "schedule": "The name of the schedule.",
}


def with_meanings(part: Any) -> Any:
    """The same part of the description, where fields and parameters without a description have the one of their name."""
    if isinstance(part, list):
        return [with_meanings(each) for each in part]
    if not isinstance(part, dict):
        return part
    told = {name: with_meanings(each) for name, each in part.items()}
    if isinstance(told.get("properties"), dict):
        told["properties"] = {name: _told(name, each) for name, each in told["properties"].items()}
    if "in" in told and "name" in told:
        return _told(told["name"], told)
    return told


def _told(name: str, field: dict[str, Any]) -> dict[str, Any]:
    if "description" in field or name not in MEANINGS:
        return field
    return {**field, "description": MEANINGS[name]}
