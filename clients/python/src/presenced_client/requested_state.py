"""Requested state of a session, and how each request changes it."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Any

Request = dict[str, Any]

EVERYONE = ""
"""Key of everyone, beside the ids of users and the names of rooms, which are not empty."""

Key = tuple[str, str]
"""A part of the state: `("everyone", "")`, `("idle", "")`, `("user", id)`, `("room", name)` or `("count", name)`."""

Undo = dict[Key, Any]
"""The parts that a request changed, as they were before."""


@dataclass(frozen=True)
class RequestedRoom:
    """A room as it was requested."""

    joined: bool
    data: Any = None


@dataclass
class RequestedState:
    """Requested state of a session. Unanswered requests count as accepted until the server refuses them."""

    everyone: bool = False
    users: set[str] = field(default_factory=set)
    rooms: dict[str, RequestedRoom] = field(default_factory=dict)
    counts: set[str] = field(default_factory=set)
    is_idle: bool = False

    def apply(self, request: Request) -> Undo:
        """Change the state as the server does when it accepts the request."""
        undo = {key: self._part(key) for key in _keys(request)}
        for key, before in undo.items():
            self._set(key, _after(request, key, before))
        return undo

    def forget_room(self, name: str) -> None:
        """The server has ended everything about a room."""
        self.rooms.pop(name, None)
        self.counts.discard(name)

    def revert(self, undo: Undo, later: Collection[Undo]) -> None:
        """Restore what a refused request had changed, except the parts that `later` requests changed, too."""
        for key, before in undo.items():
            if not any(key in other for other in later):
                self._set(key, before)

    def _part(self, key: Key) -> Any:
        match key:
            case "everyone", _:
                return self.everyone
            case "idle", _:
                return self.is_idle
            case "room", name:
                return self.rooms.get(name)
            case kind, name:
                return name in (self.users if kind == "user" else self.counts)

    def _set(self, key: Key, value: Any) -> None:
        match key:
            case "everyone", _:
                self.everyone = value
            case "idle", _:
                self.is_idle = value
            case "room", name:
                self.rooms.pop(name, None)
                if value is not None:
                    self.rooms[name] = value
            case kind, name:
                members = self.users if kind == "user" else self.counts
                (members.add if value else members.discard)(name)


def rooms_of(request: Request) -> list[str]:
    """Return the rooms that a request names."""
    return [*request.get("rooms", ()), *([request["room"]] if "room" in request else [])]


def is_count(request: Request) -> bool:
    """Return whether a request is for numbers instead of presence."""
    return request.get("mode") == "count"


def _keys(request: Request) -> Iterator[Key]:
    """Yield the parts of the state that a request changes."""
    if request["type"] == "ACTIVITY":
        yield "idle", ""
    if not is_count(request):
        if request.get("everyone"):
            yield "everyone", ""
        yield from (("user", user) for user in request.get("users", ()))
        yield from (("room", name) for name in rooms_of(request))
    if is_count(request) or request["type"] == "UNWATCH":  # UNWATCH ends both
        yield from (("count", name) for name in request.get("rooms", ()))
        if request.get("everyone"):
            yield "count", EVERYONE


def _after(request: Request, key: Key, before: Any) -> Any:
    """Return a part of the state after a request."""
    kind = request["type"]
    if key[0] == "idle":
        return request["state"] == "idle"
    if key[0] != "room":
        return kind == "WATCH"
    match kind:
        case "JOIN" | "SET_MEMBER":
            return RequestedRoom(True, request.get("data"))
        case "WATCH":
            return before or RequestedRoom(False)
        case "UNWATCH" if before is not None and before.joined:
            return before  # a joined room stays watched
        case _:
            return None
