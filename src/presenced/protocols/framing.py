"""Finished WebSocket frames (RFC 6455 section 5.2), as the `websockets` library makes them, and their compression."""

from __future__ import annotations

import zlib
from functools import lru_cache

from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Frame, Opcode

SMALL = 4096
"""Bytes of a message up to which the head of its frame is remembered, by its length."""

PING_FRAME = Frame(Opcode.PING, b"").serialize(mask=False)
"""The one ping every heartbeat sends."""


WORTH_DEFLATING = 1024
"""Bytes of finished frames from which on they are compressed: below, one packet takes them either way."""

LEVEL = 1
"""zlib's; three times as fast as its default, for a fifth more bytes (`benchmarks/compression.py`)."""

_squeeze = PerMessageDeflate(True, True, zlib.MAX_WBITS, zlib.MAX_WBITS, {"level": LEVEL})
"""Without context."""


def text_frame(payload: bytes) -> bytes:
    """A whole text message of a server."""
    if len(payload) > SMALL:
        return Frame(Opcode.TEXT, payload).serialize(mask=False)
    return _head(len(payload)) + payload


@lru_cache(maxsize=SMALL)  # making it takes as long as encoding a small message
def _head(length: int) -> bytes:
    frame = Frame(Opcode.TEXT, bytes(length)).serialize(mask=False)
    return frame[: len(frame) - length]


def deflated(frames: bytes) -> bytes:
    """The same text messages, each compressed on its own (RFC 7692 section 7.2.1), so that all may be sent them.

    Args:
        frames: Finished ones, whole.
    """
    found: list[bytes] = []
    start = 0
    while start < len(frames):
        length, begin = frames[start + 1], start + 2
        if length == 126:
            begin += 2
        elif length == 127:
            begin += 8
        if length > 125:
            length = int.from_bytes(frames[start + 2 : begin])
        payload = frames[begin : (start := begin + length)]
        found.append(Frame(Opcode.TEXT, payload).serialize(mask=False, extensions=[_squeeze]))
    return b"".join(found)
