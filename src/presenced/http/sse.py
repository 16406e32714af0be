"""Server-Sent Events (https://html.spec.whatwg.org/#server-sent-events): encoding, and a response that sends them.

A stream is a generator of parts, one part per write. `EventStream` sends a part, gives the loop a turn and asks for the
next one. The generator then makes that part from the newest state. `http.waiting` explains why nothing is queued.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator

from msgspec.json import Encoder
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from presenced.http.waiting import WaitingRequest
from presenced.transports.http1.exchange import ABORT_EXTENSION

EVENT_STREAM_MEDIA_TYPE = "text/event-stream"
"""Media type of an event stream."""

HEARTBEAT_S = 15.0
"""Seconds of silence after which a comment is sent, because proxies close connections that are silent for long."""

COMMENT = b":\n\n"
"""Comment, which clients ignore. It keeps the connection alive."""

_HEADERS = {
    "cache-control": "no-store",
    "x-accel-buffering": "no",  # nginx would collect events before it forwards them
    "content-type": EVENT_STREAM_MEDIA_TYPE,
}

_encoder = Encoder()

_SPACES = bytes.maketrans(b"\r\n", b"  ")

_LINE_BREAKS = tuple((character.encode(), f"\\u{ord(character):04x}".encode()) for character in "\x85\u2028\u2029")
"""Line breaks that JSON leaves unescaped, in UTF-8, with their escapes."""


def event(kind: str, data: object, cursor: str = "") -> bytes:
    """Return one event with its data as JSON on one line.

    The encoder writes no CR or LF. JSON encoded elsewhere may contain one between tokens. It would end the line and the
    event, so it becomes a space. Other line breaks do not end a line of an event stream. Readers that use
    `str.splitlines`, such as httpx, split at them, so they are written as escapes.
    """
    head = f"event: {kind}\nid: {cursor}\n" if cursor else f"event: {kind}\n"
    return head.encode() + b"data: " + _in_one_line(_encoder.encode(data)) + b"\n\n"


def _in_one_line(encoded: bytes) -> bytes:
    encoded = encoded.translate(_SPACES)
    for line_break, escape in _LINE_BREAKS:
        encoded = encoded.replace(line_break, escape)
    return encoded


def retry_field(cursor: str = "") -> bytes:
    """Return the field that tells the client when to reconnect after a loss.

    Each client gets a different time, so that they do not all reconnect at once.

    Args:
        cursor: Cursor for the client to send if it loses the stream before the first event.
    """
    head = f"id: {cursor}\n" if cursor else ""
    return f"{head}retry: {random.randint(1000, 5000)}\n\n".encode()  # noqa: S311  # no secret


class EventStream(Response):
    """Response that sends the parts of a generator.

    The client must take each part within `write_timeout_s` seconds, and within `waiting.LAST_WRITE_S` when the server
    stops. Otherwise its connection is cut. Meanwhile the server holds only that part and the transport's buffer.
    """

    def __init__(self, waiting: WaitingRequest, parts: AsyncGenerator[bytes, None], write_timeout_s: float) -> None:
        super().__init__(headers=_HEADERS)
        del self.headers["content-length"]
        self._waiting = waiting
        self._parts = parts
        self._write_timeout_s = write_timeout_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI request."""
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            if scope["method"] != "HEAD":
                async for part in self._parts:
                    async with self._waiting.writing(self._write_timeout_s):
                        await send({"type": "http.response.body", "body": part, "more_body": True})
                    await asyncio.sleep(0)  # a `send` that need not wait never yields to the loop
            async with self._waiting.writing(self._write_timeout_s):
                await send({"type": "http.response.body", "body": b"", "more_body": False})
        except TimeoutError:
            # Closing the connection would wait for the client to read, and the client does not.
            if (abort := scope["extensions"][ABORT_EXTENSION]()) is not None:
                abort()
        finally:
            await self._parts.aclose()
            self._waiting.leave()
