"""A network in memory: delays, breaks, half-open connections and slow readers, on a fake clock."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from msgspec import json
from tests.support.fakes import ENDINGS, Reported
from tests.support.nodes import request
from websockets.frames import Close as CloseFrame
from websockets.frames import Frame, Opcode
from websockets.protocol import CLIENT
from websockets.protocol import Protocol as WebSocketProtocol

from presenced.delivery.batch import Batch
from presenced.errors import Close
from presenced.node.node import Node
from presenced.presence.model import Ending
from presenced.testing import FakeClock
from presenced.transports.websocket.endings import client_ending
from presenced.transports.websocket.framing import PING_FRAME, frames, text_frame

FULL = 4096
"""Unsent bytes above which a transport is paused. It resumes at a quarter of them."""

QUICK = 1e6
"""Bytes per second that a normal client reads."""


class Endpoint(Protocol):
    """The far end of a link."""

    def on_message(self, link: Link, message: dict[str, Any]) -> None:
        """Handle a message."""

    def on_ping(self, link: Link) -> None:
        """Handle a ping, which was answered."""

    def is_closed(self, link: Link, code: int) -> None:
        """Handle the end of the link. The code is 1006 without a close frame."""


class ServerEnd(Reported):
    """The node's end of a link (`node.Connection`)."""

    def __init__(self, link: Link) -> None:
        super().__init__()
        self.is_open = True
        self._link = link

    def accept(self) -> None:
        """The clients of the simulation do not wait for the response of the handshake."""

    def send(self, message: bytes) -> None:
        self._write(text_frame(message))

    def send_batch(self, batch: Batch) -> int:
        data = frames(batch, False)
        self._write(data)
        return len(data)

    def ping(self) -> None:
        self._write(PING_FRAME)

    def _write(self, data: bytes) -> None:
        assert self.is_open, "nothing is written after a close"
        self._link.put(data)
        self.unsent += len(data)
        if self.unsent > FULL and not self.paused:
            self.paused = True
            self._link.node.paused(self)

    def has_sent(self, size: int) -> None:
        self.unsent -= size
        if self.paused and self.unsent <= FULL // 4:
            self.paused = False
            if self.is_open:
                self._link.node.resumed(self)

    def close(self, close: Close, reason: str = "") -> None:
        if self.is_open:
            frame = Frame(Opcode.CLOSE, CloseFrame(close.code, reason[:100]).serialize()).serialize(mask=False)
            self._link.put(frame)
            self.ends(ENDINGS.get(close, Ending.LOST), close.name.lower())

    def ends(self, ending: Ending, reason: str) -> None:
        if self.is_open:
            self.is_open = False
            self._link.node.closed(self, ending, reason)


class Link:
    """One connection between a client and the server. Each direction keeps its order."""

    def __init__(self, clock: FakeClock, node: Node, client: Endpoint, seed: str, query: str, classic: bool) -> None:
        self.node = node
        self.rate = QUICK
        self.cut = False
        """Whether the link drops everything without notifying either end."""
        self.delivered: Callable[[dict[str, Any]], None] = lambda _: None
        """Called with each request just before the node receives it."""
        self.opening: Callable[[], None] = lambda: None
        """Called just before the node learns of the connection."""
        self._clock = clock
        self._client: Endpoint | None = client
        self._random = random.Random(seed)
        self._delay = self._random.uniform(0.002, 0.3)
        self._server = ServerEnd(self)
        self._queue: deque[bytes] = deque()
        self._is_sending = False
        self._arrivals = {"up": 0.0, "down": 0.0}
        self._reader = WebSocketProtocol(CLIENT)
        subprotocol = "" if classic else "presenced.v1"
        self._later("up", partial(self._open, query, subprotocol))

    def _open(self, query: str, subprotocol: str) -> None:
        self.opening()
        self.node.opened(self._server, request(query, subprotocol))

    # The client.

    def send(self, message: dict[str, Any]) -> None:
        self._later("up", partial(self._arrive, message))

    def close(self, code: int) -> None:
        """Close from the client, which receives nothing more."""
        self._client = None
        self._later("up", partial(self._server.ends, client_ending(code), str(code)))

    def abandon(self) -> None:
        """Abandon the link without notifying the server."""
        self._client = None

    # Events on the way.

    def breaks(self) -> None:
        """End the link, and notify both ends."""
        self._end_client(1006)
        self.cut = True
        if self._server.serial:
            self._server.ends(Ending.LOST, "lost")
        self._server.is_open = False

    # The server.

    def put(self, data: bytes) -> None:
        self._queue.append(data)
        if not self._is_sending:
            self._send_next()

    def _send_next(self) -> None:
        self._is_sending = bool(self._queue)
        if self._queue:
            data = self._queue.popleft()
            self._clock.call_at(self._clock.monotonic() + len(data) / self.rate, partial(self._sent, data))

    def _sent(self, data: bytes) -> None:
        if self.cut:
            return  # it stays in the server's buffers
        self._later("down", partial(self._read, data))
        self._send_next()
        self._server.has_sent(len(data))

    def _later(self, way: str, action: Callable[[], None]) -> None:
        delay = self._delay * self._random.uniform(1, 1.5)
        at = self._arrivals[way] = max(self._arrivals[way] + 1e-6, self._clock.monotonic() + delay)
        self._clock.call_at(at, partial(self._unless_cut, action))

    def _unless_cut(self, action: Callable[[], None]) -> None:
        if not self.cut:
            action()

    def _arrive(self, message: dict[str, Any] | None) -> None:
        """Deliver a message to the server; None is a pong."""
        if self._server.is_open:
            self._server.heard_at = self._clock.monotonic()
            if message is not None:
                self.delivered(message)
                self.node.received(self._server, json.encode(message).decode())

    def _read(self, data: bytes) -> None:
        """Deliver frames to the client."""
        if self._client is None:
            return
        self._reader.receive_data(data)
        for frame in self._reader.events_received():
            assert isinstance(frame, Frame)
            if self._client is None:
                return
            if frame.opcode is Opcode.PING:
                self._later("up", partial(self._arrive, None))
                self._client.on_ping(self)
            elif frame.opcode is Opcode.CLOSE:
                self._end_client(CloseFrame.parse(bytes(frame.data)).code)
            else:
                self._client.on_message(self, json.decode(frame.data))

    def _end_client(self, code: int) -> None:
        client, self._client = self._client, None
        if client is not None:
            client.is_closed(self, code)
