"""Rows that the designated writer of a shard stores for all nodes of a cluster.

In a cluster, rows of users and changes belong to a shard, not to the server that wrote them. Their `node` is the name
of the shard, and their `epoch` is that of the cluster. So the death of a node does not affect them. Sessions belong to
the node that has them.

`presenced_log` has a row for each shard. Everything up to number `n` of the shard's log is stored. The row also names
the writer. Each transaction that stores rows of the shard updates it first, and stores nothing if another server is the
writer:

    old writer, which was cut off          presenced_log                new writer
                                           n 100, writer a
                                           n 100, writer b    <-----    take
    advance(110): not the writer  ----->   n 100, writer b
                                           n 120, writer b    <-----    advance(120), with the rows up to 120

A transaction compares names of writers and not numbers, because it may have rows of users or rooms without new entries
of the log.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import BigInteger, ColumnElement, and_, case, func, literal, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from presenced.presence.model import Change
from presenced.storage.database import upsert
from presenced.storage.records import Record, details_json
from presenced.storage.schema import changes, log, nodes, sessions
from presenced.storage.store import SHARD_PREFIX, SILENT_MS, Store, end_sessions

CHUNK_USERS = 500
"""Maximum number of users in one query."""


class ShardLog:
    """The rows of one shard, for one server that may be its designated writer.

    Args:
        cluster: Setting `cluster_name`.
        epoch: Epoch of the cluster.
        writer: Identifier of this start of the server.
        started_ms: Start of the server.
        history_ms: As for `Store`.
    """

    def __init__(
        self, *, dialect: str, cluster: str, shard: int, epoch: str, writer: str, started_ms: int, history_ms: int
    ) -> None:
        self._cluster = cluster
        self._shard = shard
        self._epoch = epoch
        self._writer = writer
        self._insert = upsert(dialect, log, overwrite=False)
        self._rows = Store(
            dialect=dialect,
            node=f"{SHARD_PREFIX}{cluster}:{shard}",
            epoch=f"{epoch}.{shard}",
            started_ms=started_ms,
            history_ms=history_ms,
        )

    async def take(self, connection: AsyncConnection, now_ms: int) -> int:
        """Become the writer. Return the number up to which everything of this epoch is stored; 0 if nothing is.

        Rows that an earlier epoch left open are closed, because its store is gone with the state of these users.
        """
        row = {"cluster": self._cluster, "shard": self._shard, "epoch": "", "n": 0, "writer": ""}
        await connection.execute(self._insert, [row])  # it also takes SQLite's lock, before anything is read
        query = select(log.c.epoch, log.c.n).where(self._is_this_shard).with_for_update()
        epoch, n = (await connection.execute(query)).one()
        if epoch != self._epoch:
            n = 0
            await self._rows.close_earlier(connection, now_ms)
        values = {"epoch": self._epoch, "n": n, "writer": self._writer}
        await connection.execute(update(log).where(self._is_this_shard).values(values))
        await self._rows.renew(connection, now_ms, n)
        return int(n)

    async def advance(self, connection: AsyncConnection, n: int, now_ms: int) -> bool:
        """Record that everything up to `n` is stored with this transaction. The recorded number never decreases.

        Returns:
            False if this server is not the writer, so nothing of the shard must be stored.
        """
        number = literal(n, BigInteger)
        higher = case((log.c.n < number, number), else_=log.c.n)
        is_writer = and_(self._is_this_shard, log.c.writer == self._writer, log.c.epoch == self._epoch)
        if not (await connection.execute(update(log).where(is_writer).values(n=higher))).rowcount:
            return False
        await self._rows.renew(connection, now_ms, n)
        return True

    async def write(self, connection: AsyncConnection, records: Sequence[Record], may_repeat: bool = False) -> None:
        """Insert or update the rows of these records, after `advance` has returned True.

        Args:
            may_repeat: Leave out changes that look like the last stored ones of their users. A store that has lost
                writes may have logged them twice, with different numbers.
        """
        if may_repeat:
            records = await self._without_repeated(connection, records)
        await self._rows.write(connection, records)

    async def _without_repeated(self, connection: AsyncConnection, records: Sequence[Record]) -> list[Record]:
        """Return the records without changes that look like the previous change of their user."""
        user_ids = sorted({record.user_id for record in records if isinstance(record, Change)})
        last: dict[str, tuple[str, int, str | None]] = {}  # status, since_ms and details of each user's last change
        for start in range(0, len(user_ids), CHUNK_USERS):
            is_in_chunk = changes.c.user_id.in_(user_ids[start : start + CHUNK_USERS])
            versions = select(changes.c.user_id, func.max(changes.c.version).label("version")).where(is_in_chunk)
            newest = versions.group_by(changes.c.user_id).subquery()
            is_newest = and_(changes.c.user_id == newest.c.user_id, changes.c.version == newest.c.version)
            query = select(changes.c.user_id, changes.c.status, changes.c.since_ms, changes.c.details)
            for user_id, status, since_ms, details in await connection.execute(query.join(newest, is_newest)):
                last[user_id] = status, since_ms, details
        new: list[Record] = []
        for record in records:
            if isinstance(record, Change):
                state = record.status.value, record.since_ms, details_json(record).decode() or None
                if last.get(record.user_id) == state:
                    continue
                last[record.user_id] = state
            new.append(record)
        return new

    async def shown_after(self, connection: AsyncConnection, after: str, limit: int) -> list[str]:
        """Return a page of the users who are shown as present, ordered by id."""
        return await self._rows.shown_after(connection, after, limit)

    async def set_absent(self, connection: AsyncConnection, user_ids: Sequence[str], at_ms: int) -> None:
        """Set users offline if they are shown as present."""
        await self._rows.set_absent(connection, user_ids, at_ms)

    @property
    def _is_this_shard(self) -> ColumnElement[bool]:
        return and_(log.c.cluster == self._cluster, log.c.shard == self._shard)


async def end_sessions_of(connection: AsyncConnection, node: str, epoch: str, now_ms: int) -> None:
    """End the open sessions of a dead node, with the time of its last sign of life."""
    sign = select(nodes.c.sign_ms).where(nodes.c.node == node, nodes.c.epoch == epoch)
    at_ms = (await connection.execute(sign)).scalar_one_or_none() or now_ms
    await end_sessions(connection, and_(sessions.c.node == node, sessions.c.epoch == epoch), at_ms)


async def end_silent_sessions(connection: AsyncConnection, now_ms: int) -> None:
    """End the open sessions of nodes that died unnoticed: they have been silent for `SILENT_MS`."""
    silent = and_(nodes.c.sign_ms < now_ms - SILENT_MS, nodes.c.stopped_ms.is_(None))
    is_server = nodes.c.node.not_like(f"{SHARD_PREFIX}%")
    found = (
        await connection.execute(select(nodes.c.node, nodes.c.epoch, nodes.c.sign_ms).where(silent, is_server))
    ).all()
    for node, epoch, sign_ms in found:
        await end_sessions(connection, and_(sessions.c.node == node, sessions.c.epoch == epoch), sign_ms)
        is_dead = and_(nodes.c.node == node, nodes.c.epoch == epoch)
        # If the node is alive after all, it renews its row, which clears `stopped_ms`.
        await connection.execute(update(nodes).where(is_dead).values(stopped_ms=sign_ms))
