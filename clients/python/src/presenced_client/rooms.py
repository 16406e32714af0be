"""The known rooms of a session."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from typing import Any

from presenced_client.room import Member, Room, RoomView


class Rooms:
    """Rooms that were requested, by name. They outlive connections and sessions while they are wanted."""

    def __init__(self) -> None:
        self._views: dict[str, RoomView] = {}

    def get(self, name: str) -> Room:
        """Return what is known of a room."""
        view = self._views.get(name)
        return view.room if view else Room(name)

    def names(self) -> set[str]:
        """Return the names of all rooms."""
        return set(self._views)

    def add(self, names: Iterable[str]) -> None:
        """Add rooms that are requested. One that is there already stays as it is."""
        for name in names:
            self._views.setdefault(name, RoomView(name))

    def drop(self, name: str) -> Mapping[str, Member]:
        """Forget a room, and return who were its members."""
        view = self._views.pop(name, None)
        return view.room.members if view else {}

    def has(self, key: str, requested: Container[str]) -> bool:
        """Return whether a user is a member of a requested room."""
        return any(view.has(key) for name, view in self._views.items() if name in requested)

    def are_current(self, names: Iterable[str]) -> bool:
        """Return whether these rooms are known on this session."""
        return all(self._views[name].is_current for name in names)

    @property
    def knows_any(self) -> bool:
        """Whether any room is known."""
        return any(view.room.known for view in self._views.values())

    @property
    def are_confirmed(self) -> bool:
        """Whether no room has unconfirmed members."""
        return all(view.is_confirmed for view in self._views.values())

    def resync(self, settles: bool) -> None:
        """Keep showing all rooms, until the server has sent them again. `settles`: it has just started."""
        for view in self._views.values():
            view.resync(settles)

    def settled(self) -> set[str]:
        """Remove members who have not returned to a server that has just started, and return their ids."""
        return {key for view in self._views.values() for key in view.settled()}

    def forget(self) -> None:
        """Forget what is known of all rooms."""
        for view in self._views.values():
            view.forget()

    def apply(self, message: Mapping[str, Any]) -> tuple[set[str], bool]:
        """Apply ROOM_SNAPSHOT or ROOM_CHANGES. Return who left, and whether the members must be requested again."""
        view = self._views[message["room"]]
        before, must_request = set(view.room.members), False
        if message["type"] == "ROOM_SNAPSHOT":
            view.snapshot(message)
        else:
            must_request = view.changes(message)
        return before - view.room.members.keys(), must_request
