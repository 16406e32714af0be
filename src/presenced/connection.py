"""One open WebSocket, as the engine and what is around it see it."""

from __future__ import annotations

from math import inf, nextafter
from typing import Any, Protocol

from presenced.core.model import Instant
from presenced.core.presence import Session
from presenced.outbox import Feed, Watcher


class Connection(Watcher, Protocol):
    """What is needed of it; `transports.websocket` has it."""

    feed: Feed
    """Set by the engine, as all that follow."""
    session: Session[Any]
    user_id: str
    """Empty until the engine has accepted it."""
    connection_id: str
    address: str
    """As whom it counts where addresses are limited; empty when it does not."""
    opened_ms: int
    opened_at: float
    """Monotonic opening time, which equals `heard_at` until the client sends something; minus infinity if it sent
    something before that."""
    heard_at: float
    slice: int


def mark_opened(connection: Connection, now: Instant) -> None:
    """Set the times of an admitted connection. A client that sent AUTH has already been heard."""
    connection.opened_ms = now.epoch_ms
    # The next representable time after now, so that input in the same tick of a coarse clock still differs from it.
    opened_at = nextafter(now.monotonic, inf)
    connection.opened_at = -inf if connection.heard_at else opened_at
    connection.heard_at = opened_at


def unheard_age(connection: Connection, now: Instant) -> float:
    """Return the seconds since a connection opened if its client has sent nothing since, otherwise infinity."""
    return now.monotonic - connection.opened_at if connection.heard_at == connection.opened_at else inf
