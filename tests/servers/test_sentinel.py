"""The queue on a primary with two replicas that three Sentinels watch."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from _jobqueue.records import Settlement
from jobqueue import JobQueue, Unavailable
from tests.harness import Sentinels, Server, System, eventually
from tests.played import Worker

pytestmark = pytest.mark.long(4)


@pytest.fixture(scope="module")
def shared_sentinels() -> Iterator[Sentinels]:
    sentinels = Sentinels()
    yield sentinels
    sentinels.close()


@pytest.fixture
def sentinels(shared_sentinels: Sentinels) -> Sentinels:
    """Three Sentinels and an empty primary; it may be another after the test, but nobody is stopped."""
    shared_sentinels.named().client.flushall()
    return shared_sentinels


@pytest.fixture
def server(sentinels: Sentinels) -> Server:
    return sentinels.primary


@pytest.fixture
def url(sentinels: Sentinels) -> str:
    return sentinels.url


@pytest.fixture
def jobs(queue: JobQueue) -> JobQueue:
    return queue


def fail_over(sentinels: Sentinels) -> None:
    """Another server is the primary afterwards, and the others follow it."""
    before = sentinels.named()
    sentinels.watchers[0].client.execute_command("SENTINEL FAILOVER", sentinels.SERVICE)
    eventually(lambda: sentinels.named() is not before, within_s=20)
    now = sentinels.named()
    eventually(lambda: now.client.info("replication")["connected_slaves"], equals=2, within_s=20)
    eventually(lambda: before.client.info("replication")["role"], equals="slave", within_s=20)


def test_the_programs_find_the_primary_and_do_the_jobs(sentinels: Sentinels, system: System) -> None:
    system.api()
    system.reaper()
    system.worker()
    for job_id in [system.submit(), system.submit(delay_s=0.3)]:
        system.ends(job_id)
    assert "2 jobs in 1 queue," in system.check()


def test_a_link_and_the_pool_follow_a_failover(sentinels: Sentinels, jobs: JobQueue) -> None:
    worker = Worker(jobs)
    first = jobs.submit("noop")
    [claimed] = worker.claim()
    fail_over(sentinels)
    end = Settlement(claimed.id, claimed.token, "done", fields=["result", b"1"])

    def settle() -> list[bool]:
        try:
            return worker.exchange(end, want=0)[0]
        except Unavailable:
            return []

    assert eventually(settle, equals=bool) == [True]
    second = eventually(lambda: submitted(jobs), equals=bool)
    assert (jobs.get(first.id).status, jobs.get(second).status) == ("done", "queued")
    assert sentinels.named().client.exists(f"jq:{{default}}:job:{second}")
    assert jobs.check("default") == []
    worker.link.close()


def submitted(jobs: JobQueue) -> str:
    try:
        return jobs.submit("noop").id
    except Unavailable:
        return ""


def test_the_programs_go_on_after_a_failover(sentinels: Sentinels, system: System) -> None:
    system.api()
    system.reaper()
    worker = system.worker()
    system.ends(system.submit())
    fail_over(sentinels)
    eventually(lambda: system.post("/jobs", {"payload": 1}).status_code, equals=201, within_s=20)
    system.ends(system.submit())
    assert worker.stop() == 0
    system.check()


def test_a_demoted_primary_that_kept_its_clients_is_left_by_them(sentinels: Sentinels, jobs: JobQueue) -> None:
    """Sentinel closes them; but a connection may have been made in between."""
    worker = Worker(jobs)
    jobs.submit("noop")
    worker.claim()
    demoted = sentinels.named().client
    demoted.replicaof("127.0.0.1", sentinels.watchers[0].port)  # nobody that it could follow
    with pytest.raises(Unavailable):
        jobs.submit("noop")
    with pytest.raises(Unavailable):
        worker.exchange()
    demoted.replicaof("no", "one")
    assert eventually(lambda: submitted(jobs), equals=bool)
    worker.again()
    worker.link.close()


def test_the_report_counts_replicas_and_says_what_can_be_lost(sentinels: Sentinels, jobs: JobQueue) -> None:
    report = eventually(jobs.server, equals=lambda report: report["replicas"] == 2)
    assert (report["kind"], report["role"], report["min_replicas_to_write"]) == ("sentinel", "master", "0")
    assert any("min-replicas-to-write 1" in text for _, text in report["warnings"])
    primary = sentinels.named().client
    primary.config_set("min-replicas-to-write", 1)
    assert not any("min-replicas-to-write 1" in text for _, text in jobs.server()["warnings"])
    primary.config_set("min-replicas-to-write", 0)


def test_sentinels_that_are_away_or_know_no_such_service_are_unavailable(sentinels: Sentinels) -> None:
    nobody = JobQueue("redis+sentinel://127.0.0.1:1,127.0.0.1:2/jobs", timeout_s=0.2, retries=0)
    with pytest.raises(Unavailable, match="does not answer"):
        nobody.submit()
    with pytest.raises(Unavailable, match="no Sentinel that answers knows a primary of 'other'"):
        JobQueue(sentinels.url.replace("/jobs/", "/other/"), retries=0).ping()


def test_one_sentinel_is_enough_to_find_the_primary(sentinels: Sentinels) -> None:
    one = sentinels.watchers[2].port
    JobQueue(f"redis+sentinel://127.0.0.1:1,127.0.0.1:{one}/jobs").ping()
