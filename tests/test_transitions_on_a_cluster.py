"""Every transition once more, with its script run by a node of a Cluster: all of its keys must be in the slot of its queue."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.harness import Cluster, Server
from tests.test_transitions import *  # noqa: F403


@pytest.fixture(scope="module")
def shared_server() -> Iterator[Server]:
    """A Cluster of a single master, in the place of the usual Redis."""
    cluster = Cluster(masters=1)
    [node] = cluster.nodes
    node.url = cluster.url
    yield node
    cluster.close()
