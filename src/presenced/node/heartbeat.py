"""The heartbeat: asks every connection whether it is still there, and drops those that don't answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from presenced.config.settings import Settings
from presenced.errors import Close
from presenced.node.event_log import EventLog
from presenced.presence.explain import Beat
from presenced.protocols.base import Watcher
from presenced.protocols.framing import PING_FRAME
from presenced.runtime.clock import Clock, Timer
from presenced.runtime.metrics import Metrics

MAX_LAG = 1.0
"""Seconds that a tick came late, from which on no new connection is taken until one comes in time again."""


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


P = TypeVar("P", bound=Pingable)


class Sweep(Generic[P]):
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
        self._slices: list[dict[P, None]] = [{} for _ in range(SLICES)]
        self._pinged_at = [float("-inf")] * SLICES
        self._current = 0
        self._next = 0

    def add(self, connection: P) -> None:
        """Ping `connection` from now on. Neighbours in time go to different slices, which levels the load."""
        self._next = (self._next + 1) % SLICES
        connection.slice = self._next
        self._slices[self._next][connection] = None

    def discard(self, connection: P) -> None:
        """Ping `connection` no more; no-op when it is not swept."""
        if connection.slice >= 0:
            del self._slices[connection.slice][connection]
            connection.slice = -1

    def ahead(self, connection: P) -> Beat:
        """In how many ticks `connection`, which is swept, is pinged next, and named when it stays silent."""
        since = (self._current - connection.slice) % SLICES
        left = self._ticks_to_answer - since
        is_awaited = left > 0 and connection.heard_at < self._pinged_at[connection.slice]
        return Beat(SLICES - since, left if is_awaited else None)

    def tick(self, now: float) -> tuple[list[P], list[P]]:
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


class Beating(Watcher, Protocol):
    """A connection that is asked."""

    user_id: str
    heard_at: float
    slice: int


C = TypeVar("C", bound=Beating)


class Heartbeat(Generic[C]):
    """Pings each connection once in `heartbeat_interval`.

    Bounds: by the connections added.

    Args:
        also: Called at every tick.
    """

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        timer: Timer,
        metrics: Metrics,
        log: EventLog,
        also: Callable[[], None],
    ) -> None:
        self._clock = clock
        self._timer = timer
        self._metrics = metrics
        self._log = log
        self._also = also
        self._sweep: Sweep[C] = Sweep(settings.heartbeat_interval, settings.pong_timeout)
        self._unsent_when_asked: dict[C, int] = {}
        self._due = self._lag = 0.0

    @property
    def is_behind(self) -> bool:
        """The loop has more to do than it can."""
        return self._lag > MAX_LAG

    def start(self) -> None:
        """Begin."""
        self._due = self._clock.monotonic() + self._sweep.tick_seconds
        self._timer.set(self._tick, self._due)

    def add(self, connection: C) -> None:
        """Ask it from now on."""
        self._sweep.add(connection)

    def discard(self, connection: C) -> None:
        """Ask it no more."""
        self._sweep.discard(connection)
        self._unsent_when_asked.pop(connection, None)

    def of(self, connection: C) -> Beat:
        """In how many seconds `connection`, one of those added, is pinged next, and dropped when it stays silent."""
        tick, first = self._sweep.tick_seconds, self._due - self._clock.monotonic()
        ping, silent = self._sweep.ahead(connection)
        return Beat(first + (ping - 1) * tick, None if silent is None else first + (silent - 1) * tick)

    def _tick(self) -> None:
        now = self._clock.monotonic()
        self._lag = max(0.0, now - self._due)
        self._metrics.loop_lag.observe(self._lag)
        to_ping, silent = self._sweep.tick(now)
        for connection in silent:
            # A slow one can't be asked, but it is there as long as it takes some of what its transport holds.
            if not (connection.paused and connection.unsent < self._unsent_when_asked.pop(connection, 0)):
                self._metrics.heartbeats_failed.inc()
                self._log.heartbeat_failed(connection.user_id)
                connection.close(Close.TIMED_OUT, "no answer to a ping")
        for connection in to_ping:
            if connection.paused:
                self._unsent_when_asked[connection] = connection.unsent
            else:
                connection.send(PING_FRAME)
        self._also()
        # From now, not from when it was due: after a pause the ticks missed are not made up for (`Sweep`).
        self._due = now + self._sweep.tick_seconds
        self._timer.set(self._tick, self._due)
