"""The known users: versions, snapshots, resyncs, and users who stay online while the server settles."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from presenced_client.presence import Change, UserPresence

Records = Iterable[Mapping[str, Any]]


class Roster:
    """Presence of the users that the session covers.

    A record counts if its version is above the known one. A resync resets the known versions: the users from before
    stay visible, but unconfirmed, until the server has sent them again.

    Args:
        covers: Whether the session has requested this user, and so receives every change of them.
        named: Whether the session has requested this user by id.
        is_member: Whether the user is a member of a room that the session has requested.
    """

    def __init__(
        self, covers: Callable[[str], bool], named: Callable[[str], bool], is_member: Callable[[str], bool]
    ) -> None:
        self.users: dict[str, UserPresence] = {}
        self.knows_everyone = False
        """Whether a user without a record is offline, because a complete snapshot omits them."""
        self.settles_until: float | None = None
        """Monotonic time until which the server may not know users who will return; None if it knows all."""
        self.is_outdated = False
        """Whether the server has lost the store that it shares with other servers."""
        self._covers = covers
        self._named = named
        self._is_member = is_member
        self._unconfirmed: set[str] = set()
        self._hidden: dict[str, UserPresence] = {}
        """Answers "never seen" about members of rooms who may not be watched by id. They count when a member leaves."""
        self._everyone: dict[str, Mapping[str, Any]] | None = None
        """Records in the received pages of an incomplete snapshot of everyone."""
        self._changed_since: set[str] = set()
        """Users who changed after the moment of that snapshot."""
        self._named_pages: list[Mapping[str, Any]] = []
        self._changes: dict[str, UserPresence] = {}
        """Previous presence of the users changed since the last `take_changes`."""

    def user(self, key: str) -> UserPresence:
        """Return what is known of a user."""
        if (known := self.users.get(key)) is not None:
            return known
        return UserPresence(key, "offline" if self.knows_everyone else "unknown")

    def is_confirmed(self, key: str) -> bool:
        """Return whether the server has sent this user since the last resync."""
        return (key in self.users or self.knows_everyone) and key not in self._unconfirmed

    def take_changes(self) -> list[Change]:
        """Return each user who changed since the last call, once, in their last state."""
        before, self._changes = self._changes, {}
        found = [Change(key, previous, self.user(key)) for key, previous in before.items()]
        return [change for change in found if change.previous != change.current]

    # Messages.

    def interrupted(self) -> None:
        """Drop the pages of incomplete snapshots, because their connection ended."""
        self._everyone, self._named_pages = None, []

    def resync(self, settles_until: float | None) -> None:
        """Begin again: the server sends everything. Versions may start from 1, because it may be another server."""
        self._unconfirmed = set(self.users)
        self._hidden.clear()
        self.knows_everyone = False
        self.settles_until = settles_until

    def changes(self, records: Records) -> None:
        """Apply PRESENCE_CHANGES."""
        for record in records:
            self._apply_change(str(record["userId"]), record)

    def members(self, records: Records) -> None:
        """Apply the presence of members of a room."""
        for record in records:
            key = str(record["userId"])
            known = self.users.get(key)
            if known is not None and _is_never_seen(known):
                self._hidden[key] = known
                self._changed_since.add(key)
                self._set(key, UserPresence.from_record(record))
            else:
                self._apply_change(key, record, of_room=True)

    def snapshot(self, message: Mapping[str, Any]) -> None:
        """Apply a PRESENCE_SNAPSHOT. Its pages become visible with the last one."""
        is_last = message["page"] >= message["pages"]
        if message["watch"] == "users":
            self._named_pages += message["users"]
            if is_last:
                records, self._named_pages = self._named_pages, []
                for record in records:
                    self._apply(str(record["userId"]), record, is_snapshot=True)
            return
        if message["page"] == 1 or self._everyone is None:
            self._everyone, self._changed_since = {}, set()
        self._everyone.update((str(record["userId"]), record) for record in message["users"])
        if is_last:
            pages, self._everyone = self._everyone, None
            self._replace(pages)

    def set_outdated(self, is_outdated: bool) -> None:
        """The server has lost the store that it shares with others, or is certain again, and so are all users."""
        self.is_outdated = is_outdated
        if is_outdated:
            return
        for key, user in self._hidden.items():
            self._hidden[key] = replace(user, certain=True)
        for key, user in self.users.items():
            if not user.certain:
                self._note(key)
                self.users[key] = replace(user, certain=True)

    @property
    def are_confirmed(self) -> bool:
        """Whether the server has sent every user who is shown as online."""
        return not any(key in self.users and self.users[key].online for key in self._unconfirmed)

    def settled(self) -> None:
        """End the time in which users return to a restarted server: users who have not returned are offline."""
        self.settles_until = None
        for key in self._unconfirmed & self.users.keys():
            if self.knows_everyone or self._named(key):
                self._set(key, _offline(self.users[key]))
        if self.knows_everyone:
            self._unconfirmed.clear()

    # Subscriptions.

    def forget(self, keys: Iterable[str]) -> None:
        """Forget the given users, except users that the session still covers. Former members may be hidden again."""
        for key in list(keys):
            if key in self._hidden and not self._is_member(key):
                self._set(key, self._hidden.pop(key))
            if key in self.users and not self._covers(key):
                self._note(key)
                self._unconfirmed.discard(key)
                del self.users[key]

    def forget_everyone(self, named: Iterable[str]) -> None:
        """Forget the users who were known only because everyone was watched; keep the `named` ones."""
        if self.knows_everyone:
            for key in named:  # a snapshot omitted them, so they were offline, and only a change would be sent
                self.users.setdefault(key, UserPresence(key, "offline"))
        self.knows_everyone, self._everyone = False, None
        self.forget(self.users)

    def forget_all(self) -> None:
        """Forget all users, because they may have changed too long ago."""
        for key in self.users:
            self._note(key)
        self.users.clear()
        self._unconfirmed.clear()
        self._hidden.clear()
        self.knows_everyone, self.settles_until = False, None
        self.interrupted()

    # Parts.

    def _replace(self, pages: Mapping[str, Mapping[str, Any]]) -> None:
        """Apply a complete snapshot of everyone."""
        for key, record in pages.items():
            self._hidden.pop(key, None)  # visible by id
            if key in self._changed_since:
                self._apply(key, record)
            else:
                self._set(key, UserPresence.from_record(record))  # replaces everything, regardless of the version
        for key in self.users.keys() - pages.keys() - self._changed_since:
            if self.settles_until is not None and key in self._unconfirmed and self.users[key].online:
                continue
            if self._is_member(key):  # in a room, users are visible who otherwise are not
                self._hidden[key] = _offline(self.users[key])
            else:
                self._set(key, _offline(self.users[key]))
        self.knows_everyone = True
        for key in [key for key, user in self.users.items() if user.status == "offline" and not self._named(key)]:
            del self.users[key]

    def _apply_change(self, key: str, record: Mapping[str, Any], of_room: bool = False) -> None:
        if self._everyone is not None:
            self._changed_since.add(key)
        self._apply(key, record, of_room)

    def _apply(self, key: str, record: Mapping[str, Any], of_room: bool = False, *, is_snapshot: bool = False) -> None:
        if not self._covers(key):
            return  # sent before the server processed an UNWATCH
        user = UserPresence.from_record(record)
        if _is_never_seen(user) and self._is_member(key):
            self._hidden[key] = user
            return
        known = self.users.get(key)
        is_confirmed = known is not None and key not in self._unconfirmed
        is_newer = known is None or user.version > known.version
        if not (of_room or (is_confirmed and is_newer)):
            # The record of a member comes before the room, or once more after it, only if its user is visible by id.
            self._hidden.pop(key, None)
        if is_confirmed:
            # After AUTH with another token, a snapshot may say otherwise about the known version.
            if is_newer or (is_snapshot and known is not None and user.version == known.version):
                self._set(key, user)
            return
        if known is not None and known.online and self.settles_until is not None and _is_never_seen(user):
            return  # the server has just started: it does not know yet whether the user returns
        self._set(key, user)

    def _set(self, key: str, user: UserPresence) -> None:
        self._note(key)
        self._unconfirmed.discard(key)
        if user.status == "offline" and self.knows_everyone and not self._named(key):
            self.users.pop(key, None)  # otherwise a client that watches everyone would remember every visitor
        else:
            self.users[key] = user

    def _note(self, key: str) -> None:
        self._changes.setdefault(key, self.user(key))


def _is_never_seen(user: UserPresence) -> bool:
    """Return whether the server does not know this user, or hides them."""
    return user.status == "offline" and not user.since


def _offline(user: UserPresence) -> UserPresence:
    """Return a user that a snapshot omits. The version is 0, because that of before may be another server's."""
    return UserPresence(user.user_id, "offline", last_seen=user.last_seen)
