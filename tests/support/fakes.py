"""Connection and transport without a socket: they record what they receive, and report their end as real ones do."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from typing import Any

from msgspec import json

from presenced.delivery.batch import Batch
from presenced.errors import Close
from presenced.presence.model import Ending
from presenced.presence.session import Session
from presenced.testing import FakeClock

ENDINGS = {
    Close.TIMED_OUT: Ending.TIMED_OUT,
    Close.DISCONNECTED: Ending.DISCONNECTED,
    Close.REPLACED: Ending.REPLACED,
}


class Reported:
    """Attributes that a node sets of a connection."""

    def __init__(self) -> None:
        self.protocol: Any = None
        self.session: Any = Session("", self, "", "", None)
        self.user_id = ""
        self.throttle_key = ""
        self.connection_id = ""
        self.serial = 0
        self.opened_ms = 0
        self.opened_at = 0.0
        self.heard_at = 0.0
        self.slice = -1
        self.paused = False
        self.unsent = 0


class FakeConnection(Reported):
    """A connection without a socket (`delivery.connection.Connection`), and the client at its other end."""

    def __init__(
        self,
        on_closed: Callable[[FakeConnection, Ending, str], None] | None = None,
        clock: FakeClock | None = None,
    ) -> None:
        super().__init__()
        self.write_when_paused = False
        """Whether answers may be written although the connection is slow."""
        self.full_after = 0
        """Number of further writes after which its transport is full; 0 means never."""
        self.on_full: Callable[[], None] = lambda: None
        self.writes: list[bytes] = []
        """Messages of each write, joined."""
        self.accepted = False
        self.closed_with: tuple[Close, str] | None = None
        self.messages: list[dict[str, Any]] = []
        self.pings = self.pongs = 0
        self.answers = clock is not None
        """Whether the client answers pings. A client behind a cut cable does not."""
        self._clock = clock
        self._on_closed = on_closed

    def accept(self) -> None:
        """Record that the handshake was accepted."""
        self.accepted = True

    def send(self, message: bytes) -> None:
        """Record a message."""
        self._write((message,))

    def send_batch(self, batch: Batch) -> int:
        """Record the messages of a batch, and return their size."""
        self._write(batch.messages)
        return sum(map(len, batch.messages))

    def ping(self) -> None:
        """Count a ping. The client answers it at once if `answers` is set."""
        self.pings += 1
        if self.answers and self._clock:
            self.heard_at = self._clock.monotonic()
            self.pongs += 1
        self._write(())

    def _write(self, messages: Sequence[bytes]) -> None:
        assert self.closed_with is None, "nothing is written after a close"
        assert not self.paused or self.write_when_paused, "nothing is written to a slow connection"
        self.writes.append(b"".join(messages))
        self.messages += map(json.decode, messages)
        self.full_after -= 1
        if self.full_after == 0:
            self.paused = True
            self.on_full()

    def close(self, close: Close, reason: str = "") -> None:
        """Record the first close, and report the end of the connection."""
        if self.closed_with is None:
            self.closed_with = (close, reason)
            if self._on_closed:
                self._on_closed(self, ENDINGS.get(close, Ending.LOST), close.name.lower())

    def about_others(self) -> list[tuple[str, int | str]]:
        """Return the type and user of each message about a user: `("USER_ONLINE", 7)`."""
        return [(m["type"], m["userId"]) for m in self.messages if m["type"] != "CONNECTION_ESTABLISHED"]


class FakeTransport:
    """Near end of a socket: records what is written and which methods are called."""

    def __init__(self, file: int = -1) -> None:
        self.file = file
        self.unsent = 0
        self.written: list[bytes] = []
        self.ended = False
        self.closed = False
        self.aborted = False
        self.has_linger_option = False
        self.reading = True
        self.limit = 0

    def write(self, data: bytes) -> None:
        """Record what is written."""
        assert not self.ended, "nothing is written after the end of the stream"
        if data:
            self.written.append(data)

    def take(self) -> bytes:
        """Return what was written since the last call."""
        data, self.written = b"".join(self.written), []
        return data

    def get_extra_info(self, name: str) -> object:
        """Return the socket, which this object is itself."""
        return self if name == "socket" else None

    def setsockopt(self, level: int, name: int, value: bytes) -> None:
        """Record the option SO_LINGER, with which a close resets the connection."""
        assert (level, name, value) == (socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.has_linger_option = True

    def fileno(self) -> int:
        """Return the number of the file."""
        return self.file

    def get_write_buffer_size(self) -> int:
        """Return `unsent`."""
        return self.unsent

    def set_write_buffer_limits(self, high: int) -> None:
        """Record the limit."""
        self.limit = high

    def can_write_eof(self) -> bool:
        """Return whether the stream may end, which it always may."""
        return True

    def write_eof(self) -> None:
        """Record the end of the stream."""
        self.ended = True

    def close(self) -> None:
        """Record that the transport was closed."""
        self.closed = True

    def abort(self) -> None:
        """Record that the transport was aborted. The server does so only with a reset."""
        assert self.has_linger_option
        self.aborted = True

    def is_closing(self) -> bool:
        """Return whether the transport was closed or aborted."""
        return self.closed or self.aborted

    def pause_reading(self) -> None:
        """Record that reading pauses."""
        self.reading = False

    def resume_reading(self) -> None:
        """Record that reading goes on."""
        self.reading = True
