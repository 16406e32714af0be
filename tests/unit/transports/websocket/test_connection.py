"""One open WebSocket, on a fake transport and a fake clock; its peer is the client of the `websockets` library."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from tests.support.fakes import FakeTransport
from websockets.frames import Close as CloseFrame
from websockets.frames import Frame, Opcode
from websockets.protocol import CLIENT, Protocol

from presenced.config.settings import Settings
from presenced.errors import Close
from presenced.net.refusals import Refusal
from presenced.net.throttle import Throttle
from presenced.presence.model import Ending
from presenced.runtime.clock import Timer
from presenced.testing import FakeClock
from presenced.transports.websocket.connection import SLICE, WebSocketConnection
from presenced.transports.websocket.reader import FrameParsers


class FakeNode:
    """A service that keeps what it is told."""

    def __init__(self, **settings: object) -> None:
        self.settings = Settings.model_validate(settings)
        self.clock = FakeClock()
        self.timer = Timer(self.clock)
        self.draining = self.is_behind = False
        self.max_connections = 100
        self.throttle = Throttle(self.settings)
        self.peers: set[Any] = set()
        self.parsers = FrameParsers(self.settings.max_message_size)
        self.messages: list[str | bytes] = []
        self.endings: list[tuple[Ending, str]] = []
        self.flow: list[str] = []
        self.on_message: Callable[[WebSocketConnection], None] = lambda _: None

    def opened(
        self, connection: WebSocketConnection, query: bytes, response: bytes, subprotocol: str, token: str
    ) -> None:
        connection.send(response)

    def turned_away(self, refusal: Refusal, origin: bytes) -> None:
        raise AssertionError("it is in")

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
    """The client's end of one connection."""

    def __init__(self, node: FakeNode) -> None:
        self.transport = FakeTransport()
        self.connection = WebSocketConnection(node, node.parsers, node.peers)
        self.connection.connection_made(self.transport)  # type: ignore[arg-type]  # as much of a transport as is used
        self.connection.accept(b"", b"", "")
        self.client = Protocol(CLIENT)

    def send(self, data: bytes | None = None) -> None:
        """Let bytes arrive: `data`, or what the library's client has to send."""
        self.connection.data_received(b"".join(self.client.data_to_send()) if data is None else data)

    def received(self) -> list[Any]:
        """Frames the server wrote since the last call."""
        self.client.receive_data(self.transport.take())
        return self.client.events_received()


@pytest.fixture
def node() -> FakeNode:
    return FakeNode()


@pytest.fixture
def peer(node: FakeNode) -> Peer:
    return node.peer()


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
def test_messages_come_whole_however_the_bytes_come(node: FakeNode, peer: Peer, size: int) -> None:
    for start in range(0, len(CONVERSATION), size):
        peer.send(CONVERSATION[start : start + size])
    assert node.messages == MESSAGES
    assert [(f.opcode, f.data) for f in peer.received()] == [(Opcode.PONG, b"in between")]
    assert node.endings == []


def test_connections_that_share_parsers_do_not_mix(node: FakeNode) -> None:
    """Byte by byte in turn, each conversation on its own connection."""
    peers = [node.peer() for _ in range(3)]
    for start in range(len(CONVERSATION)):
        for peer in peers:
            peer.send(CONVERSATION[start : start + 1])
    assert sorted(node.messages, key=str) == sorted(MESSAGES * 3, key=str)


def test_a_parser_is_kept_only_within_a_message(peer: Peer) -> None:
    frame = masked(Opcode.TEXT, b"hello")
    for end in range(1, len(frame)):
        peer.send(frame[end - 1 : end])
        assert peer.connection._parser is not None, f"after {end} bytes"
    peer.send(frame[-1:])
    assert peer.connection._parser is None
    peer.send(masked(Opcode.TEXT, b"", fin=False) + masked(Opcode.PING, b""))
    assert peer.connection._parser is not None
    peer.send(masked(Opcode.CONT, b""))
    assert peer.connection._parser is None


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
def test_a_close_frame_is_echoed_and_says_why_the_client_left(
    node: FakeNode, peer: Peer, code: int | None, ending: Ending
) -> None:
    peer.client.send_close(code)
    peer.send()
    assert node.endings == [(ending, ending)]
    (frame,) = peer.received()
    assert frame.opcode is Opcode.CLOSE
    assert peer.client.close_rcvd == peer.client.close_sent
    assert peer.transport.ended


def test_a_connection_that_breaks_is_lost(node: FakeNode, peer: Peer) -> None:
    peer.connection.connection_lost(ConnectionResetError())
    assert node.endings == [(Ending.LOST, "lost")]
    assert peer.connection not in node.peers


def test_a_close_of_the_servers_waits_for_the_answer_then_ends_the_stream(node: FakeNode, peer: Peer) -> None:
    peer.connection.close(Close.DISCONNECTED, "so long")
    peer.connection.close(Close.NORMAL)
    assert node.endings == [(Ending.DISCONNECTED, "disconnected")]
    assert not peer.transport.ended
    (frame,) = peer.received()
    assert CloseFrame.parse(frame.data) == CloseFrame(4410, "so long")
    assert peer.transport.ended is False
    peer.send()  # the library's client answers the close frame
    assert peer.transport.ended
    node.clock.advance(node.settings.close_timeout)
    assert peer.transport.aborted


def test_what_comes_after_a_close_is_not_delivered(node: FakeNode, peer: Peer) -> None:
    peer.connection.close(Close.DISCONNECTED)
    peer.send(masked(Opcode.TEXT, b"still there?"))
    assert node.messages == []


def test_a_client_that_does_not_answer_a_close_is_cut_off(node: FakeNode, peer: Peer) -> None:
    peer.connection.close(Close.GOING_AWAY)
    node.clock.advance(node.settings.close_timeout - 0.1)
    assert not peer.transport.aborted
    node.clock.advance(0.2)
    assert peer.transport.aborted


def test_closing_in_answer_to_a_message_works_even_if_the_clients_close_follows_it(node: FakeNode, peer: Peer) -> None:
    node.on_message = lambda connection: connection.close(Close.DISCONNECTED)
    peer.client.send_text(b"close me")
    peer.client.send_close(1000)
    peer.send()
    assert node.endings == [(Ending.DISCONNECTED, "disconnected")]
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
)
def test_a_broken_rule_closes_with_its_code_and_says_why(node: FakeNode, peer: Peer, data: bytes, close: Close) -> None:
    for start in range(0, len(data), SLICE):
        peer.send(data[start : start + SLICE])
        node.clock.run_soon()
    frame = peer.received()[-1]
    told = CloseFrame.parse(frame.data)
    assert told.code == close.code
    assert node.endings == [(Ending.LOST, close.name.lower())]


def test_a_message_may_be_as_big_as_allowed_and_no_bigger_in_fragments_too(node: FakeNode, peer: Peer) -> None:
    half = bytes(32_768)
    peer.send(masked(Opcode.BINARY, half, fin=False))
    peer.send(masked(Opcode.CONT, half))
    node.clock.run_soon()
    assert [len(m) for m in node.messages] == [65_536]
    peer.send(masked(Opcode.BINARY, half, fin=False))
    node.clock.run_soon()
    peer.send(masked(Opcode.CONT, half + b"x"))
    node.clock.run_soon()
    assert node.endings == [(Ending.LOST, "message_too_big")]


def test_too_many_fragments_close_the_connection() -> None:
    node = FakeNode(max_message_fragments=4)
    peer = node.peer()
    peer.send(masked(Opcode.TEXT, b"", fin=False) + masked(Opcode.CONT, b"", fin=False) * 2 + masked(Opcode.CONT, b""))
    assert node.messages == [""]
    peer.send(masked(Opcode.TEXT, b"", fin=False) + masked(Opcode.CONT, b"", fin=False) * 3)
    told = CloseFrame.parse(peer.received()[-1].data)
    assert (told.code, told.reason) == (1009, "more than 4 fragments")


@pytest.mark.parametrize(
    "start",
    [masked(Opcode.TEXT, b"never ending", fin=False), masked(Opcode.TEXT, b"half a frame")[:5]],
    ids=["unfinished message", "unfinished frame"],
)
def test_a_message_must_arrive_in_time_counted_from_its_first_byte(node: FakeNode, peer: Peer, start: bytes) -> None:
    peer.send(start)
    for _ in range(9):
        node.clock.advance(1)
        peer.send(masked(Opcode.PING, b"alive") if peer.connection._parser is None else b"")
    assert node.endings == []
    node.clock.advance(1.1)
    assert node.endings == [(Ending.TIMED_OUT, "timed_out")]


def test_a_message_that_arrives_in_time_leaves_no_deadline(node: FakeNode, peer: Peer) -> None:
    peer.send(masked(Opcode.TEXT, b"a", fin=False))
    node.clock.advance(9)
    peer.send(masked(Opcode.CONT, b"b") + masked(Opcode.TEXT, b"c", fin=False))
    node.clock.advance(9)
    assert node.endings == [], "the second message has a time of its own"
    peer.send(masked(Opcode.CONT, b"d"))
    node.clock.advance(100)
    assert node.messages == ["ab", "cd"]
    assert node.endings == []


def test_a_flood_is_parsed_a_slice_at_a_time_while_reading_is_paused(node: FakeNode, peer: Peer) -> None:
    one = masked(Opcode.TEXT, b"flood")
    peer.send(one * 2000)
    assert len(node.messages) == SLICE // len(one)
    assert not peer.transport.reading
    node.clock.run_soon()
    assert node.messages == ["flood"] * 2000
    assert peer.transport.reading


def test_a_client_that_does_not_read_gets_no_pongs_and_later_the_last_one(node: FakeNode, peer: Peer) -> None:
    peer.connection.pause_writing()
    assert peer.connection.paused
    for number in range(1000):
        peer.send(masked(Opcode.PING, b"%d" % number))
    assert peer.transport.written == []
    peer.connection.resume_writing()
    assert [(f.opcode, f.data) for f in peer.received()] == [(Opcode.PONG, b"999")]
    assert node.flow == ["paused", "resumed"]
    peer.connection.pause_writing()
    peer.connection.resume_writing()
    assert peer.received() == []


def test_its_file_can_be_written_to_while_its_transport_holds_nothing() -> None:
    transport = FakeTransport(file=7)
    node = FakeNode()
    connection = WebSocketConnection(node, node.parsers, node.peers)
    connection.connection_made(transport)  # type: ignore[arg-type]  # as much of a transport as is used
    assert (connection.file, connection.look(), connection.file, connection.fileno()) == (-1, 7, 7, 7)
    transport.unsent = 1
    connection.send(b"x")
    assert (connection.file, connection.look(), connection.file) == (-1, -1, -1)
    transport.unsent = 0
    assert connection.look() == 7


def test_the_file_of_an_encrypted_connection_is_not_written_to() -> None:
    transport = FakeTransport(file=7)
    transport.get_extra_info = lambda name: object() if name == "sslcontext" else transport  # type: ignore[method-assign]  # TLS
    node = FakeNode()
    connection = WebSocketConnection(node, node.parsers, node.peers)
    connection.connection_made(transport)  # type: ignore[arg-type]  # as above
    assert connection.look() == -1


def test_the_transport_is_told_its_limit() -> None:
    assert FakeNode(write_buffer=2048).peer().transport.limit == 2048


def test_hearing_anything_is_a_sign_of_life(node: FakeNode, peer: Peer) -> None:
    node.clock.advance(5)
    peer.send(masked(Opcode.PONG, b""))
    assert peer.connection.heard_at == node.clock.monotonic()


def test_the_end_of_the_server_is_told_by_1001(node: FakeNode, peer: Peer) -> None:
    peer.connection.shutdown()
    (frame,) = peer.received()
    assert CloseFrame.parse(frame.data).code == 1001
    assert node.endings == [(Ending.LOST, "stopping")]


def test_a_flood_that_goes_on_after_the_close_is_not_read() -> None:
    node = FakeNode(input_burst=65_536)
    peer = node.peer()
    flood = masked(Opcode.TEXT, b"") * 1000
    peer.send(flood)
    node.clock.run_soon()
    assert peer.received()[-1].opcode is Opcode.CLOSE
    assert peer.connection._unparsed == b""
    heard = len(node.messages)
    assert heard < 1000
    for _ in range(10):
        peer.send(flood)
        node.clock.run_soon()
    assert not peer.transport.reading
    assert len(node.messages) == heard
    node.clock.advance(node.settings.close_timeout + 0.1)
    assert peer.transport.aborted


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
def test_whatever_ends_a_connection_nothing_of_its_parser_stays(node: FakeNode, data: bytes) -> None:
    """Without the collector: what it has set aside would stay for good."""
    gc.collect()
    gc.disable()
    try:
        peer = node.peer()
        before = [one for one in gc.get_objects() if isinstance(one, Protocol)]
        peer.connection.deflates = True
        peer.send(data)
        left = [weakref.ref(p) for p in (peer.connection._parser,) if p is not None]
        peer.connection.connection_lost(None)
        assert [parser() for parser in left] == [None] * len(left)
        assert not [one for one in gc.get_objects() if isinstance(one, Protocol) and one not in before]
    finally:
        gc.enable()
