"""Frames that a server sends (RFC 6455 section 5.2), as the `websockets` library makes them, and their compression.

Above the transports there are messages only. A batch is framed once for all connections that receive it. It is
compressed once for all that agreed to permessage-deflate without context takeover (RFC 7692 section 7.1.1). The batch
stores both forms. With context takeover each connection would need a compressor of its own: 53 to 134 KiB of memory and
half the throughput.
"""

from __future__ import annotations

import zlib
from functools import lru_cache

from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Frame, Opcode

from presenced.delivery.batch import Batch

SMALL_BYTES = 4096
"""Size of a message up to which the header of its frame is cached by its length."""

WORTH_DEFLATING_BYTES = 1024
"""Minimum size of a batch of frames that is compressed. A smaller one fits one packet either way."""

DEFLATE_LEVEL = 1
"""Compression level of zlib. Three times as fast as the default, for 20 % more bytes (`benchmarks/compression.py`)."""

_deflate = PerMessageDeflate(True, True, zlib.MAX_WBITS, zlib.MAX_WBITS, {"level": DEFLATE_LEVEL})
"""The extension without context takeover on either side: it has no state between two messages."""


def text_frame(message: bytes) -> bytes:
    """Return one whole text message as a frame."""
    if len(message) > SMALL_BYTES:
        return Frame(Opcode.TEXT, message).serialize(mask=False)
    return _header(len(message)) + message


def message_frame(message: str | bytes) -> bytes:
    """Return a text or binary message as a frame."""
    if isinstance(message, str):
        return text_frame(message.encode())
    return Frame(Opcode.BINARY, message).serialize(mask=False)


def control_frame(opcode: Opcode, payload: bytes) -> bytes:
    """Return a control frame, whose payload has at most 125 bytes (section 5.5)."""
    assert len(payload) <= 125, "a longer payload would need another form of the length"
    return bytes((0x80 | opcode, len(payload))) + payload


def close_frame(code: int, reason: str) -> bytes:
    """Return a close frame. The reason has at most 123 bytes of UTF-8."""
    return control_frame(Opcode.CLOSE, code.to_bytes(2) + reason.encode())


def frames(batch: Batch, deflates: bool) -> bytes:
    """Return the frames of a batch, made once.

    Args:
        deflates: Whether the connection agreed to compression. Batches below `WORTH_DEFLATING_BYTES` are never
            compressed.
    """
    plain = batch.join("frames", text_frame)
    return batch.join("deflated", _deflated) if deflates and len(plain) >= WORTH_DEFLATING_BYTES else plain


def _deflated(message: bytes) -> bytes:
    return Frame(Opcode.TEXT, message).serialize(mask=False, extensions=[_deflate])


PING_FRAME = control_frame(Opcode.PING, b"")
"""The ping of every heartbeat."""


@lru_cache(maxsize=SMALL_BYTES)  # making a header takes as long as encoding a small message
def _header(length: int) -> bytes:
    frame = Frame(Opcode.TEXT, bytes(length)).serialize(mask=False)
    return frame[: len(frame) - length]
