"""Visibility: the users a viewer may see, the users they block, and the rooms they may enter.

All filtering goes through here. A viewer sees a user

    1. never, if the viewer blocks the user;
    2. always, if the user is the viewer;
    3. if the viewer's token, or the setting `visibility`, allows everyone or names the user;
    4. in a room that both are in, regardless of the rest.

`Visibility` is that of one session. It does not apply rule 4, because a session receives the members of a room together
with the room. `node.viewer_scope.ViewerScope` is that of a user with all sessions, for the HTTP API. It applies all
rules.
"""

from __future__ import annotations

from collections.abc import Collection

from msgspec import Struct
from msgspec.structs import force_setattr

from presenced.presence.subscriptions import Selection

MAX_BLOCKED_USERS = 1_000
"""Maximum number of users that a session blocks. A token with more is refused."""

NOBODY: frozenset[str] = frozenset()
"""No users."""


class Visibility(Struct, frozen=True):
    """Users and rooms that one session may see. A session always sees its own user.

    A blocked user is invisible everywhere, in rooms too. A user who is merely not among `users` is visible in rooms.
    """

    everyone: bool
    """Whether everyone except the blocked users is visible."""
    users: frozenset[str] = NOBODY
    """Visible users, if `everyone` is False. Blocked ones are removed."""
    rooms: frozenset[str] | None = None
    """Rooms that it may enter; None for all."""
    blocked: frozenset[str] = NOBODY
    """Users that the session's user blocks."""
    causes: bool = False
    """Whether the session receives the causes of changes, even if the setting `show_causes` is off."""

    def __post_init__(self) -> None:
        force_setattr(self, "users", self.users - self.blocked)

    def may_enter(self, room: str) -> bool:
        """Return whether the session may join and subscribe to a room, and see all its members but blocked ones."""
        return self.rooms is None or room in self.rooms

    def sees(self, user_id: str) -> bool:
        """Return whether the user is visible, apart from rooms."""
        return user_id not in self.blocked if self.everyone else user_id in self.users

    def among(self, users: Collection[str]) -> Collection[str]:
        """Return the visible ones of `users`, apart from rooms."""
        if self.everyone:
            return set(users) - self.blocked if self.blocked else users
        return self.users.intersection(users)

    def visible_part(self, selection: Selection) -> Selection:
        """Return the visible part of a selection. Everyone becomes all users who are visible."""
        if self.everyone and not self.blocked:
            return selection
        named = self.users if selection.everyone and not self.everyone else self.among(selection.users)
        return Selection(selection.everyone and self.everyone, set(named), selection.rooms)

    def restrict(self, selection: Selection) -> None:
        """Remove from a selection the rooms that the session may not enter."""
        if self.rooms is not None:
            selection.rooms &= self.rooms


EVERYTHING = Visibility(everyone=True)
"""Visibility without any restriction."""
