"""The lines of a job's log: when each came, and how many are not kept."""

from __future__ import annotations

from _jobqueue.log_lines import LogLines, lines_of
from _jobqueue.records import LOG_LINES, Claimed, Held
from _jobqueue.store.remotes import Claim
from _jobqueue.work.clock import Clock
from _jobqueue.work.run import Run
from jobqueue import Filter, JobQueue
from tests.harness import Server
from tests.played import Q, Worker, now_ms


def stored(lines: LogLines) -> dict[bytes, bytes]:
    return {name.encode(): value.encode() for name, value in lines.fields().items()}


def test_lines_are_read_as_they_were_written() -> None:
    log = LogLines()
    for at, line in ((5_000, "one"), (5_250, ""), (4_000, "the clock was set back ½"), (9_000, "")):
        log.add(at, line)
    assert lines_of(stored(log)) == (["one", "", "the clock was set back ½", ""], [5_000, 5_250, 4_000, 9_000], 0)
    assert lines_of({}) == ([], [], 0)


def test_the_last_lines_are_kept_and_the_others_counted() -> None:
    log = LogLines()
    for n in range(LOG_LINES + 63):
        log.add(n, f"line {n}")
    lines, times, dropped = lines_of(stored(log))
    assert (lines[0], len(lines), times[0], dropped) == ("line 63", LOG_LINES, 63, 63)


def test_times_beside_another_text_count_for_nothing() -> None:
    """A worker of the release before has written the text alone."""
    log = LogLines()
    log.add(5_000, "one")
    assert lines_of(stored(log) | {b"log": b"two!"}) == (["two!"], [None], 0)
    assert lines_of({b"log": b"old\nlines"}) == (["old", "lines"], [None, None], 0)


def test_an_attempt_tells_its_lines_once_with_redis_time() -> None:
    run = Run(Claimed("id", "w-1:1", "it", b"1", 1, None), 10)
    run.clock = Clock()
    run.clock.learn(1_000_000)
    run.add_line("first")
    run.add_line("second")
    told = run.changes()
    fields = {bytes(name): bytes(value) for name, value in zip(told[::2], told[1::2], strict=True)}  # type: ignore[arg-type]
    lines, times, _ = lines_of(fields)
    assert lines == ["first", "second"] and all(1_000_000 <= (at or 0) < 1_060_000 for at in times)
    assert run.changes() == []


def test_a_job_shows_them_and_a_list_that_cuts_the_log_shows_no_times(
    queue: JobQueue, worker: Worker, server: Server
) -> None:
    job = queue.submit()
    [claim] = worker.claim()
    log = LogLines()
    for n in range(LOG_LINES + 1):
        log.add(1_000 + n, f"{n} " + "x" * 150)
    worker.beat(Held(claim.id, claim.token, 60_000, [part for pair in log.fields().items() for part in pair]))
    shown = queue.get(job.id).as_dict()
    assert (len(shown["log_times"]), shown["log_times"][0], shown["log_dropped"]) == (
        100,
        "1970-01-01T00:00:01.001Z",
        1,
    )
    [listed] = queue.page(Filter("processing")).jobs
    assert "log" in listed.truncated and "log_times" not in listed.as_dict()


def test_a_worker_that_speaks_http_gets_the_time_of_the_call(queue: JobQueue, server: Server) -> None:
    remotes = queue.remotes
    job = queue.submit(timeout_s=600)
    _, [given] = remotes.claim(Claim("default", "w", 1, "1", ("echo",), 1, 600_000, "there"))
    server.client.hset(f"{Q}job:{job.id}", "log", "of the\nrelease before")
    before = now_ms(server)
    remotes.extend(job.id, given.token, 600_000, "", ["a", "b"])
    after = now_ms(server)
    shown = queue.get(job.id)
    assert shown.log == ["of the", "release before", "a", "b"] and shown.log_times_ms[:2] == [None, None]
    assert all(before <= (at or 0) <= after for at in shown.log_times_ms[2:])
    assert queue.get(job.id).as_dict()["log_times"][:2] == [None, None]
    for n in range(LOG_LINES):
        remotes.extend(job.id, given.token, 600_000, "", [f"line {n}"])
    shown = queue.get(job.id)
    assert (shown.log[0], shown.log_dropped, None in shown.log_times_ms) == ("line 0", 4, False)
