"""The network between nodes and store: cut, one-sided, slow."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from tests.cluster.conftest import LEASE_S, NewProxy, Nodes
from tests.cluster.test_nodes import until_status, visit
from tests.cluster.timing import LOCAL_WITHIN_S, RIGHT_WITHIN_S, within
from tests.support.clients import client, until
from tests.support.store_proxy import StoreProxy

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(180)]


@pytest.mark.parametrize("fault", [StoreProxy.cut, StoreProxy.half_open], ids=["cut", "half_open"])
async def test_one_node_cut_off_then_healed(
    nodes: Nodes, new_proxy: NewProxy, fault: Callable[[StoreProxy], None]
) -> None:
    """It serves its own users on its own. After the lease, the others show them offline, until it is back."""
    proxy = await new_proxy()
    first = await asyncio.to_thread(nodes.start, backend=proxy.url)
    second = await asyncio.to_thread(nodes.start)
    users = ["ada", "bob", "carl"]
    async with (
        client(first, "w1") as here,
        client(second, "w2") as there,
        here.watch(users),
        there.watch(users),
        visit(second, "bob"),
    ):
        async with visit(first, "ada"):
            await until(here, lambda: here.user("ada").online and here.user("bob").online)
            await until(there, lambda: there.user("ada").online)
            fault(proxy)
            noticed = 4 if fault is StoreProxy.half_open else LOCAL_WITHIN_S
            async with within(noticed, "the node is on its own"):
                await until(here, lambda: here.connection.stale)
            async with visit(first, "carl"):
                async with within(LOCAL_WITHIN_S, "its own users are served"):
                    await until_status(here, "carl", "online")
                assert here.user("ada").online
                assert here.user("bob").online, "nobody whose node lives is shown offline"
                assert not there.connection.stale
                await until_status(there, "ada", "offline")
                assert there.user("bob").online
                proxy.heal()
                async with within(RIGHT_WITHIN_S, "all is right"):
                    await until(here, lambda: not here.connection.stale)
                    await until(there, lambda: there.user("ada").online and there.user("carl").online)
                assert here.user("bob").online
        await until(there, lambda: (there.user("ada").status, there.user("carl").status) == ("offline", "offline"))


async def test_a_cut_shorter_than_the_lease_shows_nobody_offline(nodes: Nodes, new_proxy: NewProxy) -> None:
    proxy = await new_proxy()
    first = await asyncio.to_thread(nodes.start, backend=proxy.url)
    second = await asyncio.to_thread(nodes.start)
    seen: list[str] = []

    async def follow() -> None:
        async for change in there.changes(["ada"]):
            seen.append(change.current.status)  # noqa: PERF401, extend would add them after the end

    async with client(second, "w2") as there, visit(first, "ada"), asyncio.TaskGroup() as tasks:
        following = tasks.create_task(follow())
        await until_status(there, "ada", "online")
        proxy.cut()
        await asyncio.sleep(LEASE_S / 2)
        proxy.heal()
        async with visit(first, "bob"), there.watch(["bob"]):
            await until_status(there, "bob", "online")
        following.cancel()
    assert "offline" not in seen[seen.index("online") :]


async def test_slow_store_changes_are_late_and_nothing_else(nodes: Nodes, new_proxy: NewProxy) -> None:
    """A reply takes half a second. No node is on its own, and nobody is shown offline."""
    proxy = await new_proxy()
    first = await asyncio.to_thread(nodes.start, backend=proxy.url)
    second = await asyncio.to_thread(nodes.start)
    async with (
        client(first, "w1") as here,
        client(second, "w2") as there,
        here.watch(["ada", "bob"]),
        there.watch(["ada", "bob"]),
        visit(first, "ada"),
    ):
        await until(there, lambda: there.user("ada").online)
        proxy.delay_s = 0.5
        for _ in range(2):
            async with visit(first, "bob"):
                async with within(4, "the change arrives"):
                    await until_status(there, "bob", "online")
                    await until_status(here, "bob", "online")
                assert here.user("ada").online
                assert there.user("ada").online
            await until_status(there, "bob", "offline")
            assert not here.connection.stale
        await asyncio.sleep(LEASE_S)
        assert there.user("ada").online, "a slow node is not dead"
        proxy.heal()
        async with visit(first, "bob"), within(RIGHT_WITHIN_S, "it is as fast as before"):
            await until_status(there, "bob", "online")
