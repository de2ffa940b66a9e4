"""Handlers of the benchmark."""

import time

from jobqueue import handler


@handler("noop")
def noop(payload, ctx):
    return 1


@handler("stamp")
def stamp(payload, ctx):
    """How long ago, in ms, the job was submitted: both ends read the same clock."""
    return (time.time() - payload) * 1000
