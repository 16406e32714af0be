"""The users and rooms that one viewer may see, as the HTTP API and the Python interface show them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from heapq import nsmallest

from presenced.delivery.connection import Connection
from presenced.presence.certainty import NodeCertainty
from presenced.presence.model import Change, Status
from presenced.presence.rooms import Membership, Mode, Room, Rooms
from presenced.presence.users import Users
from presenced.presence.visibility import Visibility
from presenced.protocols.v1 import codec as v1
from presenced.protocols.v1.certainty import STALE
from presenced.protocols.v1.messages import UserRecord


@dataclass(frozen=True, slots=True)
class MembersPage:
    """A room, and one page of its members, as one viewer sees them."""

    mode: Mode
    count: int
    """Number of members."""
    members: list[tuple[Membership, Change]]
    """Members in the order of their ids, each with the user's last change."""
    next: str | None
    """Id after which the next page starts; None if this is the last page."""


class ViewerScope:
    """The users and rooms that one viewer may see, through all of the viewer's sessions together.

    A viewer sees a user whom any of the sessions may see, and everyone who is in a room with the viewer. A user whom
    all sessions block is invisible to the viewer everywhere, in rooms, too.

    Args:
        viewer: User id; empty for a backend, which sees everything.
        visibilities: Visibility of each session; at least one.
        certainty: Certainty of a node in a cluster; None for a single node.
    """

    def __init__(
        self,
        viewer: str,
        visibilities: Sequence[Visibility],
        users: Users[Connection],
        rooms: Rooms,
        with_causes: bool,
        certainty: NodeCertainty | None = None,
    ) -> None:
        self._viewer = viewer
        self._visibilities = visibilities
        self._users = users
        self._rooms = rooms
        self._certainty = certainty
        self._with_causes = with_causes or any(one.causes for one in visibilities)  # whether the viewer may see them
        self.blocked = _blocked_by_all(visibilities)
        """Users that all sessions block."""

    def sees(self, user_id: str) -> bool:
        """Return whether the viewer may see the user, even if only in a room that both are in."""
        if any(one.sees(user_id) for one in self._visibilities) or user_id == self._viewer:
            return True
        return user_id not in self.blocked and not self._rooms_of_viewer().isdisjoint(self._rooms.of(user_id))

    def last_changes(self, user_ids: Iterable[str]) -> list[Change | None]:
        """Return the last change of each user; None for users who are unknown or hidden from the viewer.

        The two cases look the same on purpose, so that a viewer cannot learn whether a hidden user exists.
        """
        changes = self._users.changes_of(user_ids)
        return [change if change is not None and self.sees(change.user_id) else None for change in changes]

    def record(self, user_id: str, change: Change | None) -> UserRecord:
        """Return a user after the last change, as `last_changes` returns it, as a record."""
        status, mark = change.status if change is not None else Status.OFFLINE, ""
        if self._certainty is not None and self._certainty.is_stale(user_id, status):
            mark = STALE
        if change is None:
            return v1.unknown_user(user_id, self._users.versions.of_unknown()(user_id), mark)
        return v1.user_record(change, self._with_causes, mark)

    def room(self, name: str) -> Room | None:
        """Return a room (read-only); None if it has no members or the viewer may not enter it."""
        return self._rooms.get(name) if any(one.may_enter(name) for one in self._visibilities) else None

    def members(self, name: str, after: str, limit: int) -> MembersPage:
        """Return a room with the `limit` members whose ids follow `after`. O(members): 10 ms for 100,000 of them.

        A room that does not exist, or that the viewer may not enter, has no members.
        """
        room = self.room(name)
        if room is None:
            return MembersPage(Mode.FULL, 0, [], None)
        seen = (user_id for user_id in room.members if user_id > after and user_id not in self.blocked)
        found = nsmallest(limit + 1, seen)
        page = found[:limit]
        members = []
        for user_id, change in zip(page, self._users.changes_of(page), strict=True):
            assert change is not None, "a member of a room is a known user"
            members.append((room.members[user_id], change))
        count, following = room.size(self.blocked), page[-1] if len(found) > limit else None
        return MembersPage(self.room_mode(room), count, members, following)

    def room_mode(self, room: Room) -> Mode:
        """Return the mode in which the viewer is notified about a room.

        It depends on the members that the viewer sees, because the mode would otherwise reveal hidden members.
        """
        return self._rooms.mode(room, self.blocked)

    async def count_online(self) -> int:
        """Return the number of online users that the viewer sees.

        It takes constant time for a viewer who sees everyone and blocks few users. Otherwise it is O(users named by the
        rules + members of the viewer's rooms).
        """
        if widest := [one for one in self._visibilities if one.everyone]:
            hidden = [user_id for user_id in _blocked_by_all(widest) if not self.sees(user_id)]
            return self._users.online_users - self._count_shown_online(hidden)
        members: set[str] = set()
        for name in self._rooms_of_viewer():
            if room := self._rooms.get(name):
                members.update(room.members)
            await asyncio.sleep(0)  # each room may have 100,000 members, so the loop gets a turn between two of them
        members -= self.blocked
        named = {self._viewer}.union(*(one.users for one in self._visibilities))
        return len(members) + self._count_shown_online(named - members)

    def _rooms_of_viewer(self) -> set[str]:
        """Return the rooms that the viewer is in, also those where others do not see an invisible viewer."""
        viewer = self._users.user(self._viewer)
        return set(viewer.rooms()) if viewer is not None else set()

    def _count_shown_online(self, user_ids: Iterable[str]) -> int:
        changes = self._users.changes_of(user_ids)
        return sum(change is not None and change.status is not Status.OFFLINE for change in changes)


def _blocked_by_all(visibilities: Sequence[Visibility]) -> frozenset[str]:
    return frozenset.intersection(*(one.blocked for one in visibilities))
