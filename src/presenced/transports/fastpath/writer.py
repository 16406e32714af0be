"""The program of a process that helps to write: `python -I -S writer.py FD`. Its other end is `writers.py`.

It needs nothing but the standard library's sockets, which keeps it small (11 MB), and it decides nothing: it holds
duplicates of clients' sockets, and writes to those it is told to what it is told to. FD is a stream that carries
messages, each a kind and two numbers (`HEADER`), then

    ADOPT n, 0       n numbers; that many files come along (`SCM_RIGHTS`), in the same order
    DROP n, 0        n numbers: close these
    WRITE n, size    n numbers, then `size` bytes: write the bytes to these, without waiting

Only WRITE is answered, when it is done: the count of those that took less than all (`COUNT`), then for each its number
and how many bytes it took. The end of the stream ends the process; signals don't, for a terminal sends them to all
processes of a group, and the server says when it is over.
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
COUNT = struct.Struct("<I")
ADOPT, DROP, WRITE = b"a", b"d", b"w"

NUMBERS = "Q"
"""Type code of the arrays of numbers."""

MAX_FILES = 250
"""Files that one message carries; Linux allows 253 (unix(7))."""

_READ = 1 << 18


class _Stream:
    """Bytes, and the files that came along."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._buffer = bytearray()
        self.files: list[int] = []

    def take(self, size: int) -> bytes:
        """The next `size` bytes.

        Raises:
            EOFError: The stream has ended.
        """
        while len(self._buffer) < size:
            data, files, _, _ = socket.recv_fds(self._sock, _READ, MAX_FILES)
            if not data:
                raise EOFError
            self._buffer += data
            self.files += files
        taken = bytes(self._buffer[:size])
        del self._buffer[:size]
        return taken

    def take_numbers(self, count: int) -> array[int]:
        """The next `count` numbers."""
        numbers = array(NUMBERS)
        numbers.frombytes(self.take(count * numbers.itemsize))
        return numbers


def serve(control: socket.socket) -> None:
    """Do what is told until the stream ends."""
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
        except OSError:  # full, or broken, which the server finds out by itself
            taken = 0
        if taken != size:
            short.extend((number, taken))
    return short


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with contextlib.suppress(EOFError, ConnectionError):
        serve(socket.socket(fileno=int(sys.argv[1])))
