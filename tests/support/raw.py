"""Client that writes arbitrary bytes, including those that libraries refuse to send."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from websockets.frames import Close, Frame, Opcode
from websockets.protocol import CLIENT, Protocol

PATIENCE = 60.0
"""Maximum number of seconds that a test waits. Longer than any wait on a busy machine, where a storage worker
starts slowly."""


def upgrade(
    query: str = "?userId=1",
    *,
    path: str = "/ws-online-status",
    method: str = "GET",
    version: str = "1.1",
    more: str = "",
) -> bytes:
    """Return the head of a handshake request."""
    return (
        f"{method} {path}{query} HTTP/{version}\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        f"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{more}\r\n"
    ).encode()


def masked(opcode: Opcode, payload: bytes = b"", fin: bool = True) -> bytes:
    """Return a frame as a client sends it."""
    return Frame(opcode, payload, fin).serialize(mask=True)


class Answer:
    """An HTTP response."""

    def __init__(self, head: bytes, body: bytes) -> None:
        lines = head.decode("latin-1").split("\r\n")
        self.status = int(lines[0].split(" ")[1])
        self.headers = {k.lower(): v for k, v in (line.split(": ", 1) for line in lines[1:] if line)}
        self.body = body

    @property
    def problem(self) -> dict[str, Any]:
        """Body of the response, which must be a problem document."""
        assert self.headers["content-type"] == "application/problem+json"
        found = json.loads(self.body)
        assert isinstance(found, dict)
        assert found["status"] == self.status
        return found


class RawClient:
    """One TCP connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.protocol = Protocol(CLIENT)

    async def send(self, data: bytes) -> None:
        """Write bytes."""
        async with asyncio.timeout(PATIENCE):
            self.writer.write(data)
            await self.writer.drain()

    async def answer(self) -> Answer:
        """Return the next HTTP response. Its body ends by its Content-Length."""
        async with asyncio.timeout(PATIENCE):
            head = await self.reader.readuntil(b"\r\n\r\n")
            answer = Answer(head[:-4], b"")
            answer.body = await self.reader.readexactly(int(answer.headers.get("content-length", "0")))
            return answer

    async def frame(self) -> Frame:
        """Return the next frame from the server, without responding to it."""
        async with asyncio.timeout(PATIENCE):
            while True:
                for event in self.protocol.events:
                    self.protocol.events = self.protocol.events[1:]
                    assert isinstance(event, Frame)
                    return event
                data = await self.reader.read(65_536)
                assert data, "the server closed the connection"
                self.protocol.receive_data(data)

    async def close_frame(self) -> Close:
        """Return the close frame, skipping the frames before it."""
        while (frame := await self.frame()).opcode is not Opcode.CLOSE:
            pass
        return Close.parse(frame.data)

    async def closed(self) -> bytes:
        """Return the remaining bytes up to the end of the stream."""
        async with asyncio.timeout(PATIENCE):
            try:
                return await self.reader.read()
            except ConnectionError:
                return b""

    async def abort(self) -> None:
        """Reset the connection, so that the server sees no close frame."""
        self.writer.transport.abort()
        await asyncio.sleep(0)


@asynccontextmanager
async def raw(port: int, limit: int = 2**20) -> AsyncIterator[RawClient]:
    """Yield a client that has sent nothing yet."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=limit)
    try:
        yield RawClient(reader, writer)
    finally:
        writer.transport.abort()
        await asyncio.sleep(0)


@asynccontextmanager
async def raw_websocket(port: int, query: str = "?userId=1") -> AsyncIterator[RawClient]:
    """Yield a raw client after the handshake. Its first frame is unread."""
    async with raw(port) as client:
        await client.send(upgrade(query))
        assert (await client.answer()).status == 101
        yield client
