"""A node of many is killed. `PRESENCED_CLUSTER_NODES` sets their number: three, or ten in `make soak`."""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import AsyncExitStack

import pytest
from tests.cluster.conftest import LEASE_S, Nodes
from tests.cluster.test_nodes import follow, until_status, visit
from tests.support.clients import client
from tests.support.process import ServerProcess

from presenced_client import Presence

NODES = int(os.environ.get("PRESENCED_CLUSTER_NODES", "3"))

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(180)]


class Audience:
    """A watcher on each of some nodes, and what they are shown of some users."""

    def __init__(self, users: list[str]) -> None:
        self._users = users
        self._watchers: list[Presence] = []
        self._tasks: list[asyncio.Task[None]] = []
        self.seen: list[list[tuple[str, str]]] = []

    async def enter(self, servers: list[ServerProcess], running: AsyncExitStack) -> None:
        """Connect the watchers."""
        for number, server in enumerate(servers):
            watcher = await running.enter_async_context(client(server, f"w{number}"))
            self._watchers.append(watcher)
            self.seen.append([])
            self._tasks.append(asyncio.create_task(follow(watcher, self.seen[-1], *self._users)))

    async def until(self, users: list[str], status: str) -> None:
        """Wait until all watchers see this status of these users."""
        for watcher in self._watchers:
            for user_id in users:
                await until_status(watcher, user_id, status)

    async def end(self) -> None:
        """Wait a second, and collect nothing more."""
        await asyncio.sleep(1)
        for task in self._tasks:
            task.cancel()

    def shown(self, user_id: str) -> list[list[str]]:
        """Return the statuses that each watcher was shown since it saw the user online."""
        found = [[status for user, status in one if user == user_id] for one in self.seen]
        return [one[one.index("online") :] for one in found]


async def test_killed_node_users_offline_within_lease_plus_two_once(nodes: Nodes) -> None:
    """Watchers on all other nodes are told once, and nobody else is shown offline."""
    servers = await nodes.start_several(NODES)
    gone = [f"gone{number}" for number in range(5)]
    stay = [f"stay{number}" for number in range(1, NODES)]
    audience = Audience(gone + stay)
    async with AsyncExitStack() as running:
        await audience.enter(servers[1:], running)
        for number, user_id in enumerate(stay, 1):
            await running.enter_async_context(visit(servers[number], user_id))
        for user_id in gone:
            await running.enter_async_context(visit(servers[0], user_id))
        await audience.until(gone + stay, "online")
        servers[0].kill()
        began = time.monotonic()
        await audience.until(gone, "offline")
        took = time.monotonic() - began
        await audience.end()
    assert LEASE_S * 4 / 5 - 1 < took < LEASE_S + 2 + 1, "the machine is shared, so one second more"
    for user_id in gone:
        assert audience.shown(user_id) == [["online", "offline"]] * (NODES - 1)
    for user_id in stay:
        assert audience.shown(user_id) == [["online"]] * (NODES - 1)


async def test_killed_node_users_who_came_back_never_flicker(nodes: Nodes) -> None:
    """They are on other nodes when the lease ends, so no watcher on any node notices anything."""
    servers = await nodes.start_several(NODES)
    back = [f"back{number}" for number in range(2 * NODES)]
    audience = Audience(["gone", *back])
    async with AsyncExitStack() as running:
        await audience.enter(servers[1:], running)
        async with AsyncExitStack() as lost:
            for user_id in ["gone", *back]:
                await lost.enter_async_context(visit(servers[0], user_id))
            await audience.until(["gone", *back], "online")
            servers[0].kill()
        for number, user_id in enumerate(back):
            await running.enter_async_context(visit(servers[1 + number % (NODES - 1)], user_id))
        await audience.until(["gone"], "offline")
        await audience.end()
    for user_id in back:
        assert audience.shown(user_id) == [["online"]] * (NODES - 1), f"{user_id} flickered"
