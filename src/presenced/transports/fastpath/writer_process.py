"""Program of a helper process, which writes to clients' sockets: `python -I -S writer_process.py FD`.

`writer_pool.py` starts it and sends it messages. The program decides nothing. It imports nothing but the standard
library, so it takes 11 MB of memory. FD is a stream socket. Each message on it has a header (`HEADER`) of a kind and
two integers, and then its content. A *number* in the content identifies a socket: the server assigns it, and it is not
a file descriptor.

| message         | content                                         | effect                                           |
|-----------------|-------------------------------------------------|--------------------------------------------------|
| `ADOPT` n, 0    | n numbers; n files (`SCM_RIGHTS`) in this order | holds these sockets by their numbers             |
| `DROP` n, 0     | n numbers                                       | closes these sockets                             |
| `WRITE` n, size | n numbers; `size` bytes                         | writes the bytes to each socket without blocking |

Only `WRITE` has a response, sent when all sockets are written to. It begins with the count of sockets that took only a
part (`COUNT`). For each of them follow its number and the count of bytes that it took, 0 if it failed.

The process ends when the stream ends. It ignores SIGINT and SIGTERM, because a terminal sends them to the whole process
group, and the server decides when to stop.
"""

from __future__ import annotations

import contextlib
import signal
import socket
import struct
import sys
from array import array
from collections.abc import Callable

HEADER = struct.Struct("<cII")
"""Start of a message: its kind, the number of connections, and the number of bytes to write."""

COUNT = struct.Struct("<I")
"""Start of a response to WRITE: the number of connections that took less than all."""

ADOPT, DROP, WRITE = b"a", b"d", b"w"
"""Kinds of messages."""

NUMBERS = "Q"
"""Type code of arrays of numbers: unsigned 64-bit integers."""

MAX_FILES = 250
"""Maximum number of files in one message. Linux allows 253 (unix(7))."""

_READ_BYTES = 1 << 18


class _Stream:
    """Reader of the stream, and of the files that arrive with it."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._buffer = bytearray()
        self.files: list[int] = []

    def take(self, size: int) -> bytes:
        """Return the next `size` bytes.

        Raises:
            EOFError: The stream has ended.
        """
        while len(self._buffer) < size:
            data, files, _, _ = socket.recv_fds(self._sock, _READ_BYTES, MAX_FILES)
            if not data:
                raise EOFError
            self._buffer += data
            self.files += files
        taken = bytes(self._buffer[:size])
        del self._buffer[:size]
        return taken

    def take_numbers(self, count: int) -> array[int]:
        """Return the next `count` numbers."""
        numbers = array(NUMBERS)
        numbers.frombytes(self.take(count * numbers.itemsize))
        return numbers


def run_helper(control: socket.socket) -> None:
    """Process messages until the stream ends."""
    stream = _Stream(control)
    sockets: dict[int, socket.socket] = {}
    sends: dict[int, Callable[[bytes], int]] = {}
    while True:
        kind, count, size = HEADER.unpack(stream.take(HEADER.size))
        numbers = stream.take_numbers(count)
        if kind == ADOPT:
            for number in numbers:
                sockets[number] = sock = socket.socket(fileno=stream.files.pop(0))
                sends[number] = sock.send
        elif kind == DROP:
            for number in numbers:
                del sends[number]
                sockets.pop(number).close()
        else:
            short = _write(sends, numbers, stream.take(size))
            control.sendall(COUNT.pack(len(short) // 2) + short.tobytes())


def _write(sends: dict[int, Callable[[bytes], int]], numbers: array[int], data: bytes) -> array[int]:
    size = len(data)
    short = array(NUMBERS)
    for number in numbers:
        try:
            taken = sends[number](data)
        except OSError:  # the socket is full, or broken, which the server detects itself
            taken = 0
        if taken != size:
            short.extend((number, taken))
    return short


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with contextlib.suppress(EOFError, ConnectionError):  # the server has closed the stream, or has ended
        run_helper(socket.socket(fileno=int(sys.argv[1])))
