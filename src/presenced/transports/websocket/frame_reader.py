"""Reader of client frames (RFC 6455 section 5): takes bytes and returns events, without I/O, clock or connection.

A frame starts with a head of 6 to 14 bytes:

    FIN RSV1 RSV2 RSV3 opcode   1 byte; the opcode has 4 bits
    MASK length                 1 byte; a length of 126 or 127 stands for one in the next 2 or 8 bytes
    extended length             0, 2 or 8 bytes
    masking key                 4 bytes; a client must mask its frames (section 5.1)

Result of each frame:

    opcode              between messages         within a message
    1 text, 2 binary    starts a message         fails, 1002
    0 continuation      fails, 1002              adds to the message
    8 close             `Closed`, ends input     `Closed`, ends input; the message is dropped (section 5.4)
    9 ping              `Pinged`                 `Pinged` (section 5.4)
    10 pong             nothing                  nothing
    others              fails, 1002              fails, 1002

    The frame with FIN completes its message, which becomes a `str` or `bytes`. It fails with 1007 if a text is not
    UTF-8 (section 8.1), and with 1009 if it is too large or has too many fragments.

An invalid head or length becomes a `Failed` event before the payload arrives. So the reader never buffers more than a
message may have. Faults of order, text and compression show when the payload is complete. After `Closed` or `Failed`
the reader discards its input (sections 1.4 and 7.1.7).

A reader has no state between messages, so a connection needs one only while a message is incomplete. An idle connection
costs nothing. The `Protocol` of the `websockets` library keeps 1.3 KiB per idle connection and takes 3 to 6 times as
long. A small message takes it 4.8 microseconds instead of 1.6, and each frame of a flood of empty ones 3.4 instead of
0.6.

The library remains the oracle of the tests (`tests/unit/transports/websocket/test_frame_reader.py`), except that it
rejects a close frame within a message.
"""

from __future__ import annotations

import zlib
from typing import NamedTuple

from presenced.errors import Close

try:  # the C extension is optional; the library itself imports it in the same way
    from websockets.speedups import apply_mask
except ImportError:
    from websockets.utils import apply_mask

_FIN, _RSV1, _OPCODE, _CONTROL = 0x80, 0x40, 0x0F, 0x08
_MASK = 0x80
_CONT, _TEXT, _BINARY, _CLOSE, _PING, _PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
_WHOLE_TEXT = _FIN | _TEXT
_LONGEST_CONTROL = _MASK | 125
"""Second byte of the longest control frame (RFC 6455 section 5.5)."""

_PLAIN = frozenset(
    [opcode | fin for opcode in (_CONT, _TEXT, _BINARY) for fin in (0, _FIN)]
    + [opcode | _FIN for opcode in (_CLOSE, _PING, _PONG)]
)
"""Valid first bytes. One lookup checks the opcode, the reserved bits, and that a control frame is not fragmented."""

_DEFLATED = _PLAIN | {opcode | fin | _RSV1 for opcode in (_TEXT, _BINARY) for fin in (0, _FIN)}
"""Valid first bytes with permessage-deflate, where RSV1 marks a compressed message (RFC 7692 section 6)."""

_END_OF_BLOCK = b"\x00\x00\xff\xff"
"""Bytes that a sender removes from the end of a compressed message (RFC 7692 section 7.2.1)."""

_REGISTERED_CODES = frozenset((1000, 1001, 1002, 1003, *range(1007, 1015)))
"""Close codes below 3000 that an endpoint may send (RFC 6455 section 7.4)."""

_NO_CODE = 1005
"""Stands for a close frame without a code (RFC 6455 section 7.1.5)."""


class Pinged(NamedTuple):
    """A ping. Answer it with a pong that has the same payload (section 5.5.2)."""

    payload: bytes


class Closed(NamedTuple):
    """A close frame. Echo its payload unless a close frame was sent before, then end the stream (section 5.5.1)."""

    code: int
    """Close code; 1005 if the frame has none."""
    payload: bytes


class Failed(NamedTuple):
    """A broken rule. Send a close frame with this code and reason, and end the stream (section 7.1.7)."""

    close: Close
    reason: str


FrameEvent = str | bytes | Pinged | Closed | Failed
"""A text message, a binary message, or a control event."""


class _Fault(Exception):
    """A rule that the client broke, with the close code for it."""

    def __init__(self, reason: str, close: Close = Close.PROTOCOL_ERROR) -> None:
        super().__init__(reason)
        self.close = close


class FrameReader:
    """Turns the bytes of one client into events.

    Bounds: `max_size` bytes for a message, as sent and after decompression; `max_fragments` for the frames of one
    message. A message that exceeds one fails the connection with 1009.

    Args:
        inflates: Whether messages may be compressed, without context takeover (RFC 7692 section 7.1.1).
    """

    # Class attributes instead of assignments in `__init__`. A reader is made for nearly every message, and this saves a
    # tenth of the time for a small one. Readers are short-lived, so `__slots__` would save no memory.
    frames_read = 0
    """Number of frames that the last call of `receive` completed."""
    _buffer: bytearray | None = None
    """Start of an incomplete frame."""
    _message: bytearray | None = None
    """Payload of an incomplete message."""
    _first = 0
    """First byte of the incomplete message."""
    _fragments = 0
    """Number of frames of the incomplete message so far."""
    _is_done = False

    def __init__(self, max_size: int, max_fragments: int, inflates: bool = False) -> None:
        self._max_size = max_size
        self._room = max_size
        """Number of bytes that the message may still grow by."""
        self._max_fragments = max_fragments
        self._allowed = _DEFLATED if inflates else _PLAIN

    @property
    def is_idle(self) -> bool:
        """Whether it is between two messages. Only then can a new reader take its place."""
        return self._buffer is None and self._message is None and not self._is_done

    def _stop(self) -> None:
        """Discard the input from now on."""
        self._is_done = True
        self._buffer = self._message = None

    def receive(self, data: bytes) -> list[FrameEvent]:
        """Return the events that `data` completes. `Closed` and `Failed` come last, after the messages before them."""
        events: list[FrameEvent] = []
        self.frames_read = 0
        if not self._is_done:
            try:
                self._read(data, events)
            except _Fault as fault:
                self._fail(events, fault.close, str(fault))
            except UnicodeDecodeError:
                self._fail(events, Close.INVALID_DATA, "a text message is not valid UTF-8")
        return events

    def _read(self, received: bytes, events: list[FrameEvent]) -> None:
        data: bytes | bytearray = received
        if self._buffer is not None:
            self._buffer += received  # in place: `bytes` would be copied for every byte of a large frame
            data = self._buffer
        at, size = 0, len(data)
        while size - at >= 2 and not self._is_done:
            # MASK is the highest bit of the second byte, so a masked frame has at least `_MASK` there.
            first, second = data[at], data[at + 1]
            if first not in self._allowed or second < _MASK or (second > _LONGEST_CONTROL and first & _CONTROL):
                raise _Fault(_fault_of(first, second))
            length, begin = second - _MASK, at + 6
            if length > 125:
                begin += 2 if length == 126 else 8
                # If the extended length has not arrived yet, neither has `begin`, so the loop ends below.
                length = int.from_bytes(data[at + 2 : begin - 4]) if begin - 4 <= size else 0
            if length > self._room and not first & _CONTROL:
                raise self._too_big(length)
            if (end := begin + length) > size:
                break
            payload = apply_mask(data[begin:end], data[begin - 4 : begin])
            at = end
            self.frames_read += 1
            if first == _WHOLE_TEXT and self._message is None:  # nearly every message
                events.append(payload.decode())
            else:
                self._take(first, payload, events)
        if at < size or self._buffer is not None:
            self._hold(data, at)

    def _fail(self, events: list[FrameEvent], close: Close, reason: str) -> None:
        events.append(Failed(close, reason))
        self._stop()

    def _hold(self, data: bytes | bytearray, at: int) -> None:
        """Store the start of an incomplete frame, which begins at index `at`."""
        if at == len(data) or self._is_done:
            self._buffer = None
        elif self._buffer is None:
            self._buffer = bytearray(data[at:])
        else:
            del self._buffer[:at]

    def _take(self, first: int, payload: bytes, events: list[FrameEvent]) -> None:
        opcode = first & _OPCODE
        if not opcode & _CONTROL:
            self._add(first, payload, events)
        elif opcode == _PING:
            events.append(Pinged(payload))
        elif opcode == _CLOSE:
            events.append(self._closed(payload))
            self._stop()

    def _add(self, first: int, payload: bytes, events: list[FrameEvent]) -> None:
        """Add a data frame to its message."""
        if (self._message is None) is (first & _OPCODE == _CONT):
            raise _Fault("unexpected continuation frame" if self._message is None else "expected a continuation frame")
        if self._message is None:
            self._first, self._fragments, self._message = first, 0, bytearray()
        self._message += payload
        self._room -= len(payload)
        self._fragments += 1
        if first & _FIN:
            message = self._inflated(self._message) if self._first & _RSV1 else bytes(self._message)
            events.append(message.decode() if self._first & _OPCODE == _TEXT else message)
            self._message, self._room = None, self._max_size
        elif self._fragments >= self._max_fragments:
            raise _Fault(f"more than {self._max_fragments} fragments", Close.MESSAGE_TOO_BIG)

    def _inflated(self, payload: bytearray) -> bytes:
        try:
            # One byte more than allowed: with exactly `max_size`, zlib may hold back the rest of a larger message.
            message = zlib.decompressobj(-zlib.MAX_WBITS).decompress(payload + _END_OF_BLOCK, self._max_size + 1)
        except zlib.error as error:
            raise _Fault("decompression failed") from error
        if len(message) > self._max_size:
            raise _Fault(f"frame exceeds limit of {self._max_size} bytes", Close.MESSAGE_TOO_BIG)
        return message

    def _closed(self, payload: bytes) -> Closed:
        if not payload:
            return Closed(_NO_CODE, payload)
        if len(payload) == 1:
            raise _Fault("close frame too short")
        code = int.from_bytes(payload[:2])
        if not (code in _REGISTERED_CODES or 3000 <= code < 5000):
            raise _Fault("invalid status code")
        try:
            payload[2:].decode()
        except UnicodeDecodeError as error:
            raise _Fault("a close reason is not valid UTF-8", Close.INVALID_DATA) from error
        return Closed(code, payload)

    def _too_big(self, length: int) -> _Fault:
        before = f"after reading {self._max_size - self._room} bytes " if self._message is not None else ""
        reason = f"frame with {length} bytes {before}exceeds limit of {self._max_size} bytes"
        return _Fault(reason, Close.MESSAGE_TOO_BIG)


def _fault_of(first: int, second: int) -> str:
    """Return the rule that the first two bytes of a frame break."""
    if first & _OPCODE not in (_CONT, _TEXT, _BINARY, _CLOSE, _PING, _PONG):
        return "invalid opcode"
    if second < _MASK:
        return "incorrect masking"
    if first & ~_FIN & ~_OPCODE:
        return "reserved bits must be 0"
    return "control frame too long" if first & _FIN else "fragmented control frame"
