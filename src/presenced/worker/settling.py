"""Check, once after a start, whether the receivers of webhooks know the present users and rooms."""

from __future__ import annotations

import time
from math import inf

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from presenced.webhooks.dispatcher import WebhookDispatcher
from presenced.worker.rpc import Absent, WhoIsAbsent


class Settling:
    """Compares the receivers' beliefs with the live state, page by page, and queues webhooks for the differences.

    Receivers may believe that users are online who did not return after a crash. The database cannot tell, because
    newer facts may be waiting in the server, in flight or lost. The keeper therefore names the candidates, and the
    server, which has the live state, answers which of them are absent. The answer follows the server's earlier facts in
    the stream and precedes its later ones. If a user returns right after the answer, a newer fact announces it.

    Bounds: one outstanding page.
    """

    def __init__(self, database: AsyncEngine, webhooks: WebhookDispatcher) -> None:
        self._database = database
        self._webhooks = webhooks
        self._due = inf
        self._is_asking = False
        self._last_user = self._last_room = ""
        """Last user and room of the page that the server has answered."""

    def begin(self, seconds: float) -> None:
        """Start the check after this delay in seconds, in which users and rooms may return unnoticed."""
        self._due = time.monotonic() + seconds

    async def question(self) -> WhoIsAbsent | None:
        """Return the next question for the server; None if none is due, or an answer is outstanding."""
        if self._is_asking or time.monotonic() < self._due:
            return None
        async with self._database.connect() as connection:
            users = await self._webhooks.producer.sent_as_present(connection, "user", self._last_user)
            rooms = await self._webhooks.producer.sent_as_present(connection, "room", self._last_room)
        if not users and not rooms:
            self._due = inf
            return None
        self._is_asking = True
        self._last_user, self._last_room = (
            users[-1] if users else self._last_user,
            rooms[-1] if rooms else self._last_room,
        )
        return WhoIsAbsent(users, rooms)

    async def tell(self, connection: AsyncConnection, absent: Absent) -> None:
        """Queue webhooks about these absent users and rooms, within the transaction that stores the earlier facts."""
        await self._webhooks.producer.enqueue_absent(connection, absent.users, absent.rooms)

    def answered(self) -> None:
        """Go on with the next page, because the transaction with the answer is committed."""
        self._is_asking = False
