"""The memory of the store: it is full, it loses keys, and its log is too short."""

from __future__ import annotations

import asyncio

import pytest
from tests.cluster.conftest import LEASE_S, NewProxy, Nodes, metric
from tests.cluster.test_nodes import follow, soon, until_status, visit
from tests.cluster.timing import LOCAL_WITHIN_S, RIGHT_WITHIN_S, within
from tests.support.clients import client, until
from tests.support.services import Redis
from tests.support.soak import ONLY_IN_SOAK

from presenced.cluster.redis.format import Keys

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(180)]

KEYS = Keys("presenced", 0)


async def test_memory_full_then_freed(store: Redis, nodes: Nodes) -> None:
    """While the store refuses writes, each node serves its users on its own, and says so."""
    first, second = nodes.start(), nodes.start()
    users = ["ada", "bob", "carl"]
    async with (
        client(first, "w1") as here,
        client(second, "w2") as there,
        here.watch(users),
        there.watch(users),
        visit(first, "ada"),
    ):
        async with visit(second, "bob"):
            await until(here, lambda: here.user("ada").online and here.user("bob").online)
            await until(there, lambda: there.user("ada").online)
            store.cli("CONFIG", "SET", "maxmemory", "1mb")
            try:
                async with visit(first, "carl"):
                    async with within(LOCAL_WITHIN_S, "local service goes on"):
                        await until_status(here, "carl", "online")
                    async with within(LOCAL_WITHIN_S, "watchers know"):
                        await until(here, lambda: here.connection.stale)
                    await asyncio.sleep(LEASE_S + 2)
                    assert here.user("ada").online
                    assert here.user("bob").online
                    assert there.user("ada").online, "nobody whose node lives is shown offline"
                    store.cli("CONFIG", "SET", "maxmemory", "0")
                    async with within(RIGHT_WITHIN_S, "all is right"):
                        await until_status(there, "carl", "online")
                        await until(here, lambda: not here.connection.stale)
            finally:
                store.cli("CONFIG", "SET", "maxmemory", "0")
        await until_status(here, "bob", "offline")
        await until_status(there, "carl", "offline")
        assert there.user("ada").online


def keys_of(store: Redis, lost: str) -> list[str]:
    """Return the keys with these contents."""
    names = store.cli("KEYS", "presenced:*").split()
    keys = {
        "records": [KEYS.users.decode()],
        "contributions": [name for name in names if ":at:" in name or ":rooms:" in name],
        "log": [KEYS.log.decode()],
    }
    assert len(keys["contributions"]) == 3
    return keys.get(lost) or [name for group in keys.values() for name in group]


@pytest.mark.parametrize(
    "lost", ["all of these", *(pytest.param(key, marks=ONLY_IN_SOAK) for key in ("records", "contributions", "log"))]
)
async def test_evicted_hash_is_found_and_repaired(store: Redis, nodes: Nodes, lost: str) -> None:
    """Nobody has to do anything: nodes notice that a key is gone, and write again what was in it."""
    first, second = nodes.start(), nodes.start()
    seen: list[tuple[str, str]] = []
    async with (
        client(second, "watcher") as watcher,
        visit(first, "ada"),
        visit(second, "bob"),
        watcher.watch(["carl"]),
        watcher.watch(["ada", "bob"]),
        client(first, "ada") as ada,
        ada.room("lobby"),
    ):
        await until(watcher, lambda: watcher.user("ada").online and watcher.user("bob").online)
        await ada.set_status("busy", text="deploying")
        await until(watcher, lambda: watcher.user("ada").text == "deploying")
        following = asyncio.create_task(follow(watcher, seen, "ada", "bob"))
        keys = keys_of(store, lost)
        store.cli("DEL", *keys)
        await soon(lambda: int(store.cli("EXISTS", *keys)) == len(keys))
        await soon(lambda: int(store.cli("HLEN", KEYS.users.decode())) >= 3)
        third = await asyncio.to_thread(nodes.start)
        async with client(third, "w3") as newcomer, newcomer.watch(["ada", "bob"]):
            for _ in range(2):
                assert newcomer.user("ada").text == "deploying"
                assert newcomer.user("bob").online
                await asyncio.sleep(LEASE_S + 3)  # until a user who does not fit would be settled
        async with visit(first, "carl"):
            await until_status(watcher, "carl", "online")
        following.cancel()
    assert [change for change in seen if change[1] == "offline"] == []


async def test_log_trimmed_past_a_node_reloads(store: Redis, nodes: Nodes, new_proxy: NewProxy) -> None:
    """It reads everything again, and its watchers hear of each user at most once."""
    proxy = await new_proxy()
    first = await asyncio.to_thread(nodes.start, backend=proxy.url, cluster_lease=15)
    second = await asyncio.to_thread(nodes.start, cluster_lease=15)
    users = ["ada", "bob", "carl"]
    seen: list[tuple[str, str]] = []
    async with client(first, "w1") as here, here.watch(users), visit(first, "ada"), visit(second, "carl"):
        await until(here, lambda: here.user("ada").online and here.user("carl").online)
        following = asyncio.create_task(follow(here, seen, *users))
        loads = await metric(first, 'presenced_cluster_reloads_total{reason="log"}')
        proxy.cut()
        await until(here, lambda: here.connection.stale)
        for _ in range(3):
            async with client(second, "bob") as bob:
                await bob.set_status("busy")
        async with client(second, "bob") as bob:
            await bob.set_status("away")
            await soon(lambda: int(store.cli("XLEN", KEYS.log.decode())) > 8)
            await asyncio.sleep(0.5)  # the last change is in the log
            store.cli("XTRIM", KEYS.log.decode(), "MAXLEN", "1")
            proxy.heal()
            async with within(RIGHT_WITHIN_S, "all is right"):
                await until_status(here, "bob", "away")
                await until(here, lambda: not here.connection.stale)
            assert here.user("ada").online
            assert here.user("carl").online
        following.cancel()
    assert await metric(first, 'presenced_cluster_reloads_total{reason="log"}') == loads + 1
    assert [change for change in seen if change[0] == "bob"][:1] == [("bob", "away")]
    assert [change for change in seen if change[0] != "bob"] == []
