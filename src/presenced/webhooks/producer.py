"""Producer: finds the events in stored records, and queues them in the same transaction.

The table `presenced_webhook_states` holds the last state sent about each user and room. It changes together with the
queues, in the transaction that stores the records. So an event is queued exactly when its record is stored. A new
storage worker may receive records that its predecessor has stored already. They cause no events the second time.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Select, delete, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from presenced.presence.model import Cause, Change
from presenced.storage.database import execute_many, upsert
from presenced.storage.records import RoomOccupancy, StoredUser
from presenced.storage.schema import users, webhook_states, webhooks
from presenced.webhooks.config import WebhookConfig
from presenced.webhooks.events import (
    NEVER_SENT,
    OFFLINE,
    RESTART,
    VACATED,
    EventContent,
    RoomEventData,
    SentState,
    Subject,
    encode_event,
    event_for,
    offline_event,
    state_of,
    subject_of,
)
from presenced.webhooks.queue import CHUNK_ROWS, EndpointQueue, NewEvent, event_id, serial_text
from presenced.webhooks.stats import WebhookStats

ROOM_MEMORY_POSITIONS = 1_000_000
"""Number of positions after which a vacated room is forgotten. Records that a storage worker receives twice are never
that old."""

_logger = logging.getLogger("presenced")


class WebhookProducer:
    """Queues events for every endpoint. All methods run within the caller's transaction.

    When the transaction is committed, call `WebhookDispatcher.wake`.

    Args:
        dialect: Name of SQLAlchemy's dialect.
        queues: Queue of each endpoint.
        config: Has the types of events to queue. Records of other types still change the last state.
        stats: Counts events that became dead letters because too many waited.
    """

    def __init__(
        self,
        *,
        dialect: str,
        queues: Sequence[EndpointQueue],
        config: WebhookConfig,
        stats: WebhookStats,
        now_ms: Callable[[], int],
    ) -> None:
        self._queues = queues
        self._config = config
        self._stats = stats
        self._now_ms = now_ms
        self._upsert = upsert(dialect, webhook_states)
        self._last_serial = 0
        self._newest_position = 0

    async def enqueue(self, connection: AsyncConnection, records: Sequence[Change | RoomOccupancy]) -> None:
        """Queue events about these records, which are in order, in the transaction that stores them."""
        if not records:
            return
        self._newest_position = max(self._newest_position, records[-1].position)
        last_sent = await _load_sent_states(connection, {subject_of(record) for record in records})
        changed: dict[Subject, SentState] = {}
        events: list[tuple[Subject, EventContent]] = []
        for record in records:
            subject = subject_of(record)
            before = changed.get(subject) or last_sent.get(subject) or NEVER_SENT[subject.kind]
            new = state_of(record)
            if new.version <= before.version:
                continue
            if (event := event_for(record, before)) is not None:
                events.append((subject, event))
            changed[subject] = new
        await self._store(connection, events, changed)

    def reset_serial(self) -> None:
        """Read the highest serial from the database again, because other processes may have queued events since."""
        self._last_serial = 0

    async def newest_room_version(self, connection: AsyncConnection) -> int:
        """Return the highest version of a room that was sent; 0 if none was."""
        query = select(func.max(webhook_states.c.version)).where(webhook_states.c.kind == "room")
        return (await connection.execute(query)).scalar() or 0

    async def sent_as_present(self, connection: AsyncConnection, kind: str, after: str) -> list[str]:
        """Return a page of the users or rooms that are present in the last state sent, ordered by name.

        Args:
            kind: `user` or `room`.
            after: Last name of the previous page; empty for the first page.
        """
        condition = (
            (webhook_states.c.kind == kind)
            & (webhook_states.c.status != NEVER_SENT[kind].status)
            & (webhook_states.c.subject > after)
        )
        query = select(webhook_states.c.subject).where(condition).order_by(webhook_states.c.subject).limit(CHUNK_ROWS)
        return list((await connection.execute(query)).scalars())

    async def enqueue_absent(self, connection: AsyncConnection, user_ids: Sequence[str], rooms: Sequence[str]) -> None:
        """Queue events that these users are offline and these rooms empty since the restart.

        Users and rooms whose absence was already sent are skipped. The caller must take the absence from the live state
        (`worker.absence_check`), because the database may be behind.
        """
        now_ms = self._now_ms()
        subjects = {Subject("user", user_id) for user_id in user_ids} | {Subject("room", name) for name in rooms}
        last_sent = {
            subject: state
            for subject, state in (await _load_sent_states(connection, subjects)).items()
            if state.status != NEVER_SENT[subject.kind].status
        }
        c = users.c
        wanted = select(c.user_id, c.status, c.version, c.since_ms, c.seen_ms, c.active_ms)
        names = [subject.name for subject in last_sent if subject.kind == "user"]
        stored = {row.user_id: StoredUser(*row) for row in await _rows_with(connection, wanted, c.user_id, names)}
        changed: dict[Subject, SentState] = {}
        events: list[tuple[Subject, EventContent]] = []
        for subject, before in sorted(last_sent.items()):
            version = before.version + 1
            if subject.kind == "user":
                row = stored.get(subject.name) or StoredUser(subject.name, OFFLINE, -1, 0, 0, 0)
                version = max(row.version, version)
                # The row may be older than the server's answer. Then its time is that of going online.
                since_ms = row.since_ms if row.status == OFFLINE else now_ms
                event = offline_event(subject.name, version, before.status, now_ms, since_ms, row.seen_ms)
            else:
                event = EventContent("room.vacated", now_ms, RoomEventData(subject.name, version, RESTART))
            events.append((subject, event))
            changed[subject] = SentState(NEVER_SENT[subject.kind].status, version)
        await self._store(connection, events, changed)

    async def prepare_erasure(self, connection: AsyncConnection, user_id: str) -> SentState | None:
        """Return the argument `last_sent` of `enqueue_erased` for a user who is about to be erased.

        None if no event is needed, because nothing was sent about the user, or because receivers have accepted the
        event that the user is offline. The event of an earlier erasure is deleted, because the new one replaces it.
        """
        subject = Subject("user", user_id)
        last_sent = (await _load_sent_states(connection, {subject})).get(subject)
        if last_sent is not None and last_sent.status != OFFLINE:
            return last_sent
        is_of_user = (webhooks.c.subject == user_id) & webhooks.c.kind.like("user.%")
        newest = (await connection.execute(select(func.max(webhooks.c.version)).where(is_of_user))).scalar()
        if newest is None:
            return None
        if last_sent is None:
            # The user was erased before. Only this event lets receivers learn that the user is offline. It is deleted
            # here, because it does not count as a row that the erasure has found.
            await connection.execute(delete(webhooks).where(is_of_user))
            return SentState(OFFLINE, newest)
        return last_sent

    async def enqueue_erased(self, connection: AsyncConnection, user_id: str, last_sent: SentState) -> None:
        """Queue an event that an erased user is offline. Store no state of the user."""
        # Above the version that receivers know, and below the version of a new session of the user. If the user is
        # offline already, the event replaces one that was not delivered, and has the version of that one.
        version = last_sent.version + (last_sent.status != OFFLINE)
        event = offline_event(user_id, version, last_sent.status, self._now_ms(), cause=Cause.KICK)
        await self._store(connection, [(Subject("user", user_id), event)], {})

    async def forget_rooms(self, connection: AsyncConnection) -> None:
        """Delete the state of rooms vacated long ago. Otherwise the table would grow with every new room name."""
        oldest = self._newest_position - ROOM_MEMORY_POSITIONS
        states = webhook_states.c
        condition = (states.kind == "room") & (states.status == VACATED) & (states.version < oldest)
        await connection.execute(delete(webhook_states).where(condition))

    async def _store(
        self,
        connection: AsyncConnection,
        events: Sequence[tuple[Subject, EventContent]],
        changed: Mapping[Subject, SentState],
    ) -> None:
        """Add the events to all queues, and store the new state of receivers."""
        wanted = [(subject, event) for subject, event in events if event.type in self._config.events]
        if wanted:
            new = [await self._new_event(connection, subject, event) for subject, event in wanted]
            for queue in self._queues:
                await queue.add(connection, new, self._now_ms())
                if expelled := await queue.expel_excess(connection, self._config.max_waiting):
                    self._stats.expelled += expelled
                    _logger.error("too many webhooks waited: %d became dead letters", expelled)
        rows = [{"kind": kind, "subject": name, **state._asdict()} for (kind, name), state in changed.items()]
        await execute_many(connection, self._upsert, rows)

    async def _new_event(self, connection: AsyncConnection, subject: Subject, event: EventContent) -> NewEvent:
        serial = serial_text(await self._next_serial(connection))
        payload = encode_event(event_id(serial), event)
        return NewEvent(serial, subject.name, event.type, event.data.version, payload)

    async def _next_serial(self, connection: AsyncConnection) -> int:
        """Return a serial above all earlier ones, even those of an earlier process, even if the clock was set back."""
        if not self._last_serial:
            newest = (await connection.execute(select(func.max(webhooks.c.id)))).scalar()
            self._last_serial = int(newest.partition(".")[0], 16) if newest else 0
        # 79 of 80 bits are random: with the first one 0, adding 1 again and again does not reach the milliseconds.
        self._last_serial = max(self._last_serial + 1, self._now_ms() << 80 | secrets.randbits(79))
        return self._last_serial


async def _load_sent_states(connection: AsyncConnection, subjects: Collection[Subject]) -> dict[Subject, SentState]:
    found: dict[Subject, SentState] = {}
    for kind in NEVER_SENT:
        names = [subject.name for subject in subjects if subject.kind == kind]
        query = select(webhook_states).where(webhook_states.c.kind == kind)
        for _, name, *state in await _rows_with(connection, query, webhook_states.c.subject, names):
            found[Subject(kind, name)] = SentState(*state)
    return found


async def _rows_with(
    connection: AsyncConnection, query: Select[Any], column: ColumnElement[str], values: Sequence[str]
) -> list[Any]:
    """Return the rows of the query that have one of these values in the column."""
    found: list[Any] = []
    for start in range(0, len(values), CHUNK_ROWS):
        found += await connection.execute(query.where(column.in_(values[start : start + CHUNK_ROWS])))
    return found
