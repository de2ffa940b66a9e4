"""Connections that are lost, interrupted, or lead to what is no longer the primary."""

from __future__ import annotations

from typing import Any

import pytest
import redis

from jobqueue import JobQueue, Unavailable
from tests.harness import Server


def test_a_connection_that_redis_has_closed_is_replaced_without_a_retry(server: Server) -> None:
    queue = JobQueue(server.url, retries=0)
    job = queue.submit()
    server.client.client_kill_filter(_type="normal", skipme=True)
    assert queue.get(job.id).id == job.id


def test_an_answer_that_nobody_waited_for_is_not_taken_for_the_next_one(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Interrupted(BaseException):
        pass

    def interrupted(connection: redis.Connection, **options: Any) -> Any:
        monkeypatch.undo()
        raise Interrupted

    queue = JobQueue(server.url, retries=0)
    first, second = queue.submit(payload=1), queue.submit(payload=2)
    assert queue.get(first.id).payload == 1
    monkeypatch.setattr(redis.Connection, "read_response", interrupted)
    with pytest.raises(Interrupted):
        queue.get(first.id)
    assert queue.get(second.id).payload == 2


def test_a_connection_to_what_is_no_longer_the_primary_is_not_used_again(own_server: Server) -> None:
    queue = JobQueue(own_server.url, retries=0)
    queue.submit()

    def connections() -> set[str]:
        return {client["id"] for client in own_server.client.client_list() if client["name"] == "jobqueue"}

    before = connections()
    own_server.client.replicaof("127.0.0.1", "1")
    with pytest.raises(Unavailable, match="read only"):
        queue.submit()
    own_server.client.replicaof("NO", "ONE")
    assert queue.submit().status == "queued"
    assert before and not before & connections()
