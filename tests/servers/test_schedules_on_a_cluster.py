"""Schedules of queues on all masters of a Cluster; one that is away delays those of the others no longer than its timeout."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from _jobqueue.logs import Log
from _jobqueue.schedules import Schedule
from _jobqueue.store.clock import Clock
from jobqueue import JobQueue, Unavailable
from tests.harness import Cluster
from tests.played import now_ms

pytestmark = pytest.mark.long(2)


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    cluster = Cluster()
    yield cluster
    cluster.close()


def are_due(cluster: Cluster, queues: list[str]) -> None:
    for queue in queues:
        client = cluster.owner(queue).client
        client.zadd(f"jq:{{{queue}}}:schedules", {"one": now_ms(cluster.owner(queue)) - 1}, xx=True)


def test_schedules_fire_on_every_master_also_while_another_is_away(cluster: Cluster) -> None:
    jobs, queues = JobQueue(cluster.url, timeout_s=0.5), cluster.queues()
    hourly = Schedule.of_json({"every_s": 3600, "overlap": "allow"})
    for queue in queues:
        jobs.schedules.put(queue, "one", hourly)
    assert [each.queue for each in jobs.schedules.page(queues, 10)[0]] == sorted(queues)
    clock, going = Clock(jobs.schedules, Log("reaper")), threading.Event()
    are_due(cluster, queues)
    assert clock.tick(queues, going) is None
    assert all(jobs.books(queue).totals["schedules_fired"] == 1 for queue in queues)

    are_due(cluster, queues)
    away, *rest = queues
    cluster.owner(away).kill()
    assert isinstance(clock.tick(queues, going), Unavailable)
    assert all(jobs.books(queue).totals["schedules_fired"] == 2 for queue in rest)
    assert all(jobs.check(queue) == [] for queue in rest)
