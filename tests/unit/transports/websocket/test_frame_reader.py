"""The frame reader returns the same results as the `websockets` library, however the bytes are split."""

from __future__ import annotations

import zlib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.support.echo import frame
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Frame, Opcode
from websockets.protocol import SERVER, Protocol

from presenced.errors import Close
from presenced.transports.websocket.frame_reader import Closed, Failed, FrameEvent, FrameReader, Pinged

TEXT, BINARY, CONT, CLOSE, PING, PONG = Opcode.TEXT, Opcode.BINARY, Opcode.CONT, Opcode.CLOSE, Opcode.PING, Opcode.PONG
MAX_SIZE = 1000
RSV1 = 4


def deflate(message: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return (compressor.compress(message) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]


def read(pieces: list[bytes], inflates: bool = False, max_size: int = MAX_SIZE) -> list[FrameEvent]:
    reader = FrameReader(max_size, 100, inflates)
    return [event for piece in pieces for event in reader.receive(piece)]


def library_events(data: bytes, inflates: bool) -> list[FrameEvent]:
    """Return the events of the same bytes according to the library's frames."""
    protocol = Protocol(SERVER, max_size=MAX_SIZE)
    if inflates:
        protocol.extensions = [PerMessageDeflate(True, True, zlib.MAX_WBITS, zlib.MAX_WBITS)]
    protocol.receive_data(data)
    events: list[FrameEvent] = []
    pieces: list[Frame] = []
    for event in protocol.events_received():
        assert isinstance(event, Frame)
        if event.opcode is PING:
            events.append(Pinged(bytes(event.data)))
        elif event.opcode is CLOSE:
            assert protocol.close_rcvd
            events.append(Closed(protocol.close_rcvd.code, bytes(event.data)))
        elif event.opcode is not PONG:
            pieces.append(event)
            if event.fin:
                events.append(whole_message(pieces))
                pieces = []
    if protocol.parser_exc is not None:
        assert protocol.close_sent
        events.append(Failed(next(close for close in Close if close.code == protocol.close_sent.code), ""))
    return events


def whole_message(pieces: list[Frame]) -> FrameEvent:
    payload = b"".join(bytes(piece.data) for piece in pieces)
    if pieces[0].opcode is BINARY:
        return payload
    try:
        return payload.decode()
    except UnicodeDecodeError:
        return Failed(Close.INVALID_DATA, "")


def until_failure(events: list[FrameEvent]) -> list[FrameEvent]:
    """Return the events up to the first failure, without its reason."""
    failed = next((index for index, event in enumerate(events) if isinstance(event, Failed)), None)
    if failed is None:
        return events
    failure = events[failed]
    assert isinstance(failure, Failed)
    return [*events[:failed], Failed(failure.close, "")]


@st.composite
def messages(draw: st.DrawFn, inflates: bool) -> bytes:
    """A valid message in one or several frames, optionally with control frames in between."""
    text = draw(st.booleans())
    payload = draw(st.text(max_size=60)).encode() if text else draw(st.binary(max_size=200))
    rsv = 0
    if inflates and draw(st.booleans()):
        payload, rsv = deflate(payload), RSV1
    cuts = sorted(draw(st.lists(st.integers(0, len(payload)), max_size=3)))
    pieces = [payload[a:b] for a, b in zip([0, *cuts], [*cuts, len(payload)], strict=True)]
    data = b""
    for index, piece in enumerate(pieces):
        opcode = CONT if index else TEXT if text else BINARY
        data += frame(opcode, piece, index == len(pieces) - 1, 0 if index else rsv)
        if draw(st.integers(0, 3)) == 0:
            data += frame(draw(st.sampled_from([PING, PONG])), draw(st.binary(max_size=125)))
    return data


@st.composite
def streams(draw: st.DrawFn, inflates: bool = False) -> bytes:
    """Valid messages, optionally followed by a close frame, optionally with a changed byte."""
    data = b"".join(draw(st.lists(messages(inflates), max_size=4)))
    if draw(st.integers(0, 3)) == 0:
        data += frame(
            CLOSE, draw(st.sampled_from([b"", b"\x03", b"\x03\xe8", b"\x03\xe9bye", b"\x03\xec", b"\x0f\xa1\xff"]))
        )
    changed = bytearray(data)
    if changed and draw(st.booleans()):
        changed[draw(st.integers(0, len(changed) - 1))] = draw(st.integers(0, 255))
    return bytes(changed)


def cut(data: bytes, places: list[int]) -> list[bytes]:
    ends = sorted(place % (len(data) + 1) for place in places)
    return [data[a:b] for a, b in zip([0, *ends], [*ends, len(data)], strict=True)]


PLACES = st.lists(st.integers(0, 10_000), max_size=6)


def assert_as_the_library(data: bytes, places: list[int], inflates: bool) -> None:
    events = until_failure(read(cut(data, places), inflates))
    assert events == until_failure(read([data[i : i + 1] for i in range(len(data))], inflates)), "byte by byte"
    expected = until_failure(library_events(data, inflates))
    if events == expected:
        return
    if events and isinstance(events[-1], Closed):
        # The library fails for a close frame within a message, which section 5.4 of the RFC allows.
        assert [*events[:-1], Failed(Close.PROTOCOL_ERROR, "")] == expected
        return
    found, known = ([event for event in some if not isinstance(event, Failed)] for some in (events, expected))
    if inflates and found[: len(known)] == known and len(known) < len(expected):
        # The library inflates frame by frame, so it fails before the end of the message. Pings may come before that.
        assert all(isinstance(event, Pinged) for event in found[len(known) :])
    else:
        # The library waits for the payload of a frame whose head is invalid, so it fails later or for another fault.
        assert isinstance(events[-1], Failed)
        assert found == known


@given(streams() | st.binary(max_size=20), PLACES)
@example(frame(TEXT), [])
@example(frame(TEXT, b"x" * 125), [])
@example(frame(TEXT, b"x" * 126), [])
@example(b"\x81\xfe" + bytes(130), [])
@example(b"\x81\xff" + bytes(131), [])
@example(b"\x81\x01x", [])
@example(b"\x89\xfe\x00\x7e", [])
@example(frame(TEXT, fin=False) + frame(CLOSE), [])
@example(frame(TEXT, b"half", fin=False) + frame(PING) + frame(CLOSE, b"\x03\xe8bye"), [])
def test_the_reader_agrees_with_the_library(data: bytes, places: list[int]) -> None:
    assert_as_the_library(data, places, inflates=False)


@given(streams(inflates=True), PLACES)
@example(frame(TEXT, deflate(b""), rsv=RSV1), [])
@example(frame(TEXT, b"\xff\xff\xff", rsv=RSV1), [])
@example(frame(CONT, b"", rsv=RSV1), [])
@example(frame(BINARY, b"\xff\xff", fin=False, rsv=RSV1) + frame(PING) + frame(CONT), [])
@example(frame(BINARY, b"\xff\xff", fin=False, rsv=RSV1), [])
def test_the_reader_agrees_with_the_library_on_compressed_messages(data: bytes, places: list[int]) -> None:
    assert_as_the_library(data, places, inflates=True)


VALID = [
    frame(TEXT, "Zoë".encode()),
    frame(BINARY, bytes(300)),
    frame(TEXT, b"one, ", fin=False) + frame(PING, b"!") + frame(CONT, b"two"),
    frame(PONG, b"unasked"),
    frame(TEXT, deflate(b"squeezed" * 20), rsv=RSV1),
    frame(TEXT, deflate(b"both")[:3], rsv=RSV1, fin=False) + frame(CONT, deflate(b"both")[3:]),
]


@given(st.permutations(VALID), PLACES)
def test_valid_messages_all_arrive(parts: list[bytes], places: list[int]) -> None:
    events = read(cut(b"".join(parts), places), inflates=True)
    assert sorted(map(str, events)) == sorted(
        map(str, ["Zoë", bytes(300), Pinged(b"!"), "one, two", "squeezed" * 20, "both"])
    )


@pytest.mark.parametrize(
    ("data", "close", "reason"),
    [
        (b"\x83\x80", Close.PROTOCOL_ERROR, "invalid opcode"),
        (b"\x81\x00", Close.PROTOCOL_ERROR, "incorrect masking"),
        (b"\xc1\x80", Close.PROTOCOL_ERROR, "reserved bits must be 0"),
        (b"\x09\x80", Close.PROTOCOL_ERROR, "fragmented control frame"),
        (b"\x89\xfe", Close.PROTOCOL_ERROR, "control frame too long"),
        (frame(CONT), Close.PROTOCOL_ERROR, "unexpected continuation frame"),
        (frame(TEXT, fin=False) + frame(BINARY), Close.PROTOCOL_ERROR, "expected a continuation frame"),
        (frame(CLOSE, b"\x03"), Close.PROTOCOL_ERROR, "close frame too short"),
        (frame(CLOSE, b"\x03\xed"), Close.PROTOCOL_ERROR, "invalid status code"),
        (frame(CLOSE, b"\x03\xe8\xff"), Close.INVALID_DATA, "a close reason is not valid UTF-8"),
        (frame(TEXT, b"\xff"), Close.INVALID_DATA, "a text message is not valid UTF-8"),
        (b"\x82\xfe\x03\xe9", Close.MESSAGE_TOO_BIG, "frame with 1001 bytes exceeds limit of 1000 bytes"),
        (
            frame(TEXT, b"x" * 600, fin=False) + b"\x80\xfe\x01\x91",
            Close.MESSAGE_TOO_BIG,
            "frame with 401 bytes after reading 600 bytes exceeds limit of 1000 bytes",
        ),
        (frame(TEXT, fin=False) + frame(CONT, fin=False) * 99, Close.MESSAGE_TOO_BIG, "more than 100 fragments"),
    ],
)
def test_a_broken_rule_fails_with_its_code_once_the_head_shows_it(data: bytes, close: Close, reason: str) -> None:
    assert read([data])[-1] == Failed(close, reason)


@pytest.mark.parametrize("size", [MAX_SIZE, MAX_SIZE + 1, 100 * MAX_SIZE])
def test_the_size_limit_applies_to_the_inflated_message(size: int) -> None:
    [event] = read([frame(BINARY, deflate(bytes(size)), rsv=RSV1)], inflates=True)
    if size > MAX_SIZE:
        assert event == Failed(Close.MESSAGE_TOO_BIG, f"frame exceeds limit of {MAX_SIZE} bytes")
    else:
        assert event == bytes(size)


def test_a_ping_is_allowed_within_a_message_of_the_maximum_size() -> None:
    data = frame(BINARY, bytes(MAX_SIZE), fin=False) + frame(PING, b"!") + frame(CONT)
    assert read([data]) == [Pinged(b"!"), bytes(MAX_SIZE)]


def test_a_close_frame_within_a_message_closes_and_drops_the_message() -> None:
    data = frame(TEXT, b"half", fin=False) + frame(CLOSE, b"\x03\xe8bye") + frame(CONT, b"rest")
    assert read([data]) == [Closed(1000, b"\x03\xe8bye")]


@pytest.mark.parametrize("end", [frame(CLOSE), b"\x83\x80"], ids=["closed", "failed"])
def test_input_after_the_end_is_discarded(end: bytes) -> None:
    reader = FrameReader(MAX_SIZE, 100)
    before, last = reader.receive(frame(TEXT, b"before") + end + frame(TEXT, b"after"))
    assert before == "before"
    assert isinstance(last, Closed | Failed)
    assert reader.receive(frame(TEXT, b"after")) == []


def test_a_reader_is_idle_only_between_messages() -> None:
    reader = FrameReader(MAX_SIZE, 100)
    assert reader.is_idle
    for part in (frame(BINARY, bytes(200)), frame(TEXT, b"a", fin=False) + frame(PING) + frame(CONT, b"b")):
        for index in range(len(part)):
            reader.receive(part[index : index + 1])
            assert reader.is_idle is (index == len(part) - 1)
    reader.receive(frame(CLOSE))
    assert not reader.is_idle, "a new reader would read what follows the close frame"


def test_frames_are_counted() -> None:
    reader = FrameReader(MAX_SIZE, 100)
    reader.receive(frame(TEXT, fin=False) + frame(PONG) + frame(CONT) + frame(PING)[:3])
    assert reader.frames_read == 3
