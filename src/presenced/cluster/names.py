"""Names of positions and sessions that all nodes of a cluster understand.

    position    <epoch>-<home>.<number>[-<snapshot>]    epoch of the cluster, node that sent it, position in its journal
    session     <home>.<random>                         node where it opened: the one to ask first

The *home* of a position or session is its node: the slot in two digits, and the incarnation. Positions of other nodes
are translated (`cluster.marks`).
"""

from __future__ import annotations

import re
from typing import NamedTuple

from presenced.cluster.backend import Registration
from presenced.cluster.marks import Marks
from presenced.presence.journal import Cursor, Journal
from presenced.protocols.names import Names

_HOME = re.compile(r"([0-9]{2})([0-9a-z]+)")


def home_of(slot: int, incarnation: str) -> str:
    """Return the name of a node in positions and sessions."""
    return f"{slot:02}{incarnation}"


def slot_of(home: str) -> int:
    """Return the slot of the node with this name; -1 if it is not the name of a node."""
    return int(home[:2]) if _HOME.fullmatch(home) else -1


class PositionParts(NamedTuple):
    """Parts of the name of a position."""

    home: str
    """Node that issued it."""
    numbers: list[str]
    """Position in the node's journal, and perhaps a snapshot, as text."""


class SharedNames(Names):
    """Names of the positions and sessions of a node in a cluster.

    Bounds: those of `Marks`.
    """

    def __init__(self, epoch: str, journal: Journal) -> None:
        super().__init__(epoch, journal)
        self.home = ""
        """Name of this node; empty before it has registered."""
        self.marks: Marks | None = None
        """Marks of all nodes; None before the cluster has set them."""

    def registered(self, registration: Registration) -> None:
        """Take the names that the registration in shard 0 gives."""
        self.epoch = registration.epoch
        self.home = home_of(registration.slot, registration.incarnation)

    def position(self, position: int, snapshot: int = 0) -> str:
        """Return the name of a position of this node."""
        text = f"{self.epoch}-{self.home}.{position}"
        return f"{text}-{snapshot}" if snapshot else text

    def cursor(self, text: str) -> Cursor | None:
        """Return the cursor with this name, translated if another node has issued it; None if it is unknown."""
        parts = self.parts(text)
        if parts is None:
            return None
        home, numbers = parts
        if home == self.home:
            return self._cursor(numbers)
        theirs = _number(numbers[0])
        if self.marks is None or theirs is None:
            return None
        position = self.marks.translate(home, theirs, self.home)
        return None if position is None else Cursor(position)

    def new_session(self) -> str:
        """Return the id of a new session."""
        return f"{self.home}.{super().new_session()}"

    def parts(self, text: str) -> PositionParts | None:
        """Return the parts of the name of a position; None if it is from another cluster."""
        epoch, *rest = text.split("-")
        if epoch != self.epoch or not 1 <= len(rest) <= 2:
            return None
        home, dot, number = rest[0].partition(".")
        return PositionParts(home, [number, *rest[1:]]) if dot else None

    def is_before(self, text: str, home: str, snapshot_end: Cursor) -> bool:
        """Return whether a client at the position `text` lacks a part of the last snapshot from the node `home`.

        Args:
            snapshot_end: End of that snapshot.
        """
        if snapshot_end == Cursor(0):
            return False
        parts = self.parts(text)
        if parts is None or parts.home != home:
            return True
        numbers = [number for one in parts.numbers if (number := _number(one)) is not None]
        if len(numbers) < len(parts.numbers):
            return True
        return Cursor(*numbers) < snapshot_end


def _number(text: str) -> int | None:
    """Return a number that a client has sent as text; None if it can't be a position."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else None
