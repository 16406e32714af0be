"""Dispatcher of webhooks: all endpoints together, as the storage worker uses them.

This is the outbox pattern. The transaction that stores a change also queues its events, so an event exists exactly
when its change is stored, and survives any crash. A delivery for each endpoint reads its queue and sends.

    records ──▶ producer ──▶ queue of endpoint 1 ──▶ delivery 1 ──▶ receiver
                  │   └──▶ queue of endpoint 2 ──▶ delivery 2 ──▶ receiver
              last state sent                     (one request at a time)

- Delivery is at least once. A repeated event has the same id, and so has a repeated request.
- Events of one user or room arrive in order. A slow endpoint does not delay another.
- A failed request is retried with exponential back-off for a day. Then its events become dead letters, which the HTTP
  API lists and sends again on request.
- After a restart, the worker compares the last state sent with the live state (`worker.absence_check`). So receivers
  learn of users who did not return.

Bounds for each endpoint: one request at a time, `max_waiting` waiting events, `max_dead` dead letters, and 30 days for
a dead letter. The oldest waiting events become dead letters, and the oldest dead letters are deleted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import msgspec
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncEngine

from presenced.storage.answers import DeadLetter, DeadLetters
from presenced.storage.database import writing
from presenced.storage.schema import webhooks
from presenced.webhooks.config import WebhookConfig
from presenced.webhooks.delivery import EndpointDelivery
from presenced.webhooks.outage import DatabaseOutage, is_database_failure
from presenced.webhooks.producer import WebhookProducer
from presenced.webhooks.queue import DEAD, HELD, WAITING, EndpointQueue
from presenced.webhooks.sender import EndpointSender, endpoint_key
from presenced.webhooks.stats import WebhookStats

SWEEP_INTERVAL_S = 60.0
"""Seconds between two counts of the rows."""

MAX_DEAD_AGE_S = 30 * 86_400.0
"""Seconds after which a dead letter is deleted."""


class WebhookDispatcher:
    """Queues events for all endpoints and delivers them. Only one process may deliver from a database.

    Args:
        now_ms: Function that returns the time in epoch milliseconds.

    Raises:
        ConfigError: A URL or a secret is invalid.
    """

    def __init__(self, database: AsyncEngine, config: WebhookConfig, now_ms: Callable[[], int]) -> None:
        self._database = database
        self._config = config
        self._now_ms = now_ms
        self._stats = WebhookStats()
        self._outage = DatabaseOutage(database.url)
        self._is_delivering = False
        self._deliveries = [
            EndpointDelivery(
                EndpointQueue(database, endpoint_key(url)),
                EndpointSender(url, config),
                config,
                self._stats,
                now_ms,
                self._outage,
            )
            for url in config.urls
        ]
        self._removed: dict[str, EndpointQueue] = {}  # by key: endpoints that are not in the settings, but have rows
        self.producer = WebhookProducer(
            dialect=database.dialect.name,
            queues=[delivery.queue for delivery in self._deliveries],
            config=config,
            stats=self._stats,
            now_ms=now_ms,
        )

    @property
    def is_idle(self) -> bool:
        """Whether every endpoint waits for new events."""
        return all(delivery.is_idle for delivery in self._deliveries)

    async def run(self, delivers: bool = True) -> None:
        """Deliver until cancelled. It may run again afterwards.

        Args:
            delivers: False for a process that only queues events. It counts them, because the bounds need that.
        """
        self._is_delivering = False
        async with asyncio.TaskGroup() as tasks:
            while True:
                try:
                    await self.sweep()
                except Exception as error:
                    if not is_database_failure(error):
                        raise
                    self._outage.failed("sweep", error)
                else:
                    self._outage.succeeded("sweep")
                    # Not before the first count: rows held earlier must be known.
                    if delivers and not self._is_delivering:
                        self._is_delivering = True
                        for delivery in self._deliveries:
                            tasks.create_task(delivery.run(), name=f"presenced: webhooks to {delivery.display_url}")
                is_counted = self._is_delivering or not delivers
                await asyncio.sleep(SWEEP_INTERVAL_S if is_counted else self._config.first_retry_s)

    def report_nothing(self) -> None:
        """Report nothing, because another process delivers now."""
        for delivery in self._deliveries:
            delivery.oldest_ms = 0
        for queue in (*(delivery.queue for delivery in self._deliveries), *self._removed.values()):
            queue.waiting = queue.held = queue.dead = 0

    def wake(self) -> None:
        """Deliver new events, because a transaction that may have queued some is committed."""
        for delivery in self._deliveries:
            delivery.wake()

    def stats(self) -> WebhookStats:
        """Return the statistics."""
        queues = [delivery.queue for delivery in self._deliveries]
        self._stats.waiting = sum(queue.waiting + queue.held for queue in queues)
        self._stats.dead = sum(queue.dead for queue in (*queues, *self._removed.values()))
        ages = [delivery.oldest_ms for delivery in self._deliveries if delivery.oldest_ms]
        self._stats.oldest_ms = min(ages, default=0)
        return self._stats

    async def dead_letters(self, after: str, limit: int) -> bytes:
        """Return a page of dead letters as JSON (`storage.answers.DeadLetters`), in the order of their creation.

        Args:
            after: `next` of the previous page; empty for the first page.
        """
        found: list[DeadLetter] = []
        for delivery in self._deliveries:
            found += await delivery.queue.dead_letters(after, limit + 1, delivery.display_url)
        for key, queue in self._removed.items():
            found += await queue.dead_letters(after, limit + 1, key)
        found.sort(key=lambda letter: letter.id)
        page = found[:limit]
        return msgspec.json.encode(DeadLetters(page, page[-1].id if len(found) > limit else None))

    async def retry_dead(self, row_ids: Sequence[str] | None) -> bytes:
        """Send dead letters again, before newer events. Return their number as JSON: `{"retried": number}`.

        Dead letters of endpoints that are no longer in the settings stay dead.

        Args:
            row_ids: None for all of them.
        """
        total = 0
        for delivery in self._deliveries:
            total += await delivery.queue.requeue_dead(row_ids, self._now_ms(), self._config.max_waiting)
            delivery.wake(at_once=True)
        return b'{"retried":%d}' % total

    async def sweep(self) -> None:
        """Count the rows of every endpoint, and enforce the bounds."""
        ours = {delivery.queue.key: delivery.queue for delivery in self._deliveries}
        key, state = webhooks.c.endpoint, webhooks.c.state
        async with writing(self._database) as connection:
            # Read after `writing` has waited for its turn: rows written meanwhile are in the count below.
            queues = (ours | self._removed).items()
            before = {name: (queue.waiting, queue.held, queue.dead) for name, queue in queues}
            query = select(key, state, func.count()).group_by(key, state)
            counts = {(row[0], row[1]): int(row[2]) for row in await connection.execute(query)}
            await self.producer.forget_rooms(connection)
        for name in {name for name, _ in counts} - ours.keys() - self._removed.keys():
            self._removed[name] = EndpointQueue(self._database, name)
        for name, queue in (ours | self._removed).items():
            # The count does not include rows added and removed since then.
            waiting, held, dead = before.get(name, (0, 0, 0))
            queue.waiting = max(0, counts.get((name, WAITING), 0) + queue.waiting - waiting)
            queue.held = max(0, counts.get((name, HELD), 0) + queue.held - held)
            queue.dead = max(0, counts.get((name, DEAD), 0) + queue.dead - dead)
            await self._enforce_bounds(queue)

    async def _enforce_bounds(self, queue: EndpointQueue) -> None:
        now_ms = self._now_ms()
        if queue.key in self._removed:
            before_ms = now_ms - int(1000 * self._config.max_age_s)
            await queue.expire("the endpoint is not in the settings", before_ms)
        deleted = await queue.delete_dead(self._config.max_dead, now_ms - int(1000 * MAX_DEAD_AGE_S))
        self._stats.dropped += deleted
