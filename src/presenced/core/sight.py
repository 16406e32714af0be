"""Whom somebody may see, and which rooms they may enter."""

from __future__ import annotations

from collections.abc import Iterable

from presenced.core.watch import Set


class Sight:
    """What one session may know of others. Of its own user it knows anyway."""

    __slots__ = ("_rooms", "everyone", "users")

    def __init__(self, everyone: bool, users: Iterable[str] = (), rooms: Iterable[str] | None = None) -> None:
        self.everyone = everyone
        self.users = frozenset(users)
        """Who may be seen, when it is not everyone."""
        self._rooms = None if rooms is None else frozenset(rooms)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sight) and (self.everyone, self.users, self._rooms) == (
            other.everyone,
            other.users,
            other._rooms,
        )

    __hash__ = None  # type: ignore[assignment]  # compared only

    def may_enter(self, room: str) -> bool:
        """Whether the room may be joined and watched; who is in it is seen there by all who are."""
        return self._rooms is None or room in self._rooms

    def of(self, watched: Set) -> Set:
        """What of `watched` is seen: everyone means all that may be."""
        if self.everyone:
            return watched
        seen = Set()
        seen.users = set(self.users) if watched.everyone else watched.users & self.users
        seen.rooms = watched.rooms
        return seen

    def restrict(self, watched: Set) -> None:
        """Take out the rooms that may not be entered."""
        if self._rooms is not None:
            watched.rooms &= self._rooms


EVERYTHING = Sight(everyone=True)
