"""Two nodes and a database on the other kinds of store: Valkey, and a Redis Cluster."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from typing import Any

import pytest
from tests.cluster.conftest import Nodes, metric
from tests.cluster.test_nodes import until_status, visit
from tests.cluster.test_writer import Storing, agrees, come_and_go, truth
from tests.support.clients import client, until
from tests.support.services import PostgreSQL, Valkey
from tests.support.soak import ONLY_IN_SOAK
from tests.support.stores import ClusterStore
from tests.support.webhooks import SECRET, Receiver

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(180)]

USERS = [f"u{number}" for number in range(12)]
"""Users of several shards."""


@pytest.fixture(scope="module")
def valkey() -> Iterator[str]:
    with Valkey() as server:
        yield server.url("0")


@pytest.fixture(scope="module")
def redis_cluster() -> Iterator[str]:
    with ExitStack() as running:
        yield ClusterStore(running).url


@pytest.fixture(scope="module")
def postgresql() -> Iterator[PostgreSQL]:
    with PostgreSQL() as running:
        yield running


@pytest.fixture
async def storing(request: pytest.FixtureRequest, nodes: Nodes, tmp_path: Path) -> AsyncIterator[Storing]:
    store, database = request.param
    settings: dict[str, Any] = {"database": "sqlite", "data_dir": str(tmp_path / "data")}
    environ = {"PRESENCED_WEBHOOK_SECRETS": SECRET}
    if database == "postgresql":
        postgresql: PostgreSQL = request.getfixturevalue("postgresql")
        settings = {"database": "url"}
        environ["PRESENCED_DATABASE_URL"] = postgresql.new_database()
    name = f"c{database}"
    settings |= {"backend": request.getfixturevalue(store), "cluster_name": name}
    with Receiver() as receiver:
        settings |= {"webhook_urls": receiver.url, "outgoing_private": True, "settling": 0}
        yield Storing(nodes, settings, environ, receiver)


async def until_written(storing: Storing, shards: int) -> None:
    """Wait until each shard has a node that stores for all."""

    async def have_writers() -> bool:
        found = [await metric(server, "presenced_cluster_designated_writer") for server in storing.servers.values()]
        return sum(found) == shards

    await agrees(have_writers)


@pytest.mark.parametrize(
    ("storing", "shards"),
    [
        (("valkey", "sqlite"), 1),
        pytest.param(("redis_cluster", "sqlite"), 8, marks=ONLY_IN_SOAK),
        (("redis_cluster", "postgresql"), 8),
    ],
    ids=["valkey-sqlite", "cluster-sqlite", "cluster-postgresql"],
    indirect=["storing"],
)
async def test_two_nodes_share_users_history_and_webhooks(storing: Storing, shards: int) -> None:
    """Watchers on both nodes see all users, and history and webhooks have each change once, in order."""
    await storing.start("ab")
    first, second = storing.servers["a"], storing.servers["b"]
    await until_written(storing, shards)
    cursor = (await storing.get("b", "/changes"))["next"]
    async with (
        client(first, "w1") as here,
        client(second, "w2") as there,
        here.watch(USERS),
        there.watch(USERS),
        AsyncExitStack() as present,
    ):
        for number, user_id in enumerate(USERS):
            await present.enter_async_context(visit((first, second)[number % 2], user_id))
        for watcher in (here, there):
            for user_id in USERS:
                await until_status(watcher, user_id, "online")
        async with client(first, "lost") as lost, lost.room("lobby", data={"seat": 1}), there.room("lobby") as room:
            await lost.set_status("busy", text="deploying")
            await until(there, lambda: "lost" in room.members)
            await until(there, lambda: there.user("lost").text == "deploying")
            assert room.members["lost"].data == {"seat": 1}
    done = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        for number, user_id in enumerate(USERS[:6]):
            tasks.create_task(come_and_go((first, second)[number % 2], user_id, done))
        await asyncio.sleep(1)
        done.set()

    async def all_are_gone() -> bool:
        seen = await truth(storing, "b", cursor, [*USERS, "lost", "w1", "w2"])
        return all(found[-1:] and found[-1][0] == "offline" for found in seen.values())

    await agrees(all_are_gone)
    seen = await truth(storing, "b", cursor, [*USERS, "lost", "w1", "w2"])

    async def all_is_stored_and_sent() -> bool:
        stored = {user_id: await storing.history("a", user_id) for user_id in seen}
        return stored == seen and {user_id: storing.webhooks(user_id) for user_id in seen} == seen

    await agrees(all_is_stored_and_sent)
    await asyncio.to_thread(storing.kill, "a")
    await until_written(storing, shards)  # the other node stores from now on
