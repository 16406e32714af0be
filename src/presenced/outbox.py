"""Fan-out: every change to every watcher, one write per watcher and flush, however many changes ride in it.

The cost law is one `send` per watcher per flush: the kernel's share of a write is over nine tenths, so changes are
encoded once, joined once, and flushes are spaced out under load (`docs/architecture.md`, "The outbox").
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from presenced.clock import Clock, Timer
from presenced.core.model import Change
from presenced.errors import Close
from presenced.metrics import Metrics

MAX_BATCH = 262_144
"""Bytes of one batch; a change that would exceed it makes the flush happen at once."""

CATCH_UP = 256
"""Changes written at a time to a watcher that catches up: some 20 KB, well below a transport's write buffer."""

SHORTEST_PAUSE = 0.3
"""Pause after a flush, as a share of the time it took, before there is another one."""

LONGEST_PAUSE = 3.0
"""The same, for as long as the loop finds other work in every turn. Under load that work is more changes, which then
ride in one flush: with 1,000 watchers 7 M deliveries/s instead of 1.8 M, at the same latency below saturation."""

IDLE_TURN = 0.00005
"""Seconds. A turn of the loop that took less had nothing to do (5 microseconds; taking a connection takes 30)."""

TIMER_RESOLUTION = 0.001
"""Seconds. Loops round their timers to milliseconds, which may be more than the pause: the last one is waited turn by
turn."""


class Watcher(Protocol):
    """A connection that hears of everyone."""

    @property
    def paused(self) -> bool:
        """Its transport holds more than it should: write nothing more."""

    @property
    def send(self) -> Callable[[bytes], None]:
        """Hand finished frames to the transport. Never raises; may make `paused` true."""

    def close(self, close: Close, reason: str = "") -> None:
        """Close the connection; it is discarded from here by that."""

    def fall_behind(self) -> None:
        """Close the connection because it read too slowly for too long."""

    def __hash__(self) -> int: ...


class Outbox:
    """Watchers, and the batch of changes they have not been sent.

    A watcher is in one of three places: `watchers` get every batch whole; those that joined during the batch
    (`fresh`) get the part after their joining; those that read too slowly (`behind`) get nothing until their
    transport has drained, then the changes since their position, each user once, and join again.

    Bounds: the batch by `MAX_BATCH`; a slow watcher's buffer by the transport's limit, plus one batch, plus one
    round of catching up; the time it may stay behind by `behind_timeout`.

    Args:
        since: The changes after a position, each user once, or None: `Directory.since`.
        encode: A change as a finished frame.
    """

    def __init__(
        self,
        clock: Clock,
        timer: Timer,
        metrics: Metrics,
        since: Callable[[int, int], list[Change] | None],
        encode: Callable[[Change], bytes],
        behind_timeout: float,
    ) -> None:
        self._clock = clock
        self._timer = timer
        self._metrics = metrics
        self._since = since
        self._encode = encode
        self._behind_timeout = behind_timeout
        self._watchers: dict[Watcher, None] = {}
        self._fresh: dict[Watcher, tuple[int, int]] = {}  # where in the batch it joined: bytes, and position
        self._behind: dict[Watcher, int] = {}  # the position up to which it has everything
        self._frames: list[bytes] = []
        self._size = 0
        self._position = 0  # of the newest change published
        self._sent = 0  # the position that `watchers` are at
        self._scheduled = False
        self._flushed_at = self._took = self._looked_at = 0.0

    def __len__(self) -> int:
        return len(self._watchers) + len(self._fresh) + len(self._behind)

    @property
    def behind(self) -> int:
        """Watchers that read too slowly at the moment."""
        return len(self._behind)

    def publish(self, change: Change) -> None:
        """Send `change` to every watcher there is now."""
        frame = self._encode(change)
        self._frames.append(frame)
        self._size += len(frame)
        self._position = change.position
        if self._size >= MAX_BATCH:
            self._flush()
        elif not self._scheduled:
            self._scheduled = True
            self._clock.call_soon(self._flush_due)

    def add(self, watcher: Watcher) -> None:
        """Send `watcher` every change published from now on."""
        self._fresh[watcher] = (self._size, self._position)

    def discard(self, watcher: Watcher) -> None:
        """Send `watcher` nothing more; no-op when it is not here."""
        self._watchers.pop(watcher, None)
        self._fresh.pop(watcher, None)
        self._no_longer_behind(watcher)

    def pause(self, watcher: Watcher) -> None:
        """The transport of `watcher` is full: from here on it is behind. No-op when it is not a watcher (any more)."""
        if watcher in self._watchers:
            del self._watchers[watcher]
            position = self._sent
        elif watcher in self._fresh:
            position = self._fresh.pop(watcher)[1]
        else:
            return
        self._behind[watcher] = position
        self._timer.set(watcher.fall_behind, self._clock.monotonic() + self._behind_timeout)

    def resume(self, watcher: Watcher) -> None:
        """The transport of `watcher` has drained: send what it missed; once that is all, it is a watcher again."""
        position = self._behind.get(watcher)
        while position is not None and not watcher.paused:
            missed = self._since(position, CATCH_UP)
            if missed is None:
                watcher.close(Close.FELL_BEHIND, "too many changes were missed; connect again")
                return
            if not missed:
                self._no_longer_behind(watcher)
                self.add(watcher)
                return
            position = self._behind[watcher] = missed[-1].position
            data = b"".join(map(self._encode, missed))
            self._count(len(missed), len(data))
            watcher.send(data)

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
        elif left > 0 or (turn > IDLE_TURN and waited < LONGEST_PAUSE * self._took):
            self._clock.call_soon(self._flush_due)
        else:
            self._scheduled = False
            if self._frames:
                self._flush()

    def _flush(self) -> None:
        started = self._clock.monotonic()
        changes, batch = len(self._frames), b"".join(self._frames)
        watchers, fresh = tuple(self._watchers), self._fresh
        self._frames, self._size, self._fresh = [], 0, {}
        self._watchers.update(dict.fromkeys(fresh))
        self._sent = self._position  # before the first write: a watcher that it fills up has the whole batch
        for watcher in watchers:
            watcher.send(batch)
        self._count(changes * len(watchers), len(batch) * len(watchers))
        for watcher, (offset, position) in fresh.items():
            watcher.send(batch[offset:])
            self._count(self._position - position, len(batch) - offset)
        self._flushed_at = self._clock.monotonic()
        self._took = self._flushed_at - started
        self._metrics.flush_changes.observe(changes)
        self._metrics.flush_seconds.observe(self._took)

    def _count(self, deliveries: int, size: int) -> None:
        self._metrics.deliveries.inc(deliveries)
        self._metrics.sent.inc(size)
