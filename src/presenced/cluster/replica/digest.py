"""State digest of a shard: a number that shows whether nodes have the same records. Pure.

All nodes apply the same log, so after the same entry they have the same digest. But they apply it at different times,
and report digests only with their heartbeats. So a node also remembers digests at *checkpoints*: the last few entries
whose numbers cross a multiple of 2^8, 2^12 or 2^16. At any rate of changes, two nodes have some of these entries in
common.

    node A    ... [4096: 7f] ... [8192: 3b] ... 9011: 5c                 8192 is in both lists,
    node B               ... [8192: 3b] ... [12288: d1] ... 13002: 9e    and there the digests must be equal
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from itertools import combinations
from typing import NamedTuple
from zlib import crc32

from presenced.presence.model import Status

CHECKPOINT_SHIFTS = (8, 12, 16)
"""Numbers are divided by 2 to the power of these. An entry in which a quotient changes is a checkpoint."""

CHECKPOINTS = 2
"""Number of checkpoints that are remembered for each quotient."""

# These codes are part of the digest. They never change, because nodes of different releases are compared.
_CODES = {Status.ONLINE: 1, Status.AWAY: 2, Status.BUSY: 3, Status.INVISIBLE: 4, Status.OFFLINE: 5}

Checkpoint = tuple[int, int]
"""Number of an entry, and the digest after it. A plain tuple, because nodes report it in their figures."""


class StateDigest:
    """Digest of the records of a shard: the sum of a hash for each record. A change costs half a microsecond.

    The hash is CRC-32. A cryptographic one would add 1 µs to the 15 µs that a change costs. The digest has to find
    mistakes, and an attacker who can forge a collision can write to the store anyway.

    Bounds: `CHECKPOINTS` for each of `CHECKPOINT_SHIFTS`.
    """

    def __init__(self) -> None:
        self.value = 0
        self._checkpoints = [deque[Checkpoint](maxlen=CHECKPOINTS) for _ in CHECKPOINT_SHIFTS]

    def clear(self) -> None:
        """Begin again without records, and forget the checkpoints."""
        self.value = 0
        for found in self._checkpoints:
            found.clear()

    def add(self, user_id: str, status: Status, version: int) -> None:
        """Add a record."""
        self.value += _hash(user_id, status, version)

    def remove(self, user_id: str, status: Status, version: int) -> None:
        """Remove a record that was added with the same values."""
        self.value -= _hash(user_id, status, version)

    def applied(self, before: int, n: int) -> None:
        """Remember the digest after entry `n` if that is a checkpoint.

        Args:
            before: Number of the entry that was applied before.
        """
        for shift, found in zip(CHECKPOINT_SHIFTS, self._checkpoints, strict=True):
            if before >> shift == n >> shift:
                break  # no larger shift can have changed its quotient either
            found.append((n, self.value))

    def report(self, n: int) -> tuple[Checkpoint, ...]:
        """Return the checkpoints and the newest digest, after the entry `n`."""
        return tuple(sorted({*(one for found in self._checkpoints for one in found), (n, self.value)}))


class Comparison(NamedTuple):
    """Result of comparing the digests of nodes."""

    compared: frozenset[str]
    """Names of the nodes that have an entry in common with another one."""
    differing: dict[int, dict[str, int]]
    """Digests that differ: by the number of the entry, and the name of the node."""


def compare(reports: Mapping[str, Iterable[Checkpoint]]) -> Comparison:
    """Compare the reports of nodes, each pair at the newest entry that both have.

    Older ones do not count: a node that had missed something may have loaded everything since.
    """
    by_node = {name: dict(report) for name, report in reports.items()}
    compared: set[str] = set()
    differing: dict[int, dict[str, int]] = {}
    for one, other in combinations(by_node, 2):
        mine, theirs = by_node[one], by_node[other]
        if not (common := mine.keys() & theirs.keys()):
            continue
        compared |= {one, other}
        n = max(common)
        if mine[n] != theirs[n]:
            differing.setdefault(n, {}).update({one: mine[n], other: theirs[n]})
    return Comparison(frozenset(compared), differing)


def _hash(user_id: str, status: Status, version: int) -> int:
    # The second argument is the CRC of preceding data. For one user, different values always give different results.
    return crc32(user_id.encode(), (version << 3 | _CODES[status]) & 0xFFFFFFFF)
