"""The opening handshake (RFC 6455 section 4.2) by the rules of the `websockets` library, from a parsed head."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import NamedTuple

from websockets.datastructures import Headers
from websockets.exceptions import InvalidHandshake, InvalidHeader, InvalidProtocol
from websockets.http11 import Request
from websockets.server import ServerProtocol

from presenced.errors import Problem

Header = tuple[bytes, bytes]

_RELEVANT = frozenset(
    (
        b"connection",
        b"upgrade",
        b"origin",
        b"sec-websocket-key",
        b"sec-websocket-version",
        b"sec-websocket-protocol",
        b"sec-websocket-extensions",
    )
)

_MAX_DETAIL = 200
"""Characters of the library's explanation passed on; it may quote a header the client sent."""


class Refusal(NamedTuple):
    """An HTTP refusal: what is wrong, in words, and the headers the status asks for."""

    problem: Problem
    detail: str
    headers: tuple[Header, ...] = ()


class Handshake:
    """Answers handshakes. Stateless between calls: the one `ServerProtocol` inside serves for its rules alone.

    Making one per connection from the head's bytes costs ten times as much and keeps 5 KiB of it.
    """

    def __init__(self) -> None:
        self._rules = ServerProtocol(logger=logging.getLogger("presenced.handshake"))

    def answer(self, http_version: str, headers: Iterable[Header]) -> bytes | Refusal:
        """The head of the 101 response to a GET request, or why there is none.

        Args:
            http_version: `1.0` or `1.1`.
            headers: Names in lower case.
        """
        relevant = Headers()
        for name, value in headers:
            if name in _RELEVANT:
                relevant[name.decode()] = value.decode("latin-1")
        request = Request("/", relevant, protocol=f"HTTP/{http_version}")
        try:
            accept = self._rules.process_request(request)[0]
        except InvalidProtocol:
            return Refusal(Problem.HTTP_VERSION, f"the handshake came by HTTP/{http_version}; use HTTP/1.1")
        except InvalidHandshake as error:
            detail = str(error)[:_MAX_DETAIL]
            if isinstance(error, InvalidHeader) and error.name == "Sec-WebSocket-Version":
                detail += "; send Sec-WebSocket-Version: 13"
                return Refusal(Problem.WEBSOCKET_VERSION, detail, ((b"sec-websocket-version", b"13"),))
            return Refusal(Problem.BAD_HANDSHAKE, f"{detail}; use a WebSocket client")
        return (
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Accept: {accept}\r\n\r\n"
        ).encode()
