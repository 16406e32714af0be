"""Loading a shard from Redis, and reading its log."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from presenced.cluster.backend import MAX_SLOTS, ContributionUpdate, EntryKey
from presenced.cluster.log import LoggedEntry, Position, next_position
from presenced.cluster.redis.connection import StoreConnection
from presenced.cluster.redis.format import decode_entry, decode_entry_key, decode_users, pairs

if TYPE_CHECKING:
    from presenced.cluster.redis.shard import RedisShard

BLOCK_MS = 1000
"""Milliseconds that a read waits for an entry. The reader's connection must allow more for a reply."""

READ_ENTRIES = 100
"""Maximum number of entries in one read."""

PAGE_SIZE = 1000
"""Number of users or contributions in one read of a load. The store takes less than a millisecond for it."""


class RedisReader:
    """Reader of the log of one shard, with its position.

    The reader is idle until `load`, and again after it has reported `interrupted`. Each load has a number, so that late
    results of an earlier one are dropped. If a load is cut off after some pages, `interrupted` is reported as well,
    because the receiver has to drop these pages.
    """

    def __init__(self, shard: RedisShard) -> None:
        self._shard = shard
        self._load_number = 0
        self._is_loading = False
        self._has_pages = False  # whether the receiver has some of the pages
        self._position: Position | None = None
        self._generation = 0  # generation of the store when the position was last known to be valid
        self._wake = asyncio.Event()

    def stop(self) -> None:
        """Do nothing until `load`."""
        self._load_number += 1
        self._is_loading = False
        self._position = None

    def load(self) -> None:
        """Read everything, and then the log from before the first page."""
        self.stop()
        self._is_loading, self._has_pages = True, False
        self._wake.set()

    async def run(self, reader: StoreConnection, queries: StoreConnection) -> None:
        """Load and read until the connections are lost.

        Args:
            reader: Connection for blocking reads of the log.
            queries: Connection for everything else.
        """
        if self._position is not None:
            await self._check(reader, self._position)
        elif self._is_loading and self._has_pages:
            self._interrupt()
        must_block = False
        while True:
            self._wake.clear()
            if self._is_loading:
                await self._load(queries)
                must_block = False
            elif self._position is not None:
                await self._read(reader, self._position, must_block)
                must_block = True
            else:
                await self._wake.wait()

    async def _check(self, reader: StoreConnection, position: Position) -> None:
        """Check after a reconnect that the last entry is still in the log."""
        number = self._load_number
        generation = self._shard.known.generation
        key = await self._key_of(reader, position.last_n)
        if number != self._load_number:
            return
        if key != position.last or (position.last is None and generation != self._generation):
            self._interrupt()
        else:
            self._generation = generation

    def _interrupt(self) -> None:
        self.stop()
        self._shard.receiver.interrupted(self._shard.index)

    async def _key_of(self, connection: StoreConnection, n: int) -> EntryKey | None:
        """Return the identity of the entry with a number; None if it is not in the log."""
        if not n:
            return None
        found = await connection.call("XRANGE", self._shard.keys.log, f"{n}-0", f"{n}-0")
        return decode_entry_key(*found[0]) if found else None

    # Loading.

    async def _load(self, queries: StoreConnection) -> None:
        keys, shard, number = self._shard.keys, self._shard, self._load_number
        last = int(await queries.call("HGET", keys.head, "last") or 0)
        key = await self._key_of(queries, last)
        if not await self._load_users(queries, number):
            return
        for slot in range(MAX_SLOTS):
            if not await self._load_contributions(queries, number, slot):
                return
        n = int(await queries.call("HGET", keys.head, "n") or 0)
        position, generation = Position(key, last), shard.known.generation
        shard.raise_floor(n)
        self._has_pages = True  # the node adopts them in several turns, so a load that is cut off now starts anew
        while number == self._load_number:
            if not shard.receiver.loaded(shard.index, key, n):
                await asyncio.sleep(0)
            elif number == self._load_number:
                self._is_loading, self._position, self._generation = False, position, generation
                break

    async def _load_users(self, queries: StoreConnection, number: int) -> bool:
        """Report all records. Return whether the load goes on."""
        cursor = b"0"
        while True:
            cursor, flat = await queries.call("HSCAN", self._shard.keys.users, cursor, "COUNT", PAGE_SIZE)
            if number != self._load_number:
                return False
            if flat:
                self._has_pages = True
                self._shard.receiver.page(self._shard.index, decode_users(flat), ())
            if cursor == b"0":
                return True

    async def _load_contributions(self, queries: StoreConnection, number: int, slot: int) -> bool:
        """Report the contributions of a node. Return whether the load goes on."""
        keys = self._shard.keys
        scans = [(keys.sessions[slot], b"0"), (keys.rooms[slot], b"0")]
        while scans:
            replies = await queries.pipeline([("HSCAN", key, cursor, "COUNT", PAGE_SIZE) for key, cursor in scans])
            if number != self._load_number:
                return False
            for (key, _), (_, flat) in zip(scans, replies, strict=True):
                is_sessions = key == keys.sessions[slot]
                updates = [
                    (
                        user_id.decode(),
                        ContributionUpdate(slot, sessions=value)
                        if is_sessions
                        else ContributionUpdate(slot, rooms=value),
                    )
                    for user_id, value in pairs(flat)
                ]
                if updates:
                    self._has_pages = True
                    self._shard.receiver.page(self._shard.index, (), updates)
            scans = [(key, cursor) for (key, _), (cursor, _) in zip(scans, replies, strict=True) if cursor != b"0"]
        return True

    # Reading the log.

    async def _read(self, reader: StoreConnection, position: Position, must_block: bool) -> None:
        """Read and report the next entries. Then pause, so that all nodes together do not overload the store."""
        shard, number = self._shard, self._load_number
        block = ("BLOCK", BLOCK_MS) if must_block else ()
        after = f"{position.last_n or position.n}-0"
        n, reply = await reader.pipeline(
            [
                ("HGET", shard.keys.head, "n"),
                ("XREAD", "COUNT", READ_ENTRIES, *block, "STREAMS", shard.keys.log, after),
            ]
        )
        if number != self._load_number:
            return
        found = _decode(reply)
        new_position = next_position(position, found)
        if new_position is None:
            self._interrupt()
            return
        self._position = new_position
        highest = int(n or 0)
        if found:
            highest = max(highest, new_position.n) if len(found) == READ_ENTRIES else new_position.n
        shard.raise_floor(highest)
        shard.receiver.entries(shard.index, [logged.entry for logged in found], highest)
        if found:
            await asyncio.sleep(shard.read_pause_s)


def _decode(reply: Any) -> list[LoggedEntry]:
    """Return the entries in a reply to XREAD for one stream."""
    if not reply:
        return []
    [[_, entries]] = reply
    return [decode_entry(stream_id, fields) for stream_id, fields in entries]
