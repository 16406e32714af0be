"""Finished frames, plain and compressed, as a client of the `websockets` library reads them."""

import zlib

from hypothesis import given
from hypothesis import strategies as st
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Frame, Opcode
from websockets.protocol import CLIENT, Protocol

from presenced.protocols.framing import SMALL, deflated, text_frame

SIZES = [1, 125, 126, 127, SMALL, SMALL + 1, 65_535, 65_536]

payloads = st.lists(st.binary(min_size=1, max_size=300) | st.sampled_from([b"x" * size for size in SIZES]), max_size=5)


def read(frames: bytes, inflates: bool) -> list[bytes]:
    reader = Protocol(CLIENT, max_size=None)
    if inflates:
        reader.extensions = [PerMessageDeflate(True, True, zlib.MAX_WBITS, zlib.MAX_WBITS)]
    reader.receive_data(frames)
    found = []
    for event in reader.events_received():
        assert isinstance(event, Frame)
        assert (event.opcode, event.fin) == (Opcode.TEXT, True)
        found.append(bytes(event.data))
    assert reader.parser_exc is None
    return found


@given(payloads)
def test_whatever_the_sizes_a_client_reads_the_same_messages(messages: list[bytes]) -> None:
    frames = b"".join(map(text_frame, messages))
    assert read(frames, inflates=False) == messages
    assert read(deflated(frames), inflates=True) == messages


def test_each_message_is_compressed_on_its_own() -> None:
    """Without context: any of them can be read without the others, by any client."""
    one, two = (text_frame(text * 500) for text in (b"presence ", b"absence "))
    assert deflated(one + two) == deflated(one) + deflated(two)
    assert len(deflated(one)) < len(one) / 20
