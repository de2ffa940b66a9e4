"""The queue on a Redis Cluster of three masters: one queue lives on one of them, several queues on all."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator

import pytest

from _jobqueue.records import Settlement
from jobqueue import Filter, JobQueue, NewJob, Unavailable
from tests.harness import Cluster, Server, System, cluster_port, eventually
from tests.played import LEASE_MS, Worker

pytestmark = pytest.mark.long(1)


@pytest.fixture(scope="module")
def shared_cluster() -> Iterator[Cluster]:
    cluster = Cluster()
    yield cluster
    cluster.close()


@pytest.fixture
def cluster(shared_cluster: Cluster) -> Cluster:
    """Three masters that are empty; do not stop them."""
    shared_cluster.flush()
    return shared_cluster


@pytest.fixture
def server(cluster: Cluster) -> Server:
    return cluster.nodes[0]


@pytest.fixture
def url(cluster: Cluster) -> str:
    return cluster.url


@pytest.fixture
def jobs(queue: JobQueue) -> JobQueue:
    return queue


def test_each_queue_is_on_the_node_that_owns_its_slot(cluster: Cluster, jobs: JobQueue) -> None:
    for queue in cluster.queues():
        jobs.submit(queue=queue)
        assert cluster.owner(queue).client.keys(f"jq:{{{queue}}}:job:*")
    assert all(len(master.client.keys("jq:{*:queue")) == 1 for master in cluster.masters)


def test_a_job_is_submitted_run_and_finished_on_every_node(cluster: Cluster, jobs: JobQueue) -> None:
    link = jobs.link()
    for queue in cluster.queues():
        job = jobs.submit("noop", {"n": 1}, queue=queue)
        talk = jobs.conversation(queue, "w-1", LEASE_MS, link)
        _, [claimed] = talk.exchange(want=1)
        accepted, _ = talk.exchange([Settlement(claimed.id, claimed.token, "done", fields=["result", b"2"])])
        assert accepted == [True]
        assert (jobs.get(job.id).status, jobs.get(job.id).result) == ("done", 2)
        assert jobs.check(queue) == []
    link.close()


def test_a_repeated_request_gives_back_the_same_jobs_of_all_nodes(cluster: Cluster, jobs: JobQueue) -> None:
    batch = [NewJob(queue=queue, payload=n) for n in range(3) for queue in cluster.queues()]
    first, again = jobs.submit_many(batch, key="k"), JobQueue(cluster.url).submit_many(batch, key="k")
    assert [each.job.id for each in first if each.job] == [each.job.id for each in again if each.job]
    assert all(each.replayed for each in again) and not any(each.replayed for each in first)
    assert sum(jobs.books(queue).sizes["queued"] for queue in jobs.queues()) == 9


def test_a_page_is_merged_from_all_nodes(cluster: Cluster, jobs: JobQueue) -> None:
    submitted = [jobs.submit(queue=queue, tags=["t"]).id for _ in range(4) for queue in cluster.queues()]
    shown: list[str] = []
    page = jobs.page(limit=5)
    while True:
        shown += [job.id for job in page.jobs]
        if not page.cursor:
            break
        page = jobs.page(limit=5, cursor=page.cursor)
    assert sorted(shown) == sorted(submitted)
    assert page.total == jobs.page(Filter(tag="t")).total == 12


def test_check_scans_the_node_of_the_queue_and_finds_what_is_wrong_there(cluster: Cluster, jobs: JobQueue) -> None:
    for queue in cluster.queues():
        job = jobs.submit(queue=queue)
        cluster.owner(queue).client.zrem(f"jq:{{{queue}}}:queue", job.id)
        assert any("no index" in line for line in jobs.check(queue))
        jobs.check(queue, repair=True)
        assert jobs.check(queue) == []


def test_a_reaper_looks_after_the_queues_of_all_nodes(cluster: Cluster, system: System, jobs: JobQueue) -> None:
    link = jobs.link()
    for queue in cluster.queues():
        jobs.submit(queue=queue)
        jobs.conversation(queue, "w-1", 1, link).exchange(want=1)  # a lease of 1 ms
        jobs.submit(queue=queue, delay_s=0.2)
    system.reaper()
    for queue in cluster.queues():
        eventually(lambda queue=queue: jobs.books(queue).sizes["queued"], equals=2)
    system.check()


def test_the_programs_do_the_jobs_of_all_nodes(cluster: Cluster, system: System) -> None:
    queues = cluster.queues()
    system.api()
    system.reaper()
    system.worker("--queues", ",".join(queues), "--threads", "3")
    done = [system.submit({"n": n}, queue=queue) for n in range(5) for queue in queues]
    delayed = [system.submit(queue=queue, delay_s=0.5) for queue in queues]
    for job_id in done + delayed:
        system.ends(job_id)
    waiting = system.submit(queue=queues[1], delay_s=60)
    assert system.post(f"/jobs/{waiting}/cancel").json()["status"] == "cancelled"
    assert system.get("/stats").status_code == system.get("/metrics?format=prometheus").status_code == 200
    assert "19 jobs in 3 queues" in system.check()


def test_a_worker_blocked_on_any_node_is_woken_by_a_submit(cluster: Cluster, jobs: JobQueue) -> None:
    for queue in cluster.queues():
        worker, woken = Worker(jobs, queue=queue), threading.Event()

        def wait(worker=worker, woken=woken) -> None:
            worker.wait(0, 2_000)
            woken.set()

        threading.Thread(target=wait, daemon=True).start()
        eventually(lambda queue=queue: cluster.owner(queue).client.info("clients")["blocked_clients"], equals=1)
        jobs.submit(queue=queue)
        assert woken.wait(1.0), "BLMOVE would have lasted 2 s"
        worker.link.close()


def notes_commands(master: Server) -> None:
    master.client.config_set("slowlog-max-len", 10_000)
    master.client.config_set("slowlog-log-slower-than", 0)
    master.client.slowlog_reset()


def was_told_to_unblock(master: Server) -> bool:
    said = [str(entry["command"]).upper() for entry in master.client.slowlog_get(10_000)]
    return any("CLIENT" in command and "UNBLOCK" in command for command in said)


def test_unblock_reaches_each_link_on_its_own_node(cluster: Cluster, jobs: JobQueue) -> None:
    workers = [Worker(jobs, queue=queue) for queue in cluster.queues()]
    threads = [threading.Thread(target=worker.wait, args=(0, 2_000)) for worker in workers]
    for thread in threads:
        thread.start()
    for master in cluster.masters:
        eventually(lambda master=master: master.client.info("clients")["blocked_clients"], equals=1)
        notes_commands(master)
    jobs.unblock([worker.link for worker in workers])
    assert all(was_told_to_unblock(master) for master in cluster.masters)
    for thread in threads:
        thread.join(1.0)
        assert not thread.is_alive(), "BLMOVE would have lasted 2 s"


def test_sigterm_wakes_the_threads_of_all_nodes_at_once(cluster: Cluster, system: System) -> None:
    worker = system.worker("--queues", ",".join(cluster.queues()), "--threads", "6")
    for master in cluster.masters:
        eventually(lambda master=master: master.client.info("clients")["blocked_clients"], equals=2)
        notes_commands(master)
    assert worker.stop() == 0
    assert all(was_told_to_unblock(master) for master in cluster.masters)


def test_a_queue_whose_slot_moves_waits_and_is_all_there_afterwards(cluster: Cluster, jobs: JobQueue) -> None:
    queue = cluster.queues()[0]
    before = [jobs.submit(queue=queue).id for _ in range(20)]
    with cluster.moving(queue, cluster.masters[1]):
        with pytest.raises(Unavailable):
            jobs.submit(queue=queue)
        jobs.submit(queue=cluster.queues()[2])
    after = jobs.submit(queue=queue)
    assert [job.id for job in jobs.page(Filter(queue=queue)).jobs] == [*before, after.id]
    assert jobs.check(queue) == []
    with cluster.moving(queue, cluster.masters[0]):
        pass


def test_a_cluster_that_is_away_is_unavailable() -> None:
    nobody = JobQueue("redis+cluster://127.0.0.1:1,127.0.0.1:2", timeout_s=0.2, retries=0)
    with pytest.raises(Unavailable, match="does not answer"):
        nobody.ping()
    with pytest.raises(Unavailable):
        nobody.submit()


def test_a_cluster_that_is_set_up_later_is_waited_for() -> None:
    server = Server("--cluster-enabled", "yes", "--cluster-require-full-coverage", "no", port=cluster_port())
    try:
        jobs = JobQueue(f"redis+cluster://127.0.0.1:{server.port}")
        with pytest.raises(Unavailable):
            jobs.submit()
        server.client.execute_command("CLUSTER ADDSLOTS", *range(100))
        with pytest.raises(Unavailable):
            jobs.submit()  # not of its slots
        server.client.execute_command("CLUSTER ADDSLOTS", *range(100, Cluster.SLOTS))

        def submitted() -> bool:
            try:
                return bool(jobs.submit())
            except Unavailable:
                return False

        eventually(submitted)
    finally:
        server.close()


def test_the_report_warns_of_a_cluster_that_can_lose_jobs(jobs: JobQueue) -> None:
    report = jobs.server()
    assert (report["kind"], report["primaries"], report["replicas"]) == ("cluster", 3, 0)
    said = " ".join(text for _, text in report["warnings"])
    assert "no replica" in said and "min-replicas-to-write 1" in said


def test_a_worker_is_killed_and_another_runs_its_job(cluster: Cluster, system: System) -> None:
    queue = cluster.queues()[2]
    system.api()
    system.reaper()
    first = system.worker("--queues", queue, PROCESSING_TIMEOUT_S="1", SIMULATED_WORK_S="1")
    job_id = system.submit("x", type="task", queue=queue, timeout_s=5)
    eventually(lambda: system.job(job_id)["status"], equals="processing")
    first.signal(signal.SIGKILL)
    system.worker("--queues", queue, PROCESSING_TIMEOUT_S="1")
    assert system.ends(job_id)["attempts"] == 2
    system.check()
