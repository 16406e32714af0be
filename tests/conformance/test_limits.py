"""RFC 6455 section 10.4: limits of what a client may cost, and the close code at each limit."""

from __future__ import annotations

import asyncio
import re
import time

import pytest
from tests.support.command import start_module
from tests.support.echo import answers, client, echo, failure, frame, goodbye
from tests.support.raw import PATIENCE, raw, upgrade
from websockets.asyncio.client import connect
from websockets.frames import Opcode

pytestmark = pytest.mark.anyio

TEXT, BINARY, CONT = Opcode.TEXT, Opcode.BINARY, Opcode.CONT


async def test_the_largest_message_is_accepted_and_one_byte_more_is_refused() -> None:
    async with client(max_message_size=1000) as peer:
        [echoed] = await answers(peer, frame(BINARY, b"x" * 1000))
        assert len(echoed.data) == 1000
    async with client(max_message_size=1000) as peer:
        assert await failure(peer, frame(BINARY, b"x" * 1001)) == 1009


async def test_the_length_of_fragments_adds_up() -> None:
    async with client(max_message_size=1000) as peer:
        assert await failure(peer, frame(TEXT, b"x" * 600, fin=False), frame(CONT, b"x" * 401)) == 1009


@pytest.mark.parametrize(
    ("head", "code"),
    [
        (b"\x82\xfe\xff\xff", 1009),
        (b"\x82\xff\x00\x00\x00\x00\x7f\xff\xff\xff", 1009),
        (b"\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff", 1009),
        (b"\x82\xff\xff\xff\xff\xff\xff\xff\xff\xff", 1009),  # the most significant bit must be 0 (section 5.2)
    ],
    ids=["16 bits", "2 GiB", "8 EiB", "a negative length"],
)
async def test_too_large_a_length_is_refused_before_the_payload_arrives(head: bytes, code: int) -> None:
    async with client(max_message_size=1000) as peer:
        assert await failure(peer, head + b"\x00\x00\x00\x00") == code


async def test_fragments_are_bounded_in_number_and_time() -> None:
    async with client(max_message_fragments=10) as peer:
        assert (
            await failure(peer, frame(TEXT, b"", fin=False), *(frame(CONT, b"", fin=False) for _ in range(9))) == 1009
        )
    async with client(message_timeout=0.1) as peer:
        assert await goodbye(peer, frame(TEXT, b"never finished", fin=False)) == 4408
    async with client(message_timeout=0.1) as peer:
        assert await goodbye(peer, frame(TEXT, b"half a frame")[:7]) == 4408


async def test_no_extension_is_negotiated() -> None:
    offers = [
        "permessage-deflate",
        "permessage-deflate; client_max_window_bits",
        "constructor",
        "__proto__; __proto__=1",
        'x; y="quoted"',
        "permessage-deflate; " * 50 + "x",
    ]
    async with echo() as server:
        for offer in offers:
            async with raw(server.port) as peer:
                await peer.send(upgrade(more=f"Sec-WebSocket-Extensions: {offer}\r\n"))
                answer = await peer.answer()
                assert answer.status == 101
                assert "sec-websocket-extensions" not in answer.headers
        async with raw(server.port) as peer:
            await peer.send(upgrade(more="Sec-WebSocket-Extensions: permessage-deflate\r\n"))
            await peer.answer()
            assert await failure(peer, frame(TEXT, b"compressed?", rsv=4)) == 1002


async def test_spaces_in_a_header_are_read_in_linear_time() -> None:
    async with echo(max_head_size=65_536) as server, raw(server.port) as peer:
        started = time.process_time()
        await peer.send(upgrade(more=f"Sec-WebSocket-Protocol: a{' ' * 32_000}b\r\n"))
        assert (await peer.answer()).status == 400
        assert time.process_time() - started < 1


async def test_the_endpoint_runs_as_a_program() -> None:
    process = await start_module("presenced.testing.echo", "--port", "0", "--max-message-size", "1000")
    try:
        assert process.stdout
        async with asyncio.timeout(PATIENCE):
            line = (await process.stdout.readline()).decode()
        found = re.search(r"ws://\S+", line)
        assert found, line
        async with connect(found[0], proxy=None) as websocket:
            await websocket.send("Zoë")
            assert await websocket.recv() == "Zoë"
            await websocket.send(b"x" * 1001)
            await websocket.wait_closed()
            assert websocket.close_code == 1009
    finally:
        process.kill()
        await process.communicate()
