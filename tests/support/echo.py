"""An echo endpoint, and a client that can send any frames."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.support.raw import RawClient, raw_websocket
from websockets.frames import Close, Frame, Opcode

from presenced.config.settings import Settings
from presenced.testing.echo import EchoServer


@asynccontextmanager
async def echo(**settings: object) -> AsyncIterator[EchoServer]:
    """Start the endpoint with the limits of these settings."""
    async with EchoServer(Settings.model_validate({"port": 0, **settings})) as server:
        yield server


@asynccontextmanager
async def client(**settings: object) -> AsyncIterator[RawClient]:
    """Start an endpoint, and connect a client."""
    async with echo(**settings) as server, raw_websocket(server.port) as connected:
        yield connected


def frame(opcode: int, payload: bytes = b"", fin: bool = True, rsv: int = 0) -> bytes:
    """Return a masked frame with any opcode and reserved bits."""
    head = bytes([(0x80 if fin else 0) | rsv << 4 | opcode])
    size = len(payload)
    if size < 126:
        head += bytes([0x80 | size])
    elif size < 65_536:
        head += bytes([0x80 | 126]) + size.to_bytes(2, "big")
    else:
        head += bytes([0x80 | 127]) + size.to_bytes(8, "big")
    mask = b"\x37\xfa\x21\x3d"
    return head + mask + bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))


async def answers(connected: RawClient, *sent: bytes, whole: bool = True) -> list[Frame]:
    """Send data and a close frame, and return the frames before the close frame in response."""
    data = b"".join(sent) + frame(Opcode.CLOSE, Close(1000, "").serialize())
    for part in [data] if whole else [data[i : i + 1] for i in range(len(data))]:
        await connected.send(part)
    found: list[Frame] = []
    while (received := await connected.frame()).opcode is not Opcode.CLOSE:
        found.append(received)
    assert Close.parse(received.data).code == 1000
    return found


async def failure(connected: RawClient, *sent: bytes) -> int:
    """Send data that breaks a rule, and return the code with which the server fails the connection.

    It does not wait for an answer, and nothing else comes after it (section 7.1.7).
    """
    await connected.send(b"".join(sent))
    code = (await connected.close_frame()).code
    assert await connected.closed() == b""
    return code


async def goodbye(connected: RawClient, *sent: bytes) -> int:
    """Send data, answer the server's close frame, and return its code."""
    await connected.send(b"".join(sent))
    close = await connected.close_frame()
    await connected.send(frame(Opcode.CLOSE, close.serialize()))
    assert await connected.closed() == b""
    return close.code
