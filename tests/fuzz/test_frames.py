"""Whatever comes through an open WebSocket: it is answered by valid frames, the same however the bytes were cut, and
the connection goes on, or ends with a code of the table or the client's own."""

from __future__ import annotations

from random import Random

import pytest
from tests.support.fakes import FakeTransport
from tests.support.fuzz import frames, seeds
from websockets.frames import Close as CloseFrame
from websockets.frames import Frame, Opcode
from websockets.protocol import CLIENT, Protocol

from presenced.config.settings import Settings
from presenced.errors import Close
from presenced.node.node import Node
from presenced.runtime.metrics import Metrics
from presenced.testing import FakeClock
from presenced.transports.websocket.connection import WebSocketConnection
from presenced.transports.websocket.reader import FrameParsers

SETTINGS = Settings(
    stats_interval=0,
    heartbeat_interval=3600,  # the witness does not answer
    max_message_size=1000,
    max_message_fragments=20,
)
OURS = {close.code for close in Close}


class FuzzedConnection:
    """A connection to a new node, and a witness that must not notice anything."""

    def __init__(self, deflates: bool = False) -> None:
        self.clock = FakeClock()
        self.node = Node(SETTINGS, self.clock, Metrics(), max_connections=10)
        self.node.start()
        self.parsers = FrameParsers(SETTINGS.max_message_size)
        self.witness, self.witnessed = self.connect(b"userId=witness")
        self.connection, self.transport = self.connect(b"userId=fuzz", deflates)

    def connect(self, query: bytes, deflates: bool = False) -> tuple[WebSocketConnection, FakeTransport]:
        transport = FakeTransport()
        connection = WebSocketConnection(self.node, self.parsers, set())
        connection.connection_made(transport)  # type: ignore[arg-type]  # as much of a transport as is used
        connection.accept(b"", query, "", deflates)
        self.clock.run_soon()
        return connection, transport

    def feed(self, pieces: list[bytes]) -> bytes:
        """Deliver data as far as the server reads, and return what it wrote."""
        for piece in pieces:
            if self.transport.ended or self.transport.aborted:
                break
            self.connection.data_received(piece)
            self.clock.run_soon()
        return self.transport.take()


def read(written: bytes) -> list[Frame]:
    reader = Protocol(CLIENT)
    reader.receive_data(written)
    assert reader.parser_exc is None, "what the server writes is valid"
    found = [event for event in reader.events_received() if isinstance(event, Frame)]
    assert b"".join(f.serialize(mask=False) for f in found) == written, "and whole"
    return found


def cuts(random: Random, data: bytes) -> list[list[bytes]]:
    places = sorted(random.randrange(len(data) + 1) for _ in range(random.randrange(1, 8)))
    pieces = [data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True) if data[a:b]]
    return [[data], [data[i : i + 1] for i in range(len(data))], pieces]


def test_responses_do_not_depend_on_how_the_bytes_are_cut() -> None:
    for seed in seeds(4000):
        random = Random(seed)
        data, deflates = frames(random), random.random() < 0.3
        outcomes, broken = [], False
        for pieces in cuts(random, data):
            peer = FuzzedConnection(deflates)
            try:
                written = peer.feed(pieces)
                answers = read(written)
                check(peer, answers)
                broken = broken or failed(answers)
                outcomes.append((written, peer.connection.closing))
            except Exception as error:
                error.add_note(f"seed {seed}: {data!r} in {len(pieces)} pieces")
                raise
        # Of several broken rules, or one and a close, which is found first depends on what has come.
        alike = {closing for _, closing in outcomes} if broken else set(outcomes)
        assert len(alike) == 1, f"seed {seed}: {data!r} is answered differently when cut"


def failed(answers: list[Frame]) -> bool:
    """Return whether a rule was broken."""
    return bool(answers[-1].data) and answers[-1].opcode is Opcode.CLOSE and _code(answers[-1]) in (1002, 1007, 1009)


def _code(close: Frame) -> int:
    return CloseFrame.parse(close.data).code


def check(peer: FuzzedConnection, answers: list[Frame]) -> None:
    """Check the end: a code of the table or the client's own, in time, and without effect on others."""
    assert answers[0].opcode is Opcode.TEXT, "CONNECTION_ESTABLISHED"
    assert {f.opcode for f in answers[1:]} <= {Opcode.PONG, Opcode.CLOSE}
    if peer.connection.closing:
        assert answers[-1].opcode is Opcode.CLOSE
        if answers[-1].data:
            assert _code(answers[-1]) in OURS or 1000 <= _code(answers[-1]) <= 4999
        peer.clock.advance(SETTINGS.close_timeout + 0.1)
        assert peer.transport.aborted, "it does not wait for ever for a client that does not finish"
    peer.connection.connection_lost(None)
    assert peer.node.stats().total_connections == 1
    peer.clock.advance(20)
    told = [f.data for f in read(peer.witnessed.take())]
    assert len(told) == 3, "established, one came, one left"
    assert b"USER_OFFLINE" in told[-1]
    assert peer.witness.closing is False


@pytest.mark.parametrize("byte", range(256))
def test_every_first_byte(byte: int) -> None:
    peer = FuzzedConnection()
    check(peer, read(peer.feed([bytes([byte]), b"\x80\x00\x00\x00\x00"])))
