"""How often: the token bucket, and the best pace seen."""

from __future__ import annotations

from collections import OrderedDict


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


COMPLAINTS = 5
"""Lines a second about one thing that fails, and as many at once: what clients can cause must not fill a log."""


class Buckets:
    """A bucket for each of many keys.

    Bounds: `max_keys`; one more makes the key that was used longest ago forgotten, whose bucket is full again by then
    unless there are more keys at a time than that.
    """

    def __init__(self, rate: float, burst: float, max_keys: int) -> None:
        self._rate = rate
        self._burst = burst
        self._max_keys = max_keys
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()
        """What was left at which time; used longest ago first."""

    def __len__(self) -> int:
        return len(self._left)

    def take(self, key: str, now: float) -> float:
        """Take one; 0, or the seconds until there is one."""
        left = self._now(key, now)
        if left < 1:
            return (1 - left) / self._rate
        self._left.pop(key, None)
        self._left[key] = left - 1, now
        if len(self._left) > self._max_keys:
            self._left.popitem(last=False)
        return 0.0

    def wait(self, key: str, now: float) -> float:
        """The seconds until there is one to take; 0 when there is."""
        left = self._now(key, now)
        return 0.0 if left >= 1 else (1 - left) / self._rate

    def _now(self, key: str, now: float) -> float:
        left, at = self._left.get(key, (self._burst, now))
        return min(self._burst, left + (now - at) * self._rate)


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
