"""Fuzzing of an open WebSocket: the server writes valid frames, the same ones however the input is cut.

The connection continues, or ends with a code of the table or the client's own.
"""

from __future__ import annotations

from random import Random

import pytest
from tests.support.echo import frame
from tests.support.fakes import FakeTransport
from tests.support.fuzz import frames, seeds
from tests.support.nodes import make_node, request
from websockets.frames import Close as CloseFrame
from websockets.frames import Frame, Opcode
from websockets.protocol import CLIENT, Protocol

from presenced.config.settings import Settings
from presenced.errors import Close
from presenced.testing import FakeClock
from presenced.transports.websocket.connection import WebSocketConnection

SETTINGS = Settings(
    stats_interval=0,
    heartbeat_interval=3600,  # the witness does not answer
    max_message_size=1000,
    max_message_fragments=20,
)
SEEDS_PER_NODE = 50
"""Number of seeds that share a node. Building it takes most of the time, and nothing of a connection stays in it."""

OURS = {close.code for close in Close}


class FuzzedConnection:
    """A node, a connection to it, and a witness that is notified of others."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.node = make_node(SETTINGS, self.clock)
        self.node.start()
        self.witness, self.witnessed = self.connect(b"userId=witness")
        assert len(read(self.witnessed.take())) == 1, "established"

    def reconnect(self, deflates: bool = False) -> None:
        """Open a connection instead of the one that has ended."""
        self.witness.data_received(frame(Opcode.PONG))  # a sign of life for the heartbeat
        self.connection, self.transport = self.connect(b"userId=fuzz", deflates)

    def connect(self, query: bytes, deflates: bool = False) -> tuple[WebSocketConnection, FakeTransport]:
        transport = FakeTransport()
        connection = WebSocketConnection(self.node, set())
        connection.connection_made(transport)  # type: ignore[arg-type]  # the part of a transport that is used
        connection.upgrade(b"", request(query), deflates)
        self.clock.run_soon()
        return connection, transport

    def feed(self, pieces: list[bytes]) -> bytes:
        """Deliver the pieces as far as the server reads. Return its output."""
        for piece in pieces:
            if self.transport.ended or self.transport.aborted:
                break
            self.connection.data_received(piece)
            self.clock.run_soon()
        return self.transport.take()


def read(written: bytes) -> list[Frame]:
    reader = Protocol(CLIENT)
    reader.receive_data(written)
    assert reader.parser_exc is None, "the server writes valid frames"
    found = [event for event in reader.events_received() if isinstance(event, Frame)]
    assert b"".join(f.serialize(mask=False) for f in found) == written, "the server writes whole frames"
    return found


def cuts(random: Random, data: bytes) -> list[list[bytes]]:
    places = sorted(random.randrange(len(data) + 1) for _ in range(random.randrange(1, 8)))
    pieces = [data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True) if data[a:b]]
    return [[data], [data[i : i + 1] for i in range(len(data))], pieces]


def test_the_output_does_not_depend_on_how_the_input_is_cut() -> None:
    for count, seed in enumerate(seeds(4000)):
        if count % SEEDS_PER_NODE == 0:
            peer = FuzzedConnection()
        random = Random(seed)
        data, deflates = frames(random), random.random() < 0.3
        outcomes, broken = [], False
        for pieces in cuts(random, data):
            peer.reconnect(deflates)
            try:
                answers = read(peer.feed(pieces))
                closing = peer.connection.closing
                check(peer, answers)
                broken = broken or failed(answers)
                outcomes.append((tuple((f.opcode, bytes(f.data)) for f in answers[1:]), closing))
            except Exception as error:
                error.add_note(f"seed {seed}: {data!r} in {len(pieces)} pieces")
                raise
        # Of several broken rules, or one and a close, the first that is found depends on the bytes that have arrived.
        alike = {closing for _, closing in outcomes} if broken else set(outcomes)
        assert len(alike) == 1, f"seed {seed}: {data!r} has another outcome when it is cut"


def failed(answers: list[Frame]) -> bool:
    """Return whether a rule was broken."""
    return bool(answers[-1].data) and answers[-1].opcode is Opcode.CLOSE and _code(answers[-1]) in (1002, 1007, 1009)


def _code(close: Frame) -> int:
    return CloseFrame.parse(close.data).code


def check(peer: FuzzedConnection, answers: list[Frame]) -> None:
    """Check that the connection ends in time with a code of the table or the client's own."""
    assert answers[0].opcode is Opcode.TEXT, "CONNECTION_ESTABLISHED"
    assert {f.opcode for f in answers[1:]} <= {Opcode.PONG, Opcode.CLOSE}
    if peer.connection.closing:
        assert answers[-1].opcode is Opcode.CLOSE
        if answers[-1].data:
            assert _code(answers[-1]) in OURS or 1000 <= _code(answers[-1]) <= 4999
        peer.clock.advance(SETTINGS.close_timeout + 0.1)
        assert peer.transport.aborted, "the server does not wait forever for a client that does not finish"
    peer.connection.connection_lost(None)
    assert peer.node.stats().total_connections == 1
    peer.clock.advance(20)
    notified = [f.data for f in read(peer.witnessed.take()) if f.opcode is Opcode.TEXT]
    assert len(notified) == 2, "one online, one offline"
    assert b"USER_OFFLINE" in notified[-1]
    assert peer.witness.closing is False


@pytest.mark.parametrize("byte", range(256))
def test_any_first_byte(byte: int) -> None:
    peer = FuzzedConnection()
    peer.reconnect()
    check(peer, read(peer.feed([bytes([byte]), b"\x80\x00\x00\x00\x00"])))
