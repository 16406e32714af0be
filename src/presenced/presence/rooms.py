"""Rooms: which users are members, as others see it, and what changed since a position."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Set
from enum import StrEnum

from msgspec import Struct

from presenced.presence.visibility import NOBODY
from presenced.runtime.instant import Instant

MAX_LEFT = 1_000
"""Members of one room who left and are remembered, for watchers that are behind; those further behind get it all."""

STEP_BACK = 0.8
"""Share of a threshold below which a room returns to the mode before: one that hovers about it does not flap."""


class Mode(StrEnum):
    """How the watchers of a room are told of it."""

    FULL = "full"
    COALESCED = "coalesced"
    """Once a second."""
    COUNTS = "counts"
    """How many there are, once a second; members one by one only to those who watch them by id."""


class Thresholds(Struct, frozen=True):
    """Members from which on a room is told of in another mode."""

    coalesced: int
    counts: int

    def mode(self, size: int, now: Mode) -> Mode:
        """The mode of a room of `size` members that is in mode `now`."""
        steps = ((Mode.COUNTS, self.counts), (Mode.COALESCED, self.coalesced))
        order = list(Mode)
        for mode, threshold in steps:
            held = order.index(now) >= order.index(mode)
            if size >= (threshold * STEP_BACK if held else threshold):
                return mode
        return Mode.FULL


class Member(Struct, frozen=True, gc=False):
    """A user in a room; a user who is there by several sessions is one member."""

    user_id: str
    joined_ms: int
    data: bytes
    """JSON; empty when there is none."""
    position: int
    """Of the last change: joined, or other data."""


class RoomChange(Struct, frozen=True, gc=False):
    """A member joined, left, or gave other data."""

    position: int
    room: str
    user_id: str
    member: Member | None
    """None: left."""


class Room:
    """One room. It exists as long as it has a member; watching one that has none is possible."""

    __slots__ = ("digested_until", "floor", "left", "members", "mode", "name", "position")

    def __init__(self, name: str, position: int) -> None:
        self.name = name
        self.members: dict[str, Member] = {}
        self.left: OrderedDict[str, int] = OrderedDict()
        """Who left, and at which position; in that order."""
        self.mode = Mode.FULL
        self.position = position
        """Of the last change."""
        self.floor = position
        """The position up to which those who left may be forgotten."""
        self.digested_until = -1
        """The position up to which it was, at times, told of later than what is told at once."""

    def size(self, but: Set[str]) -> int:
        """How many members there are besides these."""
        return len(self.members) - (len(self.members.keys() & but) if but else 0)

    def since(self, position: int) -> tuple[list[Member], list[str]] | None:
        """Members who joined or changed after `position`, and users who left; None when that is not known any more."""
        if position < self.floor:
            return None
        left = []
        for user_id, at in reversed(self.left.items()):
            if at <= position:
                break
            left.append(user_id)
        return [m for m in self.members.values() if m.position > position] if position < self.position else [], left


class Rooms:
    """All rooms, kept in line with the sessions that say they are in them.

    Bounds: members of a room by `max_members`, and as many more as one of them does not see (`MAX_BLOCKED`); rooms by
    the sessions' own bound; who left by `MAX_LEFT` per room.

    Args:
        next_position: Take the next place in the order of all changes.
    """

    def __init__(self, thresholds: Thresholds, max_members: int, next_position: Callable[[], int]) -> None:
        self._thresholds = thresholds
        self._max_members = max_members
        self._next_position = next_position
        self._rooms: dict[str, Room] = {}
        self._of_user: dict[str, set[str]] = {}

    def __len__(self) -> int:
        return len(self._rooms)

    def get(self, name: str) -> Room | None:
        """The room, if there is anything to know of it."""
        return self._rooms.get(name)

    def of(self, user_id: str) -> Iterable[str]:
        """The rooms the user is seen in."""
        return self._of_user.get(user_id, ())

    def has_place(self, name: str, user_id: str, unseen: Set[str] = NOBODY) -> bool:
        """Whether the user may join: is in it already, or it is not full.

        Args:
            unseen: Of whose being there nothing may be learnt: their places do not count.
        """
        room = self._rooms.get(name)
        return room is None or user_id in room.members or room.size(unseen) < self._max_members

    def mode(self, room: Room, unseen: Set[str]) -> Mode:
        """The mode of the room for one who does not see these.

        It follows from how many are seen now, without `STEP_BACK`: the mode before may have been due to others.
        """
        return self._thresholds.mode(room.size(unseen), Mode.FULL) if unseen else room.mode

    def settle(self, user_id: str, wanted: Mapping[str, bytes], now: Instant) -> list[RoomChange]:
        """Bring the rooms into line with what the user's sessions say: the only place where a membership changes.

        Args:
            wanted: The rooms that the user is to be seen in, with the member's data; empty for one who is offline to
                others.
        """
        gone = [name for name in self.of(user_id) if name not in wanted]
        changes = [self._leave(self._rooms[name], user_id) for name in gone]
        for name, data in wanted.items():
            room = self._rooms.get(name)
            member = room.members.get(user_id) if room else None
            if member is None or member.data != data:
                changes.append(self._put(name, user_id, member.joined_ms if member else now.epoch_ms, data))
        return changes

    def _put(self, name: str, user_id: str, joined_ms: int, data: bytes) -> RoomChange:
        position = self._next_position()
        room = self._rooms.get(name)
        if room is None:
            # Of an earlier room of this name nothing is known: whoever is at an earlier position gets it all.
            room = self._rooms[name] = Room(name, position - 1)
        room.position = position
        member = Member(user_id, joined_ms, data, room.position)
        room.members[user_id] = member
        room.left.pop(user_id, None)
        self._of_user.setdefault(user_id, set()).add(room.name)
        room.mode = self._thresholds.mode(len(room.members), room.mode)
        return RoomChange(room.position, room.name, user_id, member)

    def _leave(self, room: Room, user_id: str) -> RoomChange:
        room.position = self._next_position()
        del room.members[user_id]
        room.left[user_id] = room.position
        if len(room.left) > MAX_LEFT:
            room.floor = room.left.popitem(last=False)[1]
        rooms = self._of_user[user_id]
        rooms.discard(room.name)
        if not rooms:
            del self._of_user[user_id]
        room.mode = self._thresholds.mode(len(room.members), room.mode)
        if not room.members:
            del self._rooms[room.name]
        return RoomChange(room.position, room.name, user_id, None)
