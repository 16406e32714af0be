"""Random faults of nodes, network and store, while people come, go and choose. All views are right in the end.

`PRESENCED_CLUSTER_NODES` sets the number of nodes, `PRESENCED_CLUSTER_SECONDS` for how long faults go on, and
`PRESENCED_CLUSTER_SEED` the seed. `make soak` has ten nodes and five minutes.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack

import pytest
from tests.cluster.conftest import LEASE_S, Nodes
from tests.support.balancer import Balancer, balancer
from tests.support.clients import client
from tests.support.process import ServerProcess
from tests.support.services import Redis, RedisReplica
from tests.support.store_proxy import StoreProxy
from tests.support.stores import Isolation, soon

from presenced_client import Presence

NODES = int(os.environ.get("PRESENCED_CLUSTER_NODES", "3"))
SECONDS = float(os.environ.get("PRESENCED_CLUSTER_SECONDS", "15"))
SEED = int(os.environ.get("PRESENCED_CLUSTER_SEED", "0"))

PEOPLE = 50 if NODES >= 10 else 20
STEADY = "steady"
"""User of the first node, which is neither killed, frozen nor cut off. No client is told that this user is offline."""

TO_COMMIT_S = 3.0
"""Seconds in which a node whose store is in reach commits what was decided on it, on a busy machine."""

CALM_S = 2 * LEASE_S + 20
"""Seconds until all is right: the lease of a dead node, and of users who are unsettled; and clients back off."""

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(SECONDS + 400)]


class Node:
    """A node, and its network to the store."""

    def __init__(self, server: ServerProcess, proxy: StoreProxy) -> None:
        self.server = server
        self.proxy = proxy
        self.is_frozen = False

    def thaw(self) -> None:
        """Continue the process."""
        self.server.signal(signal.SIGCONT)
        self.is_frozen = False


class Person:
    """A user with one client, who comes and goes. The client reconnects to any node."""

    def __init__(self, user_id: str) -> None:
        self.user_id = user_id
        self.presence: Presence | None = None
        self.choice = ""
        """Last status that was chosen and accepted."""
        self._running = AsyncExitStack()

    async def come(self, url: str, watched: list[str], heard: list[str]) -> None:
        """Connect, and watch."""
        self.presence = await self._running.enter_async_context(client(url, self.user_id))
        task = asyncio.create_task(_listen(self.presence, watched, heard))
        self._running.callback(task.cancel)

    async def go(self) -> None:
        """Disconnect deliberately."""
        self.presence = None
        await self._running.aclose()


async def _listen(presence: Presence, watched: list[str], heard: list[str]) -> None:
    """Check what a client is shown, until this is cancelled. Put what is wrong into a list."""
    versions: dict[str, int] = {}
    async for change in presence.changes(watched):
        user_id, current = str(change.user), change.current
        if current.status == "offline" and user_id == STEADY:
            heard.append(f"{STEADY} is shown offline")
        if current.version < versions.get(user_id, 0):
            heard.append(f"version {current.version} of {user_id} after {versions[user_id]}")
        versions[user_id] = current.version


class World:
    """Nodes, people, and a store with a replica. The test makes the replica the master, as a provider would."""

    def __init__(self, nodes: Nodes, running: AsyncExitStack) -> None:
        self.random = random.Random(SEED)
        self._nodes = nodes
        self._running = running
        self.people = [Person(f"p{number}") for number in range(PEOPLE)]
        self.everyone = [STEADY, *(person.user_id for person in self.people)]
        self.heard: list[str] = []
        self.nodes: list[Node] = []
        self.master = running.enter_context(Redis())
        self.replica = running.enter_context(RedisReplica(self.master))
        self.balancer: Balancer
        self.counts: dict[str, int] = {}

    async def start_node(self) -> None:
        """Start a node behind a network of its own."""
        proxy = StoreProxy(self.master.port)
        await proxy.start()
        self._running.push_async_callback(proxy.stop)
        self.nodes.append(Node(await asyncio.to_thread(self._nodes.start, backend=proxy.url), proxy))

    def ports(self) -> list[int]:
        """Return the ports of the nodes that run."""
        return [node.server.port for node in self.nodes if not node.is_frozen]

    # People.

    async def come_or_go(self) -> None:
        person = self.random.choice(self.people)
        if person.presence is None:
            with contextlib.suppress(TimeoutError):  # the client goes on trying
                async with asyncio.timeout(5):
                    await person.come(self.balancer.url, self.everyone, self.heard)
        else:
            await person.go()

    async def choose(self) -> None:
        person = self.random.choice(self.people)
        if person.presence is None:
            return
        status = self.random.choice(["away", "busy", "online"])
        with contextlib.suppress(TimeoutError):  # the client goes on trying
            async with asyncio.timeout(5):
                await person.presence.set_status(status)  # type: ignore[arg-type]  # one of the literals
        person.choice = status  # the client sends it again if it is not accepted now

    # Faults.

    async def kill(self) -> None:
        """Kill a node that has had time to commit, and start another one."""
        node = self.random.choice(self.nodes[1:])
        await self.repair()
        await asyncio.sleep(TO_COMMIT_S)
        self.nodes.remove(node)
        await asyncio.to_thread(node.server.kill)
        await self.start_node()

    async def freeze(self) -> None:
        """Freeze a node for less or more than the lease."""
        node = self.random.choice(self.nodes[1:])
        node.is_frozen = True
        node.server.signal(signal.SIGSTOP)
        await asyncio.sleep(self.random.choice([0.5, LEASE_S + 2]))
        node.thaw()

    async def cut(self) -> None:
        """Cut a node off, one way or both, for less or more than the lease."""
        node = self.random.choice(self.nodes[1:])
        self.random.choice([StoreProxy.cut, StoreProxy.half_open, StoreProxy.hold])(node.proxy)
        await asyncio.sleep(self.random.choice([0.5, LEASE_S + 2]))
        node.proxy.heal()

    async def slow_down(self) -> None:
        """Make the way to the store longer for a node."""
        node = self.random.choice(self.nodes)
        node.proxy.delay_s = self.random.choice([0.05, 0.3])
        await asyncio.sleep(2)
        node.proxy.heal()

    async def freeze_store(self) -> None:
        self.master.pause()
        await asyncio.sleep(self.random.choice([0.5, 3]))
        self.master.resume()

    async def fail_over(self) -> None:
        """The master dies, and the replica lacks its last writes."""
        isolation = await asyncio.to_thread(Isolation, self.master)
        await asyncio.to_thread(isolation.lose_replicas)
        await asyncio.sleep(self.random.choice([0.1, 1]))
        isolation.close()
        await asyncio.to_thread(self.master.kill)
        await asyncio.sleep(self.random.choice([0, 2]))
        await asyncio.to_thread(self.replica.cli, "REPLICAOF", "NO", "ONE")
        self.master = self.replica
        for node in self.nodes:
            node.proxy.to = self.master.port
        self.replica = self._running.enter_context(await asyncio.to_thread(RedisReplica, self.master))
        await asyncio.to_thread(
            soon, lambda: "master_link_status:up" in self.replica.cli("INFO", "replication"), "the replica has all"
        )

    async def flush(self) -> None:
        """Empty the store, while all nodes know what was in it."""
        await self.repair()
        await asyncio.sleep(TO_COMMIT_S)
        await asyncio.to_thread(self.master.cli, "FLUSHALL")

    async def repair(self) -> None:
        """End all faults."""
        self.master.resume()
        for node in self.nodes:
            node.proxy.heal()
            node.thaw()

    # What must hold.

    def truth(self) -> dict[str, str]:
        """Return the status of everyone, derived from the actions alone."""
        found = {STEADY: "online"}
        for person in self.people:
            found[person.user_id] = (person.choice or "online") if person.presence is not None else "offline"
        return found

    def wrong(self) -> dict[str, dict[str, str]]:
        """Return what clients see that is not true, by user who looks."""
        truth = self.truth()
        found: dict[str, dict[str, str]] = {}
        for person in self.people:
            if person.presence is not None:
                seen = {user_id: str(person.presence.user(user_id).status) for user_id in truth}
                differs = {user_id: seen[user_id] for user_id in truth if seen[user_id] != truth[user_id]}
                if differs or person.presence.connection.stale:
                    found[person.user_id] = differs
        return found

    async def run(self) -> None:
        """Let random things happen, and check everything after each calm."""
        actions: list[Callable[[], Awaitable[None]]] = [self.come_or_go, self.choose]
        faults: list[Callable[[], Coroutine[None, None, None]]] = [
            self.kill,
            self.freeze,
            self.cut,
            self.slow_down,
            self.freeze_store,
            self.fail_over,
            self.flush,
        ]
        until = time.monotonic() + SECONDS
        while time.monotonic() < until:
            for fault in self.random.sample(faults, 3):
                self.counts[fault.__name__] = self.counts.get(fault.__name__, 0) + 1
                faulty = asyncio.create_task(fault())
                while not faulty.done():
                    await self.random.choice(actions)()
                    await asyncio.sleep(self.random.choice([0.02, 0.1, 0.3]))
                faulty.result()
            await self.repair()
            await self.check()

    async def check(self) -> None:
        """Wait until all clients see the truth."""
        deadline = time.monotonic() + CALM_S
        while (wrong := self.wrong()) and time.monotonic() < deadline:
            await asyncio.sleep(0.1)
        assert not wrong, f"seed {SEED}: {wrong}, and the truth is {self.truth()}"
        assert not self.heard, f"seed {SEED}: {self.heard}"


@pytest.fixture
async def world(nodes: Nodes) -> AsyncIterator[World]:
    async with AsyncExitStack() as running:
        yield World(nodes, running)


async def test_random_cluster_of_ten_survives_five_minutes(world: World) -> None:
    sys.stdout.write(f"seed {SEED}, {NODES} nodes, {PEOPLE} clients\n")
    for _ in range(NODES):
        await world.start_node()
    steady = client(world.nodes[0].server, STEADY)
    async with steady, balancer(world.ports) as found:
        world.balancer = found
        for person in world.people:
            await person.come(found.url, world.everyone, world.heard)
        await world.check()
        await world.run()
        await world.check()
        for person in world.people:
            if person.presence is not None:
                await person.go()
    sys.stdout.write(f"{world.counts}\n")
