"""Known state of a room."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

from presenced_client.presence import UserId

Mode = Literal["full", "coalesced", "counts"]


@dataclass(frozen=True, slots=True)
class Member:
    """A member of a room."""

    user_id: UserId
    joined_at: int
    """Epoch milliseconds on the server's clock."""
    data: Any = None


_NOBODY: Mapping[str, Member] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Room:
    """A room, as the server has described it."""

    name: str
    known: bool = False
    """False until the server has answered."""
    mode: Mode = "full"
    """`counts`: a large room, which reports only `count`, without members."""
    count: int = 0
    members: Mapping[str, Member] = field(default_factory=lambda: _NOBODY)
    """Members by `str(id)`."""


class RoomView:
    """One watched room. Pages of a snapshot become visible with the last page.

    A server that has just started does not know yet who returns. Earlier members that it does not name are
    *unconfirmed*: they stay until they return, leave, or the server has settled.
    """

    def __init__(self, name: str) -> None:
        self.room = Room(name)
        self.is_current = False
        """Whether the room is known on this session. Otherwise `room` may be from before the last resync."""
        self._pages: dict[str, Member] | None = None
        """Members in the received pages of an incomplete snapshot."""
        self._unconfirmed: set[str] = set()

    @property
    def is_confirmed(self) -> bool:
        """Whether no member is unconfirmed."""
        return not self._unconfirmed

    def has(self, key: str) -> bool:
        """Return whether the user is a member, or is in a received page of a snapshot."""
        return key in self.room.members or (self._pages is not None and key in self._pages)

    def resync(self, settles: bool) -> None:
        """Keep showing the room, until the server has sent it again. `settles`: it has just started."""
        self.is_current, self._pages = False, None
        self._unconfirmed = set(self.room.members) if settles else set()

    def settled(self) -> set[str]:
        """Remove unconfirmed members, because the server knows who has returned, and return their ids."""
        gone, self._unconfirmed = self._unconfirmed, set()
        if gone:
            members = {key: member for key, member in self.room.members.items() if key not in gone}
            self._show(self.room.mode, self.room.count - len(gone), members)
        return gone

    def forget(self) -> None:
        """Forget what is known."""
        self.resync(False)
        self.room = Room(self.room.name)

    def snapshot(self, message: Mapping[str, Any]) -> None:
        """Apply a ROOM_SNAPSHOT."""
        if message["page"] == 1 or self._pages is None:
            self._pages = {}
        self._pages.update(_members(message))
        if message["page"] >= message["pages"]:
            members, self._pages, self.is_current = self._pages, None, True
            self._unconfirmed = set() if message["mode"] == "counts" else self._unconfirmed - set(members)
            kept = {key: self.room.members[key] for key in self.room.members if key in self._unconfirmed}
            self._show(message["mode"], message["count"] + len(kept), {**kept, **members})

    def changes(self, message: Mapping[str, Any]) -> bool:
        """Apply ROOM_CHANGES. Return whether the room has left mode `counts`, so its members must be requested."""
        mode, count = message["mode"], message["count"]
        if self._pages is not None:  # changes between two pages continue the snapshot
            self._apply(self._pages, message)
            return False
        if not self.is_current:
            return False  # the snapshot that follows has them, too
        if mode == "counts":
            self._unconfirmed = set()
            self.room = Room(self.room.name, self.room.known, mode, count)
            return False
        if self.room.mode == "counts":
            self.is_current = False
            self.room = Room(self.room.name, False, mode, count)
            return True
        members = dict(self.room.members)
        self._apply(members, message)
        self._unconfirmed -= {*_members(message), *map(str, message.get("left", ()))}
        self._show(mode, count + len(self._unconfirmed), members)
        return False

    def _show(self, mode: Mode, count: int, members: dict[str, Member]) -> None:
        self.room = Room(self.room.name, True, mode, count, MappingProxyType(members))

    @staticmethod
    def _apply(members: dict[str, Member], message: Mapping[str, Any]) -> None:
        members.update(_members(message))
        for user_id in message.get("left", ()):
            members.pop(str(user_id), None)


def _members(message: Mapping[str, Any]) -> dict[str, Member]:
    return {
        str(member["userId"]): Member(member["userId"], member["joinedAt"], member.get("data"))
        for member in message.get("members", ())
    }
