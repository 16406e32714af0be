"""The SQL of one server: writing records, restoring, closing what dead servers left open, and pruning.

Every method works within a transaction of its caller, and may be repeated: a second call changes nothing more. Rows are
upserts by a key that the server made, and a user's row is overwritten only by the same or a higher version. So the
storage worker may repeat a transaction whose result it does not know. The server may send batches again to a new
worker. An old worker that still writes does no harm.

A row of `presenced_users` or `presenced_sessions` belongs to the server that wrote it last: `node`, the name of the
server, and `epoch`, one start of it. A server is *dead* if its node has started again with another epoch, or if it has
not renewed its row for `SILENT_MS`. `start` closes what dead servers left open:

    last renewal               start of the new server          first live change
    ------|---------------------------|-------------------------------|------->
          users offline since here,   `first` = start_position        versions above `first`
          sessions closed here        rows closed with versions <= `first`

The database may answer long after the server has begun to serve. Records about users who are back then wait with live
versions, and must overwrite the closed rows. So a closed row gets the version `first`. Only a row that already has this
version or a higher one gets its own version plus one.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any, NamedTuple

from msgspec import structs
from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Table,
    and_,
    bindparam,
    case,
    delete,
    func,
    insert,
    literal,
    or_,
    select,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql.dml import Insert

from presenced.presence.model import Change
from presenced.presence.status import MAX_USERS_WITH_CLAIMS
from presenced.storage.database import execute_many, upsert
from presenced.storage.records import (
    Record,
    Restored,
    RestoredChoices,
    RestoredDisplay,
    StoredClaim,
    StoredRevocation,
    StoredSession,
    StoredUser,
    choice_from,
    details_json,
    start_position,
)
from presenced.storage.schema import changes, claims, nodes, revocations, sessions, users, webhook_states, webhooks

PRUNED_ROWS = 2_000
"""Maximum number of rows that one statement deletes because of their age, apart from rows of the same millisecond.
Further transactions delete the rest."""

PAGE_ROWS = 2_000
"""Number of rows read at a time during startup."""

MAX_RESTORED_CLAIMS = MAX_USERS_WITH_CLAIMS
"""Maximum number of claims that are restored. If there are more, the ones set last are restored."""

SILENT_MS = 300_000
"""Milliseconds without a renewal of its row after which any server of the same database considers another one dead."""

SHORT_HISTORY_MS = 86_400_000
"""Milliseconds for which ended sessions are stored if no changes are (`history_age` is 0)."""

MAX_LOST_POSITIONS = 100_000
"""Positions that a dead server may have used after it last renewed its row: more than it can use in a second."""

LOST = "lost"
"""End reason of sessions whose server died."""

SHARD_PREFIX = "cluster:"
"""Beginning of the name under which a cluster stores the users of a shard (`storage.shard_log`)."""

Row = dict[str, Any]


class Start(NamedTuple):
    """Result of `Store.start`."""

    position: int
    """Lower bound for the positions of this server."""
    closed: int
    """Number of users who are offline now because their server is dead."""


class Store:
    """The rows of one server.

    Args:
        dialect: Name of SQLAlchemy's dialect: `sqlite`, `postgresql`, `mysql` or `mariadb`.
        epoch: Identifier of this start of the server.
        history_ms: Milliseconds for which changes and ended sessions are stored; 0: changes are not stored.
        spares_shards: Whether `start` leaves the rows of a cluster's users alone, because the cluster may be alive.
    """

    def __init__(
        self,
        *,
        dialect: str,
        node: str,
        epoch: str,
        started_ms: int,
        history_ms: int,
        spares_shards: bool = False,
    ) -> None:
        self._node = node
        self._epoch = epoch
        self._started_ms = started_ms
        self._history_ms = history_ms
        self._spares_shards = spares_shards
        self._upsert_node = upsert(dialect, nodes)
        self._upserts: dict[Table, Insert] = {
            users: upsert(dialect, users, newer="version", highest=("since_ms", "seen_ms", "active_ms")),
            sessions: upsert(dialect, sessions),
            changes: upsert(dialect, changes, overwrite=False),
            claims: upsert(dialect, claims),
            revocations: upsert(dialect, revocations),
        }

    # Writing.

    async def write(self, connection: AsyncConnection, records: Iterable[Record]) -> None:
        """Insert or update the rows of these records. Of two records with the same key, the later one counts.

        A `RoomOccupancy` has no table, because only webhooks use it.
        """
        rows: dict[Table, dict[Any, Row]] = {table: {} for table in self._upserts}
        server = {"node": self._node, "epoch": self._epoch}
        for record in records:
            match record:
                case StoredUser():
                    rows[users][record.user_id] = _row_of(record) | server
                case StoredSession():
                    rows[sessions][record.session_key] = _row_of(record) | server
                case Change() if self._history_ms:
                    rows[changes][record.position] = _row_of_change(record, self._epoch)
                case StoredClaim():
                    rows[claims][record.user_id, record.source] = _row_of(record)
                case StoredRevocation():
                    rows[revocations][record.kind, record.subject] = _row_of(record)
        cleared = [rows[claims].pop(key) for key, row in list(rows[claims].items()) if not row["status"]]
        for table, by_key in rows.items():
            # Sorted, so that two servers that write the same rows lock them in the same order and cannot deadlock.
            await execute_many(connection, self._upserts[table], [by_key[key] for key in sorted(by_key)])
        await execute_many(connection, _CLEAR, cleared)

    async def renew(self, connection: AsyncConnection, now_ms: int, position: int, stopped_ms: int = 0) -> None:
        """Renew the row that shows that the server runs. Each transaction that stores batches begins with this.

        SQLite takes the write lock at the first statement that writes. A transaction that reads first and writes later
        fails at once if another process has written in between (SQLITE_BUSY_SNAPSHOT); no timeout helps. `start`
        reads first, and the worker repeats it if it fails.

        Args:
            position: Position of the newest change.
            stopped_ms: When the server stopped; 0 while it runs.
        """
        row: Row = {
            "node": self._node,
            "epoch": self._epoch,
            "started_ms": self._started_ms,
            "sign_ms": now_ms,
            "stopped_ms": stopped_ms or None,
            "position": position,
        }
        await connection.execute(self._upsert_node, [row])

    async def erase(self, connection: AsyncConnection, user_id: str) -> int:
        """Delete everything about a user except revocations. Return the number of rows, except `webhook_states`."""
        deleted = 0
        for table in (users, sessions, changes, claims):
            deleted += (await connection.execute(delete(table).where(table.c.user_id == user_id))).rowcount
        of_user = and_(webhooks.c.subject == user_id, webhooks.c.kind.like("user.%"))
        deleted += (await connection.execute(delete(webhooks).where(of_user))).rowcount
        await connection.execute(
            delete(webhook_states).where(webhook_states.c.kind == "user", webhook_states.c.subject == user_id)
        )
        return deleted

    # The start and the end.

    async def start(self, connection: AsyncConnection) -> Start:
        """Close what dead servers left open: earlier processes of this node, and nodes that have been silent."""
        rows = (await connection.execute(select(nodes))).mappings().all()
        dead = [
            (row["node"], row["sign_ms"])
            for row in rows
            if (row["node"] == self._node and row["epoch"] != self._epoch)
            or (
                row["node"] != self._node
                and row["sign_ms"] < self._started_ms - SILENT_MS
                and not (self._spares_shards and row["node"].startswith(SHARD_PREFIX))
            )
        ]
        newest = max((row["position"] for row in rows), default=0)
        shown = 0
        for node, _ in dead:
            count = select(func.count()).select_from(users).where(self._shown(node, own=False))
            shown += (await connection.execute(count)).scalar_one()
        # Rows closed here get the version `first`, because waiting records about users who are back have versions above
        # it. A row with a higher version would reject them.
        first = start_position(self._started_ms)
        position = max(newest + MAX_LOST_POSITIONS, first)
        await self.renew(connection, self._started_ms, position)
        lowest = select(func.min(changes.c.position)).where(changes.c.epoch == self._epoch)
        # An earlier worker of this server may have used positions of this epoch. Rows closed now go below those.
        below = min(first + 1, (await connection.execute(lowest)).scalar_one() or first + 1)
        closed = 0
        for node, sign_ms in dead:
            closed += await self._close(
                connection, node, own=False, at_ms=sign_ms, position=below - shown + closed, version=first, reason=LOST
            )
        return Start(position, closed)

    async def stop(self, connection: AsyncConnection, at_ms: int, position: int, reason: str) -> int:
        """Close everything that this server has open. Return the number of users who were shown online.

        Args:
            position: Position of the newest change.
        """
        closed = await self._close(
            connection, self._node, own=True, at_ms=at_ms, position=position + 1, version=position + 1, reason=reason
        )
        await self.renew(connection, at_ms, position + closed, at_ms)
        return closed

    async def _close(
        self, connection: AsyncConnection, node: str, *, own: bool, at_ms: int, position: int, version: int, reason: str
    ) -> int:
        """End open sessions of the node and set its users offline, with one change each from `position` on.

        Args:
            own: Close what this epoch left open; otherwise what all other epochs of the node left open.
            version: Version of the changes. A user whose version is not below it gets the user's own version plus one.

        Returns:
            Number of users.
        """
        await end_sessions(connection, and_(sessions.c.node == node, self._written_by(sessions, own)), at_ms, reason)
        number = func.row_number().over(order_by=users.c.user_id) + literal(position - 1, BigInteger)
        return await self._set_offline(connection, self._shown(node, own), number, at_ms, version)

    async def close_earlier(self, connection: AsyncConnection, now_ms: int) -> None:
        """Close what earlier epochs of this node left open, at its last sign of life. No change has been stored yet."""
        sign = select(nodes.c.sign_ms).where(nodes.c.node == self._node)
        at_ms = (await connection.execute(sign)).scalar_one_or_none() or now_ms
        await self._close(
            connection,
            self._node,
            own=False,
            at_ms=at_ms,
            position=1,
            version=start_position(self._started_ms),
            reason=LOST,
        )

    async def set_absent(self, connection: AsyncConnection, user_ids: Sequence[str], at_ms: int) -> None:
        """Set users of this node offline if they are shown as present."""
        shown = and_(self._shown(self._node, own=True), users.c.user_id.in_(user_ids))
        # The log assigns no negative positions. These are unique: no two users of a shard have the same version.
        await self._set_offline(connection, shown, -users.c.version, at_ms, 0)

    async def shown_after(self, connection: AsyncConnection, after: str, limit: int) -> list[str]:
        """Return a page of the users of this node who are shown as present, ordered by id."""
        shown = and_(self._shown(self._node, own=True), users.c.user_id > after)
        query = select(users.c.user_id).where(shown).order_by(users.c.user_id).limit(limit)
        return list((await connection.execute(query)).scalars())

    async def _set_offline(
        self,
        connection: AsyncConnection,
        shown: ColumnElement[bool],
        number: ColumnElement[int],
        at_ms: int,
        version: int,
    ) -> int:
        """Set users offline, with one change each. Return their number.

        Args:
            number: Position of a user's change.
            version: As for `_close`.
        """
        at = literal(at_ms, BigInteger)
        count: int = (await connection.execute(select(func.count()).select_from(users).where(shown))).scalar_one()
        floor = literal(version, BigInteger)
        higher = case((users.c.version >= floor, users.c.version + 1), else_=floor)
        if count and self._history_ms:
            row: dict[str, ColumnElement[Any]] = {
                "epoch": literal(self._epoch),
                "position": number,
                "user_id": users.c.user_id,
                "version": higher,
                "status": literal("offline"),
                "was": users.c.status,
                "cause": literal("timeout"),
                "at_ms": at,
                "since_ms": at,
            }
            await connection.execute(insert(changes).from_select(list(row), select(*row.values()).where(shown)))
        if count:
            seen = case((users.c.seen_ms > at, users.c.seen_ms), else_=at)
            values = {"status": "offline", "version": higher, "since_ms": at_ms, "seen_ms": seen}
            await connection.execute(update(users).where(shown).values(values))
        return count

    def _shown(self, node: str, own: bool) -> ColumnElement[bool]:
        """Return the condition for users of the node who are shown as present."""
        return and_(users.c.node == node, self._written_by(users, own), users.c.status != "offline")

    def _written_by(self, table: Table, own: bool) -> ColumnElement[bool]:
        """Return the condition for rows that this epoch wrote, or, if not `own`, for those of all other epochs."""
        epoch: ColumnElement[str] = table.c.epoch
        return epoch == self._epoch if own else epoch != self._epoch

    async def restored(self, connection: AsyncConnection, now_ms: int, max_users: int) -> AsyncIterator[list[Restored]]:
        """Yield pages of the choices, display data, claims and revocations that are in force at `now_ms`.

        Choices and display data are in ascending order of the time at which their users were last seen, because the
        server evicts the oldest first. `MAX_RESTORED_CLAIMS` limits claims. Revocations are not limited here, because a
        setting that saves memory must never make a revoked token valid again. They are in descending order of their
        end, because the server drops the ones beyond `MAX_REVOCATIONS`.

        Args:
            max_users: Maximum number of users whose choices are restored, and of users whose display data is. If there
                are more, the ones seen last are restored.
        """
        chose = or_(users.c.chosen.is_not(None), users.c.timed.is_not(None))
        last = select(users.c.user_id, users.c.chosen, users.c.timed, users.c.seen_ms).where(chose)
        last_ones = last.order_by(users.c.seen_ms.desc(), users.c.user_id).limit(max_users).subquery()
        result = await connection.execute(select(last_ones).order_by(last_ones.c.seen_ms))
        while rows := result.fetchmany(PAGE_ROWS):
            choices = (RestoredChoices(row[0], (row[1] or "").encode(), (row[2] or "").encode()) for row in rows)
            yield [one for one in (_without_ended(one, now_ms) for one in choices) if one is not None]
        display = select(users.c.user_id, users.c.display, users.c.seen_ms).where(users.c.display.is_not(None))
        displays = display.order_by(users.c.seen_ms.desc(), users.c.user_id).limit(max_users).subquery()
        result = await connection.execute(select(displays).order_by(displays.c.seen_ms))
        while rows := result.fetchmany(PAGE_ROWS):
            yield [RestoredDisplay(row[0], row[1].encode()) for row in rows]
        held = select(claims).where(or_(claims.c.until_ms.is_(None), claims.c.until_ms > now_ms))
        newest = held.order_by(claims.c.set_ms.desc(), claims.c.source).limit(MAX_RESTORED_CLAIMS).subquery()
        result = await connection.execute(select(newest).order_by(newest.c.set_ms, newest.c.source))
        while found := result.mappings().fetchmany(PAGE_ROWS):
            yield [StoredClaim(**{**row, "data": (row["data"] or "").encode()}) for row in found]
        revoked = select(revocations).where(revocations.c.until > now_ms / 1000)
        result = await connection.execute(revoked.order_by(revocations.c.until.desc()))
        while found := result.mappings().fetchmany(PAGE_ROWS):
            yield [StoredRevocation(**row) for row in found]

    # Pruning.

    async def prune(self, connection: AsyncConnection, now_ms: int) -> bool:
        """Delete rows that are too old, at most some thousands. Return whether there may be more."""
        oldest = now_ms - (self._history_ms or SHORT_HISTORY_MS)
        more = [await _prune(connection, changes, changes.c.at_ms, oldest)]
        more.append(await _prune(connection, sessions, sessions.c.closed_ms, oldest))
        await connection.execute(delete(claims).where(claims.c.until_ms <= now_ms))
        await connection.execute(delete(revocations).where(revocations.c.until <= now_ms / 1000))
        is_old = nodes.c.sign_ms < oldest, nodes.c.stopped_ms.is_not(None), nodes.c.node != self._node
        await connection.execute(delete(nodes).where(*is_old))
        return any(more)


async def end_sessions(
    connection: AsyncConnection, condition: ColumnElement[bool], at_ms: int, reason: str = LOST
) -> None:
    """End the open sessions that fulfil the condition."""
    at = literal(at_ms, BigInteger)
    ended = case((sessions.c.opened_ms > at, sessions.c.opened_ms), else_=at)
    is_open = sessions.c.closed_ms.is_(None)
    await connection.execute(update(sessions).where(condition, is_open).values(closed_ms=ended, reason=reason))


_CLEAR = delete(claims).where(claims.c.user_id == bindparam("user_id"), claims.c.source == bindparam("source"))


def _row_of(record: StoredUser | StoredSession | StoredClaim | StoredRevocation) -> Row:
    """Return the fields as columns. JSON becomes text, or NULL if it is empty."""
    return {name: _text(value) if isinstance(value, bytes) else value for name, value in structs.asdict(record).items()}


def _row_of_change(change: Change, epoch: str) -> Row:
    return {
        "epoch": epoch,
        "position": change.position,
        "user_id": change.user_id,
        "version": change.version,
        "status": change.status.value,
        "was": change.was.value,
        "cause": change.cause.value,
        "at_ms": change.at.epoch_ms,
        "since_ms": change.since_ms,
        "details": _text(details_json(change)),
    }


def _text(json: bytes) -> str | None:
    return json.decode() or None


def _without_ended(choices: RestoredChoices, now_ms: int) -> RestoredChoices | None:
    """Return the choices that are in force; None if there are none."""
    timed = choice_from(choices.timed)
    is_over = timed is None or timed.until <= now_ms
    if is_over and not choices.chosen:
        return None
    return RestoredChoices(choices.user_id, choices.chosen) if is_over else choices


async def _prune(connection: AsyncConnection, table: Table, time: ColumnElement[int], oldest: int) -> bool:
    """Delete up to `PRUNED_ROWS` rows older than `oldest`, and further rows of the same millisecond.

    The bound is a time, found by the index on it, because not every database deletes with a limit.

    Returns:
        Whether there may be more rows to delete.
    """
    old = select(time).where(time < oldest).order_by(time).offset(PRUNED_ROWS - 1).limit(1)
    until = (await connection.execute(old)).scalar_one_or_none()
    await connection.execute(delete(table).where(time < oldest if until is None else time <= until))
    return until is not None
