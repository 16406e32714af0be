"""Delivery to one endpoint: one request at a time, in order, until every event is accepted or too old.

A failed request is repeated before anything newer is sent, so that the events of one user stay in order:

| failure | next request |
|---|---|
| first and second in a row | the same events with the same id, so that the receiver can recognise a repetition |
| third and further ones | the first half of these events, each time, down to one |
| one event alone is refused | it is held: events of its subject wait, events of other subjects are sent |
| no response, 429, 502, 503, 504 | as in the first two rows; nothing is held, because the event is not the reason |
| 410 Gone | none of these events: everything that waits becomes a dead letter |

The delay grows with each failure in a row (`retry_delay`), or is what the receiver requests with `Retry-After`.
After each success, the size of batches doubles until it is full again.

An event is deleted after the receiver has accepted it, in a second step. A process that dies in between sends it again
with the same id: delivery is at least once.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import accumulate

from presenced.webhooks.config import WebhookConfig
from presenced.webhooks.events import batch_id, encode_batch
from presenced.webhooks.outage import DatabaseOutage, is_database_failure
from presenced.webhooks.queue import EndpointQueue, QueuedEvent
from presenced.webhooks.sender import GONE, EndpointSender, SendResult
from presenced.webhooks.stats import WebhookStats

MAX_REQUEST_BYTES = 262_144
"""Approximate maximum number of bytes of the events in one request. A larger event is sent alone."""

IDENTICAL_RETRIES = 2
"""Number of retries with the same events. Each further retry sends half as many."""

MAX_HELD_EVENTS = 100
"""Maximum number of held events. With one more refused event, all events wait for it."""

_logger = logging.getLogger("presenced")


class EndpointDelivery:
    """Sends the events in `queue`.

    Bounds: one request, with `config.batch_size` events; `MAX_HELD_EVENTS` held events.
    """

    def __init__(
        self,
        queue: EndpointQueue,
        sender: EndpointSender,
        config: WebhookConfig,
        stats: WebhookStats,
        now_ms: Callable[[], int],
        outage: DatabaseOutage,
    ) -> None:
        self.queue = queue
        self.display_url = sender.display_url
        self.oldest_ms = 0
        """Time at which the oldest waiting event was queued, in epoch milliseconds; 0 if none waits."""
        self.is_idle = False
        """Whether the delivery waits for new events."""
        self._sender = sender
        self._config = config
        self._stats = stats
        self._now_ms = now_ms
        self._outage = outage
        self._has_fault = False  # the last step failed because of a fault of this server, which is logged
        self._batch_size = config.batch_size
        self._failures = 0  # requests that failed in a row
        self._retry_ids: list[str] = []  # rows of the next request, if it repeats one that failed
        self._delivered: list[QueuedEvent] = []  # accepted, but not deleted yet
        self._delivered_held = False  # whether `_delivered` is a held event
        self._has_waited = False  # the next request has waited for its batch to fill
        self._has_new = False  # `wake` was called since the last step began
        self._wake_up = asyncio.Event()

    def wake(self, at_once: bool = False) -> None:
        """Look for new events. During the delay after a failure this does nothing unless `at_once`."""
        self._has_new = True
        if self.is_idle or at_once:
            self._wake_up.set()

    async def run(self) -> None:
        """Deliver until cancelled. Retries when the database fails."""
        try:
            while True:
                try:
                    pause_s = await self._step()
                    self._outage.succeeded(self.queue.key)  # each step reads the queue
                    self._has_fault = False
                except Exception as error:  # other endpoints and the storage in this process must continue
                    self._report(error)
                    pause_s = self._config.first_retry_s
                with contextlib.suppress(TimeoutError):  # it is time for the next attempt
                    async with asyncio.timeout(pause_s):
                        await self._wake_up.wait()
                self.is_idle = False
                self._wake_up.clear()
        finally:
            await self._sender.close()

    def _report(self, error: Exception) -> None:
        """Log why a step failed: once, although it is repeated until it succeeds."""
        if is_database_failure(error):
            self._outage.failed(self.queue.key, error)
        elif not self._has_fault:
            self._has_fault = True
            _logger.error("webhooks to %s wait because of a server fault", self.display_url, exc_info=error)

    async def _step(self) -> float:
        """Send one request, if there is something to send. Return the seconds to wait before the next step."""
        self._has_new = False
        if self._delivered:
            await self._delete_delivered()
        if self.queue.held:
            due = await self.queue.due_held(self._now_ms(), int(self._config.max_retry_s * 1000))
            if due:
                return await self._send(due, is_held=True)
        events = await self.queue.still_waiting(self._retry_ids) if self._retry_ids else []
        events = _fitting(events or await self.queue.oldest(self._batch_size))
        if not events:
            self.oldest_ms = 0
            self.is_idle = not self._has_new
            return self._config.poll_s if self.is_idle else 0
        self.oldest_ms = events[0].created_ms
        if len(events) < self._batch_size and not self._has_waited and not self._failures:
            self._has_waited = True  # a flag, not a time: the clock may be set back
            return self._config.batch_wait_s
        return await self._send(events, is_held=False)

    async def _send(self, events: Sequence[QueuedEvent], is_held: bool) -> float:
        """Send events in one request. Return the seconds to wait before the next step."""
        self._has_waited = False
        body = encode_batch([event.payload for event in events], events[-1].created_ms)
        result = await self._sender.send(batch_id([event.event_id for event in events]), body, self._now_ms())
        self._stats.count_request(result.duration_s)
        self._stats.retried += sum(event.attempts > 0 for event in events)
        if result.error:
            self._stats.failed += 1
            pause_s = await self._handle_failure(events, result, is_held)
            await self.queue.expire(result.error, self._now_ms() - int(1000 * self._config.max_age_s))
            return pause_s
        if self._failures:
            _logger.warning("webhooks to %s are accepted again", self.display_url)
        self._failures = 0
        self._batch_size = min(self._batch_size * 2, self._config.batch_size)
        self._retry_ids = []
        self._delivered, self._delivered_held = list(events), is_held
        await self._delete_delivered()
        return 0

    async def _delete_delivered(self) -> None:
        """Delete accepted events. Until this succeeds nothing is sent: the next request would contain them again."""
        await self.queue.delete_delivered(self._delivered, self._delivered_held)
        self._stats.delivered += len(self._delivered)
        self._delivered = []

    async def _handle_failure(self, events: Sequence[QueuedEvent], result: SendResult, is_held: bool) -> float:
        """Decide what the next request contains (see the table above). Return the seconds to wait before it."""
        if is_held and result.is_refused:  # only the held event waits longer, because the endpoint itself works
            next_ms = self._now_ms() + int(1000 * self._delay_s(events[0].attempts + 1))
            await self.queue.record_failure(events, result.error, next_ms)
            return 0
        self._failures += 1
        if self._failures == 1:
            _logger.warning("webhooks to %s are not accepted, and will be retried: %s", self.display_url, result.error)
        delay_s = max(self._delay_s(self._failures), result.retry_after_s)
        if result.status == GONE:
            self._retry_ids = []
            await self.queue.record_failure(events, result.error, self._now_ms())
            # A day ahead, because events queued before the clock was set back have a time in the future.
            await self.queue.expire(result.error, before_ms=self._now_ms() + 86_400_000)
            return delay_s
        next_ms = self._now_ms() + int(1000 * delay_s)
        is_repeated = self._failures > IDENTICAL_RETRIES
        if not is_held and len(events) == 1 and result.is_refused and is_repeated and self.queue.held < MAX_HELD_EVENTS:
            self._retry_ids = []
            await self.queue.hold(events[0], result.error, next_ms)
            return delay_s
        await self.queue.record_failure(events, result.error, next_ms)
        if not is_held:
            if is_repeated:
                events = events[: max(1, len(events) // 2)]
                self._batch_size = len(events)
            self._retry_ids = [event.row_id for event in events]
        return delay_s

    def _delay_s(self, failures: int) -> float:
        jitter = random.random()  # noqa: S311  # the delay need not be secret
        return retry_delay(failures, self._config.first_retry_s, self._config.max_retry_s, jitter)


def _fitting(events: list[QueuedEvent]) -> list[QueuedEvent]:
    """Return the first events, as many as fit into one request."""
    sizes = list(accumulate(len(event.payload) for event in events))
    return events[: max(1, bisect_right(sizes, MAX_REQUEST_BYTES))]


def retry_delay(failures: int, first_s: float, max_s: float, jitter: float) -> float:
    """Return the seconds to wait after this many failures in a row: exponential back-off with full jitter.

    Args:
        failures: At least 1.
        first_s: Longest delay after one failure. It doubles with each further failure, up to `max_s`.
        jitter: Random number in [0, 1).
    """
    return float(min(max_s, first_s * 2 ** min(failures - 1, 30)) * jitter)
