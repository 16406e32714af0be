"""Who watches whom: the sets that sessions chose, and the answer to "who must hear of this user?"."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable
from typing import Generic, TypeVar

S = TypeVar("S", bound=Hashable)

MAX_WATCHED = 1000
"""Users that one session watches by id at most, in full and by count together."""

MAX_ROOMS = 100
"""Rooms that one session is in or watches at most."""


class Set:
    """Everyone, users by id, rooms by name."""

    __slots__ = ("everyone", "rooms", "users")

    def __init__(self, everyone: bool = False, users: Iterable[str] = ()) -> None:
        self.everyone = everyone
        self.users: set[str] = set(users)
        self.rooms: set[str] = set()

    @property
    def is_empty(self) -> bool:
        """Whether it is nobody."""
        return not (self.everyone or self.users or self.rooms)

    def add(self, everyone: bool, users: Iterable[str], rooms: Iterable[str]) -> None:
        """Watch these, too."""
        self.everyone = self.everyone or everyone
        self.users.update(users)
        self.rooms.update(rooms)

    def discard(self, everyone: bool, users: Iterable[str], rooms: Iterable[str]) -> None:
        """No longer watch these."""
        self.everyone = self.everyone and not everyone
        self.users.difference_update(users)
        self.rooms.difference_update(rooms)


class Watch:
    """What one session watches; it outlives the session's connections."""

    __slots__ = ("counted", "full")

    def __init__(self, everyone: bool = False) -> None:
        self.full = Set(everyone)
        """Told of by name."""
        self.counted = Set()
        """Told of by number."""


class WatchIndex(Generic[S]):
    """The sessions that are kept up to date, by what they watch.

    Bounds: by the sessions in it, and their `MAX_WATCHED` users and `MAX_ROOMS` rooms. An edge costs one place in a
    set; sessions that watch nothing cost nothing.
    """

    def __init__(self) -> None:
        self.everyone: dict[S, None] = {}
        """Those that watch everyone, whomever else they watch."""
        self._by_user: dict[str, set[S]] = {}
        self._by_room: dict[str, set[S]] = {}

    def add(self, session: S, watched: Set) -> None:
        """Keep `session` up to date with all of `watched`."""
        if watched.everyone:
            self.everyone[session] = None
        for edges, keys in ((self._by_user, watched.users), (self._by_room, watched.rooms)):
            for key in keys:
                edges.setdefault(key, set()).add(session)

    def remove(self, session: S, watched: Set) -> None:
        """No longer; no-op for one that is not here."""
        self.everyone.pop(session, None)
        for edges, keys in ((self._by_user, watched.users), (self._by_room, watched.rooms)):
            for key in keys:
                if found := edges.get(key):
                    found.discard(session)
                    if not found:
                        del edges[key]

    def watchers_of(self, user_id: str) -> Collection[S]:
        """The sessions that watch this user by id; some may watch everyone as well."""
        return self._by_user.get(user_id, ())

    def watchers_of_room(self, room: str) -> Collection[S]:
        """The sessions that watch this room."""
        return self._by_room.get(room, ())
