"""Server-Sent Events (https://html.spec.whatwg.org/#server-sent-events): their bytes, and a response made of them."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Callable

from msgspec.json import Encoder
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from presenced.http.api.followers import Follower

MEDIA_TYPE = "text/event-stream"

HEARTBEAT = 15.0
"""Seconds of silence after which a comment is sent: proxies close what is silent for long."""

COMMENT = b":\n\n"

ABORT = "presenced.abort"
"""The key in a scope's extensions under which the front door says how to cut the connection."""

_HEADERS = {
    "cache-control": "no-store",
    "x-accel-buffering": "no",  # nginx would keep it back
    "content-type": MEDIA_TYPE,
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


def comes_back(cursor: str = "") -> bytes:
    """Return the field that says when to reconnect after a loss.

    Each client gets a different time, so that they do not all reconnect at once.

    Args:
        cursor: Cursor for the client to send if it loses the stream before the first event.
    """
    head = f"id: {cursor}\n" if cursor else ""
    return f"{head}retry: {random.randint(1000, 5000)}\n\n".encode()  # noqa: S311  # no secret


class EventStream(Response):
    """Sends what `parts` yields.

    A client that does not take a part within `patience` seconds is cut off, and soon when the server stops: what is
    kept for it is that part and what the transport holds.
    """

    def __init__(self, follower: Follower, parts: AsyncGenerator[bytes, None], patience: float) -> None:
        super().__init__(headers=_HEADERS)
        del self.headers["content-length"]
        self._follower = follower
        self._parts = parts
        self._patience = patience

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            if scope["method"] != "HEAD":
                async for part in self._parts:
                    async with self._follower.writing(self._patience):
                        await send({"type": "http.response.body", "body": part, "more_body": True})
                    await asyncio.sleep(0)  # a send that need not wait lets nobody else go on
            async with self._follower.writing(self._patience):
                await send({"type": "http.response.body", "body": b"", "more_body": False})
        except TimeoutError:
            _cut(scope)
        finally:
            await self._parts.aclose()
            self._follower.leave()


def _cut(scope: Scope) -> None:
    """Closing would wait for the client to read, and it does not."""
    find: Callable[[], Callable[[], None] | None] = scope["extensions"][ABORT]
    if (abort := find()) is not None:
        abort()
