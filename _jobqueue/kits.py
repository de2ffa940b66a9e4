"""Kits: the set of types that a worker handles, under a name that follows from it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from _jobqueue.records import Policy

ANY_TYPE = ""  # the kit of a slot that takes whatever is in the queue


def kit_of(types: Mapping[str, Policy]) -> str:
    """The name of a kit. Workers that handle the same types in the same way have the same."""
    if not types:
        return ANY_TYPE
    lines = "\n".join(f"{name} {policy_text(policy)}" for name, policy in sorted(types.items()))
    return hashlib.sha256(lines.encode()).hexdigest()[:8]


def policy_text(policy: Policy) -> str:
    """A type's numbers as the scripts read them."""
    return f"{policy.max_attempts} {policy.timeout_ms} {policy.backoff_ms}"
