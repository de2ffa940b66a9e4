"""The checker: compares every job of a live queue with every index."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

from _jobqueue.errors import Unavailable
from _jobqueue.records import INDEX_OF, STATUSES
from _jobqueue.store import scans
from _jobqueue.store.expiry_checks import expiry_problems
from _jobqueue.store.limit_checks import limit_problems
from _jobqueue.store.rows import books_of
from _jobqueue.store.schedule_checks import schedule_problems
from _jobqueue.store.schedules import Schedules
from _jobqueue.store.store import Store, chunks_of, prefix_of
from _jobqueue.store.sum_checks import sum_problems
from _jobqueue.store.tag_checks import tag_problems
from _jobqueue.store.turns import turn_problems
from _jobqueue.store.weather import weather
from _jobqueue.store.webhook_checks import webhook_problems

FIRST_SCORE = 6  # in a row of inspect: that of the first of STATUSES
BEHIND_SCORES = FIRST_SCORE + len(STATUSES)
EDGES_STEP = 10  # jobs whose edges, up to a thousand each, one script looks at


class Checker:
    """Compares every job of a queue with every index, in steps of SCAN_STEP keys.

    A scan is not atomic but each look at some jobs is, and so is each transition: what is seen half-way was so at no
    instant. A suspect is still looked at twice, because hands (and tests) also write to Redis without a script."""

    SCAN_STEP = 500
    LATE_MS = 60_000
    AGAIN_S = 0.3

    def __init__(self, store: Store, queue: str, schedules: Schedules) -> None:
        self.store, self.name, self.prefix, self.schedules = store, queue, prefix_of(queue), schedules

    def run(self, repair: bool) -> list[str]:
        """Sentences on what is wrong; [] when every invariant holds. Notes in the queue that it was checked."""
        wrong = self._wrong(repair)
        with suppress(Unavailable):  # a replica can be checked too, but takes no note
            self.store.run("verdict", self.name, [len(wrong)])
        return wrong

    def _wrong(self, repair: bool) -> list[str]:
        suspects = self._suspects(self._ids())
        if suspects:
            time.sleep(self.AGAIN_S)
            suspects = self._suspects(iter(suspects))
        wrong = [f"{self.name}: {problem}" for problems in suspects.values() for problem in problems]
        missing = books_of(self.store.run("look", self.name, [])).missing
        if missing:
            wrong.append(f"{self.name}: the books do not balance: {missing:+d} submitted jobs are nowhere")
        strays = [*self._stray_lists(repair), *self._stray_kinds(repair), *self._stray_lanes(repair)]
        strays += self._stray_edges(repair)
        strays += self._stray_marks(repair)
        strays += expiry_problems(self.store, self.name, repair, self.LATE_MS, self.AGAIN_S)
        strays += schedule_problems(self.store, self.name, self.schedules, repair)
        strays += turn_problems(self.store, self.name, repair)
        strays += limit_problems(self.store, self.name, repair)
        strays += sum_problems(self.store, self.name, repair)
        wrong += [f"{self.name}: {problem}" for problem in strays]
        if repair and (suspects or missing):
            for ids in chunks_of(
                iter([*suspects, ""]), self.SCAN_STEP
            ):  # "" ends the last step, which closes the books
                self.store.run("repair", self.name, [int(ids[-1] == ""), *filter(None, ids)])
            for ids in chunks_of(iter(suspects), EDGES_STEP):
                self.store.run("edges", self.name, [1, *ids])
        wrong += [f"{self.name}: {problem}" for problem in tag_problems(self.store, self.name, repair, self.AGAIN_S)]
        untold = webhook_problems(self.store, self.name, self._ids(), repair, self.AGAIN_S)
        wrong += [f"{self.name}: {problem}" for problem in untold]
        return wrong

    def _ids(self) -> Iterator[str]:
        """Every id in the hashes and in the indexes, many of them more than once."""
        yield from scans.keys(self.store, self.name, "job:")
        yield from scans.members(self.store, self.name, (*INDEX_OF.values(), "held"))

    def _suspects(self, ids: Iterator[str]) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for chunk in chunks_of(ids, self.SCAN_STEP):
            waiting: list[str] = []
            for job_id, row in zip(chunk, self.store.run("inspect", self.name, chunk), strict=True):
                if problems := list(self._problems(job_id, row)):
                    found[job_id] = problems
                if row[0] == b"blocked" or row[-1] not in (b"", b"0"):
                    waiting.append(job_id)
            for some in chunks_of(iter(waiting), EDGES_STEP):
                for job_id, edges in zip(some, self.store.run("edges", self.name, [0, *some]), strict=True):
                    if problems := list(_edge_problems(job_id, edges) if edges else ()):
                        found[job_id] = found.get(job_id, []) + problems
        return found

    def _problems(self, job_id: str, row: Sequence[Any]) -> Iterator[str]:
        status, token, score = (part.decode() for part in row[:3])
        attempts, max_attempts, now = int(row[3]), int(row[4]), int(row[5])
        scores = {
            name: value for name, value in zip(STATUSES, row[FIRST_SCORE:BEHIND_SCORES], strict=True) if value != b""
        }
        held, kind, parked, in_lane, _ = row[BEHIND_SCORES:]
        kind, shown = kind.decode(), f"job {job_id}"
        indexes = [INDEX_OF[name] for name in scores] + (["held"] if parked else [])
        if not status:
            yield from (f"{shown} is in {index} but has no hash" for index in indexes)
            return
        if indexes != [INDEX_OF.get(status)] and (status, indexes) != ("queued", ["held"]):
            yield f"{shown} is {status} but stands in {', '.join(indexes) or 'no index'}"
        if parked != in_lane:
            where = "not in the lane of its type" if parked else "not parked, but in the lane of its type"
            yield f"{shown} is {'parked, but ' if parked else ''}{where}"
        if parked and "queued" not in scores:
            scores["queued"] = parked
        if (status == "failed") != bool(kind):
            yield f"{shown} is {status} but stands under {kind or 'no'} kind of error"
        if status == "queued" and scores.get("queued", score.encode()) != score.encode():
            yield f"{shown} is queued at {scores['queued'].decode()} but its place is {score or 'unknown'}"
        if status in ("queued", "scheduled") and 0 < max_attempts <= attempts:
            yield f"{shown} waits with all of its {max_attempts} attempts spent"
        if attempts < 0 or 0 < max_attempts < attempts:
            yield f"{shown} has made {attempts} of {max_attempts} attempts"
        if status in ("processing", "done") and attempts < 1:
            yield f"{shown} is {status} without an attempt"
        if status == "processing":
            if held != 1:
                yield f"{shown} runs under token {token!r} but stands {held} times in its slot's processing list"
            if "processing" in scores and float(scores["processing"]) < now - self.LATE_MS:
                yield f"{shown}: its lease ran out over a minute ago and nobody reaped it; is a reaper running?"

    def _stray_lists(self, repair: bool) -> Iterator[str]:
        """Processing lists of slots that no living worker owns, where the reaper cannot see them."""
        with weather:
            client = self.store.client(self.name)
            for slot in scans.keys(self.store, self.name, "processing:"):
                key = f"{self.prefix}processing:{slot}"
                if client.hexists(f"{self.prefix}slots", slot):
                    continue
                time.sleep(self.AGAIN_S)
                if client.exists(key) and not client.hexists(f"{self.prefix}slots", slot):
                    yield f"the list processing:{slot} belongs to no slot"
                    if repair and not self.store.run(
                        "leave", self.name, ["", "", slot]
                    ):  # it runs a job: the reaper must see it
                        client.hsetnx(f"{self.prefix}slots", slot, 0)

    def _stray_kinds(self, repair: bool) -> Iterator[str]:
        """What stands under a kind of error and is no dead letter of that kind."""
        kinds = self.store.ask("SMEMBERS", f"{self.prefix}kinds")
        for kind in sorted(name.decode(errors="replace") for name in kinds):
            strays, empty = self._strays_of("strays", "kind", kind, repair)
            for stray in strays:
                yield f"job {stray} is no dead letter of the kind {kind} but stands there"
            if empty:
                yield f"the kind of error {kind} has no dead letters"

    def _strays_of(self, script: str, index: str, name: str, repair: bool) -> tuple[list[str], bool]:
        """What ``script`` finds wrong twice in the index of that name: members of it, and whether the index itself is."""
        members = scans.members(self.store, self.name, [f"{index}:{name}"])
        chunks = [[], *chunks_of(members, self.SCAN_STEP)]
        found = [self.store.run(script, self.name, [name, 0, *chunk]) for chunk in chunks]
        if not any(wrong or strays for wrong, strays in found):
            return [], False
        time.sleep(self.AGAIN_S)
        still, wrong = list[str](), False
        for _, strays in found:
            wrong, again = self.store.run(script, self.name, [name, int(repair), *strays])
            still += [stray.decode(errors="replace") for stray in again]
        return still, bool(wrong)

    def _stray_edges(self, repair: bool) -> Iterator[str]:
        """Edges of jobs that are gone, which nobody will tell the children of, and lists of parents of such jobs."""
        with weather:
            client = self.store.client(self.name)
            for kind in ("then", "after"):
                for job_id in scans.keys(self.store, self.name, f"{kind}:"):
                    if self._is_told(client, job_id):
                        continue
                    time.sleep(self.AGAIN_S)  # it may be deleted since the scan, and its edges with it
                    if not self._is_told(client, job_id) and client.exists(f"{self.prefix}{kind}:{job_id}"):
                        yield f"the job {job_id} is gone, but {kind}:{job_id} is still there"
                        if repair and kind == "then":
                            client.zadd(f"{self.prefix}ends", {job_id: 0})
                        elif repair:
                            client.delete(f"{self.prefix}after:{job_id}")

    def _is_told(self, client: Any, job_id: str) -> bool:
        """Whether it is there, or its children will be told that it is not."""
        there = client.exists(f"{self.prefix}job:{job_id}")
        return bool(there or client.zscore(f"{self.prefix}ends", job_id) is not None)

    def _stray_lanes(self, repair: bool) -> Iterator[str]:
        """Side lanes whose jobs are not parked, or that stand wrongly among those that are open."""
        lanes = scans.keys(self.store, self.name, "lane:")
        types = {name for name in lanes if " " not in name}  # the others are of limits
        for name in sorted(types.union(scans.members(self.store, self.name, ["lanes"]))):
            strays, wrong = self._strays_of("lane", "lane", name, repair)
            for stray in strays:
                yield f"job {stray} is not parked but stands in the lane {name}"
            if wrong:
                yield f"the lane {name} is not among those that are open at its first job's place"

    def _stray_marks(self, repair: bool) -> Iterator[str]:
        """What waits for the record and cannot, or that nobody waits for."""
        gone = scans.keys(self.store, self.name, "gone:")
        ids = itertools.chain(gone, scans.members(self.store, self.name, ["unsaved"]))
        suspects = [job_id for chunk in chunks_of(ids, self.SCAN_STEP) for job_id, _ in self._marked(chunk, False)]
        if suspects:
            time.sleep(self.AGAIN_S)
        for chunk in chunks_of(iter(dict.fromkeys(suspects)), self.SCAN_STEP):
            for job_id, wrong in self._marked(chunk, repair):
                yield f"job {job_id} {_WRONG_MARKS[wrong]}"

    def _marked(self, ids: Sequence[str], repair: bool) -> list[tuple[str, str]]:
        answers = self.store.run("marked", self.name, [int(repair), *ids])
        return [(job_id, wrong.decode()) for job_id, wrong in zip(ids, answers, strict=True) if wrong]


def _edge_problems(job_id: str, edges: Sequence[Any]) -> Iterator[str]:
    needs, open_, lost, forgotten = edges
    if lost:
        yield f"job {job_id} has lost {lost} of its edges"
    elif needs != b"%d" % open_:
        yield f"job {job_id} has {open_} open edges, but needs says {needs.decode() or 'nothing'}"
    if forgotten:
        yield f"job {job_id} waits for {forgotten.decode()}, which has ended, and nobody will tell it"


_WRONG_MARKS = {
    "kept by nobody": "waits for the record, but none is kept",
    "nothing left": "is marked for the record, but nothing is left of it",
    "not marked": "is gone and waits for the record, but is not marked",
}
