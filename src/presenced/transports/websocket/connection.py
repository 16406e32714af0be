"""One open WebSocket: bytes to messages and back (RFC 6455), its limits, and its end. No presence rules."""

from __future__ import annotations

import asyncio
from typing import Any

from websockets.frames import Frame, Opcode
from websockets.protocol import OPEN, SEND_EOF
from websockets.protocol import Protocol as FrameProtocol

from presenced.errors import Close
from presenced.presence.model import Ending
from presenced.presence.session import Session
from presenced.protocols.base import Feed
from presenced.transports.base import Service
from presenced.transports.websocket import endings
from presenced.transports.websocket.reader import FrameParsers, small_text

SLICE = 4096
"""Bytes parsed in one turn of the loop; the rest waits its turn, so that a flood does not hold up the others.
Frames of six bytes cost some 3 microseconds each, so a slice costs 2 ms at worst."""

FRAME_COST = 128
"""Bytes that a frame counts as, at least, where input is limited: so many could be parsed in the same time."""

_FAILURES = frozenset((Close.PROTOCOL_ERROR, Close.INVALID_DATA, Close.MESSAGE_TOO_BIG))
"""After these no answer is waited for (RFC 6455 section 7.1.7)."""

_PONG = 0x8A  # the first byte of a pong


class WebSocketConnection(asyncio.Protocol):
    """One open WebSocket.

    Bounds: input by `input_rate` and `input_burst`; a message by `max_message_size` bytes, `max_message_fragments` and
    `message_timeout`; input not yet parsed by what the loop reads at once (256 KiB); output by the transport's
    `write_buffer`, beyond which pongs and changes are not written; the closing handshake by `close_timeout`.
    """

    __slots__ = (
        "_file",
        "_fragments",
        "_message",
        "_parser",
        "_parsers",
        "_peers",
        "_pong",
        "_service",
        "_spent",
        "_text",
        "_transport",
        "_unparsed",
        "address",
        "closing",
        "connection_id",
        "deflates",
        "feed",
        "file",
        "heard_at",
        "opened_at",
        "opened_ms",
        "paused",
        "serial",
        "session",
        "slice",
        "user_id",
        "writer",
    )

    feed: Feed
    session: Session[Any]

    def __init__(self, service: Service, parsers: FrameParsers, peers: set[Any]) -> None:
        self._service = service
        self._parsers = parsers
        self._peers = peers
        self._parser: FrameProtocol | None = None
        self._message: bytearray | None = None
        self._text = False
        self._fragments = 0
        self._pong: bytes | None = None
        self._unparsed: bytes = b""
        self._spent = 0.0
        self._file = self.file = -1
        self.address = ""
        self.writer: Any = None
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

    # What the front door and the transport call.

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # sockets only
        """The front door hands over its transport."""
        self._transport = transport
        if transport.get_extra_info("sslcontext") is None:
            self._file = transport.get_extra_info("socket").fileno()
        transport.set_write_buffer_limits(self._service.settings.write_buffer)
        self._peers.add(self)  # otherwise the listener would neither end it nor wait for it

    def accept(self, response: bytes, query: bytes, subprotocol: str, deflates: bool = False, token: str = "") -> None:
        """The handshake succeeded."""
        self.deflates = deflates
        self._service.opened(self, query, response, subprotocol, token)

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is gone."""
        self.closing = True
        self._peers.discard(self)
        self._service.timer.cancel(self._unfinished)
        self._service.timer.cancel(self.cut)
        self._service.throttle.left(self.address)
        self._service.closed(self, Ending.LOST, Ending.LOST)
        if self._parser is not None:
            self._parsers.end(self._parser)
        self._parser, self._message, self._unparsed = None, None, b""

    def data_received(self, data: bytes) -> None:
        """Bytes came: at most `SLICE` are parsed now."""
        now = self._service.clock.monotonic()
        self._spent = max(0.0, self._spent - (now - self.heard_at) * self._service.settings.input_rate)
        self._charge(max(len(data), FRAME_COST))
        self.heard_at = now
        if self._is_deaf:
            self._transport.pause_reading()
        elif self._unparsed:
            self._unparsed += data  # a transport may hand over what it had read before it was paused
        elif self._parser is None and self._message is None and (message := small_text(data)) is not None:
            self._text = True
            self._deliver(message)
        elif len(data) <= SLICE:
            self._parse(data)
        else:
            self._transport.pause_reading()
            self._unparsed = data
            self._parse_slice()

    def pause_writing(self) -> None:
        """The client reads too slowly."""
        self.paused = True
        self._service.paused(self)

    def resume_writing(self) -> None:
        """The client has caught up with what was written."""
        self.paused = False
        if self._pong is not None and not self.closing:
            self.send(self._pong)
        self._pong = None
        self._service.resumed(self)

    def shutdown(self) -> None:
        """Close the connection, because the server is stopping."""
        self.close(Close.GOING_AWAY, "the server is stopping")

    # What the service calls.

    @property
    def unsent(self) -> int:
        """Bytes the transport holds because the client has not taken them."""
        return self._transport.get_write_buffer_size()

    def fileno(self) -> int:
        """The number of its socket's file."""
        return self._file

    def send(self, data: bytes) -> None:
        """Hand finished frames to the transport."""
        self.file = -1
        self._transport.write(data)

    def look(self) -> int:
        """Set `file` by what the transport holds."""
        self.file = -1 if self._transport.get_write_buffer_size() else self._file
        return self.file

    def cut(self) -> None:
        """End it at once: what was sent may not be whole."""
        self._transport.abort()

    def close(self, close: Close, reason: str = "") -> None:
        """Start the closing handshake; no-op when it has started. The connection counts as ended from now on.

        Args:
            reason: At most 123 bytes of UTF-8 (RFC 6455 section 5.5).
        """
        if self.closing:
            return
        if self._parser is None:
            self._parser = self._parsers.borrow(self.deflates)
        if self._parser.state is OPEN:  # or the client's own close frame is in the bytes being parsed
            if close in _FAILURES:
                self._parser.fail(close.code, reason)
            else:
                self._parser.send_close(close.code, reason)
        self._end(*endings.of_server(close))
        self._write(self._parser.data_to_send())

    def fall_behind(self) -> None:
        """The client read too slowly for too long."""
        self.close(Close.FELL_BEHIND, "reading too slowly")

    # Input.

    def _parse_slice(self) -> None:
        if self._transport.is_closing():
            return
        data, self._unparsed = self._unparsed[:SLICE], self._unparsed[SLICE:]
        self._parse(data)
        if self._is_deaf:
            self._unparsed = b""
        elif self._unparsed:
            self._service.clock.call_soon(self._parse_slice)
        else:
            self._transport.resume_reading()

    def _parse(self, data: bytes) -> None:
        parser = self._parser
        if parser is None:
            parser = self._parser = self._parsers.borrow(self.deflates)
        parser.receive_data(data)
        writes = parser.data_to_send()
        frames = parser.events_received()
        self._charge(FRAME_COST * (len(frames) - 1))  # the first one is counted with its bytes
        for frame in frames:
            if self.closing:
                break
            if frame.opcode is Opcode.PING:  # type: ignore[union-attr]  # past the handshake, events are frames
                self._write([writes.pop(0)])  # before the answers to messages that came after it
            else:
                self._receive(parser, frame)  # type: ignore[arg-type]  # as above
        if parser.parser_exc is not None and not self.closing:
            assert parser.close_sent is not None, "the library fails a connection with a close frame"
            self._end(Ending.LOST, endings.reason_of(parser.close_sent.code))
        if self.closing:
            writes = [data for data in writes if not data or data[0] != _PONG]  # answers to what is not read any more
        self._write(writes)
        if parser is self._parser and (self._parsers.give_back(parser) or self._parsers.end_failed(parser)):
            self._parser = None
        self._watch_unfinished()

    @property
    def _is_deaf(self) -> bool:
        """It is being closed for a fault, or while more comes than may: no more is read, or a flood would go on."""
        return self.closing and (self._parser is None or self._spent > self._service.settings.input_burst)

    def _charge(self, cost: int) -> None:
        self._spent += cost
        if self._spent > self._service.settings.input_burst:
            self.close(Close.TOO_MANY_REQUESTS, "too much came, too fast; come back and send less")

    def _receive(self, parser: FrameProtocol, frame: Frame) -> None:
        if frame.fin:
            self._service.timer.cancel(self._unfinished)
        match frame.opcode:  # a pong is heard by its bytes
            case Opcode.TEXT | Opcode.BINARY:
                self._text = frame.opcode is Opcode.TEXT
                if frame.fin:
                    self._deliver(bytes(frame.data))
                else:
                    self._message, self._fragments = bytearray(frame.data), 1
            case Opcode.CONT:
                assert self._message is not None, "the library refuses a continuation of nothing"
                self._message += frame.data
                self._fragments += 1
                if frame.fin:
                    message, self._message = self._message, None
                    self._deliver(bytes(message))
                elif self._fragments >= self._service.settings.max_message_fragments:
                    allowed = self._service.settings.max_message_fragments
                    self.close(Close.MESSAGE_TOO_BIG, f"more than {allowed} fragments")
            case Opcode.CLOSE:
                assert parser.close_rcvd is not None, "the library parsed it"
                ending = endings.of_client(parser.close_rcvd.code)
                self._end(ending, ending)

    def _deliver(self, data: bytes) -> None:
        if not self._text:
            self._service.received(self, data)
            return
        try:
            text = data.decode()
        except UnicodeDecodeError:
            self.close(Close.INVALID_DATA, "a text message is not valid UTF-8")
        else:
            self._service.received(self, text)

    def _watch_unfinished(self) -> None:
        """Bound the time of a message, from its first byte to its last."""
        timer = self._service.timer
        if self.closing or (self._parser is None and self._message is None):
            timer.cancel(self._unfinished)
        elif self._unfinished not in timer:
            timer.set(self._unfinished, self.heard_at + self._service.settings.message_timeout)

    def _unfinished(self) -> None:
        self.close(Close.TIMED_OUT, "a message was left unfinished")

    # Output and the end.

    def _write(self, writes: list[bytes]) -> None:
        """Send what the library wants sent: pongs, a close frame, the end of the stream."""
        if not writes:
            return
        frames = [data for data in writes if data]
        if self.paused:
            # Answering the last ping is enough (RFC 6455 section 5.5.3), once the client reads again.
            pongs = [data for data in frames if data[0] == _PONG]
            frames = [data for data in frames if data[0] != _PONG]
            self._pong = pongs[-1] if pongs else self._pong
        self.send(b"".join(frames))
        if SEND_EOF in writes:
            self._end_stream()

    def _end_stream(self) -> None:
        """Half-close and wait for the client's end: closing with bytes unread would reset the connection."""
        if self._transport.can_write_eof():
            self._transport.write_eof()
        else:
            self._transport.close()

    def _end(self, ending: Ending, reason: str) -> None:
        """The connection counts as ended; the client has `close_timeout` to finish the closing handshake."""
        self.closing = True
        self._message = None
        self._service.closed(self, ending, reason)
        timer, settings = self._service.timer, self._service.settings
        timer.cancel(self._unfinished)
        timer.set(self.cut, self._service.clock.monotonic() + settings.close_timeout)
