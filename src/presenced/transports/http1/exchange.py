"""One request and its response, as ASGI defines them (https://asgi.readthedocs.io/en/latest/specs/www.html).

The connection feeds the body of the request; the application calls `receive` and `send`. States of the response:

    state      _head   _is_complete   next
    not begun  None    no             http.response.start → held back
    held back  bytes   no             http.response.body → begun or complete
    begun      b""     no             http.response.body → begun or complete
    complete   b""     yes            nothing may follow

The head is held back until the first part of the body arrives, so that both take one packet. Until then a fault of the
application, or a body that breaks a rule, still gets a response of its own. Afterwards the connection is cut off,
because a truncated response could look complete.

Length of the response body (RFC 9112 section 6.3):

    HEAD, 204, 304           none
    Content-Length           that many bytes; more or fewer are a fault of the application
    otherwise, HTTP/1.1      chunked
    otherwise, HTTP/1.0      up to the end of the connection
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Scope

from presenced.errors import Problem
from presenced.net.refusals import Header, Refusal
from presenced.transports.http1.fault_log import FaultLog
from presenced.transports.http1.head import Head
from presenced.transports.http1.response import CONTINUE, refusal_response, response_head

if TYPE_CHECKING:
    from presenced.transports.http1.connection import HttpConnection

MAX_UNREAD_BODY_BYTES = 65_536
"""Maximum number of body bytes buffered for the application. At the bound the server pauses reading."""

ABORT_EXTENSION = "presenced.abort"
"""Key in the extensions of an ASGI scope. Its value is a weak reference to a function that aborts the connection."""

_NO_BODY = frozenset((204, 304))
_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_NOT_IN_VALUE = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")


class Exchange:
    """One request, from its head to the end of its response. `run` is its task.

    Bound: `MAX_UNREAD_BODY_BYTES`, plus one read of the connection, for the body.
    """

    def __init__(self, connection: HttpConnection, scope: Scope, head: Head) -> None:
        self.awaits_continue = head.awaits_continue
        """Whether the client waits for 100 Continue before it sends the body."""
        self.unread = bytearray()
        """Part of the request body that the application has not read."""
        self._connection = connection
        self._scope = scope
        self._event = asyncio.Event()
        """Set when something happened that `receive` may wait for."""
        self._is_disconnected = False
        """Whether the connection was lost or is ending after a refusal. Further output is dropped."""
        self._is_half_closed = False
        """Whether the client has finished sending."""
        # The request.
        self._is_head_request = scope["method"] == "HEAD"
        self._is_body_complete = head.length == 0
        """Whether the whole body has arrived."""
        self._has_delivered_body = False
        """Whether the application has read the whole body."""
        # The response.
        self._is_complete = False
        """Whether the response is written."""
        self._head: bytes | None = None
        """Head of the response while it is held back; see the table above."""
        self._keeps_alive = head.keeps_alive
        self._is_chunked = False
        """Whether the response is chunked."""
        self._length_left: int | None = None
        """Number of bytes left in the response; None if the length is unknown."""

    # Called by the connection.

    @property
    def has_begun(self) -> bool:
        """Whether a part of the response was written."""
        return self._head == b""

    def body_received(self, data: bytes, is_complete: bool) -> None:
        """Add a part of the request body."""
        self.awaits_continue = False
        self._is_body_complete = is_complete
        if not self._is_complete:
            self.unread += data
            self._event.set()

    def half_closed(self) -> None:
        """Handle the end of the client's input. The client may still read.

        It gets its response. An endless stream ends, because most clients that leave one close both directions.
        """
        self._is_half_closed = True
        self._event.set()

    def probe(self) -> bool:
        """Write an interim response. A client that still reads ignores it, and one that has gone resets the connection.

        Until the server writes, a client that closed both directions looks like one that half-closed.

        Returns:
            Whether another probe makes sense.
        """
        if self.has_begun or self._scope["http_version"] != "1.1":
            return False
        self._connection.transport.write(CONTINUE)  # "the client can simply discard" it (RFC 9110 section 15.2.1)
        return True

    def disconnected(self) -> None:
        """Handle the loss of the connection, or a refusal that replaces the response."""
        self._is_disconnected = True
        self._event.set()

    async def run(self, app: ASGIApp, faults: FaultLog) -> None:
        """Run the application. If it raises an exception, log it, and respond with 500 unless a response has begun."""
        try:
            await app(self._scope, self.receive, self.send)
            if not (self._is_complete or self._is_disconnected):
                raise RuntimeError("the application returned before the response was complete")
        except ClientDisconnect:
            pass  # a client that hangs up is not a server fault
        except Exception as error:  # any fault of the application must leave other requests unharmed
            faults.report(error)
        finally:
            if not (self._is_complete or self._is_disconnected):
                self._fail()

    def _fail(self) -> None:
        """Respond with 500. If a response has begun, cut it off, because otherwise it could look complete."""
        if self.has_begun:
            self._connection.abort()
            return
        self._keeps_alive = False
        refusal = Refusal(Problem.INTERNAL_ERROR, "the server's log has the details")
        self._connection.transport.write(refusal_response(refusal))
        self._complete()

    # Called by the application.

    async def receive(self) -> Message:
        """Return the next part of the body; after the body, the disconnect.

        The disconnect follows when the client has gone or the response is complete.
        """
        if not (self._has_delivered_body or self._is_disconnected or self._is_complete):
            if self.awaits_continue:
                self.awaits_continue = False
                self._connection.transport.write(CONTINUE)
            while not (self.unread or self._is_body_complete or self._is_disconnected):
                await self._wait()
            if not self._is_disconnected:
                self._has_delivered_body = self._is_body_complete
                body, self.unread = bytes(self.unread), bytearray()
                return {"type": "http.request", "body": body, "more_body": not self._has_delivered_body}
        while not (self._is_disconnected or self._is_complete or self._is_abandoned):
            await self._wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        """Write a part of the response; no-op once the client has gone."""
        if not self._is_disconnected:
            await self._connection.writable()
        if self._is_disconnected:
            return
        kind = message["type"]
        if self._head is None:
            if kind != "http.response.start":
                raise RuntimeError(f"a response begins with http.response.start, not {kind}")
            self._start(message["status"], message.get("headers", ()))
        elif kind != "http.response.body" or self._is_complete:
            raise RuntimeError(f"{kind} does not follow here")
        else:
            self._add(message.get("body", b""), message.get("more_body", False))

    @property
    def _is_abandoned(self) -> bool:
        """Whether the client half-closed during an endless response."""
        return self._is_half_closed and self.has_begun and self._length_left is None and not self._is_complete

    async def _wait(self) -> None:
        self._event.clear()
        self._connection.resume_reading()
        await self._event.wait()

    def _start(self, status: int, headers: Iterable[Header]) -> None:
        fields: list[Header] = []
        length: int | None = None
        for name, value in headers:
            if not _NAME.fullmatch(name) or _NOT_IN_VALUE.search(value):
                raise RuntimeError(f"a response cannot have the header field {name!r}: {value!r}")
            name = name.lower()
            if name == b"content-length":
                length = int(value)
            elif name == b"connection" and b"close" in value.lower():
                self._keeps_alive = False
                fields.append((name, value))
            elif name != b"transfer-encoding":  # the server sets this field itself
                fields.append((name, value))
        self._keeps_alive = self._keeps_alive and self._connection.may_keep_alive()
        is_empty = self._is_head_request or status in _NO_BODY
        length = None if status == 204 else length  # RFC 9110 section 8.6
        self._length_left = 0 if is_empty else length
        self._is_chunked = not is_empty and length is None and self._scope["http_version"] == "1.1"
        if not (is_empty or self._is_chunked) and length is None:
            self._keeps_alive = False  # HTTP/1.0: the end of the connection ends the response
        self._head = response_head(status, fields, length, not self._keeps_alive, self._is_chunked)

    def _add(self, body: bytes, more: bool) -> None:
        if self._is_head_request:
            body = b""
        elif self._length_left is not None:
            self._length_left -= len(body)
            if self._length_left < 0 or (self._length_left and not more):
                raise RuntimeError("the response does not match its Content-Length")
        elif self._is_chunked and body:
            body = b"%x\r\n%b\r\n" % (len(body), body)
        if self._is_chunked and not more:
            body += b"0\r\n\r\n"
        head, self._head = self._head or b"", b""
        if head or body:
            self._connection.transport.write(head + body)
        if not more:
            self._complete()

    def _complete(self) -> None:
        self._is_complete = True
        self._head = b""
        self.unread = bytearray()
        self._event.set()
        self._connection.response_complete(self._keeps_alive)


def asgi_scope(head: Head, transport: asyncio.Transport, peer: str, extensions: Mapping[str, object]) -> dict[str, Any]:
    """Return the ASGI scope of the request with `head`.

    Args:
        peer: Client address from a PROXY header; empty to use the address of the connection.
    """
    path = head.path.decode("ascii")
    client = socket_address(transport)
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": head.version,
        "server": socket_address(transport, "sockname"),
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


def socket_address(transport: asyncio.Transport, which: str = "peername") -> tuple[str, int] | None:
    """Return the address of the peer, or of this side (`sockname`); None if the connection is gone."""
    # The socket is asked directly, because uvloop's transport asks the kernel for both addresses on every call
    # (13 microseconds).
    sock = transport.get_extra_info("socket")
    try:
        found = sock.getpeername() if which == "peername" else sock.getsockname()
    except OSError:
        return None
    return str(found[0]), int(found[1])
