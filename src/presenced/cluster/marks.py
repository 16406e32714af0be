"""Position marks: how a position in the journal of one node is translated into one of another node. Pure.

Each node has a journal of its own, and the positions that clients and backends remember are those of the node that sent
them. All nodes apply the same log, though. Twice a second, a node whose position has moved logs a mark: its position,
and up to which number it had applied each shard.

    node A    position 900    shard numbers (51, 17)     in the log
    node B    position 340    shard numbers (50, 17)     its own mark

A client that comes from A with position 900 or more has everything up to (51, 17). B's newest own mark that is not
above that in any shard is at 340, so B sends what came after 340. At most half a second of changes is sent again, which
clients drop by version. Nothing is missed.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import deque
from operator import attrgetter
from typing import NamedTuple

from msgspec import Struct

MARK_PERIOD_S = 0.5
"""Seconds between two marks of a node, if its position has moved."""

_TEXT = re.compile(r"([0-9a-f]+)-([0-9]{2})([0-9a-z]+)\.([0-9]{1,19})")
_position = attrgetter("position")


class Mark(Struct, frozen=True, array_like=True):
    """Position of a node, and what it had applied then."""

    slot: int
    incarnation: str
    position: int
    applied: tuple[int, ...]
    """Number of the newest item applied, by shard."""


class Place(NamedTuple):
    """A position of some node."""

    epoch: str
    slot: int
    incarnation: str
    position: int

    def __str__(self) -> str:
        return f"{self.epoch}-{self.slot:02}{self.incarnation}.{self.position}"


def parse_place(text: str) -> Place | None:
    """Return the place that `str` has made this text of; None if it is none."""
    if (match := _TEXT.fullmatch(text)) is None:
        return None
    epoch, slot, incarnation, position = match.groups()
    return Place(epoch, int(slot), incarnation, int(position))


class Marks:
    """The marks of all nodes that are recent enough to be useful.

    Bounds: two marks per second and node, for `age_s`.

    Args:
        age_s: Seconds for which marks are kept (`log_age`).
    """

    def __init__(self, age_s: float) -> None:
        self._age_s = age_s
        self._of: dict[tuple[int, str], deque[Mark]] = {}
        self._times: deque[tuple[float, tuple[int, str]]] = deque()

    def add(self, mark: Mark, now: float) -> None:
        """Add a mark of a node, also of this one. Its marks come in the order of their positions."""
        key = mark.slot, mark.incarnation
        self._of.setdefault(key, deque()).append(mark)
        self._times.append((now, key))
        while self._times and self._times[0][0] < now - self._age_s:
            _, oldest = self._times.popleft()
            self._of[oldest].popleft()
            if not self._of[oldest]:
                del self._of[oldest]

    def translate(self, place: Place, slot: int, incarnation: str) -> int | None:
        """Return the position on the node `slot` after which everything is missing at `place`.

        Returns:
            None if the marks do not reach back far enough, or nothing is known of one of the nodes.
        """
        theirs, mine = self._of.get((place.slot, place.incarnation)), self._of.get((slot, incarnation))
        if not theirs or not mine:
            return None
        index = bisect_right(theirs, place.position, key=_position)
        if not index:
            return None
        applied = theirs[index - 1].applied
        found = [mark.position for mark in mine if all(a <= b for a, b in zip(mark.applied, applied, strict=True))]
        return found[-1] if found else None
