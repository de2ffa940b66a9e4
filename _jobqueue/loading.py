"""Finds the handlers in a user's modules, and refuses those that cannot work: at the start, by name and place."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType
from typing import Any

from _jobqueue.job_types import MARKED, JobType, marks_of


def load_handlers(names: str) -> dict[str, JobType]:
    """The job types of modules or files, comma-separated: ``my_jobs``, ``app.jobs``, ``jobs/mail.py``, ``/srv/jobs.py``."""
    return types_of([(name, import_named(name)) for name in filter(None, map(str.strip, names.split(",")))])


def types_of(modules: Iterable[tuple[str, ModuleType]]) -> dict[str, JobType]:
    """The job types of modules, each under the name that messages call it by."""
    found: dict[str, JobType] = {}
    for name, module in modules:
        of_module = _handlers_in(module)
        if not of_module:
            raise ValueError(f"{name} has no handlers: decorate a function with @handler('my.type')")
        for job_type in of_module:
            other = found.setdefault(job_type.name, job_type)
            if other.function is not job_type.function:
                raise ValueError(f"two handlers for the type {job_type.name!r} ({other.place}; {job_type.place})")
    if not found:
        raise ValueError("no module is named")
    return found


# ---------------------------------------------------------------------------------------------------------- modules


def import_named(name: str) -> ModuleType:
    """A module, or that of a file or a folder."""
    if sys.path[:1] != [""]:
        sys.path.insert(0, "")  # the current folder is searched before ours
    if not name.endswith(".py") and "/" not in name:
        return _module(name)
    path = Path(name) / "__init__.py" if Path(name).is_dir() else Path(name)
    if not path.is_file():
        raise ValueError(f"there is no file {name}")
    return _under_its_name(path) or _by_itself(path)


def _module(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if not error.name or not f"{name}.".startswith(f"{error.name}."):
            raise  # one that it imports
        close = get_close_matches(error.name, [path.stem for path in Path().glob("*.py")], 1, 0.75)
        meant = f"did you mean {close[0]}?" if close else "name a module, like my_jobs, or a file, like jobs/mail.py"
        raise ValueError(f"No module named {error.name!r} in {Path.cwd()} or in PYTHONPATH: {meant}") from None


def _under_its_name(path: Path) -> ModuleType | None:
    """A file below the current folder is the module that others import from there: a part of its package, and loaded once."""
    try:
        inside = path.resolve().relative_to(Path.cwd().resolve())
    except ValueError:
        return None
    parts = inside.parent.parts if inside.name == "__init__.py" else inside.with_suffix("").parts
    if not parts or not all(part.isidentifier() for part in parts):
        return None
    module = _loaded(".".join(parts)) or importlib.import_module(".".join(parts))
    return module if _is_from(module, path) else None


def _by_itself(path: Path) -> ModuleType:
    """A file anywhere else; it may import what stands beside it."""
    path = path.resolve()
    name = path.parent.name if path.name == "__init__.py" else path.stem
    while (module := _loaded(name)) and not _is_from(module, path):
        name += "_"
    if module:
        return module
    folder = str(path.parent.parent if path.name == "__init__.py" else path.parent)
    if folder not in sys.path:
        sys.path.insert(1, folder)
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec and spec.loader
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _loaded(name: str) -> ModuleType | None:
    return sys.modules.get(name)


def _is_from(module: ModuleType, path: Path) -> bool:
    file = getattr(module, "__file__", None)
    return file is not None and Path(file).resolve() == path.resolve()


# --------------------------------------------------------------------------------------------------------- handlers


def _handlers_in(module: ModuleType) -> list[JobType]:
    """What runs is what a name of the module is bound to: with a decorator above @handler, that decorator's function."""
    found: list[JobType] = []
    bound = {id(value): (name, value) for name, value in vars(module).items() if callable(value)}
    for name, value in bound.values():
        for mark in marks_of(value):
            if fault := _fault(value):
                raise ValueError(f"the handler {name} of the type {mark.name!r} cannot work: {fault} ({mark.place})")
            found.append(replace(mark, function=value, is_async=_is_async(value)))
    hidden = [mark for mark in vars(module).get(MARKED, ()) if not any(_same(mark, each) for each in found)]
    for mark in hidden:
        raise ValueError(
            f"the handler of the type {mark.name!r} is hidden: another decorator above @handler has replaced it, or no name "
            f"of the module {module.__name__} is bound to it: put @handler above all other decorators ({mark.place})"
        )
    return found


def _same(mark: JobType, other: JobType) -> bool:
    return (mark.name, mark.place) == (other.name, other.place)


def _fault(function: Callable[..., Any]) -> str:
    """Why a function cannot be a handler; '' when it can."""
    if isinstance(function, type):
        return "it is a class, not a function"
    if any(inspect.isgeneratorfunction(each) or inspect.isasyncgenfunction(each) for each in _called(function)):
        return "it is a generator (it has a yield); return the result instead"
    try:
        signature = inspect.signature(function, follow_wrapped=False)
    except (TypeError, ValueError):  # one in C may not tell
        return ""
    try:
        signature.bind(None, None)
    except TypeError as error:
        return f"it takes {signature}, and is called with (payload, ctx): {error}"
    return ""


def _is_async(function: Callable[..., Any]) -> bool:
    return any(map(inspect.iscoroutinefunction, _called(function)))


def _called(function: Callable[..., Any]) -> tuple[Callable[..., Any], ...]:
    """It and, of an object, what runs when it is called."""
    return (function,) if inspect.isroutine(function) else (function, getattr(function, "__call__", function))  # noqa: B004
