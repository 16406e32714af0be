"""The bounded log of changes: what a watcher missed since a position."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable

from presenced.presence.model import Change


class ChangeLog:
    """The newest changes in the order of their positions.

    Bounds: at most `max_entries` changes, none older than `max_age` seconds. When full, changes that a newer one
    of the same user has made obsolete go first; if that does not halve the log, its older half goes. Appending is
    O(1) amortised.

    Args:
        is_latest: Tells whether a change is still the last one of its user.
        forget: Told each change that leaves the log while it is the last one of its user.
    """

    __slots__ = ("_entries", "_forget", "_is_latest", "_max_age", "_max_entries", "floor")

    def __init__(
        self,
        max_entries: int,
        max_age: float,
        is_latest: Callable[[Change], bool],
        forget: Callable[[Change], None],
    ) -> None:
        assert max_entries >= 2, "checked with the settings"
        self._max_entries = max_entries
        self._max_age = max_age
        self._is_latest = is_latest
        self._forget = forget
        self._entries: list[Change] = []
        self.floor = 0
        """The position up to which changes may have been dropped."""

    def __len__(self) -> int:
        return len(self._entries)

    def append(self, change: Change) -> None:
        """Add the newest change; its position is above all others."""
        if len(self._entries) >= self._max_entries:
            self._entries = [c for c in self._entries if self._is_latest(c)]
            self._drop(len(self._entries) - self._max_entries // 2)
        self._entries.append(change)

    def trim(self, now: float) -> None:
        """Drop what is older than the log's age."""
        oldest_kept = now - self._max_age
        if self._entries and self._entries[0].at.monotonic < oldest_kept:
            self._drop(bisect_right(self._entries, oldest_kept, key=lambda c: c.at.monotonic))

    def since(self, position: int, limit: int) -> list[Change] | None:
        """The last change of every user who changed after `position`, in order, `limit` of them at most.

        A user who changed twice stands once. Ask again from the last one's position until the answer is empty.
        None when the log no longer reaches back to `position`.
        """
        if position < self.floor:
            return None
        found: list[Change] = []
        for index in range(bisect_right(self._entries, position, key=lambda c: c.position), len(self._entries)):
            if self._is_latest(self._entries[index]):
                found.append(self._entries[index])
                if len(found) == limit:
                    break
        return found

    def _drop(self, count: int) -> None:
        if count <= 0:
            return
        dropped, self._entries = self._entries[:count], self._entries[count:]
        self.floor = dropped[-1].position
        for change in dropped:
            if self._is_latest(change):
                self._forget(change)
