"""Absence check: finds out whether the receivers of webhooks have the right state, once after startup.

After a crash, receivers may still believe that users are online, although these users did not return. The database
cannot tell who returned, because newer records may wait in the server, be on their way, or be lost. So the worker names
the candidates, and the server, which has the live state, answers which of them are absent:

    worker (database)                                           server (live state)
    after `settling`: a page of users and rooms
    last sent to receivers as present        -- FindAbsent -->
                                             <-- batches -----  records from before the answer
                                             <-- Absent ------  all that are absent at this point
    webhooks about them, in the transaction
    that stores the earlier records          <-- batches -----  a user who returns later is a later record
    next page, until none is left

In a cluster, the designated writer asks when it takes a shard (`restart`). It asks for rooms, because their changes are
not in the log, and for users if the log does not reach back far enough. Rows of users who are shown present are
candidates, too.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from math import inf

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from presenced.storage.database import reading
from presenced.webhooks.producer import WebhookProducer
from presenced.worker.rpc import FindAbsent

ShownAfter = Callable[[AsyncConnection, str], Awaitable[list[str]]]
"""Returns a page of the users whose rows show them as present, after a user, ordered by id."""


async def _nobody(_: AsyncConnection, __: str) -> list[str]:
    return []


class AbsenceCheck:
    """Asks the server, page by page, which users and rooms are absent although receivers believe them to be present.

    Bounds: one outstanding page.

    Args:
        producer: Producer of webhooks; None if there are none.
        delay_s: Delay before the check, in which users and rooms may return unnoticed; infinity to wait for `restart`.
        shown_after: In a cluster, a function that returns further users to ask for, because their rows may be wrong.
    """

    def __init__(
        self,
        database: AsyncEngine,
        producer: WebhookProducer | None,
        delay_s: float,
        shown_after: ShownAfter = _nobody,
    ) -> None:
        self._database = database
        self._producer = producer
        self._shown_after = shown_after
        self._due = time.monotonic() + delay_s
        """Monotonic time of the first page; infinity once no page is left."""
        self._with_users = True
        self._is_waiting = False
        """Whether an answer is outstanding."""
        self._last_user = self._last_room = self._last_shown = ""
        """Last user and room of the latest page."""

    def restart(self, delay_s: float, users: bool) -> None:
        """Start with the first page again.

        Args:
            users: Whether to ask for users, and not only for rooms. Users of an unfinished check are asked for anyway.
        """
        self._with_users = users or (self._with_users and self._due < inf)
        self._due = time.monotonic() + delay_s
        self._last_user = self._last_room = self._last_shown = ""

    async def next_question(self) -> FindAbsent | None:
        """Return the next question for the server; None if none is due, or an answer is outstanding."""
        if self._is_waiting or time.monotonic() < self._due:
            return None
        users: list[str] = []
        rooms: list[str] = []
        shown: list[str] = []
        async with reading(self._database) as connection:
            if self._producer is not None:
                rooms = await self._producer.sent_as_present(connection, "room", self._last_room)
            if self._producer is not None and self._with_users:
                users = await self._producer.sent_as_present(connection, "user", self._last_user)
            if self._with_users:
                shown = await self._shown_after(connection, self._last_shown)
        if not users and not rooms and not shown:
            self._due = inf
            return None
        self._is_waiting = True
        self._last_user = users[-1] if users else self._last_user
        self._last_room = rooms[-1] if rooms else self._last_room
        self._last_shown = shown[-1] if shown else self._last_shown
        return FindAbsent(list(dict.fromkeys([*users, *shown])), rooms)

    def answered(self) -> None:
        """Continue with the next page, because the transaction with the answer is committed."""
        self._is_waiting = False
