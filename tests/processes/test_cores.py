"""Which core a process keeps to."""

from __future__ import annotations

import os

import pytest

from _jobqueue import processes
from tests import guard
from tests.harness import System, eventually, free_port

CORES = {2, 3, 5, 7}


class Machine:
    """What the system says of its cores, and which of them were chosen."""

    def __init__(self) -> None:
        self.count, self.allowed = len(CORES), set(CORES)

    def choose(self, cores: set[int]) -> None:
        self.allowed = set(cores)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    machine = Machine()
    for name in (processes.PARENT, processes.POSITION):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: machine.count)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(machine.allowed), raising=False)
    monkeypatch.setattr(os, "sched_setaffinity", lambda pid, cores: machine.choose(cores), raising=False)
    return machine


def core_of(machine: Machine, of_all: bool = True) -> set[int]:
    processes.keep_to_one_core(of_all=of_all)
    chosen, machine.allowed = machine.allowed, set(CORES)
    return chosen


def test_children_of_one_parent_get_a_core_each(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(processes.PARENT, "1")
    chosen = []
    for position in range(6):
        monkeypatch.setenv(processes.POSITION, str(position))
        chosen += core_of(machine)
    assert chosen == [2, 3, 5, 7, 2, 3]


def test_a_process_without_a_parent_draws_its_core(machine: Machine) -> None:
    chosen = [core_of(machine) for _ in range(100)]
    assert all(len(each) == 1 for each in chosen)
    assert set.union(*chosen) == CORES


def test_where_somebody_has_chosen_cores_before_it_is_left_at_that(machine: Machine) -> None:
    machine.count = len(CORES) + 1
    assert core_of(machine) == CORES
    assert len(core_of(machine, of_all=False)) == 1


def test_where_no_core_can_be_chosen_nothing_is_done(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_setaffinity")
    assert core_of(machine) == CORES


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < (os.cpu_count() or 1), reason="cores were chosen for the tests")
def test_an_api_of_two_processes_keeps_each_on_its_core(system: System) -> None:
    program = system.start("api.py", "--port", str(free_port()), "--processes", "2")
    eventually(lambda: program.log.count("listening"), equals=2, within_s=30)
    chosen = [os.sched_getaffinity(child) for child in guard.children(program.pid)]
    assert all(len(each) == 1 for each in chosen)
    assert len(set.union(*chosen)) == min(2, os.cpu_count() or 1)
    assert program.stop() == 0
