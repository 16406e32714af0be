"""Things that are due at a time: set, cancel, ask for the next, take what is due."""

from __future__ import annotations

from collections.abc import Hashable
from heapq import heapify, heappop, heappush
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)

_SLACK = 64
"""Cancelled entries tolerated in the heap beyond as many as there are live ones."""


class Deadlines(Generic[K]):
    """At most one deadline per key. Times are monotonic seconds.

    Setting and cancelling cost O(log n). Memory is bounded by twice the number of keys plus a constant: a
    cancelled entry stays in the heap until it surfaces or the heap is rebuilt.
    """

    __slots__ = ("_at", "_heap", "_serial")

    def __init__(self) -> None:
        self._at: dict[K, tuple[float, int]] = {}
        self._heap: list[tuple[float, int, K]] = []  # the serial keeps keys from being compared
        self._serial = 0

    def __len__(self) -> int:
        return len(self._at)

    def __contains__(self, key: K) -> bool:
        return key in self._at

    def set(self, key: K, at: float) -> None:
        """Make `key` due at `at`, in place of any earlier deadline it had."""
        self._serial += 1
        self._at[key] = (at, self._serial)
        heappush(self._heap, (at, self._serial, key))
        if len(self._heap) > 2 * len(self._at) + _SLACK:
            self._heap = [(at, serial, key) for key, (at, serial) in self._at.items()]
            heapify(self._heap)

    def cancel(self, key: K) -> None:
        """Forget the deadline of `key`; no-op when it has none."""
        self._at.pop(key, None)

    def next(self) -> float | None:
        """When the earliest deadline is; None when there is none."""
        heap = self._heap
        while heap and self._at.get(heap[0][2], (0.0, 0))[1] != heap[0][1]:
            heappop(heap)
        return heap[0][0] if heap else None

    def pop_due(self, now: float) -> K | None:
        """Take out the key that has been due longest at `now`; None when none is."""
        at = self.next()
        if at is None or at > now:
            return None
        key = heappop(self._heap)[2]
        del self._at[key]
        return key
