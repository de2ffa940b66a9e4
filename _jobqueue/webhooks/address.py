"""The address of a webhook: its form, and the guard that says where it may lead."""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import NamedTuple
from urllib.parse import urlsplit

from _jobqueue.records import MAX_WEBHOOK_CHARS

Ip = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
# Of a family, an address: what a socket connects to.
Place = tuple[int, str]

_VISIBLE = re.compile(r"[!-~]+")
# Of a name, the length and its parts; none that is empty or longer than these can be resolved.
_HOST = re.compile(
    r"(?=[A-Za-z0-9_.-]{1,254}\Z)[A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63})*\.?|\[[0-9A-Fa-f:.]{2,45}\]"
)
PORTS = {"https": 443, "http": 80}


class Forbidden(Exception):
    """A webhook leads where none may lead."""


class Unresolved(Exception):
    """A name has no address now."""


class Target(NamedTuple):
    """The parts of an address. ``host`` is in lower case, without brackets; ``path`` is what is asked for there."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def authority(self) -> str:
        """As the header Host has it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == PORTS[self.scheme] else f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Allowed:
    """What is open beside the global addresses: networks, and names whatever they lead to."""

    networks: tuple[Network, ...] = ()
    names: frozenset[str] = frozenset()

    @classmethod
    def of(cls, text: str) -> Allowed:
        """``10.1.0.0/16, hooks.internal``. ValueError for what is neither."""
        networks, names = list[Network](), set[str]()
        for part in filter(None, map(str.strip, text.split(","))):
            try:
                networks.append(ipaddress.ip_network(part))
            except ValueError:
                if "/" in part or ":" in part or not re.fullmatch(r"[A-Za-z0-9_.-]{1,253}", part):
                    raise ValueError("must be networks and names, like 10.1.0.0/16, hooks.internal") from None
                names.add(part.lower().rstrip("."))
        if not networks and not names:
            raise ValueError("must be networks and names, like 10.1.0.0/16, hooks.internal")
        return cls(tuple(networks), frozenset(names))

    def __bool__(self) -> bool:
        return bool(self.networks or self.names)

    def __str__(self) -> str:
        return ", ".join([*map(str, self.networks), *sorted(self.names)])


NOTHING = Allowed()

# ------------------------------------------------------------------------------------------------------------- the form


def problem_with(url: object) -> str:
    """Why a text is no address of a webhook; '' for one that is."""
    if not isinstance(url, str) or not 1 <= len(url) <= MAX_WEBHOOK_CHARS:
        return f"must be an address of at most {MAX_WEBHOOK_CHARS} characters"
    try:
        target_of(url)
    except ValueError as error:
        return str(error)
    return ""


def target_of(url: str) -> Target:
    """The parts of an address. ValueError, with what is wrong, for any other text."""
    if not _VISIBLE.fullmatch(url) or "\\" in url:
        raise ValueError("must be visible ASCII characters: a name of others is written as xn--…, the rest with %")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError("must be an address like https://example.org/hook") from None
    if parts.scheme not in PORTS or not parts.netloc:
        raise ValueError("must be an address like https://example.org/hook")
    if "@" in parts.netloc:
        raise ValueError("must hold no user and no password")
    if parts.fragment or "#" in url:
        raise ValueError("must have no part behind a #")
    host = parts.netloc.removesuffix(f":{parts.netloc.rpartition(':')[2]}" if port is not None else "").removesuffix(
        ":"
    )
    if not _HOST.fullmatch(host) or port == 0:
        raise ValueError("must be an address like https://example.org/hook")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(parts.scheme, host.strip("[]").lower(), port or PORTS[parts.scheme], path)


# ------------------------------------------------------------------------------------------------------------ the guard

_MAPPED = ipaddress.ip_network("::ffff:0:0/96")
_TRANSLATED = ipaddress.ip_network("64:ff9b::/96")  # NAT64
_6TO4 = ipaddress.ip_network("2002::/16")
_UNICAST = ipaddress.ip_network("2000::/3")  # all of IPv6 that is given out
# What is in it, or in IPv4, and is not for everybody, whatever this Python's `is_global` knows.
_CLOSED: tuple[Network, ...] = tuple(
    map(
        ipaddress.ip_network,
        (
            *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"),
            *("192.0.0.0/24", "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24"),
            *("192.168.0.0/16", "192.175.48.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24"),
            *("224.0.0.0/4", "240.0.0.0/4"),
            *("2001::/23", "2001:db8::/32", "2620:4f:8000::/48", "3fff::/20"),
        ),
    )
)


def places(target: Target, allowed: Allowed, resolve: Callable[[str, int], Sequence[Place]]) -> list[Place]:
    """Where a webhook may be told: the addresses of its host, asked for once. Forbidden when one of them is not global and not
    allowed. Unresolved when there is none."""
    found = list(dict.fromkeys(resolve(target.host, target.port)))
    if not found:
        raise Unresolved(f"{target.host} has no address")
    if target.host.rstrip(".") in allowed.names:
        return found
    for _, address in found:
        if not may_lead_to(address, allowed):
            raise Forbidden(f"{target.host} leads to {address}, which is not open to webhooks (WEBHOOK_ALLOW)")
    return found


def may_lead_to(address: str, allowed: Allowed = NOTHING) -> bool:
    """Whether a resolved address is global, in every form that hides another, or is in an allowed network."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    if getattr(ip, "scope_id", None):
        return False
    real = _unwrapped(ip)
    if any(each in network for network in allowed.networks for each in (ip, real)):
        return True
    return _is_global(real)


def _unwrapped(ip: Ip) -> Ip:
    """The address that is meant by one that is mapped or translated."""
    if isinstance(ip, IPv4Address):
        return ip
    if ip in _MAPPED or ip in _TRANSLATED:
        return IPv4Address(int(ip) & 0xFFFFFFFF)
    if ip in _6TO4:
        return IPv4Address(int(ip) >> 80 & 0xFFFFFFFF)
    return ip


def _is_global(ip: Ip) -> bool:
    if isinstance(ip, IPv6Address) and ip not in _UNICAST:
        return False
    return ip.is_global and not ip.is_multicast and not any(ip in network for network in _CLOSED)


def resolved(host: str, port: int) -> list[Place]:
    """What the system's resolver says of a host. Unresolved when it does not know it."""
    try:
        rows = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise Unresolved(f"{host} cannot be resolved: {error}") from None
    return [(family, str(address[0])) for family, _, _, _, address in rows]
