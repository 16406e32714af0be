"""How fast requests may be sent."""

from __future__ import annotations

MARGIN = 0.8
"""Part of the server's burst that is used at once. Requests may arrive closer together than they were sent."""


class RateLimit:
    """Token bucket with the server's rate and burst. A connection starts with a full one."""

    def __init__(self) -> None:
        self._rate = 10.0
        self._burst = 1.0
        self._tokens = 0.0
        self._at = 0.0

    def reset(self, rate: float, burst: float, now: float) -> None:
        """Begin with the limits of a new connection."""
        self._rate, self._burst = rate, max(1.0, burst * MARGIN)
        self._tokens, self._at = self._burst, now

    def is_free(self, now: float) -> bool:
        """Return whether a request may be sent now."""
        self._refill(now)
        return self._tokens >= 1

    def sent(self) -> None:
        """Count a request."""
        self._tokens -= 1

    def refused(self, now: float) -> None:
        """Pause for a second, because the server received requests faster than they were sent."""
        self._refill(now)
        self._tokens = min(self._tokens, 1 - max(1.0, self._rate))

    def free_at(self, now: float) -> float:
        """Return when the next request may be sent."""
        self._refill(now)
        # The smallest step keeps a float that is a little below 1 from being asked for again at the same time.
        return now if self._tokens >= 1 else now + max((1 - self._tokens) / self._rate, 1e-6)

    def _refill(self, now: float) -> None:
        self._tokens = min(self._burst, self._tokens + max(0.0, now - self._at) * self._rate)
        self._at = now
