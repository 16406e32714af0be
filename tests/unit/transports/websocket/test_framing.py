"""Frames of batches, plain and compressed, as a client of the `websockets` library reads them."""

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Frame, Opcode
from websockets.protocol import CLIENT, Protocol

from presenced.delivery.batch import Batch
from presenced.transports.websocket.framing import (
    PING_FRAME,
    SMALL_BYTES,
    WORTH_DEFLATING_BYTES,
    frames,
    text_frame,
)

SIZES = [1, 125, 126, 127, SMALL_BYTES, SMALL_BYTES + 1, 65_535, 65_536]

payloads = st.lists(st.binary(min_size=1, max_size=300) | st.sampled_from([b"x" * size for size in SIZES]), max_size=5)


def read(data: bytes, inflates: bool) -> list[bytes]:
    reader = Protocol(CLIENT, max_size=None)
    if inflates:
        reader.extensions = [PerMessageDeflate(True, True, zlib.MAX_WBITS, zlib.MAX_WBITS)]
    reader.receive_data(data)
    found = []
    for event in reader.events_received():
        assert isinstance(event, Frame)
        assert (event.opcode, event.fin) == (Opcode.TEXT, True)
        found.append(bytes(event.data))
    assert reader.parser_exc is None
    return found


@given(payloads)
def test_messages_of_any_size_reach_a_client_unchanged(messages: list[bytes]) -> None:
    batch = Batch(messages)
    assert read(frames(batch, False), inflates=False) == messages
    assert read(frames(batch, True), inflates=True) == messages
    assert frames(batch, False) == b"".join(map(text_frame, messages))


def test_each_message_is_compressed_on_its_own() -> None:
    """Without context takeover any of them can be read without the others, by any client."""
    texts = [text * 500 for text in (b"presence ", b"absence ")]
    both = frames(Batch(texts), True)
    assert both == b"".join(frames(Batch([text]), True) for text in texts)
    assert len(both) < sum(map(len, texts)) / 20


def test_a_batch_is_framed_once_and_compressed_once() -> None:
    batch = Batch([b"x" * WORTH_DEFLATING_BYTES])
    assert frames(batch, False) is frames(batch, False)
    assert frames(batch, True) is frames(batch, True)
    assert len(frames(batch, True)) < len(frames(batch, False))


@pytest.mark.parametrize("numbers", [slice(1, None), [0, 2], []])
@pytest.mark.parametrize("deflates", [False, True])
def test_a_part_of_a_batch_shares_its_frames(numbers: list[int] | slice, deflates: bool) -> None:
    messages = [bytes((letter,)) * WORTH_DEFLATING_BYTES for letter in b"abc"]
    expected = messages[numbers] if isinstance(numbers, slice) else [messages[number] for number in numbers]
    whole = Batch(messages)
    part = whole.part(numbers)
    assert (list(part.messages), len(part)) == (expected, len(expected))
    assert frames(part, deflates) == frames(Batch(expected), deflates)

    def encode(message: bytes) -> bytes:
        encoded.append(message)
        return message

    encoded: list[bytes] = []
    for batch in (part, whole, part):
        batch.join("as it is", encode)
    assert encoded == messages


def test_a_small_batch_is_not_compressed() -> None:
    batch = Batch([b"x" * 100])
    assert frames(batch, True) is frames(batch, False)


def test_the_ping_is_an_empty_ping_frame() -> None:
    reader = Protocol(CLIENT)
    reader.receive_data(PING_FRAME)
    [ping] = reader.events_received()
    assert isinstance(ping, Frame)
    assert (ping.opcode, ping.data) == (Opcode.PING, b"")
