"""Where a client is: the address behind trusted proxies, and as whom it counts."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from presenced.errors import ConfigError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

MAX_HOPS = 32
"""Entries of a forwarding header looked at, from its end; a proxy adds one."""


class Proxies:
    """Proxies whose word on a client's address is taken.

    There is one header for it, for proxies write one and pass on the other as the client sent it.

    Args:
        by_rfc_7239: The header is `Forwarded` (RFC 7239), else `X-Forwarded-For`.

    Raises:
        ConfigError: An entry is neither an address nor a network.
    """

    def __init__(self, entries: Iterable[str], by_rfc_7239: bool = False) -> None:
        self._by_rfc_7239 = by_rfc_7239
        self._networks = tuple(_network(entry) for entry in entries)

    def __bool__(self) -> bool:
        return bool(self._networks)

    def trusts(self, address: str) -> bool:
        """Whether `address` is one of them."""
        found = parse_address(address)
        return found is not None and any(found in network for network in self._networks)

    def client(self, peer: str, values: Sequence[bytes]) -> str:
        """The client's address: of the hops the header names, the last one that no trusted proxy has.

        What stands before it the client may have made up. Without a trusted peer the header means nothing.

        Args:
            values: Of the header the proxies write.
        """
        if not self.trusts(peer):
            return peer
        hops = _rfc_7239(values) if self._by_rfc_7239 else b",".join(values).decode("latin-1").split(",")
        client = peer
        for hop in reversed(hops[-MAX_HOPS:]):
            address = parse_address(_without_port(hop.strip()))
            if address is None:  # `unknown`, or made up: the proxy before it is all that is known
                return client
            client = str(address)
            if not self.trusts(client):
                return client
        return client


class Counted(NamedTuple):
    """As whom a client counts where addresses are limited."""

    key: str
    """An IPv4 address, or the /64 of an IPv6 one: so much anybody is given."""
    is_loopback: bool


def counted(address: str) -> Counted:
    """As whom `address` counts; what is not an address counts as itself."""
    found = parse_address(address)
    if found is None:
        return Counted(address, is_loopback=False)
    if isinstance(found, ipaddress.IPv6Address) and not found.is_loopback:
        return Counted(str(ipaddress.IPv6Network((int(found) >> 64 << 64, 64))), is_loopback=False)
    return Counted(str(found), found.is_loopback)


def parse_address(text: str) -> Address | None:
    """An address, an IPv4 one also when it is written as IPv6 (`::ffff:192.0.2.1`)."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address.scope_id is not None:  # of this machine's interfaces; it says nothing of whose it is
            return ipaddress.IPv6Address(int(address))
    return address


def _without_port(hop: str) -> str:
    if hop.startswith("["):
        return hop[1:].partition("]")[0]
    return hop.partition(":")[0] if hop.count(":") == 1 else hop


def _rfc_7239(values: Sequence[bytes]) -> list[str]:
    """What each element names with `for=`, empty when it names nothing."""
    hops = []
    for element in b",".join(values).decode("latin-1").split(","):
        pairs = (pair.partition("=") for pair in element.split(";"))
        found = [value.strip().strip('"') for name, _, value in pairs if name.strip().lower() == "for"]
        hops.append(found[0] if len(found) == 1 else "")
    return hops


def _network(entry: str) -> Network:
    try:
        return ipaddress.ip_network(entry, strict=False)
    except ValueError:
        raise ConfigError(
            f"trusted_proxies can't hold {entry!r}: expected an address or a network, like 10.0.0.7 or 10.0.0.0/8"
        ) from None
