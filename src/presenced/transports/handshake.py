"""The opening handshake (RFC 6455 section 4.2) by the rules of the `websockets` library, from a parsed head."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from websockets.datastructures import Headers
from websockets.exceptions import InvalidHandshake, InvalidHeader, InvalidProtocol
from websockets.http11 import Request
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol
from websockets.utils import accept_key

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

_KEY = b"sec-websocket-key"
_PLAIN_KEY = re.compile(rb"[A-Za-z0-9+/]{22}==")
"""Sixteen bytes in base64, as every library sends them; the rules decide on what else there may be."""

MAX_REMEMBERED = 256
"""Different sets of headers."""

MAX_REMEMBERED_SIZE = 1024
"""Bytes of one set."""

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
    """Answers handshakes by the rules of one shared `ServerProtocol`.

    Making one per connection from the head's bytes costs ten times as much and keeps 5 KiB of it. What clients send
    differs in the key alone, so its verdict on all else is remembered: 1.5 microseconds instead of 10.

    Bounds: `MAX_REMEMBERED` verdicts, each of headers that are together at most `MAX_REMEMBERED_SIZE` bytes.
    """

    def __init__(self) -> None:
        self._rules = ServerProtocol(
            subprotocols=[V1],
            select_subprotocol=_select,
            logger=logging.getLogger("presenced.handshake"),
        )
        self._agreed: dict[tuple[Header, ...], str | None] = {}  # by the headers that were accepted

    def answer(self, http_version: str, headers: Iterable[Header]) -> Accepted | Refusal:
        """The response to a GET request, or why there is none.

        Args:
            http_version: `1.0` or `1.1`.
            headers: Names in lower case.
        """
        relevant = [header for header in headers if header[0] in _RELEVANT]
        keys = [value for name, value in relevant if name == _KEY]
        others = tuple(header for header in relevant if header[0] != _KEY)
        if http_version == "1.1" and others in self._agreed and len(keys) == 1 and _PLAIN_KEY.fullmatch(keys[0]):
            return _accepted(accept_key(keys[0].decode()), self._agreed[others])
        try:
            accept, _, subprotocol = self._rules.process_request(_request(http_version, relevant))
        except InvalidProtocol:
            return Refusal(Problem.HTTP_VERSION, f"the handshake came by HTTP/{http_version}; use HTTP/1.1")
        except InvalidHandshake as error:
            detail = str(error)[:_MAX_DETAIL]
            if isinstance(error, InvalidHeader) and error.name == "Sec-WebSocket-Version":
                detail += "; send Sec-WebSocket-Version: 13"
                return Refusal(Problem.WEBSOCKET_VERSION, detail, ((b"sec-websocket-version", b"13"),))
            return Refusal(Problem.BAD_HANDSHAKE, f"{detail}; use a WebSocket client")
        self._remember(others, subprotocol)
        return _accepted(accept, subprotocol)

    def _remember(self, others: tuple[Header, ...], subprotocol: str | None) -> None:
        if sum(len(value) for _, value in others) <= MAX_REMEMBERED_SIZE:
            self._agreed[others] = subprotocol
            if len(self._agreed) > MAX_REMEMBERED:
                del self._agreed[next(iter(self._agreed))]


def _request(http_version: str, headers: Iterable[Header]) -> Request:
    found = Headers()
    for name, value in headers:
        found[name.decode()] = value.decode("latin-1")
    return Request("/", found, protocol=f"HTTP/{http_version}")


def _accepted(accept: str, subprotocol: str | None) -> Accepted:
    agreed = f"Sec-WebSocket-Protocol: {subprotocol}\r\n" if subprotocol else ""
    response = (
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Accept: {accept}\r\n{agreed}\r\n"
    )
    return Accepted(response.encode(), subprotocol or "")


def _select(_: ServerProtocol, offered: Sequence[Subprotocol]) -> Subprotocol | None:
    """A client that offers something else is spoken to in the classic protocol."""
    return V1 if V1 in offered else None
