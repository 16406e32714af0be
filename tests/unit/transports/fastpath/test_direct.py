"""Writing past the transports, to real sockets whose transports are as simple as can be."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import suppress

import pytest
from tests.support.fakes import Reported

from presenced.transports.fastpath.direct import write_each


class Watcher(Reported):
    """Its transport takes what it is sent; `flush` writes it to the socket."""

    def __init__(self) -> None:
        super().__init__()
        self.file = -1
        self.near, self.far = socket.socketpair()
        self.near.setblocking(False)
        self.far.setblocking(False)
        self.held = b""
        self.sends = 0
        self.looks = 0

    def look(self) -> int:
        self.looks += 1
        self.file = -1 if self.held else self.near.fileno()
        return self.file

    def write(self, data: bytes) -> None:
        self.sends += 1
        self.file = -1
        self.held += data

    def flush(self) -> None:
        with suppress(BlockingIOError):
            while self.held:
                self.held = self.held[self.near.send(self.held) :]

    def read(self) -> bytes:
        read = b""
        with suppress(BlockingIOError):
            while part := self.far.recv(1 << 20):
                read += part
        return read


@pytest.fixture
def watchers() -> Iterator[list[Watcher]]:
    made = [Watcher() for _ in range(3)]
    yield made
    for watcher in made:
        watcher.near.close()
        watcher.far.close()


def write(watchers: list[Watcher], data: bytes) -> None:
    write_each(watchers, data)  # type: ignore[arg-type]  # as much of a connection as is used


def test_transports_that_hold_nothing_are_passed_by_and_looked_at_once(watchers: list[Watcher]) -> None:
    write(watchers, b"one")
    write(watchers, b"two")
    assert [watcher.read() for watcher in watchers] == [b"onetwo"] * 3
    assert [(watcher.sends, watcher.looks) for watcher in watchers] == [(0, 1)] * 3


def test_what_a_transport_was_sent_comes_first(watchers: list[Watcher]) -> None:
    write(watchers, b"one")
    watchers[1].write(b"two")
    write(watchers, b"three")
    watchers[1].flush()
    write(watchers, b"four")
    assert [watcher.read() for watcher in watchers] == [b"onethreefour", b"onetwothreefour", b"onethreefour"]
    assert [watcher.sends for watcher in watchers] == [0, 2, 0]


def test_what_a_full_socket_does_not_take_its_transport_gets(watchers: list[Watcher]) -> None:
    slow, written, read = watchers[0], b"", b""
    for number in range(40):
        data = bytes([number]) * 50_000
        write(watchers, data)
        written += data
        for watcher in watchers[1:]:
            watcher.read()
    assert slow.held, "it was full"
    while slow.held:
        read += slow.read()
        slow.flush()
    write(watchers, b"last")
    assert read + slow.read() == written + b"last"


def test_a_broken_socket_is_left_to_its_transport(watchers: list[Watcher]) -> None:
    write(watchers, b"one")
    watchers[0].far.close()
    write(watchers, b"two")
    assert watchers[0].held == b"two"
    assert [watcher.read() for watcher in watchers[1:]] == [b"onetwo"] * 2


def test_one_whose_file_can_not_be_written_to_is_sent_everything(watchers: list[Watcher]) -> None:
    encrypted = watchers[0]
    encrypted.look = lambda: -1  # type: ignore[method-assign]  # as with TLS
    write(watchers, b"one")
    write(watchers, b"two")
    assert encrypted.held == b"onetwo"
    assert encrypted.read() == b""
