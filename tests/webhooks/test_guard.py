"""The guard: where a webhook may lead, in every form in which an address can be written."""

from __future__ import annotations

import socket
import threading
from collections.abc import Sequence

import pytest

from _jobqueue.webhooks.address import Allowed, Forbidden, Place, Unresolved, may_lead_to, places, resolved, target_of
from _jobqueue.webhooks.call import Caller, NoAnswer, within
from tests.harness import eventually
from tests.webhooks.receiver import Receiver

OPEN = (
    *("8.8.8.8", "1.1.1.1", "93.184.216.34", "172.15.255.255", "172.32.0.1", "100.63.0.1", "192.0.1.1"),
    *("2606:4700:4700::1111", "2001:4860:4860::8888", "2a00:1450:4001:830::200e"),
    *("::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::1"),
)
CLOSED = (
    # this machine, this network, private networks, links
    *("127.0.0.1", "127.255.255.254", "0.0.0.0", "0.1.2.3", "10.0.0.1", "10.255.255.255", "172.16.0.1"),
    *("172.31.255.255", "192.168.1.1", "169.254.169.254", "169.254.1.1", "100.64.0.1", "100.127.255.255"),
    # reserved, for documents, for measurements, for many
    *("192.0.0.1", "192.0.0.192", "192.0.2.1", "198.18.0.1", "198.19.255.255", "198.51.100.1", "203.0.113.9"),
    *("192.88.99.1", "224.0.0.1", "239.1.1.1", "240.0.0.1", "255.255.255.255"),
    *("::1", "::", "fe80::1", "fe80::1%eth0", "fe80::1%1", "fc00::1", "fd12:3456::1", "fec0::1", "ff02::1", "ff0e::1"),
    *("2001:db8::1", "2001::1", "2001:10::1", "3fff::1", "100::1", "5f00::1", "64:ff9b:1::1", "4000::1"),
    # what hides an address of IPv4
    *("::ffff:127.0.0.1", "::ffff:a9fe:a9fe", "::ffff:10.0.0.1", "::127.0.0.1", "::10.0.0.1", "::ffff:0:127.0.0.1"),
    *("64:ff9b::7f00:1", "64:ff9b::a00:1", "64:ff9b::a9fe:a9fe", "2002:7f00:1::", "2002:a00:1::1", "2002:a9fe:a9fe::1"),
    *("2001:0:7f00:1::", "2001:0:808:808::80ff:fffe"),
    *("", "x", "127.1", "0x7f.1", "8.8.8.8.", "8.8.8.8/32"),
)


@pytest.mark.parametrize("address", OPEN)
def test_global_address_is_open(address: str) -> None:
    assert may_lead_to(address)


@pytest.mark.parametrize("address", CLOSED)
def test_any_other_is_closed(address: str) -> None:
    assert not may_lead_to(address)


# Each of them as the system's own resolver reads it: it takes more for an address than people write.
@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "localhost", "LocalHost", "localhost.", "127.1", "127.0.1", "0", "0.0.0.0", "2130706433"),
        *("017700000001", "0177.0.0.1", "0x7f.0.0.1", "0x7f000001", "0X7F.1", "[::1]", "[::]", "[::ffff:127.0.0.1]"),
        *("[::ffff:7f00:1]", "[0:0:0:0:0:0:0:1]", "2852039166", "0xa9fea9fe", "10.1", "192.168.257", "[fe80::1]"),
    ],
)
def test_host_that_leads_here_is_forbidden_however_it_is_written(host: str) -> None:
    target = target_of(f"https://{host}/x")
    with pytest.raises((Forbidden, Unresolved)):  # some systems do not read all of these forms
        places(target, Allowed(), resolved)


@pytest.mark.parametrize(
    "host",
    [
        *("１２７.0.0.1", "127。0。0。1", "ⓛocalhost", "lo\u00adcalhost", "localhost\u3002", "bücher.example"),
        *("[fe80::1%25eth0]", "[fe80::1%eth0]", "[::1", "::1", "[v1.x]", "h%2eexample", "127.0.0.1%00.example.org"),
        *(
            "a,b",
            "a;b",
            "a..b",
            ".a",
            "a..",
            "a" * 64 + ".example",
            "a b",
            "h:",
            "h:0",
            "h:99999",
            "u@127.0.0.1",
            "example.org@127.0.0.1",
            "example.org\\@127.0.0.1",
        ),
    ],
)
def test_host_that_programs_read_differently_is_no_address(host: str) -> None:
    if host == "h:":
        assert target_of("https://h:/x").authority == "h"
        return
    with pytest.raises(ValueError):
        target_of(f"https://{host}/x")


def test_one_closed_address_closes_the_name() -> None:
    def both(host: str, port: int) -> Sequence[Place]:
        return [(socket.AF_INET, "8.8.8.8"), (socket.AF_INET, "10.0.0.1")]

    with pytest.raises(Forbidden, match=r"10\.0\.0\.1"):
        places(target_of("https://h/"), Allowed(), both)
    assert len(places(target_of("https://h/"), Allowed.of("10.0.0.0/8"), both)) == 2
    assert len(places(target_of("https://h./"), Allowed.of("h"), both)) == 2
    with pytest.raises(Forbidden):
        places(target_of("https://other.h/"), Allowed.of("h, 10.0.0.2"), both)
    with pytest.raises(Unresolved):
        places(target_of("https://h/"), Allowed(), lambda host, port: [])


@pytest.mark.parametrize(
    ("allowed", "address", "may"),
    [
        ("10.1.0.0/16", "10.1.2.3", True),
        ("10.1.0.0/16", "10.2.0.1", False),
        ("10.1.0.0/16", "::ffff:10.1.2.3", True),
        ("fd00::/8", "fd12::1", True),
        ("127.0.0.1", "127.0.0.1", True),
        ("127.0.0.1", "127.0.0.2", False),
        ("10.0.0.0/8", "fe80::1%eth0", False),
    ],
)
def test_networks_that_are_allowed(allowed: str, address: str, may: bool) -> None:
    assert may_lead_to(address, Allowed.of(allowed)) is may


@pytest.mark.parametrize("text", ["10.1.0.1/16", "h/24", "a b", "x:1", "ü"])
def test_what_allows_nothing_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="networks and names"):
        Allowed.of(text)


# ------------------------------------------------------------------------------------------- a name that changes its mind


class Rebinding:
    """A resolver that answers publicly at the first question, then privately."""

    def __init__(self, *answers: str) -> None:
        self.answers, self.asked = answers, 0

    def __call__(self, host: str, port: int) -> Sequence[Place]:
        answer = self.answers[min(self.asked, len(self.answers) - 1)]
        self.asked += 1
        return [(socket.AF_INET, answer)]


def test_name_is_asked_for_once_and_the_checked_address_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    called = []

    def connect(self: socket.socket, address: tuple[str, int]) -> None:
        called.append(address)
        raise ConnectionRefusedError

    with Receiver() as private:
        monkeypatch.setattr("_jobqueue.webhooks.call.socket.socket", type("S", (socket.socket,), {"connect": connect}))
        resolver = Rebinding("8.8.8.8", "127.0.0.1")
        with pytest.raises(NoAnswer):
            Caller(resolve=resolver).post(target_of(f"https://h:{private.port}/"), {}, b"")
        assert (resolver.asked, called) == (1, [("8.8.8.8", private.port)])
        with pytest.raises(Forbidden):
            Caller(resolve=resolver).post(target_of(f"https://h:{private.port}/"), {}, b"")
        assert len(called) == 1 and private.connections == 0


def test_resolver_that_hangs_is_not_waited_for() -> None:
    go_on = threading.Event()

    def hang(host: str, port: int) -> Sequence[Place]:
        go_on.wait(30)
        return []

    with pytest.raises(Unresolved, match="within"):
        within(hang, 0.05)("h", 1)
    go_on.set()
    eventually(
        lambda: within(lambda host, port: [(socket.AF_INET, "1.1.1.1")])("h", 1), equals=[(socket.AF_INET, "1.1.1.1")]
    )
