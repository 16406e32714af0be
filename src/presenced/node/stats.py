"""Statistics of a running server: `get_stats()` in Python, `/stats` over HTTP."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice

from msgspec import Struct

from presenced.delivery.connection import Connection
from presenced.presence.model import Status
from presenced.presence.users import Users
from presenced.protocols.ids import wire_user_id
from presenced.runtime.instant import Instant, timestamp

MAX_PAGE_SESSIONS = 1000
"""Maximum number of sessions in one page of the statistics."""


class SessionStats(Struct, frozen=True, rename="camel"):
    """One active session."""

    user_id: int | str
    """Id of the user."""
    connection_id: str
    """Id of the connection."""
    connected_at: str
    """Opening time of the connection in ISO 8601."""
    last_seen: str
    """Time of the last input from the client, a pong included, in ISO 8601."""


class Stats(Struct, frozen=True, rename="camel"):
    """Current statistics, and one page of the active sessions, oldest first."""

    connected_users: int
    """Users with an open connection, each counted once."""
    online_users: int
    """Users shown online, including users with only a grace period or an announcement."""
    total_connections: int
    """Open connections."""
    user_sessions: list[SessionStats]
    """Active sessions of users who are not invisible."""
    next: int | None
    """Value of `after` for the next page; None on the last page."""


def statistics(
    users: Users[Connection], connections: Mapping[int, Connection], limit: int, after: int, now: Instant
) -> Stats:
    """Return the statistics with the `limit` sessions whose serial number follows `after`. O(connections).

    Invisible users are part of the numbers of connections, but their sessions are left out.
    """
    visible = (c for n, c in connections.items() if n > after and users.status(c.user_id) is not Status.OFFLINE)
    found = list(islice(visible, limit + 1))
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
