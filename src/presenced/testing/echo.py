"""An endpoint that sends every message back, on the server's own front door, protocol class and limits.

For clients that try the protocol's edges: `python -m presenced.testing.echo --port 9001`, then point the fuzzing
client at `ws://localhost:9001/ws-online-status`.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from types import TracebackType
from typing import Self

from starlette.applications import Starlette
from websockets.frames import Frame, Opcode

from presenced.config.settings import WEBSOCKET_PATH, Settings
from presenced.errors import Close
from presenced.net.refusals import Refusal
from presenced.net.throttle import Throttle
from presenced.presence.model import Ending
from presenced.protocols.base import ConnectRequest
from presenced.runtime.clock import SystemClock, Timer
from presenced.transports.listener import Listener
from presenced.transports.websocket.connection import WebSocketConnection


class EchoServer:
    """A `transports.base.ConnectionHandler` that sends back what it gets."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.draining = self.is_behind = False
        self.max_connections = 10_000
        self.subprotocols = {WEBSOCKET_PATH.encode(): ("presenced.v1", "presenced.classic")}
        self.compressed = ("presenced.v1",)
        self.throttle = Throttle(settings)
        self.endings: list[tuple[Ending, str]] = []
        """How the connections ended, oldest first; the newest 1,000."""

    async def __aenter__(self) -> Self:
        self.clock = SystemClock(asyncio.get_running_loop())
        self.timer = Timer(self.clock)
        self._listener = Listener(self, Starlette())
        await self._listener.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.draining = True
        await self._listener.stop()
        self.timer.stop()

    @property
    def port(self) -> int:
        """The TCP port it listens on."""
        return self._listener.port

    def turned_away(self, refusal: Refusal, origin: bytes) -> None:
        """Ignore the refusal, because its client sees the reason."""

    def opened(self, connection: WebSocketConnection, request: ConnectRequest) -> None:
        """The handshake succeeded; the query does not matter."""
        connection.serial = 1
        connection.accept()

    def received(self, connection: WebSocketConnection, message: str | bytes) -> None:
        """Send it back; a client that sends without reading is closed."""
        if connection.paused:
            connection.close(Close.FELL_BEHIND, "reading too slowly")
            return
        text = isinstance(message, str)
        payload = message.encode() if isinstance(message, str) else message
        connection.write(Frame(Opcode.TEXT if text else Opcode.BINARY, payload).serialize(mask=False))

    def paused(self, connection: WebSocketConnection) -> None:
        """Nothing to hold back."""

    def resumed(self, connection: WebSocketConnection) -> None:
        """Nothing was held back."""

    def closed(self, connection: WebSocketConnection, ending: Ending, reason: str) -> None:
        """Note how, once for each connection."""
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
