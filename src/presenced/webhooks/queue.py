"""Queue of one endpoint in the database. A row is an event. It is deleted when the endpoint has accepted it.

States of a row:

| state | meaning | becomes |
|---|---|---|
| waiting | to be sent, in order | deleted (delivered), held (refused alone), dead |
| held | refused although it was sent alone; only events of its subject wait for it | deleted, dead |
| dead | dead letter: too old, one too many, or the receiver is gone | waiting (sent again), deleted |

The id of a row is a serial, a full stop and the key of the endpoint. A serial has 32 hexadecimal digits: 48 bits of
epoch milliseconds, then 80 more. Later rows have greater ids, so the primary key gives the order and the age.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from msgspec import Raw
from sqlalchemy import ColumnElement, Delete, Update, delete, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from presenced.storage.answers import DeadLetter
from presenced.storage.database import execute_many, reading, writing
from presenced.storage.schema import webhooks

WAITING, HELD, DEAD = "waiting", "held", "dead"
"""Values of the column `state`."""

CHUNK_ROWS = 500
"""Maximum number of rows that one statement reads or changes. More take several statements, each in a transaction of
its own where possible, so that no transaction blocks other writers for long."""

MAX_LAST_ERROR_CHARACTERS = 500
"""Maximum number of characters of a stored error. The rest is cut off."""

_c = webhooks.c
_INSERT = insert(webhooks)


class QueuedEvent(NamedTuple):
    """Row to be sent."""

    row_id: str
    payload: str
    created_ms: int
    attempts: int

    @property
    def event_id(self) -> str:
        """Id of the event for receivers."""
        return event_id(self.row_id)


class NewEvent(NamedTuple):
    """Event to be queued. The fields are columns."""

    id: str
    """Serial."""
    subject: str
    kind: str
    version: int
    payload: str


def event_id(row_id: str) -> str:
    """Return the id of an event for receivers, the same for all endpoints, from the id of a row or a serial."""
    return f"msg_{row_id.partition('.')[0]}"


def serial_text(number: int) -> str:
    """Return a serial as it stands in ids."""
    return f"{number:032x}"


class EndpointQueue:
    """Rows of one endpoint, and their number in each state.

    Args:
        key: Name of the endpoint in the database (`sender.endpoint_key`).
    """

    def __init__(self, database: AsyncEngine, key: str) -> None:
        self._database = database
        self.key = key
        self.waiting = self.held = self.dead = 0
        """Number of rows in each state, as far as this process knows. The dispatcher corrects them with each sweep."""

    async def add(self, connection: AsyncConnection, events: Sequence[NewEvent], now_ms: int) -> None:
        """Append events within the caller's transaction."""
        shared = {"endpoint": self.key, "created_ms": now_ms, "attempts": 0, "next_ms": 0, "state": WAITING}
        rows = [{**event._asdict(), "id": f"{event.id}.{self.key}", **shared} for event in events]
        await execute_many(connection, _INSERT, rows)
        self.waiting += len(rows)

    async def oldest(self, limit: int) -> list[QueuedEvent]:
        """Return the oldest waiting events, in order, without those whose subject has a held event."""
        condition = self._in(WAITING)
        if self.held:
            condition &= _c.subject.not_in(select(_c.subject).where(self._in(HELD)))
        return await self._select(condition, limit)

    async def still_waiting(self, row_ids: Sequence[str]) -> list[QueuedEvent]:
        """Return the events with these row ids that still wait, in order."""
        return await self._select(self._in(WAITING) & _c.id.in_(row_ids), len(row_ids))

    async def due_held(self, now_ms: int, max_delay_ms: int) -> list[QueuedEvent]:
        """Return a held event that is due for its retry, if there is one.

        An event whose retry is more than `max_delay_ms` ahead is due as well, because the clock was set back.
        """
        is_due = or_(_c.next_ms <= now_ms, _c.next_ms > now_ms + max_delay_ms)
        return await self._select(self._in(HELD) & is_due, 1)

    async def delete_delivered(self, events: Sequence[QueuedEvent], were_held: bool) -> None:
        """Delete events that the endpoint has accepted."""
        async with writing(self._database) as connection:
            statement = delete(webhooks).where(_c.id.in_([event.row_id for event in events]))
            deleted = (await connection.execute(statement)).rowcount
        if were_held:
            # The row may be gone because its user was erased, and a sweep may know. The number must not be too low:
            # while it is 0, events pass the held one of their subject.
            self.held = max(0, self.held - deleted)
        else:
            self.waiting = max(0, self.waiting - len(events))

    async def record_failure(self, events: Sequence[QueuedEvent], error: str, next_ms: int, **values: object) -> None:
        """Record an attempt that failed, the time of the next one, and other `values` of columns."""
        condition = _c.id.in_([event.row_id for event in events]) & (_c.state != DEAD)
        values |= {"attempts": _c.attempts + 1, "last_error": error[:MAX_LAST_ERROR_CHARACTERS], "next_ms": next_ms}
        async with writing(self._database) as connection:
            await connection.execute(update(webhooks).where(condition).values(values))

    async def hold(self, event: QueuedEvent, error: str, next_ms: int) -> None:
        """Record a refusal of this waiting event, and let events of other subjects pass it."""
        await self.record_failure([event], error, next_ms, state=HELD)
        self.held += 1
        self.waiting = max(0, self.waiting - 1)

    async def expire(self, error: str, before_ms: int) -> None:
        """Turn all events queued before this time into dead letters."""
        # Ids begin with the time, so the scan ends there. A dead letter that was requeued has a newer `created_ms`.
        is_old = (_c.created_ms < before_ms) & (_c.id < serial_text(max(0, before_ms) << 80))
        values = {"state": DEAD, "last_error": error[:MAX_LAST_ERROR_CHARACTERS]}
        while changed := await self._update(self._in(WAITING) & is_old, values):
            self._count_dead(changed)
        while changed := await self._update(self._in(HELD) & is_old, values):
            self.held = max(0, self.held - changed)
            self.dead += changed

    async def expel_excess(self, connection: AsyncConnection, max_waiting: int) -> int:
        """Turn the oldest events into dead letters if more than `max_waiting` wait. Return their number.

        Another 1 % goes with them, so that this does not happen again for each new event.
        """
        excess = self.waiting - max_waiting
        if excess <= 0:
            return 0
        error = f"more than {max_waiting:,} events waited for this endpoint"
        expel = update(webhooks).values(state=DEAD, last_error=error)
        total, wanted = 0, excess + max_waiting // 100
        while total < wanted and (
            changed := await _change_oldest(connection, expel, self._in(WAITING), min(CHUNK_ROWS, wanted - total))
        ):
            total += changed
        self._count_dead(total)
        return total

    async def delete_dead(self, max_dead: int, before_ms: int) -> int:
        """Delete dead letters queued before this time, and the oldest above `max_dead`. Return their number."""
        total = 0
        is_old = _c.id < serial_text(max(0, before_ms) << 80)
        while deleted := await self._delete(self._in(DEAD) & is_old, CHUNK_ROWS):
            total += deleted
        while (excess := self.dead - total - max_dead) > 0 and (
            deleted := await self._delete(self._in(DEAD), min(CHUNK_ROWS, excess))
        ):
            total += deleted
        self.dead = max(0, self.dead - total)
        return total

    async def requeue_dead(self, row_ids: Sequence[str] | None, now_ms: int, max_waiting: int) -> int:
        """Make dead letters wait again, as if they were new. Return their number.

        Args:
            row_ids: Dead letters to send again. None for all, as long as fewer than `max_waiting` wait.
        """
        total = 0
        if row_ids is None:
            while self.waiting < max_waiting and (changed := await self._requeue(self._in(DEAD), now_ms)):
                total += changed
        else:
            for start in range(0, len(row_ids), CHUNK_ROWS):
                total += await self._requeue(self._in(DEAD) & _c.id.in_(row_ids[start : start + CHUNK_ROWS]), now_ms)
        return total

    async def dead_letters(self, after: str, limit: int, endpoint: str) -> list[DeadLetter]:
        """Return dead letters in order.

        Args:
            after: Row id after which to start; empty to start with the first.
            endpoint: Name of the endpoint to show.
        """
        condition = self._in(DEAD) & (_c.id > after)
        query = select(_c.id, _c.attempts, _c.last_error, _c.payload).where(condition).order_by(_c.id).limit(limit)
        async with reading(self._database) as connection:
            return [
                DeadLetter(row_id, endpoint, attempts, error or "", Raw(payload.encode()))
                for row_id, attempts, error, payload in await connection.execute(query)
            ]

    async def _requeue(self, condition: ColumnElement[bool], now_ms: int) -> int:
        values = {"state": WAITING, "attempts": 0, "next_ms": 0, "created_ms": now_ms}
        changed = await self._update(condition, values)
        self.waiting += changed
        self.dead = max(0, self.dead - changed)
        return changed

    def _in(self, state: str) -> ColumnElement[bool]:
        return (_c.endpoint == self.key) & (_c.state == state)

    def _count_dead(self, number: int) -> None:
        self.waiting = max(0, self.waiting - number)
        self.dead += number

    async def _select(self, condition: ColumnElement[bool], limit: int) -> list[QueuedEvent]:
        query = select(_c.id, _c.payload, _c.created_ms, _c.attempts).where(condition).order_by(_c.id).limit(limit)
        async with reading(self._database) as connection:
            return [QueuedEvent(*row) for row in await connection.execute(query)]

    async def _update(self, condition: ColumnElement[bool], values: Mapping[str, object]) -> int:
        async with writing(self._database) as connection:
            return await _change_oldest(connection, update(webhooks).values(values), condition, CHUNK_ROWS)

    async def _delete(self, condition: ColumnElement[bool], limit: int) -> int:
        async with writing(self._database) as connection:
            return await _change_oldest(connection, delete(webhooks), condition, limit)


async def _change_oldest(
    connection: AsyncConnection, statement: Update | Delete, condition: ColumnElement[bool], limit: int
) -> int:
    """Execute the statement with the oldest rows that match. Return their number.

    Not every database supports UPDATE and DELETE with a LIMIT.
    """
    oldest = select(_c.id).where(condition).order_by(_c.id).limit(limit)
    if row_ids := (await connection.execute(oldest)).scalars().all():
        await connection.execute(statement.where(_c.id.in_(row_ids)))
    return len(row_ids)
