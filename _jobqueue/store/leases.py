"""Leases: how the threads of a worker claim, extend and settle."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from _jobqueue.by_type import summed, text_of
from _jobqueue.errors import Unavailable
from _jobqueue.histograms import Counts
from _jobqueue.kits import ANY_TYPE, kit_of, policy_text
from _jobqueue.pieces import Field
from _jobqueue.records import DEFAULT_TYPE, FORMAT, REAPER_LOST_MS, Claimed, Held, Policy, Settlement
from _jobqueue.store.chunks import BYTES_PER_SCRIPT
from _jobqueue.store.link import Link
from _jobqueue.store.telling import tell_children
from _jobqueue.tokens import make_token
from _jobqueue.trace_context import unpacked

FEW = 4  # settlements that are not measured
TELL_STEPS = 8  # scripts that tell children of an end, before the slot goes on


class Conversation:
    """What one slot and Redis say to each other about one queue. Owns ``seq``, the number of the slot's last claim, and ``seen``,
    the highest number whose answer has arrived. A claim's jobs stand under the token ``<slot>:<seq>``.

    A call that raised Unavailable may have arrived. Repeat it with ``again``: it settles once and answers the same jobs. The next
    claim tells Redis that this answer never arrived, and its jobs go back unharmed."""

    def __init__(self, link: Link, prefix: str, slot: str, lease_ms: int, defaults: Sequence[str]) -> None:
        self.link, self.slot = link, slot
        self.kit = ANY_TYPE  # what its worker's beat has published; it is given jobs of these types alone
        self.more = False  # the last exchange stopped at its bound: there may be jobs behind
        self.seq = self.seen = 0
        self._prefix, self._lease_ms, self._defaults = prefix, lease_ms, defaults

    def exchange(
        self, ended: Sequence[Settlement] = (), want: int = 0, *, again: bool = False
    ) -> tuple[list[bool], list[Claimed]]:
        """Settle attempts and claim up to ``want`` jobs. Returns whether each attempt was accepted (its token was still the
        job's), and the jobs."""
        self.seq += not again
        accepted: list[bool] = []
        *first, last = _by_bytes(ended)
        for some in first:
            args = [self.slot, 0, self.seen, 0, self._lease_ms, *self._defaults, 0, ANY_TYPE, *_settlements(some)]
            accepted += _accepted(self.link.run("exchange", self._prefix, args))
        answer = self.link.run("exchange", self._prefix, self._args(want, 0, last))
        if not answer:
            raise Unavailable("a newer claim of this slot has been made")
        self.seen, self.more = self.seq, bool(answer[1] & 1)
        if answer[1] & 2:
            tell_children(lambda: self.link.run("tell", self._prefix, [0]), TELL_STEPS)
        return accepted + _accepted(answer), self._claimed(answer)

    def wait_and_claim(self, want: int, alive_ms: int) -> list[Claimed]:
        """Wait in BLMOVE for the bell and claim in one trip; [] when it did not ring, or somebody else was quicker. Redis claims
        when it rings, even for a worker that has died while it waited: only for one whose last beat is at most ``alive_ms``
        old."""
        self.seq += 1
        answer = self.link.wait_and_run(self._prefix, self._bell, self.slot, "exchange", self._args(want, alive_ms, ()))
        self.seen = self.seq
        return self._claimed(answer) if answer else []

    def take_over(self, link: Link, ended: Sequence[Settlement], seen: int) -> list[bool]:
        """End the conversation from another thread, over its link: settle, and give back unharmed all that was claimed since
        ``seen``. A claim that is still on its way is refused. Returns whether each attempt was accepted."""
        after = self.seq + 2  # the slot's thread may be making one more call
        args: list[Field] = [self.slot, after, seen, 0, self._lease_ms, *self._defaults, 0, self.kit]
        answer = link.run("exchange", self._prefix, args + _settlements(ended))
        if not answer:
            raise Unavailable("a newer claim of this slot has been made")
        return _accepted(answer)

    def close(self) -> None:
        self.link.close()

    @property
    def _bell(self) -> str:
        return f"bell:{self.kit}" if self.kit else "bell"

    def _args(self, want: int, alive_ms: int, ended: Sequence[Settlement]) -> list[Field]:
        args: list[Field] = [
            self.slot,
            self.seq,
            self.seen,
            want,
            self._lease_ms,
            *self._defaults,
            alive_ms,
            self.kit,
        ]
        return args + _settlements(ended)

    def _claimed(self, answer: Sequence[Any]) -> list[Claimed]:
        return claimed_in(answer, make_token(self.slot, self.seq))


class Presence:
    """What a worker and Redis say to each other about one queue beside the claims of its slots."""

    def __init__(self, link: Link, prefix: str, worker: str, lease_ms: int, defaults: Sequence[str]) -> None:
        self.link, self.worker = link, worker
        self._prefix, self._lease_ms, self._defaults = prefix, lease_ms, defaults

    def beat(
        self,
        info: dict[str, Any],
        types: dict[str, Policy],
        held: Sequence[Held] = (),
        counts: Mapping[str, Counts] | None = None,
    ) -> tuple[bool, list[str], int]:
        """Say that the worker lives, renew its leases and add to the counters of types. Returns whether a reaper lives, for each
        attempt 'ok', 'cancel' (asked to stop) or 'lost' (taken back), and Redis's clock, in ms."""
        kit = kit_of(types)
        said = json.dumps(info | {"kit": kit} if kit else info)
        args: list[Field] = [self.worker, said, self._lease_ms, kit, FORMAT, len(types)]
        for name, policy in types.items():
            most_ms = "-" if policy.max_backoff_ms is None else policy.max_backoff_ms
            args += [name, policy_text(policy), f"{most_ms} {policy.jitter}"]
        by_type = counts or {}
        # What ends is counted for the queue where it is settled.
        times = {name: n for name, n in summed(by_type.values()).items() if ":" in name}
        args.append(len(times))
        for name, n in times.items():
            args += [name, n]
        args.append(len(by_type))
        for name, its in by_type.items():
            args += [name, text_of(its)]
        for h in held:
            args += [h.id, h.token, h.left_ms, len(h.fields) // 2, *h.fields]
        now, reaper, answers = self.link.run("beat", self._prefix, args)
        reaper_lives = bool(reaper) and int(now) - int(reaper) < REAPER_LOST_MS
        return reaper_lives, [answer.decode() for answer in answers], int(now)

    def settle(self, ended: Sequence[Settlement]) -> list[bool]:
        """Settle attempts of any of the worker's slots without a claim. Returns whether each was accepted."""
        accepted: list[bool] = []
        for some in _by_bytes(ended):
            args = [f"{self.worker}-0", 0, 0, 0, self._lease_ms, *self._defaults, 0, ANY_TYPE, *_settlements(some)]
            accepted += _accepted(self.link.run("exchange", self._prefix, args))
        return accepted

    def drop(self, slot: str) -> bool:
        """Forget one of its slots, if it holds nothing."""
        return bool(self.link.run("leave", self._prefix, ["", "", slot]))

    def leave(self, slots: Iterable[str]) -> bool:
        """Forget the worker and its slots, if they hold nothing."""
        return bool(self.link.run("leave", self._prefix, [self.worker, "", *slots]))


def _by_bytes(ended: Sequence[Settlement]) -> list[Sequence[Settlement]]:
    """Settlements for one script each, one list at least: results may be large."""
    if len(ended) <= FEW:
        return [ended]
    parts: list[list[Settlement]] = [[]]
    room = BYTES_PER_SCRIPT
    for settlement in ended:
        size = sum(len(part) for part in settlement.fields if isinstance(part, (bytes, str)))
        if size > room and parts[-1]:
            parts.append([])
            room = BYTES_PER_SCRIPT
        parts[-1].append(settlement)
        room -= size
    return list(parts)


def _settlements(ended: Sequence[Settlement]) -> list[Field]:
    return [len(ended), *(part for settlement in ended for part in settlement.args())]


def _accepted(answer: Sequence[Any]) -> list[bool]:
    """Of each attempt that a call of exchange.lua was to settle, whether it was."""
    return [each == ord("1") for each in answer[0]]


def claimed_in(answer: Sequence[Any], token: str) -> list[Claimed]:
    """The jobs in an answer of exchange.lua."""
    jobs: list[Claimed] = []
    at, end = 2, len(answer)
    while at < end:
        first, at = at + 1, at + 1 + answer[at]
        jobs.append(_claimed(answer[first:at], token))
    return jobs


def _claimed(row: Sequence[bytes], token: str) -> Claimed:
    job_id, job_type, attempts, timeout_ms, waited, *payload = row
    waited_ms, blank, trace = waited.partition(b" ")
    traceparent, tracestate = unpacked(trace.decode()) if blank else (None, None)
    return Claimed(
        job_id.decode(),
        token,
        job_type.decode() or DEFAULT_TYPE,
        b"".join(payload),
        int(attempts) + 1,
        int(timeout_ms) if timeout_ms else None,
        int(waited_ms) if waited_ms else None,
        traceparent,
        tracestate,
    )
