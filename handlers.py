"""Job types: name -> function. Edit this file, or write your own and start the worker with ``--handlers my_module``.

A handler gets the job's payload (any JSON value) and a context, and returns its result (any JSON value):

    ctx.job_id, ctx.attempt      which job, and which run of it (1 on the first)
    ctx.progress(0.3, "…")       shown with the job while it runs
    ctx.log("…")                 a line of the job's log
    ctx.check()                  raises when the job was cancelled, timed out or taken back: call it in long loops
    ctx.parents()                what has become of the jobs that it waited for
    ctx.submit("type", payload)  another job, once, however often this one runs

``raise Fail("…")`` ends the job without a retry, ``raise Retry(after=30)`` chooses the delay. Any other exception is
retried after the backoff, which doubles each time, while attempts are left. A handler may run more than once (a crash, a
timeout, a retry), so make what it does harmless to repeat: ``ctx.job_id`` is a good key for that.

All of these are samples: they simulate work by sleeping SIMULATED_WORK_S times what they name.
"""

import os
import random
import re
import time

from jobqueue import Fail, handler


def work(seconds):
    time.sleep(seconds * float(os.environ.get("SIMULATED_WORK_S") or 1))


@handler("noop")
def noop(payload, ctx):
    return None


@handler("echo")
def echo(payload, ctx):
    """The type of a job that names none."""
    work(1)
    return payload


@handler("email.send")
def email(payload, ctx):
    work(1)
    return {"sent": True}


@handler("send_email", max_attempts=4, backoff=1)
def send_email(payload, ctx):
    """``fail_rate`` in the payload, 0 to 1, makes that share of the attempts fail."""
    work(2)
    rate = payload.get("fail_rate", 0) if isinstance(payload, dict) else 0
    if random.random() < rate:
        raise RuntimeError("the mail server refused the message (simulated)")
    return {"sent_to": payload.get("to") if isinstance(payload, dict) else None}


@handler("report.generate", timeout=30, max_attempts=3)
def report(payload, ctx):
    steps = random.randint(20, 50)
    for step in range(steps):
        ctx.check()
        ctx.progress(step / steps, f"page {step + 1} of {steps}")
        work(0.1)
    if os.environ.get("SIMULATED_FAILURES") != "0" and random.random() < 0.3:
        raise RuntimeError("the report could not be rendered (simulated)")
    return {"pages": steps}


@handler("image.process", max_attempts=3)
def image(payload, ctx):
    """Always fails: it shows the way to the dead letters."""
    work(0.1)
    raise RuntimeError("the image could not be processed (simulated)")


@handler("task", max_attempts=4)
def task(payload, ctx):
    work(2)
    name = payload.get("task") if isinstance(payload, dict) else payload
    if name == "fail":
        raise RuntimeError("the task named fail always fails")
    return {"task": name}


@handler("TEST", max_attempts=3)
def test(payload, ctx):
    """``FAIL_TIMES=2`` fails twice and then succeeds, ``FAIL_ALWAYS`` never succeeds, ``FAIL_NOW`` is not retried."""
    text = payload if isinstance(payload, str) else ""
    times = re.fullmatch(r"FAIL_TIMES=(\d{1,3})", text)
    if text == "FAIL_NOW":
        raise Fail("asked to fail without a retry")
    if text == "FAIL_ALWAYS" or (times and ctx.attempt <= int(times[1])):
        raise RuntimeError(f"asked to fail: {text}, attempt {ctx.attempt}")
    return payload
