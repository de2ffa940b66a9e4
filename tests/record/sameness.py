"""What is in SQL is what is in Redis."""

from __future__ import annotations

from tests.harness import Server
from tests.record.keeping import (
    as_if_not_claimed,
    in_redis,
    in_sql,
)


def same(url: str, server: Server) -> None:
    """Each job that Redis holds is in SQL as it is."""
    sql, redis = in_sql(url), in_redis(server)
    for job_id, job in redis.items():
        assert as_if_not_claimed(sql[job_id]) == as_if_not_claimed(job)
