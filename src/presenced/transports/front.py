"""The HTTP front door: uvicorn's httptools protocol, with seven of its faults mended, and the upgrade.

Mended: no limit on the size of a head; no time-out for a head; bytes after the upgrade's head were dropped; POST and
HTTP/1.0 were upgraded; each upgrade left a reference cycle (the parser); of pipelined requests, the one being answered
was not told that the client had gone, and wrote to a closed transport; an answer to a request whose body was on its way
was lost with the connection. `tests/contract/test_uvicorn.py` holds the facts about uvicorn that this relies on.
"""

from __future__ import annotations

import asyncio
import random
import weakref
from typing import TYPE_CHECKING, Any

import httptools
from uvicorn._types import ASGI3Application
from uvicorn.config import Config
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.protocols.utils import get_local_addr, get_remote_addr, is_ssl
from uvicorn.server import ServerState

from presenced.auth.proxy_protocol import parse as parse_proxy_header
from presenced.core.identity import parameter
from presenced.errors import Problem
from presenced.refusals import Header, Refusal
from presenced.settings import WEBSOCKET_PATH
from presenced.transports.handshake import Handshake
from presenced.transports.lingering import Lingering
from presenced.wire.problem import MEDIA_TYPE, problem_body

if TYPE_CHECKING:
    from presenced.transports.service import Service
    from presenced.transports.websocket import WebSocketConnection

MAX_RETRY = 10
"""Seconds after which a client is told to come back when the server is behind, at most."""

MAX_HEADERS = 100
"""Header fields of one request."""

MAX_PIPELINED = 16
"""Requests of one connection that wait for the answer to the one before. Without a bound, the 256 KiB that the loop
reads at once became 5,000 of them, 5 MB, and twenty such connections held up all others for a fifth of a second."""

BODY_PART = 1024
"""Bytes of a body that are parsed at a time: so many at most are taken for a part of the next head."""

_PATH = WEBSOCKET_PATH.encode()
_BODY_HEADERS = frozenset((b"transfer-encoding", b"content-length"))


class FrontDoor(HttpToolsProtocol):
    """One TCP connection until it is upgraded or done.

    Requests other than the upgrade of the WebSocket path go to the ASGI application.

    Bounds: the head of a request by `max_head_size` bytes (up to `BODY_PART` more when it arrives together with the end
    of an earlier request), `MAX_HEADERS` fields and `head_timeout`; requests that wait by `MAX_PIPELINED`; connections
    by `max_connections`, and of one address by its `gate`.
    """

    def __init__(
        self,
        service: Service,
        handshake: Handshake,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.access_log = False  # uvicorn's access log is not ours to write
        self._service = service
        self._handshake = handshake
        self._head_open = True
        self._head_size = 0
        self._begun = True
        """Not between two requests."""
        self._body_headers: list[Header] = []
        self._key = ""
        self._proxied = b""
        self._peer = ""
        self._upgrading = False
        self._refusal: Refusal | None = None
        self._refused = False
        self._serving: RequestResponseCycle | None = None

    # What the transport calls.

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        """A client connected."""
        # As uvicorn's, without what only the application is told: asking the kernel for both addresses took 13 of the
        # 77 microseconds of taking a connection.
        self.connections.add(self)
        self.transport = transport
        self.flow = FlowControl(transport)
        self._await_head()
        gate = self._service.gate
        if not (gate.is_open or self._service.settings.proxy_protocol):
            peer = get_remote_addr(transport)
            self._peer = peer[0] if peer else ""
            if not gate.proxies.trusts(self._peer):
                self._count(gate.key(self._peer, ()))
        if len(self.connections) > self._service.max_connections and not self._refused:
            detail = f"all {self._service.max_connections} connections are taken; come back later"
            self._refuse(Refusal(Problem.UNAVAILABLE, detail, ((b"retry-after", b"5"),), "full"))

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone, before or without an upgrade."""
        self._service.gate.left(self._key)
        self._service.timer.cancel(self._head_timed_out)
        self._service.timer.cancel(self._abort)
        if self._serving is not None:
            self._serving.disconnected = True
            self._serving = None
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Bytes came; within a head no more are parsed than a head may have."""
        if self._service.settings.proxy_protocol and not self._peer:
            data = self._read_proxy_header(data)
        if self._head_open:
            # Only now: bytes that trickle in behind an answered request don't prolong the connection.
            self._unset_keepalive_if_required()
            if self._head_timed_out not in self._service.timer and not self._refused:
                self._await_head()
        while data and not self._refused:
            room = self._service.settings.max_head_size - self._head_size if self._head_open else BODY_PART
            if room <= 0:
                self._refuse(Refusal(Problem.HEAD_TOO_LARGE, f"at most {self._service.settings.max_head_size} bytes"))
                return
            data = self._feed(data[:room], data[room:])

    def _read_proxy_header(self, data: bytes) -> bytes:
        """What comes after it."""
        self._proxied += data
        try:
            peer = get_remote_addr(self.transport)
            if peer is None or not self._service.gate.proxies.trusts(peer[0]):
                raise ValueError("only a trusted proxy may connect")
            header = parse_proxy_header(self._proxied)
        except ValueError as error:
            self._refuse(Refusal(Problem.BAD_REQUEST, str(error)))
            return b""
        if header is None:
            return b""
        self._peer = header.address or peer[0]
        self._count(self._service.gate.key(self._peer, ()))
        rest, self._proxied = self._proxied[header.size :], b""
        return rest

    def _count(self, key: str) -> None:
        """The connection counts as that address from now on, or is refused."""
        if self._service.gate.came(key):
            self._key = key
        else:
            detail = "this address has as many connections open as one may have"
            self._refuse(Refusal(Problem.TOO_MANY_REQUESTS, detail, ((b"retry-after", b"5"),), "address"))

    def _feed(self, part: bytes, rest: bytes) -> bytes:
        """Parse `part`; what is left to parse."""
        try:
            self.parser.feed_data(part)
        except httptools.HttpParserUpgrade as upgrade:
            rest = part[upgrade.args[0] :] + rest
            if self._upgrading:
                self._upgrade(rest)
                return b""
        except httptools.HttpParserError:
            self._refuse(self._refusal or Refusal(Problem.BAD_REQUEST, "the request could not be parsed"))
        if self._head_open:
            # Bytes of a request that is whole are not the next one's, unless that has begun among them.
            self._head_size = self._head_size + len(part) if self._begun else 0
        return rest

    # What the parser calls.

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        super().on_message_begin()
        self._head_open = self._begun = True

    def on_headers_complete(self) -> None:
        """The whole head is here."""
        self._head_open = False
        self._head_size = 0
        self._service.timer.cancel(self._head_timed_out)
        if len(self.headers) > MAX_HEADERS:
            self._stop_parsing(Refusal(Problem.HEAD_TOO_LARGE, f"at most {MAX_HEADERS} header fields"))
        if len(self.pipeline) >= MAX_PIPELINED:
            detail = f"at most {MAX_PIPELINED} requests may wait for the answer to the one before"
            self._stop_parsing(Refusal(Problem.TOO_MANY_REQUESTS, detail, ((b"retry-after", b"1"),)))
        self._body_headers = [header for header in self.headers if header[0] in _BODY_HEADERS]
        body = self._body_headers
        if body and any(name == b"transfer-encoding" and value.lower() != b"chunked" for name, value in body):
            # Where its body ends is not known then, nor where the next request begins (RFC 9112 section 6.3).
            self._stop_parsing(Refusal(Problem.BAD_REQUEST, "of the transfer codings only chunked is understood"))
        self._upgrading = (
            self.parser.get_method() == b"GET" and self.url.partition(b"?")[0] == _PATH and super()._should_upgrade()
        )
        if self._upgrading and (fault := self._why_not_upgrade()):
            self._stop_parsing(Refusal(Problem.BAD_HANDSHAKE, fault))
        if not self._upgrading:
            self._tell_who()
            super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The whole request is here; the next head may follow."""
        super().on_message_complete()
        self._head_open = True
        self._begun = False

    def on_response_complete(self) -> None:
        """A request is answered: the next one that waits is the application's, or what comes behind is refused."""
        super().on_response_complete()
        if self._refused and self._refusal is not None and not self._is_answering():
            self._refuse(self._refusal)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._serving = cycle
        cycle.transport = Lingering(self.transport, self._end)  # type: ignore[assignment]  # all that it calls is there
        super()._start_asgi_task(cycle, app)

    def _should_upgrade(self) -> bool:
        return self._upgrading

    # What it does.

    def _tell_who(self) -> None:
        """The rest of uvicorn's `connection_made`: addresses and scheme, for the application."""
        if self.scheme is None:
            self.server, self.client = get_local_addr(self.transport), get_remote_addr(self.transport)
            self.scheme = "https" if is_ssl(self.transport) else "http"
        # For `http.v1.streams`; weakly, since the scope is this object's own.
        extensions: dict[str, Any] = {"presenced.abort": weakref.WeakMethod(self._abort)}
        self.scope["extensions"] = extensions
        self.scope["server"], self.scope["client"], self.scope["scheme"] = self.server, self.client, self.scheme

    def _why_not_upgrade(self) -> str | None:
        """What makes this connection unfit to change its protocol now."""
        if self._body_headers and any(n == b"transfer-encoding" or v != b"0" for n, v in self._body_headers):
            return "a handshake has no body"
        if self._is_answering():  # its answer would land between the frames
            return "an earlier request on this connection is not answered yet"
        return None

    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _upgrade(self, early: bytes) -> None:
        """Hand the connection over to the WebSocket side, with the bytes that came early."""
        if self._service.draining:
            retry = ((b"retry-after", b"1"),)
            self._refuse(
                Refusal(Problem.UNAVAILABLE, "the server is stopping; come back in a moment", retry, "stopping")
            )
            return
        if self._service.is_behind:
            # Each another time, or all would come back at once.
            retry = ((b"retry-after", b"%d" % random.randint(1, MAX_RETRY)),)  # noqa: S311  # no secret
            self._refuse(Refusal(Problem.UNAVAILABLE, "the server is behind; come back in a moment", retry, "behind"))
            return
        if not self._service.gate.is_open and not self._may_pass():
            return
        answer = self._handshake.answer(self.parser.get_http_version(), self.headers)
        if isinstance(answer, Refusal):
            self._refuse(answer)
            return
        assert self.ws_protocol_class is not None, "made with ws="
        self.connections.discard(self)
        connection: WebSocketConnection = self.ws_protocol_class(  # type: ignore[call-arg, assignment]  # uvicorn's hook
            config=self.config, server_state=self.server_state, app_state=self.app_state
        )
        query = self.url.partition(b"?")[2]
        transport = self.transport
        connection.address, self._key = self._key, ""
        transport.set_protocol(connection)
        connection.connection_made(transport)
        # The parser refers to this object and this object to the parser: left so, only the collector would end it.
        self.parser = self.transport = self.flow = self._serving = None  # type: ignore[assignment]  # nothing is called any more
        connection.accept(answer.response, query, answer.subprotocol, answer.deflates, answer.token or _token(query))
        if early:
            connection.data_received(early)

    def _may_pass(self) -> bool:
        """Whether its address may open one more WebSocket; else it is refused."""
        gate = self._service.gate
        if not self._key:  # a proxy, which says for whom
            self._count(gate.key(self._peer, [value for name, value in self.headers if name == gate.header]))
        refused = gate.handshake(self._key, self._service.clock.monotonic())
        if refused and not self._refused:
            retry = ((b"retry-after", b"%d" % refused.retry_after),)
            self._refuse(Refusal(Problem.TOO_MANY_REQUESTS, refused.detail, retry, "address"))
        return not self._refused

    def _refuse(self, refusal: Refusal) -> None:
        """Answer with a problem document and close, giving the client time to read it.

        When an earlier request is not answered yet, then after its answer.
        """
        if not self._refused:
            # Between two requests, the headers are those of the one before.
            pages = (value for name, value in self.headers or () if name == b"origin") if self._begun else ()
            self._service.turned_away(refusal, next(iter(pages), b""))
        self._refused = True
        self._service.timer.cancel(self._head_timed_out)
        self._refusal = refusal
        if self._is_answering() or self.transport.is_closing():
            return
        self._unset_keepalive_if_required()
        body = problem_body(refusal.problem, refusal.detail)
        head = [STATUS_LINE[refusal.problem.status]]
        for name, value in (
            *self.server_state.default_headers,
            *refusal.headers,
            (b"content-type", MEDIA_TYPE.encode()),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
        ):
            head += [name, b": ", value, b"\r\n"]
        self.transport.write(b"".join((*head, b"\r\n", body)))
        self._linger()

    def _end(self) -> None:
        """An answer of the application ends the connection; of its request a part may be on its way."""
        if self._serving is not None and self._serving.more_body and not self.transport.is_closing():
            self._refused = True  # whatever still comes
            self._refusal = None  # one that waited for this answer: it was the last
            self._linger()
        else:
            self.transport.close()

    def _linger(self) -> None:
        """End the connection, giving the client time to read what was written."""
        # Closing with bytes unread makes the kernel reset the connection, and the client would not see the answer.
        if self.transport.can_write_eof():
            self.transport.write_eof()
        else:
            self.transport.close()
        self._service.timer.set(self._abort, self._service.clock.monotonic() + self._service.settings.close_timeout)

    def _stop_parsing(self, refusal: Refusal) -> None:
        """From a parser's callback: an exception there surfaces from `feed_data` as an `HttpParserError`."""
        self._refusal = refusal
        raise ValueError(refusal.detail)

    def _await_head(self) -> None:
        self._service.timer.set(
            self._head_timed_out, self._service.clock.monotonic() + self._service.settings.head_timeout
        )

    def _head_timed_out(self) -> None:
        if not self.transport.is_closing():
            detail = f"the head did not arrive within {self._service.settings.head_timeout:g} s"
            self._refuse(Refusal(Problem.REQUEST_TIMEOUT, detail))

    def _abort(self) -> None:
        self.transport.abort()


def _token(query: bytes) -> str:
    """Of `?token=...`, for clients that can show it in no other way: URLs reach the logs of proxies."""
    found = parameter(query, b"token") if b"token=" in query else []
    return found[0].decode("utf-8", "replace") if len(found) == 1 else ""
