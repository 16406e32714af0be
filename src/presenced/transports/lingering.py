"""The end of a connection whose client still sends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from weakref import WeakMethod


class Lingering:
    """A transport, as far as uvicorn writes an answer to one, that leaves closing to its connection.

    Args:
        close: Held weakly: the connection has the answer, the answer this.
    """

    __slots__ = ("_close", "_transport")

    def __init__(self, transport: asyncio.Transport, close: Callable[[], None]) -> None:
        self._transport = transport
        self._close = WeakMethod(close)

    def write(self, data: bytes) -> None:
        """As the transport."""
        self._transport.write(data)

    def is_closing(self) -> bool:
        """As the transport."""
        return self._transport.is_closing()

    def close(self) -> None:
        """The answer is written, and nothing is to follow."""
        if (close := self._close()) is not None:
            close()
