"""The opening handshake (RFC 6455 section 4.2) by the rules of the `websockets` library, from a parsed head."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from websockets.datastructures import Headers
from websockets.exceptions import InvalidHandshake, InvalidHeader, InvalidProtocol
from websockets.http11 import Request
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

from presenced.errors import Problem

Header = tuple[bytes, bytes]

V1 = Subprotocol("presenced.v1")

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


class Accepted(NamedTuple):
    """A handshake that succeeds."""

    response: bytes
    """The head of the 101 response."""
    subprotocol: str
    """What was agreed on; empty when the client offered nothing that is spoken here."""


class Handshake:
    """Answers handshakes. Stateless between calls: the one `ServerProtocol` inside serves for its rules alone.

    Making one per connection from the head's bytes costs ten times as much and keeps 5 KiB of it.
    """

    def __init__(self) -> None:
        self._rules = ServerProtocol(
            subprotocols=[V1],
            select_subprotocol=_select,
            logger=logging.getLogger("presenced.handshake"),
        )

    def answer(self, http_version: str, headers: Iterable[Header]) -> Accepted | Refusal:
        """The response to a GET request, or why there is none.

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
            accept, _, subprotocol = self._rules.process_request(request)
        except InvalidProtocol:
            return Refusal(Problem.HTTP_VERSION, f"the handshake came by HTTP/{http_version}; use HTTP/1.1")
        except InvalidHandshake as error:
            detail = str(error)[:_MAX_DETAIL]
            if isinstance(error, InvalidHeader) and error.name == "Sec-WebSocket-Version":
                detail += "; send Sec-WebSocket-Version: 13"
                return Refusal(Problem.WEBSOCKET_VERSION, detail, ((b"sec-websocket-version", b"13"),))
            return Refusal(Problem.BAD_HANDSHAKE, f"{detail}; use a WebSocket client")
        agreed = f"Sec-WebSocket-Protocol: {subprotocol}\r\n" if subprotocol else ""
        response = (
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Accept: {accept}\r\n{agreed}\r\n"
        )
        return Accepted(response.encode(), subprotocol or "")


def _select(_: ServerProtocol, offered: Sequence[Subprotocol]) -> Subprotocol | None:
    """A client that offers something else is spoken to in the classic protocol."""
    return V1 if V1 in offered else None
