"""What the tests of the command line speak in."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

from jobqueue import main

NOBODY = "7b7e1d1c-0000-8000-8000-000000000000"


class Ran(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()


Run = Callable[..., Ran]


def runner(capsys: pytest.CaptureFixture[str], *where: str) -> Run:
    def run(*arguments: str, at: tuple[str, ...] = where) -> Ran:
        capsys.readouterr()
        try:
            code = main([*arguments, *at])
        except SystemExit as end:
            code = int(end.code or 0)
        said = capsys.readouterr()
        return Ran(code, said.out, said.err)

    return run


def sentence(ran: Ran, code: int, *parts: str) -> None:
    """It has ended so, printed nothing, and said one line that has these parts."""
    assert (ran.code, ran.out) == (code, ""), ran
    assert len(ran.err.splitlines()) == 1, ran.err
    for part in parts:
        assert part in ran.err, ran.err
