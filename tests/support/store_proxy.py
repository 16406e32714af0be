"""An unreliable network between a node and Redis: a TCP proxy in the test's own event loop."""

from __future__ import annotations

import asyncio
import contextlib

from presenced.cluster.redis.scripts import COMMIT


class StoreProxy:
    """Proxy that listens on a free port of 127.0.0.1, and injects faults.

    Args:
        port: Port of the server, on 127.0.0.1. A test may change it: new connections lead to the other server.
    """

    def __init__(self, port: int) -> None:
        self.to = port
        self.port = 0
        self.is_cut = False
        self.delay_s = 0.0
        """Seconds by which each request is late."""
        self.replies_to_lose = 0
        """Number of commits that are executed, but whose connection ends without a reply."""
        self._may_pass = asyncio.Event()
        self._may_pass.set()
        self._may_return = asyncio.Event()
        self._may_return.set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._accepted, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def url(self) -> str:
        """URL of the store through the proxy."""
        return f"redis://127.0.0.1:{self.port}/0"

    def cut(self) -> None:
        """Break all connections, and refuse new ones."""
        self.is_cut = True
        self.reset()

    def reset(self) -> None:
        """Break all connections."""
        for writer in self._writers:
            writer.transport.abort()

    def heal(self) -> None:
        """End all faults. Data that was held back is delivered late."""
        self.is_cut = False
        self.delay_s = 0.0
        self.release()

    def hold(self) -> None:
        """Keep requests back until `release`, even if the node has closed its connection by then."""
        self._may_pass.clear()

    def half_open(self) -> None:
        """Execute requests, but keep the replies back until `release`. Connections stay open."""
        self._may_return.clear()

    def release(self) -> None:
        """End `hold` and `half_open`."""
        self._may_pass.set()
        self._may_return.set()

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            with contextlib.suppress(OSError):  # one of the two connections has ended
                await self._forward(reader, writer)
        finally:
            writer.transport.abort()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.is_cut:
            return
        to_reader, to_writer = await asyncio.open_connection("127.0.0.1", self.to)
        self._writers |= {writer, to_writer}
        is_losing = asyncio.Event()
        try:
            await asyncio.gather(
                self._requests(reader, to_writer, is_losing), self._replies(to_reader, writer, is_losing)
            )
        finally:
            self._writers -= {writer, to_writer}
            to_writer.transport.abort()

    async def _requests(self, source: asyncio.StreamReader, to: asyncio.StreamWriter, is_losing: asyncio.Event) -> None:
        with contextlib.suppress(OSError):  # one of the two connections has ended
            while data := await source.read(65_536):
                if self.replies_to_lose and COMMIT.digest in data:
                    self.replies_to_lose -= 1
                    is_losing.set()
                if self.delay_s:
                    await asyncio.sleep(self.delay_s)
                await self._may_pass.wait()
                to.write(data)
                await to.drain()
        to.close()

    async def _replies(self, source: asyncio.StreamReader, to: asyncio.StreamWriter, is_losing: asyncio.Event) -> None:
        with contextlib.suppress(OSError):  # one of the two connections has ended
            while data := await source.read(65_536):
                if is_losing.is_set():
                    break
                await self._may_return.wait()
                to.write(data)
                await to.drain()
        to.transport.abort()
