"""Versions of users: numbers that show which of two records of one user is newer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

VersionOf = Callable[[str], int]
"""Returns a version for a user id."""


class VersionClock(Protocol):
    """Source of versions.

    Many users draw from one clock, because the record of an unknown user carries a version, too. That version must not
    be below any that a client may still know of the user, and must be below the user's next one. In a cluster, all
    nodes share a clock for each shard of the users.
    """

    newest: int
    """Highest number given so far."""

    def of_unknown(self) -> VersionOf:
        """Return the versions that unknown users have now. They stay the same if the clock advances."""

    def next(self, after: int) -> int:
        """Return a new number, above `newest` and above `after`, the user's last version."""

    def advance(self, number: int) -> None:
        """Assign only numbers above `number` from now on. No-op if `newest` is higher."""


class VersionCounter:
    """Implements `VersionClock` for one process: 1, 2, 3, ..."""

    newest = 0

    def of_unknown(self) -> VersionOf:
        """Return the newest version, for every user."""
        newest = self.newest
        return lambda _: newest

    def next(self, after: int) -> int:
        """Return the next number. It is above `after`, because all versions of this process come from here."""
        self.newest += 1
        return self.newest

    def advance(self, number: int) -> None:
        """Continue above `number`. An earlier start may have given the lower ones."""
        self.newest = max(self.newest, number)
