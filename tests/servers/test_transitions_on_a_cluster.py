"""Every transition once more, with its script run by a node of a Cluster: all of its keys must be in the slot of its queue."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from jobqueue import JobQueue
from tests.faults.proxy import Answer, Proxy, Rule
from tests.harness import Cluster, Server
from tests.queue.test_bad_redis import *  # noqa: F403
from tests.queue.test_claims import *  # noqa: F403
from tests.queue.test_expiry import *  # noqa: F403
from tests.queue.test_flow_fates import *  # noqa: F403
from tests.queue.test_flows import *  # noqa: F403
from tests.queue.test_leases import *  # noqa: F403
from tests.queue.test_operators import *  # noqa: F403
from tests.queue.test_schedules import *  # noqa: F403
from tests.queue.test_settlements import *  # noqa: F403
from tests.queue.test_snooze import *  # noqa: F403

pytestmark = [pytest.mark.long(0.1), pytest.mark.usefixtures("in_the_end_all_is_well")]


@pytest.fixture(scope="module")
def shared_server() -> Iterator[Server]:
    """A Cluster of a single master, in the place of the usual Redis."""
    cluster = Cluster(masters=1)
    [node] = cluster.nodes
    node.url = cluster.url
    yield node
    cluster.close()


@pytest.fixture
def through(server: Server, proxy: Proxy) -> Callable[[Rule], JobQueue]:
    """As above. Who asks for the slots is told that all are at the proxy."""
    node_id = server.client.execute_command("CLUSTER MYID")
    slots = f"*1\r\n*3\r\n:0\r\n:16383\r\n*3\r\n$9\r\n127.0.0.1\r\n:{proxy.port}\r\n$40\r\n{node_id}\r\n"

    def behind(rule: Rule) -> JobQueue:
        proxy.rule = lambda message: Answer(slots.encode()) if message.label == "CLUSTER" else rule(message)
        return JobQueue(f"redis+cluster://127.0.0.1:{proxy.port}")

    return behind
