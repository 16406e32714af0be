"""All endpoints together: what the keeper uses."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from sqlalchemy import func, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from presenced.presence.model import Change
from presenced.storage.answers import DeadLetter
from presenced.storage.database import reason, writing
from presenced.storage.records import RoomOccupancy
from presenced.storage.schema import webhooks
from presenced.webhooks.config import WebhookConfig
from presenced.webhooks.delivery import Delivery
from presenced.webhooks.events import Told
from presenced.webhooks.producer import Teller
from presenced.webhooks.queue import DEAD, HELD, WAITING, Queue, encode_dead
from presenced.webhooks.sender import Sender, endpoint_key
from presenced.webhooks.stats import WebhookFigures

SWEEP = 60.0
"""Seconds between two countings of the rows."""

DEAD_AGE = 30 * 86_400.0
"""Seconds for which a dead letter is kept at most."""

_logger = logging.getLogger("presenced")


class Webhooks:
    """What is to be told, and its delivery. One for a database at a time.

    Bounds: per endpoint `config.max_waiting` and `config.max_dead` rows, and one request.

    Args:
        now_ms: Epoch milliseconds.

    Raises:
        ConfigError: A URL or a secret can't be used.
    """

    def __init__(self, database: AsyncEngine, config: WebhookConfig, now_ms: Callable[[], int]) -> None:
        self._database = database
        self._config = config
        self._now_ms = now_ms
        self._figures = WebhookFigures()
        self._delivering = False
        self._deliveries = [
            Delivery(Queue(database, endpoint_key(url)), Sender(url, config), config, self._figures, now_ms)
            for url in config.endpoints
        ]
        self._strangers: dict[str, Queue] = {}  # endpoints of earlier settings, by key, of which there are rows
        queues = [delivery.queue for delivery in self._deliveries]
        self._teller = Teller(queues, config.events, config.max_waiting, now_ms, self._expelled)

    async def enqueue(self, connection: AsyncConnection, facts: Sequence[Change | RoomOccupancy]) -> None:
        """Have the receivers told of these facts, which are in order; within the transaction that stores them.

        Facts that came before tell nothing. Call `wake` when the transaction is done.
        """
        await self._teller.enqueue(connection, facts)

    async def believed_present(self, connection: AsyncConnection, kind: str, after: str) -> list[str]:
        """Return a page of the users (`kind` is `user`) or rooms (`room`) that the receivers believe to be present:
        those after `after`, ordered by name."""
        return await self._teller.believed_present(connection, kind, after)

    async def tell_absent(self, connection: AsyncConnection, users: Sequence[str], rooms: Sequence[str]) -> None:
        """Queue webhooks that these users are offline and these rooms empty, for receivers that believe otherwise.

        The caller must know it from the live state (`worker.settling`). Call `wake` when the transaction is committed.
        """
        await self._teller.tell_absent(connection, users, rooms)

    async def known_of(self, connection: AsyncConnection, user_id: str) -> Told | None:
        """What the receivers know of a user who is to be erased: to be asked before, for `tell_left` after it."""
        return await self._teller.known_of(connection, user_id)

    async def tell_left(self, connection: AsyncConnection, user_id: str, known: Told) -> None:
        """Have those who know this of a user told that the user has left, and note nothing of it."""
        await self._teller.tell_left(connection, user_id, known)

    async def run(self) -> None:
        """Deliver until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                counted = await self._try_to_sweep()
                if counted and not self._delivering:  # not before: what an earlier process left may be held
                    self._delivering = True
                    for delivery in self._deliveries:
                        tasks.create_task(delivery.run(), name=f"presenced: webhooks to {delivery.shown}")
                await asyncio.sleep(SWEEP if self._delivering else self._config.first_retry)

    def wake(self) -> None:
        """There may be something new to deliver."""
        for delivery in self._deliveries:
            delivery.wake()

    def figures(self) -> WebhookFigures:
        """How it goes."""
        queues = [delivery.queue for delivery in self._deliveries]
        self._figures.waiting = sum(queue.waiting + queue.held for queue in queues)
        self._figures.dead = sum(queue.dead for queue in (*queues, *self._strangers.values()))
        ages = [delivery.oldest_ms for delivery in self._deliveries if delivery.oldest_ms]
        self._figures.oldest_ms = min(ages, default=0)
        return self._figures

    async def dead(self, after: str, limit: int) -> bytes:
        """JSON of dead letters, in the order of their making: `{"deadLetters":[{id, endpoint, attempts, error, event}],
        "next": id or null}`.

        Args:
            after: The `next` of the page before; empty for the first.
            limit: How many at most.
        """
        found: list[DeadLetter] = []
        for delivery in self._deliveries:
            found += await delivery.queue.dead_letters(after, limit + 1, delivery.shown)
        for key, queue in self._strangers.items():
            found += await queue.dead_letters(after, limit + 1, key)
        return encode_dead(found, limit)

    async def retry(self, ids: Sequence[str] | None) -> int:
        """Have dead letters sent again, in front of what is newer; all with None. Those of endpoints that are no longer
        in the settings stay dead.

        Returns:
            How many.
        """
        total = 0
        for delivery in self._deliveries:
            total += await delivery.queue.send_again(ids, self._now_ms(), self._config.max_waiting)
            delivery.wake()
            delivery.hurry()
        return total

    async def sweep(self) -> None:
        """Count the rows, and hold them to their bounds."""
        key, state = webhooks.c.endpoint, webhooks.c.state
        ours = {delivery.queue.key: delivery.queue for delivery in self._deliveries}
        async with writing(self._database) as connection:
            # Not before: what others wrote until it was our turn is counted.
            before = {name: (queue.waiting, queue.dead) for name, queue in (ours | self._strangers).items()}
            query = select(key, state, func.count()).group_by(key, state)
            numbers = {(row[0], row[1]): int(row[2]) for row in await connection.execute(query)}
            await self._teller.forget_rooms(connection)
        for stranger in {name for name, _ in numbers} - ours.keys() - self._strangers.keys():
            self._strangers[stranger] = Queue(self._database, stranger)
        now_ms = self._now_ms()
        for name, queue in (ours | self._strangers).items():
            # What came and went meanwhile is on top of what was counted.
            waiting, dead = before.get(name, (0, 0))
            queue.waiting = max(0, numbers.get((name, WAITING), 0) + queue.waiting - waiting)
            queue.dead = max(0, numbers.get((name, DEAD), 0) + queue.dead - dead)
            if not self._delivering:  # later it is the delivery alone that holds and frees, and the order depends on it
                queue.held = numbers.get((name, HELD), 0)
            if name in self._strangers:
                before_ms = now_ms - int(1000 * self._config.max_age)
                await queue.give_up("the endpoint is not in the settings", before_ms)
            self._figures.dropped += await queue.drop_dead(self._config.max_dead, now_ms - int(1000 * DEAD_AGE))

    async def _try_to_sweep(self) -> bool:
        try:
            await self.sweep()
        except (SQLAlchemyError, OSError) as error:
            _logger.error("webhooks can't be counted: %s", reason(error))
            return False
        return True

    def _expelled(self, number: int) -> None:
        self._figures.expelled += number
        _logger.error("too many webhooks waited: %d went dead", number)
