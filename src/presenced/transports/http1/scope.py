"""The ASGI scope of a request."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from presenced.transports.http1.head import Head


def scope_of(head: Head, transport: asyncio.Transport, peer: str, extensions: Mapping[str, object]) -> dict[str, Any]:
    """Return the scope of the request with `head`.

    Args:
        peer: Client address from a PROXY header; empty to use the address of the connection.
    """
    path = head.path.decode("ascii")
    client = address(transport)
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": head.version,
        "server": address(transport, "sockname"),
        "client": (peer, client[1]) if client and peer else client,
        "scheme": "https" if transport.get_extra_info("sslcontext") else "http",
        "method": head.method.decode("ascii"),
        "root_path": "",
        "path": unquote(path) if "%" in path else path,
        "raw_path": head.path,
        "query_string": head.query,
        "headers": head.headers,
        "extensions": extensions,
    }


def address(transport: asyncio.Transport, which: str = "peername") -> tuple[str, int] | None:
    """Return the address of the peer, or of this side (`sockname`); None if the connection is gone."""
    # The socket is asked directly, because uvloop's transport asks the kernel for both addresses on every call.
    sock = transport.get_extra_info("socket")
    try:
        found = sock.getpeername() if which == "peername" else sock.getsockname()
    except OSError:
        return None
    return str(found[0]), int(found[1])
