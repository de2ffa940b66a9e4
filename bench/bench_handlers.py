"""Handlers of the benchmark. BENCH_TYPES: so many more types that do nothing."""

import os
import time

from jobqueue import handler


@handler("noop")
def noop(payload, ctx):
    return 1


for number in range(int(os.environ.get("BENCH_TYPES", 0))):
    handler(f"noop-{number}")(noop)


@handler("stamp")
def stamp(payload, ctx):
    """How long ago, in ms, the job was submitted: both ends read the same clock."""
    return (time.time() - payload) * 1000
