"""What no mark tells of, a comparison of Redis with the record finds."""

from __future__ import annotations

import pytest

from _jobqueue.record.database import Record
from jobqueue import JobQueue
from tests.harness import Server
from tests.played import Q, Worker
from tests.record.keeping import history_of, in_redis, in_sql, until_quiet


@pytest.mark.parametrize("outcome", ["failed", "cancelled"])
def test_a_job_that_has_ended_once_more_while_no_record_was_kept_is_written(
    outcome: str, record: Record, history_url: str, queue: JobQueue, server: Server
) -> None:
    keeper, hand = history_of(queue, record), Worker(queue)
    job = queue.submit(max_attempts=1)
    hand.give(outcome)
    until_quiet(keeper)
    server.client.hdel(f"{Q}meta", "history")
    assert queue.marks.stop("default")
    queue.retry(job.id, payload="another")
    hand.give(outcome)
    until_quiet(history_of(queue, record))
    assert in_sql(history_url)[job.id] == in_redis(server)[job.id]
    assert in_sql(history_url)[job.id]["payload"] == "another"
