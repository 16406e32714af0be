"""The end of a server: closing its connections so that their return does not overrun the next one."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

from presenced.core.messages import GoingAway
from presenced.errors import Close
from presenced.feeds.v1 import V1Feed
from presenced.outbox import Watcher
from presenced.wire import v1

LONGEST_DRAIN = 2.0
"""Seconds that closing all connections is spread over at most."""

WAVE = 0.05
"""Seconds between two waves."""

FIRST_RETURN = 0.1
"""Seconds after which the first client is asked to come back."""

SLOWEST_RETURN = 0.01
"""Seconds from one client to the next, where only a few are to come back. The best pace that a server has seen is one
of plain connections; a TLS handshake or a question to a backend takes some milliseconds."""

LEAST_SPREAD = 1.0
"""Seconds over which the return of clients is spread without regard to the pace: 100 of them and more."""


def close_in_waves(connections: Sequence[Watcher], feed: V1Feed, pace: float) -> Iterator[float]:
    """Close them all (1001), some with each item.

    Each client of presenced.v1 is told another time after which to come back (`return_times`). Classic clients have
    their own ideas of it.

    Args:
        pace: Connections a second that a server like this one is known to accept.

    Yields:
        Seconds to wait before the next item is asked for.
    """
    waves = max(1, int(min(len(connections) / pace, LONGEST_DRAIN) / WAVE))
    times = return_times(len(connections), pace)
    for wave in range(waves):
        for connection, wait in zip(connections[wave::waves], times[wave::waves], strict=True):
            if feed.keeps_up(connection):
                connection.send(v1.frame(GoingAway(wait)))
            connection.close(Close.GOING_AWAY, "the server is stopping")
        if wave < waves - 1:
            yield WAVE


def return_times(count: int, pace: float) -> list[float]:
    """Return one time for each of so many clients, in seconds from their close: in random order, no two the same.

    Together they take as long as accepting the clients does. Each has a slot of its own, and a random place in its
    first half, so that times differ by half a slot at least; a client's clock may be coarser.
    """
    spread = max(count / pace, min(count * SLOWEST_RETURN, LEAST_SPREAD))
    slots = random.sample(range(count), count)
    return [round(FIRST_RETURN + (slot + random.uniform(0, 0.5)) * spread / count, 6) for slot in slots]  # noqa: S311  # no secret
