"""Fan-out: every change to every watcher, one write per watcher and flush, however many changes ride in it.

The cost law is one `send` per watcher per flush: the kernel's share of a flush is four fifths and more, so changes are
encoded once, joined once, and flushes are spaced out under load (`docs/architecture.md`, "The broadcaster").
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import Protocol

from presenced.errors import Close
from presenced.protocols.base import Event, Feed, Missed, Portion, Watcher
from presenced.protocols.framing import WORTH_DEFLATING
from presenced.runtime.clock import Clock, Timer
from presenced.runtime.metrics import Metrics

MAX_BATCH = 2_000
"""Changes of one batch, some 200 KB; one more makes the flush happen at once."""

SHORTEST_PAUSE = 0.1
"""Pause after a flush, as a share of the time it took, before there is another one."""

LONGEST_PAUSE = 3.0
"""The same, for as long as the loop finds other work in every turn. Under load that work is more changes, which then
ride in one flush: with 1,000 watchers 7 M deliveries/s instead of 1.8 M, at the same latency below saturation."""

LONGEST_WAIT = 0.05
"""Seconds: under such load the pause may be so long however few the watchers are, and how soon a flush is done."""

IDLE_TURN = 0.00005
"""Seconds. A turn of the loop that took less had nothing to do (5 microseconds; taking a connection takes 30)."""

TIMER_RESOLUTION = 0.001
"""Seconds. Loops round their timers to milliseconds, which may be more than the pause: the last one is waited turn by
turn."""


class Writers(Protocol):
    """Writes the same to many: `Alone`, or `transports.fastpath.writers`."""

    def write(self, watchers: Collection[Watcher], data: bytes) -> None:
        """Write `data`, finished frames, to each of `watchers`, which may become paused by it."""

    def discard(self, watcher: Watcher) -> None:
        """`watcher` is written to no more."""


class Alone:
    """Implements `Writers`, one after the other, whatever they are."""

    def write(self, watchers: Collection[Watcher], data: bytes) -> None:
        """Write `data` to each of `watchers`."""
        for watcher in watchers:
            watcher.send(data)

    def discard(self, watcher: Watcher) -> None:
        """Nothing is kept."""


class Broadcaster:
    """Watchers, and the batch of changes they have not been sent.

    A watcher is in one of two places: it keeps up, in its feed, and gets each batch (one that joined during the batch
    what came after its joining); or it is behind: it read too slowly and gets nothing until its transport has drained,
    then what it missed since its position, and joins again.

    Bounds: the batch by `MAX_BATCH`; a slow watcher's buffer by the transport's limit, plus one batch, plus one
    round of catching up; the time it may stay behind by `behind_timeout`.
    """

    def __init__(
        self,
        clock: Clock,
        timer: Timer,
        metrics: Metrics,
        feeds: Sequence[Feed],
        behind_timeout: float,
        writers: Writers | None = None,
        deflate: Callable[[bytes], bytes] | None = None,
    ) -> None:
        self._clock = clock
        self._timer = timer
        self._metrics = metrics
        self._feeds = feeds
        self._behind_timeout = behind_timeout
        self._writers = writers or Alone()
        self._deflate = deflate
        self._joined: dict[Watcher, int] = {}  # the index in the batch from which on it gets the changes
        self._behind: dict[Watcher, Missed] = {}  # what each has still to be sent
        self._batch: list[Event] = []
        self._position = 0  # of the newest change published
        self._sent = 0  # the position of those that keep up and did not join during the batch
        self._scheduled = False
        self._flushed_at = self._took = self._looked_at = 0.0

    @property
    def behind(self) -> int:
        """Watchers that are not up to date and have to read first."""
        return len(self._behind)

    def publish(self, change: Event) -> None:
        """Send `change` to whoever watches its user."""
        self._batch.append(change)
        self._position = change.position
        if len(self._batch) >= MAX_BATCH:
            self._flush()
        elif not self._scheduled:
            self._scheduled = True
            self._clock.call_soon(self._flush_due)

    def add(self, watcher: Watcher) -> None:
        """Send `watcher` what is published from now on."""
        watcher.feed.join(watcher)
        self._joined[watcher] = len(self._batch)

    def catch_up(self, watcher: Watcher, missed: Missed) -> None:
        """Send `watcher`, which is not here yet, all of `missed`, then what was published since."""
        self._behind[watcher] = missed
        self._watch_behind(watcher)
        self._go_on(watcher)

    def insert(self, watcher: Watcher, missed: Missed) -> None:
        """Send `watcher`, which is here, all of `missed` before anything that is published from now on."""
        if (behind := self._behind.get(watcher)) is not None:
            self._behind[watcher] = Missed(chain(behind.portions, missed.portions), behind.position)
        else:
            watcher.feed.leave(watcher)
            self._joined.pop(watcher, None)
            self.catch_up(watcher, missed)

    def begin_again(self, watcher: Watcher, missed: Missed) -> None:
        """Send `watcher`, which is here, all of `missed` in place of what it still was to be sent."""
        if watcher in self._behind:
            self._behind[watcher] = missed
        else:
            self.insert(watcher, missed)

    def remind(self, watcher: Watcher) -> None:
        """Have its feed asked what `watcher` missed, if it is behind, also when nothing is published until it has read.

        There is more than changes that a feed brings it up to date with.
        """
        if (behind := self._behind.get(watcher)) is not None:
            self._behind[watcher] = Missed(behind.portions, min(behind.position, self._position - 1))

    def discard(self, watcher: Watcher) -> None:
        """Send `watcher` nothing more; no-op when it is not here."""
        self._writers.discard(watcher)
        watcher.feed.leave(watcher)
        self._joined.pop(watcher, None)
        self._no_longer_behind(watcher)

    @contextmanager
    def changing(self, watcher: Watcher, part: Callable[[Watcher, Sequence[Event]], Portion]) -> Iterator[None]:
        """Within it, what `watcher` watches may become something else: it is sent its part of the batch before.

        Args:
            part: What a watcher is to be sent of some events.
        """
        start = self._joined.get(watcher, 0)
        if start < len(self._batch) and watcher not in self._behind:
            portion = part(watcher, self._batch[start:])
            if portion.data:
                self._send(watcher, portion)
        kept_up = watcher.feed.leave(watcher)
        try:
            yield
        finally:
            if kept_up:
                self.add(watcher)

    def flush(self) -> None:
        """Send what has been published, now."""
        if self._batch:
            self._flush()

    def send(self, portions: Sequence[Portion], position: int) -> None:
        """Send something besides the batch, after a `flush`, to watchers that keep up.

        Args:
            position: A new one: whoever is behind is told of this, too, when they catch up.
        """
        assert not self._batch, "it was flushed: who has this position has everything before it"
        self._position = self._sent = position
        for portion in portions:  # complete before the first write: a watcher that it fills up has them all
            self._write(portion)

    def pause(self, watcher: Watcher) -> None:
        """The transport of `watcher` is full: from here on it is behind. No-op when it is not a watcher (any more)."""
        if watcher not in self._behind and watcher.feed.leave(watcher):
            index = self._joined.pop(watcher, 0)
            self._behind[watcher] = Missed(iter(()), self._batch[index - 1].position if index else self._sent)
            self._watch_behind(watcher)

    def resume(self, watcher: Watcher) -> None:
        """The transport of `watcher` has drained: send what it missed; once that is all, it keeps up again."""
        if watcher in self._behind:
            self._go_on(watcher)

    def _go_on(self, watcher: Watcher) -> None:
        while not watcher.paused and (missed := self._behind.get(watcher)) is not None:
            if (portion := next(missed.portions, None)) is not None:
                self._send(watcher, portion)
            elif missed.position >= self._position:
                self._no_longer_behind(watcher)
                self.add(watcher)
            elif (more := watcher.feed.missed(watcher, missed.position)) is not None:
                assert more.position > missed.position, "there is something newer"
                self._behind[watcher] = more
            else:
                watcher.close(Close.FELL_BEHIND, "too many changes were missed; connect again")

    def _send(self, watcher: Watcher, portion: Portion) -> None:
        self._count(portion.changes, len(portion.data))
        watcher.send(portion.data)

    def _write(self, portion: Portion) -> None:
        watchers, data = portion.watchers, portion.data
        if self._deflate is not None and len(data) >= WORTH_DEFLATING:
            deflating = [watcher for watcher in watchers if watcher.deflates]
            if deflating:  # once for all
                deflated = self._deflate(data)
                self._count(portion.changes * len(deflating), len(deflated) * len(deflating))
                self._writers.write(deflating, deflated)
                watchers = [watcher for watcher in watchers if not watcher.deflates]
        self._count(portion.changes * len(watchers), len(data) * len(watchers))
        self._writers.write(watchers, data)

    def _watch_behind(self, watcher: Watcher) -> None:
        self._timer.set(watcher.fall_behind, self._clock.monotonic() + self._behind_timeout)

    def _no_longer_behind(self, watcher: Watcher) -> None:
        if self._behind.pop(watcher, None) is not None:
            self._timer.cancel(watcher.fall_behind)

    def _flush_due(self) -> None:
        """Flush, unless it is better to look again in a later turn.

        Under uvloop a turn takes hardly more than one new connection, so flushing in every turn would coalesce
        nothing. There is a pause, therefore: it lasts until the loop has a turn with nothing to do, within bounds
        that follow from the time the last flush took. When idle, a change is flushed one turn after it happened.
        """
        now = self._clock.monotonic()
        turn, self._looked_at = now - self._looked_at, now
        waited = now - self._flushed_at
        if (left := SHORTEST_PAUSE * self._took - waited) > TIMER_RESOLUTION:
            self._clock.call_at(now + left - TIMER_RESOLUTION, self._flush_due)
        elif left > 0 or (turn > IDLE_TURN and waited < max(LONGEST_WAIT, LONGEST_PAUSE * self._took)):
            self._clock.call_soon(self._flush_due)
        else:
            self._scheduled = False
            if self._batch:
                self._flush()

    def _flush(self) -> None:
        started = self._clock.monotonic()
        batch, joined = self._batch, self._joined
        # Before the first write: a watcher that it fills up has the whole batch.
        self._batch, self._joined, self._sent = [], {}, self._position
        for feed in self._feeds:
            for portion in feed.portions(batch, joined):
                self._write(portion)
        self._flushed_at = self._clock.monotonic()
        self._took = self._flushed_at - started
        self._metrics.flush_changes.observe(len(batch))
        self._metrics.flush_seconds.observe(self._took)

    def _count(self, changes: int, size: int) -> None:
        self._metrics.deliveries.inc(changes)
        self._metrics.sent.inc(size)
