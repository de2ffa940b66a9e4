"""The connections of one thread: what sends commands and scripts to Redis, once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import redis

from _jobqueue.pieces import Field
from _jobqueue.store.scripts import Scripts
from _jobqueue.store.servers import LINK_TIMEOUT_S, Cluster, OneServer
from _jobqueue.store.weather import is_replica, unavailable, weather

try:
    import hiredis
except ImportError:
    hiredis: Any = None  # type: ignore[no-redef]

# Redis-py calls it too, but looks at each argument before
_pack: Callable[[Command], bytes] | None = getattr(hiredis, "pack_command", None)

AT_ONCE = 64  # scripts in one trip: each is short, but nobody else's comes between them
BLOCK_S = 2  # an idle slot looks at the queue at least this often, rung or not

Args = Iterable[Field]
Command = tuple[Field, ...]


class Packed(list[Field]):
    """A script's arguments, packed for their way before they are sent. Without hiredis they are as they were."""

    command: bytes | Command

    @classmethod
    def of(cls, sha: str, key: str, args: Args) -> Packed:
        self = cls(args)
        command: Command = (b"EVALSHA", sha, 1, key, *self)
        self.command = _pack(command) if _pack else command
        return self


class Link:
    """Connections of one thread, one to each place that it needs. Sends everything once: a caller that gets Unavailable may send
    again, and that call may go to another server."""

    def __init__(self, servers: OneServer | Cluster, scripts: Scripts, timeout_s: float = LINK_TIMEOUT_S) -> None:
        self._servers, self._scripts, self._timeout_s = servers, scripts, timeout_s
        self._connections: dict[str, Any] = {}
        self._generation = servers.generation
        self.was_used = False  # the last call went over a connection that had served before
        self.blocked_as: tuple[str, int] | None = None  # where it waits for the bell, and its client id there

    def run(self, name: str, key: str, args: Args, meanwhile: Callable[[], None] | None = None) -> Any:
        """A script's answer. ``meanwhile`` is called while Redis works."""
        with weather:
            return self._run(self._servers.owner(key), name, key, args, meanwhile)

    def run_all(self, name: str, calls: Sequence[tuple[str, Args]]) -> list[Any]:
        """A script's answers for several keys, in one trip to each place for every AT_ONCE of them."""
        answers: list[Any] = [None] * len(calls)
        with weather:
            at_place: dict[str, list[int]] = {}
            for number, (key, _) in enumerate(calls):
                at_place.setdefault(self._servers.owner(key), []).append(number)
            for place, numbers in at_place.items():
                for start in range(0, len(numbers), AT_ONCE):
                    some = numbers[start : start + AT_ONCE]
                    for number, answer in zip(some, self._run_some(place, name, [calls[n] for n in some]), strict=True):
                        answers[number] = answer
        return answers

    def ask(self, key: str, *command: Field) -> Any:
        """A command's answer, in bytes as it comes. ``key``: any one in its slot."""
        with weather:
            return self._call(self._servers.owner(key), *command)

    def ask_all(self, commands: Sequence[tuple[str, Command]]) -> list[Any]:
        """The answers of commands, each with a key, in one trip to each place."""
        answers: list[Any] = [None] * len(commands)
        with weather:
            at_place: dict[str, list[int]] = {}
            for number, (key, _) in enumerate(commands):
                at_place.setdefault(self._servers.owner(key), []).append(number)
            for place, numbers in at_place.items():
                said = self._ask(place, *(commands[number][1] for number in numbers))
                for number, answer in zip(numbers, said, strict=True):
                    if _is_error(answer):
                        raise answer
                    answers[number] = answer
        return answers

    def transaction(self, key: str, calls: Sequence[tuple[str, Sequence[Field]]]) -> list[Any]:
        """Run scripts in one MULTI/EXEC. A full Redis refuses even to queue what would drain it, and one that has forgotten a
        script cannot be told it there: then they run one by one."""
        with weather:
            place = self._servers.owner(key)
            commands = [("EVALSHA", self._scripts[name].sha, 1, key, *args) for name, args in calls]
            answers = self._ask(place, ("MULTI",), *commands, ("EXEC",))
            queued, done = answers[:-1], answers[-1]
            refusals = [each for each in (*queued, *(done if isinstance(done, list) else [done])) if _is_error(each)]
            if not refusals:
                return list(done)
            self.close()  # whoever refused the EXEC in Redis's place has left the transaction open
            if any(isinstance(each, _ONE_BY_ONE) for each in refusals):
                return [self._run(place, name, key, args) for name, args in calls]
            raise refusals[0]

    def run_and_confirm(self, name: str, key: str, args: Args, touch: str, confirm: Command) -> tuple[Any, Any]:
        """A script, and then on the same connection WAIT or WAITAOF: the script's answer, and the counts or why there are none.
        ``touch``: a hash in the key's slot, to be written to."""
        with weather:
            place = self._servers.owner(key)
            answer = self._run(place, name, key, args)
        try:
            # A repeated submit writes nothing, and there would be nothing to wait for.
            self._call(place, "HSET", touch, "confirmed", "1")
            # Never on a new connection: a call that loses the old one raises. It might lead to another server.
            return answer, self._call(place, *confirm)
        except (redis.RedisError, OSError) as error:
            return answer, str(unavailable(error))

    def wait_and_run(self, key: str, bell: str, slot: str, name: str, args: Args) -> Any:
        """Block until a bell rings, BLOCK_S pass, or somebody unblocks ``blocked_as``. Redis then runs the script, which was sent
        along, without waiting for us. Returns its answer, or None when Redis does not have the script."""
        with weather:
            place = self._servers.owner(key)
            self._renew()
            if self.blocked_as is None or self.blocked_as[0] != place:
                self._identify(place)
            rung, answer = self._ask(
                place,
                ("BLMOVE", f"{key}{bell}", f"{key}processing:{slot}", "RIGHT", "LEFT", BLOCK_S),
                (b"EVALSHA", self._scripts[name].sha, 1, key, *args),
            )
            if isinstance(answer, redis.exceptions.NoScriptError):
                return None
            if isinstance(answer, Exception):
                raise answer
            if isinstance(rung, Exception) and not (answer and answer[1]) and not str(rung).startswith("UNBLOCKED"):
                raise rung
            return answer

    def close(self) -> None:
        self.blocked_as = None
        while self._connections:
            self._connections.popitem()[1].disconnect()

    def _identify(self, place: str) -> None:
        try:
            self.blocked_as = place, int(self._call(place, "CLIENT", "ID"))
        except redis.ResponseError:
            self.blocked_as = place, 0  # not permitted: blocked calls then end by themselves

    def _run(self, place: str, name: str, key: str, args: Args, meanwhile: Callable[[], None] | None = None) -> Any:
        script = self._scripts[name]
        command = args.command if isinstance(args, Packed) else (b"EVALSHA", script.sha, 1, key, *args)
        [answer] = self._ask(place, command, meanwhile=meanwhile)
        if isinstance(answer, redis.exceptions.NoScriptError):
            [answer] = self._ask(place, ("EVAL", script.text, 1, key, *args))
        if isinstance(answer, Exception):
            raise answer
        return answer

    def _run_some(self, place: str, name: str, calls: Sequence[tuple[str, Args]]) -> list[Any]:
        sha = self._scripts[name].sha
        answers = self._ask(place, *((b"EVALSHA", sha, 1, key, *args) for key, args in calls))
        forgotten = [n for n, answer in enumerate(answers) if isinstance(answer, redis.exceptions.NoScriptError)]
        if forgotten:  # the first of them brings the script, for all
            answers[forgotten[0]] = self._run(place, name, *calls[forgotten[0]])
            rest = self._run_some(place, name, [calls[n] for n in forgotten[1:]]) if forgotten[1:] else []
            for number, answer in zip(forgotten[1:], rest, strict=True):
                answers[number] = answer
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
        return answers

    def _call(self, place: str, *command: Field) -> Any:
        [answer] = self._ask(place, command)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def _ask(self, place: str, *commands: Command | bytes, meanwhile: Callable[[], None] | None = None) -> list[Any]:
        """The answers to commands that are sent at once, refusals among them."""
        answers: list[Any] = []
        try:
            connection = self._connection(place)
            connection.send_packed_command([b"".join(_packed(connection, commands))], check_health=False)
            if meanwhile:
                meanwhile()
            for _ in commands:
                try:
                    answers.append(connection.read_response(disable_decoding=True))
                except redis.ResponseError as refusal:
                    answers.append(refusal)
        except BaseException as error:  # an answer may still be on its way: this connection must not be used again
            self.close()
            if isinstance(error.__context__, BlockingIOError):  # the kernel has ended a wait
                error = redis.TimeoutError("no answer in time")
            if isinstance(error, Exception):
                self._servers.note(place, error)
            raise error
        for answer in answers:
            if isinstance(answer, redis.ResponseError):
                self._note(place, answer)
        return answers

    def _note(self, place: str, refusal: redis.ResponseError) -> None:
        self._servers.note(place, refusal)
        if is_replica(refusal) and self._generation == self._servers.generation:
            self._servers.hang_up()  # it is no longer the primary, and what else is connected to it is as wrong

    def _connection(self, place: str) -> Any:
        self._renew()
        connection = self._connections.get(place)
        self.was_used = connection is not None
        if connection is None:
            connection = self._connections[place] = self._servers.connect(place, self._timeout_s)
        return connection

    def _renew(self) -> None:
        if self._generation != self._servers.generation:
            self._generation = self._servers.generation
            self.close()


def _packed(connection: Any, commands: Sequence[Command | bytes]) -> Iterable[bytes]:
    if _pack:
        return [command if isinstance(command, bytes) else _pack(command) for command in commands]
    return (part for command in commands for part in connection.pack_command(*command))


_ONE_BY_ONE = (redis.exceptions.OutOfMemoryError, redis.exceptions.NoScriptError)


def _is_error(answer: Any) -> bool:
    return isinstance(answer, Exception)
