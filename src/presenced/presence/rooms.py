"""Rooms: their members as others see them, and what changed since a position.

Membership has two sides. A session joins, updates its data and leaves (`Rooms.join`, `Rooms.leave`), which others do
not see. The present sessions of a user decide in which rooms the user is a member (`Rooms.update`), which others do
see. So a user with two sessions in a room stays a member until both have left, and an invisible user is a member of no
room.

A room is occupied when its first member joins, and vacated when its last one leaves (`RoomChange.occupied`).

The mode of a room depends on its size, because the cost of a room grows with the square of its members:

    mode         from                 subscribers receive
    full         1 member             each change at once
    coalesced    `room_coalesced`     the changes of a second together
    counts       `room_counts`        the number of members, once a second

A room returns to the previous mode only below `STEP_BACK` of the threshold, so that it does not flap.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import islice, takewhile
from types import MappingProxyType
from typing import Any, NamedTuple

from msgspec import Struct

from presenced.presence.session import MemberData, Session
from presenced.presence.visibility import NOBODY, Visibility
from presenced.runtime.instant import Instant
from presenced.runtime.numbered import NumberedItems

MAX_FORMER_MEMBERS = 1_000
"""Maximum number of former members that a room remembers for clients that are behind. Clients that are further behind
receive the whole room."""

STEP_BACK = 0.8
"""Share of a threshold below which a room returns to the previous mode."""


NO_EARLIER_JOINS: Mapping[str, int] = MappingProxyType({})
"""No earlier times of joining."""


class Mode(StrEnum):
    """Mode in which the subscribers of a room are notified."""

    FULL = "full"
    COALESCED = "coalesced"
    """Changes once a second."""
    COUNTS = "counts"
    """Number of members once a second; members' presence only to subscribers to them by id."""


class Thresholds(Struct, frozen=True):
    """Numbers of members at which a room changes its mode."""

    coalesced: int
    """Setting `room_coalesced`."""
    counts: int
    """Setting `room_counts`."""

    def mode(self, size: int, current: Mode) -> Mode:
        """Return the mode of a room that has `size` members now, and is in mode `current`."""
        if size >= self.counts * (STEP_BACK if current is Mode.COUNTS else 1):
            return Mode.COUNTS
        if size >= self.coalesced * (1 if current is Mode.FULL else STEP_BACK):
            return Mode.COALESCED
        return Mode.FULL


class Membership(Struct, frozen=True, gc=False):
    """A user in a room. A user with several sessions in it is one member."""

    user_id: str
    joined_ms: int
    """Time of joining in epoch milliseconds."""
    data: bytes
    """JSON; empty if there is none."""
    position: int
    """Position at which the member joined, or last changed its data."""


class RoomChange(Struct, frozen=True, gc=False):
    """One change of a room: a member joined, left, or changed its data."""

    position: int
    room: str
    user_id: str
    member: Membership | None
    """None if the user left."""
    occupied: bool | None = None
    """True if the room has its first member, False if it lost its last one; None otherwise."""


class MembershipChanges(NamedTuple):
    """Changes of the members of a room after some position."""

    joined: list[Membership]
    """Members who joined, or changed their data."""
    left: list[str]
    """Users who left."""


@dataclass(slots=True, eq=False)
class Room:
    """One room. It exists while it has a member. Sessions can subscribe to a room that has no member."""

    name: str
    floor: int
    """Position up to which former members may be forgotten."""
    position: int
    """Position of the last change."""
    members: dict[str, Membership] = field(default_factory=dict)
    left: OrderedDict[str, int] = field(default_factory=OrderedDict)
    """Former members and the positions at which they left, in this order."""
    mode: Mode = Mode.FULL
    digested_until: int = -1
    """Position of its last digest; -1 before the first. Earlier changes may have been sent later than other events."""
    number: int = 0
    """Order in which the rooms got their first members."""

    def size(self, excluded: Set[str]) -> int:
        """Return the number of members who are not excluded."""
        return len(self.members) - (len(self.members.keys() & excluded) if excluded else 0)

    def since(self, position: int) -> MembershipChanges | None:
        """Return the changes of members after `position`; None if they are forgotten."""
        if position < self.floor:
            return None
        if position >= self.position:
            return MembershipChanges([], [])
        left = list(takewhile(lambda user_id: self.left[user_id] > position, reversed(self.left)))
        return MembershipChanges([member for member in self.members.values() if member.position > position], left)


class Rooms:
    """All rooms with their members.

    Bounds: members of a room by `max_members`, plus as many as one of them blocks (`MAX_BLOCKED_USERS`); rooms by the
    bounds of sessions (`MAX_ROOMS`); former members by `MAX_FORMER_MEMBERS` per room.

    Args:
        next_position: Returns the next position (`Journal.next_position`).
        on_changed: Called with the user of a session that joined, left, or changed its data.
    """

    def __init__(
        self,
        thresholds: Thresholds,
        max_members: int,
        next_position: Callable[[], int],
        on_changed: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._thresholds = thresholds
        self._max_members = max_members
        self._next_position = next_position
        self._on_changed = on_changed
        self._rooms: dict[str, Room] = {}
        self._numbered: NumberedItems[Room] = NumberedItems()
        self._of_user: dict[str, set[str]] = {}
        self._joins = 0

    def __len__(self) -> int:
        return len(self._rooms)

    def get(self, name: str) -> Room | None:
        """Return the room; None if it has no member."""
        return self._rooms.get(name)

    def after(self, number: int, limit: int) -> list[Room]:
        """Return the next `limit` rooms after the one with this number (read-only). O(limit).

        A room that has members all the time is in exactly one of successive pages.
        """
        return list(islice(self._numbered.after(number), limit))

    def of(self, user_id: str) -> Iterable[str]:
        """Return the rooms in which the user is a member."""
        return self._of_user.get(user_id, ())

    def has_place(self, name: str, user_id: str, unseen: Set[str] = NOBODY) -> bool:
        """Return whether the user may join: as a member already, or because the room is not full.

        Args:
            unseen: Users whose membership must not be revealed, so they are not counted as members.
        """
        room = self._rooms.get(name)
        return room is None or user_id in room.members or room.size(unseen) < self._max_members

    def mode(self, room: Room | None, unseen: Set[str]) -> Mode:
        """Return the mode of the room for a viewer who does not see some users.

        It follows from the number of members that the viewer sees, without `STEP_BACK`: the previous mode may
        have been due to unseen members, and must not reveal them.
        """
        if room is None:
            return Mode.FULL
        return self._thresholds.mode(room.size(unseen), Mode.FULL) if unseen else room.mode

    def join(self, session: Session[Any], name: str, data: bytes, now: Instant) -> None:
        """Have a session join a room, or replace its data in a room it is in. The caller then
        calls `Publisher.update_rooms`."""
        # The time makes numbers of several nodes comparable.
        self._joins = max(self._joins + 1, now.epoch_ms)
        room = self._rooms.get(name)
        member = room.members.get(session.user_id) if room else None
        member_data = MemberData(self._joins, data, member.joined_ms if member else now.epoch_ms)
        session.rooms = {**(session.rooms or {}), name: member_data}
        self._on_changed(session.user_id)

    def leave(self, session: Session[Any], name: str) -> None:
        """Have a session leave a room. The caller then calls `Publisher.update_rooms`."""
        session.rooms = {room: data for room, data in (session.rooms or {}).items() if room != name}
        self._on_changed(session.user_id)

    def leave_forbidden(self, session: Session[Any], visibility: Visibility) -> None:
        """Have a session leave all rooms that it may not enter. The caller then calls `Publisher.update_rooms`."""
        session.rooms = {name: data for name, data in (session.rooms or {}).items() if visibility.may_enter(name)}
        self._on_changed(session.user_id)

    def update(
        self, user_id: str, wanted: Mapping[str, bytes], now: Instant, join_times: Mapping[str, int] = NO_EARLIER_JOINS
    ) -> list[RoomChange]:
        """Make the user a member of exactly the wanted rooms. Memberships change only here.

        Args:
            wanted: Rooms with the member's data (`Users.rooms_wanted`).
            join_times: When the user joined these rooms, in epoch milliseconds, if earlier than now.
        """
        gone = [name for name in self.of(user_id) if name not in wanted]
        changes = [self._remove(self._rooms[name], user_id) for name in gone]
        for name, data in wanted.items():
            room = self._rooms.get(name)
            member = room.members.get(user_id) if room else None
            if member is None or member.data != data:
                joined_ms = member.joined_ms if member else join_times.get(name, now.epoch_ms)
                changes.append(self._put(name, user_id, joined_ms, data))
        return changes

    def _put(self, name: str, user_id: str, joined_ms: int, data: bytes) -> RoomChange:
        position = self._next_position()
        room, is_new = self._rooms.get(name), name not in self._rooms
        if room is None:
            # Nothing is known about an earlier room of this name, so clients at earlier positions receive it whole.
            room = self._rooms[name] = Room(name, position - 1, position)
            room.number = self._numbered.add(room)
        room.position = position
        room.members[user_id] = member = Membership(user_id, joined_ms, data, position)
        room.left.pop(user_id, None)
        self._of_user.setdefault(user_id, set()).add(name)
        room.mode = self._thresholds.mode(len(room.members), room.mode)
        return RoomChange(position, name, user_id, member, True if is_new else None)

    def _remove(self, room: Room, user_id: str) -> RoomChange:
        room.position = self._next_position()
        del room.members[user_id]
        room.left[user_id] = room.position
        if len(room.left) > MAX_FORMER_MEMBERS:
            room.floor = room.left.popitem(last=False)[1]
        rooms = self._of_user[user_id]
        rooms.discard(room.name)
        if not rooms:
            del self._of_user[user_id]
        room.mode = self._thresholds.mode(len(room.members), room.mode)
        if not room.members:
            del self._rooms[room.name]
            self._numbered.remove(room.number)
        return RoomChange(room.position, room.name, user_id, None, None if room.members else False)
