"""A receiver of webhooks that counts its connections and behaves as a test wants."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

OK = b"HTTP/1.1 204 No Content\r\n\r\n"


class Request:
    """What has come: the line, headers in lower case, the body."""

    def __init__(self, raw: bytes) -> None:
        head, _, self.body = raw.partition(b"\r\n\r\n")
        self.line, *lines = head.decode("latin-1").split("\r\n")
        self.headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}


class Receiver:
    """Answers each request with ``answer``: bytes, or a function of the request and its socket. Listens on a loopback port."""

    def __init__(self, answer: bytes | Callable[[Request, socket.socket], Any] = OK, tls: ssl.SSLContext | None = None):
        self.answer, self.tls = answer, tls
        self.connections = 0
        self.requests: list[Request] = []
        self._lock, self._closed = threading.Lock(), threading.Event()
        self._open: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = int(self._listener.getsockname()[1])
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def __enter__(self) -> Receiver:
        return self

    def __exit__(self, *error: object) -> None:
        self._closed.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for sock in list(self._open):
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        self._thread.join(10)

    def url(self, path: str = "/hook", scheme: str = "http", host: str = "127.0.0.1") -> str:
        return f"{scheme}://{host}:{self.port}{path}"

    def _accept(self) -> None:
        while not self._closed.is_set():
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._open.add(sock)
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        try:
            with suppress(OSError), sock, self._secured(sock) as spoken:
                request = Request(_read(spoken))
                with self._lock:
                    self.requests.append(request)
                if isinstance(self.answer, bytes):
                    spoken.sendall(self.answer)
                else:
                    self.answer(request, spoken)
        finally:
            self._open.discard(sock)

    def _secured(self, sock: socket.socket) -> socket.socket:
        return self.tls.wrap_socket(sock, server_side=True) if self.tls else sock

    def hang(self, request: Request, sock: socket.socket) -> None:
        """An answer that does not come before the receiver ends."""
        self._closed.wait(60)

    def drip(self, request: Request, sock: socket.socket) -> None:
        """A header without an end, a byte at a time."""
        sock.sendall(b"HTTP/1.1 200 OK\r\nx: ")
        while not self._closed.wait(0.05):
            sock.sendall(b"y")


def endless(request: Request, sock: socket.socket) -> None:
    """A body that does not end."""
    sock.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        sock.sendall(b"y" * 65536)


def reset(request: Request, sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    sock.close()


def _read(sock: socket.socket) -> bytes:
    raw = b""
    while b"\r\n\r\n" not in raw:
        more = sock.recv(65536)
        if not more:
            return raw
        raw += more
    head, _, body = raw.partition(b"\r\n\r\n")
    lengths = [line.partition(b":")[2] for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
    while lengths and len(body) < int(lengths[0]):
        more = sock.recv(65536)
        if not more:
            break
        body += more
    return head + b"\r\n\r\n" + body
