"""The store is a Redis Cluster with three masters. One of them is away, or is replaced."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack, ExitStack

import pytest
from tests.cluster.conftest import Nodes
from tests.cluster.test_nodes import until_status, visit
from tests.cluster.timing import LOCAL_WITHIN_S, RIGHT_WITHIN_S, within
from tests.support.clients import client, until
from tests.support.services import Redis
from tests.support.stores import ClusterStore, soon

from presenced.cluster.redis.format import Keys
from presenced.cluster.sharding import shard_of
from presenced_client import Presence

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(180)]

SHARDS = 8


def shards_of(master: Redis) -> set[int]:
    """Return the shards that a master has."""
    found = set()
    for shard in range(SHARDS):
        reply = master.cli("HGET", Keys("presenced", shard).head.decode(), "n")
        if reply and not reply.startswith("MOVED"):
            found.add(shard)
    return found


class People:
    """Users of all shards: two in each."""

    def __init__(self, name: str) -> None:
        self.all: list[str] = []
        number = 0
        while len(self.all) < 2 * SHARDS:
            user_id = f"{name}{number}"
            number += 1
            if sum(shard_of(other, SHARDS) == shard_of(user_id, SHARDS) for other in self.all) < 2:
                self.all.append(user_id)

    def within(self, shards: set[int]) -> list[str]:
        """Return those in some shards."""
        return [user_id for user_id in self.all if shard_of(user_id, SHARDS) in shards]


@pytest.fixture
def masters() -> Iterator[ClusterStore]:
    with ExitStack() as running:
        yield ClusterStore(running)


@pytest.fixture
def replicated() -> Iterator[ClusterStore]:
    with ExitStack() as running:
        yield ClusterStore(running, has_replica=True)


async def heard_offline(presence: Presence, into: list[str], users: list[str]) -> None:
    """Collect users who are shown offline."""
    async for change in presence.changes(users):
        if change.current.status == "offline":
            into.append(str(change.user))  # noqa: PERF401, extend would add them after the end


def are_online(presence: Presence, users: list[str]) -> bool:
    """Return whether a client sees all of these users online."""
    return all(presence.user(user).online for user in users)


async def test_cluster_three_masters_one_fails_over(replicated: ClusterStore, nodes: Nodes) -> None:
    """Its replica takes over. Nobody is shown offline, and then changes of all users reach both nodes again."""
    first = await asyncio.to_thread(nodes.start, backend=replicated.url)
    second = await asyncio.to_thread(nodes.start, backend=replicated.url)
    stay, come = People("stay"), People("come")
    offline: list[str] = []
    async with (
        client(second, "watcher") as there,
        there.watch(stay.all + come.all),
        AsyncExitStack() as staying,
        AsyncExitStack() as coming,
    ):
        for user_id in stay.all:
            await staying.enter_async_context(visit(first, user_id))
        await until(there, lambda: are_online(there, stay.all))
        following = asyncio.create_task(heard_offline(there, offline, stay.all))
        lost = shards_of(replicated.masters[2])
        assert 2 <= len(lost) <= 3
        replicated.masters[2].kill()
        async with within(LOCAL_WITHIN_S, "watchers know"):
            await until(there, lambda: there.connection.stale)
        assert replicated.replica is not None
        replica = replicated.replica
        await asyncio.to_thread(soon, lambda: replica.cli("ROLE").startswith("master"), "the replica takes over")
        async with within(RIGHT_WITHIN_S, "all is right"):
            await until(there, lambda: not there.connection.stale)
        for user_id in come.all:
            await coming.enter_async_context(visit(first, user_id))
        async with within(RIGHT_WITHIN_S, "changes of all users arrive"):
            await until(there, lambda: are_online(there, come.all))
        assert shards_of(replica) == lost
        await asyncio.sleep(5)  # longer than the lease and the time until all is settled
        assert are_online(there, stay.all + come.all)
        following.cancel()
    assert offline == []


async def test_cluster_without_one_master_serves_the_other_users(masters: ClusterStore, nodes: Nodes) -> None:
    """Users of the lost part are served by their node alone, and are marked. All others are live."""
    first = await asyncio.to_thread(nodes.start, backend=masters.url)
    second = await asyncio.to_thread(nodes.start, backend=masters.url)
    stay, come = People("stay"), People("come")
    offline: list[str] = []
    async with (
        client(first, "w1") as here,
        client(second, "w2") as there,
        here.watch(stay.all + come.all),
        there.watch(stay.all + come.all),
        AsyncExitStack() as staying,
        AsyncExitStack() as coming,
    ):
        for user_id in stay.all:
            await staying.enter_async_context(visit(first, user_id))
        await until(there, lambda: are_online(there, stay.all))
        following = asyncio.create_task(heard_offline(there, offline, stay.all))
        lost = shards_of(masters.masters[2])
        live = set(range(SHARDS)) - lost
        masters.masters[2].kill()
        async with within(LOCAL_WITHIN_S, "watchers know"):
            await until(there, lambda: there.connection.stale)
        for user_id in come.all:
            await coming.enter_async_context(visit(first, user_id))
        async with within(LOCAL_WITHIN_S, "local service goes on"):
            await until(here, lambda: are_online(here, come.all))
        async with within(RIGHT_WITHIN_S, "the others are live"):
            await until(there, lambda: are_online(there, come.within(live)))
        async with client(second, "late") as late, late.watch(stay.all):
            uncertain = {user_id for user_id in stay.all if not late.user(user_id).certain}
            assert uncertain == set(stay.within(lost))
            assert are_online(late, stay.all)
        assert not any(there.user(user_id).online for user_id in come.within(lost))
        await asyncio.sleep(5)
        await asyncio.to_thread(masters.masters[2].start)  # without its data
        await asyncio.to_thread(soon, masters.is_complete, "the master is back")
        async with within(RIGHT_WITHIN_S, "all is right"):
            await until(there, lambda: are_online(there, come.all))
            await until(there, lambda: not there.connection.stale)
        await asyncio.sleep(5)  # longer than the lease and the time until all is settled
        assert are_online(there, stay.all + come.all)
        following.cancel()
        await coming.aclose()
        for user_id in come.all:
            await until_status(there, user_id, "offline")
    assert offline == []
