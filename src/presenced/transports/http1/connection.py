"""One TCP connection that speaks HTTP/1.1 until it is upgraded or ends (RFC 9112 section 9).

Bytes flow one way. `data_received` appends them to the unread bytes. `_proceed` then takes the next head (`head.py`),
or its body (`body.py`), as the state allows. A pipelined request waits unparsed until the previous one is answered
(`exchange.py`), so responses keep their order.

    state                  fields                       timeout             at the timeout
    idle                   _is_idle                     keep_alive          close
    head incomplete        not _is_idle                 head_timeout        408, then ending
    answering              _exchange, perhaps _body     none                the application decides
    answering, half-closed _exchange, _is_half_closed   PROBE_S             probe whether the client is still there
    body left to discard   _body without _exchange      keep_alive          close
    ending                 _is_ending                   close_timeout       abort
    any, output unread     _room_event                  behind_timeout      abort

    new or idle → head incomplete → answering → (body left to discard) → idle
                         │              └→ ending, if the response announced it or the body broke a rule
                         ├→ upgraded: a WebSocketConnection takes over the transport
                         └→ ending, after a refusal

- A new connection waits for its first head from the start. An idle one begins that wait with the first byte.
- A head, body or chunk that breaks a rule gets 400 at once. The connection then ends, because the start of the next
  request is unknown (section 9.3).
- Every refusal goes through `refuse`. It writes a problem document, half-closes and keeps reading for `close_timeout`
  seconds. If the connection closed with bytes unread, the kernel would reset it and the client would not see the
  response (section 9.6).
- A client that half-closes still gets its response. `Exchange.half_closed` describes the effect on a stream. A client
  that has gone looks the same, so the connection probes it.
- Up to `MAX_DISCARDED_BYTES` of a body that the application does not read are discarded, and the connection stays
  open.
"""

from __future__ import annotations

import asyncio
import weakref
from typing import TYPE_CHECKING

from presenced.errors import Problem
from presenced.net.refusals import Header, Refusal
from presenced.transports.http1.body import Body, Chunked, Sized
from presenced.transports.http1.exchange import ABORT_EXTENSION, MAX_UNREAD_BODY_BYTES, Exchange, asgi_scope
from presenced.transports.http1.head import Head, InvalidRequest, check_part, find_end, parse, skip_empty_lines
from presenced.transports.http1.response import refusal_response
from presenced.transports.reset import reset

if TYPE_CHECKING:
    from presenced.transports.front_door import FrontDoor

MAX_PIPELINED_REQUESTS = 16
"""Maximum number of pipelined requests waiting on one connection. One more gets 429."""

MAX_UNREAD_BYTES = 65_536
"""Maximum number of bytes waiting behind an unanswered request. At the bound the server pauses reading."""

MAX_DISCARDED_BYTES = 65_536
"""Maximum number of body bytes discarded because the application did not read them. At the bound the connection
ends."""

PROBE_S = 2.5
"""Seconds between two probes of a client that half-closed. The second probe detects that the client has gone."""


class HttpConnection(asyncio.Protocol):
    """One HTTP/1.1 connection.

    Bounds, by what they limit:

    - the head of a request: `max_head_size` bytes, `MAX_HEADERS` fields, `head_timeout`
    - input behind a request: `MAX_PIPELINED_REQUESTS`, `MAX_UNREAD_BYTES`
    - the time between two requests: `keep_alive`
    - the time in which the client reads nothing of a response: `behind_timeout`
    """

    # Without `__slots__`: they would save 40 of 305 bytes and 0.03 microseconds, and most of these objects live only
    # until the handshake.

    transport: asyncio.Transport

    def __init__(self, door: FrontDoor, is_identified: bool) -> None:
        self.client_address = ""
        """Client address; empty if nothing needs it."""
        self.throttle_key = ""
        """Address that the connection counts for in the throttle; empty if it is not counted."""
        self.headers: list[Header] = []
        """Header fields of the request being read or answered."""
        self._door = door
        self._is_identified = is_identified
        """Whether the PROXY header was read, or none is expected."""
        self._is_ending = False
        """Whether the connection is ending or was handed over, so further input is discarded."""
        self._unread = b""
        self._scanned = 0
        """Number of bytes in `_unread` that were checked as the start of a head."""
        self._body: Body | None = None
        """Unread part of the last request's body."""
        self._exchange: Exchange | None = None
        """Request being answered."""
        self._pipelined_bytes = self._pipelined_requests = 0
        """Unread bytes that had arrived when a response was complete, and requests parsed from them since."""
        self._discarded = 0
        """Number of discarded bytes of the last request's body."""
        self._is_idle = False
        """Whether the connection waits for the first byte of another request."""
        self._is_half_closed = self._is_stopping = self._is_reading_paused = False
        self._room_event: asyncio.Event | None = None
        """Set once there is room in the transport's buffer; None while the client reads the output."""
        self._unsent = 0
        """Number of bytes in the transport's buffer when `_check_reading` looked last."""

    # Called by the transport.

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # sockets only
        """Register the new connection."""
        self.transport = transport
        self._set_timeout(self._door.settings.head_timeout)
        self._door.connected(self)

    def data_received(self, data: bytes) -> None:
        """Read `data`."""
        if self._is_ending:
            return
        if self._unread:
            data = self._unread + data
        self._unread = data
        if not self._is_identified:
            rest = self._door.identify(self, data)
            if rest is None or self._is_ending:
                return
            self._is_identified, self._unread = True, rest
        self._proceed()

    def eof_received(self) -> bool:
        """Handle the end of the client's input. Return True if the client still waits for a response."""
        self._is_half_closed = True
        if self._is_ending or self._exchange is None or self._door.settings.tls_key:  # TLS cannot half-close
            self._close()
            return False
        self._exchange.half_closed()
        self._close_or_probe()
        return True

    def pause_writing(self) -> None:
        """Pause writing, because the client reads too slowly."""
        self._room_event, self._unsent = asyncio.Event(), self.transport.get_write_buffer_size()
        self._check_reading_later()

    def resume_writing(self) -> None:
        """Resume writing, because the client has caught up."""
        if self._room_event is not None:
            self._door.timer.cancel(self._check_reading)
            self._room_event.set()
            self._room_event = None

    def connection_lost(self, exc: Exception | None) -> None:
        """Clean up after the connection was lost before an upgrade."""
        self._is_ending, self._unread = True, b""
        self._door.timer.cancel(self._on_timeout)
        self._door.disconnected(self)
        if self._exchange is not None:
            self._exchange.disconnected()
            self._exchange = None
        self.resume_writing()

    # Called by the listener.

    def shutdown(self) -> None:
        """End the connection, because the server is stopping. A request being answered gets its response first."""
        self._is_stopping = True
        if self._exchange is None:
            self._close()

    # Input.

    def _proceed(self) -> None:
        """Read as much as the bytes and the unanswered requests allow."""
        while self._unread and not self._is_ending:
            before = len(self._unread)
            if self._body is not None:
                can_proceed = self._read_body(self._body)
            elif self._exchange is not None:
                if before > MAX_UNREAD_BYTES:
                    self._pause_reading()
                return
            else:
                can_proceed = self._read_head()
            self._pipelined_bytes -= before - len(self._unread)
            if not can_proceed:
                return

    def _read_head(self) -> bool:
        """Read the next head if it is complete. Return whether to continue."""
        if self._is_idle:
            self._is_idle = False
            self.headers = []
            self._set_timeout(self._door.settings.head_timeout)
        data = self._unread
        if data[:2] == b"\r\n":
            data = self._unread = skip_empty_lines(data)
            self._scanned = 0
        max_size = self._door.settings.max_head_size
        end = find_end(data, self._scanned, max_size)
        try:
            if end >= 0:
                head = parse(data[:end])
            elif len(data) < max_size:
                check_part(data, self._scanned)
                self._scanned = len(data)
                return False
            else:
                raise InvalidRequest(f"at most {max_size} bytes", Problem.HEAD_TOO_LARGE)
        except InvalidRequest as error:
            self.refuse(Refusal(error.problem, str(error)))
            return False
        self._unread = data[end + 4 :]
        self._scanned = 0
        self._start_request(head)
        return True

    def _start_request(self, head: Head) -> None:
        """Upgrade the connection, or let the application answer the request."""
        self._door.timer.cancel(self._on_timeout)
        self.headers = head.headers
        if self._pipelined_bytes > 0:
            self._pipelined_requests += 1
            if self._pipelined_requests > MAX_PIPELINED_REQUESTS:
                detail = f"at most {MAX_PIPELINED_REQUESTS} requests may wait for the response to the previous one"
                self.refuse(Refusal(Problem.TOO_MANY_REQUESTS, detail, retry_after=1))
                return
        if head.asks_for_websocket and self._door.upgrade(self, head):
            return
        if head.length != 0:
            self._body = Chunked() if head.length is None else Sized(head.length)
        peer = self.client_address if self._door.settings.proxy_protocol else ""
        # For `http.sse`. The reference is weak, because this object holds the exchange, which holds the scope.
        extensions = {ABORT_EXTENSION: weakref.WeakMethod(self.abort)}
        exchange = self._exchange = Exchange(self, asgi_scope(head, self.transport, peer, extensions), head)
        if self._is_half_closed:
            exchange.half_closed()
        task = asyncio.create_task(exchange.run(self._door.app, self._door.faults))
        self._door.tasks.add(task)
        task.add_done_callback(self._door.tasks.discard)

    def _read_body(self, body: Body) -> bool:
        """Read the available part of the body. Return whether to continue."""
        exchange = self._exchange
        if exchange is not None and len(exchange.unread) > MAX_UNREAD_BODY_BYTES:
            self._pause_reading()
            return False
        try:
            content, self._unread = body.feed(self._unread)
        except InvalidRequest as error:
            self.refuse(Refusal(error.problem, str(error)))
            return False
        if body.is_complete:
            self._body = None
        if exchange is not None:
            exchange.body_received(content, body.is_complete)
        elif body.is_complete:
            self._await_next()
        else:
            self._discarded += len(content)
            if self._discarded > MAX_DISCARDED_BYTES:
                self._linger()
        if self._unread and not body.is_complete:
            # Chunks this small would block the other connections if reading continued now.
            self._pause_reading()
            self._door.clock.call_soon(self.resume_reading)
            return False
        return True

    def _pause_reading(self) -> None:
        if not self._is_reading_paused:
            self._is_reading_paused = True
            self.transport.pause_reading()

    # Called by the exchange.

    async def writable(self) -> None:
        """Wait until the client has read enough of the output, or is gone."""
        if self._room_event is not None:
            await self._room_event.wait()

    def resume_reading(self) -> None:
        """Resume reading if it was paused."""
        if self._is_reading_paused and not self.transport.is_closing():
            self._is_reading_paused = False
            self.transport.resume_reading()
            self._proceed()

    def may_keep_alive(self) -> bool:
        """Return whether another request may follow on this connection."""
        # A client that expected 100 Continue may or may not send its body (RFC 9110 section 10.1.1).
        return not (self._is_stopping or (self._exchange is not None and self._exchange.awaits_continue))

    def response_complete(self, keeps_alive: bool) -> None:
        """Handle the end of a response.

        Args:
            keeps_alive: Whether the response did not announce the end of the connection.
        """
        self._exchange = None
        if self._is_ending or not keeps_alive:
            self._linger()
            return
        if self._pipelined_bytes <= 0:
            self._pipelined_bytes, self._pipelined_requests = len(self._unread), 0
        self._discarded = 0
        self._await_next()
        if self._is_reading_paused:
            self.resume_reading()
        else:
            self._proceed()
        if (self._is_half_closed or self._is_stopping) and not self._is_ending:
            self._close_or_probe()

    def abort(self) -> None:
        """End the connection immediately."""
        self._is_ending = True
        if self._exchange is not None:
            self._exchange.disconnected()
        reset(self.transport)

    # The end.

    @property
    def is_writing_paused(self) -> bool:
        """Whether the client reads too slowly. The transport does not report it again to a protocol that takes over."""
        return self._room_event is not None

    def hand_over(self) -> bytes:
        """Detach from the transport, so that another protocol can take it over. Return the unread bytes."""
        early, self._unread = self._unread, b""
        self._is_ending = True
        self.resume_writing()
        return early

    def refuse(self, refusal: Refusal) -> None:
        """Respond with a problem document and close, giving the client time to read it.

        Every refusal of the front door goes through this method, at most one for each connection. If the application
        has begun to respond, its response is cut off.
        """
        if self._is_ending:
            return
        self._door.refused(self, refusal)
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            has_begun = exchange.has_begun
            exchange.disconnected()
        else:
            has_begun = self._body is not None  # the rest of a body whose request was answered
        if not has_begun:
            self.transport.write(refusal_response(refusal))
        self._linger()

    def _linger(self) -> None:
        """End the connection, giving the client time to read the output."""
        self._is_ending, self._unread = True, b""
        if self.transport.is_closing():
            return
        # A stopping server does not wait for the client, unless the rest of a body may be in flight.
        is_hurried = self._is_stopping and self._body is None
        if self._is_half_closed or is_hurried or not self.transport.can_write_eof():
            self.transport.close()
        else:
            if self._is_reading_paused:
                self._is_reading_paused = False
                self.transport.resume_reading()
            self.transport.write_eof()
        self._set_timeout(self._door.settings.close_timeout)

    def _close(self) -> None:
        """End the connection as soon as the client has what was written, or `close_timeout` is over."""
        self._is_ending = True
        self.transport.close()
        self._set_timeout(self._door.settings.close_timeout)

    def _close_or_probe(self) -> None:
        """Close, unless a request is being answered. If the client half-closed, refuse an incomplete body, or probe."""
        if self._exchange is None:
            self._close()
        elif self._is_half_closed and self._body is not None and not self._is_reading_paused:
            self.refuse(Refusal(Problem.BAD_REQUEST, "the body ended before it was complete"))
        elif self._is_half_closed:
            self._set_timeout(PROBE_S)

    def _await_next(self) -> None:
        """Start the keep-alive timeout. Unread bytes of a discarded body may still arrive."""
        self._is_idle = True
        self._set_timeout(self._door.settings.keep_alive)

    def _check_reading_later(self) -> None:
        self._door.timer.set(self._check_reading, self._door.clock.monotonic() + self._door.settings.behind_timeout)

    def _check_reading(self) -> None:
        """Cut off a client that has read nothing since the last check. One that reads slowly may go on."""
        before, self._unsent = self._unsent, self.transport.get_write_buffer_size()
        if self._unsent < before:
            self._check_reading_later()
        else:
            self.abort()

    def _set_timeout(self, seconds: float) -> None:
        """Set the timeout of the current state. A new one replaces it."""
        self._door.timer.set(self._on_timeout, self._door.clock.monotonic() + seconds)

    def _on_timeout(self) -> None:
        """End the connection after a timeout."""
        if self._is_ending:
            reset(self.transport)
        elif self._exchange is not None:
            if self._exchange.probe():
                self._set_timeout(PROBE_S)
        elif not self._is_idle:
            detail = f"the head did not arrive within {self._door.settings.head_timeout:g} s"
            self.refuse(Refusal(Problem.REQUEST_TIMEOUT, detail))
        else:
            self._close()
