"""Garbage collection: measures its pauses, and keeps them short.

Python's cyclic garbage collector stops the event loop while it runs. A full collection examines every object that may
refer to others, about eight for each connection. With 15,000 connections it stopped the loop for 45 ms.

`keep_pauses_short` therefore excludes the survivors of each full collection from all later ones (`gc.freeze`), and lets
full collections happen more often. Each one then examines only objects created since the last one, which takes 6 ms.

The drawback is that a cycle among frozen objects is never collected. Connections, sessions and users are in no cycle.
Only objects of an HTTP request that is being answered at that moment may stay behind.
"""

from __future__ import annotations

import gc
import time

FULL_COLLECTION_EVERY = 4
"""Number of middle collections (generation 1) before a full one; Python's default is 10. With its other
defaults, there is one middle collection per 7,000 new objects."""


class Pauses:
    """Duration of collections from `start` to `stop`.

    It holds plain numbers, not metrics, because a collection may begin anywhere. If it begins while the lock of a
    metric is held, updating that metric might wait forever.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        """Total duration."""
        self.longest = 0.0
        """Duration of the longest collection in seconds."""
        self._began = 0.0

    def start(self) -> None:
        """Start measuring."""
        gc.callbacks.append(self._on_collection)

    def stop(self) -> None:
        """Stop measuring."""
        gc.callbacks.remove(self._on_collection)

    def _on_collection(self, phase: str, _: dict[str, int]) -> None:
        if phase == "start":
            self._began = time.perf_counter()
        else:
            took = time.perf_counter() - self._began
            self.seconds += took
            self.longest = max(self.longest, took)


def keep_pauses_short() -> None:
    """Make each full collection examine only objects created since the last one.

    Only for a process that runs nothing but the server, because it changes the collector of the whole process.
    """
    gc.collect()
    gc.freeze()
    # The collector skips full collections until the number of new objects exceeds a quarter of those that survived the
    # last one. After this call that number is nearly zero.
    gc.collect()
    gc.callbacks.append(_freeze_survivors)
    gc.set_threshold(*gc.get_threshold()[:2], FULL_COLLECTION_EVERY)


def _freeze_survivors(phase: str, info: dict[str, int]) -> None:
    if phase == "stop" and info["generation"] == len(gc.get_threshold()) - 1:  # the oldest: a full collection
        gc.freeze()
