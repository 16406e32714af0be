"""The opening handshake (RFC 6455 section 4.2): from a parsed head to the response, or to a refusal.

The rules are those of `websockets.server.ServerProtocol`. One shared instance checks every handshake. A new instance
for each connection, fed with the bytes of the head, would take ten times as long and keep 5 KiB of memory.

Its results are cached. Clients of one kind send the same headers apart from `Sec-WebSocket-Key`, which decides nothing
but the value of `Sec-WebSocket-Accept`. So the cache is looked up by the other headers that the rules read. It makes
accepting a connection take 64 microseconds instead of 87.

    headers → host allowed? → look up → look up without token → origin allowed? → known? ── yes ──→ accept(key)
                                │ known                                ↑             │ no
                                └──────────────────────────────────────┘             └→ the rules → cache → accept

- A token among the subprotocols differs for each user. It is removed before the second lookup.
- Host and origin are checked every time, because a verdict about the page depends on both.
- A key that is not plain base64 of 16 bytes, a second key, and HTTP/1.0 go to the rules even if the rest is known.
- Refusals are not cached. They may take longer.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple, cast
from zlib import MAX_WBITS

from websockets.datastructures import Headers
from websockets.exceptions import InvalidHandshake, InvalidHeader, InvalidProtocol
from websockets.extensions.permessage_deflate import PerMessageDeflate, ServerPerMessageDeflateFactory
from websockets.http11 import Request
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol
from websockets.utils import accept_key

from presenced.errors import Problem
from presenced.net.hosts import AllowedHosts
from presenced.net.origins import Origins
from presenced.net.refusals import Header, Refusal, foreign_host, foreign_page
from presenced.runtime.limits import BoundedMap

TOKEN_PREFIX = b"presenced.token."
"""Prefix of a token that is offered like a subprotocol, because pages cannot set headers. It is never selected."""

_PROTOCOL = b"sec-websocket-protocol"

_LISTS = frozenset((b"connection", b"upgrade", b"sec-websocket-extensions", _PROTOCOL))
"""Headers with a list as their value."""

_RELEVANT = _LISTS | {b"origin", b"sec-websocket-version"}
"""Headers that the rules read, besides the key."""

_OWN = frozenset((b"host", b"authorization"))
"""Headers that this module reads itself and does not pass to the rules."""

_KEY = b"sec-websocket-key"
_PLAIN_KEY = re.compile(rb"[A-Za-z0-9+/]{22}==")
"""Base64 of 16 bytes, as every client library sends it. The rules decide about any other key."""

MAX_CACHED_HANDSHAKES = 256
"""Maximum number of cached results. At the bound the oldest is evicted."""

MAX_CACHED_BYTES = 1024
"""Maximum number of bytes in the header values of one cached result. Longer ones are checked again each time."""

_MAX_DETAIL_CHARACTERS = 200
"""Maximum number of characters of the library's explanation in a response. It may quote a header of the client."""


class Accepted(NamedTuple):
    """A handshake that succeeds."""

    response: bytes
    """The head of the 101 response."""
    subprotocol: str
    """Selected subprotocol; empty if none was selected, which means the classic protocol."""
    deflates: bool
    """Whether both sides may compress messages, without context takeover (RFC 7692 section 7.1.1)."""
    token: str
    """Token from `Authorization` or from the subprotocols; empty if there is none."""


class _Agreed(NamedTuple):
    """Agreement of the rules for one set of headers."""

    fields: str
    """Header fields of the response."""
    subprotocol: str
    deflates: bool
    origins: tuple[bytes, ...]
    """Values of the `Origin` headers, to be checked together with the host."""


class Handshake:
    """Answers handshakes by the rules of one shared `ServerProtocol`.

    Bounds: `MAX_CACHED_HANDSHAKES` results, each for headers of at most `MAX_CACHED_BYTES`.
    """

    def __init__(
        self,
        *,
        subprotocols: Sequence[str] = (),
        compressed: Collection[str] = (),
        origins: Origins | None = None,
        hosts: AllowedHosts | None = None,
    ) -> None:
        self._compressed = compressed
        self._origins = origins or Origins(())
        self._hosts = hosts or AllowedHosts(None)

        def select(_: ServerProtocol, offered: Sequence[Subprotocol]) -> Subprotocol | None:
            """Return the preferred subprotocol that the client offers.

            None if it offers others only. Then the connection speaks the protocol for clients that offer nothing.
            """
            return next((Subprotocol(name) for name in subprotocols if name in offered), None)

        deflate = ServerPerMessageDeflateFactory(server_no_context_takeover=True, client_no_context_takeover=True)
        self._rules = ServerProtocol(
            extensions=[deflate] if compressed else None,
            subprotocols=[Subprotocol(name) for name in subprotocols],
            select_subprotocol=select,
            logger=logging.getLogger("presenced.handshake"),
        )
        self._agreed: BoundedMap[tuple[Header, ...], _Agreed] = BoundedMap(MAX_CACHED_HANDSHAKES)

    def answer(self, http_version: str, headers: Iterable[Header]) -> Accepted | Refusal:
        """Return the response to a GET request, or the refusal.

        Args:
            http_version: `1.0` or `1.1`.
            headers: Names in lower case.
        """
        keys, others, own = _partition(headers)
        hosts = [value for name, value in own if name == b"host"]
        if not self._hosts.allow_all(hosts):
            return foreign_host(hosts)
        token = _bearer(own)
        agreed = self._agreed.get(others)
        if agreed is None:
            others, offered = _without_token(others)
            token = token or offered
            agreed = self._agreed.get(others)
        origins = agreed.origins if agreed else _origins(others)
        if not self._may_connect(origins, hosts):
            return foreign_page(origins)
        if http_version == "1.1" and agreed is not None and len(keys) == 1 and _PLAIN_KEY.fullmatch(keys[0]):
            return _accepted(accept_key(keys[0].decode()), agreed, token)
        relevant = [*others, *((_KEY, key) for key in keys)]
        try:
            accept, extensions, subprotocol = self._rules.process_request(_request(http_version, relevant))
        except InvalidProtocol:
            return Refusal(Problem.HTTP_VERSION, f"the handshake uses HTTP/{http_version}; use HTTP/1.1")
        except InvalidHandshake as error:
            return _refusal(error)
        agreed = self._agree(extensions, subprotocol, _origins(others))
        if sum(len(value) for _, value in others) <= MAX_CACHED_BYTES:
            self._agreed.set(others, agreed)
        return _accepted(accept, agreed, token)

    def _may_connect(self, origins: tuple[bytes, ...], hosts: Sequence[bytes]) -> bool:
        """Return whether the page may connect. A client without `Origin` is not a browser and may connect."""
        if not origins:
            return True
        return len(origins) == 1 and len(hosts) == 1 and self._origins.allows(origins[0], hosts[0])

    def _agree(self, extensions: str | None, subprotocol: str | None, origins: tuple[bytes, ...]) -> _Agreed:
        """Return what the rules agreed to. Compression is agreed to only for subprotocols in `compressed`.

        Classic messages are too small to gain from it, because each is compressed on its own. A message is compressed
        once for all receivers, so an offer with a window smaller than the maximum is declined.
        """
        fields = f"Sec-WebSocket-Protocol: {subprotocol}\r\n" if subprotocol else ""
        windows = [cast(PerMessageDeflate, extension).local_max_window_bits for extension in self._rules.extensions]
        deflates = subprotocol in self._compressed and windows == [MAX_WBITS]
        if deflates:
            fields += f"Sec-WebSocket-Extensions: {extensions}\r\n"
        return _Agreed(fields, subprotocol or "", deflates, origins)


def _refusal(error: InvalidHandshake) -> Refusal:
    detail = str(error)[:_MAX_DETAIL_CHARACTERS]
    # The detail repeats a token that was offered in the wrong place, and tokens must not reach the log.
    name = error.name if isinstance(error, InvalidHeader) else ""
    logged = f"the header {name} is missing or can't be used" if name else ""
    if name == "Sec-WebSocket-Version":
        detail += "; send Sec-WebSocket-Version: 13"
        return Refusal(Problem.WEBSOCKET_VERSION, detail, ((b"sec-websocket-version", b"13"),), logged=logged)
    return Refusal(Problem.BAD_HANDSHAKE, f"{detail}; use a WebSocket client", logged=logged)


def _request(http_version: str, headers: Iterable[Header]) -> Request:
    found = Headers()
    for name, value in headers:
        found[name.decode()] = value.decode("latin-1")
    return Request("/", found, protocol=f"HTTP/{http_version}")


def _partition(headers: Iterable[Header]) -> tuple[list[bytes], tuple[Header, ...], list[Header]]:
    """Return the keys, the other headers that the rules read, and those that only this module reads."""
    keys, others, own = [], [], []
    for header in headers:
        name = header[0]
        if name == _KEY:
            keys.append(header[1])
        elif name in _RELEVANT:
            others.append(header)
        elif name in _OWN:
            own.append(header)
    return keys, tuple(others), own


def _origins(headers: Iterable[Header]) -> tuple[bytes, ...]:
    return tuple(value for name, value in headers if name == b"origin")


def _bearer(headers: Iterable[Header]) -> str:
    for name, value in headers:
        if name == b"authorization" and value[:7].lower() == b"bearer ":
            return value[7:].strip().decode("latin-1")
    return ""


def _without_token(headers: tuple[Header, ...]) -> tuple[tuple[Header, ...], str]:
    """Return the headers without the token subprotocol and without empty lists, and the token.

    An empty list offers nothing, like an absent header (RFC 9110 section 5.6.1), but the rules refuse it.
    """
    token = ""
    remaining = []
    for name, value in headers:
        if name == _PROTOCOL and TOKEN_PREFIX in value:
            entries = [entry.strip() for entry in value.split(b",")]
            tokens = [entry for entry in entries if entry.startswith(TOKEN_PREFIX)]
            token = token or (tokens[0].removeprefix(TOKEN_PREFIX).decode("latin-1") if tokens else "")
            value = b", ".join(entry for entry in entries if not entry.startswith(TOKEN_PREFIX))
        if name not in _LISTS or value.strip(b", \t"):
            remaining.append((name, value))
    return tuple(remaining), token


def _accepted(accept: str, agreed: _Agreed, token: str) -> Accepted:
    response = (
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Accept: {accept}\r\n{agreed.fields}\r\n"
    )
    return Accepted(response.encode(), agreed.subprotocol, agreed.deflates, token)
