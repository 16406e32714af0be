"""Shutdown: closes all connections so that the reconnects do not overload the next server.

If all connections closed at once, all clients would reconnect at once. So the closes are spread over up to
`MAX_DRAIN_S` seconds. Clients of presenced.v1 also receive delays. These spread the reconnects over the time that
accepting all clients takes, at the best rate that this server has measured (`runtime.limits.Pace`). The classic
protocol has no such message, so classic clients are spread only by the waves and by their own back-off.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from presenced.delivery.connection import Connection
from presenced.errors import Close
from presenced.presence.session import Session

MAX_DRAIN_S = 2.0
"""Maximum number of seconds over which the closing of all connections is spread."""

WAVE_S = 0.05
"""Seconds between two waves."""

FIRST_RETURN_S = 0.1
"""Seconds until the first client should reconnect."""

MAX_RETURN_GAP_S = 0.01
"""Maximum number of seconds between two reconnects when few clients reconnect. The measured rate may be that of plain
connections, while a TLS handshake or a call to a backend takes some milliseconds."""

MIN_SPREAD_S = 1.0
"""Minimum number of seconds over which the reconnects of 100 or more clients are spread, even at a high rate."""


def close_in_waves(
    connections: Sequence[Connection], pace: float, save: Callable[[Session[Any]], None] | None = None
) -> Iterator[float]:
    """Close all connections (1001), one wave per iteration.

    Each client of presenced.v1 receives a delay before it reconnects (`return_times`).

    Args:
        pace: Connections per second that a server like this one is known to accept.
        save: Saves the session of each connection first, for the other nodes of a cluster.

    Yields:
        Seconds to wait before the next iteration.
    """
    waves = max(1, int(min(len(connections) / pace, MAX_DRAIN_S) / WAVE_S))
    times = return_times(len(connections), pace)
    for wave in range(waves):
        for connection, wait in zip(connections[wave::waves], times[wave::waves], strict=True):
            if save is not None:
                save(connection.session)
            connection.protocol.goodbye(connection, wait)
            connection.close(Close.GOING_AWAY, "the server is stopping")
        if wave < waves - 1:
            yield WAVE_S


def return_times(count: int, pace: float) -> list[float]:
    """Return one delay in seconds from the close for each client: in random order, all different.

    Together they span the time that accepting the clients takes. Each client has a slot, and a random place in the
    first half of it. So two delays differ by at least half a slot, because a client's clock may be coarse.
    """
    spread = return_spread(count, pace)
    slots = random.sample(range(count), count)
    places = [slot + random.uniform(0, 0.5) for slot in slots]  # noqa: S311  # a delay is no secret
    return [round(FIRST_RETURN_S + place * spread / count, 6) for place in places]


def return_spread(count: int, pace: float) -> float:
    """Return the seconds over which the reconnects of so many clients are spread."""
    return max(count / pace, min(count * MAX_RETURN_GAP_S, MIN_SPREAD_S))
