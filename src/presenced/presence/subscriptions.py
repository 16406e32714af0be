"""Subscriptions: the users and rooms that a session is notified about, and the index from a user to the subscribers."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable
from typing import Generic, TypeVar

from msgspec import Struct, field

S = TypeVar("S", bound=Hashable)

MAX_WATCHED_USERS = 1000
"""Maximum number of users that one session subscribes to by id, in full and by count together. More are refused."""

MAX_ROOMS = 100
"""Maximum number of rooms that one session is in or subscribes to. More are refused."""


class Selection(Struct, eq=False):
    """Selected users and rooms: everyone, users by id, rooms by name."""

    everyone: bool = False
    users: set[str] = set()  # msgspec copies this default for each object
    rooms: set[str] = set()

    @property
    def is_empty(self) -> bool:
        """Whether nothing is selected."""
        return not (self.everyone or self.users or self.rooms)

    def add(self, everyone: bool, users: Iterable[str], rooms: Iterable[str]) -> None:
        """Select these in addition."""
        self.everyone = self.everyone or everyone
        self.users.update(users)
        self.rooms.update(rooms)

    def discard(self, everyone: bool, users: Iterable[str], rooms: Iterable[str]) -> None:
        """Deselect these."""
        self.everyone = self.everyone and not everyone
        self.users.difference_update(users)
        self.rooms.difference_update(rooms)


class Subscription(Struct, eq=False):
    """Subscription of one session. It outlives the session's connections."""

    full: Selection = field(default_factory=Selection)
    """The client receives these users' presence."""
    counted: Selection = field(default_factory=Selection)
    """The client receives only how many of these are online."""

    @property
    def users(self) -> set[str]:
        """Users by id, in full and by count."""
        return self.full.users | self.counted.users

    @property
    def rooms(self) -> set[str]:
        """Rooms, in full and by count."""
        return self.full.rooms | self.counted.rooms


class SubscriptionIndex(Generic[S]):
    """Subscribers by the users and rooms they subscribe to: answers which subscribers a change goes to.

    Bounds: the subscribers added, with their `MAX_WATCHED_USERS` users and `MAX_ROOMS` rooms. An entry costs one place
    in a set. A subscriber to nothing costs nothing.
    """

    def __init__(self) -> None:
        self.everyone: dict[S, None] = {}
        """Subscribers to everyone, regardless of their other subscriptions."""
        self._by_user: dict[str, set[S]] = {}
        self._by_room: dict[str, set[S]] = {}

    def add(self, subscriber: S, selection: Selection) -> None:
        """Index `subscriber` under all of `selection`."""
        if selection.everyone:
            self.everyone[subscriber] = None
        for index, keys in ((self._by_user, selection.users), (self._by_room, selection.rooms)):
            for key in keys:
                index.setdefault(key, set()).add(subscriber)

    def remove(self, subscriber: S, selection: Selection) -> None:
        """Remove `subscriber` from everything in `selection`. No-op for one that is not indexed."""
        self.everyone.pop(subscriber, None)
        for index, keys in ((self._by_user, selection.users), (self._by_room, selection.rooms)):
            for key in keys:
                if found := index.get(key):
                    found.discard(subscriber)
                    if not found:
                        del index[key]

    def subscribers_of(self, user_id: str) -> Collection[S]:
        """Return the subscribers to this user by id. Some of them may subscribe to everyone as well."""
        return self._by_user.get(user_id, ())

    def subscribers_of_room(self, room: str) -> Collection[S]:
        """Return the subscribers to this room."""
        return self._by_room.get(room, ())
