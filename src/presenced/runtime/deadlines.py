"""Deadlines: keys that become due at a time.

The heap contains pairs of time and serial number. Two dictionaries link serial numbers and keys. Cancelling only
removes the links. The pair stays in the heap until it is the first one, or until the heap is rebuilt because more than
half of it is stale. So cancelling is O(1). That matters because most deadlines are cancelled: clients answer in time.
"""

from __future__ import annotations

from collections.abc import Hashable
from heapq import heapify, heappop, heappush
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)

_SLACK = 64
"""Number of cancelled entries that the heap may contain beyond the number of live ones, before it is rebuilt."""


class Deadlines(Generic[K]):
    """At most one deadline per key. Times are monotonic seconds.

    Setting costs O(log n) amortised, cancelling O(1). After each `set` the heap has at most `_SLACK` entries more than
    twice the number of keys. A cancelled deadline leaves a pair of numbers in the heap, but never its key.
    """

    __slots__ = ("_heap", "_keys", "_last_serial", "_serials")

    def __init__(self) -> None:
        self._heap: list[tuple[float, int]] = []
        self._keys: dict[int, K] = {}  # of the live entries of the heap, by serial number
        self._serials: dict[K, int] = {}
        self._last_serial = 0

    def __len__(self) -> int:
        return len(self._keys)

    def __contains__(self, key: K) -> bool:
        return key in self._serials

    def set(self, key: K, at: float) -> None:
        """Make `key` due at `at`. This replaces its earlier deadline."""
        self.cancel(key)
        self._last_serial += 1
        self._serials[key] = self._last_serial
        self._keys[self._last_serial] = key
        heappush(self._heap, (at, self._last_serial))
        if len(self._heap) > 2 * len(self._keys) + _SLACK:
            self._heap = [entry for entry in self._heap if entry[1] in self._keys]
            heapify(self._heap)

    def cancel(self, key: K) -> None:
        """Cancel the deadline of `key`. No-op if it has none."""
        serial = self._serials.pop(key, None)
        if serial is not None:
            del self._keys[serial]

    def next(self) -> float | None:
        """Return the earliest deadline; None if there is none."""
        heap = self._heap
        while heap and heap[0][1] not in self._keys:
            heappop(heap)
        return heap[0][0] if heap else None

    def pop_due(self, now: float) -> K | None:
        """Remove and return the key that has been due longest at `now`; None if no key is due."""
        at = self.next()
        if at is None or at > now:
            return None
        key = self._keys[heappop(self._heap)[1]]
        self.cancel(key)
        return key
