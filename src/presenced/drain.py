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
"""Seconds after which the first clients are asked to come back."""


def close_in_waves(connections: Sequence[Watcher], feed: V1Feed, pace: float) -> Iterator[float]:
    """Close them all (1001), some with each item.

    Clients of presenced.v1 are told when to come back, each at another time, over as long as a server takes to accept
    them all; others have their own ideas of it.

    Args:
        pace: Connections a second that a server like this one is known to accept.

    Yields:
        Seconds to wait before the next item is asked for.
    """
    spread = len(connections) / pace
    waves = max(1, int(min(spread, LONGEST_DRAIN) / WAVE))
    for wave in range(waves):
        for connection in connections[wave::waves]:
            if feed.keeps_up(connection):
                wait = FIRST_RETURN + random.uniform(0, spread)  # noqa: S311  # no secret
                connection.send(v1.frame(GoingAway(round(wait, 3))))
            connection.close(Close.GOING_AWAY, "the server is stopping")
        if wave < waves - 1:
            yield WAVE
