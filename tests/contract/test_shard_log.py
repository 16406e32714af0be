"""Rows of the designated writers of a cluster, on a real database of each kind."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from tests.support.changes import change_of
from tests.support.databases import database, servers

from presenced.presence.model import Change
from presenced.storage.records import Record, StoredSession, StoredUser, start_position
from presenced.storage.schema import changes, log, nodes, sessions, users
from presenced.storage.shard_log import ShardLog, end_sessions_of, end_silent_sessions
from presenced.storage.store import SILENT_MS, Store

__all__ = ["database", "servers"]

pytestmark = pytest.mark.anyio

NOW = 1_795_000_000_000
DAY = 86_400_000
FIRST = start_position(NOW)
"""Above everything that an earlier server has used."""


@pytest.fixture
def anyio_backend() -> object:
    """The loop of the storage worker."""
    return "asyncio"


def shard_log(database: AsyncEngine, writer: str, epoch: str = "life1", shard: int = 0) -> ShardLog:
    return ShardLog(
        dialect=database.dialect.name,
        cluster="presenced",
        shard=shard,
        epoch=epoch,
        writer=writer,
        started_ms=NOW,
        history_ms=30 * DAY,
    )


async def take(database: AsyncEngine, one: ShardLog) -> int:
    async with database.begin() as connection:
        return await one.take(connection, NOW)


async def store(database: AsyncEngine, one: ShardLog, n: int, *records: Record) -> bool:
    async with database.begin() as connection:
        if not await one.advance(connection, n, NOW):
            return False
        await one.write(connection, records)
        return True


async def rows(database: AsyncEngine, table: Any) -> list[dict[str, Any]]:
    async with database.connect() as connection:
        return [dict(row) for row in (await connection.execute(select(table))).mappings()]


def user(user_id: str, status: str, version: int) -> StoredUser:
    return StoredUser(user_id, status, version, NOW, NOW, NOW)


def change(user_id: str, version: int, status: str = "online") -> Change:
    return change_of(user_id, version, status, at_ms=NOW)


async def test_a_writer_continues_at_the_checkpoint_of_the_one_before(database: AsyncEngine) -> None:
    first, second = shard_log(database, "a"), shard_log(database, "b")
    assert await take(database, first) == 0
    assert await store(database, first, FIRST + 10)
    assert await store(database, first, 0), "a transaction without anything new of the log"
    assert await store(database, first, FIRST + 5), "the same batch again"
    assert await take(database, second) == FIRST + 10
    assert [row["n"] for row in await rows(database, log)] == [FIRST + 10]


async def test_a_deposed_writer_stores_nothing(database: AsyncEngine) -> None:
    old, new = shard_log(database, "a"), shard_log(database, "b")
    await take(database, old)
    await take(database, new)
    assert not await store(database, old, FIRST + 20, change("ada", FIRST + 20))
    assert not await store(database, old, 0, change("ada", FIRST + 20))
    assert await rows(database, changes) == []
    assert await store(database, new, FIRST + 1, change("ada", FIRST + 1))
    assert [row["n"] for row in await rows(database, log)] == [FIRST + 1]


async def test_who_takes_a_shard_waits_for_the_transaction_of_the_writer_before(database: AsyncEngine) -> None:
    old, new = shard_log(database, "a"), shard_log(database, "b")
    await take(database, old)
    async with database.begin() as connection:
        assert await old.advance(connection, FIRST + 7, NOW)
        taking = asyncio.create_task(take(database, new))
        await asyncio.sleep(0.05)
        assert not taking.done()
        await old.write(connection, [change("ada", FIRST + 7)])
    assert await taking == FIRST + 7


async def test_two_writers_never_store_a_change_twice(database: AsyncEngine) -> None:
    old, new = shard_log(database, "a"), shard_log(database, "b")
    await take(database, old)
    some = [change("ada", FIRST + 1), change("bob", FIRST + 2), change("ada", FIRST + 3, "offline")]
    assert await store(database, old, FIRST + 1, *some)  # users are sent later, so the checkpoint is behind
    await take(database, new)
    assert await store(database, new, FIRST + 4, *some, change("eve", FIRST + 4))
    found = await rows(database, changes)
    assert [(row["epoch"], row["position"] - FIRST) for row in found] == [("life1.0", n) for n in (1, 2, 3, 4)]


async def test_changes_that_a_store_had_lost_are_not_stored_again_with_new_numbers(database: AsyncEngine) -> None:
    one = shard_log(database, "a")
    await take(database, one)
    assert await store(database, one, FIRST + 2, change("ada", FIRST + 1), change("bob", FIRST + 2))
    jumped = FIRST + (1 << 20)
    lost = [
        change("ada", jumped + 1),
        change_of("bob", jumped + 2, at_ms=NOW, text="new"),
        change("eve", jumped + 3),
        change("eve", jumped + 4),
        change_of("ada", jumped + 5, "offline", at_ms=NOW + 5),
        change_of("ada", jumped + 6, at_ms=NOW + 6),
    ]
    async with database.begin() as connection:
        assert await one.advance(connection, jumped + 6, NOW)
        await one.write(connection, lost, may_repeat=True)
    found = {(row["user_id"], row["position"]) for row in await rows(database, changes)}
    new = {("bob", jumped + 2), ("eve", jumped + 3), ("ada", jumped + 5), ("ada", jumped + 6)}
    assert found == {("ada", FIRST + 1), ("bob", FIRST + 2), *new}


async def test_shards_have_checkpoints_and_writers_of_their_own(database: AsyncEngine) -> None:
    first, second = shard_log(database, "a", shard=0), shard_log(database, "b", shard=1)
    await take(database, first)
    await take(database, second)
    assert await store(database, first, FIRST + 1, change("ada", FIRST + 1), user("ada", "online", FIRST + 1))
    assert await store(database, second, FIRST + 1, change("bob", FIRST + 1), user("bob", "online", FIRST + 1))
    assert {(row["user_id"], row["node"]) for row in await rows(database, users)} == {
        ("ada", "cluster:presenced:0"),
        ("bob", "cluster:presenced:1"),
    }
    assert len(await rows(database, changes)) == 2
    shown = {row["node"]: row["epoch"] for row in await rows(database, nodes)}
    assert shown == {"cluster:presenced:0": "life1.0", "cluster:presenced:1": "life1.1"}


async def test_a_new_life_of_the_cluster_closes_what_the_last_one_left_open(database: AsyncEngine) -> None:
    before = shard_log(database, "a")
    await take(database, before)
    await store(database, before, 500, user("ada", "online", 400), user("bob", "offline", 500))
    after = shard_log(database, "b", epoch="life2")
    assert await take(database, after) == 0
    [ada, bob] = sorted(await rows(database, users), key=lambda row: str(row["user_id"]))
    assert (ada["status"], ada["version"], bob["version"]) == ("offline", FIRST, 500)
    [closed] = await rows(database, changes)
    assert (closed["user_id"], closed["status"], closed["cause"]) == ("ada", "offline", "timeout")
    assert await store(database, after, FIRST + 1, change("ada", FIRST + 1), user("ada", "online", FIRST + 1))
    assert await take(database, after) == FIRST + 1


async def test_absent_users_are_set_offline_once(database: AsyncEngine) -> None:
    one = shard_log(database, "a")
    await take(database, one)
    await store(database, one, FIRST + 9, *(user(f"u{i}", "online", FIRST + i) for i in range(5)))
    async with database.begin() as connection:
        assert await one.shown_after(connection, "u1", 2) == ["u2", "u3"]
    for _ in range(2):
        async with database.begin() as connection:
            await one.set_absent(connection, ["u1", "u3", "never"], NOW + 1)
    statuses = {row["user_id"]: row["status"] for row in await rows(database, users)}
    assert statuses == {"u0": "online", "u1": "offline", "u2": "online", "u3": "offline", "u4": "online"}
    found = await rows(database, changes)
    assert sorted(row["user_id"] for row in found) == ["u1", "u3"]
    assert all(row["position"] < 0 for row in found)


def server(database: AsyncEngine, node: str, epoch: str, started: int = NOW, spares: bool = True) -> Store:
    dialect = database.dialect.name
    return Store(dialect=dialect, node=node, epoch=epoch, started_ms=started, history_ms=30 * DAY, spares_shards=spares)


async def open_session(connection: AsyncConnection, one: Store, key: str, at: int) -> None:
    await one.renew(connection, at, 1)
    await one.write(connection, [StoredSession(key, "ada", key, "", "classic", "", None, at)])


async def test_the_sessions_of_a_dead_node_end_at_its_last_sign_of_life(database: AsyncEngine) -> None:
    async with database.begin() as connection:
        await open_session(connection, server(database, "n1", "e1"), "s1", NOW - 9000)
        await open_session(connection, server(database, "n2", "e2"), "s2", NOW)
        await end_sessions_of(connection, "n1", "e1", NOW + 5)
        await end_sessions_of(connection, "n2", "another start", NOW + 5)
    found = {row["session_key"]: (row["closed_ms"], row["reason"]) for row in await rows(database, sessions)}
    assert found == {"s1": (NOW - 9000, "lost"), "s2": (None, "")}


async def test_the_sessions_of_long_silent_nodes_end(database: AsyncEngine) -> None:
    one = shard_log(database, "a")
    await take(database, one)
    later = NOW + SILENT_MS + 1
    async with database.begin() as connection:
        await open_session(connection, server(database, "n1", "e1"), "s1", NOW)
        await open_session(connection, server(database, "n2", "e2"), "s2", later)
        await end_silent_sessions(connection, later)
    found = {row["session_key"]: (row["closed_ms"], row["reason"]) for row in await rows(database, sessions)}
    assert found == {"s1": (NOW, "lost"), "s2": (None, "")}
    stopped = {row["node"]: row["stopped_ms"] for row in await rows(database, nodes)}
    assert stopped == {"n1": NOW, "n2": None, "cluster:presenced:0": None}


@pytest.mark.parametrize("in_cluster", [True, False])
async def test_only_a_server_that_is_alone_closes_the_users_of_a_silent_cluster(
    database: AsyncEngine, in_cluster: bool
) -> None:
    one = shard_log(database, "a")
    await take(database, one)
    await store(database, one, FIRST + 1, user("ada", "online", FIRST + 1))
    late = server(database, "n1", "e1", NOW + SILENT_MS + 1, spares=in_cluster)
    async with database.begin() as connection:
        await late.start(connection)
    [ada] = await rows(database, users)
    assert ada["status"] == ("online" if in_cluster else "offline")
