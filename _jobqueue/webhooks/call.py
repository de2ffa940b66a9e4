"""One call of a webhook: over a connection of its own, to the address that was checked, within one deadline."""

from __future__ import annotations

import email.utils
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from _jobqueue.webhooks.address import Allowed, Place, Target, Unresolved, places, resolved

CALL_S = 15.0
RESOLVE_S = 5.0
ANSWER_BYTES = 1024  # of an answer that are read
SEND_BYTES = 16 * 1024
PLACES_MOST = 3  # addresses of one host that are tried
RESOLVERS = 16  # names that are being asked for at once: a resolver that hangs holds its thread
DAY_S = 86_400

Resolve = Callable[[str, int], Sequence[Place]]


class NoAnswer(Exception):
    """There was no answer, or none of HTTP."""


class Answer(NamedTuple):
    """What a receiver said. ``after_s``: its Retry-After."""

    status: int
    after_s: float | None = None


_asking = threading.BoundedSemaphore(RESOLVERS)


def within(resolve: Resolve, seconds: float = RESOLVE_S) -> Resolve:
    """The same, in a thread that is not waited for any longer."""

    def ask(host: str, port: int) -> Sequence[Place]:
        said: list[Sequence[Place] | Exception] = []
        if not _asking.acquire(blocking=False):
            raise Unresolved(f"{host} cannot be resolved: too many names are being asked for")

        def run() -> None:
            try:
                said.append(resolve(host, port))
            except Exception as error:
                said.append(error)
            finally:
                _asking.release()

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        thread.join(seconds)
        if not said:
            raise Unresolved(f"{host} cannot be resolved within {seconds:g} s")
        if isinstance(said[0], Exception):
            raise said[0]
        return said[0]

    return ask


SYSTEM = within(resolved)


@dataclass(frozen=True, slots=True)
class Caller:
    """Calls webhooks. ``http``: also those that are not https."""

    allowed: Allowed = field(default_factory=Allowed)
    resolve: Resolve = SYSTEM
    call_s: float = CALL_S

    def post(self, target: Target, headers: Mapping[str, str], body: bytes) -> Answer:
        """Send it once. Forbidden where it may not lead; Unresolved or NoAnswer where it did not arrive, or nobody can say."""
        deadline = time.monotonic() + self.call_s
        found = places(target, self.allowed, self.resolve)
        try:
            sock = _connected(found, target, deadline)
            with sock:
                sock = _secured(sock, target, deadline)
                with sock:
                    _send(sock, _head(target, headers, len(body)) + body, deadline)
                    return _answer(sock, deadline)
        except TimeoutError:
            raise NoAnswer(f"no answer within {self.call_s:g} s") from None
        except ssl.SSLCertVerificationError as error:
            raise NoAnswer(f"its certificate is not accepted: {error.verify_message}") from None
        except OSError as error:
            raise NoAnswer(f"{type(error).__name__}: {error}") from None


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _connected(found: Sequence[Place], target: Target, deadline: float) -> socket.socket:
    """To one of the addresses that were checked; the name is not asked for again."""
    last: OSError | None = None
    for number, (family, address) in enumerate(found[:PLACES_MOST]):
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            more = min(len(found), PLACES_MOST) - number
            sock.settimeout(_left(deadline) / more)
            sock.connect((address, target.port))
            return sock
        except OSError as error:
            sock.close()
            last = error
    assert last
    raise last


def _secured(sock: socket.socket, target: Target, deadline: float) -> socket.socket:
    if target.scheme != "https":
        return sock
    sock.settimeout(_left(deadline))
    return ssl.create_default_context().wrap_socket(sock, server_hostname=target.host.rstrip("."))


def _head(target: Target, headers: Mapping[str, str], length: int) -> bytes:
    said = {"Host": target.authority, "Content-Length": str(length), "Connection": "close", **headers}
    lines = (f"{name}: {value}\r\n" for name, value in said.items())
    return f"POST {target.path} HTTP/1.1\r\n{''.join(lines)}\r\n".encode("latin-1")


def _send(sock: socket.socket, raw: bytes, deadline: float) -> None:
    for start in range(0, len(raw), SEND_BYTES):
        sock.settimeout(_left(deadline))
        sock.sendall(raw[start : start + SEND_BYTES])


def _answer(sock: socket.socket, deadline: float) -> Answer:
    """Reads no more than ANSWER_BYTES: the status, and the headers as far as they go."""
    raw, room = b"", ANSWER_BYTES
    while room:
        sock.settimeout(_left(deadline))
        more = sock.recv(room)
        room -= len(more)
        raw = _INTERIM.sub(b"", raw + more)
        if not more or b"\r\n\r\n" in raw:
            break
    line, _, rest = raw.partition(b"\r\n\r\n")[0].partition(b"\n")
    status = _STATUS.match(line)
    if not status:
        raise NoAnswer("what came back is no answer of HTTP" if raw else "the connection was closed without an answer")
    after = _AFTER.search(b"\n" + rest + b"\r\n")
    return Answer(int(status[1]), _seconds(after[1].decode("latin-1")) if after else None)


_STATUS = re.compile(rb"HTTP/1\.[01] ([1-5][0-9][0-9])(?: |\r|$)")
_INTERIM = re.compile(rb"^HTTP/1\.1 1[0-9][0-9][^\n]*\n(?:[^\r\n][^\n]*\n)*\r?\n")
_AFTER = re.compile(rb"\nretry-after:[ \t]*([^\r\n]{1,40}?)[ \t]*\r?\n", re.IGNORECASE)


def _seconds(text: str) -> float | None:
    """Retry-After, a number of seconds or a date, up to a day."""
    if re.fullmatch(r"[0-9]{1,9}", text):
        return min(float(text), DAY_S)
    try:
        return min(max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time()), DAY_S)
    except (TypeError, ValueError, OverflowError):
        return None
