"""Position of a reader in the log of a shard, and values that a node remembers in case the store loses them."""

from __future__ import annotations

from typing import NamedTuple

from presenced.cluster.backend import Entry, EntryKey


class LoggedEntry(NamedTuple):
    """Entry of the log, with its link to the entry before."""

    entry: Entry
    previous: int
    """Number of the entry before it. A reader compares it with its own position, and so notices a gap."""


class Position(NamedTuple):
    """Position of a reader in the log of a shard. Not a position in the journal of a node."""

    last: EntryKey | None
    """Last entry that was read; None if the log was empty."""
    n: int
    """Number after which the reader continues: that of `last`, or where the empty log stood."""

    @property
    def last_n(self) -> int:
        """Number of the last entry; 0 if there was none."""
        return self.last.n if self.last else 0


class LastKnown(NamedTuple):
    """Values of a shard that a node has seen last.

    The node passes them with its writes, so that a store that has lost them continues with higher ones.
    """

    floor: int = 0
    """Highest number that the node has read or shown."""
    generation: int = 0
    """As in `cluster.backend.Registration`."""
    epoch: str = ""
    """As in `cluster.backend.Registration`."""

    def above(self, n: int) -> LastKnown:
        """Return the same values with a floor of at least `n`."""
        return self if n <= self.floor else self._replace(floor=n)


def next_position(position: Position, found: list[LoggedEntry]) -> Position | None:
    """Return the position after some entries; None if entries before them are missing."""
    if not found:
        return position
    if found[0].previous != position.last_n:
        return None
    last = found[-1].entry
    return Position(last.key, last.n)
