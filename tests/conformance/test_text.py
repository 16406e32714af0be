"""RFC 6455 sections 5.6 and 8.1: text is UTF-8, however it is cut."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.echo import answers, client, echo, failure, frame
from websockets.asyncio.client import connect
from websockets.frames import Opcode

pytestmark = pytest.mark.anyio

GOOD = [
    "κόσμε",
    "Zoë 李 🙂",
    "\x00",
    "\u007f\u0080\u07ff\u0800\uffff",
    "\U00010000\U0010ffff",
    "\ud7ff\ue000\ufffd\ufffe",
]
BAD = [
    b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited",  # a surrogate
    b"\x80",
    b"\xff",
    b"\xc0\xaf",  # overlong
    b"\xe0\x80\xaf",
    b"\xf4\x90\x80\x80",  # above U+10FFFF
    b"\xf8\x88\x80\x80\x80",
    b"\xc3",  # cut short
    b"\xed\xbf\xbf",
]


@pytest.mark.parametrize("text", GOOD, ids=ascii)
async def test_valid_text_comes_back(text: str) -> None:
    async with client() as peer:
        [echoed] = await answers(peer, frame(Opcode.TEXT, text.encode()))
        assert echoed.data == text.encode()


@pytest.mark.parametrize("text", GOOD, ids=ascii)
async def test_a_character_may_be_cut_anywhere(text: str) -> None:
    data = text.encode()
    async with client() as peer:
        pieces = [frame(Opcode.TEXT, data[:1], fin=False)]
        pieces += [frame(Opcode.CONT, data[i : i + 1], fin=False) for i in range(1, len(data))]
        [echoed] = await answers(peer, *pieces, frame(Opcode.CONT, b""))
        assert echoed.data == data


@pytest.mark.parametrize("data", BAD, ids=bytes.hex)
async def test_invalid_text_fails_the_connection(data: bytes) -> None:
    async with client() as peer:
        assert await failure(peer, frame(Opcode.TEXT, data)) == 1007


@pytest.mark.parametrize("data", BAD, ids=bytes.hex)
async def test_invalid_text_in_fragments_fails_the_connection(data: bytes) -> None:
    async with client() as peer:
        assert await failure(peer, frame(Opcode.TEXT, b"fine", fin=False), frame(Opcode.CONT, data)) == 1007


@pytest.mark.parametrize("data", BAD, ids=bytes.hex)
async def test_a_binary_message_may_contain_any_bytes(data: bytes) -> None:
    async with client() as peer:
        [echoed] = await answers(peer, frame(Opcode.BINARY, data))
        assert echoed.data == data


MESSAGES = st.lists(st.one_of(st.lists(st.text(max_size=300), min_size=1), st.binary(max_size=2000)), max_size=8)


async def test_a_client_of_the_library_receives_its_fragmented_message() -> None:
    async with echo() as server, connect(f"ws://127.0.0.1:{server.port}/ws-online-status", proxy=None) as websocket:

        @settings(max_examples=50, derandomize=True)
        @given(messages=MESSAGES)
        def draw(messages: list[list[str] | bytes]) -> None:
            drawn.extend(messages)

        drawn: list[list[str] | bytes] = []
        draw()
        for message in drawn:
            await websocket.send(message)
            assert await websocket.recv() == ("".join(message) if isinstance(message, list) else message)
