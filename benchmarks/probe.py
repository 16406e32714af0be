"""Single client that measures delays while other clients make the load."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Iterator
from typing import Self
from urllib.request import urlopen

from benchmarks.clients import PATIENCE, REQUEST
from benchmarks.load import LoadError
from websockets.frames import Frame, Opcode
from websockets.protocol import CLIENT, Protocol

_TURN = re.compile(rb'"type":"USER_(ON|OFF)LINE","userId":(\d+),')
_GREETED = b"CONNECTION_ESTABLISHED"


class Probe:
    """One connection. It is read by calls only."""

    def __init__(self, port: int, user: int, receive_buffer: int = 0, more: str = "") -> None:
        began = time.monotonic()
        self.socket = socket.socket()
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(PATIENCE)
        self.socket.connect(("127.0.0.1", port))
        self.socket.sendall(REQUEST.format(user=user, more=more, fields="").encode())
        head = b""
        while _GREETED not in head:
            data = self._receive()
            if not data:
                raise LoadError(f"a connection was refused: {head[:200]!r}")
            head += data
        self.greeted_after = time.monotonic() - began
        """Seconds from `connect` to CONNECTION_ESTABLISHED."""
        self._reader = Protocol(CLIENT)  # decodes answers to pings
        self._reader.receive_data(head.partition(b"\r\n\r\n")[2])
        self._unread = bytearray()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def read_turns(self) -> Iterator[tuple[bool, int]]:
        """Read once, and yield each user in it who went online (True) or offline (False). Pings are not answered.

        Raises:
            LoadError: The server closed the connection.
        """
        data = self._receive()
        if not data:
            raise LoadError("the server closed a probe")
        self._unread += data
        end = 0
        for found in _TURN.finditer(self._unread):
            yield found[1] == b"ON", int(found[2])
            end = found.end()
        del self._unread[:end]

    def ping(self) -> float:
        """Return the seconds until a ping is answered."""
        began = time.monotonic()
        self.socket.sendall(Frame(Opcode.PING, b"?").serialize(mask=True))
        while True:
            data = self._receive()
            if not data:
                raise LoadError("a good client was dropped")
            self._reader.receive_data(data)
            for event in self._reader.events_received():
                if isinstance(event, Frame) and event.opcode is Opcode.PONG:
                    return time.monotonic() - began

    def _receive(self) -> bytes:
        return self.socket.recv(1 << 18)


def metric(port: int, name: str) -> float:
    """Return a sample of /metrics."""
    with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=PATIENCE) as answer:
        lines = answer.read().decode().splitlines()
    return float(next(line.split()[1] for line in lines if line.startswith(f"{name} ")))
