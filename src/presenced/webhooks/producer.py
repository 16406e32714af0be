"""Which facts the receivers are told: what differs from what they were told before."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import BindParameter, ColumnElement, bindparam, delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from presenced.presence.model import Cause, Change
from presenced.storage.database import execute_many
from presenced.storage.records import RoomOccupancy
from presenced.storage.schema import told, users, webhooks
from presenced.webhooks.events import (
    OFFLINE,
    RESTART,
    UNTOLD,
    VACATED,
    News,
    RoomData,
    Subject,
    Told,
    encode,
    left,
    news,
    now_told,
    subject_of,
)
from presenced.webhooks.queue import CHUNK, New, Queue, event_id, serial_text

KEPT_POSITIONS = 1_000_000
"""Rooms that were vacated longer ago than so many positions are forgotten. What a keeper is sent a second time, after
it died, is never so old.
"""


class Teller:
    """Puts into the queues what is to be told.

    What was told is in the database, and changes with the queues in one transaction: a fact that comes a second time
    tells nothing. A fact is told if it differs from that, so that facts that were lost do not matter.

    Args:
        events: Types of events that are told.
        expelled: Called with the number of events that went dead because too many wait.
    """

    def __init__(
        self,
        queues: Sequence[Queue],
        events: Sequence[str],
        max_waiting: int,
        now_ms: Callable[[], int],
        expelled: Callable[[int], None],
    ) -> None:
        self._queues = queues
        self._events = frozenset(events)
        self._max_waiting = max_waiting
        self._now_ms = now_ms
        self._expelled = expelled
        self._last_serial = 0
        self._newest = 0

    async def enqueue(self, connection: AsyncConnection, facts: Sequence[Change | RoomOccupancy]) -> None:
        """Within the transaction that stores these facts, which are in order."""
        if not facts:
            return
        self._newest = max(self._newest, facts[-1].position)
        known = await _told(connection, {subject_of(fact) for fact in facts})
        changed: dict[Subject, Told] = {}
        found: list[tuple[Subject, News]] = []
        for fact in facts:
            subject = subject_of(fact)
            before = changed.get(subject) or known.get(subject) or UNTOLD[subject[0]]
            new = now_told(fact)
            if new.version <= before.version:
                continue
            if (what := news(fact, before)) is not None:
                found.append((subject, what))
            changed[subject] = new
        await self._tell(connection, found, changed, known.keys())

    async def believed_present(self, connection: AsyncConnection, kind: str, after: str) -> list[str]:
        """Return a page of the users or rooms that the receivers believe to be present, ordered by name.

        Args:
            kind: `user` or `room`.
            after: Last name of the previous page; empty for the first page.
        """
        mine = (told.c.kind == kind) & (told.c.status != UNTOLD[kind].status) & (told.c.subject > after)
        query = select(told.c.subject).where(mine).order_by(told.c.subject).limit(CHUNK)
        return list((await connection.execute(query)).scalars())

    async def tell_absent(self, connection: AsyncConnection, user_ids: Sequence[str], rooms: Sequence[str]) -> None:
        """Queue webhooks that these users have been offline, and these rooms empty, since the restart. No-op for those
        that the receivers know to be."""
        now_ms = self._now_ms()
        subjects = {("user", user_id) for user_id in user_ids} | {("room", name) for name in rooms}
        known = await _told(connection, subjects)
        known = {subject: before for subject, before in known.items() if before.status != UNTOLD[subject[0]].status}
        stored = await _stored(connection, [name for kind, name in known if kind == "user"])
        changed: dict[Subject, Told] = {}
        found: list[tuple[Subject, News]] = []
        for subject, before in sorted(known.items()):
            kind, name = subject
            if kind == "user":
                row = stored.get(name, _UNKNOWN)
                version = max(row.version, before.version + 1)
                # The row may be older than the answer. Then it says since when the user was online.
                since_ms = row.since_ms if row.status == OFFLINE else now_ms
                what = left(name, version, before, since_ms, row.seen_ms, now_ms)
            else:
                version = before.version + 1
                what = News("room.vacated", now_ms, RoomData(name, version, RESTART))
            found.append((subject, what))
            changed[subject] = Told(UNTOLD[kind].status, version)
        await self._tell(connection, found, changed, changed.keys())

    async def known_of(self, connection: AsyncConnection, user_id: str) -> Told | None:
        """What the receivers know of a user, or are about to be told; None when they need not be told that the user has
        left: they know nothing, or know that."""
        known = (await _told(connection, {("user", user_id)})).get(("user", user_id))
        if known is None or known.status != OFFLINE:
            return known
        undelivered = select(webhooks.c.id).where(*_of_user(user_id)).limit(1)
        return known if (await connection.execute(undelivered)).first() else None

    async def tell_left(self, connection: AsyncConnection, user_id: str, known: Told) -> None:
        """Have those who know this of a user told that the user has left, and note nothing of it."""
        # Above what they know, and below what a new session of the user will be told with.
        version = known.version + (known.status != OFFLINE)
        what = left(user_id, version, known, 0, 0, self._now_ms(), Cause.KICK)
        if what.type in self._events and self._queues:
            new = [await self._new(connection, ("user", user_id), what)]
            for queue in self._queues:
                await queue.add(connection, new, self._now_ms())

    async def forget_rooms(self, connection: AsyncConnection) -> None:
        """Forget those that were vacated long ago, for there may be new ones for ever."""
        mine = (told.c.kind == "room") & (told.c.status == VACATED) & (told.c.version < self._newest - KEPT_POSITIONS)
        await connection.execute(delete(told).where(mine))

    async def _tell(
        self,
        connection: AsyncConnection,
        found: Sequence[tuple[Subject, News]],
        changed: Mapping[Subject, Told],
        known: Collection[Subject],
    ) -> None:
        """Add to the queues, and note what is told then."""
        wanted = [(subject, what) for subject, what in found if what.type in self._events]
        if wanted and self._queues:
            new = [await self._new(connection, subject, what) for subject, what in wanted]
            for queue in self._queues:
                await queue.add(connection, new, self._now_ms())
                if expelled := await queue.expel(connection, self._max_waiting):
                    self._expelled(expelled)
        rows = [
            {
                "a_kind": kind,
                "a_subject": subject,
                "a_status": now.status,
                "a_version": now.version,
                "a_text": now.details,
            }
            for (kind, subject), now in changed.items()
        ]
        if fresh := [row for row in rows if (row["a_kind"], row["a_subject"]) not in known]:
            await execute_many(connection, _INSERT, fresh)
        if others := [row for row in rows if (row["a_kind"], row["a_subject"]) in known]:
            await execute_many(connection, _UPDATE, others)

    async def _new(self, connection: AsyncConnection, subject: Subject, what: News) -> New:
        serial = serial_text(await self._next_serial(connection))
        payload = encode(event_id(serial), what)
        return New(serial, subject[1], what.type, what.data.version, payload)

    async def _next_serial(self, connection: AsyncConnection) -> int:
        """Above all before, also those of an earlier process, and whatever the clock says."""
        if not self._last_serial:
            newest = (await connection.execute(select(func.max(webhooks.c.id)))).scalar()
            self._last_serial = int(newest.partition(".")[0], 16) if newest else 0
        self._last_serial = max(self._last_serial + 1, self._now_ms() << 80 | secrets.randbits(79))
        return self._last_serial


_VALUES: dict[str, BindParameter[Any]] = {
    "status": bindparam("a_status"),
    "version": bindparam("a_version"),
    "details": bindparam("a_text"),
}
_INSERT = insert(told).values(kind=bindparam("a_kind"), subject=bindparam("a_subject"), **_VALUES)
_UPDATE = (
    update(told)
    .where((told.c.kind == bindparam("a_kind")) & (told.c.subject == bindparam("a_subject")))
    .values(**_VALUES)
)


async def _told(connection: AsyncConnection, subjects: Collection[Subject]) -> dict[Subject, Told]:
    """What was told of these."""
    found: dict[Subject, Told] = {}
    for kind in UNTOLD:
        names = [name for of_kind, name in subjects if of_kind == kind]
        for start in range(0, len(names), CHUNK):
            mine = (told.c.kind == kind) & told.c.subject.in_(names[start : start + CHUNK])
            query = select(told.c.subject, told.c.status, told.c.version, told.c.details).where(mine)
            for name, *known in await connection.execute(query):
                found[kind, name] = Told(*known)
    return found


def _of_user(user_id: str) -> tuple[ColumnElement[bool], ...]:
    return webhooks.c.subject == user_id, webhooks.c.kind.like("user.%")


class _Stored(NamedTuple):
    """Return the stored state of a user's last change."""

    status: str
    version: int
    since_ms: int
    seen_ms: int


_UNKNOWN = _Stored(OFFLINE, -1, 0, 0)


async def _stored(connection: AsyncConnection, user_ids: Sequence[str]) -> dict[str, _Stored]:
    """Return the stored state of these users."""
    found: dict[str, _Stored] = {}
    for start in range(0, len(user_ids), CHUNK):
        mine = users.c.user_id.in_(user_ids[start : start + CHUNK])
        c = users.c
        query = select(c.user_id, c.status, c.version, c.since_ms, c.seen_ms).where(mine)
        for user_id, *row in await connection.execute(query):
            found[user_id] = _Stored(*row)
    return found
