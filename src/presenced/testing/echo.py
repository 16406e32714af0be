"""Echo endpoint for conformance suites: it sends every message back, through the server's own transports and limits.

Run `python -m presenced.testing.echo --port 9001`, then point the suite at `ws://localhost:9001/ws-online-status`.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from typing import Self

from starlette.applications import Starlette

from presenced.config.settings import WEBSOCKET_PATH, Settings
from presenced.errors import Close
from presenced.net.refusals import Refusal
from presenced.net.throttle import Throttle
from presenced.presence.model import Ending
from presenced.protocols.base import ConnectRequest
from presenced.runtime.clock import SystemClock, Timer
from presenced.transports.listener import Listener
from presenced.transports.websocket.connection import WebSocketConnection
from presenced.transports.websocket.framing import message_frame


class EchoServer:
    """A `transports.base.ConnectionHandler` that sends every message back."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.is_draining = self.is_behind = False
        self.max_connections = 10_000
        self.subprotocols = {WEBSOCKET_PATH.encode(): ("presenced.v1", "presenced.classic")}
        self.compressed = ("presenced.v1",)
        self.throttle = Throttle(settings)
        self.endings: list[tuple[Ending, str]] = []
        """Endings of the last 1,000 connections, oldest first."""

    async def __aenter__(self) -> Self:
        self.clock = SystemClock(asyncio.get_running_loop())
        self.timer = Timer(self.clock)
        self._listener = Listener(self, Starlette())
        await self._listener.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.is_draining = True
        await self._listener.stop()
        self.timer.stop()

    @property
    def port(self) -> int:
        """TCP port of the endpoint."""
        return self._listener.port

    def turned_away(self, refusal: Refusal, origin: bytes) -> None:
        """Ignore the refusal, because its client sees the reason."""

    def opened(self, connection: WebSocketConnection, request: ConnectRequest) -> None:
        """Accept every connection."""
        connection.serial = 1  # not 0, which stands for a connection that was not admitted or has ended
        connection.accept()

    def received(self, connection: WebSocketConnection, message: str | bytes) -> None:
        """Send the message back. Close a client that sends without reading."""
        if connection.paused:
            connection.close(Close.FELL_BEHIND, "reading too slowly")
            return
        connection.write(message_frame(message))

    def paused(self, connection: WebSocketConnection) -> None:
        """Do nothing: `received` checks `paused`."""

    def resumed(self, connection: WebSocketConnection) -> None:
        """Do nothing."""

    def closed(self, connection: WebSocketConnection, ending: Ending, reason: str) -> None:
        """Record the ending, once for each connection."""
        if connection.serial:
            connection.serial = 0
            self.endings = [*self.endings[-999:], (ending, reason)]


async def _serve(settings: Settings) -> None:
    async with EchoServer(settings) as server:
        sys.stdout.write(f"echoing at ws://localhost:{server.port}{WEBSOCKET_PATH}\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Echo every WebSocket message; stop with Ctrl+C.")
    parser.add_argument("--port", type=int, default=9001)
    parser.add_argument("--max-message-size", type=int, default=Settings().max_message_size)
    arguments = parser.parse_args()
    try:
        asyncio.run(_serve(Settings(port=arguments.port, max_message_size=arguments.max_message_size)))
    except KeyboardInterrupt:
        sys.exit(0)
