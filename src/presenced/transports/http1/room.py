"""The wait for a client that does not read."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from presenced.transports.http1.door import Door


class Room:
    """Holds an answer back until the client has read enough of what was written. Made when it reads too slowly.

    Bound: if the client takes nothing at all for `behind_timeout` seconds, the connection is cut. A client that is slow
    may go on.
    """

    __slots__ = ("_cut", "_door", "_event", "_transport", "_unsent")

    def __init__(self, door: Door, transport: asyncio.Transport, cut: Callable[[], None]) -> None:
        self._door = door
        self._transport = transport
        self._cut = cut
        self._event = asyncio.Event()
        self._unsent = transport.get_write_buffer_size()
        """Bytes that the client had not taken at the last look."""
        self._look_later()

    async def wait(self) -> None:
        """Wait until there is room, or nobody needs any."""
        await self._event.wait()

    def end(self) -> None:
        """There is room, or nobody needs any."""
        self._door.timer.cancel(self._look)
        self._event.set()

    def _look_later(self) -> None:
        self._door.timer.set(self._look, self._door.clock.monotonic() + self._door.settings.behind_timeout)

    def _look(self) -> None:
        before, self._unsent = self._unsent, self._transport.get_write_buffer_size()
        if self._unsent < before:
            self._look_later()
        else:
            self._cut()
