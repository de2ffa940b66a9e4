"""What explains the turns of fair keys."""

from __future__ import annotations

from jobqueue import Job, JobQueue


def sentence(jobs: JobQueue, job: Job) -> str:
    """Whose jobs come before a queued one that has a fair key; '' where there is nothing to say."""
    counts = jobs.turns_before(job) if job.fair_key else None
    if not counts:
        return ""
    own, others = counts
    turns = "1 job of another key takes its turn" if others == 1 else f"{others} jobs of other keys take their turn"
    also = f", and {own} of its own key {job.fair_key}" if own else ""
    return f" {turns} before{also}."
