"""One open WebSocket (RFC 6455): bytes to messages and back, the limits of its input, and its end.

The object is the asyncio protocol of its transport. It has no task, queue or timer of its own, and no frame reader
unless a message is incomplete. It reports to a handler, which is the node.

    state      closing  reader     input                              leaves when
    open       no       None       frames                             a frame is incomplete; an end, see below
    partial    no       set        the rest of a message              it is complete, or message_timeout: 4408
    closing    yes      any        only the client's close frame      that arrives, or close_timeout: abort
    ended      yes      done       discarded                          the client ends the stream, or close_timeout
    flooded    yes      any        not read                           close_timeout: abort

    close() by the server          close frame → closing, then the client's close frame → half-close → ended
    close frame of the client      echo, half-close → ended (sections 5.5.1 and 7.1.1)
    fault of the client            close frame, half-close → ended (section 7.1.7)
    more input than allowed        close frame with 4429 → closing; flooded if more follows
    loss of the connection         reported at once

The handler is notified when the end begins. After the half-close the connection waits for the client to end its side.
Closing a socket with bytes unread would reset it, and the client might never see the close frame.

The response to the handshake waits here and goes out together with the first message, which saves a `send` for each
connection.
"""

from __future__ import annotations

import asyncio
from typing import Any

from websockets.frames import Opcode

from presenced.delivery.batch import Batch
from presenced.errors import Close
from presenced.presence.model import Ending
from presenced.presence.session import Session
from presenced.protocols.base import ConnectRequest
from presenced.transports.base import ConnectionHandler
from presenced.transports.reset import reset
from presenced.transports.websocket import endings
from presenced.transports.websocket.frame_reader import Closed, Failed, FrameEvent, FrameReader, Pinged
from presenced.transports.websocket.framing import PING_FRAME, close_frame, control_frame, frames, text_frame

SLICE_BYTES = 4096
"""Maximum number of bytes parsed in one turn of the loop. The rest waits, so that a flood does not block the other
connections. An empty frame takes 6 bytes and 0.7 microseconds, so reading a slice takes 0.5 ms at worst."""

FRAME_COST_BYTES = 128
"""Minimum number of bytes that each frame, and each read, counts for in the limit of input. A small frame costs time
rather than bandwidth."""

_MESSAGE = (str, bytes)


class WebSocketConnection(asyncio.Protocol):
    """One open WebSocket; implements `delivery.connection.Connection` and `transports.fastpath.direct.FastConnection`.

    Bounds, by what they limit:

    - input: `input_rate`, `input_burst`
    - a message: `max_message_size`, `max_message_fragments`, `message_timeout`
    - unparsed input: one read of the loop (256 KiB)
    - output: `write_buffer`, beyond which neither pongs nor changes are written
    - the closing handshake: `close_timeout`
    """

    # A server may have 100,000 of these. Without slots each takes 297 bytes instead of 233.
    __slots__ = (
        "_fd",
        "_handler",
        "_peers",
        "_pong",
        "_reader",
        "_response",
        "_spent",
        "_transport",
        "_unparsed",
        "closing",
        "connection_id",
        "deflates",
        "direct_fd",
        "heard_at",
        "helper",
        "opened_at",
        "opened_ms",
        "paused",
        "protocol",
        "serial",
        "session",
        "slice",
        "throttle_key",
        "user_id",
    )

    protocol: Any
    session: Session[Any]

    def __init__(self, handler: ConnectionHandler, peers: set[Any]) -> None:
        self._handler = handler
        self._peers = peers
        """All open connections of the listener, which this one joins and leaves."""
        self._reader: FrameReader | None = None
        """Reader of an incomplete message; None between messages."""
        self._pong: bytes | None = None
        """Pong that waits until the client reads again."""
        self._response = b""
        """Response to the handshake that is still to be sent."""
        self._unparsed = b""
        """Input that waits for the next turn of the loop."""
        self._spent = 0.0
        """Bytes of input that count against `input_burst`, as of `heard_at`. They shrink by `input_rate` per second."""
        self._fd = self.direct_fd = -1
        self.throttle_key = ""
        self.helper: Any = None
        self.deflates = False
        self.closing = False
        self.paused = False
        self.user_id = ""
        self.connection_id = ""
        self.serial = 0
        self.slice = -1
        self.opened_ms = 0
        self.opened_at = 0.0
        self.heard_at = 0.0

    # Called by the front door and the transport.

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # sockets only
        """Take over the transport from the front door."""
        self._transport = transport
        if transport.get_extra_info("sslcontext") is None:
            self._fd = transport.get_extra_info("socket").fileno()
        transport.set_write_buffer_limits(self._handler.settings.write_buffer)
        self._peers.add(self)  # otherwise the listener would neither end it nor wait for it

    def upgrade(self, response: bytes, request: ConnectRequest, deflates: bool = False) -> None:
        """Start after a successful handshake.

        Args:
            response: Head of the 101 response. It goes out with the first bytes that are sent.
            deflates: Whether both sides may compress messages.
        """
        self._response, self.deflates = response, deflates
        self._handler.opened(self, request)

    def connection_lost(self, exc: Exception | None) -> None:
        """Report the end of the connection, unless it was reported before."""
        self.closing = True
        self._peers.discard(self)
        self._handler.timer.cancel(self._close_unfinished)
        self._handler.timer.cancel(self.abort)
        self._handler.throttle.release_connection(self.throttle_key)
        self._handler.closed(self, Ending.LOST, Ending.LOST)  # the ending is also the reason
        self._reader, self._unparsed = None, b""

    def data_received(self, data: bytes) -> None:
        """Read input, at most `SLICE_BYTES` of it now."""
        self._hear()
        self._charge(max(len(data), FRAME_COST_BYTES))
        if self._is_flooded:
            self._transport.pause_reading()
        elif self._unparsed:
            self._unparsed += data  # a transport may deliver what it had read before it was paused
        elif len(data) <= SLICE_BYTES:
            self._parse(data)
        else:
            self._transport.pause_reading()
            self._unparsed = data
            self._parse_slice()

    def pause_writing(self) -> None:
        """Report that the client reads too slowly."""
        self.paused = True
        self._handler.paused(self)

    def resume_writing(self) -> None:
        """Report that the client has caught up with the output."""
        self.paused = False
        if self._pong is not None and not self.closing:
            self.write(self._pong)
        self._pong = None
        self._hear()
        self._handler.resumed(self)

    def shutdown(self) -> None:
        """Close the connection, because the server is stopping."""
        self.close(Close.GOING_AWAY, "the server is stopping")

    # Called by the node and the protocols; `delivery.connection.Connection` describes the methods.

    @property
    def unsent(self) -> int:
        """Number of bytes in the transport's buffer."""
        return self._transport.get_write_buffer_size()

    def accept(self) -> None:
        """Send the response to the handshake now, not with the first message."""
        self.write(b"")

    def send(self, message: bytes) -> None:
        """Send one text message."""
        self.write(text_frame(message))

    def send_batch(self, batch: Batch) -> int:
        """Send the messages of a batch in one write. Return the number of bytes."""
        data = frames(batch, self.deflates)
        self.write(data)
        return len(data)

    def ping(self) -> None:
        """Send a ping."""
        self.write(PING_FRAME)

    def close(self, close: Close, reason: str = "") -> None:
        """Start the closing handshake. The connection counts as ended from now on. No-op if it has started.

        Args:
            reason: At most 123 bytes of UTF-8 (RFC 6455 section 5.5).
        """
        if not self.closing:
            self._end(*endings.server_ending(close))
            self.write(close_frame(close.code, reason))

    # Called by the fast path; `transports.fastpath.direct.FastConnection` describes the methods.

    def fileno(self) -> int:
        """Return the file descriptor of the socket; -1 if only the transport may write, because of TLS."""
        return self._fd

    def check_direct_fd(self) -> int:
        """Set `direct_fd` according to the transport's buffer, and return it."""
        self.direct_fd = -1 if self._response or self._transport.get_write_buffer_size() else self._fd
        return self.direct_fd

    def write(self, data: bytes) -> None:
        """Write frames to the transport, after the response to the handshake if that is still to be sent."""
        self.direct_fd = -1
        if self._response:
            data, self._response = self._response + data, b""
        self._transport.write(data)

    def abort(self) -> None:
        """End the connection immediately, without a close frame."""
        reset(self._transport)

    # Input.

    def _hear(self) -> None:
        """Record that the client is there now, and let what it has spent shrink by the time since it was there last."""
        now = self._handler.clock.monotonic()
        self._spent = max(0.0, self._spent - (now - self.heard_at) * self._handler.settings.input_rate)
        self.heard_at = now

    def _parse_slice(self) -> None:
        if self._transport.is_closing():
            return
        data, self._unparsed = self._unparsed[:SLICE_BYTES], self._unparsed[SLICE_BYTES:]
        self._parse(data)
        if self._is_flooded:
            self._unparsed = b""
        elif self._unparsed:
            self._handler.clock.call_soon(self._parse_slice)
        else:
            self._transport.resume_reading()

    def _parse(self, data: bytes) -> None:
        reader, is_first = self._reader, self._reader is None
        if reader is None:
            settings = self._handler.settings
            reader = FrameReader(settings.max_message_size, settings.max_message_fragments, self.deflates)
        events = reader.receive(data)
        if reader.frames_read > 1:  # the first one was counted with its bytes
            self._charge(FRAME_COST_BYTES * (reader.frames_read - 1))
        for event in events:
            if not isinstance(event, _MESSAGE):
                self._handle(event)
            elif not self.closing:
                self._handler.received(self, event)
        self._reader = None if reader.is_idle else reader
        if not (self._reader is None and is_first):
            self._watch_unfinished(is_first or any(isinstance(event, _MESSAGE) for event in events))

    def _watch_unfinished(self, is_new: bool) -> None:
        """Limit the time of a message, from its first byte to its last."""
        if self._reader is None or self.closing:
            self._handler.timer.cancel(self._close_unfinished)
        elif is_new:
            self._handler.timer.set(self._close_unfinished, self.heard_at + self._handler.settings.message_timeout)

    def _close_unfinished(self) -> None:
        self.close(Close.TIMED_OUT, "a message was left unfinished")

    def _handle(self, event: FrameEvent) -> None:
        match event:
            case Pinged(payload) if not self.closing:
                self._send_pong(payload)
            case Closed(code, payload):
                if not self.closing:
                    ending = endings.client_ending(code)
                    self._end(ending, ending)  # the ending is also the reason
                    self.write(control_frame(Opcode.CLOSE, payload))
                self._end_stream()
            case Failed(close, reason):
                self.close(close, reason)
                self._end_stream()

    def _send_pong(self, ping: bytes) -> None:
        pong = control_frame(Opcode.PONG, ping)
        if self.paused:
            self._pong = pong  # the last one is enough, once the client reads again (section 5.5.3)
        else:
            self.write(pong)

    @property
    def _is_flooded(self) -> bool:
        """Whether too much arrives on a connection that is closing. Reading it would let the flood go on."""
        return self.closing and self._spent > self._handler.settings.input_burst

    def _charge(self, cost: int) -> None:
        self._spent += cost
        if self._spent > self._handler.settings.input_burst:
            self.close(Close.TOO_MANY_REQUESTS, "too much input in too short a time; reconnect and send less")

    # The end.

    def _end(self, ending: Ending, reason: str) -> None:
        """Report the end. The client has `close_timeout` seconds to finish the closing handshake."""
        self.closing = True
        self._handler.closed(self, ending, reason)
        timer, settings = self._handler.timer, self._handler.settings
        timer.cancel(self._close_unfinished)
        timer.set(self.abort, self._handler.clock.monotonic() + settings.close_timeout)

    def _end_stream(self) -> None:
        """Half-close and wait for the client to end its side."""
        if self._transport.can_write_eof():
            self._transport.write_eof()
        else:
            self._transport.close()
