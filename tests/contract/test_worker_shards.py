"""Storage workers of several nodes, which write shards of one database and deliver webhooks once."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine
from tests.support.databases import database, servers
from tests.support.stored import soon
from tests.support.webhooks import NOON, Receiver, change, config_for, now_ms

from presenced.presence.model import Change
from presenced.storage.records import Record, RoomOccupancy, StoredUser
from presenced.storage.schema import users, webhooks
from presenced.webhooks.dispatcher import WebhookDispatcher
from presenced.worker.absence_check import AbsenceCheck
from presenced.worker.rpc import RecordBatch, Setup, ShardLost, ShardTaken, TakeShard
from presenced.worker.shards import WorkerShards

__all__ = ["database", "servers"]

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> object:
    """The loop of the storage worker."""
    return "asyncio"


class Worker:
    """Work of one node's storage worker for shards."""

    def __init__(
        self, database: AsyncEngine, name: str, url: str = "https://here.example/", now_ms: int = NOON
    ) -> None:
        self.now_ms = now_ms
        self._database = database
        self.webhooks = WebhookDispatcher(database, config_for(url), lambda: self.now_ms)
        setup = Setup(
            url="",
            node=name,
            epoch=name,
            started_ms=NOON,
            position=0,
            history_ms=86_400_000,
            max_restored=10,
            webhooks=None,
            settling_s=0.0,
            restore=False,
            cluster="presenced",
        )
        self.shards = WorkerShards(
            dialect=database.dialect.name, setup=setup, producer=self.webhooks.producer, renew_s=0.0
        )

    async def take(self, shard: int) -> ShardTaken:
        async with self._database.begin() as connection:
            return await self.shards.take(connection, TakeShard(shard, "life1"), NOON)

    async def store(self, shard: int, n: int, *records: Record) -> list[ShardLost]:
        async with self._database.begin() as connection:
            lost = await self.shards.store(connection, [RecordBatch(1, n, list(records), shard, n)], NOON)
        self.webhooks.wake()
        return lost


async def queued(database: AsyncEngine) -> list[tuple[str, str, int]]:
    """Return subject, type and version of the events that wait, in order."""
    async with database.connect() as connection:
        rows = await connection.execute(select(webhooks).order_by(webhooks.c.id))
        return [(row.subject, row.kind, row.version) for row in rows]


async def test_what_a_lost_shard_has_to_store_is_dropped_and_reported(database: AsyncEngine) -> None:
    a, b = Worker(database, "a"), Worker(database, "b")
    assert await a.take(0) == ShardTaken(0, 0, 0)
    assert await a.store(0, 5, change("ada", 5)) == []
    assert await b.take(0) == ShardTaken(0, 5, 0)
    assert await a.store(0, 6, change("ada", 6, "offline")) == [ShardLost(0)]
    assert await a.store(0, 7, change("ada", 7)) == [ShardLost(0)]
    assert (a.shards.delivers, b.shards.delivers) == (False, True)
    assert await queued(database) == [("ada", "user.online", 5)]
    async with database.begin() as connection:
        assert await b.shards.renew(connection, NOON) == []
        assert await a.shards.renew(connection, NOON) == []


async def test_events_of_the_next_writer_are_behind_those_of_the_last_although_its_clock_is_slow(
    database: AsyncEngine,
) -> None:
    a, b = Worker(database, "a"), Worker(database, "b", now_ms=NOON - 60_000)
    await b.take(1)
    await b.store(1, 3, change("eve", 3))  # so that it has given ids already
    await a.take(0)
    await a.store(0, 5, change("ada", 5), RoomOccupancy(5, "lobby", True, NOON))
    assert await b.take(0) == ShardTaken(0, 5, 5)
    await b.store(0, 6, change("ada", 6, "offline"))
    assert [version for subject, _, version in await queued(database) if subject == "ada"] == [5, 6]


async def test_only_the_writer_of_shard_0_delivers_also_what_others_queue(database: AsyncEngine) -> None:
    with Receiver() as receiver:
        a, b = (Worker(database, name, receiver.url, now_ms()) for name in "ab")
        await a.take(0)
        await b.take(1)
        running = [asyncio.create_task(one.webhooks.run(one.shards.delivers)) for one in (a, b)]
        try:
            await b.store(1, 3, change("eve", 3))
            await a.store(0, 3, change("ada", 3))
            await soon(lambda: len(receiver.taken) == 2)
            # Now `b` delivers.
            await b.take(0)
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
            running = [asyncio.create_task(b.webhooks.run(b.shards.delivers))]
            await b.store(0, 4, change("ada", 4, "offline"))
            await soon(lambda: len(receiver.taken) == 3)
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
        assert receiver.versions("ada") == [3, 4]
        assert len({one["id"] for one in receiver.taken}) == len(receiver.taken)


async def test_users_and_rooms_that_left_unnoticed_are_found(database: AsyncEngine) -> None:
    """A writer that has missed changes asks for all users that the tables or receivers take for present."""
    worker = Worker(database, "a")
    await worker.take(0)
    stored: list[Any] = [StoredUser(name, "online", n, NOON, NOON, NOON) for n, name in enumerate(("ada", "bob"), 1)]
    seen: list[Change] = [change("bob", 2), change("eve", 3)]
    await worker.store(0, 3, *stored, *seen, RoomOccupancy(4, "lobby", True, NOON))
    absence_check = AbsenceCheck(database, worker.webhooks.producer, 3600.0, worker.shards.shown_after)
    assert await absence_check.next_question() is None
    absence_check.restart(0.0, users=False)
    question = await absence_check.next_question()
    assert question
    assert (question.rooms, sorted(question.users)) == (["lobby"], ["ada", "bob", "eve"])
    async with database.begin() as connection:
        await worker.shards.set_absent(connection, ["ada", "eve"], ["lobby"], NOON)
    async with database.connect() as connection:
        rows = await connection.execute(select(users.c.user_id, users.c.status))
        assert {row.user_id: row.status for row in rows} == {"ada": "offline", "bob": "online"}
    assert (await queued(database))[-2:] == [("lobby", "room.vacated", 5), ("eve", "user.offline", 4)]
