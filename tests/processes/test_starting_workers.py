"""A worker's flags, its handlers from any place, its processes."""

from __future__ import annotations

import os
import signal
import time

import pytest

from jobqueue import JobQueue, NewJob
from tests import guard
from tests.harness import eventually
from tests.processes.working import ends, keys_left, last_error

pytestmark = pytest.mark.usefixtures("server")


# ------------------------------------------------------------------------------------------------------- the command line


def test_a_worker_can_be_kept_on_one_core(odd, queue):
    worker = odd(ONE_CORE="1")
    cores = {
        os.sched_getaffinity(int(task)) == os.sched_getaffinity(worker.pid)
        for task in os.listdir(f"/proc/{worker.pid}/task")
    }
    assert cores == {True} and len(os.sched_getaffinity(worker.pid)) == 1


def test_burst_ends_when_the_queue_is_empty(system, queue, odd):
    assert odd("--burst").exits() == 0
    jobs = [queue.submit("say", n) for n in range(100)]
    assert odd("--burst").exits() == 0
    assert [queue.get(job.id).result for job in jobs] == list(range(100))


def test_burst_ends_when_nothing_of_its_types_is_queued_and_says_what_stays(queue, odd):
    strange = queue.submit_many([NewJob("strange", priority=9)] * 600)
    ours = queue.submit("say", 1)
    worker = odd("--burst")
    assert worker.exits() == 0
    assert queue.get(ours.id).status == "done"
    assert queue.get(strange[0].job.id).attempts == 0
    assert "others stay queued" in worker.log and "stay=600" in worker.log


@pytest.mark.long(4)
def test_idle_workers_beside_jobs_that_nobody_handles_ask_as_seldom_as_without_them(queue, odd, server):
    """Eight threads look once each BLOCK_S, and their beat says little more."""
    queue.submit_many([NewJob("strange")] * 1000)
    odd("--threads", "8")
    eventually(lambda: server.client.zcard("jq:{default}:held"), equals=1000)
    assert queue.get(queue.submit("say").id).type == "say"

    def scripts() -> int:
        return int(server.client.info("commandstats")["cmdstat_evalsha"]["calls"])

    eventually(lambda: queue.books("default").sizes["done"], equals=1)
    began, before = time.monotonic(), scripts()
    eventually(lambda: time.monotonic() - began > 4)
    assert (scripts() - before) / (time.monotonic() - began) < 8 / 2 + 8


def test_a_handler_says_which_queue_its_jobs_go_to(queue, system, tmp_path):
    (tmp_path / "video.py").write_text(
        "from jobqueue import handler\n@handler('video', queue='cpu')\ndef video(payload, ctx):\n    return 'cut'\n"
    )
    worker = system.start("worker.py", "--handlers", "video", "--queues", "cpu", cwd=tmp_path)
    worker.says("ready")
    eventually(lambda: system.server.client.hget("jq:types", "video"), equals="cpu")
    eventually(lambda: JobQueue(system.url).submit("video").queue, equals="cpu")
    job = JobQueue(system.url).submit("video")
    assert (job.queue, ends(queue, job.id).result) == ("cpu", "cut")
    assert "does not serve" not in worker.log
    beside = system.start("worker.py", "--handlers", "video", cwd=tmp_path)
    beside.says("go to queues that this worker does not serve (--queues) types={'video': 'cpu'}")


def test_burst_empties_every_queue_that_it_serves(queue, odd):
    jobs = [queue.submit("say", n, queue=name) for n in range(10) for name in ("default", "email", "report")]
    assert odd("--burst", "--queues", "default,email,report").exits() == 0
    assert {queue.get(job.id).status for job in jobs} == {"done"}


NEWCOMER = """
from jobqueue import Fail, Retry, handler

@handler("greet")
def greet(payload, ctx):
    if not payload:
        raise Fail("nobody to greet")
    if ctx.attempt == 1:
        raise Retry(after=0)
    return f"VERSION, {payload}"
"""


def test_a_newcomers_own_module_in_another_folder(system, queue, tmp_path):
    (tmp_path / "my_jobs.py").write_text(NEWCOMER.replace("VERSION", "hello"))
    system.reaper()
    worker = system.start("worker.py", "--handlers", "my_jobs", cwd=tmp_path, PYTHONPATH="")
    worker.says("types=['greet']")
    assert ends(queue, queue.submit("greet", "world").id).result == "hello, world"
    assert last_error(ends(queue, queue.submit("greet", "").id, "failed")) == ("Fail", "nobody to greet")


BROKEN = {
    "missing": (None, "No module named 'mine'"),
    "a dependency is missing": ("import not_installed", "No module named 'not_installed' ("),
    "empty": ("", "mine has no handlers"),
    "two for one type": (
        "from jobqueue import handler\n@handler('a')\ndef f(p, c): ...\n@handler('a')\ndef g(p, c): ...",
        "two handlers for the type 'a'",
    ),
    "not a name": ("from jobqueue import handler\n@handler('a b')\ndef f(p, c): ...", "job type 'a b' must match"),
    "syntax": ("def f(:\n", "mine.py, line 1"),
    "raises": ("x = 1\nundefined_name\n", "NameError: name 'undefined_name' is not defined"),
}


TWO = ["--processes", "2"]
OF_TWO = [pytest.param(each, TWO, marks=pytest.mark.long(1)) for each in BROKEN if each != "raises"]


@pytest.mark.parametrize(("case", "flags"), [*((each, []) for each in BROKEN), ("raises", TWO), *OF_TWO])
def test_handlers_that_cannot_be_loaded_are_one_clear_line(system, tmp_path, case, flags):
    text, reason = BROKEN[case]
    if text is not None:
        (tmp_path / "mine.py").write_text(text)
    worker = system.start("worker.py", "--handlers", "mine", *flags, cwd=tmp_path)
    assert worker.exits() == 2
    said = set(worker.log.splitlines())  # two processes say the same
    assert len(said) == 1
    line = said.pop()
    assert line.startswith("worker.py: --handlers mine: ") and reason in line


def test_a_slip_in_the_name_of_a_module_is_told_the_nearest_file(system, tmp_path):
    (tmp_path / "my_jobs.py").write_text("")
    worker = system.start("worker.py", "--handlers", "my-jobs", cwd=tmp_path)
    assert worker.exits() == 2 and f"No module named 'my-jobs' in {tmp_path}" in worker.log
    assert "did you mean my_jobs?" in worker.log


HANDLER = "from jobqueue import handler\n{more}\n@handler('{name}')\ndef f(payload, ctx): return {result}\n"


def test_handlers_come_from_modules_and_files_of_any_place(system, queue, tmp_path):
    here, there = tmp_path / "here", tmp_path / "there"
    for folder in (here / "jobs", there / "package"):
        folder.mkdir(parents=True)
    files = {
        here / "plain.py": ("plain", "", "__name__"),
        here / "json.py": ("named.like.a.library", "", "__name__"),
        here / "jobs/mail.py": ("in.a.package", "from . import texts", "texts.HELLO"),
        there / "plain.py": ("elsewhere", "import beside", "beside.HELLO"),
        there / "package/__init__.py": ("a.package", "from package.part import HELLO", "HELLO"),
    }
    for path, (name, more, result) in files.items():
        path.write_text(HANDLER.format(name=name, more=more, result=result))
    for path, text in ((here / "jobs/texts.py", 1), (there / "beside.py", 2), (there / "package/part.py", 3)):
        path.write_text(f"HELLO = {text}")
    names = f"plain, ./json.py,jobs/mail.py,{there}/plain.py,{there}/package"
    system.worker("--handlers", names, cwd=here)
    results = {name: ends(queue, queue.submit(name).id).result for name, _, _ in files.values()}
    assert results == {
        "plain": "plain",
        "named.like.a.library": "json_",
        "in.a.package": 1,
        "elsewhere": 2,
        "a.package": 3,
    }


def test_two_processes_and_a_killed_one_is_replaced(system, queue, server):
    parent = system.start("worker.py", "--processes", "2", "--threads", "2")
    eventually(lambda: len(queue.look("default").workers), equals=2, within_s=20)
    first = {worker["pid"] for worker in queue.look("default").workers.values()}
    killed = min(first)
    os.kill(killed, signal.SIGKILL)
    parent.says("a process ended; starting another")
    pids = lambda: {worker["pid"] for worker in queue.look("default").workers.values()}  # noqa: E731
    eventually(lambda: len(pids() - {killed}), equals=2, within_s=20)
    ends(queue, queue.submit("echo").id)
    assert parent.stop() == 0
    eventually(lambda: pids() <= {killed})


def test_children_drain_when_their_parent_is_killed(system, queue, server):
    parent = system.start("worker.py", "--processes", "2", "--threads", "1")
    eventually(lambda: len(queue.look("default").workers), equals=2, within_s=20)
    children = guard.children(parent.pid)
    parent.kill()
    eventually(lambda: keys_left(server), equals=[])
    eventually(lambda: any(map(guard.lives, children)), equals=False)


def test_reload_runs_the_new_code_when_a_file_changes(system, queue, tmp_path):
    folder = tmp_path / ".hidden" / "project"
    folder.mkdir(parents=True)
    code = NEWCOMER.replace("ctx.attempt == 1", "False")
    (folder / "my_jobs.py").write_text(code.replace("VERSION", "old"))
    worker = system.start("worker.py", "--handlers", "my_jobs", "--reload", "--threads", "2", cwd=folder)
    assert ends(queue, queue.submit("greet", "world").id).result == "old, world"
    (folder / "my_jobs.py").write_text(code.replace("VERSION", "new"))
    worker.says("a file has changed: restarting")
    eventually(
        lambda: ends(queue, queue.submit("greet", "world").id).result,
        equals="new, world",
        within_s=20,
    )
    assert worker.stop() == 0


def test_reload_waits_for_the_next_change_after_a_mistake(system, queue, tmp_path):
    code = NEWCOMER.replace("ctx.attempt == 1", "False").replace("VERSION", "good")
    (tmp_path / "my_jobs.py").write_text("def broken(:")
    worker = system.start("worker.py", "--handlers", "my_jobs", "--reload", "--threads", "2", cwd=tmp_path)
    worker.says("--handlers my_jobs")
    eventually(lambda: guard.children(worker.pid), equals=[])  # the parent has seen that it ended, and starts no other
    (tmp_path / "my_jobs.py").write_text(code)
    assert ends(queue, queue.submit("greet", "world").id).result == "good, world"
    assert worker.log.count("worker.py: --handlers") == 1
    assert worker.stop() == 0
