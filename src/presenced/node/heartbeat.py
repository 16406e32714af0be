"""The heartbeat: pings every connection and closes those that do not answer.

There is no timer per connection. An interval is divided into `SLICES` ticks, and each connection is in one slice. A
tick pings the connections of the next slice, and checks whether those of the slice pinged `timeout` ago have answered:

    slices     0   1   2   3   4   5   6   7  ...  59
                       ^ checked       ^ pinged now          both move on by one at each tick

The time to answer is counted in ticks and not on a clock. While the process is stopped or the event loop is blocked, no
tick happens, so that time does not count against a client. Between two ticks the sockets are read at least once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import Generic, Protocol, TypeVar

from presenced.config.settings import Settings
from presenced.delivery.connection import Connection
from presenced.errors import Close
from presenced.node.event_log import EventLog
from presenced.presence.explain import NextHeartbeat
from presenced.runtime.clock import Clock, Timer
from presenced.runtime.metrics import Metrics

MAX_LAG_S = 1.0
"""Seconds of delay of a tick above which no new connection is accepted, until a tick is on time again."""

SLICES = 60
"""Number of ticks in an interval. Each tick pings one slice of the connections."""

MIN_TICKS_TO_ANSWER = 2
"""Minimum number of ticks that a client has to answer, even if the timeout is shorter."""


class Pingable(Protocol):
    """The parts of a connection that a sweep uses."""

    heard_at: float
    """Monotonic seconds when the client last sent anything."""
    slice: int
    """Number of its slice; -1 if it is in none. Only the sweep sets it."""

    def __hash__(self) -> int: ...


P = TypeVar("P", bound=Pingable)


class Sweep(Generic[P]):
    """Selects the connections to ping and those that did not answer. It sends nothing and reads no clock.

    The time to answer is `timeout`, rounded down to whole ticks, but at least `MIN_TICKS_TO_ANSWER`.

    Args:
        interval: Seconds between two pings of one connection, above 0.
        timeout: Seconds that a client has to send something after a ping, at most `interval`.
    """

    def __init__(self, interval: float, timeout: float) -> None:
        assert 0 < timeout <= interval, "checked with the settings"
        self.tick_s = interval / SLICES
        self._ticks_to_answer = max(MIN_TICKS_TO_ANSWER, int(timeout / self.tick_s))
        self._slices: list[dict[P, None]] = [{} for _ in range(SLICES)]
        self._pinged_at = [float("-inf")] * SLICES  # when each slice was pinged last
        self._current = 0  # slice that was pinged last
        self._last_filled = 0  # slice of the connection added last

    def add(self, connection: P) -> None:
        """Ping `connection` from now on. Consecutive connections go to different slices, which levels the load."""
        self._last_filled = (self._last_filled + 1) % SLICES
        connection.slice = self._last_filled
        self._slices[self._last_filled][connection] = None

    def discard(self, connection: P) -> None:
        """Stop pinging `connection`. No-op if it is in no slice."""
        if connection.slice >= 0:
            del self._slices[connection.slice][connection]
            connection.slice = -1

    def next_heartbeat_in_ticks(self, connection: P) -> tuple[int, int | None]:
        """Return the ticks until `connection` is pinged next, and until it is closed if it stays silent.

        The second is None unless it was pinged and has sent nothing since.
        """
        since = (self._current - connection.slice) % SLICES
        left = self._ticks_to_answer - since
        is_awaited = left > 0 and connection.heard_at < self._pinged_at[connection.slice]
        return SLICES - since, left if is_awaited else None

    def tick(self, now: float) -> tuple[list[P], list[P]]:
        """Move on by one slice. The caller does this every `tick_s`.

        Returns:
            Connections to ping now, and connections that sent nothing since their last ping.
        """
        self._current = (self._current + 1) % SLICES
        checked = (self._current - self._ticks_to_answer) % SLICES
        pinged_at = self._pinged_at[checked]
        silent = [c for c in self._slices[checked] if c.heard_at < pinged_at]
        self._pinged_at[self._current] = now
        return list(self._slices[self._current]), silent


@dataclass(eq=False, repr=False)
class Heartbeat:
    """Pings each connection once in `heartbeat_interval`, and closes it if it does not answer within `pong_timeout`.

    Bounds: the connections added.
    """

    settings: Settings
    clock: Clock
    timer: Timer
    metrics: Metrics
    log: EventLog
    on_tick: Callable[[], None]
    """Function called at every tick."""

    def __post_init__(self) -> None:
        self._sweep: Sweep[Connection] = Sweep(self.settings.heartbeat_interval, self.settings.pong_timeout)
        self._unsent_at_ping: dict[Connection, int] = {}  # bytes, of connections that were slow when a ping was due
        self._due = self._lag = 0.0  # monotonic time of the next tick, and delay of the last one

    @property
    def is_behind(self) -> bool:
        """Whether the event loop cannot keep up."""
        return self._lag > MAX_LAG_S

    def start(self) -> None:
        """Start ticking."""
        self._due = self.clock.monotonic() + self._sweep.tick_s
        self.timer.set(self._tick, self._due)

    def add(self, connection: Connection) -> None:
        """Ping a connection from now on."""
        self._sweep.add(connection)

    def discard(self, connection: Connection) -> None:
        """Stop pinging a connection."""
        self._sweep.discard(connection)
        self._unsent_at_ping.pop(connection, None)

    def next_heartbeat(self, connection: Connection) -> NextHeartbeat:
        """Return the seconds until `connection` is pinged next, and until it is closed if it stays silent."""
        tick_s, first_tick_in = self._sweep.tick_s, self._due - self.clock.monotonic()
        ping, silent = self._sweep.next_heartbeat_in_ticks(connection)
        return NextHeartbeat(
            first_tick_in + (ping - 1) * tick_s,
            None if silent is None else first_tick_in + (silent - 1) * tick_s,
        )

    def _tick(self) -> None:
        now = self.clock.monotonic()
        self._lag = max(0.0, now - self._due)
        self.metrics.loop_lag.observe(self._lag)
        to_ping, silent = self._sweep.tick(now)
        for connection in silent:
            unsent_before = self._unsent_at_ping.pop(connection, inf)
            # A slow client cannot be pinged, and responds to an earlier ping only after what its transport holds. It
            # counts as alive while it reads some of that, and until the next check if it was pinged before it was slow.
            if not (connection.paused and connection.unsent < unsent_before):
                self.metrics.heartbeats_failed.inc()
                self.log.heartbeat_failed(connection.user_id)
                connection.close(Close.TIMED_OUT, "no answer to a ping")
        for connection in to_ping:
            if connection.slice < 0:  # closed above: with a timeout as long as the interval, both lists are one slice
                continue
            if connection.paused:
                self._unsent_at_ping[connection] = connection.unsent
            else:
                self._unsent_at_ping.pop(connection, None)
                connection.ping()
        self.on_tick()
        # Counted from now, not from when this tick was due, because missed ticks must not follow all at once.
        self._due = now + self._sweep.tick_s
        self.timer.set(self._tick, self._due)
