"""The journal: positions, all changes in their order, and a digest that two followers can compare.

A position is a place in the order of all events on this server. Events are changes of users, changes of rooms, and the
periodic digests of large rooms. A snapshot takes no position: it has that of the last event before it. Versions are
different: they belong to users (`presence.versions`).

There are two logs of changes, with the same `Change` objects in them, because they answer different questions:

    log              read by                      contains                       bound
    RecentChanges    clients that were behind     the last change of each user   `log_size`, `log_age`
    Journal          followers (HTTP API)         every change                   `journal_size`

Few users change often. The first log drops a change when it needs room and the same user has changed again. It
therefore reaches back much further with the same memory. A user is remembered as long as their last change is in it.
The second log skips nothing that was published. A stopping server publishes no changes, so it appends none.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable
from hashlib import sha256
from itertools import chain, islice
from operator import attrgetter
from typing import NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from presenced.presence.model import Change, Status, View

MAX_HASHED_USERS = 1_000
"""Maximum number of users, and of changes after them, that one call of `Journal.digest` hashes. 1,000 hashes take about
a millisecond."""

_position = attrgetter("position")


class Cursor(NamedTuple):
    """Progress of a session's client. Cursors of one session compare in the order in which they were sent.

    Snapshots take no position, so two snapshots can end at one position, as can the changes before them. The number of
    the snapshot distinguishes them: a client that lost its connection within a snapshot does not have it.
    """

    position: int
    snapshot: int = 0
    """Number of the session's snapshot that ends here; 0 at the end of changes."""


class RecentChanges:
    """Last change of each user who changed recently, in the order of positions.

    Bounds: at most `max_entries` changes, and after `trim` none older than `max_age` seconds. When the log is full,
    changes that are no longer the last one of their user are dropped. If it is still more than half full, the oldest
    changes are dropped, too, until it is half full. Appending is O(1) amortised.

    Args:
        is_latest: Returns whether a change is still the last one of its user.
        on_dropped: Called with each change that is dropped while it is the last one of its user.
    """

    def __init__(
        self,
        max_entries: int,
        max_age: float,
        is_latest: Callable[[Change], bool],
        on_dropped: Callable[[Change], None],
    ) -> None:
        assert max_entries >= 2, "checked with the settings"
        self._max_entries = max_entries
        self._max_age = max_age
        self._is_latest = is_latest
        self._on_dropped = on_dropped
        self._entries: list[Change] = []
        self.floor = 0
        """Position up to which changes may have been dropped."""

    def __len__(self) -> int:
        return len(self._entries)

    def append(self, change: Change) -> None:
        """Add the newest change. Its position is above all others, and `is_latest` is already true for it."""
        if len(self._entries) >= self._max_entries:
            self._entries = [c for c in self._entries if self._is_latest(c)]
            self._drop(len(self._entries) - self._max_entries // 2)
        self._entries.append(change)

    def replace(self, change: Change) -> None:
        """Replace the change at the same position. No-op if it has been dropped. O(log size)."""
        index = bisect_left(self._entries, change.position, key=_position)
        if index < len(self._entries) and self._entries[index].position == change.position:
            self._entries[index] = change

    def trim(self, now: float) -> None:
        """Drop changes that are older than `max_age` at `now` (monotonic seconds)."""
        oldest = now - self._max_age
        if self._entries and self._entries[0].at.monotonic < oldest:
            self._drop(bisect_right(self._entries, oldest, key=lambda c: c.at.monotonic))

    def since(self, position: int, limit: int) -> list[Change] | None:
        """Return the last change of every user who changed after `position`, in order, at most `limit` of them.

        A user who changed twice appears once. Continue from the position of the last one until the result is empty.
        Return None if the log does not reach back to `position`.
        """
        if position < self.floor:
            return None
        entries = self._entries
        newer = (entries[index] for index in range(bisect_right(entries, position, key=_position), len(entries)))
        return list(islice(filter(self._is_latest, newer), limit))

    def _drop(self, count: int) -> None:
        if count <= 0:
            return
        dropped, self._entries = self._entries[:count], self._entries[count:]
        self.floor = dropped[-1].position
        for change in dropped:
            if self._is_latest(change):
                self._on_dropped(change)


class Digest(Struct, frozen=True):
    """State of all users at a position, as one number that any implementation can recompute."""

    position: int
    value: int
    """Sum of the hashes of all users who are not shown as offline, modulo 2^64. The hash of a user is the first 8
    bytes, big-endian, of the SHA-256 of user id, NUL, status, NUL, version."""
    users: int
    """Number of these users."""


class Journal:
    """Positions of all events, and the newest changes, every one of them, in the order of their positions.

    Bounds: `size` changes; at the bound the oldest is dropped. Appending is O(1).
    """

    def __init__(self, size: int) -> None:
        assert size > 0, "checked with the settings"
        self._size = size
        self.position = 0
        """Position of the newest event."""
        self._entries: list[Change] = []
        self._first = 0  # index of the oldest change: the list is a ring
        self.floor = 0
        """Position up to which changes have been dropped."""
        self.erasures = 0
        """Number of calls of `erase_details`. What was copied out of changes before the last one may have details that
        were erased since."""
        # The digest so far. When `_unhashed` is empty, `_value` and `_users` are those at the position `_hashed_to`.
        self._hashed_to: int | None = None
        self._unhashed: list[Change] = []
        self._value = 0
        self._users = 0

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def newest_change_position(self) -> int:
        """Position of the newest change; `floor` if there is none."""
        return self._entries[self._first - 1].position if self._entries else self.floor

    def next_position(self) -> int:
        """Return the next position, for an event that happens now."""
        self.position += 1
        return self.position

    def advance(self, number: int) -> None:
        """Assign only positions above `number` from now on. An earlier start may have used the lower ones."""
        if self.position == 0:
            self.floor = number  # this journal has none of the changes of the earlier start
        self.position = max(self.position, number)

    def append(self, change: Change) -> None:
        """Add the newest change. Its position is above all others."""
        if len(self._entries) < self._size:
            self._entries.append(change)
            return
        first = self._first
        self.floor = self._entries[first].position
        self._entries[first] = change
        self._first = (first + 1) % self._size

    def since(self, position: int, limit: int) -> list[Change] | None:
        """Return the first `limit` changes after `position`; None if some of them have been dropped."""
        if position < self.floor:
            return None
        # The ring has the older changes from `first` on, and the newer ones before `first`.
        entries, first = self._entries, self._first
        at = bisect_right(entries, position, lo=first, key=_position)
        found = entries[at : at + limit]
        if first and len(found) < limit:
            at = bisect_right(entries, position, hi=first, key=_position)
            found += entries[at : min(first, at + limit - len(found))]
        return found

    def last_of(self, user_id: str, limit: int) -> list[Change]:
        """Return the user's last changes, newest first. O(size)."""
        newest_first = chain(reversed(self._entries[: self._first]), reversed(self._entries[self._first :]))
        return list(islice((change for change in newest_first if change.user_id == user_id), limit))

    def erase_details(self, user_id: str) -> None:
        """Erase details from the user's changes. Statuses and versions stay, because followers need them. O(size)."""
        self.erasures += 1
        for index, change in enumerate(self._entries):
            if change.user_id == user_id:
                self._entries[index] = replace(change, view=View(change.status), seen_ms=0)

    def digest(self, everyone: Callable[[], list[Change]]) -> Digest | None:
        """Return the state after the newest change as a digest.

        The digest starts from all users, and then continues with the changes since. It starts again if some of those
        changes have been dropped. One call does a bounded part of the work (`MAX_HASHED_USERS`), to block the loop only
        briefly.

        Args:
            everyone: Returns the last change of each user who is shown as anything but offline (`Users.snapshot`).

        Returns:
            None if work remains. Call again in another turn of the event loop.
        """
        if self._hashed_to is None or self._hashed_to < self.floor:
            self._unhashed, self._hashed_to = everyone(), self.newest_change_position
            self._value, self._users = 0, len(self._unhashed)
        if self._unhashed:
            self._value += sum(map(_hash_of, self._unhashed[-MAX_HASHED_USERS:]))
            del self._unhashed[-MAX_HASHED_USERS:]
            if self._unhashed:
                return None
        changes = self.since(self._hashed_to, MAX_HASHED_USERS)
        assert changes is not None, "compared with the floor above"
        for change in changes:
            if change.was is not Status.OFFLINE:
                self._value -= _hash(change.user_id, change.was, change.was_version)
                self._users -= 1
            if change.status is not Status.OFFLINE:
                self._value += _hash_of(change)
                self._users += 1
        self._hashed_to = changes[-1].position if changes else self._hashed_to
        if self._hashed_to < self.newest_change_position:
            return None
        return Digest(self._hashed_to, self._value % 2**64, self._users)


def _hash(user_id: str, status: Status, version: int) -> int:
    return int.from_bytes(sha256(f"{user_id}\0{status.value}\0{version}".encode()).digest()[:8], "big")


def _hash_of(change: Change) -> int:
    return _hash(change.user_id, change.status, change.version)
