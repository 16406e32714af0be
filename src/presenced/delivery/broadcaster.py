"""The broadcaster: every event to every connection that should receive it, one write per connection and flush.

Most of the cost of fan-out is in the kernel. One `send` of a small message takes 3 to 10 microseconds, depending on the
machine and not on the language of the caller. One `send` of fifty joined messages takes about as long. The rule is
therefore *one write per connection per flush*, however many events the flush holds. Events are encoded once and joined
once, and flushes are spaced out under load.

**When to flush.** When the server is idle, the flush follows one turn of the event loop after the event. `_flush_due`
decides by the time since the end of the last flush, which took t seconds:

    time since then     below 0.1 t     below max(3 t, 50 ms)                above
    flush               no              if the last turn was nearly empty    yes

Under load every turn of the loop has something to do. Most of that makes more events, which join the next flush. So
batches grow by themselves under load, while the latency of an idle server stays one turn, or two shortly after a flush.
Under uvloop a turn accepts hardly more than one connection, so a flush in every turn would join nothing.

The first design was a fixed pause of 0.3 t. Measured on one core with 1,000 connections in a closed loop:

                                      fixed pause    this rule
    deliveries per second             1.8 M          7.4 to 7.6 M
    2,000 users joining at once       1.2 s          0.36 s
    latency below saturation          the same       the same

**Fast and slow connections.** A connection is in one of two states:

    keeps up    its feed includes it in the portions of each flush; one added during a batch receives the later events
    behind      its transport is full, or it still has to receive a snapshot

                                        opened
                                          | catch_up
                       pause, insert      v
        keeps up  ------------------->  behind  ---- for `behind_timeout` seconds ---->  closed
                  <-------------------
                    resume: all missed

A connection that is behind is sent nothing until its transport has drained. Then its feed returns what it missed since
its position. That is the newest event of each key in the state lane, and all events in the log lane
(`delivery.events`). No event is queued for a slow client, so its memory is bounded.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain

from presenced.delivery.batch import Batch
from presenced.delivery.connection import Connection
from presenced.delivery.events import Event, Feed, Missed, Portion
from presenced.errors import Close
from presenced.runtime.clock import Clock, Timer
from presenced.runtime.deadlines import Deadlines
from presenced.runtime.metrics import Metrics

MAX_BATCH_EVENTS = 2_000
"""Number of waiting events, some 200 KB, at which the flush follows immediately."""

MAX_UNREAD_MESSAGES = 100
"""Maximum number of messages that `deliver` lets wait for a connection that is behind. One more closes it."""

MIN_PAUSE_SHARE = 0.1
"""Shortest pause after a flush, as a share of the time that the flush took."""

MAX_PAUSE_SHARE = 3.0
"""Longest pause while the loop is busy, as a share of the time that the flush took."""

LONGEST_WAIT_S = 0.05
"""Seconds that a pause may last while the loop is busy, even if `MAX_PAUSE_SHARE` of the flush is less."""

IDLE_TURN_S = 0.00005
"""Seconds. A turn of the loop that took less counts as empty. An empty turn takes 5 microseconds, and accepting a
connection 30."""

TIMER_RESOLUTION_S = 0.001
"""Seconds. Event loops round timers to milliseconds, so the broadcaster checks in each turn of the last millisecond."""


class BatchWriter:
    """Writes one batch to many connections, through their transports. `transports.fastpath` has faster ones."""

    def write(self, connections: Collection[Connection], batch: Batch) -> int:
        """Write a batch to each connection. Any of them may become paused. Return the number of bytes written."""
        return sum([connection.send_batch(batch) for connection in connections])

    def discard(self, connection: Connection) -> None:
        """Forget a connection, which is about to close. This writer remembers none."""


class Broadcaster:
    """Delivers events to the connections that the feeds name.

    Bounds: at most `MAX_BATCH_EVENTS` wait for a flush. A slow connection holds at most its transport's limit, one
    batch, one round of catching up and `MAX_UNREAD_MESSAGES` delivered messages. It is closed after `behind_timeout`
    seconds.

    Args:
        behind_timeout: Seconds for which a connection may be behind.
        writer: Writes batches to many connections; None to write through their transports.
    """

    def __init__(
        self, *, clock: Clock, timer: Timer, metrics: Metrics, behind_timeout: float, writer: BatchWriter | None = None
    ) -> None:
        self._clock = clock
        self._timer = timer
        self._metrics = metrics
        self._behind_timeout = behind_timeout
        self._writer = writer or BatchWriter()
        self._feeds: list[Feed] = []
        self._first_unsent: dict[Connection, int] = {}  # index in the batch; connections included during it only
        self._behind: dict[Connection, Missed] = {}  # what each connection has yet to receive
        self._delivered: dict[Connection, int] = {}  # number of messages delivered while it is behind
        self._deadlines: Deadlines[Connection] = Deadlines()  # when connections that are behind are closed
        self._batch: list[Event] = []
        self._position = 0  # of the newest event published
        self._sent_position = 0  # of all connections that keep up, except those in `_first_unsent`
        self._scheduled = False
        self._flushed_at = self._flush_took_s = 0.0  # end and duration of the last flush
        self._last_turn_at = 0.0  # last call of `_flush_due`

    def add_feed(self, feed: Feed) -> None:
        """Ask `feed` for portions in each flush, after the feeds added before."""
        self._feeds.append(feed)

    @property
    def behind(self) -> int:
        """Number of connections that must read before they can be brought up to date."""
        return len(self._behind)

    def publish(self, event: Event) -> None:
        """Send `event` with the next flush."""
        for feed in self._feeds:
            feed.published(event)
        self._batch.append(event)
        self._position = event.position
        if len(self._batch) >= MAX_BATCH_EVENTS:
            self._flush()
        elif not self._scheduled:
            self._scheduled = True
            self._clock.call_soon(self._flush_due)

    def deliver(self, connections: Iterable[Connection], message: bytes) -> None:
        """Send a message that is not an event to some connections, after everything published before.

        A connection that is behind receives it after what it has to catch up with now. If more than
        `MAX_UNREAD_MESSAGES` such messages wait for a connection, it is closed with `FELL_BEHIND`.
        """
        self.flush()
        batch = Batch((message,))
        for connection in connections:
            missed = self._behind.get(connection)
            if missed is None:
                connection.send(message)
                continue
            waiting = self._delivered[connection] = self._delivered.get(connection, 0) + 1
            if waiting > MAX_UNREAD_MESSAGES:
                connection.close(Close.FELL_BEHIND, "too many messages were not read; connect again")
            else:
                portion = Portion((connection,), batch, 0)
                self._behind[connection] = Missed(chain(missed.portions, (portion,)), missed.position)

    def add(self, connection: Connection) -> None:
        """Send `connection` everything that is published from now on. It keeps up."""
        connection.protocol.feed.include(connection)
        self._first_unsent[connection] = len(self._batch)

    def catch_up(self, connection: Connection, missed: Missed) -> None:
        """Send `connection`, which has not been added, all of `missed`, then everything published since."""
        self._behind[connection] = missed
        self._send_missed(connection)
        if connection in self._behind:
            self._set_deadline(connection)

    def insert(self, connection: Connection, missed: Missed) -> None:
        """Send `connection`, which has been added, all of `missed` before anything that is published from now on."""
        if (behind := self._behind.get(connection)) is not None:
            # Its position stays, because it has still to receive the changes before `missed`.
            self._behind[connection] = Missed(chain(behind.portions, missed.portions), behind.position)
            self.remind(connection)  # so that a position confirms `missed`, even if nothing is published
        else:
            connection.protocol.feed.exclude(connection)
            self._first_unsent.pop(connection, None)
            self.catch_up(connection, missed)

    def restart_catch_up(self, connection: Connection, missed: Missed) -> None:
        """Send `connection`, which has been added, all of `missed` in place of the portions that it still missed."""
        if connection in self._behind:
            self._behind[connection] = missed
        else:
            self.insert(connection, missed)

    def remind(self, connection: Connection) -> None:
        """Ask the feed again for everything that `connection` missed, even if nothing is published until it has read.

        No-op if it keeps up. A feed brings a connection up to date with more than events, such as the user's own state.
        """
        if (behind := self._behind.get(connection)) is not None:
            # `_send_missed` asks the feed only about a position below the newest.
            self._behind[connection] = Missed(behind.portions, min(behind.position, self._position - 1))

    def discard(self, connection: Connection) -> None:
        """Send `connection` nothing more. No-op if it has not been added."""
        self._writer.discard(connection)
        connection.protocol.feed.exclude(connection)
        self._first_unsent.pop(connection, None)
        self._end_behind(connection)

    @contextmanager
    def changing(self, connection: Connection) -> Iterator[None]:
        """Allow the caller to change the subscription or the visibility of `connection`.

        The connection is sent its part of the batch first, because the old subscription applies to those events. No
        feed includes the connection during the change, so the caller must not publish anything then.
        """
        start = self._first_unsent.get(connection, 0)
        feed: Feed = connection.protocol.feed
        if start < len(self._batch) and connection not in self._behind:
            portion = feed.portion_for(connection, self._batch[start:])
            if portion.batch:
                # Before the write, because a connection that pauses during it has received its part.
                self._first_unsent[connection] = len(self._batch)
                self._send(connection, portion)
        kept_up = feed.exclude(connection)
        try:
            yield
        finally:
            if kept_up:
                self.add(connection)

    def flush(self) -> None:
        """Send everything published so far now."""
        if self._batch:
            self._flush()

    def send(self, portions: Sequence[Portion], position: int) -> None:
        """Send portions that are not part of a flush to connections that keep up. The caller has called `flush`.

        Args:
            position: Position of the portions. A connection that is behind receives their content when it catches up.
        """
        assert not self._batch, "the caller has flushed: a connection at this position has received all before it"
        self._position = self._sent_position = position
        # A sequence and not an iterator: if a write pauses a connection, the remaining portions include it all the
        # same, so it has reached `position`.
        for portion in portions:
            self._write(portion)

    def pause(self, connection: Connection) -> None:
        """Treat `connection`, whose transport is full, as behind. No-op if it does not keep up already."""
        if connection not in self._behind and connection.protocol.feed.exclude(connection):
            # It has everything up to where it was included, or else everything up to the last flush.
            index = self._first_unsent.pop(connection, 0)
            self._behind[connection] = Missed(
                iter(()), self._batch[index - 1].position if index else self._sent_position
            )
            self._set_deadline(connection)

    def resume(self, connection: Connection) -> None:
        """Send `connection`, whose transport has drained, everything that it missed. Afterwards it keeps up again."""
        if connection in self._behind:
            self._send_missed(connection)

    def _send_missed(self, connection: Connection) -> None:
        """Send portions until the transport is full, the connection keeps up, or it is closed."""
        while not connection.paused and (missed := self._behind.get(connection)) is not None:
            if (portion := next(missed.portions, None)) is not None:
                self._send(connection, portion)
            elif missed.position >= self._position:
                self._end_behind(connection)
                self.add(connection)
            elif (more := connection.protocol.feed.missed(connection, missed.position)) is not None:
                assert more.position > missed.position, "a feed that makes no progress would loop forever"
                self._behind[connection] = more
            else:
                connection.close(Close.FELL_BEHIND, "too many changes were missed; connect again")

    def _send(self, connection: Connection, portion: Portion) -> None:
        self._count(portion.changes, connection.send_batch(portion.batch))

    def _write(self, portion: Portion) -> None:
        written = self._writer.write(portion.connections, portion.batch)
        self._count(portion.changes * len(portion.connections), written)

    def _set_deadline(self, connection: Connection) -> None:
        self._deadlines.set(connection, self._clock.monotonic() + self._behind_timeout)
        self._set_timer()

    def _end_behind(self, connection: Connection) -> None:
        if self._behind.pop(connection, None) is not None:
            self._delivered.pop(connection, None)
            self._deadlines.cancel(connection)

    def _set_timer(self) -> None:
        if (deadline := self._deadlines.next()) is not None:
            self._timer.set(self._close_late, deadline)

    def _close_late(self) -> None:
        while (connection := self._deadlines.pop_due(self._clock.monotonic())) is not None:
            connection.close(Close.FELL_BEHIND, "reading too slowly")
        self._set_timer()

    def _flush_due(self) -> None:
        """Flush, unless a later turn is better (see the head of this file)."""
        now = self._clock.monotonic()
        turn, self._last_turn_at = now - self._last_turn_at, now
        waited = now - self._flushed_at
        if (left := MIN_PAUSE_SHARE * self._flush_took_s - waited) > TIMER_RESOLUTION_S:
            self._clock.call_at(now + left - TIMER_RESOLUTION_S, self._flush_due)
        elif left > 0 or (turn > IDLE_TURN_S and waited < max(LONGEST_WAIT_S, MAX_PAUSE_SHARE * self._flush_took_s)):
            self._clock.call_soon(self._flush_due)
        else:
            self._scheduled = False
            self.flush()

    def _flush(self) -> None:
        started = self._clock.monotonic()
        batch, first_unsent = self._batch, self._first_unsent
        # Before the first write, because a connection that pauses during its write has received the whole batch.
        self._batch, self._first_unsent, self._sent_position = [], {}, self._position
        for feed in self._feeds:
            for portion in feed.portions(batch, first_unsent):
                self._write(portion)
        self._flushed_at = self._clock.monotonic()
        self._flush_took_s = self._flushed_at - started
        self._metrics.flush_changes.observe(len(batch))
        self._metrics.flush_seconds.observe(self._flush_took_s)

    def _count(self, changes: int, size: int) -> None:
        self._metrics.deliveries.inc(changes)
        self._metrics.sent_bytes.inc(size)
