"""The end of a server: closing its connections so that their return does not overrun the next one."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

from presenced.delivery.connection import Connection
from presenced.errors import Close

LONGEST_DRAIN = 2.0
"""Seconds that closing all connections is spread over at most."""

WAVE = 0.05
"""Seconds between two waves."""

FIRST_RETURN = 0.1
"""Seconds until the first client is to reconnect."""

SLOWEST_RETURN = 0.01
"""Seconds between two clients when few reconnect. The best measured rate is for plain connections, while a TLS
handshake or a call to a backend takes some milliseconds."""

LEAST_SPREAD = 1.0
"""Seconds over which the reconnects of 100 or more clients are spread, regardless of the rate."""


def close_in_waves(connections: Sequence[Connection], pace: float) -> Iterator[float]:
    """Close all connections (1001), some with each item.

    Each client of presenced.v1 receives a different delay before it reconnects (`return_times`). Classic clients choose
    their own.

    Args:
        pace: Connections per second that a server like this one is known to accept.

    Yields:
        Seconds to wait before the next item.
    """
    waves = max(1, int(min(len(connections) / pace, LONGEST_DRAIN) / WAVE))
    times = return_times(len(connections), pace)
    for wave in range(waves):
        for connection, wait in zip(connections[wave::waves], times[wave::waves], strict=True):
            connection.protocol.goodbye(connection, wait)
            connection.close(Close.GOING_AWAY, "the server is stopping")
        if wave < waves - 1:
            yield WAVE


def return_times(count: int, pace: float) -> list[float]:
    """Return one delay in seconds from the close for each client: in random order, all different.

    Together they span the time that accepting the clients takes. Each client has a slot and a random place in the first
    half of it. Delays therefore differ by at least half a slot, since a client's clock may be coarse.
    """
    spread = max(count / pace, min(count * SLOWEST_RETURN, LEAST_SPREAD))
    slots = random.sample(range(count), count)
    return [round(FIRST_RETURN + (slot + random.uniform(0, 0.5)) * spread / count, 6) for slot in slots]  # noqa: S311  # no secret
