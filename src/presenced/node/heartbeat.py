"""The heartbeat: asks every connection whether it is still there, and drops those that don't answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from presenced.config.settings import Settings
from presenced.delivery.connection import Connection
from presenced.errors import Close
from presenced.node.event_log import EventLog
from presenced.presence.heartbeat import Beat, Sweep
from presenced.runtime.clock import Clock, Timer
from presenced.runtime.metrics import Metrics

MAX_LAG = 1.0
"""Seconds that a tick came late, from which on no new connection is taken until one comes in time again."""


C = TypeVar("C", bound=Connection)


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
                connection.ping()
        self._also()
        # From now, not from when it was due: after a pause the ticks missed are not made up for (`Sweep`).
        self._due = now + self._sweep.tick_seconds
        self._timer.set(self._tick, self._due)
