"""An operator's calls: cancel, retry, run now, delete, of one job or of many; pause."""

from __future__ import annotations

import secrets
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from _jobqueue.errors import Conflict, NotFound, OldProgram
from _jobqueue.listed import ACTIONS, Acted
from _jobqueue.pieces import pieces
from _jobqueue.records import ANOTHER_PAYLOAD, BEAT_LOST_MS, MAX_PAYLOAD_BYTES, SAME
from _jobqueue.store.ids import queue_number_of
from _jobqueue.store.link import Args
from _jobqueue.store.registry import Registry
from _jobqueue.store.store import Store, chunks_of, prefix_of
from _jobqueue.store.telling import tell_children
from _jobqueue.strict_json import encode_json

ACT_STEP = 200  # jobs that one script operates on
NOTE_STEP = 1000  # ids that one script notes
TELL_STEPS = 100  # scripts that tell children what has become of those that they wait for, for one call


class Operations:
    """Each action is a script of the same name, harmless when it is sent twice."""

    def __init__(self, store: Store, registry: Registry) -> None:
        self._store, self._registry = store, registry

    def one(self, action: str, job_id: str, changes: Args = (), by: str | None = None) -> str:
        """Do it and return what the script says. NotFound, or Conflict when the job's status forbids it. ``by``: the operator, for
        a step of the job; '' for one without a name, None for no step."""
        status = self._registry.find(job_id, lambda queue: self._answers(action, queue, [job_id], changes, by)[0])
        if status not in ACTIONS[action].good:
            if status == "taken":
                raise Conflict("taken", "another job that has not ended has its unique key")
            raise Conflict(status, f"cannot {action} a job that is {status}")
        return status

    def cancel(self, job_id: str, force: bool, by: str | None) -> str:
        """Cancel a job: 'cancelled' when it waited, 'asked' when its handler was asked to stop; with ``force``, 'stopped' when
        that is interrupted."""
        answer = self.one("cancel", job_id, by=by)
        if not force or answer != "asked":
            return answer

        def stop(queue: str) -> bool | None:
            if not self._has(queue, job_id):
                return None
            stops = bool(self._store.run("stop", queue, [job_id]))
            if stops and by is not None:
                self._store.run("operate", queue, ["stop", secrets.token_hex(6), by, 1, 1, job_id])
            return stops

        return "stopped" if self._registry.find(job_id, stop) else "cancelled"

    def retry(self, job_id: str, payload: Any, by: str | None = None) -> str:
        """Queue a failed or cancelled job again with fresh attempts, and perhaps another payload: 'retried'. Conflict for any
        other status."""
        changes = [] if payload is SAME else pieces("payload", encode_json(payload, MAX_PAYLOAD_BYTES, "/payload"))
        return self.one("retry", job_id, changes, by)

    def delete(self, job_id: str) -> None:
        """Forget a job. Conflict while it is processing."""
        self._registry.find(job_id, lambda queue: self._has(queue, job_id) or None)
        try:  # if it is gone by now it was deleted, perhaps by a copy of this call
            self.one("delete", job_id)
        except NotFound:
            pass

    def act_on(
        self,
        action: str,
        job_ids: Iterable[str],
        dry_run: bool,
        by: str | None = None,
        operation: str | None = None,
    ) -> Acted:
        """Do one of ACTIONS to each of some jobs, or count those that allow it. Repeating is harmless. ``operation``: a name under
        which lists find what it has changed."""
        changed, skipped = 0, Counter[str]()
        by_queue = defaultdict[str, list[str]](list)
        queues_of = self._registry.by_number()
        for job_id in dict.fromkeys(job_ids):
            queues = queues_of.get(queue_number_of(job_id), [])
            if queues:
                queue = queues[0] if len(queues) == 1 else next((q for q in queues if self._has(q, job_id)), queues[0])
                by_queue[queue].append(job_id)
            else:
                skipped["not_found"] += 1
        for queue, ids in by_queue.items():
            done = self.act(action, queue, ids, dry_run, skipped, by)
            if operation and not dry_run:
                self.note(operation, queue, done)
            changed += len(done)
        return Acted(changed + skipped.total(), changed, dict(skipped))

    def act(
        self,
        action: str,
        queue: str,
        ids: Sequence[str],
        dry_run: bool,
        skipped: Counter[str],
        by: str | None = None,
    ) -> list[str]:
        """Returns which jobs were changed; the others are added to ``skipped``. ``by`` as in ``one``."""
        ready = []
        for job_id, (status, taken) in zip(ids, self._store.run("allowed", queue, ids) if ids else (), strict=True):
            if status.decode() not in ACTIONS[action].statuses:
                skipped[status.decode() or "not_found"] += 1
            elif action == "retry" and taken:
                skipped["taken"] += 1
            else:
                ready.append(job_id)
        if dry_run:
            return ready
        # A job that was there when it was looked at and is gone was deleted, perhaps by a copy of this call.
        gone = "deleted" if action == "delete" else "not_found"
        chunks = chunks_of(iter(ready), ACT_STEP)
        said = [answer or gone for some in chunks for answer in self._answers(action, queue, some, by=by)]
        good = ACTIONS[action].good
        skipped.update(answer for answer in said if answer not in good)
        return [job_id for job_id, answer in zip(ready, said, strict=True) if answer in good]

    def note(self, operation: str, queue: str, ids: Sequence[str]) -> None:
        """Remember for a day what an operation has changed."""
        for some in chunks_of(iter(ids), NOTE_STEP):
            self._store.run("noted", queue, [operation, *some])

    def delete_queue(self, queue: str) -> None:
        """Forget a queue that holds no jobs. NotFound, or Conflict while it holds some."""
        if queue not in self._registry.queues() and not self._store.ask("EXISTS", f"{prefix_of(queue)}meta"):
            raise NotFound(f"there is no queue {queue}")
        if planned := self._store.ask("ZCARD", f"{prefix_of(queue)}schedules"):
            schedules = "1 schedule" if planned == 1 else f"{planned} schedules"
            raise Conflict("used", f"queue {queue} has {schedules}: delete them first")
        held = sum(self._store.run("look", queue, [])[0])
        if not held:
            # First out of the registry: whoever submits from now on enters it again, and what was stored before holds up the rest.
            number = self._registry.unregister(queue)
            held = self._store.run("forget", queue, [BEAT_LOST_MS])
            if held and number is not None:
                self._registry.renumber(queue, str(number))
        if held < 0:
            raise Conflict("unsaved", f"the record has still to learn of {-held} changes in the queue {queue}")
        if held:
            jobs = "1 job" if held == 1 else f"{held} jobs"
            raise Conflict(
                "used", f"queue {queue} holds {jobs}: delete them, or wait until they are past their retention"
            )

    def _has(self, queue: str, job_id: str) -> bool:
        return bool(self._store.ask("EXISTS", f"{prefix_of(queue)}job:{job_id}"))

    def pause(self, queue: str, paused: bool) -> None:
        """Stop a queue from giving out jobs, or let it go on. NotFound for a queue that was never used."""
        if queue not in self._registry.queues():
            raise NotFound(f"there is no queue {queue}")
        self._store.run("pause", queue, [int(paused)])

    def pause_type(self, queue: str, job_type: str, paused: bool) -> None:
        """The same for the jobs of a type. Conflict, old_worker, while a worker lives that would not obey."""
        if queue not in self._registry.queues():
            raise NotFound(f"there is no queue {queue}")
        if not self._store.run("pause_type", queue, [job_type, int(paused)]):
            raise OldProgram(queue, "worker")

    def _answers(
        self, action: str, queue: str, ids: Sequence[str], changes: Args = (), by: str | None = None
    ) -> list[str | None]:
        """What the action's script says of each job."""
        request, retries = secrets.token_urlsafe(12), action == "retry"
        args = [request, len(ids), *ids, *changes] if retries else ids
        if by is None or action == "delete":  # nothing is left of a deleted job
            answers = self._store.run(action, queue, args)
        else:
            step = request + ANOTHER_PAYLOAD if changes else request
            noted = [action, step, by, 3 if retries else 1, len(ids)]
            answers = self._store.run("operate", queue, [*noted, *args])
        if len(answers) > len(ids):
            tell_children(lambda: self._store.run("tell", queue, [0]), TELL_STEPS)
        return [answer.decode() if answer else None for answer in answers[: len(ids)]]
