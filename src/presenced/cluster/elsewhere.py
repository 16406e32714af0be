"""The table of users of a node in a cluster: most of them are connected to other nodes only.

The node needs only their visible state, and the contributions of the other nodes. `UserElsewhere` holds these in 64
bytes, while a `User` with the objects of one session takes 500 (CPython 3.11). As soon as something happens to such a
user on this node, `get_or_add` replaces the `UserElsewhere` by a `User`. `compact` does the reverse:

    record of another node --> UserElsewhere --connects here, picks a status, gets a claim--> User
                                     ^                                                        |
                                     '------------- all of that has ended --------------------'
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Generic, TypeVar

from msgspec import Struct

from presenced.cluster.contribution import Contribution, UserContributions, as_tuple, find, with_contribution
from presenced.cluster.records import decode_rooms, decode_sessions
from presenced.presence.journal import Journal
from presenced.presence.model import NO_DISPLAY, SEEN_OFFLINE, SEEN_ONLINE, Change, Status, View
from presenced.presence.session import MemberData, Session
from presenced.presence.user import User
from presenced.presence.users import Limits, Users
from presenced.presence.versions import VersionClock

C = TypeVar("C", bound=Hashable)


class UserElsewhere(Struct, Generic[C], eq=False, gc=False):
    """A user without anything on this node: no session here, and nothing chosen, claimed or announced."""

    user_id: str
    serial: int
    """As in `User`, like the following fields."""
    last_change: Change | None = None
    seen_ms: int = 0
    active_ms: int = 0
    contributions: UserContributions = None
    """Contributions of the other nodes."""

    @property
    def shown(self) -> View:
        """State that others see, by the last change."""
        return self.last_change.view if self.last_change is not None else SEEN_OFFLINE

    @property
    def version(self) -> int:
        """Version of the last change; 0 before the first."""
        return self.last_change.version if self.last_change is not None else 0

    @property
    def sessions(self) -> list[Session[C]]:
        """The sessions on the other nodes, created for each call."""
        found: list[Session[C]] = []
        for one in as_tuple(self.contributions):
            found += sessions_of(self.user_id, one)
        return found

    def view(self) -> View:
        """Return the state that follows from the sessions: the rule of presence, without anything that was decided.

        The same as `to_user().states(cause)[0]`, in a fifth of the time. A node that starts needs it for every user.
        """
        active: list[bool] = []
        devices: set[str] = set()
        is_named = False
        for one in as_tuple(self.contributions):
            for session in decode_sessions(one.sessions):
                active.append(session.active)
                devices.add(session.device)
                is_named = is_named or bool(session.tag)
        if not active:
            return SEEN_OFFLINE
        devices.discard("")
        if not is_named or (True in active and not devices):
            return SEEN_ONLINE
        return View(Status.ONLINE if True in active else Status.AWAY, devices=tuple(sorted(devices)))

    @property
    def has_rooms(self) -> bool:
        """Whether a session is in a room."""
        return any(one.rooms for one in as_tuple(self.contributions))

    def to_user(self) -> User[C]:
        """Return a `User` with the same state."""
        sessions = self.sessions
        return User(
            self.user_id,
            serial=self.serial,
            version=self.version,
            sessions=sessions,
            named_sessions=sum(bool(session.session_id) for session in sessions),
            seen_ms=self.seen_ms,
            active_ms=self.active_ms,
            last_change=self.last_change,
        )


class SharedUsers(Users[C]):
    """All known users. A user who has anything on this node is in `by_id`, and any other in `elsewhere`.

    Bounds: a user in `elsewhere` has a session on another node, has one of the recent changes (`RecentChanges`), or is
    shown as not offline until the nodes agree.

    Args:
        limits: As for `Users`, like the following arguments.
    """

    def __init__(self, limits: Limits, journal: Journal, versions: VersionClock) -> None:
        super().__init__(limits, journal, versions)
        self.elsewhere: dict[str, UserElsewhere[C]] = {}
        """Users without anything on this node, by id."""
        self._contributions: dict[str, UserContributions] = {}  # of other nodes, to users in `by_id`

    # Users.

    def user(self, user_id: str) -> User[C] | None:
        """Return the user (read-only); None if unknown. For a user in `elsewhere`, this is a new `User`."""
        user = self.by_id.get(user_id)
        if user is None and (found := self.elsewhere.get(user_id)) is not None:
            return found.to_user()
        return user

    def known(self, user_id: str) -> User[C] | UserElsewhere[C] | None:
        """Return the user without creating a `User` for one in `elsewhere` (read-only); None if unknown."""
        return self.by_id.get(user_id) or self.elsewhere.get(user_id)

    def get_for_update(self, user_id: str) -> User[C] | None:
        """Move the user from `elsewhere` to `by_id`, to be changed there, and return the user; None if unknown."""
        return self.get_or_add(user_id) if user_id in self.elsewhere else self.by_id.get(user_id)

    def status(self, user_id: str) -> Status:
        """Return the status that others see."""
        return user.shown.status if (user := self.known(user_id)) is not None else Status.OFFLINE

    def connection_count_on_all_nodes(self, user_id: str) -> int:
        """Return the number of the user's connections on all nodes.

        On other nodes, lost ones count during their grace period, too.
        """
        user = self.user(user_id)
        # Sessions of this node have slot -1, and `connected` counts those with a connection.
        return user.connected + sum(session.slot >= 0 for session in user.sessions) if user is not None else 0

    def rooms_wanted(self, user_id: str) -> dict[str, bytes]:
        """Return the rooms in which others should see the user, with the data that was set last."""
        if (found := self.elsewhere.get(user_id)) is None:
            return super().rooms_wanted(user_id)
        if found.shown.status is Status.OFFLINE or not found.has_rooms:
            return {}
        return found.to_user().rooms()

    # Changes.

    def snapshot(self) -> list[Change]:
        """Return the last change of everyone who is not offline. O(users)."""
        elsewhere = (found.last_change for found in self.elsewhere.values())
        return super().snapshot() + [c for c in elsewhere if c is not None and c.view.status is not Status.OFFLINE]

    def changes_of(self, user_ids: Iterable[str]) -> list[Change | None]:
        """Return the last change of each of these users; None for unknown users."""
        known = map(self.known, user_ids)
        return [user.last_change if user is not None else None for user in known]

    # Changes of the table, for `cluster.directory` only.

    def get_or_add(self, user_id: str) -> User[C]:
        """Return the user, after adding them if unknown."""
        found = self.elsewhere.pop(user_id, None)
        if found is None:
            return super().get_or_add(user_id)
        user = self.by_id[user_id] = found.to_user()
        self._numbered.replace(user.serial, user)
        if found.contributions is not None:
            self._contributions[user_id] = found.contributions
        if self.displays:
            user.display = self.displays.pop(user_id) or NO_DISPLAY
        return user

    def add_elsewhere(self, user_id: str) -> UserElsewhere[C]:
        """Add a user who is on another node only, and unknown so far."""
        found = self.elsewhere[user_id] = UserElsewhere(user_id, 0)
        found.serial = self._numbered.add(found)
        return found

    def set_contribution_elsewhere(self, user_id: str, new: Contribution) -> bool:
        """Set what another node contributes to a user who has nothing here. Return whether the rooms have changed."""
        found = self.elsewhere.get(user_id)
        if found is None:
            if not new.sessions:
                return False
            found = self.add_elsewhere(user_id)
        before = find(found.contributions, new.slot)
        found.contributions = with_contribution(found.contributions, new)
        return new.rooms != (before.rooms if before is not None else b"")

    def set_contribution_here(self, user_id: str, new: Contribution) -> None:
        """Set what another node contributes to a user in `by_id`. The caller must add the sessions to the `User`."""
        contributions = with_contribution(self._contributions.get(user_id), new)
        if contributions is not None:
            self._contributions[user_id] = contributions
        else:
            self._contributions.pop(user_id, None)

    def compact(self, user: User[C]) -> None:
        """Move a user from `by_id` to `elsewhere`.

        The caller has checked that the user has nothing on this node (`SharedDirectory._is_elsewhere`).
        """
        user_id = user.user_id
        assert user.connected == 0, "the caller has checked it"
        del self.by_id[user_id]
        contributions = self._contributions.pop(user_id, None)
        found: UserElsewhere[C] = UserElsewhere(
            user_id, user.serial, user.last_change, user.seen_ms, user.active_ms, contributions
        )
        self.elsewhere[user_id] = found
        self._numbered.replace(user.serial, found)

    def evict_elsewhere_if_unneeded(self, found: UserElsewhere[C]) -> bool:
        """Evict a user who is no longer on any node, unless the user's last change is still among the recent ones.

        Return whether the user was evicted.
        """
        change = found.last_change
        if found.contributions is not None or (change is not None and change.position > self.log.floor):
            return False
        if found.shown.status is not Status.OFFLINE:
            return False  # the nodes have not agreed yet that the user is offline
        del self.elsewhere[found.user_id]
        self._numbered.remove(found.serial)
        self.on_evicted(found.user_id)
        return True

    def erase_seen(self, user_id: str) -> None:
        """Erase when the user was last seen and last active. No-op if the user is unknown."""
        self.get_for_update(user_id)  # moves a user of other nodes to `by_id`, where `super()` looks
        super().erase_seen(user_id)

    def _is_latest(self, change: Change) -> bool:
        user = self.known(change.user_id)
        return user is not None and user.last_change is change

    def _dropped_from_log(self, change: Change) -> None:
        found = self.elsewhere.get(change.user_id)
        if found is None:
            super()._dropped_from_log(change)
        elif found.contributions is None:
            self.evict_elsewhere_if_unneeded(found)
        elif change.view.status is Status.OFFLINE:
            # The user has sessions, so the nodes will soon agree on a status. Until then `super()` replaces the change
            # by a `Departure`, which only a `User` has room for.
            self.get_or_add(change.user_id)
            super()._dropped_from_log(change)


def sessions_of(user_id: str, contribution: Contribution) -> list[Session[C]]:
    """Return the sessions that a node contributes to a user."""
    rooms: dict[bytes, dict[str, MemberData]] = {}
    for member in decode_rooms(contribution.rooms):
        rooms.setdefault(member.tag, {})[member.room] = MemberData(member.number, member.data, member.joined_ms)
    return [
        Session(user_id, None, tag.hex(), device, None, active, slot=contribution.slot, rooms=rooms.get(tag))
        for tag, device, active in decode_sessions(contribution.sessions)
    ]
