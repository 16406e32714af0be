"""How much may come from one address: handshakes, connections, and failures to show who one is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import ceil
from typing import NamedTuple

from presenced.config.settings import Settings, is_loopback
from presenced.net.addresses import Proxies, counted
from presenced.runtime.limits import Buckets

MAX_ADDRESSES = 100_000
"""Addresses whose pace is remembered; some 25 MB. One more makes the one that was quiet longest forgotten."""


class Refused(NamedTuple):
    """An address has had enough for now."""

    detail: str
    retry_after: int
    """Seconds."""


class Throttle:
    """Counts by address. Times are monotonic seconds; a key is an address as it counts, empty for one that does not.

    This machine's own addresses do not count: a proxy or a test may be behind them. Where the server listens on
    loopback alone and no proxy is trusted, nothing is counted.

    Bounds: `MAX_ADDRESSES`, for handshakes and failures each; connections by the server's own bound.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.proxies = Proxies(settings.trusted_proxies, settings.proxy_header == "forwarded")
        self.header = settings.proxy_header.encode()
        """In which proxies name the client."""
        self.is_open = is_loopback(settings.host) and not self.proxies
        """Nothing is counted: what asks for an address need not find it out."""
        self._handshakes = Buckets(settings.address_rate, settings.address_burst, MAX_ADDRESSES)
        self._failures = Buckets(settings.address_failure_rate, settings.address_failure_burst, MAX_ADDRESSES)
        self._connections: Counter[str] = Counter()

    def key(self, peer: str, values: Sequence[bytes]) -> str:
        """As whom a request counts.

        Args:
            values: Those of `header`.
        """
        if self.is_open:
            return ""
        found = counted(self.proxies.client(peer, values))
        return "" if found.is_loopback else found.key

    def handshake(self, key: str, now: float) -> Refused | None:
        """One is asked for; why there is none."""
        if (barred := self.barred(key, now)) is not None:
            return barred
        if key and (wait := self._handshakes.take(key, now)):
            return Refused("too many recent connections from this address; retry later", ceil(wait))
        return None

    def barred(self, key: str, now: float) -> Refused | None:
        """Whether too many from there failed to show who they are."""
        if key and (wait := self._failures.wait(key, now)):
            return Refused("too many failed authentications from this address; retry later", ceil(wait))
        return None

    def failed(self, key: str, now: float) -> None:
        """Somebody from there could not show who they are."""
        if key:
            self._failures.take(key, now)

    def came(self, key: str) -> bool:
        """A connection; whether there may be one more. To be matched by `left` if so."""
        if not key:
            return True
        if self._connections[key] >= self._settings.address_connections:
            return False
        self._connections[key] += 1
        return True

    def left(self, key: str) -> None:
        """A connection ended."""
        if key:
            self._connections[key] -= 1
            if self._connections[key] <= 0:
                del self._connections[key]
