"""Which web pages may connect: the `Origin` a browser sends, against an allow-list (RFC 6454, RFC 6455 section 10.2).

It keeps other people's pages from using a visitor's browser. It does not tell who somebody is: a program can send
what it likes.
"""

from __future__ import annotations

import ipaddress
import re
from collections import OrderedDict
from collections.abc import Iterable
from typing import NamedTuple

from presenced.errors import ConfigError

ANY = "*"

MAX_REMEMBERED = 256
"""Verdicts."""

_ORIGIN = re.compile(r"([a-z][a-z0-9+.-]*)://(\[[0-9a-f:.]+\]|[a-z0-9_*.-]+)(?::([0-9]{1,5}))?")
_PORTS = {"http": 80, "https": 443}


class Origin(NamedTuple):
    """A scheme, a host and a port; a host that starts with `*.` means every name below it."""

    scheme: str
    host: str
    port: int | None
    """None for a scheme without a usual one, when none is given."""

    @property
    def is_loopback(self) -> bool:
        """Whether it is a page of this machine."""
        if self.scheme not in _PORTS:
            return False
        try:
            return ipaddress.ip_address(self.host.strip("[]")).is_loopback
        except ValueError:
            return self.host == "localhost" or self.host.endswith(".localhost")

    def covers(self, other: Origin) -> bool:
        """Whether this, a pattern, is meant to include `other`."""
        if (self.scheme, self.port) != (other.scheme, other.port):
            return False
        return other.host.endswith(self.host[1:]) if self.host.startswith("*.") else other.host == self.host


class Origins:
    """The allow-list. With no entries: the host that was connected to, on any port, and this machine's own pages.

    Bounds: `MAX_REMEMBERED` verdicts.

    Raises:
        ConfigError: An entry is not an origin.
    """

    def __init__(self, entries: Iterable[str]) -> None:
        entries = tuple(entries)
        self._any = ANY in entries
        self._patterns = tuple(_pattern(entry) for entry in entries if entry != ANY)
        self._verdicts: OrderedDict[tuple[bytes, bytes], bool] = OrderedDict()

    def allows(self, origin: bytes, host: bytes) -> bool:
        """Whether a page of `origin` may connect; `null`, and what is not an origin at all, never may.

        Args:
            host: The header `Host` of the request.
        """
        verdict = self._verdicts.get((origin, host))
        if verdict is None:
            verdict = self._verdicts[origin, host] = self._judge(origin, host)
            if len(self._verdicts) > MAX_REMEMBERED:
                self._verdicts.popitem(last=False)
        return verdict

    def _judge(self, origin: bytes, host: bytes) -> bool:
        found = _parse(origin.decode("latin-1"))
        if found is None or "*" in found.host:
            return False
        if self._any:
            return True
        if self._patterns:
            return any(pattern.covers(found) for pattern in self._patterns)
        # Whatever the ports: a page's own server is often beside this one, on another port of the same host.
        same = _parse(f"{found.scheme}://{host.decode('latin-1').lower()}")
        return found.is_loopback or (found.scheme in _PORTS and same is not None and found.host == same.host)


def _parse(text: str) -> Origin | None:
    match = _ORIGIN.fullmatch(text)
    if match is None:
        return None
    scheme, host, port = match.groups()
    number = int(port) if port else _PORTS.get(scheme)
    return Origin(scheme, host, number) if number is None or 0 < number < 65536 else None


def _pattern(entry: str) -> Origin:
    found = _parse(entry.lower())
    if found is None or "*" in found.host.removeprefix("*.") or found.host.count(".") < (2 if "*" in found.host else 0):
        raise ConfigError(
            f"origins can't hold {entry!r}: expected scheme://host, like https://app.example.com, "
            "https://app.example.com:8443 or https://*.example.com"
        )
    return found
