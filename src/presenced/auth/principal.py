"""The authenticated user."""

from __future__ import annotations

from typing import NamedTuple

from presenced.presence.model import Display

CAUSES = "causes"
"""Role of users who are notified of the cause of each change."""


class Principal(NamedTuple):
    """User that a token, ticket, callback or function named. Times are epoch seconds."""

    user_id: str
    """Id of the user, as a string."""
    expires_at: float | None = None
    """End of the authentication; None for no end."""
    token_id: str = ""
    """Id by which the token can be revoked: its `jti`, or a digest if it has none."""
    issued_at: float | None = None
    """Time when the token was issued; None if unknown."""
    watch: frozenset[str] | None = None
    """Users visible to this user if the setting visibility is claims or callback; None if the token names none."""
    watch_everyone: bool = False
    """Whether all users are visible to this user if visibility is claims or callback."""
    rooms: frozenset[str] | None = None
    """Rooms that the user may join and watch; None for any room."""
    block: frozenset[str] = frozenset()
    """Users hidden from this user, regardless of the rest of the token."""
    display: Display | None = None
    """Display data that others see; None if the token says nothing about it."""
    roles: tuple[str, ...] = ()
    """Roles. The server gives a meaning to `CAUSES` only."""
