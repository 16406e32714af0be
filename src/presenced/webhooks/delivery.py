"""Delivery to one endpoint: one request at a time, in order, until each event was taken or is too old."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable, Sequence
from typing import NamedTuple

from presenced.storage.database import reason
from presenced.webhooks.backoff import pause
from presenced.webhooks.config import WebhookConfig
from presenced.webhooks.events import batch_id, encode_batch
from presenced.webhooks.queue import Queue, Row
from presenced.webhooks.sender import BUSY, GONE, Sender, Sent
from presenced.webhooks.stats import WebhookFigures

MAX_BODY = 262_144
"""Bytes of the events of a request, about; one that is larger goes alone."""

SAME_AGAIN = 2
"""So often a failed request is sent again as it was, with the same id; then with half of its events, each time."""

MAX_HELD = 100
"""Events that may be refused, each alone, while others go on; with one more, all wait."""

_logger = logging.getLogger("presenced")


class Rest(NamedTuple):
    """What to do between two turns: nothing, for so many seconds."""

    seconds: float
    idle: bool = False
    """News end it."""


class Delivery:
    """Sends what waits in `queue`.

    Events of one user or room arrive in order: a request that fails is repeated before anything newer of them is sent.
    If an event is refused although it goes alone, only what is of the same subject waits for it.

    Bounds: one request, `config.batch_size` events; `MAX_HELD`.

    Args:
        chance: Evenly out of [0, 1), for the jitter.
    """

    def __init__(
        self,
        queue: Queue,
        sender: Sender,
        config: WebhookConfig,
        figures: WebhookFigures,
        now_ms: Callable[[], int],
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.queue = queue
        self.shown = sender.shown
        self.oldest_ms = 0
        """When the oldest that waits was made; 0 when none waits."""
        self._sender = sender
        self._config = config
        self._figures = figures
        self._now_ms = now_ms
        self._chance = chance
        self._size = config.batch_size
        self._failures = 0
        self._again: list[str] = []  # the events of the request that failed last, to be sent again as they were
        self._taken: list[Row] = []  # delivered, and still to be deleted
        self._taken_was_held = False
        self._waited = False
        self._news = False
        self._idle = False
        self._up = asyncio.Event()

    def wake(self) -> None:
        """There is something new; no-op while a pause after a failure lasts."""
        self._news = True
        if self._idle:
            self._up.set()

    def hurry(self) -> None:
        """Try at once, whatever the pause."""
        self._up.set()

    async def run(self) -> None:
        """Deliver until cancelled. A database that fails is tried again."""
        try:
            while True:
                try:
                    rest = await self.turn()
                except Exception as error:  # whatever it is: other endpoints, and the storage beside us, go on
                    _logger.error("webhooks to %s: %s: %s", self.shown, type(error).__name__, reason(error))
                    rest = Rest(self._config.first_retry)
                await self._rest(rest)
        finally:
            await self._sender.close()

    async def turn(self) -> Rest:
        """One request, if there is something to send."""
        self._news = False
        if self._taken:
            await self._forget_taken()
        rows, held = await self._next()
        if not rows:
            self.oldest_ms = 0
            return Rest(self._config.idle_wait, idle=True)
        if not held:
            self.oldest_ms = rows[0].created_ms
            if len(rows) < self._size and not self._waited and not self._failures:
                self._waited = True  # by no clock: it may be set back
                return Rest(self._config.batch_wait)
        return await self._attempt(rows, held)

    async def _rest(self, rest: Rest) -> None:
        if rest.idle and self._news:
            return
        self._idle = rest.idle
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(rest.seconds):
                await self._up.wait()
        self._idle = False
        self._up.clear()

    async def _next(self) -> tuple[list[Row], bool]:
        """What to send now, and whether it is one that was held."""
        if self.queue.held:
            longest_ms = int(self._config.last_retry * 1000)
            if rows := await self.queue.due(self._now_ms(), longest_ms):
                return rows, True
        rows = await self.queue.these(self._again) if self._again else []
        return _fitting(rows or await self.queue.first(self._size)), False

    async def _attempt(self, rows: Sequence[Row], held: bool) -> Rest:
        self._waited = False
        body = encode_batch([row.payload for row in rows], rows[-1].created_ms)
        sent = await self._sender.send(batch_id([row.event_id for row in rows]), body, self._now_ms())
        self._figures.took(sent.seconds)
        self._figures.retried += sum(row.attempts > 0 for row in rows)
        if sent.error:
            return await self._failed(rows, sent, held)
        if self._failures:
            _logger.info("webhooks to %s are taken again", self.shown)
        self._failures = 0
        self._size = min(self._size * 2, self._config.batch_size)
        self._again = []
        self._taken, self._taken_was_held = list(rows), held
        await self._forget_taken()
        return Rest(0)

    async def _forget_taken(self) -> None:
        """Until it succeeds nothing else is sent, or they would be sent again with the next."""
        await self.queue.delivered(self._taken, self._taken_was_held)
        self._figures.delivered += len(self._taken)
        self._taken = []

    async def _failed(self, rows: Sequence[Row], sent: Sent, held: bool) -> Rest:
        self._figures.failed += 1
        now_ms = self._now_ms()
        refused = sent.status not in (0, GONE) and sent.status not in BUSY
        if held and refused:  # it alone waits
            next_ms = now_ms + int(1000 * self._pause(rows[0].attempts + 1))
            await self.queue.failed(rows, sent.error, next_ms, held=True)
            await self._give_up_old(sent.error, now_ms)
            return Rest(0)
        self._failures += 1
        if self._failures == 1:
            _logger.warning("webhooks to %s are not taken, and will be tried again: %s", self.shown, sent.error)
        wait = max(self._pause(self._failures), sent.retry_after)
        if sent.status == GONE:
            self._again = []
            await self.queue.failed(rows, sent.error, now_ms, held)  # so that the try is counted
            await self.queue.give_up(sent.error, before_ms=now_ms + 86_400_000)
            return Rest(wait)
        hold = held or (len(rows) == 1 and refused and self._failures > SAME_AGAIN and self.queue.held < MAX_HELD)
        await self.queue.failed(rows, sent.error, now_ms + int(1000 * wait), hold)
        if hold and not held:
            self.queue.held += 1
            self.queue.waiting = max(0, self.queue.waiting - 1)
            self._again = []
        elif not held:
            if self._failures > SAME_AGAIN:
                rows = rows[: max(1, len(rows) // 2)]
                self._size = len(rows)
            self._again = [row.id for row in rows]
        await self._give_up_old(sent.error, now_ms)
        return Rest(wait)

    async def _give_up_old(self, error: str, now_ms: int) -> None:
        await self.queue.give_up(error, now_ms - int(1000 * self._config.max_age))

    def _pause(self, failures: int) -> float:
        return pause(failures, self._config.first_retry, self._config.last_retry, self._chance())


def _fitting(rows: list[Row]) -> list[Row]:
    """As many from the first on as fit into a request."""
    size = 0
    for number, row in enumerate(rows):
        size += len(row.payload)
        if number and size > MAX_BODY:
            return rows[:number]
    return rows
