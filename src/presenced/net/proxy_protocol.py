"""The PROXY protocol, version 2: a header with the client's address that a TCP proxy sends before the client's bytes.

https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt, section 2.2:

| bytes | content |
|---|---|
| 12 | signature |
| 1 | version and command: 0x20 LOCAL (a connection of the proxy itself), 0x21 PROXY |
| 1 | address family in the upper 4 bits: 1 IPv4, 2 IPv6 |
| 2 | length of the rest |
| 8 or 32 | source and destination address |
| 4 | source and destination port |
| rest | extensions, which are skipped |
"""

from __future__ import annotations

import ipaddress
from typing import NamedTuple

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
"""First bytes of every header of version 2."""

MAX_PROXY_HEADER_BYTES = 2_048
"""Maximum number of bytes after the first 16: addresses and extensions. Longer headers are refused."""

_FIXED_BYTES = 16
"""Size of the part of the header that always has the same length."""

_LOCAL, _PROXY = 0x20, 0x21
_ADDRESS_BYTES = {0x1: 4, 0x2: 16}


class ProxyHeader(NamedTuple):
    """A complete header."""

    size: int
    """Number of bytes."""
    address: str | None
    """Address of the client; None for connections of the proxy itself (health checks) and for other families."""


def parse_proxy_header(data: bytes) -> ProxyHeader | None:
    """Return the header at the start of `data`; None if it is incomplete.

    Raises:
        ValueError: `data` does not start with a valid header.
    """
    if data[: len(SIGNATURE)] != SIGNATURE[: len(data)]:
        raise ValueError("the connection does not begin with a PROXY protocol header, version 2")
    if len(data) < _FIXED_BYTES:
        return None
    command, family, length = data[12], data[13] >> 4, int.from_bytes(data[14:16], "big")
    if command not in (_LOCAL, _PROXY) or length > MAX_PROXY_HEADER_BYTES:
        raise ValueError("the PROXY protocol header has an unknown version or command, or is too long")
    if len(data) < _FIXED_BYTES + length:
        return None
    size = _ADDRESS_BYTES.get(family)
    if command == _LOCAL or size is None:
        return ProxyHeader(_FIXED_BYTES + length, None)
    if length < 2 * size + 4:
        raise ValueError("the PROXY protocol header is too short for its addresses")
    return ProxyHeader(_FIXED_BYTES + length, str(ipaddress.ip_address(data[_FIXED_BYTES : _FIXED_BYTES + size])))
