"""State of the client's connection."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from presenced_client.errors import PresenceError
from presenced_client.session import Outcome

State = Literal["idle", "connecting", "open", "waiting", "closed", "failed"]


@dataclass(frozen=True, slots=True)
class Connection:
    """State of the connection. Times are epoch milliseconds on this machine's clock; 0 means none."""

    state: State
    """`waiting`: before the next attempt. `closed`: left, or without a token. `failed`: refused for good."""
    stale: bool
    """Whether what is shown may be old: not open, not caught up, or the server has just started, or has lost the store
    that it shares with other servers."""
    error: PresenceError | None
    """Why the last connection ended; None while it is open."""
    since: int
    """When this state began."""
    attempt: int
    """Number of failed attempts in a row."""
    retry_at: int
    """When the next attempt begins."""
    latency: float
    """Milliseconds of the last measured round trip; 0 if not measured yet."""
    outcome: Outcome
    """How the last connection continued: `resumed`, `resynced` (everything was sent again) or `new-session`."""
