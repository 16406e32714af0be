"""Heartbeats by slices: whom to ping now, and who did not answer. No timer per connection."""

from __future__ import annotations

from typing import Generic, NamedTuple, Protocol, TypeVar

SLICES = 60
"""An interval is cut into so many ticks; each tick pings one slice of the connections."""

MIN_TICKS_TO_ANSWER = 2
"""However short the time-out, a peer gets so many ticks: between two ticks the sockets are read at least once."""


class Pingable(Protocol):
    """What a sweep needs on a connection."""

    heard_at: float
    """Monotonic seconds when the peer last sent anything at all."""
    slice: int
    """The slice it is in, -1 when in none. Only the sweep writes it."""

    def __hash__(self) -> int: ...


C = TypeVar("C", bound=Pingable)


class Beat(NamedTuple):
    """What comes next for one connection, in seconds, or in ticks."""

    pinged_in: float
    times_out_in: float | None
    """It has been pinged, and was not heard since; None when nothing is awaited of it."""


class Sweep(Generic[C]):
    """Pings every connection once in `interval` seconds and names those silent for `timeout` after a ping.

    The time to answer is counted in ticks, not on a clock: while the process was stopped or the loop was held, no
    tick went by, so that time is never held against a peer. It is `timeout` rounded down to whole ticks.

    Args:
        interval: Seconds between two pings of one connection, above 0.
        timeout: Seconds a peer has to send something after a ping, at most `interval`.
    """

    __slots__ = ("_current", "_next", "_pinged_at", "_slices", "_ticks_to_answer", "tick_seconds")

    def __init__(self, interval: float, timeout: float) -> None:
        assert 0 < timeout <= interval, "checked with the settings"
        self.tick_seconds = interval / SLICES
        self._ticks_to_answer = max(MIN_TICKS_TO_ANSWER, int(timeout / self.tick_seconds))
        self._slices: list[dict[C, None]] = [{} for _ in range(SLICES)]
        self._pinged_at = [float("-inf")] * SLICES
        self._current = 0
        self._next = 0

    def add(self, connection: C) -> None:
        """Ping `connection` from now on. Neighbours in time go to different slices, which levels the load."""
        self._next = (self._next + 1) % SLICES
        connection.slice = self._next
        self._slices[self._next][connection] = None

    def discard(self, connection: C) -> None:
        """Ping `connection` no more; no-op when it is not swept."""
        if connection.slice >= 0:
            del self._slices[connection.slice][connection]
            connection.slice = -1

    def ahead(self, connection: C) -> Beat:
        """In how many ticks `connection`, which is swept, is pinged next, and named when it stays silent."""
        since = (self._current - connection.slice) % SLICES
        left = self._ticks_to_answer - since
        is_awaited = left > 0 and connection.heard_at < self._pinged_at[connection.slice]
        return Beat(SLICES - since, left if is_awaited else None)

    def tick(self, now: float) -> tuple[list[C], list[C]]:
        """Go one slice on; to be called every `tick_seconds`.

        Returns:
            The connections to ping now, and those that sent nothing since their last ping.
        """
        self._current = (self._current + 1) % SLICES
        judged = (self._current - self._ticks_to_answer) % SLICES
        asked_at = self._pinged_at[judged]
        silent = [c for c in self._slices[judged] if c.heard_at < asked_at]
        self._pinged_at[self._current] = now
        return list(self._slices[self._current]), silent
