"""What Redis is and keeps, and what that means for the jobs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import redis

from _jobqueue.errors import Unavailable
from _jobqueue.records import Warned
from _jobqueue.redis_version import NARROW, too_old
from _jobqueue.store.durability import Durability
from _jobqueue.store.servers import Cluster, OneServer
from _jobqueue.store.weather import weather


def report_on(servers: OneServer | Cluster, durability: Durability) -> dict[str, Any]:
    """What Redis is and keeps (of a Cluster, all primaries together), with ``warnings``: a list of Warned."""
    with weather:
        clients = servers.primaries()
    reports, warnings = [], list[Warned]()
    for place, client in clients.items():
        where = f"{place}: " if len(clients) > 1 else ""
        try:
            with weather:
                report, told = _report(client, servers.kind)
        except Unavailable as error:
            if len(clients) == 1:
                raise
            warnings.append(Warned("redis", f"{where}{error}; the queues of this shard wait."))
            continue
        reports.append(report)
        if why_not := durability.means(place)[1]:
            told.append(Warned("redis", f"no submit is confirmed as {durability.wanted}: {why_not}."))
        warnings += [Warned(code, where + text) for code, text in told]
    if not reports:
        raise Unavailable("Redis does not answer", "; ".join(text for _, text in warnings))
    return _together(reports) | {"primaries": len(clients), "warnings": warnings}


def _report(client: Any, kind: str) -> tuple[dict[str, Any], list[Warned]]:
    """What one Redis is and keeps, and its warnings. What its user has no right to ask is None."""

    def setting(name: str) -> str | None:
        try:
            value: str | None = client.config_get(name).get(name)
            return value
        except redis.RedisError:
            return None

    try:
        info = client.info()
    except redis.ResponseError:
        info = {}
    report = {
        "kind": kind,
        "version": _version(info),
        "role": info.get("role"),
        "replicas": info.get("connected_slaves"),
        "used_memory_bytes": info.get("used_memory"),
        "maxmemory_bytes": info.get("maxmemory"),
        "maxmemory_policy": info.get("maxmemory_policy"),
        "appendonly": {1: "yes", 0: "no"}.get(info.get("aof_enabled")),
        "appendfsync": setting("appendfsync"),
        "min_replicas_to_write": setting("min-replicas-to-write"),
    }
    full = setting("cluster-require-full-coverage") if kind == "cluster" else None
    return report, [*_server_warnings(report), *_replication_warnings(report, full)]


def _version(info: dict[str, Any]) -> str | None:
    version: str | None = info.get("valkey_version") or info.get("redis_version")
    return f"{version} {NARROW}" if version and info.get("arch_bits") == 32 else version


def _together(reports: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The reports of all primaries as one: sums of numbers, and elsewhere the first one's word or, where they differ, all of them."""
    together = dict(reports[0])
    for name in together:
        values = [report[name] for report in reports]
        if name in ("used_memory_bytes", "maxmemory_bytes", "replicas"):
            together[name] = sum(value or 0 for value in values) if any(v is not None for v in values) else None
        elif len(set(values)) > 1:
            together[name] = ", ".join(dict.fromkeys(str(value) for value in values))
    return together


def _replication_warnings(report: dict[str, Any], full_coverage: str | None) -> Iterator[Warned]:
    if report["kind"] == "standalone" or report["role"] not in ("master", None):
        return
    if report["replicas"] == 0:
        yield Warned("redis", "this primary has no replica: when it is lost, nothing takes its place.")
    if report["min_replicas_to_write"] == "0":
        yield Warned(
            "redis",
            "this primary also takes jobs while no replica follows it: one that is cut off goes on to acknowledge jobs, "
            "which are all lost when another has taken its place. Set min-replicas-to-write 1 and min-replicas-max-lag 2.",
        )
    if full_coverage == "yes":
        yield Warned(
            "redis",
            "while one shard is away the others refuse their queues too. Set cluster-require-full-coverage no.",
        )


def _server_warnings(report: dict[str, Any]) -> Iterator[Warned]:
    if reason := too_old(report["version"]):
        yield Warned("redis", f"this Redis cannot be used: {reason}.")
    if report["appendonly"] == "no":
        yield Warned(
            "not_persistent", "Redis keeps no append-only file: jobs are lost when it stops. Set appendonly yes."
        )
    elif report["appendfsync"] == "no":
        yield Warned(
            "redis",
            "Redis never syncs its append-only file: a power failure may lose the last half minute. "
            "Set appendfsync everysec.",
        )
    if report["maxmemory_bytes"] and report["maxmemory_policy"] != "noeviction":
        policy = report["maxmemory_policy"]
        yield Warned("redis", f"Redis may delete jobs when memory is full ({policy}). Set maxmemory-policy noeviction.")
    if report["role"] not in ("master", None):
        yield Warned(
            "redis", f"this Redis is a {report['role']}: nothing can be written. Point REDIS_URL at the primary."
        )
    if report["maxmemory_bytes"] and (report["used_memory_bytes"] or 0) > 0.8 * report["maxmemory_bytes"]:
        yield Warned("memory", "Redis uses more than 80 % of its maxmemory: when it is full, submits are refused.")
