"""Limits for one address: handshakes, failed authentications and open connections.

| limit | settings | counts | at the limit |
|---|---|---|---|
| handshakes | `address_rate`, `address_burst` | every WebSocket handshake | 429 with `Retry-After` |
| failures | `address_failure_rate`, `address_failure_burst` | guesses (below) | 429 for handshakes and the API |
| connections | `address_connections` | open TCP connections of any kind | 429, and the connection is closed |

Handshakes and failures are token buckets: `burst` at once, `rate` a second on average. A failure is an attempt that may
be a guess. It is a token that no known key signed, an invented ticket, an unknown API key, or a connection that does
not authenticate in time. An expired or revoked token does not count, because many people share one address and one of
them must not lock out the others. docs/explanation/security-model.md lists every case.

While an address is at its limit of failures, its handshakes and API requests are refused. Other addresses are not
affected. `addresses.limit_key` maps an address to the key under which it counts. Addresses of this machine are not
limited, because a proxy may be behind them. If the server listens on loopback only and trusts no proxy, nothing is
limited, and callers do not determine the address.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import ceil

from presenced.config.settings import Settings, is_loopback
from presenced.errors import Problem
from presenced.net.addresses import TrustedProxies, limit_key
from presenced.net.refusals import Refusal
from presenced.runtime.limits import Buckets

MAX_ADDRESSES = 100_000
"""Maximum number of addresses with a bucket, some 25 MB. At the bound the least recently counted one is evicted. By
then its bucket is full again, unless more addresses than that are active."""


class Throttle:
    """Counters by address. Times are monotonic seconds. Keys come from `key`; an empty key is never limited.

    Bounds: `MAX_ADDRESSES` for handshakes and for failures; the server's connections bound the counted connections.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.proxies = TrustedProxies(settings.trusted_proxies, settings.proxy_header == "forwarded")
        self.proxy_header = settings.proxy_header.encode()
        """Name of the header in which proxies state the client's address."""
        self.is_disabled = is_loopback(settings.host) and not self.proxies
        """Whether no address is limited."""
        self._handshakes = Buckets(settings.address_rate, settings.address_burst, MAX_ADDRESSES)
        self._failures = Buckets(settings.address_failure_rate, settings.address_failure_burst, MAX_ADDRESSES)
        self._connections: Counter[str] = Counter()

    def key(self, peer: str, values: Sequence[bytes]) -> str:
        """Return the key of a request.

        Args:
            values: Values of `proxy_header`.
        """
        return "" if self.is_disabled else limit_key(self.proxies.client(peer, values))

    def admit_handshake(self, key: str, now: float) -> Refusal | None:
        """Count a handshake. Return the refusal if the address has reached a limit."""
        if (refusal := self.refusal_for_failures(key, now)) is not None:
            return refusal
        if key and (wait := self._handshakes.take(key, now)):
            return _refusal("too many recent connections from this address; retry later", wait)
        return None

    def refusal_for_failures(self, key: str, now: float) -> Refusal | None:
        """Return the refusal if the address has too many failures."""
        if key and (wait := self._failures.wait(key, now)):
            return _refusal("too many failed authentications from this address; retry later", wait)
        return None

    def count_failure(self, key: str, now: float) -> None:
        """Count a failed authentication."""
        if key:
            self._failures.take(key, now)

    def admit_connection(self, key: str) -> bool:
        """Count an open connection. Return False, and do not count it, if the address has too many.

        Each admitted connection is released by `release_connection`.
        """
        if not key:
            return True
        if self._connections[key] >= self._settings.address_connections:
            return False
        self._connections[key] += 1
        return True

    def release_connection(self, key: str) -> None:
        """Count the end of an admitted connection."""
        if key:
            self._connections[key] -= 1
            if self._connections[key] <= 0:
                del self._connections[key]


def _refusal(detail: str, wait: float) -> Refusal:
    return Refusal(Problem.TOO_MANY_REQUESTS, detail, counts_as="address", retry_after=ceil(wait))
