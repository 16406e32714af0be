"""RFC 6455 section 5: framing, fragmentation, masking, control frames, through the echo endpoint."""

from __future__ import annotations

import os

import pytest
from tests.support.echo import answers, client, failure, frame
from websockets.frames import Opcode

pytestmark = pytest.mark.anyio

SIZES = [0, 1, 125, 126, 127, 128, 1000, 65_535, 65_536]
TEXT, BINARY, CONT, PING, PONG = Opcode.TEXT, Opcode.BINARY, Opcode.CONT, Opcode.PING, Opcode.PONG


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
async def test_payloads_of_every_length_form_are_echoed(opcode: Opcode, size: int) -> None:
    payload = b"*" * size if opcode is TEXT else os.urandom(size)
    async with client() as peer:
        [echoed] = await answers(peer, frame(opcode, payload))
        assert (echoed.opcode, echoed.data, echoed.fin) == (opcode, payload, True)


@pytest.mark.parametrize("size", [0, 1, 125, 126, 300])
async def test_payloads_sent_byte_by_byte_are_echoed(size: int) -> None:
    payload = os.urandom(size)
    async with client() as peer:
        [echoed] = await answers(peer, frame(BINARY, payload), whole=False)
        assert echoed.data == payload


@pytest.mark.parametrize("size", [0, 1, 4, 125])
async def test_a_ping_is_answered_with_its_payload(size: int) -> None:
    """Section 5.5.2 and 5.5.3."""
    payload = os.urandom(size)
    async with client() as peer:
        [pong] = await answers(peer, frame(PING, payload))
        assert (pong.opcode, pong.data) == (PONG, payload)


async def test_many_pings_are_answered_in_order() -> None:
    async with client() as peer:
        found = await answers(peer, *(frame(PING, str(n).encode()) for n in range(50)))
        assert [pong.data for pong in found] == [str(n).encode() for n in range(50)]


async def test_an_unsolicited_pong_is_ignored() -> None:
    async with client() as peer:
        [echoed] = await answers(peer, frame(PONG, b"unasked"), frame(TEXT, b"after"))
        assert echoed.data == b"after"


@pytest.mark.parametrize("opcode", [PING, PONG, Opcode.CLOSE])
@pytest.mark.parametrize("size", [126, 1000])
async def test_a_control_frame_of_more_than_125_bytes_is_refused(opcode: Opcode, size: int) -> None:
    async with client() as peer:
        assert await failure(peer, frame(opcode, b"\x03\xe8" + b"x" * (size - 2))) == 1002


@pytest.mark.parametrize("opcode", [PING, PONG, Opcode.CLOSE])
async def test_a_fragmented_control_frame_is_refused(opcode: Opcode) -> None:
    async with client() as peer:
        assert await failure(peer, frame(opcode, b"", fin=False)) == 1002


@pytest.mark.parametrize("rsv", range(1, 8))
@pytest.mark.parametrize("opcode", [TEXT, PING, Opcode.CLOSE])
async def test_reserved_bits_are_refused(rsv: int, opcode: Opcode) -> None:
    async with client() as peer:
        assert await failure(peer, frame(opcode, b"", rsv=rsv)) == 1002


@pytest.mark.parametrize("opcode", [3, 4, 5, 6, 7, 11, 12, 13, 14, 15])
async def test_reserved_opcodes_are_refused(opcode: int) -> None:
    async with client() as peer:
        assert await failure(peer, frame(opcode, b"x")) == 1002


async def test_an_unmasked_frame_is_refused() -> None:
    """Section 5.1: a server must close the connection on a frame that is not masked."""
    async with client() as peer:
        assert await failure(peer, b"\x81\x02hi") == 1002


async def test_the_servers_frames_are_not_masked() -> None:
    """Section 5.1; the length form is the shortest (section 5.2)."""
    async with client() as peer:
        await peer.send(frame(BINARY, b"x" * 126))
        assert await peer.reader.readexactly(4 + 126) == b"\x82\x7e\x00\x7e" + b"x" * 126


@pytest.mark.parametrize(
    "pieces",
    [
        (b"one", b"two"),
        (b"", b""),
        (b"", b"x", b""),
        (b"a", b"b", b"c", b"d" * 1000),
        tuple(b"%d" % n for n in range(1000)),
    ],
    ids=["two", "empty", "an empty start", "uneven", "a thousand"],
)
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
async def test_fragments_are_echoed_as_one_message(opcode: Opcode, pieces: tuple[bytes, ...]) -> None:
    first, *rest, last = pieces
    async with client() as peer:
        sent = [frame(opcode, first, fin=False), *(frame(CONT, piece, fin=False) for piece in rest), frame(CONT, last)]
        [echoed] = await answers(peer, *sent)
        assert (echoed.opcode, echoed.data) == (opcode, b"".join(pieces))


async def test_a_ping_between_fragments_is_answered_immediately() -> None:
    """Section 5.4: control frames may be injected in the middle of a fragmented message."""
    async with client() as peer:
        pong, echoed = await answers(
            peer, frame(TEXT, b"one", fin=False), frame(PING, b"!"), frame(CONT, b"two"), whole=False
        )
        assert (pong.opcode, pong.data, echoed.data) == (PONG, b"!", b"onetwo")


@pytest.mark.parametrize("fin", [True, False])
async def test_a_continuation_without_a_message_is_refused(fin: bool) -> None:
    async with client() as peer:
        assert await failure(peer, frame(CONT, b"x", fin=fin)) == 1002


async def test_a_continuation_after_the_end_is_refused() -> None:
    async with client() as peer:
        await peer.send(frame(TEXT, b"a", fin=False) + frame(CONT, b"b"))
        assert (await peer.frame()).data == b"ab"
        assert await failure(peer, frame(CONT, b"c")) == 1002


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
async def test_a_new_message_within_a_message_is_refused(opcode: Opcode) -> None:
    async with client() as peer:
        assert await failure(peer, frame(TEXT, b"a", fin=False), frame(opcode, b"b")) == 1002
