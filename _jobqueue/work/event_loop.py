"""The event loop on which a worker process runs what is async: one, in a thread of its own.

A slot's thread waits for the task of its handler. So a worker runs as many handlers at the same time as it has threads, async or
not. It ends an attempt when the task has ended, never before: what a task does when it is cancelled is a part of it."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import os
import threading
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

from _jobqueue.work.run import Run

CLOSE_S = 1.0  # what is still running at the end has this long to hear of it


class EventLoop:
    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._closing = False

    def start(self) -> None:
        """Make the loop and its thread, where there are none. Not from two threads at once."""
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._thread = threading.Thread(target=self._serve, args=(self._loop,), name="event loop", daemon=True)
            self._thread.start()

    def run(self, coroutine: Coroutine[Any, Any, Any], run: Run | None = None) -> Any:
        """What a coroutine returns, or raises. It is cancelled when the attempt that it belongs to is to stop: then this raises
        what ``run.check`` does."""
        self.start()
        assert self._loop
        task = _Task(self._loop, coroutine)
        try:
            task.begin()
            if run:
                run.wait_for(task)
            task.wait()
        except BaseException:  # the timeout came to this thread before the task's end
            task.cancel()
            task.wait()
            raise
        finally:
            if run:
                run.wait_for(None)
        try:
            return task.result()
        except asyncio.CancelledError:
            if run:
                run.check()
            raise

    def close(self) -> None:
        """Cancel what runs, wait a moment for it, and end the thread."""
        if self._loop and self._thread and not self._closing:
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._end)
            self._thread.join(CLOSE_S)

    def _serve(self, loop: asyncio.AbstractEventLoop) -> None:
        asyncio.set_event_loop(loop)
        while not self._closing:
            try:
                loop.run_forever()
            except (SystemExit, KeyboardInterrupt):  # of a task, which has it as its end
                pass
            except BaseException:  # somebody has closed its files: its jobs time out, and the watch ends the worker
                logging.getLogger("worker").exception("the event loop cannot go on")
                return
        with suppress(Exception):
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.close()

    def _end(self) -> None:
        assert self._loop
        self._closing = True
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        self._loop.create_task(self._stop_after(tasks))

    async def _stop_after(self, tasks: set[asyncio.Task[Any]]) -> None:
        if tasks:
            await asyncio.wait(tasks, timeout=CLOSE_S / 2)
        asyncio.get_running_loop().stop()


class _Task:
    """A coroutine on the loop, and the one thread that waits for it. No lock is held by both: that thread may be interrupted
    anywhere."""

    def __init__(self, loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, Any]) -> None:
        self._loop, self._coroutine, self._process = loop, coroutine, os.getpid()
        self._task: asyncio.Task[Any] | None = None
        self.heard = self._over = False
        self._bell = threading.Lock()  # held until it is over
        self._bell.acquire()

    def begin(self) -> None:
        self._loop.call_soon_threadsafe(self._begin, context=contextvars.copy_context())

    def cancel(self) -> None:
        with suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._cancel)

    def wait(self) -> None:
        while not self._over:
            self._bell.acquire()

    def result(self) -> Any:
        assert self._task
        return self._task.result()

    # -- on the loop's thread, in the order in which they were asked for

    def _begin(self) -> None:
        self._task = self._loop.create_task(self._coroutine)
        self._task.add_done_callback(self._ended)

    def _cancel(self) -> None:
        self.heard = True
        if self._task:
            self._task.cancel()
        elif not self._over:  # the interrupt came before it could begin
            self._coroutine.close()
            self._ended(None)

    def _ended(self, task: object) -> None:
        if os.getpid() != self._process:
            os._exit(0)  # a child that the handler forked
        self._over = True
        self._bell.release()
