"""Visibility: the users a viewer may see, the users they block, and the rooms they may enter.

All filtering goes through here. A viewer sees a user

    1. never, if the viewer blocks the user;
    2. always, if the user is the viewer;
    3. if the viewer's token, or the setting `visibility`, allows everyone or names the user;
    4. in a room that both are in, regardless of the rest.

`Visibility` is that of one session and knows nothing of rooms' members, because a session is sent a room's members with
the room. `ViewerVisibility` is that of a user with all sessions, as the HTTP API shows it, and includes rooms.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence

from msgspec import Struct
from msgspec.structs import force_setattr

from presenced.presence.subscriptions import Selection

MAX_BLOCKED = 1_000
"""Maximum number of users that a session blocks. A token with more is refused."""

NOBODY: frozenset[str] = frozenset()


class Visibility(Struct, frozen=True):
    """Users and rooms that one session may see. A session always sees its own user.

    A blocked user is invisible everywhere, in rooms too. A user who is merely not among `users` is visible in rooms.
    """

    everyone: bool
    """Whether everyone except the blocked users is visible."""
    users: frozenset[str] = NOBODY
    """The visible users, unless `everyone`. Blocked ones are removed."""
    rooms: frozenset[str] | None = None
    """Rooms that it may enter; None for all."""
    blocked: frozenset[str] = NOBODY
    causes: bool = False
    """Whether the session receives the causes of changes, even if the setting `show_causes` is off."""

    def __post_init__(self) -> None:
        force_setattr(self, "users", self.users - self.blocked)

    def may_enter(self, room: str) -> bool:
        """Return whether the session may join and subscribe to a room. Then it sees all members but blocked ones."""
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
        part = Selection(selection.everyone and self.everyone, named)
        part.rooms = selection.rooms
        return part

    def restrict(self, selection: Selection) -> None:
        """Remove the rooms that may not be entered from a selection."""
        if self.rooms is not None:
            selection.rooms &= self.rooms


EVERYTHING = Visibility(everyone=True)


class ViewerVisibility:
    """Users and rooms that a user may see: what any of their sessions may see.

    Args:
        viewer: User id; empty for a backend, which sees everything.
        parts: Visibility of each session; at least one.
        rooms_of: Returns the rooms in which a user is visible (`Rooms.of`).
    """

    def __init__(self, viewer: str, parts: Sequence[Visibility], rooms_of: Callable[[str], Iterable[str]]) -> None:
        self.viewer = viewer
        self._parts = parts
        self._rooms_of = rooms_of
        self.blocked = _in_all(parts)
        """Users who are invisible everywhere, in rooms too."""
        self.causes = any(part.causes for part in parts)

    @property
    def blocked_by_widest(self) -> frozenset[str] | None:
        """Users who are blocked by every session that may see everyone; None if no session may."""
        widest = [part for part in self._parts if part.everyone]
        return _in_all(widest) if widest else None

    @property
    def named(self) -> set[str]:
        """The viewer, and the users that a session names."""
        return {self.viewer}.union(*(part.users for part in self._parts))

    def may_see(self, user_id: str) -> bool:
        """Return whether the user is visible, perhaps only in a room that both are in."""
        if any(part.sees(user_id) for part in self._parts) or user_id == self.viewer:
            return True
        return user_id not in self.blocked and not set(self.rooms()).isdisjoint(self._rooms_of(user_id))

    def may_enter(self, room: str) -> bool:
        """Return whether any session may enter the room."""
        return any(part.may_enter(room) for part in self._parts)

    def rooms(self) -> Iterable[str]:
        """Return the rooms in which the viewer is visible."""
        return self._rooms_of(self.viewer)


def _in_all(parts: Sequence[Visibility]) -> frozenset[str]:
    return frozenset.intersection(*(part.blocked for part in parts))
