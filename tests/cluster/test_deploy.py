"""A rolling deploy: all nodes are replaced one after the other, and nobody flickers.

`PRESENCED_CLUSTER_CROWD` sets the number of clients, and `PRESENCED_CLUSTER_NODES` that of nodes. `make soak` has 2,000
clients and ten nodes. A short one is in `test_sessions.py`.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time

import pytest
from tests.cluster.conftest import Nodes
from tests.support.balancer import balancer
from tests.support.crowd import ClassicClient, Client, V1Client, mixed_crowd
from tests.support.process import ServerProcess

SIZE = int(os.environ.get("PRESENCED_CLUSTER_CROWD", "0"))
NODES = int(os.environ.get("PRESENCED_CLUSTER_NODES", "3"))
LEAVERS = 4
"""Number of users of each protocol who leave with the last node."""

GRACE_S = 15
"""Setting `grace_lost`: after that, those who have not returned are offline."""

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not SIZE, reason="`make soak` runs it"),
]


async def test_rolling_deploy_under_load_flickers_nobody(nodes: Nodes) -> None:
    servers = await nodes.start_several(NODES, grace_lost=GRACE_S)
    async with balancer(lambda: [server.port for server in servers]) as proxy:
        crowd = mixed_crowd(proxy.port, None, SIZE)
        try:
            await crowd.connect(200)
            await asyncio.sleep(1)  # the last notifications arrive
            assert not [one for one in crowd.members if one.heard_offline], "before the deploy"
            began = time.monotonic()
            for index in range(NODES - 1):
                await replace(nodes, servers, index)
                await crowd.until_connected(crowd.members)
            classic = [one for one in crowd.members if isinstance(one, ClassicClient)]
            modern = [one for one in crowd.members if isinstance(one, V1Client)]
            leavers: list[Client] = [*classic[:LEAVERS], *modern[:LEAVERS]]
            for leaver in leavers:
                leaver.will_return = False
            await replace(nodes, servers, NODES - 1)
            for leaver in leavers:
                leaver.abort()  # of those on other nodes
            others = [one for one in crowd.members if one.will_return]
            await crowd.until_connected(others)
            took = time.monotonic() - began
            gone = {leaver.user_id for leaver in leavers}
            staying = [one for one in modern if one.will_return]
            async with asyncio.timeout(2 * GRACE_S + 20):
                while any(one.statuses.get(user, "offline") != "offline" for one in staying for user in gone):
                    await asyncio.sleep(0.1)
        finally:
            await crowd.end()
    sys.stdout.write(f"{SIZE} clients, {NODES} nodes replaced in {took:.1f} s\n")
    for one in others:
        wrong = {user: reason for user, reason in one.heard_offline.items() if user not in gone}
        assert not wrong, f"{one.user_id} shows users offline who came back"


async def replace(nodes: Nodes, servers: list[ServerProcess], index: int) -> None:
    """Start another node in the place of one, and then stop that one."""
    old = servers[index]
    servers[index] = await asyncio.to_thread(nodes.start, grace_lost=GRACE_S)
    old.signal(signal.SIGTERM)
    await asyncio.to_thread(old.wait)
