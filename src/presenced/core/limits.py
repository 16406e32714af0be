"""How often: the token bucket."""

from __future__ import annotations


class Bucket:
    """Lets through `rate` a second in the long run, and `burst` at once.

    One number and one time per bucket; time is an argument (monotonic seconds).
    """

    __slots__ = ("_left", "_seen_at")

    def __init__(self, burst: float, now: float) -> None:
        self._left = burst
        self._seen_at = now

    def take(self, rate: float, burst: float, now: float) -> bool:
        """Take one; False when there is none."""
        self._left = min(burst, self._left + (now - self._seen_at) * rate)
        self._seen_at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True
