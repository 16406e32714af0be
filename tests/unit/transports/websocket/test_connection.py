"""An open WebSocket on a fake transport and a fake clock. Its peer is the client of the `websockets` library."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import pytest
from tests.support.fakes import FakeTransport
from tests.support.nodes import request
from websockets.frames import Close as CloseFrame
from websockets.frames import Frame, Opcode
from websockets.protocol import CLIENT, Protocol

from presenced.config.settings import Settings
from presenced.errors import Close
from presenced.net.refusals import Refusal
from presenced.net.throttle import Throttle
from presenced.presence.model import Ending
from presenced.protocols.base import ConnectRequest
from presenced.runtime.clock import Timer
from presenced.testing import FakeClock
from presenced.transports.websocket.connection import SLICE_BYTES, WebSocketConnection
from presenced.transports.websocket.frame_reader import FrameReader


class Handler:
    """`ConnectionHandler` that records its calls."""

    def __init__(self, **settings: object) -> None:
        self.settings = Settings.model_validate(settings)
        self.clock = FakeClock()
        self.timer = Timer(self.clock)
        self.is_draining = self.is_behind = False
        self.max_connections = 100
        self.subprotocols: dict[bytes, list[str]] = {}
        self.compressed: list[str] = []
        self.throttle = Throttle(self.settings)
        self.peers: set[Any] = set()
        self.messages: list[str | bytes] = []
        self.endings: list[tuple[Ending, str]] = []
        self.flow: list[str] = []
        self.on_message: Callable[[WebSocketConnection], None] = lambda _: None

    def opened(self, connection: WebSocketConnection, request: ConnectRequest) -> None:
        connection.accept()

    def turned_away(self, refusal: Refusal, origin: bytes) -> None:
        raise AssertionError("the handshake succeeded")

    def received(self, connection: WebSocketConnection, message: str | bytes) -> None:
        self.messages.append(message)
        self.on_message(connection)

    def paused(self, connection: WebSocketConnection) -> None:
        self.flow.append("paused")

    def resumed(self, connection: WebSocketConnection) -> None:
        self.flow.append("resumed")

    def closed(self, connection: WebSocketConnection, ending: Ending, reason: str) -> None:
        self.endings.append((ending, reason))

    def peer(self) -> Peer:
        return Peer(self)


class Peer:
    """Client's end of one connection."""

    def __init__(self, handler: Handler) -> None:
        self.transport = FakeTransport()
        self.connection = WebSocketConnection(handler, handler.peers)
        self.connection.connection_made(self.transport)  # type: ignore[arg-type]  # the part of a transport that is used
        self.connection.upgrade(b"", request(""))
        self.client = Protocol(CLIENT)

    def send(self, data: bytes | None = None) -> None:
        """Deliver `data`, or the output of the library's client."""
        self.connection.data_received(b"".join(self.client.data_to_send()) if data is None else data)

    def received(self) -> list[Any]:
        """Return the frames that the server wrote since the last call."""
        self.client.receive_data(self.transport.take())
        return self.client.events_received()


@pytest.fixture
def handler() -> Handler:
    return Handler()


@pytest.fixture
def peer(handler: Handler) -> Peer:
    return handler.peer()


def masked(opcode: Opcode, payload: bytes, fin: bool = True) -> bytes:
    return Frame(opcode, payload, fin).serialize(mask=True)


CONVERSATION = (
    masked(Opcode.TEXT, "Zoë".encode())
    + masked(Opcode.BINARY, b"\x00\xff" * 200)
    + masked(Opcode.TEXT, b"one, ", fin=False)
    + masked(Opcode.PING, b"in between")
    + masked(Opcode.CONT, b"", fin=False)
    + masked(Opcode.CONT, "zwö".encode())
    + masked(Opcode.PONG, b"unasked")
    + masked(Opcode.TEXT, b"")
)
MESSAGES = ["Zoë", b"\x00\xff" * 200, "one, zwö", ""]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100, len(CONVERSATION)])
def test_messages_are_delivered_whole_however_the_bytes_are_cut(handler: Handler, peer: Peer, size: int) -> None:
    for start in range(0, len(CONVERSATION), size):
        peer.send(CONVERSATION[start : start + size])
    assert handler.messages == MESSAGES
    assert [(f.opcode, f.data) for f in peer.received()] == [(Opcode.PONG, b"in between")]
    assert handler.endings == []


def test_interleaved_connections_do_not_mix(handler: Handler) -> None:
    """The conversations are delivered byte by byte in turn, each on its own connection."""
    peers = [handler.peer() for _ in range(3)]
    for start in range(len(CONVERSATION)):
        for peer in peers:
            peer.send(CONVERSATION[start : start + 1])
    assert sorted(handler.messages, key=str) == sorted(MESSAGES * 3, key=str)


def readers() -> list[FrameReader]:
    return [one for one in gc.get_objects() if isinstance(one, FrameReader)]


def test_a_connection_has_a_frame_reader_only_within_a_message(peer: Peer) -> None:
    gc.collect()
    frame = masked(Opcode.TEXT, b"hello")
    for end in range(1, len(frame)):
        peer.send(frame[end - 1 : end])
        assert len(readers()) == 1, f"after {end} bytes"
    peer.send(frame[-1:])
    assert readers() == []
    peer.send(masked(Opcode.TEXT, b"", fin=False) + masked(Opcode.PING, b""))
    assert len(readers()) == 1
    peer.send(masked(Opcode.CONT, b""))
    assert readers() == []


@pytest.mark.parametrize(
    ("code", "ending"),
    [
        (1000, Ending.CLOSED),
        (None, Ending.CLOSED),
        (3000, Ending.CLOSED),
        (4999, Ending.CLOSED),
        (4000, Ending.CLOSED),
        (4001, Ending.KEEP_SESSION),
        (4002, Ending.CLOSED),
        (1001, Ending.GOING_AWAY),
        (1011, Ending.LOST),
    ],
)
def test_a_close_frame_is_echoed_and_determines_the_ending(
    handler: Handler, peer: Peer, code: int | None, ending: Ending
) -> None:
    peer.client.send_close(code)
    peer.send()
    assert handler.endings == [(ending, ending)]
    (frame,) = peer.received()
    assert frame.opcode is Opcode.CLOSE
    assert peer.client.close_rcvd == peer.client.close_sent
    assert peer.transport.ended


def test_a_connection_that_breaks_is_lost(handler: Handler, peer: Peer) -> None:
    peer.connection.connection_lost(ConnectionResetError())
    assert handler.endings == [(Ending.LOST, "lost")]
    assert peer.connection not in handler.peers


def test_the_server_closes_waits_for_the_echo_and_ends_the_stream(handler: Handler, peer: Peer) -> None:
    peer.connection.close(Close.DISCONNECTED, "so long")
    peer.connection.close(Close.NORMAL)
    assert handler.endings == [(Ending.DISCONNECTED, "disconnected")]
    assert not peer.transport.ended
    (frame,) = peer.received()
    assert CloseFrame.parse(frame.data) == CloseFrame(4410, "so long")
    assert peer.transport.ended is False
    peer.send()  # the library's client echoes the close frame
    assert peer.transport.ended
    handler.clock.advance(handler.settings.close_timeout)
    assert peer.transport.aborted


def test_messages_after_a_close_are_not_delivered(handler: Handler, peer: Peer) -> None:
    peer.connection.close(Close.DISCONNECTED)
    peer.send(masked(Opcode.TEXT, b"still there?"))
    assert handler.messages == []


def test_a_client_that_does_not_echo_a_close_is_aborted(handler: Handler, peer: Peer) -> None:
    peer.connection.close(Close.GOING_AWAY)
    handler.clock.advance(handler.settings.close_timeout - 0.1)
    assert not peer.transport.aborted
    handler.clock.advance(0.2)
    assert peer.transport.aborted


def test_the_server_can_close_in_response_to_a_message_that_the_clients_close_follows(
    handler: Handler, peer: Peer
) -> None:
    handler.on_message = lambda connection: connection.close(Close.DISCONNECTED)
    peer.client.send_text(b"close me")
    peer.client.send_close(1000)
    peer.send()
    assert handler.endings == [(Ending.DISCONNECTED, "disconnected")]
    assert peer.transport.ended
    assert [f.opcode for f in peer.received()] == [Opcode.CLOSE]


@pytest.mark.parametrize(
    ("data", "close"),
    [
        (Frame(Opcode.TEXT, b"not masked").serialize(mask=False), Close.PROTOCOL_ERROR),
        (b"\xf1\x80\x00\x00\x00\x00", Close.PROTOCOL_ERROR),
        (b"\x83\x80\x00\x00\x00\x00", Close.PROTOCOL_ERROR),
        (masked(Opcode.CONT, b"of nothing"), Close.PROTOCOL_ERROR),
        (b"\x89\xfe\x00\x7e" + bytes(4 + 126), Close.PROTOCOL_ERROR),
        (masked(Opcode.CLOSE, b"\x03\xed"), Close.PROTOCOL_ERROR),
        (masked(Opcode.TEXT, b"\xff"), Close.INVALID_DATA),
        (masked(Opcode.CLOSE, b"\x03\xe8\xff"), Close.INVALID_DATA),
        (masked(Opcode.BINARY, bytes(65_537)), Close.MESSAGE_TOO_BIG),
        (b"\x82\xff\xff\xff\xff\xff\xff\xff\xff\xff", Close.MESSAGE_TOO_BIG),
    ],
    ids=lambda value: "frame" if isinstance(value, bytes) else None,  # masks are random, and names must not be
)
def test_a_broken_rule_closes_with_its_code_and_reason(handler: Handler, peer: Peer, data: bytes, close: Close) -> None:
    for start in range(0, len(data), SLICE_BYTES):
        peer.send(data[start : start + SLICE_BYTES])
        handler.clock.run_soon()
    frame = peer.received()[-1]
    close_frame = CloseFrame.parse(frame.data)
    assert close_frame.code == close.code
    assert handler.endings == [(Ending.LOST, close.name.lower())]


def test_the_size_of_a_message_in_fragments_is_bounded(handler: Handler, peer: Peer) -> None:
    half = bytes(32_768)
    peer.send(masked(Opcode.BINARY, half, fin=False))
    peer.send(masked(Opcode.CONT, half))
    handler.clock.run_soon()
    assert [len(m) for m in handler.messages] == [65_536]
    peer.send(masked(Opcode.BINARY, half, fin=False))
    handler.clock.run_soon()
    peer.send(masked(Opcode.CONT, half + b"x"))
    handler.clock.run_soon()
    assert handler.endings == [(Ending.LOST, "message_too_big")]


def test_too_many_fragments_close_the_connection() -> None:
    handler = Handler(max_message_fragments=4)
    peer = handler.peer()
    peer.send(masked(Opcode.TEXT, b"", fin=False) + masked(Opcode.CONT, b"", fin=False) * 2 + masked(Opcode.CONT, b""))
    assert handler.messages == [""]
    peer.send(masked(Opcode.TEXT, b"", fin=False) + masked(Opcode.CONT, b"", fin=False) * 3)
    close_frame = CloseFrame.parse(peer.received()[-1].data)
    assert (close_frame.code, close_frame.reason) == (1009, "more than 4 fragments")


@pytest.mark.parametrize(
    ("start", "more"),
    [
        (masked(Opcode.TEXT, b"never ending", fin=False), masked(Opcode.PING, b"alive")),
        (masked(Opcode.TEXT, b"never ending", fin=False), masked(Opcode.CONT, b"", fin=False)),
        (masked(Opcode.TEXT, b"half of a frame")[:5], b"x"),
    ],
    ids=["message with pings", "message in fragments", "frame"],
)
def test_a_message_must_arrive_in_time_counted_from_its_first_byte(
    handler: Handler, peer: Peer, start: bytes, more: bytes
) -> None:
    peer.send(start)
    for _ in range(9):
        handler.clock.advance(1)
        peer.send(more)
    assert handler.endings == []
    handler.clock.advance(1.1)
    assert handler.endings == [(Ending.TIMED_OUT, "timed_out")]


def test_a_message_that_arrives_in_time_leaves_no_timeout(handler: Handler, peer: Peer) -> None:
    peer.send(masked(Opcode.TEXT, b"a", fin=False))
    handler.clock.advance(9)
    peer.send(masked(Opcode.CONT, b"b") + masked(Opcode.TEXT, b"c", fin=False))
    handler.clock.advance(9)
    assert handler.endings == [], "the second message has its own timeout"
    peer.send(masked(Opcode.CONT, b"d"))
    handler.clock.advance(100)
    assert handler.messages == ["ab", "cd"]
    assert handler.endings == []


def test_a_flood_is_parsed_in_slices_while_reading_is_paused(handler: Handler, peer: Peer) -> None:
    one = masked(Opcode.TEXT, b"flood")
    peer.send(one * 2000)
    assert len(handler.messages) == SLICE_BYTES // len(one)
    assert not peer.transport.reading
    handler.clock.run_soon()
    assert handler.messages == ["flood"] * 2000
    assert peer.transport.reading


def test_a_client_that_does_not_read_later_receives_only_the_last_pong(handler: Handler, peer: Peer) -> None:
    peer.connection.pause_writing()
    assert peer.connection.paused
    for number in range(1000):
        peer.send(masked(Opcode.PING, b"%d" % number))
    assert peer.transport.written == []
    peer.connection.resume_writing()
    assert [(f.opcode, f.data) for f in peer.received()] == [(Opcode.PONG, b"999")]
    assert handler.flow == ["paused", "resumed"]
    peer.connection.pause_writing()
    peer.connection.resume_writing()
    assert peer.received() == []


def test_the_direct_fd_is_available_while_the_transport_is_empty() -> None:
    transport = FakeTransport(file=7)
    handler = Handler()
    connection = WebSocketConnection(handler, handler.peers)
    connection.connection_made(transport)  # type: ignore[arg-type]  # the part of a transport that is used
    assert (connection.direct_fd, connection.check_direct_fd(), connection.direct_fd, connection.fileno()) == (
        -1,
        7,
        7,
        7,
    )
    transport.unsent = 1
    connection.send(b"x")
    assert (connection.direct_fd, connection.check_direct_fd(), connection.direct_fd) == (-1, -1, -1)
    transport.unsent = 0
    assert connection.check_direct_fd() == 7


def test_the_response_to_the_handshake_and_the_first_message_are_one_write() -> None:
    transport = FakeTransport(file=7)
    handler = Handler()
    handler.opened = lambda connection, request: connection.send(b"{}")  # type: ignore[method-assign]  # as a node does
    connection = WebSocketConnection(handler, handler.peers)
    connection.connection_made(transport)  # type: ignore[arg-type]  # as above
    connection.upgrade(b"HTTP/1.1 101 Switching Protocols\r\n\r\n", request(""))
    assert transport.written == [b"HTTP/1.1 101 Switching Protocols\r\n\r\n\x81\x02{}"]


def test_the_response_to_the_handshake_precedes_a_close_frame() -> None:
    transport = FakeTransport()
    handler = Handler()
    handler.opened = lambda connection, request: connection.close(Close.BAD_USER_ID)  # type: ignore[method-assign]  # as above
    connection = WebSocketConnection(handler, handler.peers)
    connection.connection_made(transport)  # type: ignore[arg-type]  # as above
    connection.upgrade(b"HTTP/1.1 101 Switching Protocols\r\n\r\n", request(""))
    assert transport.take().startswith(b"HTTP/1.1 101 Switching Protocols\r\n\r\n\x88")


def test_an_encrypted_connection_has_no_direct_fd() -> None:
    transport = FakeTransport(file=7)
    transport.get_extra_info = lambda name: object() if name == "sslcontext" else transport  # type: ignore[method-assign]  # TLS
    handler = Handler()
    connection = WebSocketConnection(handler, handler.peers)
    connection.connection_made(transport)  # type: ignore[arg-type]  # as above
    assert connection.check_direct_fd() == -1


def test_the_transport_gets_the_limit_of_its_buffer() -> None:
    assert Handler(write_buffer=2048).peer().transport.limit == 2048


def test_any_input_is_a_sign_of_life(handler: Handler, peer: Peer) -> None:
    handler.clock.advance(5)
    peer.send(masked(Opcode.PONG, b""))
    assert peer.connection.heard_at == handler.clock.monotonic()


def test_a_stopping_server_closes_with_1001(handler: Handler, peer: Peer) -> None:
    peer.connection.shutdown()
    (frame,) = peer.received()
    assert CloseFrame.parse(frame.data).code == 1001
    assert handler.endings == [(Ending.LOST, "stopping")]


def test_a_client_below_the_rate_is_served_however_often_its_output_drains() -> None:
    """A drain shows that the client is there, like input, and takes no credit from it."""
    handler = Handler(input_rate=1024, input_burst=65_536)
    peer = handler.peer()
    message = masked(Opcode.TEXT, b"x" * 900)
    for _ in range(500):
        handler.clock.advance(0.5)
        peer.connection.pause_writing()
        peer.connection.resume_writing()
        handler.clock.advance(0.5)
        peer.send(message)
    assert len(handler.messages) == 500
    assert not peer.connection.closing


def test_a_flood_that_continues_after_the_close_is_not_read() -> None:
    handler = Handler(input_burst=65_536)
    peer = handler.peer()
    flood = masked(Opcode.TEXT, b"") * 1000
    peer.send(flood)
    handler.clock.run_soon()
    assert peer.received()[-1].opcode is Opcode.CLOSE
    delivered = len(handler.messages)
    assert delivered < 1000
    for _ in range(10):
        peer.send(flood)
        handler.clock.run_soon()
    assert not peer.transport.reading
    assert len(handler.messages) == delivered
    handler.clock.advance(handler.settings.close_timeout + 0.1)
    assert peer.transport.aborted


def test_a_message_in_small_parts_counts_against_the_rate() -> None:
    """Otherwise a client could send any amount, as long as each part completes no frame."""
    peer = Handler(input_burst=65_536).peer()
    data = masked(Opcode.BINARY, bytes(50_000))
    for start in range(0, len(data), 100):
        peer.send(data[start : start + 100])
    peer.send(data)
    assert [CloseFrame.parse(frame.data).code for frame in peer.received()] == [4429]


def test_a_close_frame_within_a_message_is_echoed_and_deliberate(handler: Handler, peer: Peer) -> None:
    peer.send(masked(Opcode.TEXT, b"half", fin=False) + masked(Opcode.CLOSE, b"\x03\xe8bye"))
    assert [(f.opcode, f.data) for f in peer.received()] == [(Opcode.CLOSE, b"\x03\xe8bye")]
    assert handler.messages == []
    assert handler.endings[0] == (Ending.CLOSED, Ending.CLOSED)
    handler.clock.advance(handler.settings.message_timeout - 0.1)
    assert len(handler.endings) == 1


@pytest.mark.parametrize(
    "data",
    [
        b"\x8b\x80k3y!",
        b"\x81\x02hi",
        b"\xc1\x84k3y!nope",
        masked(Opcode.TEXT, b"half of it")[:-3],
        masked(Opcode.CLOSE, b""),
    ],
    ids=["an unknown opcode", "not masked", "not deflated", "unfinished", "closed"],
)
def test_no_frame_reader_outlives_its_connection(handler: Handler, data: bytes) -> None:
    """Garbage collection is too late, because `runtime.gc` may freeze the reader before that."""
    gc.collect()
    gc.disable()
    try:
        peer = handler.peer()
        peer.connection.deflates = True
        peer.send(data)
        assert len(readers()) == 1
        peer.connection.connection_lost(None)
        assert readers() == []
    finally:
        gc.enable()


def test_a_close_of_the_client_after_one_of_the_server_ends_the_stream(handler: Handler, peer: Peer) -> None:
    peer.connection.close(Close.REPLACED)
    peer.send(masked(Opcode.PING, b"not answered") + masked(Opcode.CLOSE, b"\x03\xe8"))
    assert [frame.opcode for frame in peer.received()] == [Opcode.CLOSE]
    assert peer.transport.ended
    assert handler.endings == [(Ending.REPLACED, "replaced")]


def test_a_broken_rule_after_a_close_of_the_server_ends_the_stream(handler: Handler, peer: Peer) -> None:
    peer.connection.close(Close.REPLACED)
    peer.send(b"\x83\x80")
    assert [frame.opcode for frame in peer.received()] == [Opcode.CLOSE]
    assert peer.transport.ended
    assert handler.endings == [(Ending.REPLACED, "replaced")]
