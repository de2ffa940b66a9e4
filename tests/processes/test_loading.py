"""Handlers as a worker finds them in its user's modules: which function runs, and what is refused, by name and place."""

from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path

import pytest

from _jobqueue.loading import load_handlers


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, from which modules are imported that nobody knows afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "modules", dict(sys.modules))
    return tmp_path


REFUSED = {
    "a generator": (
        "from jobqueue import handler\n@handler('a')\ndef f(p, c): yield 1",
        "it is a generator (it has a yield); return the result instead (mine.py, line 2)",
    ),
    "an async generator": (
        "from jobqueue import handler\n@handler('a')\nasync def f(p, c): yield 1",
        "it is a generator (it has a yield); return the result instead (mine.py, line 2)",
    ),
    "one argument": (
        "from jobqueue import handler\n@handler('a')\ndef f(payload): ...",
        "the handler f of the type 'a' cannot work: it takes (payload), and is called with (payload, ctx): too many "
        "positional arguments (mine.py, line 2)",
    ),
    "three arguments": (
        "from jobqueue import handler\n@handler('a')\ndef f(p, c, more): ...",
        "missing a required argument: 'more'",
    ),
    "by keyword alone": ("from jobqueue import handler\n@handler('a')\ndef f(p, *, ctx): ...", "it takes (p, *, ctx)"),
    "a class": ("from jobqueue import handler\n@handler('a')\nclass F: ...", "it is a class, not a function"),
    "without brackets": ("from jobqueue import handler\n@handler\ndef f(p, c): ...", "write @handler('my.type')"),
    "what cannot be marked": (
        "from jobqueue import handler\nf = handler('a')(len)",
        "cannot be marked; wrap it in a def",
    ),
    "a timeout that cannot be": (
        "from jobqueue import handler\n@handler('a', timeout=0)\ndef f(p, c): ...",
        "@handler('a'): timeout must be a number of seconds from 0.1 to 86400 (mine.py, line 2)",
    ),
    "hidden by a decorator": (
        "from jobqueue import handler\ndef d(f):\n    return lambda p, c: f(p, c)\n@d\n@handler('a')\ndef f(p, c): ...\n"
        "@handler('b')\ndef g(p, c): ...",
        "the handler of the type 'a' is hidden: another decorator above @handler has replaced it, or no name of the module "
        "mine is bound to it: put @handler above all other decorators (mine.py, line 5)",
    ),
    "hidden by a later function": (
        "from jobqueue import handler\n@handler('a')\ndef f(p, c): ...\n@handler('b')\ndef f(p, c): ...",
        "the handler of the type 'a' is hidden",
    ),
    "a method": (
        "from jobqueue import handler\nclass Jobs:\n    @handler('a')\n    def f(self, p, c): ...",
        "the handler of the type 'a' is hidden",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_handler_that_cannot_work_is_refused_by_name_and_place(here: Path, case: str) -> None:
    text, reason = REFUSED[case]
    (here / "mine.py").write_text(text)
    with pytest.raises(ValueError, match=re.escape(reason)):
        load_handlers("mine")


ACCEPTED = {
    "a default": "def f(payload, ctx, more=1): return 1",
    "any arguments": "def f(*args, **options): return 1",
    "a lambda": "f = lambda payload, ctx: 1",
    "an object that is called": "class A:\n    def __call__(self, payload, ctx): return 1\nf = A()",
    "a partial": "import functools\ndef g(more, payload, ctx): return more\nf = functools.partial(g, 1)",
    "a method that a name is bound to": "class A:\n    @staticmethod\n    def g(payload, ctx): return 1\nf = A.g",
    "async behind a def": "import asyncio\nasync def g(): return 1\ndef f(payload, ctx): return asyncio.run(g())",
}


@pytest.mark.parametrize("case", ACCEPTED)
def test_whatever_takes_a_payload_and_a_context_is_accepted(here: Path, case: str) -> None:
    (here / "mine.py").write_text(f"from jobqueue import handler\n{ACCEPTED[case]}\nf = handler('a')(f)")
    job_type = load_handlers("mine.py")["a"]
    assert job_type.function("payload", None) == 1 and not job_type.is_async


ASYNC = {
    "async": "async def f(payload, ctx): return 1",
    "an object that is called": "class A:\n    async def __call__(self, payload, ctx): return 1\nf = A()",
    "a partial": "import functools\nasync def g(more, payload, ctx): return more\nf = functools.partial(g, 1)",
}


@pytest.mark.parametrize("case", ASYNC)
def test_what_is_to_be_awaited_is_known_as_such(here: Path, case: str) -> None:
    (here / "mine.py").write_text(f"from jobqueue import handler\n{ASYNC[case]}\nf = handler('a')(f)")
    job_type = load_handlers("mine")["a"]
    assert job_type.is_async and asyncio.run(job_type.function("payload", None)) == 1


def test_a_module_may_hold_objects_that_answer_to_no_question(here: Path) -> None:
    (here / "mine.py").write_text(
        "from jobqueue import handler\nclass Shy:\n    def __call__(self): ...\n"
        "    def __getattr__(self, name): raise RuntimeError('outside of a request')\nshy = Shy()\n"
        "@handler('a')\ndef f(payload, ctx): ..."
    )
    assert list(load_handlers("mine")) == ["a"]


DECORATED = """
import functools
from jobqueue import handler

def wrapped(function):
    @functools.wraps(function)
    def wrapper(payload, ctx):
        return {"wrapped": function(payload, ctx)}
    return wrapper

@wrapped
@handler("above")
def above(payload, ctx):
    return payload

@handler("below")
@wrapped
def below(payload, ctx):
    return payload

@handler("both.outer")
@wrapped
@handler("both.inner")
def both(payload, ctx):
    return payload

alias = both
"""


def test_what_runs_is_what_the_modules_name_is_bound_to(here: Path) -> None:
    (here / "mine.py").write_text(DECORATED)
    types = load_handlers("mine")
    assert set(types) == {"above", "below", "both.outer", "both.inner"}
    assert [job_type.function("it", None) for job_type in types.values()] == [{"wrapped": "it"}] * 4


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        ("a,b", "two handlers for the type 'x' (a.py, line 3; b.py, line 3)"),
        (",", "no module is named"),
        ("a,./c.py", "there is no file ./c.py"),
        ("a,/nowhere/c.py", "there is no file /nowhere/c.py"),
        ("a,empty.py", "empty.py has no handlers"),
    ],
)
def test_one_wrong_module_of_several_is_named(here: Path, names: str, reason: str) -> None:
    for name in "ab":
        (here / f"{name}.py").write_text("from jobqueue import handler\n\n@handler('x')\ndef f(payload, ctx): ...")
    (here / "empty.py").write_text("")
    with pytest.raises(ValueError, match=re.escape(reason)):
        load_handlers(names)
