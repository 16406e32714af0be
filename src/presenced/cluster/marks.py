"""Position marks: how a position in the journal of one node is translated into one of another node. Pure.

Each node has a journal of its own, and the positions that clients and backends remember are those of the node that sent
them. All nodes apply the same log, though. Twice a second, a node whose position has moved logs a mark: its position,
and the number up to which it had applied the log of each shard.

    node A    position 900    shard numbers (51, 17)     in the log
    node B    position 340    shard numbers (50, 17)     its own mark

A client that comes from A with position 900 or more has everything up to (51, 17). B's newest own mark that is not
above these numbers in any shard is at 340, so B sends what came after 340. At most half a second of changes is sent
again, and clients drop those by their versions. Nothing is missed.

Entries without a change, such as the marks themselves, have numbers, too, but clients receive nothing for them. So a
node remembers its own marks with the number of the last entry that changed something. A node also logs a mark when
another one joins, because that node has loaded up to a number above earlier marks.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import deque
from operator import attrgetter

from msgspec import Struct, msgpack

MARK_PERIOD_S = 0.5
"""Seconds between two marks of a node, if its position has moved."""

MAX_MARK_GAP_S = 30.0
"""Maximum number of seconds between two marks of a node. If `log_age` is short, a quarter of it is the maximum."""

_position = attrgetter("position")


class Mark(Struct, frozen=True, array_like=True):
    """Position of a node in its journal, and the entries of the log that it had applied by then."""

    home: str
    """Name of the node (`cluster.names`)."""
    position: int
    applied: tuple[int, ...]
    """Number of the newest entry applied, by shard; in a node's own marks, of the newest one with a change."""


_decoder = msgpack.Decoder(Mark)


def encode_mark(mark: Mark) -> bytes:
    """Return a mark as bytes."""
    return msgpack.encode(mark)


def decode_mark(data: bytes) -> Mark:
    """Return the mark in these bytes.

    Raises:
        msgspec.ValidationError: They are not a mark.
    """
    return _decoder.decode(data)


class Marks:
    """The marks of all nodes that are recent enough to be useful.

    Bounds: about two marks per second and node, for `age_s`.

    Args:
        age_s: Seconds for which marks are kept (`log_age`).
    """

    def __init__(self, age_s: float) -> None:
        self.gap_s = min(MAX_MARK_GAP_S, age_s / 4)
        """Maximum number of seconds between two marks of a node."""
        self._age_s = age_s
        self._by_node: dict[str, deque[Mark]] = {}
        self._added: deque[tuple[float, str]] = deque()  # monotonic time and node of each mark, oldest first

    def add(self, mark: Mark, now: float) -> None:
        """Add a mark of a node, also of this one, at `now` (monotonic seconds). Its marks come in order."""
        self._by_node.setdefault(mark.home, deque()).append(mark)
        self._added.append((now, mark.home))
        while self._added and self._added[0][0] < now - self._age_s:
            _, oldest = self._added.popleft()
            self._by_node[oldest].popleft()
            if not self._by_node[oldest]:
                del self._by_node[oldest]

    def forget(self, home: str) -> None:
        """Forget the marks of a node."""
        if self._by_node.pop(home, None) is not None:
            self._added = deque(one for one in self._added if one[1] != home)

    def translate(self, home: str, position: int, to: str) -> int | None:
        """Return the position at which a client of the node `home` continues on the node `to`.

        A client that has everything up to `position` at `home` lacks nothing up to the result at `to`.

        Returns:
            None if the marks do not reach back far enough, or nothing is known of one of the nodes.
        """
        theirs, ours = self._by_node.get(home), self._by_node.get(to)
        if not theirs or not ours:
            return None
        index = bisect_right(theirs, position, key=_position)
        if not index:
            return None
        applied = theirs[index - 1].applied

        def is_beyond(mark: Mark) -> bool:
            return any(own > other for own, other in zip(mark.applied, applied, strict=True))

        # The numbers in a node's marks only rise, so the marks that are beyond come last.
        found = bisect_left(ours, True, key=is_beyond)
        return ours[found - 1].position if found else None
