"""What a worker process does once, at its start and at its end: functions marked with @on_start and @on_stop."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar


@dataclass(frozen=True)
class Hook:
    """A function that is marked. ``place``: where."""

    function: Callable[[], Any]
    when: str  # on_start or on_stop
    place: str

    def __str__(self) -> str:
        return f"@{self.when} {getattr(self.function, '__name__', '')} ({self.place})"


HOOKS: list[Hook] = []  # of all modules that have been imported, in that order

F = TypeVar("F", bound=Callable[[], Any])


def on_start(function: F) -> F:
    """Mark ``def f()`` or ``async def f()``: each worker process calls it once, before its first job. When it raises, the worker
    says so and ends with exit code 1."""
    return _mark(function, "on_start")


def on_stop(function: F) -> F:
    """Mark ``def f()`` or ``async def f()``: each worker process calls it once, after its last job, what was marked last first.
    When it raises, the others are still called, and the worker ends with exit code 1."""
    return _mark(function, "on_stop")


def hooks_of(module: ModuleType) -> list[Hook]:
    """Those that a module has marked, or has imported by name."""
    bound = set(map(id, vars(module).values()))
    return [
        hook
        for hook in HOOKS
        if id(hook.function) in bound or hook.function.__module__ == getattr(module, "__name__", "")
    ]


class HookFailed(Exception):
    """A hook has raised; its cause is that exception."""


def start(hooks: Iterable[Hook], finish: Callable[[Coroutine[Any, Any, Any]], Any]) -> None:
    """Call those for the start. ``finish`` runs what is async. HookFailed for the first that raises."""
    for hook in hooks:
        if hook.when == "on_start":
            _call(hook, finish)


def stop(hooks: Iterable[Hook], finish: Callable[[Coroutine[Any, Any, Any]], Any]) -> list[HookFailed]:
    """Call those for the end, the last first. Returns those that raised."""
    failed = []
    for hook in reversed(list(hooks)):
        if hook.when == "on_stop":
            try:
                _call(hook, finish)
            except HookFailed as error:
                failed.append(error)
    return failed


def _call(hook: Hook, finish: Callable[[Coroutine[Any, Any, Any]], Any]) -> None:
    try:
        value = hook.function()
        if inspect.iscoroutine(value):
            finish(value)
    except BaseException as error:  # sys.exit() too: it must not look like an end that was asked for
        raise HookFailed(f"{hook}: {type(error).__name__}: {error}") from error


def _mark(function: F, when: str) -> F:
    frame = sys._getframe(2)
    code = getattr(inspect.unwrap(function), "__code__", frame.f_code)
    here = code.co_filename == frame.f_code.co_filename and code is not frame.f_code
    line = code.co_firstlineno if here else frame.f_lineno  # the latter is that of the def before Python 3.11
    hook = Hook(function, when, f"{Path(frame.f_code.co_filename).name}, line {line}")
    if fault := _fault(function):
        raise ValueError(f"{hook} cannot work: {fault}")
    HOOKS.append(hook)
    return function


def _fault(function: object) -> str:
    if isinstance(function, type) or not callable(function):
        return "write it above a def, without brackets"
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        return "it is a generator (it has a yield); write one function for the start and one for the end"
    try:
        inspect.signature(function).bind()
    except TypeError as error:
        return f"it is called without arguments: {error}"
    except ValueError:  # one in C may not tell
        pass
    return ""
