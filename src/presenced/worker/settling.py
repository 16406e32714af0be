"""Settling: one check after a start whether the receivers of webhooks have the right state.

For receivers, users may still be online who did not return after a crash. The database cannot tell who returned,
because newer records may wait in the server, be on their way, or be lost. So the worker names the candidates, and the
server, which has the live state, answers which of them are absent:

    worker (database)                                           server (live state)
    after `settling_s`: a page of users and rooms
    last sent to receivers as present        -- FindAbsent -->
                                             <-- batches -----  records from before the answer
                                             <-- Absent ------  all that are absent at this point
    webhooks about them, in the transaction
    that stores the earlier records          <-- batches -----  a user who returns later is a later record
    next page, until none is left
"""

from __future__ import annotations

import time
from math import inf

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from presenced.webhooks.dispatcher import WebhookDispatcher
from presenced.worker.rpc import Absent, FindAbsent


class Settling:
    """Compares the last state sent with the live state, page by page, and queues webhooks for the differences.

    Bounds: one outstanding page.
    """

    def __init__(self, database: AsyncEngine, webhooks: WebhookDispatcher) -> None:
        self._database = database
        self._webhooks = webhooks
        self._due = inf
        self._is_waiting = False
        """Whether an answer is outstanding."""
        self._last_user = self._last_room = ""
        """Last user and room of the latest page."""

    def begin(self, delay_s: float) -> None:
        """Start the check after a delay in which users and rooms may return unnoticed."""
        self._due = time.monotonic() + delay_s

    async def question(self) -> FindAbsent | None:
        """Return the next question for the server; None if none is due, or an answer is outstanding."""
        if self._is_waiting or time.monotonic() < self._due:
            return None
        async with self._database.connect() as connection:
            users = await self._webhooks.producer.sent_as_present(connection, "user", self._last_user)
            rooms = await self._webhooks.producer.sent_as_present(connection, "room", self._last_room)
        if not users and not rooms:
            self._due = inf
            return None
        self._is_waiting = True
        self._last_user, self._last_room = (
            users[-1] if users else self._last_user,
            rooms[-1] if rooms else self._last_room,
        )
        return FindAbsent(users, rooms)

    async def report(self, connection: AsyncConnection, absent: Absent) -> None:
        """Queue webhooks about these absent users and rooms, within the transaction that stores the earlier records."""
        await self._webhooks.producer.enqueue_absent(connection, absent.users, absent.rooms)

    def answered(self) -> None:
        """Go on with the next page, because the transaction with the answer is committed."""
        self._is_waiting = False
