"""Shards of a cluster that this worker writes, because its server is their designated writer.

Only the worker that writes shard 0 delivers webhooks. All shards share one queue per endpoint, and only one process may
send from it. Workers of other shards add events to the queue, and that worker finds them within `WebhookConfig.poll_s`.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncConnection

from presenced.presence.model import Change
from presenced.storage.records import Record, RoomOccupancy
from presenced.storage.shard_log import ShardLog, end_sessions_of, end_silent_sessions
from presenced.webhooks.producer import WebhookProducer
from presenced.webhooks.queue import CHUNK_ROWS
from presenced.worker.rpc import EndSessions, RecordBatch, Setup, ShardLost, ShardTaken, TakeShard

DELIVERING_SHARD = 0
"""Shard whose writer delivers webhooks, and queues those about rooms, whose members may be in any shard."""


class WorkerShards:
    """Shards that this worker writes. All coroutines run within the caller's transaction.

    Bounds: the shards of the cluster.

    Args:
        dialect: Name of SQLAlchemy's dialect.
        producer: Producer of webhooks; None if there are none.
        renew_s: Seconds between two renewals of the row of a shard that has nothing to store.
    """

    def __init__(self, *, dialect: str, setup: Setup, producer: WebhookProducer | None, renew_s: float) -> None:
        self._dialect = dialect
        self._setup = setup
        self._producer = producer
        self._renew_s = renew_s
        self._renew_at = 0.0
        self._logs: dict[int, ShardLog] = {}

    @property
    def writes(self) -> bool:
        """Whether this worker writes any shard."""
        return bool(self._logs)

    @property
    def delivers(self) -> bool:
        """Whether this worker delivers webhooks."""
        return DELIVERING_SHARD in self._logs

    async def take(self, connection: AsyncConnection, message: TakeShard, now_ms: int) -> ShardTaken:
        """Become the writer of a shard."""
        setup = self._setup
        log = ShardLog(
            dialect=self._dialect,
            cluster=setup.cluster,
            shard=message.shard,
            epoch=message.epoch,
            writer=setup.epoch,
            started_ms=setup.started_ms,
            history_ms=setup.history_ms,
        )
        n = await log.take(connection, now_ms)
        room_version = 0
        if self._producer is not None:
            self._producer.reset_serial()
            room_version = await self._producer.newest_room_version(connection)
        self._logs[message.shard] = log
        return ShardTaken(message.shard, n, room_version)

    def leave(self, shard: int) -> None:
        """Stop writing a shard. No-op if this worker does not write it."""
        self._logs.pop(shard, None)

    async def store(self, connection: AsyncConnection, batches: Sequence[RecordBatch], now_ms: int) -> list[ShardLost]:
        """Store the records of shards. Return the shards that another server has taken, of which nothing is stored."""
        records: dict[int, list[Record]] = {}
        numbers: dict[int, int] = {}
        may_repeat = any(batch.may_repeat for batch in batches)
        for batch in batches:
            if batch.shard >= 0:
                records.setdefault(batch.shard, []).extend(batch.records)
                numbers[batch.shard] = max(batch.n, numbers.get(batch.shard, 0))
        lost = []
        for shard, some in sorted(records.items()):
            if not await self._store(connection, shard, numbers[shard], some, now_ms, may_repeat):
                lost.append(ShardLost(shard))
        return lost

    async def renew(self, connection: AsyncConnection, now_ms: int) -> list[ShardLost]:
        """Renew the rows of all shards every `renew_s` seconds. Return the shards that another server has taken."""
        if not self._logs or (now := time.monotonic()) < self._renew_at:
            return []
        self._renew_at = now + self._renew_s
        return [
            ShardLost(shard) for shard in sorted(self._logs) if not await self._advance(connection, shard, 0, now_ms)
        ]

    async def end_sessions(self, connection: AsyncConnection, message: EndSessions, now_ms: int) -> None:
        """End the sessions of a dead node."""
        await end_sessions_of(connection, message.node, message.epoch, now_ms)

    async def end_silent_sessions(self, connection: AsyncConnection, now_ms: int) -> None:
        """End the sessions of nodes that died unnoticed."""
        if self.delivers:
            await end_silent_sessions(connection, now_ms)

    async def shown_after(self, connection: AsyncConnection, after: str) -> list[str]:
        """Return a page of the users whose rows show them as present, ordered by id."""
        pages = [await log.shown_after(connection, after, CHUNK_ROWS) for log in self._logs.values()]
        return sorted(user_id for page in pages for user_id in page)[:CHUNK_ROWS]

    async def set_absent(
        self, connection: AsyncConnection, users: Sequence[str], rooms: Sequence[str], now_ms: int
    ) -> None:
        """Store that these users are offline and these rooms are empty, and queue events. No-op without a shard."""
        for shard in list(self._logs):
            await self._advance(connection, shard, 0, now_ms)
        if not self._logs:
            return
        if self._producer is not None:
            await self._producer.enqueue_absent(connection, users, rooms if self.delivers else ())
        for log in self._logs.values():
            await log.set_absent(connection, users, now_ms)

    async def _store(
        self, connection: AsyncConnection, shard: int, n: int, records: Sequence[Record], now_ms: int, may_repeat: bool
    ) -> bool:
        if not await self._advance(connection, shard, n, now_ms):
            return False
        await self._logs[shard].write(connection, records, may_repeat)
        if self._producer is not None:
            changes = [record for record in records if isinstance(record, (Change, RoomOccupancy))]
            await self._producer.enqueue(connection, changes)
        return True

    async def _advance(self, connection: AsyncConnection, shard: int, n: int, now_ms: int) -> bool:
        log = self._logs.get(shard)
        if log is not None and await log.advance(connection, n, now_ms):
            return True
        self.leave(shard)
        return False
