"""REDIS_URL: whether it can be one, and how it may be shown. No message quotes it: any part may belong to a password."""

from __future__ import annotations

import re
from urllib.parse import parse_qsl, urlsplit

_SERVER = r"(?:[A-Za-z0-9_.-]+|\[[0-9A-Fa-f:.]+\]):[1-9][0-9]{0,4}"
_SEVERAL = re.compile(rf"[a-z+]+://(?:[^@/?#]*@)?({_SERVER}(?:,{_SERVER})*)(/[^@?#]*)?(?:\?([^@#]*))?")
_ESCAPE = "in a password, write / ? # @ as %2F %3F %23 %40"
_NUMBER = "[0-9]{1,4}"

# What may stand behind the ?, and the values. Timeouts, retries and the protocol are not the URL's to choose: leases and waits
# rest on them.
_LOGIN = {"username": ".+", "password": ".+", "client_name": "[!-~]+"}
_TLS = {
    **{
        f"ssl_{name}": ".+" for name in ("ca_certs", "ca_path", "ca_data", "certfile", "keyfile", "password", "ciphers")
    },
    "ssl_cert_reqs": "none|optional|required",
    "ssl_check_hostname": "True|true|False|false|1|0",
}
_SENTINEL = {"sentinel_username": ".+", "sentinel_password": ".+"}


def check_redis_url(text: str) -> str:
    """The same text. ValueError says what is wrong with it."""
    scheme = text.partition("://")[0]
    if scheme in ("redis+sentinel", "rediss+sentinel", "redis+cluster", "rediss+cluster"):
        _check_several_servers(text, scheme)
    elif scheme in ("redis", "rediss", "unix"):
        _check_one_server(text)
    else:
        raise ValueError(
            "must start with redis://, rediss://, unix://, redis+sentinel:// or redis+cluster:// (or rediss+ of these)"
        )
    return text


def _check_one_server(text: str) -> None:
    try:
        parts = urlsplit(text)
        if parts.port == 0 or parts.fragment or (parts.scheme != "unix" and "@" in parts.path):
            raise ValueError
    except ValueError:  # urlsplit's text may hold a part of the password
        raise ValueError(f"has no valid host and port; {_ESCAPE}") from None
    if parts.scheme == "unix":
        if parts.hostname or parts.path in ("", "/"):
            raise ValueError("must name a socket by its whole path, like unix:///run/redis.sock")
    elif not re.fullmatch(f"/?|/{_NUMBER}", parts.path):
        raise ValueError("must name the database by its number, like redis://host:6379/0")
    named_twice = parts.scheme != "unix" and len(parts.path) > 1
    _check_options(parts.query, {"db": "" if named_twice else _NUMBER}, parts.scheme == "rediss")


def _check_several_servers(text: str, scheme: str) -> None:
    """The URL of Sentinels or of a Cluster."""
    parts = _SEVERAL.fullmatch(text)
    if not parts or any(int(server.rpartition(":")[2]) > 65535 for server in parts[1].split(",")):
        raise ValueError(f"must be {scheme}://user:password@host:port,host:port...; {_ESCAPE}")
    path, query, tls = parts[2] or "", parts[3] or "", scheme.startswith("rediss")
    if scheme.endswith("cluster"):
        if path not in ("", "/", "/0"):
            raise ValueError("must not name a database: a Cluster has only number 0")
        _check_options(query, {}, tls)
        return
    found = re.fullmatch(rf"/[A-Za-z0-9_.-]+(/(?:{_NUMBER})?)?", path)
    if not found:
        raise ValueError(
            "must name the service behind the Sentinels, like host:port,host:port/mymaster or .../mymaster/0"
        )
    named_twice = len(found[1] or "") > 1
    _check_options(query, _SENTINEL | {"db": "" if named_twice else _NUMBER}, tls)


def _check_options(query: str, more: dict[str, str], tls: bool) -> None:
    known = _LOGIN | more | (_TLS if tls else {})
    seen: set[str] = set()
    for part in query.split("&") if query else ():
        ((name, value),) = parse_qsl(part, keep_blank_values=True) or [("", "")]
        if name not in known:
            if name in _TLS:
                raise ValueError("has an option of TLS, which only rediss:// uses")
            raise ValueError(f"has an unknown option behind its ?; known are {', '.join(known)}")
        if name in seen or (name == "db" and not known["db"]):
            raise ValueError(f"names {'its database' if name == 'db' else name} twice")
        if not re.fullmatch(known[name], value, re.DOTALL):
            raise ValueError(f"has a wrong {name} behind its ?")
        seen.add(name)


def without_password(url: str) -> str:
    """The URL with its credentials and query left out, even where a password was not quoted as it should be."""
    scheme, _, rest = url.partition("://")
    place = re.split("[?#]", rest)[0]
    if "@" in rest[len(place) :]:  # nobody can say where the password ends
        return f"{scheme}://***"
    return f"{scheme}://" + ("***@" if "@" in place else "") + place.rpartition("@")[2]
