"""How often: the token bucket, and the best pace seen."""

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


class Pace:
    """How many came in the best second so far; time is an argument (monotonic seconds)."""

    LEAST = 1000.0
    """A second, when no more than that ever came at once: what any machine can do."""

    def __init__(self) -> None:
        self.best = self.LEAST
        self._second = float("-inf")
        self._came = 0

    def count(self, now: float) -> None:
        """One came."""
        if now - self._second >= 1:
            self._second, self._came = now, 0
        self._came += 1
        self.best = max(self.best, self._came)
