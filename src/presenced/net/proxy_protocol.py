"""The PROXY protocol, version 2: what a TCP proxy says of its client ahead of the client's bytes.

https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt, section 2.2
"""

from __future__ import annotations

import ipaddress
from typing import NamedTuple

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"

MAX_LENGTH = 2_048
"""Bytes after the first 16: addresses, and what else a proxy adds, which is passed over."""

_LOCAL, _PROXY = 0x20, 0x21
_IPV4, _IPV6 = 0x1, 0x2


class Header(NamedTuple):
    """One that is whole."""

    size: int
    """Bytes it takes."""
    address: str | None
    """Of the client; None when the proxy speaks for itself (a health check), or of something without an address."""


def parse(data: bytes) -> Header | None:
    """The header that `data` begins with; None when more has to come.

    Raises:
        ValueError: It is none.
    """
    if data[: len(SIGNATURE)] != SIGNATURE[: len(data)]:
        raise ValueError("the connection does not begin with a PROXY protocol header, version 2")
    if len(data) < 16:
        return None
    command, family, length = data[12], data[13] >> 4, int.from_bytes(data[14:16], "big")
    if command not in (_LOCAL, _PROXY) or length > MAX_LENGTH:
        raise ValueError("the PROXY protocol header has an unknown version or command, or is too long")
    if len(data) < 16 + length:
        return None
    if command == _LOCAL:
        return Header(16 + length, None)
    size = {_IPV4: 4, _IPV6: 16}.get(family)
    if size is None:
        return Header(16 + length, None)
    if length < 2 * size + 4:
        raise ValueError("the PROXY protocol header is too short for its addresses")
    return Header(16 + length, str(ipaddress.ip_address(data[16 : 16 + size])))
