"""Backpressure of one connection: a response waits for a client that does not read."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from presenced.transports.front_door import FrontDoor


class Backpressure:
    """The pause between the transport's `pause_writing` and `resume_writing`.

    Bound: a client that reads nothing for `behind_timeout` seconds is cut off. A client that reads slowly may go on,
    however long its response takes.
    """

    __slots__ = ("_abort", "_door", "_event", "_transport", "_unsent")

    def __init__(self, door: FrontDoor, transport: asyncio.Transport, abort: Callable[[], None]) -> None:
        self._door = door
        self._transport = transport
        self._abort = abort
        self._event = asyncio.Event()
        self._unsent = transport.get_write_buffer_size()
        """Number of bytes in the transport's buffer at the last check."""
        self._check_later()

    async def wait(self) -> None:
        """Wait until the pause is over."""
        await self._event.wait()

    def end(self) -> None:
        """End the pause, because the client has read enough or the connection is over."""
        self._door.timer.cancel(self._check)
        self._event.set()

    def _check_later(self) -> None:
        self._door.timer.set(self._check, self._door.clock.monotonic() + self._door.settings.behind_timeout)

    def _check(self) -> None:
        before, self._unsent = self._unsent, self._transport.get_write_buffer_size()
        if self._unsent < before:
            self._check_later()
        else:
            self._abort()
