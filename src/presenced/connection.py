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
    """Monotonic time of its opening, which `heard_at` equals until something comes; minus infinity if its client was
    heard before that."""
    heard_at: float
    slice: int


def mark_opened(connection: Connection, now: Instant) -> None:
    """Set the times of a connection that is let in. A client that sent AUTH was heard before."""
    connection.opened_ms = now.epoch_ms
    # Next to any time that the clock shows: what comes in the same instant, by a coarse clock, differs from it.
    opened_at = nextafter(now.monotonic, inf)
    connection.opened_at = -inf if connection.heard_at else opened_at
    connection.heard_at = opened_at


def unheard_age(connection: Connection, now: Instant) -> float:
    """Return the seconds since a connection opened if nothing has come from its client since, else infinity."""
    return now.monotonic - connection.opened_at if connection.heard_at == connection.opened_at else inf
