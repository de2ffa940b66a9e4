"""Handlers that behave as handlers should not, and some that tests can steer: ``--handlers tests.odd_handlers``."""

import asyncio
import contextlib
import ctypes
import logging
import multiprocessing
import os
import random
import resource
import signal
import sys
import threading
import time
from pathlib import Path

import redis

from jobqueue import Fail, JobQueue, NewJob, Retry, Snooze, handler


@handler("hold", timeout=60)
def hold(payload, ctx):
    """Note the start as a line of ``<gate>.starts``, then wait until the file ``gate`` exists. Returns the process id."""
    _started(payload, ctx)
    while not Path(payload["gate"]).exists():
        time.sleep(0.01)
    return os.getpid()


@handler("hold.politely", timeout=60)
def hold_politely(payload, ctx):
    """As hold, but asks all the time whether it should go on."""
    _started(payload, ctx)
    while not Path(payload["gate"]).exists():
        ctx.check()
        time.sleep(0.01)
    return os.getpid()


def _started(payload, ctx):
    with open(payload["gate"] + ".starts", "a") as starts:
        starts.write(f"{ctx.job_id} {ctx.attempt} {os.getpid()}\n")


@handler("tell", timeout=60)
def tell(payload, ctx):
    """Say what the payload holds, then hold."""
    ctx.progress(payload["progress"], payload["note"])
    for line in payload["lines"]:
        ctx.log(line)
    return hold(payload, ctx)


@handler("say")
def say(payload, ctx):
    return payload


@handler("split", max_attempts=2, backoff=0)
def split(payload, ctx):
    """Make a job for each number and one for their sum; and some that are alike. The first attempt then fails."""
    *_, last = ctx.submit_many([*(NewJob("double", n, name=f"n{n}") for n in payload), NewJob("sum", after=["*"])])
    alike = [ctx.submit("say", "x", key=key).id for key in ("", "", "k")]
    if ctx.attempt == 1:
        raise RuntimeError("once more")
    return [last.id, *alike]


@handler("double")
def double(payload, ctx):
    return 2 * payload


@handler("long")
def long(payload, ctx):
    return "x" * payload


@handler("sum")
def total(payload, ctx):
    return sum(parent["result"] for parent in ctx.parents().values())


@handler("lengths")
def lengths(payload, ctx):
    """Of the parents' results, and what else they say."""
    return {name: [len(parent["result"]), parent["status"], parent["error"]] for name, parent in ctx.parents().items()}


@handler("noop")
def noop(payload, ctx):
    return None


@handler("sleep", timeout=60)
def sleep(payload, ctx):
    """Blocks in C: no interrupt reaches it before its end."""
    time.sleep(payload)
    return payload


@handler("spin")
@handler("spin.briefly", timeout=0.3)
def spin(payload, ctx):
    """A loop in Python without an end."""
    while True:
        random.random()


@handler("spin.stubborn", timeout=60)
def spin_stubborn(payload, ctx):
    """As spin, and whatever is thrown into it is swallowed, until the file ``gate`` exists."""
    while True:
        try:
            while not Path(payload["gate"]).exists():
                pass
            return "nobody waits for this"
        except BaseException:
            pass


class OfItsOwn(BaseException):
    """Like what some libraries raise to unwind a whole thread."""


class Mute(Exception):
    def __str__(self):
        raise RuntimeError("no words")


class MuteFail(Fail):
    def __str__(self):
        raise RuntimeError("no words")


def _hang(in_c):
    while True:
        time.sleep(600 if in_c else 0.001)


class HangsWhenShown(Exception):
    def __str__(self):
        _hang(self.args[0])


class HangsWhenRead(dict):
    def items(self):
        _hang(self["in_c"])


class HangsWhenDropped:
    def __init__(self, in_c):
        self.in_c = in_c

    def __del__(self):
        _hang(self.in_c)


class HangsWhenWritten(str):
    """As the text of an exception, it takes its code along."""

    def _hang(self, *args):
        _hang(False)

    encode = partition = __getitem__ = _hang


class Shown(Fail):
    def __str__(self):
        return HangsWhenWritten("shown")


@handler("hang", timeout=0.3, max_attempts=1)
def hang(payload, ctx):
    """In code of the handler's that runs after the handler."""
    where, in_c = payload
    if where == "result":
        return HangsWhenRead(in_c=in_c)
    if where == "dropped with the result":
        held = {"a": 1}
        return _Held(held, HangsWhenDropped(in_c))
    if where == "dropped with the error":
        held = HangsWhenDropped(in_c)
        raise RuntimeError("its frame holds one")
    if where == "text":
        raise Shown
    if where == "log":
        ctx.log(HangsWhenShown(in_c))
    if where == "cause":
        try:
            raise HangsWhenShown(in_c)
        except HangsWhenShown as cause:
            raise RuntimeError("because of another") from cause
    raise HangsWhenShown(in_c)


class _Held(dict):
    def __init__(self, members, held):
        super().__init__(members)
        self.held = held


EXCEPTIONS = {
    "SystemExit": lambda: SystemExit(3),
    "KeyboardInterrupt": KeyboardInterrupt,
    "GeneratorExit": GeneratorExit,
    "OfItsOwn": lambda: OfItsOwn("gone"),
    "Mute": Mute,
    "MuteFail": MuteFail,
    "StopIteration": StopIteration,
    "MemoryError": MemoryError,
    "Surrogate": lambda: ValueError("half \ud800 of a pair\nand\0more"),
    "RetrySoon": lambda: Retry(after="soon"),
    "RetryNever": lambda: Retry(after=float("inf")),
}


@handler("raise")
def raises(payload, ctx):
    if payload == "sys.exit":
        sys.exit("leaving")
    raise EXCEPTIONS[payload]()


class EvilDict(dict):
    def items(self):
        raise KeyError("no items")


def _endless():
    inside = []
    inside.append(inside)
    return inside


def _deep():
    value = None
    for _ in range(100):
        value = [value]
    return value


async def _coroutine():
    return 1


RESULTS = {
    "bytes": lambda: b"raw",
    "set": lambda: {1, 2},
    "NaN": lambda: [float("nan")],
    "infinity": lambda: float("inf"),
    "object": object,
    "large": lambda: "x" * 2**20,
    "endless": _endless,
    "deep": _deep,
    "surrogate": lambda: {"text": "\udc00"},
    "key twice": lambda: {1: "a", "1": "b"},
    "evil dict": lambda: EvilDict(a=1),
    "function": lambda: noop,
    "coroutine": lambda: _coroutine(),
}


@handler("return")
def returns(payload, ctx):
    return RESULTS[payload]()


@handler("fail", backoff=0)
def fail(payload, ctx):
    raise RuntimeError(f"attempt {ctx.attempt} failed")


@handler("fail.for.good", max_attempts=5)
def fail_for_good(payload, ctx):
    raise Fail("no use in trying again")


@handler("retry.after", max_attempts=2, backoff=3600)
def retry_after(payload, ctx):
    if ctx.attempt == 1:
        raise Retry("not yet", after=payload)
    return "now"


@handler("snooze", max_attempts=1)
def snooze(payload, ctx):
    """Put itself off for so many seconds, until the file ``gate`` exists. With ``hold``, first wait for that file."""
    if "hold" in payload:
        hold({"gate": payload["hold"]}, ctx)
    if not Path(payload["gate"]).exists():
        ctx.log("not yet")
        raise Snooze(payload["after"])
    return ctx.attempt


@handler("snooze.twice", max_attempts=1)
def snooze_twice(payload, ctx):
    """``payload`` is a file that counts the times."""
    with open(payload, "a+") as times:
        times.write("x")
        times.seek(0)
        if len(times.read()) < 3:
            raise Snooze(0.05)
    return ctx.attempt


@handler("fork")
def fork(payload, ctx):
    """The child returns as if the job were its own."""
    child = os.fork()
    if child:
        os.waitpid(child, 0)
    return os.getpid()


@handler("leave.pool", timeout=20, max_attempts=1)
def leave_pool(payload, ctx):
    """How long it takes to leave a pool that works, and what SIGTERM and SIGINT do in its process."""
    with multiprocessing.get_context("fork").Pool(1) as pool:
        heard = pool.apply(_signals)
        pool.apply_async(time.sleep, (60,))
        began = time.monotonic()
    return {"left_after_s": time.monotonic() - began, "heard": heard}


def _signals():
    names = {signal.SIG_DFL: "ends", signal.default_int_handler: "interrupts"}
    return [names.get(signal.getsignal(number)) for number in (signal.SIGTERM, signal.SIGINT)]


JOBS = []  # a JobQueue that handlers and their children share


@handler("submit.in.children", timeout=20, max_attempts=1)
def submit_in_children(payload, ctx):
    """Parent and children use one JobQueue at the same time. Returns what each got back for what it submitted."""
    if not JOBS:
        JOBS.append(JobQueue(os.environ["REDIS_URL"]))
    JOBS[0].submit("noop")
    with multiprocessing.get_context("fork").Pool(4) as pool:
        answers = pool.map_async(_submit, range(200))
        mine = [_submit(n) for n in range(1000, 1100)]
        return all(asked == got for asked, got in mine + answers.get())


def _submit(n):
    return n, JOBS[0].submit("say", n).payload


@handler("close.files", max_attempts=5, backoff=0)
def close_files(payload, ctx):
    """As a daemonising library does on its first run."""
    if ctx.attempt == 1:
        os.closerange(3, 31)
    return "closed"


@handler("meddle")
def meddle(payload, ctx):
    """Change what belongs to the whole process."""
    os.chdir("/")
    threading.Thread(target=time.sleep, args=(3600,), daemon=False).start()
    for number in (signal.SIGTERM, signal.SIGINT):
        try:
            signal.signal(number, signal.SIG_IGN)
        except ValueError as error:
            return str(error)
    return "signals changed"


@handler("die", backoff=0)
def die(payload, ctx):
    os._exit(payload)


@handler("segfault", backoff=0)
def segfault(payload, ctx):
    ctypes.string_at(0)


@handler("nap")
def nap(payload, ctx):
    time.sleep(0.1)


@handler("leak", backoff=0)
def leak(payload, ctx):
    """Asks for memory until there is none, 100 MB from here."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 100 * 2**20, resource.RLIM_INFINITY))
    try:
        hoard = []
        while True:
            hoard.append(bytearray(2**20))
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


@handler("hog", timeout=60)
def hog(payload, ctx):
    """In C, without letting any other thread of Python run, as a catastrophic regular expression does."""
    ctypes.PyDLL(None).sleep(payload)
    return os.getpid()


@handler("kill.connections")
def kill_connections(payload, ctx):
    """All that there are, also the one over which its result will go."""
    client = redis.Redis.from_url(os.environ["REDIS_URL"])
    client.client_kill_filter(_type="normal", skipme=True)
    client.close()
    return "killed"


@handler("log.line")
def log_line(payload, ctx):
    logging.getLogger("mine").warning("a line of a handler", extra={"order": payload})


# ------------------------------------------------------------------------------------------------------------- async


@handler("await", timeout=60)
async def awaits(payload, ctx):
    """Sleep on the event loop, and say so before and after."""
    ctx.log("goes to sleep")
    await asyncio.sleep(payload)
    ctx.log("woke up")
    return threading.current_thread().name


@handler("await.raise", backoff=0)
async def await_raise(payload, ctx):
    logging.getLogger("mine").warning("a line of a task", extra={"order": payload})
    await asyncio.sleep(0)
    if payload == "sys.exit":
        sys.exit("leaving")
    raise EXCEPTIONS[payload]()


@handler("await.tidily", timeout=60)
async def await_tidily(payload, ctx):
    """Tidies up when it is cancelled: until then ``gate`` does not exist."""
    _started(payload, ctx)
    try:
        await asyncio.sleep(600)
    finally:
        await asyncio.sleep(0.05)
        Path(payload["gate"]).touch()


@handler("await.stubborn", timeout=60)
async def await_stubborn(payload, ctx):
    """Will not be cancelled before the file ``gate`` exists."""
    _started(payload, ctx)
    while not Path(payload["gate"]).exists():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(0.01)
    return "nobody waits for this"


@handler("block.loop", timeout=0.3, max_attempts=1)
async def block_loop(payload, ctx):
    """As no coroutine should."""
    time.sleep(payload)


@handler("close.loop")
async def close_loop(payload, ctx):
    """As a daemonising library does: the loop's own files are gone."""
    asyncio.get_running_loop().call_later(0.1, os.close, asyncio.get_running_loop()._selector.fileno())


@handler("meet", timeout=20)
async def meet(payload, ctx):
    """Goes on when as many have come as the payload says: only side by side."""
    MET.append(ctx.job_id)
    while len(MET) < payload:
        await asyncio.sleep(0.01)
    return len(set(MET))


MET = []
