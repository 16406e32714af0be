"""The encoder of presenced.v1: visible state of users and rooms as messages, for feeds, snapshots and digests."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Set
from typing import NamedTuple

from msgspec import Raw

from presenced.delivery.connection import Connection
from presenced.presence.model import Change, Status
from presenced.presence.rooms import Membership, Mode, Room, Rooms
from presenced.presence.users import Users
from presenced.presence.visibility import NOBODY, Visibility
from presenced.protocols.ids import wire_user_id
from presenced.protocols.names import Names
from presenced.protocols.v1 import codec
from presenced.protocols.v1.messages import PresenceChanges, PresenceCount, RoomChanges, RoomSnapshot

MAX_CACHED_RECORDS = 4_096
"""Maximum number of encoded changes in the cache, and of encoded members; some 1.5 MB each. The oldest is evicted."""


class EncodedPage(NamedTuple):
    """One page of a snapshot of a room."""

    message: bytes
    members: int
    """Number of members in the page."""


class V1Encoder:
    """Encodes the current state.

    Messages about rooms and counts may be for a client that blocks some users (`blocked`).

    Bounds: `MAX_CACHED_RECORDS`.

    Args:
        shows_causes: Whether records say why a user changed.
        page_size: Maximum number of users or members in one page of a snapshot.
    """

    def __init__(
        self, users: Users[Connection], rooms: Rooms, names: Names, shows_causes: bool, page_size: int
    ) -> None:
        self.users = users
        self.rooms = rooms
        self.names = names
        self.page_size = page_size
        self._shows_causes = shows_causes
        self.with_causes = self if shows_causes else V1Encoder(users, rooms, names, True, page_size)
        """The encoder for clients that may know why users changed."""
        # Ordered dictionaries, because a plain one looks for its first entry past all deleted ones: 1.2 us per change.
        # An entry has its change too, because the change at a position can be corrected, by one with a later version or
        # without the time last seen.
        self._records: OrderedDict[int, tuple[Change, Raw]] = OrderedDict()
        """Changes and their records, by position."""
        self._members: OrderedDict[tuple[int, int], tuple[Change, Raw]] = OrderedDict()
        """Changes and encoded members, by the positions of the membership and of the change."""

    def for_visibility(self, visibility: Visibility) -> V1Encoder:
        """Return the encoder for clients with this visibility."""
        return self.with_causes if visibility.causes else self

    def record(self, change: Change) -> Raw:
        """Return the visible state of a user after `change`, from the cache if it is there."""
        cached = self._records.get(change.position)
        if cached is not None and cached[0] is change:
            return cached[1]
        return self._cache(change.position, change, codec.record(change, self._shows_causes))

    def _cache(self, key: int, change: Change, record: Raw) -> Raw:
        self._records[key] = change, record
        if len(self._records) > MAX_CACHED_RECORDS:
            self._records.popitem(last=False)
        return record

    def uncached(self, change: Change) -> Raw:
        """Return the same as `record`, and leave the cache as it is."""
        return codec.record(change, self._shows_causes)

    def unknown(self, user_id: str, version: int) -> Raw:
        """Return the record of a user without known presence.

        Args:
            version: Version of unknown users at the time for which the record holds.
        """
        return Raw(codec.encode(codec.unknown_user(user_id, version)))

    def own(self, user_id: str) -> bytes:
        """Return SELF as it is now; empty for a user without a session of presenced.v1."""
        own = self.users.own(user_id)
        return codec.self_message(own) if own else b""

    def changes(self, position: int, records: list[Raw], snapshot: int = 0) -> bytes:
        """Return PRESENCE_CHANGES.

        Args:
            snapshot: As for `Names.position`.
        """
        return codec.encode(PresenceChanges(self.names.position(position, snapshot), records))

    def changes_of(self, position: int, changes: Iterable[Change]) -> bytes:
        """Return PRESENCE_CHANGES with the last change of some users, perhaps none."""
        return self.changes(position, [self.record(change) for change in changes])

    def member(self, member: Membership) -> Raw:
        """Return a member of a room, with the user's state now. A user who has left since may be unknown."""
        [seen] = self.users.changes_of((member.user_id,))
        if seen is None:
            version = self.users.versions.of_unknown()(member.user_id)
            return codec.member_record(member, self.unknown(member.user_id, version))
        key = member.position, seen.position
        cached = self._members.get(key)
        if cached is not None and cached[0] is seen:
            return cached[1]
        encoded = codec.member_record(member, self.record(seen))
        self._members[key] = seen, encoded
        if len(self._members) > MAX_CACHED_RECORDS:
            self._members.popitem(last=False)
        return encoded

    def room_changes(
        self,
        room: Room | None,
        name: str,
        joined: Iterable[Membership],
        left: Iterable[str],
        blocked: Set[str] = NOBODY,
    ) -> bytes:
        """Return ROOM_CHANGES. The client may see all users in `joined` and `left`."""
        return codec.encode(
            RoomChanges(
                name,
                room.size(blocked) if room else 0,
                self.rooms.mode(room, blocked).value,
                [self.member(member) for member in joined],
                [wire_user_id(user_id) for user_id in left],
            )
        )

    def room_pages(self, name: str, blocked: Set[str] = NOBODY) -> Iterator[EncodedPage]:
        """Return the pages of ROOM_SNAPSHOT.

        A room that is empty, or too large to name its members, has one page without members.
        """
        room, size = self.rooms.get(name), self.page_size
        mode = self.rooms.mode(room, blocked)
        members = list(room.members.values()) if room and mode is not Mode.COUNTS else []
        if blocked:
            members = [member for member in members if member.user_id not in blocked]
        count = room.size(blocked) if room else 0
        pages = max(1, -(-len(members) // size))
        for number in range(pages):
            part = members[number * size : (number + 1) * size]
            encoded = [self.member(member) for member in part]
            message = codec.encode(RoomSnapshot(name, mode.value, count, number + 1, pages, encoded))
            yield EncodedPage(message, len(part))

    def count_everyone(self, blocked: Set[str] = NOBODY) -> bytes:
        """Return PRESENCE_COUNT of everyone."""
        return codec.encode(PresenceCount("everyone", self.users.online_users - self._online(blocked)))

    def count_everyone_among(self, user_ids: Iterable[str]) -> bytes:
        """Return PRESENCE_COUNT of everyone, for a client that may see only these users."""
        return codec.encode(PresenceCount("everyone", self._online(user_ids)))

    def count_users(self, user_ids: Iterable[str]) -> bytes:
        """Return PRESENCE_COUNT of some users."""
        return codec.encode(PresenceCount("users", self._online(user_ids)))

    def _online(self, user_ids: Iterable[str]) -> int:
        return sum(change.status is not Status.OFFLINE for change in self.users.snapshot_of(user_ids))

    def count_room(self, name: str, blocked: Set[str] = NOBODY) -> bytes:
        """Return PRESENCE_COUNT of a room, whose members are all online."""
        room = self.rooms.get(name)
        return codec.encode(PresenceCount("room", room.size(blocked) if room else 0, name))
