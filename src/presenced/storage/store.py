"""Writing facts down, and what has to be done at a start, at an end, and from time to time.

Every method works within a transaction of the caller's and may be carried out again: that changes nothing more.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from typing import NamedTuple

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
from sqlalchemy.sql.dml import Delete, Insert

from presenced.storage.database import execute_many, put
from presenced.storage.records import (
    Record,
    Restored,
    RestoredChoices,
    RestoredDisplay,
    StoredRevocation,
    start_position,
)
from presenced.storage.rows import Row, Rows, choice_from, claim_from
from presenced.storage.schema import changes, claims, nodes, revocations, sessions, told, users, webhooks

SLICE = 2_000
"""Rows deleted at a time for being too old."""

PAGE = 2_000
"""Rows read at a time at the start."""

SILENT = 300_000
"""Milliseconds without a sign of life after which any server takes another one of the same database for dead."""

SHORT_HISTORY = 86_400_000
"""Milliseconds for which ended sessions are kept where no changes are."""

MOST_LOST = 100_000
"""Positions that a server may have used and not signed for when it died: more than it makes in a second."""

LOST = "lost"
"""Why a session ended whose server died."""


class Start(NamedTuple):
    """What was found at the start."""

    position: int
    """Positions have to grow from here."""
    closed: int
    """Users who were shown online by a server that is no more."""


class Store:
    """What one server keeps.

    Args:
        dialect: Of the database: `sqlite`, `postgresql`, `mysql` or `mariadb`.
        history_ms: For how long changes and ended sessions are kept; 0: no changes.
    """

    def __init__(self, dialect: str, node: str, epoch: str, started_ms: int, history_ms: int) -> None:
        self._node = node
        self._epoch = epoch
        self._started_ms = started_ms
        self._history_ms = history_ms
        self._put_node = put(dialect, nodes)
        self._puts: dict[Table, Insert] = {
            users: put(dialect, users, newer="version", highest=("since_ms", "seen_ms", "active_ms")),
            sessions: put(dialect, sessions),
            changes: put(dialect, changes, keep=[c.name for c in changes.columns]),
            claims: put(dialect, claims),
            revocations: put(dialect, revocations),
        }

    # Writing.

    async def write(self, connection: AsyncConnection, facts: Iterable[Record]) -> None:
        """Write facts down."""
        rows = Rows(facts, self._node, self._epoch, self._history_ms > 0)
        set_claims = [row for row in rows.claims.values() if row is not None]
        # In one order, so that two servers that write to the same rows don't wait for each other.
        for table, found in (
            (users, [rows.users[key] for key in sorted(rows.users)]),
            (sessions, [rows.sessions[key] for key in sorted(rows.sessions)]),
            (changes, list(rows.changes.values())),
            (claims, set_claims),
            (revocations, list(rows.revocations.values())),
        ):
            if found:
                await execute_many(connection, self._puts[table], found)
        if cleared := [{"a": key[0], "b": key[1]} for key, row in rows.claims.items() if row is None]:
            await connection.execute(_CLEAR, cleared)

    async def sign(self, connection: AsyncConnection, now_ms: int, position: int, stopped_ms: int = 0) -> None:
        """A sign of life, which is the first of each transaction: so SQLite knows at once that it is one that writes.

        Args:
            position: Of the newest change.
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
        await connection.execute(self._put_node, [row])

    async def erase(self, connection: AsyncConnection, user_id: str) -> int:
        """Delete all that is kept of a user, but for what is revoked. How many rows that were."""
        deleted = 0
        for table in (users, sessions, changes, claims):
            deleted += (await connection.execute(delete(table).where(table.c.user_id == user_id))).rowcount
        of_user = and_(webhooks.c.subject == user_id, webhooks.c.kind.like("user.%"))
        deleted += (await connection.execute(delete(webhooks).where(of_user))).rowcount
        await connection.execute(delete(told).where(told.c.kind == "user", told.c.subject == user_id))
        return deleted

    # The start and the end.

    async def start(self, connection: AsyncConnection) -> Start:
        """Close what a dead process of this node left open, and that of nodes that gave no sign of life for long."""
        rows = (await connection.execute(select(nodes))).mappings().all()
        dead = [
            (row["node"], row["sign_ms"])
            for row in rows
            if (row["node"] == self._node and row["epoch"] != self._epoch)
            or (row["node"] != self._node and row["sign_ms"] < self._started_ms - SILENT)
        ]
        newest = max((row["position"] for row in rows), default=0)
        count = 0
        for node, _ in dead:
            shown = select(func.count()).select_from(users).where(self._shown(node, own=False))
            count += (await connection.execute(shown)).scalar_one()
        # The database may respond late, when users are back and facts about them wait. Their versions and positions are
        # above `first`. Rows closed here stay at or below it, because those facts would otherwise be refused as older.
        first = start_position(self._started_ms)
        position = max(newest + MOST_LOST, first)
        await self.sign(connection, self._started_ms, position)
        lowest = select(func.min(changes.c.position)).where(changes.c.epoch == self._epoch)  # from an earlier call
        below = min(first + 1, (await connection.execute(lowest)).scalar_one() or first + 1)
        closed = 0
        for node, sign_ms in dead:
            closed += await self._close(connection, node, False, sign_ms, below - count + closed, first, LOST)
        return Start(position, closed)

    async def stop(self, connection: AsyncConnection, at_ms: int, position: int, reason: str) -> int:
        """Close all that this process left open. How many users were shown online.

        Args:
            position: Of the newest change.
        """
        closed = await self._close(connection, self._node, True, at_ms, position + 1, position + 1, reason)
        await self.sign(connection, at_ms, position + closed, at_ms)
        return closed

    async def _close(
        self, connection: AsyncConnection, node: str, own: bool, at_ms: int, position: int, version: int, reason: str
    ) -> int:
        """End the node's open sessions and show its users offline, with a change each from `position` on.

        Args:
            own: End the sessions that this process left open; otherwise those that all others left.
            version: Version of the changes; a user whose version is not below it gets that version plus one.

        Returns:
            Number of users.
        """
        at = literal(at_ms, BigInteger)
        left = and_(sessions.c.node == node, self._by(sessions, own), sessions.c.closed_ms.is_(None))
        ended = case((sessions.c.opened_ms > at, sessions.c.opened_ms), else_=at)
        await connection.execute(update(sessions).where(left).values(closed_ms=ended, reason=reason))
        shown = self._shown(node, own)
        count: int = (await connection.execute(select(func.count()).select_from(users).where(shown))).scalar_one()
        floor = literal(version, BigInteger)
        higher = case((users.c.version >= floor, users.c.version + 1), else_=floor)
        if count and self._history_ms:
            number = func.row_number().over(order_by=users.c.user_id) + literal(position - 1, BigInteger)
            row = {
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
        return and_(users.c.node == node, self._by(users, own), users.c.status != "offline")

    def _by(self, table: Table, own: bool) -> ColumnElement[bool]:
        epoch: ColumnElement[str] = table.c.epoch
        return epoch == self._epoch if own else epoch != self._epoch

    async def restored(self, connection: AsyncConnection, now_ms: int, most: int) -> AsyncIterator[list[Restored]]:
        """What was chosen, displayed, claimed and revoked and holds at `now_ms`, in pages; of each kind at most `most`:
        of users those seen last, and these in the order in which they were."""
        chose = or_(users.c.chosen.is_not(None), users.c.timed.is_not(None))
        last = select(users.c.user_id, users.c.chosen, users.c.timed, users.c.seen_ms).where(chose)
        last_ones = last.order_by(users.c.seen_ms.desc(), users.c.user_id).limit(most).subquery()
        result = await connection.execute(select(last_ones).order_by(last_ones.c.seen_ms))
        while rows := result.fetchmany(PAGE):
            facts = [RestoredChoices(row[0], choice_from(row[1]), choice_from(row[2])) for row in rows]
            yield [fact for fact in (_without_ended(fact, now_ms) for fact in facts) if fact is not None]
        display = select(users.c.user_id, users.c.display, users.c.seen_ms).where(users.c.display.is_not(None))
        displays = display.order_by(users.c.seen_ms.desc(), users.c.user_id).limit(most).subquery()
        result = await connection.execute(select(displays).order_by(displays.c.seen_ms))
        while rows := result.fetchmany(PAGE):
            yield [RestoredDisplay(row[0], row[1].encode()) for row in rows]
        held = select(claims).where(or_(claims.c.until_ms.is_(None), claims.c.until_ms > now_ms))
        result = await connection.execute(held.order_by(claims.c.set_ms, claims.c.source).limit(most))
        while found := result.mappings().fetchmany(PAGE):
            yield [claim_from(dict(row)) for row in found]
        revoked = select(revocations).where(revocations.c.until > now_ms / 1000)
        result = await connection.execute(revoked.order_by(revocations.c.until).limit(most))
        while found := result.mappings().fetchmany(PAGE):
            yield [StoredRevocation(**row) for row in found]

    # From time to time.

    async def prune(self, connection: AsyncConnection, now_ms: int) -> bool:
        """Delete some of what is too old. Whether there is more."""
        oldest = now_ms - (self._history_ms or SHORT_HISTORY)
        full = [await _prune(connection, changes, changes.c.at_ms, oldest)]
        full.append(await _prune(connection, sessions, sessions.c.closed_ms, oldest))
        await connection.execute(delete(claims).where(claims.c.until_ms <= now_ms))
        await connection.execute(delete(revocations).where(revocations.c.until <= now_ms / 1000))
        forgotten = nodes.c.sign_ms < oldest, nodes.c.stopped_ms.is_not(None), nodes.c.node != self._node
        await connection.execute(delete(nodes).where(*forgotten))
        return any(full)


_CLEAR: Delete = delete(claims).where(claims.c.user_id == bindparam("a"), claims.c.source == bindparam("b"))


def _without_ended(fact: RestoredChoices, now_ms: int) -> RestoredChoices | None:
    timed = fact.timed if fact.timed and fact.timed.until_ms > now_ms else None
    return RestoredChoices(fact.user_id, fact.chosen, timed) if fact.chosen or timed else None


async def _prune(connection: AsyncConnection, table: Table, time: ColumnElement[int], oldest: int) -> bool:
    """Delete what is older than `oldest`, so many rows at a time."""
    old = select(time).where(time < oldest).order_by(time).offset(SLICE - 1).limit(1)
    until = (await connection.execute(old)).scalar_one_or_none()
    await connection.execute(delete(table).where(time < oldest if until is None else time <= until))
    return until is not None
