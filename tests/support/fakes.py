"""A connection without a socket: it keeps what it is sent, can be slow, and reports its end as the real one does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec import json
from websockets.frames import Opcode
from websockets.protocol import CLIENT, Protocol

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
    """What the node sets of a connection that reports to it."""

    def __init__(self) -> None:
        self.feed: Any = None
        self.session: Any = Session("", self, "", "", None)
        self.user_id = ""
        self.address = ""
        self.connection_id = ""
        self.serial = 0
        self.opened_ms = 0
        self.opened_at = 0.0
        self.heard_at = 0.0
        self.slice = -1
        self.file = -1
        self.paused = False
        self.unsent = 0
        self.writer: Any = None
        self.deflates = False

    def fileno(self) -> int:
        raise NotImplementedError("it has no socket")

    def look(self) -> int:
        return self.file

    def cut(self) -> None:
        raise NotImplementedError("it has no socket")


class FakeConnection(Reported):
    """What `node.Connection` asks for; a client of the `websockets` library reads the frames it is sent."""

    def __init__(
        self,
        on_closed: Callable[[FakeConnection, Ending, str], None] | None = None,
        clock: FakeClock | None = None,
    ) -> None:
        super().__init__()
        self.write_when_paused = False
        """Whether it is one that may be written answers to although it is slow."""
        self.full_after = 0
        """Its transport is full after so many more writes; 0 means never."""
        self.on_full: Callable[[], None] = lambda: None
        self.writes: list[bytes] = []
        self.closed_with: tuple[Close, str] | None = None
        self.messages: list[dict[str, Any]] = []
        self.pings = self.pongs = 0
        self.answers = clock is not None
        """Whether it answers pings; else it is there in name only, as behind a cut cable."""
        self._clock = clock
        self._on_closed = on_closed
        self._reader = Protocol(CLIENT)

    @property
    def send(self) -> Callable[[bytes], None]:
        return self._send

    def _send(self, data: bytes) -> None:
        assert self.closed_with is None, "nothing is written after a close"
        assert not self.paused or self.write_when_paused, "nothing is written to a slow connection"
        self.writes.append(data)
        self._reader.receive_data(data)
        for frame in self._reader.events_received():
            if frame.opcode is Opcode.PING:  # type: ignore[union-attr]  # a protocol that is open yields frames only
                self.pings += 1
                if self.answers and self._clock:
                    self.heard_at = self._clock.monotonic()
                    self.pongs += 1
            else:
                self.messages.append(json.decode(frame.data))  # type: ignore[union-attr]  # as above
        self.full_after -= 1
        if self.full_after == 0:
            self.paused = True
            self.on_full()

    def close(self, close: Close, reason: str = "") -> None:
        if self.closed_with is None:
            self.closed_with = (close, reason)
            if self._on_closed:
                self._on_closed(self, ENDINGS.get(close, Ending.LOST), close.name.lower())

    def fall_behind(self) -> None:
        self.close(Close.FELL_BEHIND)

    def told(self) -> list[tuple[str, int | str]]:
        """What it heard of others: `("USER_ONLINE", 7)`."""
        return [(m["type"], m["userId"]) for m in self.messages if m["type"] != "CONNECTION_ESTABLISHED"]


class FakeTransport:
    """A socket's near end: keeps what is written and what was asked of it."""

    def __init__(self, file: int = -1) -> None:
        self.file = file
        self.unsent = 0
        self.written: list[bytes] = []
        self.ended = False
        self.closed = False
        self.aborted = False
        self.reading = True
        self.limit = 0

    def write(self, data: bytes) -> None:
        assert not self.ended, "nothing is written after the end of the stream"
        if data:
            self.written.append(data)

    def take(self) -> bytes:
        data, self.written = b"".join(self.written), []
        return data

    def get_extra_info(self, name: str) -> object:
        return self if name == "socket" else None

    def fileno(self) -> int:
        return self.file

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def set_write_buffer_limits(self, high: int) -> None:
        self.limit = high

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.ended = True

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.aborted = True

    def is_closing(self) -> bool:
        return self.closed or self.aborted

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True
