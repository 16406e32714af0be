"""Check of a request's `Host` against an allow-list of the server's names.

A page can point a name of its own at 127.0.0.1 (DNS rebinding). The browser then treats this server as the page's own
origin, so no rule about origins keeps the page out. Only `Host` reveals the attack (RFC 9110 section 7.2).
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from typing import Self

from presenced.config.settings import Settings
from presenced.errors import ConfigError
from presenced.net.origins import host_names
from presenced.runtime.limits import BoundedMap

MAX_CACHED_HOSTS = 256
"""Maximum number of cached verdicts. At the bound the oldest is evicted."""

MAX_HOST_CHARACTERS = 300
"""Maximum number of characters of a `Host` that may be allowed. A name has at most 253 characters, and a port with its
colon 6; the rest is slack. Longer values are refused without parsing."""

_HOST = re.compile(r"(\[[^\[\]]+\]|[^\[\]:]+)(?::[0-9]*)?")
"""Name or bracketed IPv6 address, with an optional port."""

_ENTRY = re.compile(r"(\*\.(?=.*\.))?[a-z0-9_-]+(\.[a-z0-9_-]+)*")
"""Entry of `allowed_hosts`. The name after `*.` must contain a dot, so `*.com` is refused."""


class AllowedHosts:
    """Allow-list of host names, without ports. Names of this machine and IP addresses are always allowed.

    Rebinding needs a name in an attacker's DNS. An IP address is not a name, and browsers resolve `localhost` and the
    names below it themselves (RFC 6761 section 6.3).

    Args:
        names: Names in lower case. A name that starts with `*.` includes every name below. None allows every `Host`.

    Bounds: `MAX_CACHED_HOSTS` verdicts of `MAX_HOST_CHARACTERS` characters.
    """

    def __init__(self, names: Iterable[str] | None) -> None:
        self._allows_any = names is None
        names = ("localhost", "*.localhost", *(names or ()))
        self._names = frozenset(name for name in names if not name.startswith("*."))
        self._suffixes = tuple(name[1:] for name in names if name.startswith("*."))
        self._verdicts: BoundedMap[bytes, bool] = BoundedMap(MAX_CACHED_HOSTS)

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Return the names that requests may use. With authentication, any name unless `allowed_hosts` is set.

        A page that rebinds a name has no token to send.

        Raises:
            ConfigError: An entry of `allowed_hosts` is not a name, or an entry of `origins` is not an origin.
        """
        own = cls.own(settings)
        return own if settings.auth == "none" or settings.allowed_hosts else cls(None)

    @classmethod
    def own(cls, settings: Settings) -> Self:
        """Return the names from the settings: `host`, `allowed_hosts`, and the hosts of web pages in `origins`.

        Raises:
            ConfigError: As for `of`.
        """
        allowed = [_checked_entry(entry) for entry in settings.allowed_hosts]
        return cls([settings.host.lower(), *host_names(settings.origins), *allowed])

    def allow(self, host: bytes) -> bool:
        """Return whether a request with this `Host` is for this server."""
        if self._allows_any:
            return True
        verdict = self._verdicts.get(host)
        if verdict is None:
            if len(host) > MAX_HOST_CHARACTERS:
                return False
            verdict = self._judge(host.decode("latin-1"))
            self._verdicts.set(host, verdict)
        return verdict

    def allow_all(self, hosts: Iterable[bytes]) -> bool:
        """Check all values of `Host`. Requests without one (HTTP/1.0) do not come from a browser and are allowed."""
        return all(map(self.allow, hosts))

    def _judge(self, host: str) -> bool:
        match = _HOST.fullmatch(host)
        if match is None:  # the name is matched as a whole: no prefix or suffix of it may decide (CVE-2022-42975)
            return False
        name = match[1].lower()
        if _is_address(name):
            return True
        name = name.removesuffix(".")  # the same name in DNS, but a different host to browsers
        return name in self._names or any(name.endswith(end) and len(name) > len(end) for end in self._suffixes)


def host_name(host: bytes) -> str:
    """Return the name in a `Host` as `allowed_hosts` can hold it; empty if it cannot."""
    match = _HOST.fullmatch(host.decode("latin-1")) if len(host) <= MAX_HOST_CHARACTERS else None
    name = match[1].lower().removesuffix(".") if match else ""
    return name if "*" not in name and _ENTRY.fullmatch(name) else ""


def _is_address(name: str) -> bool:
    # Only the standard notation: `127.1` and `0x7f.1` are addresses to some resolvers and names to others.
    try:
        if name.startswith("["):
            ipaddress.IPv6Address(name[1:-1])
        else:
            ipaddress.IPv4Address(name)
    except ValueError:
        return False
    return True


def _checked_entry(entry: str) -> str:
    name = entry.lower().removesuffix(".")
    if not _ENTRY.fullmatch(name):
        raise ConfigError(
            f"allowed_hosts can't hold {entry!r}: expected a name without scheme and port, like presence.example.com, "
            "presenced or *.example.com"
        )
    return name
