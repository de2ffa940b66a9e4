"""The submitting process: ``send.py ADAPTER WHAT JOBS``, run by the Python of the system measured. Prints seconds.

WHAT is noop or io (one by one), bulk (no-ops, a thousand a call) or stamp (one every 20 ms). The first job is sent before
the clock starts: it connects and loads scripts.
"""

import asyncio
import importlib
import inspect
import sys
import time

from jobs import payload

CHUNK = 1000
EVERY_S = 0.02


async def finished(answer):
    return await answer if inspect.isawaitable(answer) else answer


async def one_by_one(adapter, what, jobs):
    for number in range(1, jobs):
        await finished(adapter.put(what, payload(number)))


async def bulk(adapter, jobs):
    for low in range(1, jobs, CHUNK):
        await finished(adapter.put_many("noop", [payload(n) for n in range(low, min(low + CHUNK, jobs))]))


async def stamps(adapter, jobs):
    start = time.time()
    for number in range(jobs):
        await asyncio.sleep(max(0.0, start + number * EVERY_S - time.time()))
        await finished(adapter.put("stamp", time.time()))


async def main(adapter, what, jobs):
    await finished(getattr(adapter, "opened", bool)())
    if what != "stamp":
        await finished(adapter.put("io" if what == "io" else "noop", payload(0)))
    began = time.perf_counter()
    if what == "stamp":
        await stamps(adapter, jobs)
    elif what == "bulk":
        await bulk(adapter, jobs)
    else:
        await one_by_one(adapter, what, jobs)
    print(time.perf_counter() - began)
    await finished(getattr(adapter, "closed", bool)())


asyncio.run(main(importlib.import_module(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
