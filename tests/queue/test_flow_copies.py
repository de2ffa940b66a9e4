"""Each message of a workflow's life arrives again, alone or with another, in any order, at any later moment (F64): an edge is
released once, also when its parent has been retried meanwhile."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from _jobqueue.store.link import Link
from jobqueue import JobQueue, NewJob, Unavailable
from tests.harness import Server
from tests.played import Q, Worker, tick

COPIED = {"submit", "exchange", "tell", "retry", "cancel"}
Message = tuple[str, Sequence[Any]]


class Play:
    """A parent dies, is retried, and is done; its children run, and one of these is retried too."""

    def __init__(self, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
        server.client.flushall()
        self.queue, self.redis = JobQueue(server.url), server.client
        self.worker, self.link = Worker(self.queue), self.queue.link()
        self.sent: list[Message] = []
        self.released, self.started, self.last = Counter[str](), Counter[str](), dict[str, str]()
        self.recording = False
        run = Link._run

        def noted(link: Link, place: str, name: str, key: str, args: Any, *rest: Any) -> Any:
            answer = run(link, place, name, key, args, *rest)
            if name in COPIED and self.recording:
                self.sent.append((name, list(args)))
                self.look()
            return answer

        monkeypatch.setattr(Link, "_run", noted)
        self.steps: list[Callable[[], object]] = [
            self.submit,
            lambda: self.worker.give("failed"),
            lambda: self.queue.retry(self.ids[0]),
            lambda: self.worker.give("done"),
            lambda: tick(self.queue),
            lambda: self.worker.give("failed"),
            lambda: self.queue.retry(self.ids[1]),
            lambda: self.worker.give("done", 2),
            lambda: self.worker.give("done"),
        ]

    def submit(self) -> None:
        jobs = [
            NewJob(name="parent", max_attempts=1),
            NewJob(name="done", after=["parent"], max_attempts=1, priority="high"),
            NewJob(name="ended", after=["parent"], when="ended", priority="low"),
            NewJob(name="last", after=["done", "ended"], priority="low"),
        ]
        self.ids = [answer.job.id for answer in self.queue.submit_many(jobs) if answer.job]

    def look(self) -> None:
        """Count releases and starts."""
        for key in self.redis.scan_iter(f"{Q}job:*", 1000):
            status, needs = self.redis.hmget(key, "status", "needs")
            name = self.redis.hget(key, "name")
            assert int(needs or 0) >= 0
            self.released[name] += self.last.get(name) == "blocked" and status != "blocked"
            self.started[name] += self.last.get(name) != "processing" == status
            self.last[name] = status

    def goes(self, copies: dict[int, Sequence[int]]) -> None:
        """``copies``: after which step which messages of those sent so far arrive again."""
        for number, step in enumerate(self.steps):
            self.recording = True
            step()
            self.recording = False
            for which in copies.get(number, ()):
                if which < len(self.sent):
                    name, args = self.sent[which]
                    try:
                        self.link.run(name, Q, args)
                    except Unavailable:
                        pass
                    self.look()

    def ended_well(self) -> bool:
        assert self.released == {"parent": 0, "done": 1, "ended": 1, "last": 1}, self.released
        assert self.started == {"parent": 2, "done": 2, "ended": 1, "last": 1}, self.started
        assert set(self.last.values()) == {"done"}
        return self.queue.books("default").missing == 0 and self.queue.check("default") == []


def test_f64_without_copies_all_goes_well(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    play = Play(server, monkeypatch)
    play.goes({})
    assert play.ended_well() and len(play.sent) >= len(play.steps)


ALL_BACKWARDS = [{number: range(50, -1, -1) for number in range(9)}]
EACH_ALONE = [{number: [which]} for number in range(9) for which in range(2 * number + 2)]


@pytest.mark.parametrize(
    "plays",
    [
        ALL_BACKWARDS,
        pytest.param(EACH_ALONE[-18:], marks=pytest.mark.long(3)),
        pytest.param(EACH_ALONE, marks=pytest.mark.long(4)),
    ],
    ids=["all backwards", "each alone after the last step", "each alone after each step"],
)
def test_f64_a_copy_of_any_message_releases_nobody_again(
    server: Server, monkeypatch: pytest.MonkeyPatch, plays: Sequence[dict[int, Sequence[int]]]
) -> None:
    """All messages so far arrive again after each step, backwards; or each alone."""
    for copies in plays:
        with monkeypatch.context() as patch:
            play = Play(server, patch)
            play.goes(copies)
            assert play.ended_well(), copies


@pytest.mark.long(60)
def test_f64_two_copies_of_any_messages_in_any_order(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(9):
        for which in itertools.permutations(range(2 * number + 2), 2):
            with monkeypatch.context() as patch:
                play = Play(server, patch)
                play.goes({number: which})
                assert play.ended_well(), (number, which)
