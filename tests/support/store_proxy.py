"""An unreliable network between a node and Redis: a TCP proxy in the test's own event loop."""

from __future__ import annotations

import asyncio
import contextlib

from presenced.cluster.redis.scripts import COMMIT


class StoreProxy:
    """Proxy that listens on a free port of 127.0.0.1, and injects faults.

    Args:
        port: Port of the server, on 127.0.0.1.
    """

    def __init__(self, port: int) -> None:
        self._to = port
        self.port = 0
        self.is_cut = False
        self.replies_to_lose = 0
        """Number of commits that are executed, but whose connection ends without a reply."""
        self._may_pass = asyncio.Event()
        self._may_pass.set()
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
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self) -> None:
        """Break all connections, and refuse new ones."""
        self.is_cut = True
        for writer in self._writers:
            writer.transport.abort()

    def heal(self) -> None:
        """End `cut`."""
        self.is_cut = False

    def hold(self) -> None:
        """Keep requests back until `release`, even if the node has closed its connection by then."""
        self._may_pass.clear()

    def release(self) -> None:
        """End `hold`."""
        self._may_pass.set()

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        with contextlib.suppress(OSError):
            if self.is_cut:
                writer.transport.abort()
                return
            to_reader, to_writer = await asyncio.open_connection("127.0.0.1", self._to)
            self._writers |= {writer, to_writer}
            is_losing = asyncio.Event()
            await asyncio.gather(
                self._requests(reader, to_writer, is_losing), self._replies(to_reader, writer, is_losing)
            )
            self._writers -= {writer, to_writer}

    async def _requests(self, source: asyncio.StreamReader, to: asyncio.StreamWriter, is_losing: asyncio.Event) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(65_536):
                if self.replies_to_lose and COMMIT.digest in data:
                    self.replies_to_lose -= 1
                    is_losing.set()
                await self._may_pass.wait()
                to.write(data)
                await to.drain()
        to.close()

    async def _replies(self, source: asyncio.StreamReader, to: asyncio.StreamWriter, is_losing: asyncio.Event) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(65_536):
                if is_losing.is_set():
                    break
                to.write(data)
                await to.drain()
        to.transport.abort()
