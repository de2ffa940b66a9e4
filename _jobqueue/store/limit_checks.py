"""What the checker says of a queue's limits: permits are the jobs that run under them, and who waits is found."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

from _jobqueue.store import scans
from _jobqueue.store.store import Store, chunks_of, prefix_of
from _jobqueue.store.weather import weather

AGAIN_S = 0.3
TWO_TICKS_S = 2.5  # of a reaper
SCAN_STEP = 500
KINDS = ("permits:", "starts:")  # of keys that a name has while somebody uses it


def limit_problems(store: Store, queue: str, repair: bool) -> Iterator[str]:
    """Sentences; what is seen twice counts. Nothing is read of a queue that uses no limits but whether it does."""
    if (
        store.ask("HGET", f"{prefix_of(queue)}meta", "gates") != b"2"
        and next(scans.keys(store, queue, "permits:"), None) is None
    ):
        return
    yield from _names(store, queue, repair)
    yield from _permits(store, queue, repair)
    yield from _lanes(store, queue, repair)
    yield from _waiters(store, queue, repair)


def _names(store: Store, queue: str, repair: bool) -> Iterator[str]:
    """A reaper looks after each name that has a key, so what nobody uses any more goes."""

    def forgotten(names: list[str]) -> list[str]:
        known = store.ask("ZMSCORE", f"{prefix_of(queue)}limited", *names)
        suspects = [name for name, score in zip(names, known, strict=True) if score is None]
        return [
            name for name in suspects if store.ask("EXISTS", *(f"{prefix_of(queue)}{kind}{name}" for kind in KINDS))
        ]

    for name in _twice(sorted({name for kind in KINDS for name in scans.keys(store, queue, kind)}), forgotten):
        yield f"nobody looks after the name {name} of a limit"
        if repair:
            store.run("permits", queue, [1, name, ""])


def _permits(store: Store, queue: str, repair: bool) -> Iterator[str]:
    prefix, client = prefix_of(queue), store.client(queue)

    def wrong(name: str, ids: list[str]) -> list[str]:
        return [job_id.decode() for job_id in store.run("permits", queue, [0, name, *ids])]

    for name in sorted(set(scans.keys(store, queue, "permits:"))):
        with weather:
            ids = [member.decode(errors="replace") for member in client.sscan_iter(f"{prefix}permits:{name}")]
        for job_id in _twice(ids, lambda some, name=name: wrong(name, some)):  # type: ignore[misc]
            yield f"job {job_id} holds a permit of the limit {name}, but does not run under it"
            if repair:
                store.run("permits", queue, [1, name, job_id])
    for job_id in _twice(list(scans.members(store, queue, ["leases"])), lambda some: wrong("", some)):
        yield f"job {job_id} runs without a permit of its limits"
        if repair:
            store.run("permits", queue, [1, "", job_id])


def _lanes(store: Store, queue: str, repair: bool) -> Iterator[str]:
    prefix, client = prefix_of(queue), store.client(queue)
    with weather:
        under = {name.decode() for name, _ in client.hscan_iter(f"{prefix}under", count=SCAN_STEP)}
    for lane in sorted(under | {name for name in scans.keys(store, queue, "lane:") if " " in name}):

        def look(repair: bool, lane: str = lane) -> Any:
            members = list(scans.members(store, queue, [f"lane:{lane}"]))
            found = [
                store.run("limit_lane", queue, [lane, int(repair), *some])
                for some in list(chunks_of(iter(members), SCAN_STEP)) or [[]]
            ]
            return any(wrong for wrong, _ in found), [job_id.decode() for _, strays in found for job_id in strays]

        if any(look(False)):
            time.sleep(AGAIN_S)
            wrong, strays = look(repair)
            yield from (f"job {job_id} is not parked but stands in the lane {lane}" for job_id in strays)
            if wrong:
                yield f"the lane {lane} is not where claims look for it"


def _waiters(store: Store, queue: str, repair: bool) -> Iterator[str]:
    """Nobody waits at an open limit for longer than two ticks of a reaper."""

    def waiting_at_open(names: list[str]) -> list[str]:
        rows = [store.run("limited", queue, ["one", name, 1])[0] for name in names]
        shut = [store.ask("ZSCORE", f"{prefix_of(queue)}shut", name) is not None for name in names]
        return [row[0].decode() for row, still in zip(rows, shut, strict=True) if still and not row[7]]

    for name in _twice(list(scans.members(store, queue, ["shut"])), waiting_at_open, TWO_TICKS_S):
        yield f"jobs wait for the limit {name}, which is open; is a reaper running?"
        if repair:
            store.run("permits", queue, [1, name, ""])
            store.run("let_in", queue, ["", 1000])


def _twice(names: list[str], wrong: Callable[[list[str]], list[str]], again_s: float = 0.0) -> Iterator[str]:
    """Those of the names that are wrong at two looks."""
    suspects = [name for some in chunks_of(iter(names), SCAN_STEP) for name in wrong(some)]
    if suspects:
        time.sleep(again_s or AGAIN_S)
    for some in chunks_of(iter(suspects), SCAN_STEP):
        yield from wrong(some)
