"""Finished WebSocket frames (RFC 6455 section 5.2), as the `websockets` library makes them."""

from __future__ import annotations

from functools import lru_cache

from websockets.frames import Frame, Opcode

SMALL = 4096
"""Bytes of a message up to which the head of its frame is remembered, by its length."""

PING_FRAME = Frame(Opcode.PING, b"").serialize(mask=False)
"""The one ping every heartbeat sends."""


def text_frame(payload: bytes) -> bytes:
    """A whole text message of a server."""
    if len(payload) > SMALL:
        return Frame(Opcode.TEXT, payload).serialize(mask=False)
    return _head(len(payload)) + payload


@lru_cache(maxsize=SMALL)  # making it takes as long as encoding a small message
def _head(length: int) -> bytes:
    frame = Frame(Opcode.TEXT, bytes(length)).serialize(mask=False)
    return frame[: len(frame) - length]
