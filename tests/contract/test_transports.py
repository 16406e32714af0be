"""The facts about the transports of uvloop and asyncio that `transports.fastpath.direct` relies on."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import Callable
from typing import cast

import pytest
import uvloop

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "uvloop": uvloop.new_event_loop,
    "asyncio": asyncio.new_event_loop,
}


class Server(asyncio.Protocol):
    """Protocol that records whether its file was still its own in `connection_lost`."""

    def __init__(self) -> None:
        self.lost = asyncio.Event()
        self.transport: asyncio.Transport
        self.was_its_own = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.file: int = transport.get_extra_info("socket").fileno()
        self.inode = os.fstat(self.file).st_ino

    def connection_lost(self, exc: Exception | None) -> None:
        self.was_its_own = os.fstat(self.file).st_ino == self.inode
        self.lost.set()


def reset(client: socket.socket, server: Server) -> None:
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


def reset_then_write(client: socket.socket, server: Server) -> None:
    reset(client, server)
    for _ in range(3):
        server.transport.write(b"x")


def reset_with_a_full_buffer(client: socket.socket, server: Server) -> None:
    server.transport.write(bytes(10_000_000))
    reset(client, server)


def abort_with_a_full_buffer(client: socket.socket, server: Server) -> None:
    server.transport.write(bytes(10_000_000))
    server.transport.abort()


ENDS: list[Callable[[socket.socket, Server], None]] = [
    lambda client, server: client.close(),
    lambda client, server: client.shutdown(socket.SHUT_WR),
    reset,
    reset_then_write,
    reset_with_a_full_buffer,
    lambda client, server: server.transport.close(),
    lambda client, server: server.transport.abort(),
    abort_with_a_full_buffer,
]


async def connected() -> tuple[socket.socket, Server]:
    loop = asyncio.get_running_loop()
    made: list[Server] = []

    def make() -> Server:
        made.append(Server())
        return made[0]

    server = await loop.create_server(make, "127.0.0.1", 0)
    client = socket.create_connection(server.sockets[0].getsockname())
    client.setblocking(False)
    while not made or not hasattr(made[0], "transport"):
        await asyncio.sleep(0.001)
    server.close()
    return client, made[0]


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("end", ENDS)
def test_a_file_is_closed_after_connection_lost_was_called(
    loop: str, end: Callable[[socket.socket, Server], None]
) -> None:
    async def run() -> None:
        client, server = await connected()
        with client:
            end(client, server)
            async with asyncio.timeout(10):
                await server.lost.wait()
        assert server.was_its_own

    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(run())


@pytest.mark.parametrize("loop", LOOPS)
def test_a_write_to_the_file_of_an_empty_transport_keeps_the_order(loop: str) -> None:
    async def run() -> bytes:
        client, server = await connected()
        with client:
            for part in (b"1", b"2", b"3"):
                server.transport.write(part + b"t")
                assert server.transport.get_write_buffer_size() == 0
                os.write(server.file, part + b"f")
            server.transport.close()
            await server.lost.wait()
            client.setblocking(True)
            return b"".join(iter(lambda: client.recv(100), b""))

    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        assert runner.run(run()) == b"1t1f2t2f3t3f"


@pytest.mark.parametrize("loop", LOOPS)
def test_a_transport_that_could_not_write_everything_reports_its_buffer(loop: str) -> None:
    async def run() -> None:
        client, server = await connected()
        with client:
            server.transport.write(bytes(10_000_000))
            assert server.transport.get_write_buffer_size() > 0
            with pytest.raises(BlockingIOError):
                os.write(server.file, b"x")
            server.transport.abort()
            await server.lost.wait()

    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(run())
