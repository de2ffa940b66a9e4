"""REDIS_URL: whether it can be one, and how it may be shown."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

_SERVER = r"(?:[A-Za-z0-9_.-]+|\[[0-9A-Fa-f:.]+\]):[1-9][0-9]{0,4}"
_SEVERAL = re.compile(rf"[a-z+]+://(?:[^@/?#]*@)?({_SERVER}(?:,{_SERVER})*)(/[^@?#]*)?(?:\?[^@#]*)?")


def check_redis_url(text: str) -> str:
    scheme = text.partition("://")[0]
    if scheme in ("redis+sentinel", "rediss+sentinel", "redis+cluster", "rediss+cluster"):
        return _several_servers(text, scheme)
    if scheme not in ("redis", "rediss", "unix"):
        raise ValueError(
            "must start with redis://, rediss://, unix://, redis+sentinel:// or redis+cluster:// (or rediss+ of these)"
        )
    try:
        parts = urlsplit(text)
        if parts.port == 0 or (parts.scheme != "unix" and "@" in parts.path + parts.fragment):
            raise ValueError
    except ValueError:  # urlsplit's text may hold a part of the password
        raise ValueError("has no valid host and port; in a password, write / ? # @ as %2F %3F %23 %40") from None
    return text


def _several_servers(text: str, scheme: str) -> str:
    """The URL of Sentinels or of a Cluster. What is said of a wrong one quotes nothing: it may hold a part of the password."""
    parts = _SEVERAL.fullmatch(text)
    if not parts or any(int(server.rpartition(":")[2]) > 65535 for server in parts[1].split(",")):
        raise ValueError(
            f"must be {scheme}://user:password@host:port,host:port...; in a password, write / ? # @ as %2F %3F %23 %40"
        )
    path = parts[2] or ""
    if scheme.endswith("sentinel") and not re.fullmatch(r"/[A-Za-z0-9_.-]+(/[0-9]{0,4})?", path):
        raise ValueError(
            "must name the service behind the Sentinels, like host:port,host:port/mymaster or .../mymaster/0"
        )
    if scheme.endswith("cluster") and path not in ("", "/", "/0"):
        raise ValueError("must not name a database: a Cluster has only number 0")
    return text


def without_password(url: str) -> str:
    """The URL with its credentials and query left out, even where a password was not quoted as it should be."""
    scheme, _, rest = url.partition("://")
    place = re.split("[?#]", rest)[0]
    if "@" in rest[len(place) :]:  # nobody can say where the password ends
        return f"{scheme}://***"
    return f"{scheme}://" + ("***@" if "@" in place else "") + place.rpartition("@")[2]
