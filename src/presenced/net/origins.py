"""Check of a browser's `Origin` against an allow-list of web pages (RFC 6454, RFC 6455 section 10.2).

The list keeps foreign pages from using a visitor's browser. It is not authentication, because a program can send any
`Origin`.

| list | pages that may connect |
|---|---|
| empty | of the host in the request, on any port, if that host is a name of this server; of this machine |
| `https://app.example.com` | of exactly this scheme, host and port |
| `https://*.example.com` | of every name below the domain, with this scheme and port; not of the domain itself |
| `capacitor://` | of an app with this scheme and any host |
| `file://` | from files, and sandboxed frames of every page: browsers send `null` for both |
| `*` | of every origin except `null` |

An origin is parsed and then compared part by part. Servers that compared beginnings or endings of the text allowed
`https://app.example.com.evil` (CVE-2022-42975).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from presenced.config.settings import is_loopback
from presenced.errors import ConfigError
from presenced.runtime.limits import BoundedMap

ANY = "*"
"""Entry that allows every origin except those that send `null`."""

FILES = "file://"
"""Entry that allows pages from files. Browsers send `null` for them, and for sandboxed frames of every page."""

_OPAQUE = ("null", FILES)  # some programs that embed a browser send file://

MAX_CACHED_ORIGINS = 256
"""Maximum number of cached verdicts. At the bound the oldest is evicted."""

MAX_CACHED_ORIGIN_BYTES = 1024
"""Maximum size in bytes of an origin and a host with a cached verdict. Longer ones are checked again each time."""

_ORIGIN = re.compile(r"([a-z][a-z0-9+.-]*)://(\[[0-9a-f:.]+\]|[a-z0-9_*.-]+)(?::([0-9]{1,5}))?")
_APP = re.compile(r"([a-z][a-z0-9+.-]*)://")
_PORTS = {"http": 80, "https": 443}


class Origin(NamedTuple):
    """A scheme, a host and a port."""

    scheme: str
    host: str
    """Host, in lower case. In a pattern, a leading `*.` includes every name below; an empty host, for apps' own
    schemes, includes every host."""
    port: int | None
    """None if the origin names no port and its scheme has no default one."""

    @property
    def is_loopback(self) -> bool:
        """Whether the origin is a page of this machine."""
        return self.scheme in _PORTS and (is_loopback(self.host) or self.host.endswith(".localhost"))

    def covers(self, other: Origin) -> bool:
        """Return whether this pattern includes `other`."""
        if not self.host:
            return self.scheme == other.scheme
        if (self.scheme, self.port) != (other.scheme, other.port):
            return False
        return other.host.endswith(self.host[1:]) if self.host.startswith("*.") else other.host == self.host


class Origins:
    """Allow-list of origins.

    An empty list allows pages of the host in the request, on any port, and pages of this machine.

    Args:
        is_own_host: Returns whether a `Host` is a name of this server. A page of any other host never counts as a page
            of the same host.

    Bounds: `MAX_CACHED_ORIGINS` verdicts of `MAX_CACHED_ORIGIN_BYTES`.

    Raises:
        ConfigError: An entry is not an origin.
    """

    def __init__(self, entries: Iterable[str], is_own_host: Callable[[bytes], bool] = lambda _: True) -> None:
        entries = tuple(entries)
        self._is_own_host = is_own_host
        self._any = ANY in entries
        self._files = FILES in entries
        self._patterns = tuple(_patterns(entries))
        self._is_default = not entries
        self._verdicts: BoundedMap[tuple[bytes, bytes], bool] = BoundedMap(MAX_CACHED_ORIGINS)

    def allows(self, origin: bytes, host: bytes) -> bool:
        """Return whether a page of `origin` may connect.

        Args:
            host: The `Host` header of the request.
        """
        verdict = self._verdicts.get((origin, host))
        if verdict is None:
            verdict = self._judge(origin, host)
            if len(origin) + len(host) <= MAX_CACHED_ORIGIN_BYTES:
                self._verdicts.set((origin, host), verdict)
        return verdict

    def _judge(self, origin: bytes, host: bytes) -> bool:
        text = origin.decode("latin-1")
        if text in _OPAQUE:
            return self._files
        found = _parse(text)
        if found is None or "*" in found.host:  # a page cannot pose as a pattern
            return False
        if not self._is_default:
            return self._any or any(pattern.covers(found) for pattern in self._patterns)
        if found.is_loopback:
            return True
        # On any port: a page's own server often listens beside this one, on another port of the same host.
        same = _parse(f"{found.scheme}://{host.decode('latin-1').lower()}")
        is_same = found.scheme in _PORTS and same is not None and found.host == same.host
        return is_same and self._is_own_host(host)


def entry_for(origin: bytes) -> str:
    """Return the entry of the setting `origins` that would allow pages of `origin`; empty if no entry can."""
    text = origin.decode("latin-1")
    if text in _OPAQUE:
        return FILES
    found = _parse(text)
    return "" if found is None or "*" in found.host else text


def host_names(entries: Iterable[str]) -> list[str]:
    """Return the hosts of web pages in these entries of the setting `origins`, including patterns.

    Hosts of apps' own schemes are omitted, because they are not DNS names.

    Raises:
        ConfigError: An entry is not an origin.
    """
    return [pattern.host for pattern in _patterns(entries) if pattern.scheme in _PORTS]


def _patterns(entries: Iterable[str]) -> Iterator[Origin]:
    return (_pattern(entry) for entry in entries if entry not in (ANY, FILES))


def _parse(text: str) -> Origin | None:
    match = _ORIGIN.fullmatch(text)
    if match is None:
        return None
    scheme, host, port = match.groups()
    number = int(port) if port else _PORTS.get(scheme)
    return Origin(scheme, host, number) if number is None or 0 < number < 65536 else None


def _pattern(entry: str) -> Origin:
    text = entry.lower()
    app = _APP.fullmatch(text)
    if app is not None and app[1] not in (*_PORTS, "ws", "wss", "file"):
        return Origin(app[1], "", None)
    found = _parse(text)
    if found is None or "*" in found.host.removeprefix("*.") or found.host.count(".") < (2 if "*" in found.host else 0):
        raise ConfigError(
            f"origins can't hold {entry!r}: expected scheme://host, like https://app.example.com, "
            "https://app.example.com:8443, https://*.example.com, capacitor://localhost or file://"
        )
    return found
