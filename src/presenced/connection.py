"""One open WebSocket, as the engine and what is around it see it."""

from __future__ import annotations

from typing import Any, Protocol

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
    heard_at: float
    slice: int
