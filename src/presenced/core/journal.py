"""All changes in order, as many as fit; and a number that two who followed them can compare."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from hashlib import sha256

from msgspec import Struct

from presenced.core.model import Change, Status

MAX_HASHED = 1_000
"""Changes that one call of `Journal.digest` looks at; about a millisecond."""


class Digest(Struct, frozen=True):
    """The state of all users at a position, as one number."""

    position: int
    value: int
    """The sum, modulo 2^64, over all users shown as anything but offline, of the first 8 bytes, big-endian, of the
    SHA-256 of user id, NUL, status, NUL, version."""
    users: int
    """How many they are."""


def _hash(user_id: str, status: Status, version: int) -> int:
    return int.from_bytes(sha256(f"{user_id}\0{status.value}\0{version}".encode()).digest()[:8])


class Journal:
    """The newest changes, each of them, in the order of their positions.

    Bounds: `size` changes; beyond it the oldest goes. Appending is O(1).

    Args:
        everyone: The last change of each user who is shown as anything but offline: `Directory.snapshot`.
    """

    def __init__(self, size: int, everyone: Callable[[], list[Change]]) -> None:
        self._size = size
        self._everyone = everyone
        self._entries: list[Change] = []
        self._first = 0
        """Where the oldest one is, once all places are taken."""
        self.floor = 0
        """The position up to which changes have been dropped."""

    def __len__(self) -> int:
        return len(self._entries)

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


def _position(change: Change) -> int:
    return change.position
