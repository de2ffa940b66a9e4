"""The jobs of the comparison, the same for every system. What a job leaves in the file of records is all that counts.

A record is the time and a value: the job's number, or for a stamp the time at which it was submitted. Appending it is
one system call of some 2 µs, safe from any thread or process.
"""

import asyncio
import os
import random
import string
import struct
import time
from functools import cache

RECORD = struct.Struct("<dd")
IO_S = 0.010
SLOTS = int(os.environ.get("SLOTS", 8))
TEXT = "".join(random.Random(1).choices(string.ascii_letters + string.digits, k=90))


def payload(number):
    """100 bytes as JSON."""
    return f"{number:08d}{TEXT}"


@cache
def records():
    return os.open(os.environ["RECORDS"], os.O_WRONLY | os.O_APPEND)


def record(value):
    os.write(records(), RECORD.pack(time.time(), value))
    return 1  # a result to store


def noop(payload):
    return record(float(payload[:8]))


def stamp(submitted):
    return record(submitted)


def io(payload):
    time.sleep(IO_S)
    return noop(payload)


async def noop_async(payload):
    return noop(payload)


async def stamp_async(submitted):
    return stamp(submitted)


async def io_async(payload):
    await asyncio.sleep(IO_S)
    return noop(payload)


THREADED = {"noop": noop, "stamp": stamp, "io": io}
ASYNC = {"noop": noop_async, "stamp": stamp_async, "io": io_async}
