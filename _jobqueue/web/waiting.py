"""Requests that wait for something hold no thread: they are put aside, and served anew when it has happened.

    a request    asks ``sleep`` from the thread that serves it, which is free again as soon as ``Asleep`` is raised
    the watcher  one thread; looks every STEP_S for all that sleep, with one call of ``happened``
    any thread   ``stop``, at the end of the process

``Waiters._lock`` guards who sleeps.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping
from typing import Any, Generic, TypeVar

KEPT = "jobqueue.kept"  # in the environ: a dict that stays with a request however often it is served
HAS_LEFT = "jobqueue.has_left"  # in the environ: says whether the client has hung up
STEP_S = 0.05

Key = TypeVar("Key", bound=Hashable)


class Asleep(BaseException):
    """Ends the serving of a request for now. No Exception: Bottle would make an answer of one."""

    def __init__(self, sleeper: _Sleeper) -> None:
        super().__init__("the request waits")
        self.sleeper = sleeper


class _Sleeper:
    def __init__(self, key: Any, deadline: float) -> None:
        self.key, self.deadline = key, deadline
        self._lock = threading.Lock()
        self._woken, self._serve_again = False, _nothing

    def then(self, serve_again: Callable[[], None]) -> None:
        """What to do when it is woken; at once, where it has been woken before this was said."""
        with self._lock:
            self._serve_again, late = serve_again, self._woken
        if late:
            serve_again()

    def wake(self) -> None:
        with self._lock:
            self._woken, serve_again = True, self._serve_again
        serve_again()


def _nothing() -> None:
    pass


class Waiters(Generic[Key]):
    """Those that sleep, at most ``most``.

    ``happened`` gets all that is waited for and whether some of it is new since its last call, and returns the part that has
    happened. Where it fails, all are woken: they will find out why by themselves."""

    def __init__(self, happened: Callable[[Collection[Key], bool], Iterable[Key]], most: int) -> None:
        self._happened, self._most = happened, most
        self._lock = threading.Lock()
        self._sleepers: dict[_Sleeper, None] = {}
        self._watched: set[Key] = set()
        self._somebody, self._stopped = threading.Event(), threading.Event()
        self._watcher: threading.Thread | None = None

    def sleep(self, environ: Mapping[str, Any], key: Key, wait_s: float) -> None:
        """Raise Asleep: the request is served anew when the key has happened, or ``wait_s`` after it came. Return where it
        should be answered now: its time is up, too many sleep, the process stops, or its server serves no request twice."""
        kept, now = environ.get(KEPT), time.monotonic()
        if kept is None:
            return
        deadline = kept.setdefault("deadline", now + wait_s)
        sleeper = _Sleeper(key, deadline)
        with self._lock:
            if now >= deadline or self._stopped.is_set() or len(self._sleepers) >= self._most:
                return
            self._sleepers[sleeper] = None
            self._somebody.set()
            if self._watcher is None:
                self._watcher = threading.Thread(target=self._watch, daemon=True)
                self._watcher.start()
        raise Asleep(sleeper)

    def stop(self) -> None:
        """Wake all; nobody sleeps any more."""
        with self._lock:
            self._stopped.set()
            sleepers = list(self._sleepers)
        self._wake(sleepers)

    def _watch(self) -> None:
        while not self._stopped.is_set():
            self._somebody.wait()
            with self._lock:
                sleepers = list(self._sleepers)
            over = self._over({sleeper.key for sleeper in sleepers})
            now = time.monotonic()
            self._wake([each for each in sleepers if each.key in over or each.deadline <= now])
            next_end = min((each.deadline for each in sleepers if each.deadline > now), default=now + STEP_S)
            self._stopped.wait(min(STEP_S, next_end - now))

    def _over(self, keys: set[Key]) -> Collection[Key]:
        anew, self._watched = not keys <= self._watched, keys
        try:
            return set(self._happened(keys, anew))
        except Exception:
            self._watched = set()
            return keys

    def _wake(self, sleepers: Iterable[_Sleeper]) -> None:
        with self._lock:
            woken = [each for each in sleepers if self._sleepers.pop(each, each) is None]
            if not self._sleepers:
                self._somebody.clear()
        for each in woken:
            each.wake()
