"""RFC 6455 section 7: the closing handshake and its codes."""

from __future__ import annotations

import pytest
from tests.support.echo import client, echo, failure, frame
from tests.support.raw import raw_websocket
from tests.support.server import until
from websockets.frames import Close, Opcode

pytestmark = pytest.mark.anyio

VALID = [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999]
INVALID = [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535]


@pytest.mark.parametrize("code", VALID)
async def test_a_close_frame_is_echoed_and_the_stream_ends(code: int) -> None:
    """Section 5.5.1: the code is typically echoed; section 7.1.1: the server closes TCP first."""
    async with client() as peer:
        assert await failure(peer, frame(Opcode.CLOSE, Close(code, "bye").serialize())) == code


async def test_a_close_without_a_code_is_answered() -> None:
    async with client() as peer:
        await peer.send(frame(Opcode.CLOSE))
        answer = await peer.frame()
        assert (answer.opcode, answer.data) == (Opcode.CLOSE, b"")
        assert await peer.closed() == b""


@pytest.mark.parametrize("code", INVALID)
async def test_codes_that_may_not_be_sent_are_refused(code: int) -> None:
    """Section 7.4."""
    async with client() as peer:
        assert await failure(peer, frame(Opcode.CLOSE, code.to_bytes(2, "big"))) == 1002


async def test_half_a_code_is_refused() -> None:
    async with client() as peer:
        assert await failure(peer, frame(Opcode.CLOSE, b"\x03")) == 1002


async def test_a_reason_that_is_not_utf_8_is_refused() -> None:
    async with client() as peer:
        assert await failure(peer, frame(Opcode.CLOSE, b"\x03\xe8\xff\xfe")) == 1007


async def test_the_longest_reason_is_accepted() -> None:
    async with client() as peer:
        assert await failure(peer, frame(Opcode.CLOSE, b"\x03\xe8" + b"r" * 123)) == 1000


async def test_data_after_a_close_frame_is_ignored() -> None:
    async with client() as peer:
        await peer.send(frame(Opcode.CLOSE, b"\x03\xe8") + frame(Opcode.TEXT, b"late") + frame(Opcode.PING, b"late"))
        assert (await peer.frame()).opcode is Opcode.CLOSE
        assert await peer.closed() == b""


async def test_an_unfinished_message_before_a_close_frame_is_dropped() -> None:
    async with client() as peer:
        await peer.send(frame(Opcode.TEXT, b"unfinished", fin=False) + frame(Opcode.CLOSE, b"\x03\xe8"))
        assert (await peer.frame()).opcode is Opcode.CLOSE


async def test_a_stream_that_ends_without_a_close_frame_counts_as_lost() -> None:
    async with echo() as server:
        async with raw_websocket(server.port) as peer:
            peer.writer.write_eof()
            await peer.closed()
        await until(lambda: server.endings)
        assert server.endings == [("lost", "lost")]


async def test_a_client_that_never_finishes_the_closing_handshake_is_cut_off() -> None:
    """Section 7.1.7: after a failure the server must not keep waiting."""
    async with client(close_timeout=0.2) as peer:
        await peer.send(frame(15, b"x"))
        assert (await peer.close_frame()).code == 1002
        assert await peer.closed() == b""
