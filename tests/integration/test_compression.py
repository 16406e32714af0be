"""permessage-deflate over real sockets: its gain, its errors, and the cost of a decompression bomb."""

from __future__ import annotations

import asyncio
import os
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.support.live_client_v1 import QUIET, LiveV1Client
from tests.support.raw import RawClient, raw, raw_websocket, upgrade
from tests.support.server import metric, server, until
from websockets.asyncio.client import connect
from websockets.frames import Frame, Opcode
from websockets.typing import Subprotocol

from presenced import PresenceServer

pytestmark = pytest.mark.anyio

MANY = 300

OFFER = "Sec-WebSocket-Protocol: presenced.v1\r\nSec-WebSocket-Extensions: permessage-deflate\r\n"


@asynccontextmanager
async def enter(running: PresenceServer, user_id: str, compression: str | None) -> AsyncIterator[LiveV1Client]:
    url = f"ws://127.0.0.1:{running.port}/ws-online-status?userId={user_id}"
    async with connect(url, subprotocols=[Subprotocol("presenced.v1")], compression=compression) as connection:
        client = LiveV1Client(connection)
        await client.until("PRESENCE_CHANGES")
        yield client


async def test_clients_with_and_without_compression_see_the_same() -> None:
    async with (
        server(compression=True, **QUIET) as running,
        enter(running, "1", "deflate") as small,
        enter(running, "2", None) as plain,
    ):
        for number in range(1000, 1000 + MANY):
            running.broadcast_user_status(number, True)
        await asyncio.gather(small.sees(str(999 + MANY), "online"), plain.sees(str(999 + MANY), "online"))
        assert small.records.keys() - {"1", "2"} == plain.records.keys() - {"1", "2"}
        assert (await small.request("PING"))["type"] == "PONG", "the server inflates a request"
        async with enter(running, "3", "deflate") as late:
            assert late.records.keys() >= {str(number) for number in range(1000, 1000 + MANY)}


async def test_compression_reduces_the_bytes_sent() -> None:
    sent: dict[bool, float] = {}
    for compression in (False, True):
        async with server(compression=compression, **QUIET) as running, enter(running, "1", "deflate") as client:
            before = metric(running, "presenced_sent_bytes_total")
            for number in range(1000, 1000 + MANY):
                running.broadcast_user_status(number, True)
            await client.sees(str(999 + MANY), "online")
            sent[compression] = metric(running, "presenced_sent_bytes_total") - before
    assert sent[True] < sent[False] / 3


@asynccontextmanager
async def raw_client(running: PresenceServer) -> AsyncIterator[RawClient]:
    async with raw(running.port) as client:
        await client.send(upgrade("?userId=1", more=OFFER))
        answer = await client.answer()
        assert answer.status == 101
        assert "permessage-deflate" in answer.headers["sec-websocket-extensions"]
        yield client


def deflated(data: bytes) -> bytes:
    compressor = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    return (compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH)).removesuffix(b"\x00\x00\xff\xff")


def compressed(data: bytes) -> bytes:
    """Return a text message that is marked as compressed (RFC 7692 section 6)."""
    frame = bytearray(Frame(Opcode.TEXT, data).serialize(mask=True))
    frame[0] |= 0x40
    return bytes(frame)


async def test_a_decompression_bomb_is_refused_before_it_is_inflated() -> None:
    """64 KB that would be 64 MB (CVE-2018-1000518)."""
    bomb = deflated(bytes(64 << 20))
    assert len(bomb) <= 65_536
    async with server(compression=True, **QUIET) as running, raw_client(running) as client:
        before = _resident()
        await client.send(compressed(bomb))
        assert (await client.close_frame()).code == 1009
        assert _resident() - before < 8 << 20


@pytest.mark.parametrize("data", [b"\xff\xff\xff\xff", os.urandom(64)], ids=["ones", "random"])
async def test_an_invalid_compressed_message_ends_its_connection_alone(data: bytes) -> None:
    async with server(compression=True, **QUIET) as running, raw_websocket(running.port, "?userId=2"):
        async with raw_client(running) as client:
            await client.send(compressed(data))
            assert (await client.close_frame()).code in (1002, 1007)
        await until(lambda: metric(running, "presenced_connections") == 1)


async def test_a_compressed_message_without_the_extension_is_refused() -> None:
    async with server(compression=True, **QUIET) as running, raw_websocket(running.port) as client:
        await client.send(compressed(deflated(b"{}")))
        assert (await client.close_frame()).code == 1002


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
