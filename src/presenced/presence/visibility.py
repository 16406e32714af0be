"""Whom somebody may see, and which rooms they may enter."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from presenced.presence.subscriptions import Set

MAX_BLOCKED = 1_000
"""Users that one session does not see although it may see others like them."""

NOBODY: frozenset[str] = frozenset()


class Visibility:
    """What one session may know of others. Of its own user it knows anyway.

    Who is blocked is seen nowhere, in rooms neither; who merely is not among `users` is seen in rooms.
    """

    __slots__ = ("_rooms", "blocked", "causes", "everyone", "users")

    def __init__(
        self,
        everyone: bool,
        users: Iterable[str] = (),
        rooms: Iterable[str] | None = None,
        blocked: frozenset[str] = NOBODY,
        causes: bool = False,
    ) -> None:
        self.everyone = everyone
        """All but those who are blocked."""
        self.users = frozenset(users) - blocked
        """Who may be seen, when it is not everyone."""
        self.blocked = blocked
        self.causes = causes
        """It is told why others changed, also where that is not told to everyone."""
        self._rooms = None if rooms is None else frozenset(rooms)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Visibility) and self._all == other._all

    __hash__ = None  # type: ignore[assignment]  # compared only

    @property
    def _all(self) -> tuple[bool, frozenset[str], frozenset[str] | None, frozenset[str], bool]:
        return self.everyone, self.users, self._rooms, self.blocked, self.causes

    def may_enter(self, room: str) -> bool:
        """Whether the room may be joined and watched; who is in it is seen there by all who do not block them."""
        return self._rooms is None or room in self._rooms

    def sees(self, user_id: str) -> bool:
        """Whether the user may be seen, rooms aside."""
        return user_id not in self.blocked if self.everyone else user_id in self.users

    def among(self, users: Collection[str]) -> Collection[str]:
        """Those of `users` who may be seen, rooms aside."""
        if self.everyone:
            return set(users) - self.blocked if self.blocked else users
        return self.users.intersection(users)

    def of(self, watched: Set) -> Set:
        """What of `watched` is seen: everyone means all that may be."""
        if self.everyone and not self.blocked:
            return watched
        named = self.users if watched.everyone and not self.everyone else self.among(watched.users)
        seen = Set(watched.everyone and self.everyone, named)
        seen.rooms = watched.rooms
        return seen

    def restrict(self, watched: Set) -> None:
        """Take out the rooms that may not be entered."""
        if self._rooms is not None:
            watched.rooms &= self._rooms


EVERYTHING = Visibility(everyone=True)
