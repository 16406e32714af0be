"""Python's cyclic garbage collector: how long it stops the loop, and how that is kept short."""

from __future__ import annotations

import gc
import time

FULL_COLLECTION_EVERY = 4
"""Collections of the middle generation, 7,000 new objects each, from one full collection to the next (Python's: 10)."""


class Pauses:
    """How long collections took, from `start` to `stop`.

    Plain numbers: a collection may begin anywhere, also where a metric's lock is held.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        """Of all together."""
        self.longest = 0.0
        self._began = 0.0

    def start(self) -> None:
        """Begin to look."""
        gc.callbacks.append(self._on_collection)

    def stop(self) -> None:
        """Look no more."""
        gc.callbacks.remove(self._on_collection)

    def _on_collection(self, phase: str, _: dict[str, int]) -> None:
        if phase == "start":
            self._began = time.perf_counter()
        else:
            took = time.perf_counter() - self._began
            self.seconds += took
            self.longest = max(self.longest, took)


def keep_pauses_short() -> None:
    """Have each full collection look only at what was made since the last one. For a process that does nothing else.

    A full collection looks at all objects that may refer to others, some eight of every connection: at 15,000
    connections that held the loop for 45 ms. What has survived one is therefore set aside (`gc.freeze`), and they come
    more often: 6 ms. The price is that a cycle among objects set aside is never collected. Connections, sessions and
    users are in none, so what may stay behind is what is left of an HTTP request that was being answered right then.
    """
    gc.collect()
    gc.freeze()
    gc.collect()  # the collector waits until there is a quarter more than the last one left: now that is nothing
    gc.callbacks.append(_set_aside)
    gc.set_threshold(*gc.get_threshold()[:2], FULL_COLLECTION_EVERY)


def _set_aside(phase: str, what: dict[str, int]) -> None:
    if phase == "stop" and what["generation"] == len(gc.get_threshold()) - 1:
        gc.freeze()
