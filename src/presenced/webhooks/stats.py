"""Statistics of webhooks. The storage worker counts, and the server shows the counts as metrics."""

from __future__ import annotations

from bisect import bisect_left

from msgspec import Struct, field

BUCKETS_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds of the buckets for the duration of a request. One more bucket holds the longer ones."""


class WebhookStats(Struct, array_like=True, tag="webhooks"):
    """Statistics of all endpoints together. Counts are of events, unless they say requests.

    `waiting`, `dead` and `oldest_ms` are the present state. All others count from the start of the storage worker.
    """

    waiting: int = 0
    dead: int = 0
    """Dead letters: events that could not be delivered."""
    oldest_ms: int = 0
    """Time at which the oldest waiting event was queued, in epoch milliseconds; 0 if none waits."""
    delivered: int = 0
    failed: int = 0
    """Requests that were not answered with 2xx."""
    retried: int = 0
    """Events sent again, counted each time."""
    expelled: int = 0
    """Events that became dead letters because too many waited."""
    dropped: int = 0
    """Dead letters deleted because there were too many, or because of their age."""
    requests: int = 0
    seconds: float = 0.0
    """Total duration of all requests."""
    buckets: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS_S) + 1))
    """Requests by duration, in the buckets of `BUCKETS_S`; not cumulative."""

    def count_request(self, seconds: float) -> None:
        """Count a request of this duration."""
        self.requests += 1
        self.seconds += seconds
        self.buckets[bisect_left(BUCKETS_S, seconds)] += 1
