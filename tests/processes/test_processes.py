"""Signals as something to wait for."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from _jobqueue.processes import Signals
from tests.harness import ROOT

NUMBERS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)


@pytest.fixture
def signals() -> Iterator[Signals]:
    before = {number: signal.getsignal(number) for number in NUMBERS}
    yield Signals()
    for number, handler in before.items():
        signal.signal(number, handler)


def test_each_signal_is_waited_for_once(signals: Signals) -> None:
    assert not signals.is_set() and not signals.wait(0) and not signals.wait(0.01)
    os.kill(os.getpid(), signal.SIGTERM)
    os.kill(os.getpid(), signal.SIGINT)
    assert (signals.wait(), signals.wait(5), signals.wait(0), signals.count) == (True, True, False, 2)


def test_another_thread_can_stop_the_wait(signals: Signals) -> None:
    threading.Timer(0.1, signals.stop).start()
    assert signals.wait() and not signals.is_set() and not signals.wait(0)


def test_a_hang_up_asks_once_and_never_hurries(signals: Signals) -> None:
    for number in (signal.SIGHUP, signal.SIGHUP, signal.SIGHUP):
        os.kill(os.getpid(), number)
    assert signals.wait(5) and not signals.wait(0) and signals.count == 1
    os.kill(os.getpid(), signal.SIGTERM)
    assert signals.wait(5) and signals.count == 2


WAITER = """
import os, signal, time
from _jobqueue.processes import Signals
signals = Signals()
signal.signal(signal.SIGUSR1, lambda *_: None)
print("waiting", flush=True)
until = time.monotonic() + 2
while time.monotonic() < until:
    signals.wait(0.001)
os._exit(0)
"""


def test_signals_of_others_do_not_make_a_wait_endless() -> None:
    """A program's own handlers of signals run in the main thread too, at any instant."""
    waiter = subprocess.Popen([sys.executable, "-c", WAITER], cwd=ROOT, stdout=subprocess.PIPE)
    try:
        assert waiter.stdout and waiter.stdout.readline() == b"waiting\n"
        until = time.monotonic() + 10
        while waiter.poll() is None and time.monotonic() < until:
            waiter.send_signal(signal.SIGUSR1)
            threading.Event().wait(0.0011)
        assert waiter.poll() == 0
    finally:
        waiter.kill()
        waiter.wait()
