"""The check, once after a start, that the receivers of webhooks know who is there."""

from __future__ import annotations

import time
from math import inf

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from presenced.keeper.messages import Absent, WhoIsAbsent
from presenced.webhooks.deliveries import Webhooks


class Settling:
    """Compares what the receivers believe with what the server sees, page by page, and has them notified of the rest.

    Receivers may believe that users are online who did not come back after a crash. The database can't tell who is
    back: newer facts may wait in the server, be on their way, or be lost. So the keeper names the candidates, and the
    server, which has the live state, answers which of them are absent. The answer stands in the stream behind the facts
    that the server gave before it and ahead of those that it gives later, so a user who returns right after the answer
    is announced by a newer fact.

    Bounds: one page is asked about at a time.
    """

    def __init__(self, database: AsyncEngine, webhooks: Webhooks) -> None:
        self._database = database
        self._webhooks = webhooks
        self._due = inf
        self._is_asking = False
        self._last_user = self._last_room = ""
        """The last ones that the server has answered about."""

    def begin(self, seconds: float) -> None:
        """Start the check after this time, in which users and rooms may come back unnoticed."""
        self._due = time.monotonic() + seconds

    async def question(self) -> WhoIsAbsent | None:
        """Return what to ask the server now; None while nothing is due, or an answer is outstanding."""
        if self._is_asking or time.monotonic() < self._due:
            return None
        async with self._database.connect() as connection:
            users = await self._webhooks.believed_present(connection, "user", self._last_user)
            rooms = await self._webhooks.believed_present(connection, "room", self._last_room)
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
        """Have the receivers notified that these are not there, within the transaction that stores what came before."""
        await self._webhooks.tell_absent(connection, absent.users, absent.rooms)

    def answered(self) -> None:
        """The transaction that has the answer is done: go on with the next page."""
        self._is_asking = False
