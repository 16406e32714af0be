"""Where a node is in the log of a shard, and what it knows of the shard when the store has lost it."""

from __future__ import annotations

from typing import NamedTuple

from presenced.cluster.backend import Entry, EntryKey


class Logged(NamedTuple):
    """Entry, and the number of the one before it. A reader compares it with where it is, and so notices a gap."""

    entry: Entry
    previous: int


class Position(NamedTuple):
    """Where a reader is: after `last`, or after `n` if the log was empty."""

    last: EntryKey | None
    n: int

    @property
    def last_n(self) -> int:
        """Number of the last entry; 0 if there was none."""
        return self.last.n if self.last else 0


class Known(NamedTuple):
    """What a node has seen of a shard."""

    floor: int = 0
    """Highest number that it has seen or shown."""
    generation: int = 0
    epoch: str = ""

    def above(self, n: int) -> Known:
        """Return this with a floor of at least `n`."""
        return self if n <= self.floor else self._replace(floor=n)


def next_position(position: Position, found: list[Logged]) -> Position | None:
    """Return the position after some entries; None if entries before them are missing."""
    if not found:
        return position
    if found[0].previous != position.last_n:
        return None
    last = found[-1].entry
    return Position(last.key, last.n)
