"""Writing past the transports, to real sockets with minimal transports."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import suppress

import pytest
from tests.support.fakes import Reported

from presenced.transports.fastpath.direct import write_each


class FastPeer(Reported):
    """Connection whose transport buffers everything until `flush` writes it to the socket."""

    def __init__(self) -> None:
        super().__init__()
        self.direct_fd = -1
        self.near, self.far = socket.socketpair()
        self.near.setblocking(False)
        self.far.setblocking(False)
        self.buffer = b""
        self.sends = 0
        self.checks = 0

    def check_direct_fd(self) -> int:
        self.checks += 1
        self.direct_fd = -1 if self.buffer else self.near.fileno()
        return self.direct_fd

    def write(self, data: bytes) -> None:
        self.sends += 1
        self.direct_fd = -1
        self.buffer += data

    def flush(self) -> None:
        with suppress(BlockingIOError):  # the socket is full
            while self.buffer:
                self.buffer = self.buffer[self.near.send(self.buffer) :]

    def read(self) -> bytes:
        read = b""
        with suppress(BlockingIOError):  # everything was read
            while part := self.far.recv(1 << 20):
                read += part
        return read


@pytest.fixture
def peers() -> Iterator[list[FastPeer]]:
    made = [FastPeer() for _ in range(3)]
    yield made
    for peer in made:
        peer.near.close()
        peer.far.close()


def write(peers: list[FastPeer], data: bytes) -> None:
    write_each(peers, data)  # type: ignore[arg-type]  # as much of a connection as is used


def test_empty_transports_are_bypassed_and_checked_once(peers: list[FastPeer]) -> None:
    write(peers, b"one")
    write(peers, b"two")
    assert [peer.read() for peer in peers] == [b"onetwo"] * 3
    assert [(peer.sends, peer.checks) for peer in peers] == [(0, 1)] * 3


def test_output_that_a_transport_buffers_is_written_first(peers: list[FastPeer]) -> None:
    write(peers, b"one")
    peers[1].write(b"two")
    write(peers, b"three")
    peers[1].flush()
    write(peers, b"four")
    assert [peer.read() for peer in peers] == [b"onethreefour", b"onetwothreefour", b"onethreefour"]
    assert [peer.sends for peer in peers] == [0, 2, 0]


def test_a_transport_gets_the_bytes_that_a_full_socket_does_not_accept(peers: list[FastPeer]) -> None:
    slow, written, read = peers[0], b"", b""
    for number in range(40):
        data = bytes([number]) * 50_000
        write(peers, data)
        written += data
        for peer in peers[1:]:
            peer.read()
    assert slow.buffer, "it was full"
    while slow.buffer:
        read += slow.read()
        slow.flush()
    write(peers, b"last")
    assert read + slow.read() == written + b"last"


def test_a_broken_socket_is_left_to_its_transport(peers: list[FastPeer]) -> None:
    write(peers, b"one")
    peers[0].far.close()
    write(peers, b"two")
    assert peers[0].buffer == b"two"
    assert [peer.read() for peer in peers[1:]] == [b"onetwo"] * 2


def test_a_connection_without_a_direct_fd_is_written_to_by_its_transport(peers: list[FastPeer]) -> None:
    encrypted = peers[0]
    encrypted.check_direct_fd = lambda: -1  # type: ignore[method-assign]  # as with TLS
    write(peers, b"one")
    write(peers, b"two")
    assert encrypted.buffer == b"onetwo"
    assert encrypted.read() == b""
