"""The statistics: `get_stats()` in Python, `/stats` by HTTP."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from typing import Any, Protocol

from msgspec import Struct

from presenced.presence.model import Status
from presenced.presence.users import Users
from presenced.protocols.ids import wire_user_id
from presenced.runtime.instant import Instant, timestamp

MAX_PAGE = 1000
"""Sessions in one page of the statistics at most."""


class Counted(Protocol):
    """What is told of a connection."""

    user_id: str
    serial: int
    connection_id: str
    opened_ms: int
    heard_at: float


class SessionStats(Struct, frozen=True, rename="camel"):
    """One active session."""

    user_id: int | str
    connection_id: str
    connected_at: str
    last_seen: str
    """When the client last sent anything, a pong included."""


class Stats(Struct, frozen=True, rename="camel"):
    """Statistics of this moment, and one page of the active sessions, oldest first."""

    connected_users: int
    """Users with an open connection, each counted once."""
    online_users: int
    """Users shown online: also those a grace or an announcement holds."""
    total_connections: int
    user_sessions: list[SessionStats]
    next: int | None
    """What to pass as `after` for the next page; None when this is the last."""


def statistics(users: Users[Any], connections: Mapping[int, Counted], limit: int, after: int, now: Instant) -> Stats:
    """Those with the `limit` sessions whose serial follows `after`. O(connections).

    Who is invisible is in the numbers, without a name.
    """
    seen = (c for n, c in connections.items() if n > after and users.status(c.user_id) is not Status.OFFLINE)
    found = list(islice(seen, limit + 1))
    sessions = [
        SessionStats(
            wire_user_id(c.user_id),
            c.connection_id,
            timestamp(c.opened_ms),
            timestamp(now.epoch_ms - int((now.monotonic - c.heard_at) * 1000)),
        )
        for c in found[:limit]
    ]
    following = found[limit - 1].serial if limit and len(found) > limit else None
    return Stats(users.connected_users, users.online_users, len(connections), sessions, following)
