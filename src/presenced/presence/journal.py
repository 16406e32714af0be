"""The journal: positions, all changes in their order, and a digest that two followers can compare.

A position is a place in the order of everything that happens on this server: changes of users, changes of rooms, and
the periodic digests of large rooms. Only events have positions. A snapshot takes none: its position is that of the last
event before it. Versions are something else: they belong to users (`presence.versions`).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from hashlib import sha256
from itertools import chain, islice
from typing import NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from presenced.presence.model import Change, Status, View

MAX_HASHED = 1_000
"""Changes that one call of `Journal.digest` looks at; about a millisecond."""


class Cursor(NamedTuple):
    """How far the client of a session has come. Cursors of one session compare in the order in which they were sent.

    Snapshots take no position, so two snapshots can end at one position, as can the changes before them. The number of
    the snapshot distinguishes them: a client that lost its connection within a snapshot does not have it.
    """

    position: int
    snapshot: int = 0
    """Number of the session's snapshot that ends here; 0 at the end of changes."""


class Digest(Struct, frozen=True):
    """The state of all users at a position, as one number."""

    position: int
    value: int
    """The sum, modulo 2^64, over all users shown as anything but offline, of the first 8 bytes, big-endian, of the
    SHA-256 of user id, NUL, status, NUL, version."""
    users: int
    """How many they are."""


class Journal:
    """The newest changes, each of them, in the order of their positions.

    Bounds: `size` changes; of one more the oldest goes. Appending is O(1), and nothing else happens then.

    """

    def __init__(self, size: int) -> None:
        assert size > 0, "checked with the settings"
        self._size = size
        self.position = 0
        """Position of the newest event."""
        self._entries: list[Change] = []
        self._first = 0  # where the oldest one is
        self.floor = 0
        """The position up to which changes have been dropped."""
        self._unhashed: list[Change] = []
        self._hashed_to: int | None = None  # what follows belongs to it, once nothing is left unhashed
        self._value = 0
        self._users = 0

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def newest_change(self) -> int:
        """Position of the newest change in the journal; that of the start if there is none."""
        return self._entries[self._first - 1].position if self._entries else self.floor

    def next_position(self) -> int:
        """Give the next position, to an event that happens now."""
        self.position += 1
        return self.position

    def advance(self, number: int) -> None:
        """Give only positions above `number`, which an earlier start has used, from now on."""
        if self.position == 0:
            self.floor = number
        self.position = max(self.position, number)

    def append(self, change: Change) -> None:
        """Add the newest change; its position is above all others."""
        if len(self._entries) < self._size:
            self._entries.append(change)
            return
        first = self._first
        self.floor = self._entries[first].position
        self._entries[first] = change
        self._first = (first + 1) % self._size

    def since(self, position: int, limit: int) -> list[Change] | None:
        """The first `limit` changes after `position`; None when some of those have been dropped."""
        if position < self.floor:
            return None
        entries, first = self._entries, self._first
        at = bisect_right(entries, position, lo=first, key=_position)
        found = entries[at : at + limit]
        if first and len(found) < limit:
            at = bisect_right(entries, position, hi=first, key=_position)
            found += entries[at : min(first, at + limit - len(found))]
        return found

    def last_of(self, user_id: str, limit: int) -> list[Change]:
        """The user's last changes, newest first. O(size)."""
        newest_first = chain(reversed(self._entries[: self._first]), reversed(self._entries[self._first :]))
        return list(islice((change for change in newest_first if change.user_id == user_id), limit))

    def blank(self, user_id: str) -> None:
        """Of the user's changes keep what followers need: from which status to which, and the version. O(size)."""
        for index, change in enumerate(self._entries):
            if change.user_id == user_id:
                self._entries[index] = replace(change, view=View(change.status), seen_ms=0)

    def digest(self, everyone: Callable[[], list[Change]]) -> Digest | None:
        """The state after the newest change.

        None: `MAX_HASHED` changes have been taken into account, and there are more; ask again in another turn of the
        loop. It begins with all users, goes on with the changes since, and begins again when some of those are gone.

        Args:
            everyone: Returns the last change of each user who is shown as anything but offline (`Users.snapshot`).
        """
        if self._hashed_to is None or self._hashed_to < self.floor:
            self._unhashed, self._hashed_to = everyone(), self.newest_change
            self._value, self._users = 0, len(self._unhashed)
        if self._unhashed:
            self._value += sum(map(_hash_of, self._unhashed[-MAX_HASHED:]))
            del self._unhashed[-MAX_HASHED:]
            if self._unhashed:
                return None
        changes = self.since(self._hashed_to, MAX_HASHED)
        assert changes is not None, "looked at above"
        for change in changes:
            if change.was is not Status.OFFLINE:
                self._value -= _hash(change.user_id, change.was, change.was_version)
                self._users -= 1
            if change.status is not Status.OFFLINE:
                self._value += _hash_of(change)
                self._users += 1
        self._hashed_to = changes[-1].position if changes else self._hashed_to
        if self._hashed_to < self.newest_change:
            return None
        return Digest(self._hashed_to, self._value % 2**64, self._users)


def _position(change: Change) -> int:
    return change.position


def _hash(user_id: str, status: Status, version: int) -> int:
    return int.from_bytes(sha256(f"{user_id}\0{status.value}\0{version}".encode()).digest()[:8], "big")


def _hash_of(change: Change) -> int:
    return _hash(change.user_id, change.status, change.version)
