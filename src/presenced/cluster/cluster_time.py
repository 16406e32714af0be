"""Cluster time: the clock of the store, as far as a node knows it."""

from __future__ import annotations

from presenced.runtime.clock import Clock


class ClusterTime:
    """The store's clock, as an offset to this node's monotonic clock. Each commit corrects it.

    Before the first commit, it is the clock of this node.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        now = clock.now()
        self._offset_ms = now.epoch_ms - now.monotonic * 1000

    @property
    def now_ms(self) -> int:
        """The store's time in epoch milliseconds."""
        return round(self._clock.monotonic() * 1000 + self._offset_ms)

    def observe(self, epoch_ms: int) -> None:
        """Take the store's time from a reply that has just arrived."""
        self._offset_ms = epoch_ms - self._clock.monotonic() * 1000
