"""Changes for tests, built from plain values."""

from __future__ import annotations

from presenced.presence.model import Cause, Change, Status, StatusDetails, View
from presenced.runtime.instant import Instant


def change_of(
    user_id: str,
    position: int,
    status: str = "online",
    was: str = "offline",
    cause: str = "connect",
    *,
    at_ms: int,
    since_ms: int | None = None,
    seen_ms: int = 0,
    text: str = "",
    emoji: str = "",
    data: bytes = b"",
    until_ms: int = 0,
    devices: tuple[str, ...] = (),
    display: bytes = b"",
) -> Change:
    """Return a change whose version is its position. `since_ms` defaults to `at_ms`."""
    return Change(
        position,
        user_id,
        View(Status(status), StatusDetails(text, emoji, data, until_ms), devices, display),
        Status(was),
        position,
        Instant(at_ms / 1000, at_ms),
        at_ms if since_ms is None else since_ms,
        seen_ms,
        Cause(cause),
    )
