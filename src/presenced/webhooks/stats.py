"""What an operator sees of the webhooks."""

from __future__ import annotations

from bisect import bisect_left

from msgspec import Struct, field

SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper ends of the buckets of a request's time; one more bucket is for what took longer."""


class WebhookFigures(Struct, array_like=True):
    """Of all endpoints together. Numbers of events, where it does not say requests; since the keeper's start, but for
    `waiting`, `dead` and `oldest_ms`, which are now.
    """

    waiting: int = 0
    dead: int = 0
    oldest_ms: int = 0
    """When the oldest that waits was made, in epoch milliseconds; 0 when none waits."""
    delivered: int = 0
    failed: int = 0
    """Requests that did not get a 2xx."""
    retried: int = 0
    """Sent once more, each time."""
    expelled: int = 0
    """Went dead because too many waited."""
    dropped: int = 0
    """Dead letters that were deleted because there were too many, or after 30 days."""
    requests: int = 0
    seconds: float = 0.0
    """That all requests took together."""
    buckets: list[int] = field(default_factory=lambda: [0] * (len(SECONDS) + 1))
    """Requests by the seconds they took, by `SECONDS`; not cumulative."""

    def took(self, seconds: float) -> None:
        """Count a request."""
        self.requests += 1
        self.seconds += seconds
        self.buckets[bisect_left(SECONDS, seconds)] += 1
