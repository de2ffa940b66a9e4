"""Who may call: API keys and their scopes, host names, origins, and how often a client may."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
from collections.abc import Mapping
from functools import lru_cache
from ipaddress import IPv6Address
from typing import Any
from urllib.parse import urlsplit

from _jobqueue.config import Address, Config
from _jobqueue.keys import WORK, Key
from _jobqueue.web.waiting import KEPT
from jobqueue import JobQueue

KEY = "jobqueue.key"  # in the environ: the Key of the request; None where none is set
PORT = re.compile(r":\d*$")
LOOPBACK = ("localhost", "127.0.0.1", "[::1]")

# On every answer. Pages and their scripts come from here alone, and nobody may frame them.
HEADERS = [
    (
        "Content-Security-Policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "frame-ancestors 'none'; base-uri 'none'; form-action 'self'",
    ),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    ("Referrer-Policy", "no-referrer"),
]
NO_STORE = ("Cache-Control", "no-store")  # on every answer that says nothing of it


class Refused(Exception):
    """The caller may not do this. ``headers`` have _ for -."""

    def __init__(self, status: int, code: str, detail: str, **headers: str) -> None:
        self.status, self.code, self.headers = status, code, headers
        super().__init__(detail)


def is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def client_of(environ: Mapping[str, Any], trusted_proxy: Address | None = None) -> str:
    """Whose requests are counted together: an IPv4 address, or the /64 that an IPv6 customer gets.

    From ``trusted_proxy`` it is the last address in X-Forwarded-For, which the proxy added; those before it anybody can write.
    """
    address = _address(environ.get("REMOTE_ADDR", ""))
    told = environ.get("HTTP_X_FORWARDED_FOR", "").rpartition(",")[2].strip()
    if told and address and address == trusted_proxy:
        address = _address(told)
    if isinstance(address, IPv6Address):
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(address or "unknown")


@lru_cache(256)  # of few clients, and by default for each POST
def _address(text: str) -> Address | None:
    """Of ``1.2.3.4``, ``1.2.3.4:567``, ``::1`` and ``[::1]:567``; IPv4 also where it is written as IPv6."""
    bare = re.fullmatch(r"\[(.*)\](?::\d+)?|([\d.]+):\d+", text)
    try:
        address = ipaddress.ip_address(bare[1] or bare[2] if bare else text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


class Gate:
    """Asked before every request."""

    def __init__(self, config: Config, jobs: JobQueue) -> None:
        self.jobs = jobs
        self.keys = config.api_keys
        self.trusted_proxy = config.trusted_proxy
        self.rate_max, self.rate_window_s = config.rate_limit_max, config.rate_limit_window_s
        self.work_rate_max = config.work_rate_max
        bound = f"[{config.api_host}]" if ":" in config.api_host else config.api_host
        self.hosts = config.allowed_hosts or (*LOOPBACK, bound.lower())

    def check(self, environ: dict[str, Any], scope: str) -> dict[str, str]:
        """Refused, or the headers that tell how often the client may still call."""
        self.check_host(environ)
        self._check_origin(environ)
        environ[KEY] = self._key_of(environ.get("HTTP_AUTHORIZATION", ""), scope)
        most = self.work_rate_max if scope == WORK else self.rate_max
        if environ["REQUEST_METHOD"] != "POST" or not most:
            return {}
        # A request that has waited is served anew, and counted once.
        kept = environ.get(KEPT, {})
        if "counted" not in kept:
            kept["counted"] = self._count(environ, most, "work:" if scope == WORK else "")
        return dict(kept["counted"])

    def check_host(self, environ: Mapping[str, Any]) -> None:
        """A page of somebody else's whose name points here (DNS rebinding) sends that name."""
        host = _without_port(environ.get("HTTP_HOST", ""))
        if "*" not in self.hosts and host not in self.hosts:
            raise Refused(
                403, "host_not_allowed", "this host name is not served here; ALLOWED_HOSTS lists those that are"
            )

    def _check_origin(self, environ: Mapping[str, Any]) -> None:
        """A browser says on whose behalf it writes; other clients send neither header."""
        if environ["REQUEST_METHOD"] in ("GET", "HEAD", "OPTIONS"):
            return
        origin = environ.get("HTTP_ORIGIN")
        foreign = origin is not None and _host_of(origin) != environ.get("HTTP_HOST", "").lower()
        if foreign or environ.get("HTTP_SEC_FETCH_SITE", "none") not in ("same-origin", "none"):
            raise Refused(403, "foreign_origin", "another site's page may not do this")

    def _key_of(self, header: str, scope: str) -> Key | None:
        if not self.keys:
            return None
        kind, _, token = header.partition(" ")
        digest = hashlib.sha256(token.strip().encode("latin-1", "replace")).digest()
        found = [key for key in self.keys if hmac.compare_digest(key.digest, digest)]
        if kind.lower() != "bearer" or not found:
            raise Refused(401, "no_key", "send a valid API key: Authorization: Bearer <key>", WWW_Authenticate="Bearer")
        good = next((key for key in found if key.may(scope)), None)
        if good is None:
            raise Refused(403, "scope_too_small", f"this call needs a key with the scope {scope}")
        return good

    def _count(self, environ: Mapping[str, Any], most: int, apart: str) -> dict[str, str]:
        """``apart``: what this limit's clients are counted under, in front of their names."""
        client = apart + client_of(environ, self.trusted_proxy)
        within, left, room_ms = self.jobs.admit(client, most, self.rate_window_s * 1000)
        seconds = -(-room_ms // 1000)
        headers = {
            "RateLimit_Policy": f'"default";q={most};w={self.rate_window_s}',
            "RateLimit": f'"default";r={left};t={seconds}',
        }
        if not within:
            detail = f"more than {most} requests in {self.rate_window_s} s; try again in {seconds} s"
            raise Refused(429, "too_many_requests", detail, Retry_After=str(max(1, seconds)), **headers)
        return headers


def _host_of(origin: str) -> str | None:
    """Host and port; None: it has none, like ``null``, or is malformed."""
    try:
        return urlsplit(origin).netloc.lower() or None
    except ValueError:
        return None


@lru_cache(64)  # of few names, for each request
def _without_port(host: str) -> str:
    return PORT.sub("", host.lower())
