"""Settling: one check after startup whether the receivers of webhooks have the right state.

After a crash, receivers may still believe that users are online, although these users did not return. The database
cannot tell who returned, because newer records may wait in the server, be on their way, or be lost. So the worker names
the candidates, and the server, which has the live state, answers which of them are absent:

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

from sqlalchemy.ext.asyncio import AsyncEngine

from presenced.webhooks.producer import WebhookProducer
from presenced.worker.rpc import FindAbsent


class Settling:
    """Asks the server page by page which of the users and rooms that receivers believe to be present are absent.

    Bounds: one outstanding page.

    Args:
        delay_s: Delay before the check, in which users and rooms may return unnoticed.
    """

    def __init__(self, database: AsyncEngine, producer: WebhookProducer, delay_s: float) -> None:
        self._database = database
        self._producer = producer
        self._due = time.monotonic() + delay_s
        """Monotonic time of the first page; infinity once no page is left."""
        self._is_waiting = False
        """Whether an answer is outstanding."""
        self._last_user = self._last_room = ""
        """Last user and room of the latest page."""

    async def question(self) -> FindAbsent | None:
        """Return the next question for the server; None if none is due, or an answer is outstanding."""
        if self._is_waiting or time.monotonic() < self._due:
            return None
        async with self._database.connect() as connection:
            users = await self._producer.sent_as_present(connection, "user", self._last_user)
            rooms = await self._producer.sent_as_present(connection, "room", self._last_room)
        if not users and not rooms:
            self._due = inf
            return None
        self._is_waiting = True
        if users:
            self._last_user = users[-1]
        if rooms:
            self._last_room = rooms[-1]
        return FindAbsent(users, rooms)

    def answered(self) -> None:
        """Continue with the next page, because the transaction with the answer is committed."""
        self._is_waiting = False
