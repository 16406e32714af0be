"""The address of a client: behind trusted proxies, and as the key under which it is limited."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence

from presenced.errors import ConfigError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

MAX_HOPS = 32
"""Maximum number of entries read from a forwarding header, from its end. Each proxy adds one. Beyond that, the client's
address is the first entry read."""


class TrustedProxies:
    """Proxies that may state the address of a client.

    Exactly one header is read. Proxies write one of the two and forward the other as the client sent it.

    Args:
        by_rfc_7239: Read `Forwarded` (RFC 7239) instead of `X-Forwarded-For`.

    Raises:
        ConfigError: An entry is neither an address nor a network.
    """

    def __init__(self, entries: Iterable[str], by_rfc_7239: bool = False) -> None:
        self._by_rfc_7239 = by_rfc_7239
        self._networks = tuple(_network(entry) for entry in entries)

    def __bool__(self) -> bool:
        return bool(self._networks)

    def trusts(self, address: str) -> bool:
        """Return whether `address` belongs to a trusted proxy."""
        found = parse_address(address)
        return found is not None and any(found in network for network in self._networks)

    def client(self, peer: str, values: Sequence[bytes]) -> str:
        """Return the client's address: the last one in the header that is not a trusted proxy's.

        A client may have invented everything before it. If the peer is not a trusted proxy, the header is ignored.

        Args:
            values: Values of the header that the proxies write.
        """
        if not self.trusts(peer):
            return peer
        hops = _rfc_7239_hops(values) if self._by_rfc_7239 else b",".join(values).decode("latin-1").split(",")
        client = peer
        for hop in reversed(hops[-MAX_HOPS:]):
            address = parse_address(_without_port(hop.strip()))
            if address is None:  # `unknown`, or invented: the last known address is the proxy's
                return client
            client = str(address)
            if not self.trusts(client):
                return client
        return client


def limit_key(address: str) -> str:
    """Return the key under which `address` is limited; empty for addresses of this machine, which are not.

    The key is an IPv4 address, or the /64 of an IPv6 address. A single subscriber gets a whole /64 (RFC 6177), and
    could use a new address of it for each attempt. Text that is not an address is its own key.
    """
    found = parse_address(address)
    if found is None:
        return address
    if found.is_loopback:
        return ""
    if isinstance(found, ipaddress.IPv6Address):
        return str(ipaddress.IPv6Network((int(found) >> 64 << 64, 64)))
    return str(found)


def parse_address(text: str) -> Address | None:
    """Return an address, or None. An IPv4 address in IPv6 notation (`::ffff:192.0.2.1`) is an IPv4 address.

    Otherwise it would pass rules about its network, and have a limit of its own.
    """
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address.scope_id is not None:  # names a network interface of this machine, not another host
            return ipaddress.IPv6Address(int(address))
    return address


def _without_port(hop: str) -> str:
    if hop.startswith("["):
        return hop[1:].partition("]")[0]
    return hop.partition(":")[0] if hop.count(":") == 1 else hop


def _rfc_7239_hops(values: Sequence[bytes]) -> list[str]:
    """Return the value of `for=` in each element; empty if an element has none or several."""
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
