"""What waits for one endpoint, in the database. A row is an event; it is deleted once the endpoint took it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import msgspec
from msgspec import Raw
from sqlalchemy import ColumnElement, delete, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from presenced.storage.answers import DeadLetter, DeadLetters
from presenced.storage.database import execute_many, writing
from presenced.storage.schema import webhooks

WAITING, HELD, DEAD = "waiting", "held", "dead"
"""`held`: refused although it went alone. Others go on meanwhile, but for those of the same subject."""

CHUNK = 500
"""Rows changed in one transaction, so that none keeps others from writing for long."""

MAX_ERROR = 500
"""Characters of a `last_error`."""

_c = webhooks.c
_INSERT = insert(webhooks)


class Row(NamedTuple):
    """An event that waits."""

    id: str
    payload: str
    created_ms: int
    attempts: int

    @property
    def event_id(self) -> str:
        """As receivers know it."""
        return event_id(self.id)


class New(NamedTuple):
    """An event that is to wait."""

    serial: str
    """Later ones compare as greater."""
    subject: str
    kind: str
    version: int
    payload: str


def event_id(row_id: str) -> str:
    """The same for all endpoints."""
    return f"msg_{row_id.partition('.')[0]}"


def serial_text(number: int) -> str:
    """A serial as it stands in ids: 48 bits of epoch milliseconds, then 80 more."""
    return f"{number:032x}"


class Queue:
    """The rows of one endpoint.

    Args:
        key: Of the endpoint, in the database.
    """

    def __init__(self, database: AsyncEngine, key: str) -> None:
        self._database = database
        self.key = key
        self.waiting = self.held = self.dead = 0
        """Rows, as far as known here; counted anew now and then."""

    async def add(self, connection: AsyncConnection, new: Sequence[New], now_ms: int) -> None:
        """Append, within the caller's transaction."""
        rows = [
            {
                "id": f"{one.serial}.{self.key}",
                "endpoint": self.key,
                "subject": one.subject,
                "kind": one.kind,
                "version": one.version,
                "payload": one.payload,
                "created_ms": now_ms,
                "attempts": 0,
                "next_ms": 0,
                "state": WAITING,
            }
            for one in new
        ]
        await execute_many(connection, _INSERT, rows)
        self.waiting += len(rows)

    async def first(self, limit: int) -> list[Row]:
        """The oldest that may go, in order."""
        mine = self._in(WAITING)
        if self.held:
            mine &= _c.subject.not_in(select(_c.subject).where(self._in(HELD)))
        return await self._rows(mine, limit)

    async def these(self, ids: Sequence[str]) -> list[Row]:
        """Those of `ids` that still wait, in order."""
        return await self._rows(self._in(WAITING) & _c.id.in_(ids), len(ids))

    async def due(self, now_ms: int, longest_ms: int) -> list[Row]:
        """A held one whose time has come, if there is one; also where the clock was set back meanwhile."""
        when = or_(_c.next_ms <= now_ms, _c.next_ms > now_ms + longest_ms)
        return await self._rows(self._in(HELD) & when, 1)

    async def delivered(self, rows: Sequence[Row], held: bool) -> None:
        """The endpoint took them: those that waited, or the one that was held."""
        async with writing(self._database) as connection:
            await connection.execute(delete(webhooks).where(_c.id.in_([row.id for row in rows])))
        if held:
            self.held -= 1
        else:
            self.waiting = max(0, self.waiting - len(rows))

    async def failed(self, rows: Sequence[Row], error: str, next_ms: int, held: bool) -> None:
        """They are to be tried again.

        Args:
            held: Let others go on meanwhile.
        """
        values = {
            "attempts": _c.attempts + 1,
            "last_error": error[:MAX_ERROR],
            "next_ms": next_ms,
            "state": HELD if held else WAITING,
        }
        mine = _c.id.in_([row.id for row in rows]) & (_c.state != DEAD)
        async with writing(self._database) as connection:
            await connection.execute(update(webhooks).where(mine).values(values))

    async def give_up(self, error: str, before_ms: int) -> int:
        """Those made before this time go dead.

        Returns:
            How many.
        """
        # Ids begin with the time: the scan ends there. One that was sent again has a newer time than its id says.
        old = (_c.created_ms < before_ms) & (_c.id < serial_text(max(0, before_ms) << 80))
        values = {"state": DEAD, "last_error": error[:MAX_ERROR]}
        total = 0
        while found := await self._change(self._in(WAITING) & old, values):
            self._gave_up(found)
            total += found
        while found := await self._change(self._in(HELD) & old, values):
            self.held = max(0, self.held - found)
            self.dead += found
            total += found
        return total

    async def expel(self, connection: AsyncConnection, most: int) -> int:
        """When more than `most` wait, the oldest go dead, and 1 % more, so that it is not done for each new one.

        Returns:
            How many.
        """
        excess = self.waiting - most
        if excess <= 0:
            return 0
        values = {"state": DEAD, "last_error": f"more than {most:,} events waited for this endpoint"}
        total, wanted = 0, excess + most // 100
        while total < wanted:
            found = await self._change_in(connection, self._in(WAITING), values, min(CHUNK, wanted - total))
            total += found
            if not found:
                break
        self._gave_up(total)
        return total

    async def drop_dead(self, most: int, before_ms: int) -> int:
        """Delete the oldest dead letters while there are more than `most`, and those made before this time.

        Returns:
            How many.
        """
        total = 0
        old = _c.id < serial_text(max(0, before_ms) << 80)
        while found := await self._delete(self._in(DEAD) & old, CHUNK):
            total += found
        while self.dead - total > most:
            found = await self._delete(self._in(DEAD), min(CHUNK, self.dead - total - most))
            total += found
            if not found:
                break
        self.dead = max(0, self.dead - total)
        return total

    async def send_again(self, ids: Sequence[str] | None, now_ms: int, most: int) -> int:
        """Dead letters wait again, as if new; all where `ids` is None, or until `most` wait.

        Returns:
            How many.
        """
        total = 0
        if ids is None:
            while self.waiting < most and (found := await self._revive(self._in(DEAD), now_ms)):
                total += found
        else:
            for start in range(0, len(ids), CHUNK):
                total += await self._revive(self._in(DEAD) & _c.id.in_(ids[start : start + CHUNK]), now_ms)
        return total

    async def dead_letters(self, after: str, limit: int, shown: str) -> list[DeadLetter]:
        """Some of them, in order.

        Args:
            after: An id; empty: from the first.
            shown: The endpoint, for people.
        """
        mine = self._in(DEAD) & (_c.id > after)
        query = select(_c.id, _c.attempts, _c.last_error, _c.payload).where(mine).order_by(_c.id).limit(limit)
        async with self._database.connect() as connection:
            return [
                DeadLetter(row_id, shown, attempts, error or "", Raw(payload.encode()))
                for row_id, attempts, error, payload in await connection.execute(query)
            ]

    async def _revive(self, mine: ColumnElement[bool], now_ms: int) -> int:
        found = await self._change(mine, {"state": WAITING, "attempts": 0, "next_ms": 0, "created_ms": now_ms})
        self.waiting += found
        self.dead = max(0, self.dead - found)
        return found

    def _in(self, state: str) -> ColumnElement[bool]:
        return (_c.endpoint == self.key) & (_c.state == state)

    def _gave_up(self, number: int) -> None:
        self.waiting = max(0, self.waiting - number)
        self.dead += number

    async def _rows(self, mine: ColumnElement[bool], limit: int) -> list[Row]:
        query = select(_c.id, _c.payload, _c.created_ms, _c.attempts).where(mine).order_by(_c.id).limit(limit)
        async with self._database.connect() as connection:
            return [Row(*row) for row in await connection.execute(query)]

    async def _change(self, mine: ColumnElement[bool], values: Mapping[str, object]) -> int:
        async with writing(self._database) as connection:
            return await self._change_in(connection, mine, values, CHUNK)

    async def _change_in(
        self, connection: AsyncConnection, mine: ColumnElement[bool], values: Mapping[str, object], limit: int
    ) -> int:
        ids = await _some(connection, mine, limit)
        if ids:
            await connection.execute(update(webhooks).where(_c.id.in_(ids)).values(values))
        return len(ids)

    async def _delete(self, mine: ColumnElement[bool], limit: int) -> int:
        async with writing(self._database) as connection:
            ids = await _some(connection, mine, limit)
            if ids:
                await connection.execute(delete(webhooks).where(_c.id.in_(ids)))
            return len(ids)


async def _some(connection: AsyncConnection, mine: ColumnElement[bool], limit: int) -> list[str]:
    """First the ids, then the change: not every database changes with a limit."""
    return list((await connection.execute(select(_c.id).where(mine).order_by(_c.id).limit(limit))).scalars())


def encode_dead(letters: Iterable[DeadLetter], limit: int) -> bytes:
    """JSON of the first `limit` of them, and where to go on."""
    found = sorted(letters, key=lambda letter: letter.id)
    page = found[:limit]
    return msgspec.json.encode(DeadLetters(page, page[-1].id if len(found) > limit else None))
