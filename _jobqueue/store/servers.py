"""Where REDIS_URL leads: a single Redis, a primary found through Sentinels, or a Cluster.

A *place* is one server of it. ``owner`` names the place that holds a key, ``client`` gives the pooled client of a place and
``connect`` a connection for one thread. When ``generation`` has grown, no connection from before is used again."""

from __future__ import annotations

import os
import socket
import ssl
import struct
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple

import redis
from redis.backoff import ExponentialWithJitterBackoff, NoBackoff
from redis.cluster import ClusterNode, RedisCluster
from redis.connection import parse_url
from redis.crc import key_slot
from redis.retry import Retry
from redis.sentinel import MasterNotFoundError, Sentinel, SentinelConnectionPool

from _jobqueue.redis_url import check_redis_url

LINK_TIMEOUT_S = 5.0  # above BLOCK_S of a link
CONNECT_S = 2.0
SENTINEL_S = 0.5  # a Sentinel that does not answer sooner is passed over
SENTINELS_KEPT_S = 1.0  # how long their word is believed


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long a call of the pooled client may take, and how often it is tried again."""

    timeout_s: float
    retries: int

    def of_a_client(self) -> dict[str, Any]:
        backoff = ExponentialWithJitterBackoff(cap=0.5, base=0.05)
        return self._common(self.timeout_s, Retry(backoff, self.retries))

    def of_a_link(self, timeout_s: float = LINK_TIMEOUT_S) -> dict[str, Any]:
        return self._common(timeout_s, Retry(NoBackoff(), 0)) | {"redis_connect_func": _wait_in_the_kernel}

    def _common(self, timeout_s: float, retry: Retry) -> dict[str, Any]:
        return {
            "socket_timeout": timeout_s,
            "socket_connect_timeout": min(timeout_s, CONNECT_S),
            "retry": retry,
            "protocol": 2,
            "client_name": "jobqueue",
        }


def servers_of(url: str, timeouts: Timeouts) -> OneServer | Cluster:
    """What a REDIS_URL leads to. Asks nothing yet. ValueError for a URL that is none."""
    servers = _servers_of(url, timeouts)
    _all.add(servers)
    return servers


def _servers_of(url: str, timeouts: Timeouts) -> OneServer | Cluster:
    try:
        scheme = check_redis_url(url).partition("://")[0]
    except ValueError as error:
        raise ValueError(f"the URL of Redis {error}") from None
    if "+" not in scheme:
        return OneServer(lambda: _one_server(url, scheme, timeouts))
    nodes, service, options = _addresses(url)
    if scheme.endswith("+cluster"):
        return Cluster(nodes, options, timeouts)
    return Primary(lambda: _primary(nodes, service, options, timeouts))


def _one_server(url: str, scheme: str, timeouts: Timeouts) -> Pools:
    keepalive = {} if scheme == "unix" else {"socket_keepalive": True}
    client = redis.Redis.from_url(url, **keepalive, **timeouts.of_a_client())
    return Pools(client, redis.ConnectionPool.from_url(url, **keepalive, **timeouts.of_a_link()))


def _primary(nodes: Sequence[tuple[str, int]], service: str, given: dict[str, Any], timeouts: Timeouts) -> Pools:
    options = dict(given)
    login = {name: options.pop(f"sentinel_{name}", None) for name in ("username", "password")}
    tls = {name: value for name, value in options.items() if name.startswith("ssl")}
    kind: Any = _Sentinels  # redis-py's Sentinel has no types
    sentinels = kind(nodes, sentinel_kwargs={**timeouts.of_a_link(SENTINEL_S), **login, **tls}, **options)
    client = sentinels.master_for(service, redis_class=redis.Redis, **timeouts.of_a_client())
    links = SentinelConnectionPool(service, sentinels, **options, **timeouts.of_a_link())
    return Pools(client, links, tuple(sentinels.sentinels))


def _addresses(url: str) -> tuple[list[tuple[str, int]], str, dict[str, Any]]:
    """The addresses, the name of the service and the connection's options in the URL of Sentinels or a Cluster."""
    scheme, _, rest = url.partition("://")
    rest, _, query = rest.partition("?")
    hosts, _, path = rest.partition("/")
    login, at, hosts = hosts.rpartition("@")
    service, _, db = path.partition("/")
    options = parse_url(f"redis://{login}{at}localhost/{db}?{query}")
    for name in ("host", "port"):
        options.pop(name, None)
    if scheme.startswith("rediss"):
        options["ssl"] = True
    nodes = [(host.strip("[]"), int(port)) for host, _, port in (each.rpartition(":") for each in hosts.split(","))]
    return nodes, service, {"socket_keepalive": True, **options}


class Pools(NamedTuple):
    """What redis-py makes of a URL: a pooled client, the options of a link's connections, clients of the Sentinels."""

    client: Any
    links: redis.ConnectionPool
    sentinels: tuple[Any, ...] = ()


class OneServer:
    """A Redis of its own. Its only place is "" ."""

    kind = "standalone"

    def __init__(self, make: Callable[[], Pools]) -> None:
        self._make = make
        self._made: Pools | None = make()  # at once: it refuses options that are none
        self.generation = 0

    def owner(self, key: str) -> str:
        return ""

    def client(self, place: str) -> Any:
        return self._pools().client

    def primaries(self) -> dict[str, Any]:
        return {"": self._pools().client}

    def connect(self, place: str, timeout_s: float) -> Any:
        links = self._pools().links
        connection = links.connection_class(**links.connection_kwargs | {"socket_timeout": timeout_s})
        connection.connect()
        return connection

    def note(self, place: str, error: Exception) -> None:
        pass  # there is no other place

    def hang_up(self) -> None:
        self.generation += 1
        self._pools().client.connection_pool.disconnect(inuse_connections=False)

    def forked(self) -> None:
        """This is another process now: what it shares with its parent is let go, and made anew when it is needed."""
        self.generation += 1
        if self._made:
            for client in (self._made.client, *self._made.sentinels):
                _unlock(client.connection_pool)
            _unlock(self._made.links)
        self._made = None

    def _pools(self) -> Pools:
        made = self._made
        if made is None:  # threads that find it so at the same time may each make their own
            made = self._made = self._make()
        return made


class Primary(OneServer):
    """The primary that Sentinels name. Each new connection asks them, and some call does once a second: a primary that was
    demoted may take jobs for seconds before it hears of it, and all of them are lost."""

    kind = "sentinel"

    def __init__(self, make: Callable[[], Pools]) -> None:
        super().__init__(make)
        self._place, self._ask_at = "", 0.0

    def owner(self, key: str) -> str:
        now = time.monotonic()
        if now >= self._ask_at:
            self._ask_at = now + SENTINELS_KEPT_S
            try:
                host, port = self._pools().client.connection_pool.get_master_address()
                if self._place not in ("", place := f"{host}:{port}"):
                    self.hang_up()
                self._place = place
            except redis.RedisError:
                self._ask_at = now + 5 * SENTINELS_KEPT_S  # they are away: the primary may be there all the same
        return self._place


class _Sentinels(Sentinel):
    """Sentinels, asked as their guide for clients says. redis-py asks for the state of all they know, which names the old
    primary until a failover is over."""

    _first = 0  # the one that answered last

    def discover_master(self, service_name: str) -> tuple[str, int]:
        silent = 0
        for at in sorted(range(len(self.sentinels)), key=lambda at: at != self._first):
            try:
                found: Any = self.sentinels[at].sentinel_get_master_addr_by_name(service_name)
            except redis.TimeoutError:
                silent += 1
                continue
            except redis.ConnectionError:
                continue
            if found:
                self._first = at
                return found[0].decode(), found[1]
        kind = _SilentSentinels if silent else MasterNotFoundError
        raise kind(f"no Sentinel that answers knows a primary of {service_name!r}")


class _SilentSentinels(MasterNotFoundError, redis.TimeoutError):
    """Some of them did not answer in time."""


class Cluster:
    """A Redis Cluster. redis-py's client keeps the map of its slots; the calls are made here. A place is ``host:port``.

    An ASK is not followed. While a slot moves, its keys are spread over two nodes: a script would see a part of its queue.
    Every script names the queue's prefix as its key, which never exists. So Redis answers ASK from the first moment of a
    move to the last: the queue stands still, and is all there afterwards."""

    kind = "cluster"

    def __init__(self, nodes: Sequence[tuple[str, int]], options: dict[str, Any], timeouts: Timeouts) -> None:
        self._nodes, self._options, self._timeouts = nodes, options, timeouts
        self.generation = 0
        self._lock = threading.Lock()
        self._cluster: Any = None
        self._failed = ""  # a place that did not answer: the map is read anew before it is used again

    def owner(self, key: str) -> str:
        try:
            return str(self._map().get_node_from_slot(key_slot(key.encode())).name)
        except redis.exceptions.SlotNotCoveredError:
            self._failed = "nobody"
            raise

    def client(self, place: str) -> Any:
        node = self._map().get_node(node_name=place)
        if node is None:
            raise redis.ConnectionError(f"{place} has left the Cluster")
        return self._cluster.get_redis_connection(node)

    def primaries(self) -> dict[str, Any]:
        self._map()
        return {node.name: self._cluster.get_redis_connection(node) for node in self._cluster.get_primaries()}

    def connect(self, place: str, timeout_s: float) -> Any:
        host, _, port = place.rpartition(":")
        kind = redis.SSLConnection if self._options.get("ssl") else redis.Connection
        options = {name: value for name, value in self._options.items() if name != "ssl"}
        connection = kind(host=host, port=int(port), **options, **self._timeouts.of_a_link(timeout_s))
        connection.connect()
        return connection

    def note(self, place: str, error: Exception) -> None:
        """Hears what went wrong at a place, so that the next call may go elsewhere."""
        if isinstance(error, redis.exceptions.MovedError):
            with suppress(KeyError):  # of a slot that the map does not have just now
                self._map().move_slot(error)
        elif isinstance(error, (OSError, redis.ConnectionError, redis.TimeoutError, redis.exceptions.ClusterDownError)):
            self._failed = place

    def hang_up(self) -> None:
        self.generation += 1

    def forked(self) -> None:
        """This is another process now: what it shares with its parent is let go, and made anew when it is needed."""
        self._lock = threading.Lock()
        self.generation += 1
        if self._cluster is not None:
            nodes = self._cluster.nodes_manager
            _unlock(self._cluster)
            _unlock(nodes)
            for node in (*nodes.nodes_cache.values(), *nodes.startup_nodes.values()):
                if node.redis_connection is not None:
                    _unlock(node.redis_connection.connection_pool)
        self._cluster, self._failed = None, ""

    def _map(self) -> Any:
        """Which node has which slots. Made when it is first asked for: the Cluster may come up after us."""
        with self._lock:
            try:
                if self._cluster is None:
                    self._cluster = RedisCluster(
                        startup_nodes=[ClusterNode(host, port) for host, port in self._nodes],
                        require_full_coverage=False,  # the queues of the other shards go on
                        **self._options,
                        **self._timeouts.of_a_client(),
                    )
                elif self._failed:
                    self._cluster.nodes_manager.initialize(last_failed_node_name=self._failed)
                    self._failed = ""
            except IndexError:  # redis-py takes it for granted that there is a first one
                raise redis.ConnectionError("no node of the Cluster has any slots yet") from None
            return self._cluster.nodes_manager


# After a fork the child has copies of the parent's connections: two processes that use one get each other's answers. A link
# closes its copies by its generation, before it sends anything. That ends nothing for the parent, because redis-py sends no
# goodbye in a process that did not connect. The pools are let go. Each would notice another process by itself, but behind a
# lock that a thread of the parent may have held at the fork: no thread of the child would ever release it.

_all: weakref.WeakSet[OneServer | Cluster] = weakref.WeakSet()
_LOCKS = (type(threading.Lock()), type(threading.RLock()))


def _after_fork() -> None:
    for servers in list(_all):
        servers.forked()


def _unlock(thing: Any) -> None:
    """Renew the locks of an object of redis-py, whose finalizer takes them."""
    for name, value in list(vars(thing).items()):
        if isinstance(value, _LOCKS):
            setattr(thing, name, threading.RLock())


os.register_at_fork(after_in_child=_after_fork)


def _wait_in_the_kernel(connection: Any) -> None:
    """Once it is connected: the kernel ends a wait that lasts too long. Python would ask it before each read and each write
    whether that would block: twice as many system calls."""
    connection.on_connect()
    wire, timeout_s = connection._sock, connection.socket_timeout
    if not isinstance(wire, ssl.SSLSocket):
        timeval = struct.pack("ll", int(timeout_s), int(timeout_s % 1 * 1_000_000))
        for direction in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            wire.setsockopt(socket.SOL_SOCKET, direction, timeval)
        wire.settimeout(None)
