"""A load balancer for TCP, which sends each connection to the server with the fewest."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress


class Balancer:
    """Balancer that listens on a free port of 127.0.0.1.

    Args:
        ports: Returns the ports of the servers that may get a connection.
    """

    def __init__(self, ports: Callable[[], Sequence[int]]) -> None:
        self._ports = ports
        self._open: dict[int, int] = {}
        self._writers: set[asyncio.StreamWriter] = set()
        self.port = 0

    @property
    def url(self) -> str:
        """URL of the servers behind it."""
        return f"http://127.0.0.1:{self.port}/"

    async def forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Forward a connection to a server that accepts it, both ways."""
        for port in sorted(self._ports(), key=lambda port: self._open.get(port, 0)):
            with suppress(ConnectionRefusedError):  # try the next server
                back_reader, back_writer = await asyncio.open_connection("127.0.0.1", port)
                break
        else:
            writer.transport.abort()
            return
        both = {writer, back_writer}
        self._writers |= both
        self._open[port] = self._open.get(port, 0) + 1
        await asyncio.gather(_copy(reader, back_writer), _copy(back_reader, writer))
        self._open[port] -= 1
        self._writers -= both

    def stop(self) -> None:
        """Cut all connections."""
        for writer in self._writers:
            writer.transport.abort()


@asynccontextmanager
async def balancer(ports: Callable[[], Sequence[int]]) -> AsyncIterator[Balancer]:
    """Run a balancer."""
    found = Balancer(ports)
    server = await asyncio.start_server(found.forward, "127.0.0.1", 0)
    found.port = server.sockets[0].getsockname()[1]
    try:
        yield found
    finally:
        server.close()
        found.stop()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):  # one of the two has ended
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    with suppress(ConnectionError, RuntimeError):  # it is closed, or its loop is
        writer.close()
