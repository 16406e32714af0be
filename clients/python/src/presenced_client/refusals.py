"""Requests that the server has refused on this connection, and how they are divided or given up."""

from __future__ import annotations

from presenced_client.errors import PresenceError
from presenced_client.requested_state import EVERYONE, Key, Request, is_count, rooms_of


class Refusals:
    """Refusals of requests, which change what is requested next."""

    def __init__(self) -> None:
        self.refused: dict[Key, PresenceError] = {}
        """Users, rooms, counts and the data of members (`("data", room)`) that are not requested again."""
        self.refresh: set[str] = set()
        """Rooms to request again, because their members are not known."""
        self.renew: set[str] = set()
        """Users, and `EVERYONE`, to unwatch first, because the server ignored an UNWATCH."""
        self.alone: list[list[str]] = []
        """Users and rooms to request in parts, because the server refused a list that has them."""

    def keys(self, kind: str) -> set[str]:
        """Return the refused users, rooms or counts."""
        return {key for refused_kind, key in self.refused if refused_kind == kind}

    def connected(self) -> None:
        """Try again on a new connection, where the token may allow more."""
        self.refused.clear()
        self.alone.clear()

    def add(self, request: Request, error: PresenceError) -> bool:
        """Record the refusal of a request. Return whether the program must learn of it."""
        kind, users, rooms = request["type"], request.get("users", []), rooms_of(request)
        if error.code == "RATE_LIMITED":
            self._ignored(request)
            return False
        if error.code == "NOT_A_MEMBER":
            return False  # after LEAVE as wanted; after SET_MEMBER the client joins again
        if users in self.alone:
            self.alone.remove(users)
        if len(users) > 1:  # one of them is not a valid id
            self.alone += [users[: len(users) // 2], users[len(users) // 2 :]]
        elif len(rooms) > 1:  # the user may not enter one of them
            self.alone += [[name] for name in rooms]
        elif kind == "SET_MEMBER":
            self.refused["data", rooms[0]] = error
        else:
            counted = is_count(request)
            self.refused.update({("user", user): error for user in users})
            self.refused.update({("count" if counted else "room", name): error for name in rooms})
            if counted and request.get("everyone"):
                self.refused["count", EVERYONE] = error
        return len(users) <= 1 and len(rooms) <= 1

    def _ignored(self, request: Request) -> None:
        """Send a request again after a while. Its users are forgotten already, so it must be sent anew."""
        if request["type"] == "UNWATCH":
            self.renew.update(request.get("users", ()), [EVERYONE] if request.get("everyone") else [])
        if request["type"] in ("UNWATCH", "LEAVE"):
            self.refresh.update(rooms_of(request))
