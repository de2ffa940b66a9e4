"""One call: what is sent, what of the answer is read, and what it never does."""

from __future__ import annotations

import email.utils
import socket
import ssl
import time
from base64 import b64encode
from collections.abc import Callable
from typing import Any

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from _jobqueue.webhooks.address import Allowed, Forbidden, Target, target_of
from _jobqueue.webhooks.call import ANSWER_BYTES, Answer, Caller, NoAnswer
from _jobqueue.webhooks.signing import PREFIX, parse_secrets, signature
from tests.webhooks.certificates import Certificates
from tests.webhooks.receiver import Receiver, Request, endless, reset

HERE = Allowed.of("127.0.0.1")
SECRETS = [PREFIX + b64encode(bytes([n]) * 32).decode() for n in (1, 2)]


def post(receiver: Receiver, path: str = "/hook", body: bytes = b"{}", call_s: float = 5.0) -> Answer:
    return Caller(HERE, call_s=call_s).post(target_of(receiver.url(path)), {"x-one": "1"}, body)


def says(answer: bytes) -> Answer:
    with Receiver(answer) as receiver:
        return post(receiver)


def test_request_is_what_was_asked_for() -> None:
    with Receiver() as receiver:
        assert post(receiver, "/a/b?c=d%20e", b"x" * 300_000) == Answer(204)
        [request] = receiver.requests
    assert request.line == "POST /a/b?c=d%20e HTTP/1.1"
    assert request.headers == {
        "host": f"127.0.0.1:{receiver.port}",
        "content-length": "300000",
        "connection": "close",
        "x-one": "1",
    }
    assert request.body == b"x" * 300_000


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://h", "h"),
        ("https://H.Example:443/", "h.example"),
        ("https://h.:8443/x", "h.:8443"),
        ("http://[2001:db8::1]/", "[2001:db8::1]"),
        ("http://[2001:db8::1]:81/", "[2001:db8::1]:81"),
    ],
)
def test_host_is_called_by_its_old_name(url: str, host: str) -> None:
    assert target_of(url).authority == host


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", Answer(200)),
        (b"HTTP/1.0 500\r\n\r\n", Answer(500)),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 202 x\r\n\r\n", Answer(202)),
        (b"HTTP/1.1 301 Moved\r\nLocation: http://169.254.169.254/\r\n\r\n", Answer(301)),
        (b"HTTP/1.1 429 x\r\na: b\r\nretry-AFTER:  7 \r\n\r\n", Answer(429, 7)),
        (b"HTTP/1.1 503 x\r\nRetry-After: 9999999\r\n\r\n", Answer(503, 86_400)),
        (b"HTTP/1.1 503 x\r\nRetry-After: Wed, 21 Oct 2015 07:28:00 GMT\r\n\r\n", Answer(503, 0)),
        (b"HTTP/1.1 503 x\r\nRetry-After: soon\r\n\r\n", Answer(503)),
        (b"HTTP/1.1 503 x\r\nRetry-After: -1\r\n\r\n", Answer(503)),
        (b"HTTP/1.1 200 OK\r\nx: " + b"y" * 100_000, Answer(200)),
        (b"HTTP/1.1 200 OK\r\n\r\nRetry-After: 5\r\n\r\n", Answer(200)),
    ],
)
def test_of_an_answer_the_status_and_retry_after_are_read(answer: bytes, told: Answer) -> None:
    assert says(answer) == told


def test_retry_after_may_be_a_date() -> None:
    later = email.utils.formatdate(time.time() + 3600, usegmt=True)
    answer = says(f"HTTP/1.1 503 x\r\nRetry-After: {later}\r\n\r\n".encode())
    assert answer.after_s == pytest.approx(3600, abs=60)


@pytest.mark.parametrize(
    "answer", [b"", b"SSH-2.0-x\r\n", b"HTTP/2 200\r\n\r\n", b"HTTP/1.1 999 x\r\n\r\n", b"\0" * 5000]
)
def test_what_is_no_answer_is_none(answer: bytes) -> None:
    with pytest.raises(NoAnswer):
        says(answer)


@pytest.mark.parametrize("name", ["hang", "drip"])
def test_slow_answer_is_given_up(name: str) -> None:
    with Receiver() as receiver:
        receiver.answer = getattr(receiver, name)
        with pytest.raises(NoAnswer, match="within"):
            post(receiver, call_s=0.3)


def test_one_byte_at_a_time_does_not_prolong_it() -> None:
    def trickle(request: Request, sock: socket.socket) -> None:
        for byte in b"HTTP/1.1 200 OK":
            sock.sendall(bytes([byte]))
            time.sleep(0.1)

    with Receiver(trickle) as receiver, pytest.raises(NoAnswer, match="within"):
        post(receiver, call_s=0.4)


def test_endless_answer_ends_after_a_kibibyte() -> None:
    sizes: list[int] = []

    class Counting(socket.socket):
        def recv(self, size: int, *more: Any) -> bytes:
            data = super().recv(size, *more)
            sizes.append(len(data))
            return data

    with Receiver(endless) as receiver:
        original, socket.socket = socket.socket, Counting  # type: ignore[misc]
        try:
            assert post(receiver).status == 200
        finally:
            socket.socket = original  # type: ignore[misc]
    assert 0 < sizes[-1] <= ANSWER_BYTES


@pytest.mark.parametrize("answer", [reset, lambda request, sock: sock.close()])
def test_lost_connection_is_no_answer(answer: Callable[..., None]) -> None:
    with Receiver(answer) as receiver, pytest.raises(NoAnswer):
        post(receiver)


def test_receiver_that_reads_nothing_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        target = target_of(f"http://127.0.0.1:{listener.getsockname()[1]}/")
        with pytest.raises(NoAnswer, match="within"):
            Caller(HERE, call_s=0.3).post(target, {}, b"x" * 50_000_000)


def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(NoAnswer, match="refused"):
        Caller(HERE).post(Target("http", "127.0.0.1", port, "/"), {}, b"")


def test_next_address_is_tried_when_one_does_not_answer() -> None:
    with Receiver() as receiver:
        found = [(socket.AF_INET6, "::1"), (socket.AF_INET, "127.0.0.1")]
        caller = Caller(Allowed.of("127.0.0.1, ::1"), lambda host, port: found)
        assert caller.post(target_of(receiver.url(host="h")), {}, b"").status == 204


def test_proxies_of_the_environment_are_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    with Receiver() as proxy, Receiver() as receiver:
        for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url("/"))
        assert post(receiver).status == 204
        assert (proxy.connections, receiver.connections) == (0, 1)


def test_redirect_is_not_followed() -> None:
    with Receiver() as other:
        answer = f"HTTP/1.1 307 x\r\nLocation: {other.url()}\r\n\r\n".encode()
        assert says(answer).status == 307
        assert other.connections == 0


def test_forbidden_address_gets_no_connection() -> None:
    with Receiver() as receiver:
        for host in ("127.0.0.1", "localhost", "2130706433", "0x7f.1", "[::ffff:127.0.0.1]"):
            with pytest.raises(Forbidden):
                Caller().post(target_of(receiver.url(host=host)), {}, b"")
        assert receiver.connections == 0


# --------------------------------------------------------------------------------------------------------------- TLS


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


def over_tls(receiver: Receiver, host: str) -> Answer:
    caller = Caller(HERE, lambda host, port: [(socket.AF_INET, "127.0.0.1")], call_s=5.0)
    return caller.post(target_of(receiver.url(scheme="https", host=host)), {}, b"{}")


def test_certificate_must_be_of_the_old_name(certificates: Certificates, monkeypatch: pytest.MonkeyPatch) -> None:
    names: list[str | None] = []
    context = certificates.server("hooks.example")
    context.sni_callback = lambda sock, name, _: names.append(name)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates.authority))
    with Receiver(tls=context) as receiver:
        for host in ("hooks.example", "hooks.example."):
            assert over_tls(receiver, host).status == 204
        assert names == ["hooks.example"] * 2
        assert receiver.requests[0].headers["host"] == f"hooks.example:{receiver.port}"
        with pytest.raises(NoAnswer, match="certificate"):
            over_tls(receiver, "other.example")
    monkeypatch.delenv("SSL_CERT_FILE")
    with Receiver(tls=context) as receiver, pytest.raises(NoAnswer, match="certificate"):
        over_tls(receiver, "hooks.example")


@pytest.mark.long(4)
def test_no_tls_where_tls_is_meant() -> None:
    with Receiver() as receiver, pytest.raises(NoAnswer):
        over_tls(receiver, "hooks.example")


def test_old_tls_is_refused(certificates: Certificates, monkeypatch: pytest.MonkeyPatch) -> None:
    context = certificates.server("hooks.example")
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates.authority))
    with Receiver(tls=context) as receiver, pytest.raises(NoAnswer):
        over_tls(receiver, "hooks.example")


# --------------------------------------------------------------------------------------------------------- signatures


def headers(body: bytes, *secrets: str, at_s: int | None = None) -> dict[str, str]:
    at_s = int(time.time()) if at_s is None else at_s
    signed = signature(parse_secrets(",".join(secrets)), "id-1", at_s, body)
    return {"webhook-id": "id-1", "webhook-timestamp": str(at_s), "webhook-signature": signed}


def test_package_of_the_standard_accepts_the_signature() -> None:
    body = '{"type":"job.done","data":"ü"}'.encode()
    assert Webhook(SECRETS[0]).verify(body, headers(body, SECRETS[0])) == {"type": "job.done", "data": "ü"}
    for secret in SECRETS:  # while receivers change from one to the other
        Webhook(secret).verify(body, headers(body, *SECRETS))
    assert headers(body, SECRETS[0])["webhook-signature"] == Webhook(SECRETS[0]).sign(
        "id-1", email.utils.parsedate_to_datetime(email.utils.formatdate()), body.decode()
    )


@pytest.mark.parametrize("wrong", ["body", "id", "time", "secret"])
def test_and_refuses_any_other(wrong: str) -> None:
    body = b'{"a":1}'
    said = headers(body, SECRETS[1] if wrong == "secret" else SECRETS[0], at_s=1 if wrong == "time" else None)
    said["webhook-id"] += "x" * (wrong == "id")
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRETS[0]).verify(body + b" " * (wrong == "body"), said)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            ",",
            "x",
            "whsec_",
            "whsec_x",
            "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "whsec_" + "A" * 28,
            f"{SECRETS[0]},x",
        ),
        *("whsec_" + b64encode(b"x" * 65).decode(), ",".join([*SECRETS, SECRETS[0]]), "whsec_ü"),
    ],
)
def test_what_is_no_secret_is_refused_and_not_quoted(text: str) -> None:
    with pytest.raises(ValueError, match=r"whsec_|one secret") as error:
        parse_secrets(text)
    assert len(text) < 9 or text not in str(error.value)
