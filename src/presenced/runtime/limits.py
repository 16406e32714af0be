"""Bounds in number and rate: a map that evicts its oldest entry, token buckets, and the highest rate so far.

Time is an argument everywhere, in monotonic seconds.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterator
from math import inf
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class BoundedMap(Generic[K, V]):
    """Mapping of at most `max_entries` keys, each for at most `ttl` seconds.

    Iteration and eviction go by the time an entry was set, oldest first. At the bound, setting one more key evicts the
    entry that was set least recently. Reading an entry does not renew it.

    Because all entries live equally long, the oldest always expires first. Expiring therefore needs no heap, and each
    operation is O(1) amortised. An expired entry stays in the map, and in its length, until it is read or another one
    is set, or until `expire`.

    Args:
        ttl: Lifetime of an entry in seconds. By default entries do not expire, and `now` can be omitted everywhere.
    """

    # A plain dict would do, but finding its first key walks past all deleted ones: 1.2 us for each eviction.
    __slots__ = ("_entries", "_expiry", "_max_entries", "_ttl")

    def __init__(self, max_entries: int, ttl: float = inf) -> None:
        self._max_entries = max_entries
        self._ttl = ttl
        self._entries: OrderedDict[K, V] = OrderedDict()
        self._expiry: dict[K, float] = {}  # of all entries if there is a TTL; otherwise empty, which saves memory

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, key: K) -> bool:
        return key in self._entries

    def __iter__(self) -> Iterator[K]:
        return iter(self._entries)

    def get(self, key: K, now: float = -inf) -> V | None:
        """Return the value of `key`; None if it has none or the entry has expired."""
        if self._expiry and self._expiry.get(key, inf) <= now:
            self.pop(key)
        return self._entries.get(key)

    def set(self, key: K, value: V, now: float = -inf) -> tuple[K, V] | None:
        """Set the value of `key`, whose entry is the newest from now on.

        Returns:
            Entry that was evicted because the map was full, as key and value; None if there was room. Expired entries
            are removed first. If `max_entries` is 0, the evicted entry is the new one.
        """
        if self._ttl < inf:
            self.expire(now)
            self._expiry[key] = now + self._ttl
        self._entries[key] = value
        self._entries.move_to_end(key)
        if len(self._entries) <= self._max_entries:
            return None
        evicted = self._entries.popitem(last=False)
        self._expiry.pop(evicted[0], None)
        return evicted

    def pop(self, key: K, now: float = -inf) -> V | None:
        """Remove `key` and return its value; None if it has none or the entry has expired."""
        is_over = self._expiry.pop(key, inf) <= now if self._expiry else False
        value = self._entries.pop(key, None)
        return None if is_over else value

    def seconds_left(self, key: K, now: float) -> float:
        """Return the seconds until an entry expires; infinity if it does not, or if the key has none."""
        return self._expiry.get(key, inf) - now

    def expire(self, now: float) -> None:
        """Remove all expired entries, so that the length counts live ones only."""
        expiry, entries = self._expiry, self._entries
        while expiry and expiry[key := next(iter(entries))] <= now:
            del expiry[key], entries[key]


class Bucket:
    """Token bucket: allows `rate` events per second on average, and `burst` at once.

    The bucket stores one number and one time. The rate and the burst are arguments, because many buckets share them.
    """

    __slots__ = ("_left", "_seen_at")

    def __init__(self, burst: float, now: float) -> None:
        self._left = burst
        self._seen_at = now

    def take(self, rate: float, burst: float, now: float) -> bool:
        """Take one token. Return False if there is none."""
        self._left = min(burst, self._left + (now - self._seen_at) * rate)
        self._seen_at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


class Buckets:
    """Token buckets by key, with one rate in tokens per second and one burst for all.

    Bounds: `max_keys`. At the bound, the bucket from which a token was taken least recently is evicted. It is
    full by then, unless more than `max_keys` keys are in use.
    """

    def __init__(self, rate: float, burst: float, max_keys: int) -> None:
        self._rate = rate
        self._burst = burst
        self._left: BoundedMap[str, tuple[float, float]] = BoundedMap(max_keys)
        """Number of tokens left, and the time at which it was counted."""

    def __len__(self) -> int:
        return len(self._left)

    def take(self, key: str, now: float) -> float:
        """Take a token and return 0, or return the seconds until there is one."""
        left = self._tokens(key, now)
        if left < 1:
            return (1 - left) / self._rate
        self._left.set(key, (left - 1, now))
        return 0.0

    def wait(self, key: str, now: float) -> float:
        """Return the seconds until there is a token, without taking it; 0 if there is one."""
        left = self._tokens(key, now)
        return 0.0 if left >= 1 else (1 - left) / self._rate

    def _tokens(self, key: str, now: float) -> float:
        left, at = self._left.get(key) or (self._burst, now)
        return min(self._burst, left + (now - at) * self._rate)


class Pace:
    """Highest number of events in one second so far."""

    LEAST = 1000.0
    """Lower limit of `best`, in events per second: every machine manages this many."""

    def __init__(self) -> None:
        self.best = self.LEAST
        """Events per second, in the best second so far."""
        self._second = float("-inf")
        self._events = 0

    def count(self, now: float) -> None:
        """Count one event."""
        if now - self._second >= 1:
            self._second, self._events = now, 0
        self._events += 1
        self.best = max(self.best, self._events)
