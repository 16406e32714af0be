"""What is known of somebody who has shown who they are."""

from __future__ import annotations

from typing import NamedTuple

from presenced.presence.model import Display

CAUSES = "causes"
"""The role of those who are told why others changed."""


class Principal(NamedTuple):
    """A user, and on what it rests that it is them. Times are epoch seconds."""

    user_id: str
    expires_at: float | None = None
    """When this has to be shown anew; None: never."""
    token_id: str = ""
    """By which what was shown can be revoked: the token's `jti`, or a digest of what has none."""
    issued_at: float | None = None
    """When the token was made; None when it does not say."""
    watch: frozenset[str] | None = None
    """Whom the user may see, where the setting visibility is claims; None: nobody is named."""
    watch_everyone: bool = False
    """It may see everyone all the same."""
    rooms: frozenset[str] | None = None
    """The rooms the user may enter; None: any."""
    block: frozenset[str] = frozenset()
    """Whom the user does not see, whatever else is said."""
    display: Display | None = None
    """What others see of the user beside how available they are; None: nothing is said of that."""
    roles: tuple[str, ...] = ()
    """Of these `CAUSES` means something here."""
