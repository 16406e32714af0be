"""The short way for small text messages agrees with the library, whatever the bytes."""

from hypothesis import example, given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode
from websockets.protocol import OPEN

from presenced.transports.websocket.reader import FrameParsers, small_text


@st.composite
def nearly_frames(draw: st.DrawFn) -> bytes:
    """A masked frame, perhaps with a byte changed, cut, or followed by something."""
    payload = draw(st.binary(max_size=140))
    opcode = draw(st.sampled_from([Opcode.TEXT, Opcode.TEXT, Opcode.TEXT, Opcode.BINARY, Opcode.PING, Opcode.CONT]))
    if opcode is Opcode.PING:
        payload = payload[:125]
    data = bytearray(Frame(opcode, payload).serialize(mask=True))
    if draw(st.booleans()):
        data[draw(st.integers(0, min(7, len(data) - 1)))] = draw(st.integers(0, 255))
    if draw(st.booleans()):
        data = data[: draw(st.integers(0, len(data)))]
    return bytes(data) + draw(st.sampled_from([b"", b"", b"\x81", b"\x8a\x80\0\0\0\0"]))


def by_the_library(data: bytes) -> bytes | None:
    """The text, if `data` is one whole text message of at most 125 bytes and nothing else."""
    parsers = FrameParsers(65_536)
    parser = parsers.borrow()
    parser.receive_data(data)
    events = parser.events_received()
    if parser.state is not OPEN or not parsers.give_back(parser) or len(events) != 1:
        return None
    (frame,) = events
    assert isinstance(frame, Frame)
    return bytes(frame.data) if frame.opcode is Opcode.TEXT and frame.fin and len(frame.data) <= 125 else None


@given(nearly_frames() | st.binary(max_size=20))
@example(Frame(Opcode.TEXT, b"").serialize(mask=True))
@example(Frame(Opcode.TEXT, b"x" * 125).serialize(mask=True))
@example(Frame(Opcode.TEXT, b"x" * 126).serialize(mask=True))
@example(b"\x81\xfe" + bytes(130))  # 126 stands for a length that follows
@example(b"\x81\xff" + bytes(131))
@example(Frame(Opcode.TEXT, b"x").serialize(mask=False))
def test_small_text_is_what_the_library_says(data: bytes) -> None:
    assert small_text(data) == by_the_library(data)
