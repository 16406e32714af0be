"""One load process: watchers that count messages, and clients that make changes.

Only the server must be the limit, so the clients are as cheap as Python allows: they read a socket into one large
buffer, and count its messages without parsing them. If even that would make the load the limit, only some watchers
count, on behalf of all. The kernel discards the data of the others (MSG_TRUNC). The server has the same work then, and
the load half as much. At the end each watcher must have received as many bytes as the counting ones.

Classic: a message is one object without nested objects, so each `}` is one message. All text is ASCII, so a byte above
0x7f is the first one of a frame. That holds for user ids of 7 or 8 digits, because no length of a frame is above 0x7f
then. A change is a user who connects or disconnects.

presenced.v1: each record of a user has one `"version"`. A change is a user with an open connection who becomes idle or
active. The clients answer no pings, so the server is started with options that prevent pings.
"""

from __future__ import annotations

import ctypes
import os
import re
import select
import signal
import socket
import time
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress

BUFFER = 1 << 20
"""Maximum number of bytes in one read."""

IN_FLIGHT = 256
"""Maximum number of connections that one process is opening. All together stay below a server's backlog of 4,096."""

NAP = 0.0003
"""Seconds between two polls of quiet sockets. A process that sleeps in `epoll_wait` would cost the sending server an
interrupt of another core (and of its virtual machine), which clients on other machines do not cost."""

SWEEP = 0.25
"""Seconds between two reads of watchers that do not count, if they are lazy. Their sockets hold the data until then.
Each send costs a tenth to a half more, because the memory of earlier sends is not free yet."""

CHURN_IDS = 8192
"""Default number of user ids per process for users who connect and disconnect. They are used in turn."""

ACTORS = 2048
"""Number of connections per process whose users become idle and active. Each has at most one outstanding change."""

SAMPLED = 100
"""If all watchers count, one in this many measures delays. Otherwise each counting watcher does."""

SAMPLES = 1 << 16
"""Number of delays stored per process. Newer ones replace the oldest."""

PATIENCE = 60.0
"""Seconds after which a wait fails."""

FIRST_WATCHER = 1_000_000
FIRST_CHURNER = 10_000_000
_IP_BIND_ADDRESS_NO_PORT = 24  # socket has it from Python 3.12 on
_END = b"}"
_VERSION = b'"version"'
_CLOSE, _PING = b"\x88", b"\x89"
_CLOSE_FRAME = b"\x88\x82\0\0\0\0\x03\xe8"  # code 1000; masked, as a client's frames must be, with zeros
_PONG_FRAME = b"\x8a\x80\0\0\0\0"
_ESTABLISHED = b"CONNECTION_ESTABLISHED"
IDLE_FRAME, ACTIVE_FRAME = (
    bytes((0x81, 0x80 | len(text), 0, 0, 0, 0)) + text
    for text in (b'{"type":"ACTIVITY","state":"idle"}', b'{"type":"ACTIVITY","state":"active"}')
)
_ONLINE = re.compile(rb'"type":"USER_ONLINE","userId":(\d+)')
_CHANGED = re.compile(rb'"userId":(\d+)')
REQUEST = (
    "GET /ws-online-status?userId={user}{more} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n"
    "Upgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{fields}\r\n"
)
_V1_FIELD = "Sec-WebSocket-Protocol: presenced.v1\r\n"
_DEFLATE_FIELD = "Sec-WebSocket-Extensions: permessage-deflate\r\n"
_DEFLATED = 0x40
_SYNC = b"\0\0\xff\xff"


class Orders(ctypes.Structure):
    """Orders for all load processes, in shared memory. The measuring process writes them."""

    watchers: int
    actors: int
    window: int
    heard_before: int
    stop: int
    v1: int
    deflate: int
    ids: int
    pause_us: int
    one_of: int
    lazy: int
    weigh: int
    _fields_ = [
        (name, ctypes.c_int64)
        for name in (
            *("watchers", "actors", "window", "heard_before", "stop", "v1", "deflate", "ids", "pause_us"),
            *("one_of", "lazy", "weigh"),
        )
    ]

    @property
    def counting(self) -> int:
        """Number of watchers that count messages: one of every `one_of`."""
        return -(-self.watchers // self.one_of)


class Counts(ctypes.Structure):
    """Counts of one load process, in shared memory. Only this process writes them."""

    opened: int
    heard: int
    changes: int
    dismissed: int
    lost: int
    sampled: int
    least: int
    most: int
    weighed: int
    _fields_ = [
        (name, ctypes.c_int64)
        for name in ("opened", "heard", "changes", "dismissed", "lost", "sampled", "least", "most", "weighed")
    ]


class _Client:
    """One connection of a load process."""

    __slots__ = (
        *("carry", "closing", "counts", "idle", "open", "port", "received", "sampled", "socket", "unread", "user"),
        "watches",
    )

    def __init__(self, sock: socket.socket, port: int, user: int, watches: bool, counts: bool, sampled: bool) -> None:
        self.socket = sock
        self.port = port
        self.user = user
        self.watches = watches
        self.counts = counts
        self.sampled = sampled
        self.received = 0  # bytes since the last comparison (`Clients._weigh`)
        self.open = False  # greeted with CONNECTION_ESTABLISHED
        self.closing = False  # a close frame was sent
        self.idle = False
        self.carry = bytes(len(_VERSION) - 1)
        self.unread = bytearray()


class Clients:
    """Connections of one load process: its share of the watchers, and of the clients that make changes.

    Args:
        index: Number of this process.
        ports: Ports of the server, or of several nodes. Connections are spread over them.
        users: Number of user ids that the watchers share. Only the first connection of each user causes a broadcast.
        counts: Counts of all processes. This one writes to its own.
        delays: Delays in seconds that this process measured.
    """

    def __init__(
        self,
        index: int,
        ports: Sequence[int],
        users: int,
        orders: Orders,
        counts: ctypes.Array[Counts],
        delays: ctypes.Array[ctypes.c_float],
    ) -> None:
        self._index = index
        self._ports = ports
        self._users = users
        self._orders = orders
        self._all = counts
        self._mine = counts[index]
        self._delays = delays
        self._clients: dict[int, _Client] = {}
        self._actors: list[_Client] = []
        self._poll = select.epoll()
        self._buffer = bytearray(BUFFER)
        self._into = memoryview(self._buffer)[len(_VERSION) - 1 :]
        self._began: dict[int, float] = {}  # time of the last change, by user id
        self._begun = self._connected = self._in_flight = self._served = 0
        self._next_change = self._next_sweep = 0.0
        self._unlooked: set[_Client] = set()  # watchers that do not count

    def run(self) -> None:
        """Follow the orders until `stop` is set, or the measuring process has ended."""
        parent = os.getppid()
        while not self._orders.stop and os.getppid() == parent:
            watchers = self._orders.watchers
            while self._in_flight < IN_FLIGHT and self._next_watcher < watchers:
                number, one_of = self._next_watcher, self._orders.one_of
                self._begun += 1
                counts = number % one_of == 0
                sampled = counts and (one_of > 1 or number % SAMPLED == 0)
                self._connect(FIRST_WATCHER + number % self._users, True, counts, sampled)
            while self._in_flight < IN_FLIGHT and len(self._actors) < self._orders.actors:
                actor = self._connect(FIRST_CHURNER + self._index * CHURN_IDS + len(self._actors), more="&watch=none")
                self._actors.append(actor)
            while self._in_flight < IN_FLIGHT and self._window_is_open(self._orders.counting):
                self._change()
            events = self._poll.poll(0)
            for fd, _ in events:
                self._read(fd, self._clients[fd])
            if self._orders.lazy and time.monotonic() >= self._next_sweep:
                self._sweep()
            if self._mine.weighed != self._orders.weigh:
                self._weigh()
            if not events:
                time.sleep(NAP)

    @property
    def _next_watcher(self) -> int:
        return self._index + self._begun * len(self._all)

    def _sweep(self) -> None:
        self._next_sweep = time.monotonic() + SWEEP
        for client in tuple(self._unlooked):
            with suppress(BlockingIOError):  # nothing came
                self._read(client.socket.fileno(), client)

    def _weigh(self) -> None:
        """Report the fewest and the most bytes that a watcher received since the last comparison.

        With several nodes, the watchers of each node are compared with each other.
        """
        self._sweep()
        watchers = [client for client in self._clients.values() if client.watches]
        received = [[client.received for client in watchers if client.port == port] for port in self._ports]
        if len(self._ports) == 1:
            self._mine.least, self._mine.most = min(received[0], default=0), max(received[0], default=0)
        else:  # nodes send the same changes, but divide them into messages in their own way
            self._mine.least, self._mine.most = 0, max((max(some) - min(some) for some in received if some), default=0)
        for client in watchers:
            client.received = 0
        self._mine.weighed = self._orders.weigh

    def _window_is_open(self, watchers: int) -> bool:
        if not (window := self._orders.window) or time.monotonic() < self._next_change:
            return False
        due = sum(counts.changes for counts in self._all) - window
        return sum(counts.heard for counts in self._all) - self._orders.heard_before > due * watchers

    def _change(self) -> None:
        self._next_change = time.monotonic() + self._orders.pause_us / 1e6
        if self._actors:
            actor = self._actors[self._served % len(self._actors)]
            actor.idle = not actor.idle
            self._began[actor.user] = time.monotonic()
            self._mine.changes += 1
            self._send(actor, IDLE_FRAME if actor.idle else ACTIVE_FRAME)
        else:
            user = FIRST_CHURNER + self._index * CHURN_IDS + self._served % self._orders.ids
            self._began[user] = time.monotonic()
            self._mine.changes += 2  # the user connects, and will disconnect; counted before a watcher can receive it
            self._connect(user)
        self._served += 1

    def _connect(
        self, user: int, watches: bool = False, counts: bool = False, sampled: bool = False, more: str = ""
    ) -> _Client:
        sock = socket.socket()
        sock.setsockopt(socket.SOL_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
        # Thirty addresses, or the ports that recent connections leave in TIME_WAIT would run short.
        sock.bind((f"127.0.0.{2 + user % 30}", 0))
        sock.settimeout(PATIENCE)
        port = self._ports[self._connected % len(self._ports)]
        self._connected += 1
        sock.connect(("127.0.0.1", port))
        sock.setblocking(False)
        fields = (_V1_FIELD if self._orders.v1 else "") + (_DEFLATE_FIELD if self._orders.deflate else "")
        sock.send(REQUEST.format(user=user, more=more, fields=fields).encode())
        client = self._clients[sock.fileno()] = _Client(sock, port, user, watches, counts, sampled)
        self._poll.register(sock.fileno(), select.EPOLLIN)
        self._in_flight += 1
        return client

    def _read(self, fd: int, client: _Client) -> None:
        try:
            size = client.socket.recv_into(self._into, 0, socket.MSG_TRUNC if client in self._unlooked else 0)
        except ConnectionError:
            size = 0
        client.received += size
        if not size:
            self._forget(fd, client)
        elif client in self._unlooked:  # nothing is in the buffer
            return
        elif self._orders.v1:
            self._read_v1(client, size)
        else:
            self._read_classic(client, size)

    def _read_v1(self, client: _Client, size: int) -> None:
        buffer, end = self._buffer, len(client.carry) + size
        buffer[: len(client.carry)] = client.carry
        if not client.open and buffer.find(_ESTABLISHED, 0, end) >= 0:
            self._opened(client)
        if self._orders.deflate:
            if client.counts:
                client.unread += buffer[len(client.carry) : end]
                for message in _messages(client.unread):
                    self._mine.heard += message.count(_VERSION)
                    self._sample(_CHANGED, message, len(message))
        elif client.counts:
            self._mine.heard += buffer.count(_VERSION, 0, end)
            client.carry = bytes(buffer[size:end])
            if client.sampled:
                self._sample(_CHANGED, buffer, end)

    def _read_classic(self, client: _Client, size: int) -> None:
        buffer, start = self._buffer, len(client.carry)
        end = start + size
        messages = buffer.count(_END, start, end)
        if not client.open and messages:
            messages -= 1
            self._opened(client)
        if client.counts:
            self._mine.heard += messages
            if client.sampled:
                self._sample(_ONLINE, buffer, end)
        if buffer.find(_PING, start, end) >= 0:
            self._send(client, _PONG_FRAME)
        if buffer.find(_CLOSE, start, end) >= 0 and not client.closing:
            self._close(client)
            self._mine.dismissed += 1

    def _sample(self, pattern: re.Pattern[bytes], heard: bytes | bytearray, end: int) -> None:
        """Record the delays of this process's own changes."""
        now, mine = time.monotonic(), self._mine
        for found in pattern.finditer(heard, 0, end):
            began = self._began.get(int(found[1]))
            if began is not None:
                self._delays[mine.sampled % SAMPLES] = now - began
                mine.sampled += 1

    def _opened(self, client: _Client) -> None:
        client.open = True
        self._in_flight -= 1
        if client.watches and not client.counts:
            self._unlooked.add(client)
            if self._orders.lazy:
                self._poll.unregister(client.socket)
        if client.watches or self._orders.v1:
            self._mine.opened += 1
        else:
            self._close(client)

    def _close(self, client: _Client) -> None:
        """Send a close frame, or answer one. Ending the stream is the server's part (RFC 6455 section 7.1.1)."""
        client.closing = True
        self._send(client, _CLOSE_FRAME)

    def _send(self, client: _Client, frame: bytes) -> None:
        with suppress(ConnectionError):  # the next read reports the end of the stream
            client.socket.send(frame)

    def _forget(self, fd: int, client: _Client) -> None:
        if not (client in self._unlooked and self._orders.lazy):
            self._poll.unregister(fd)
        self._unlooked.discard(client)
        del self._clients[fd]
        client.socket.close()
        if not client.open:
            self._in_flight -= 1
        if not client.closing:
            self._mine.lost += 1


def _messages(unread: bytearray) -> Iterator[bytes]:
    """Remove and yield the complete messages in `unread`, inflated. The HTTP response before them is discarded."""
    if unread.startswith(b"HTTP"):
        del unread[: unread.find(b"\r\n\r\n") + 4]
    while len(unread) >= 2:
        length, begin = unread[1], 2
        if length > 125:
            begin += 2 if length == 126 else 8
            length = int.from_bytes(unread[2:begin])
        if len(unread) < begin + length:
            return
        data = bytes(unread[begin : begin + length])
        yield zlib.decompressobj(-zlib.MAX_WBITS).decompress(data + _SYNC) if unread[0] & _DEFLATED else data
        del unread[: begin + length]


def run(
    index: int,
    core: int,
    ports: Sequence[int],
    users: int,
    orders: ctypes.Array[Orders],
    counts: ctypes.Array[Counts],
    delays: ctypes.Array[ctypes.c_float],
) -> None:
    """Run one load process on one core."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the measuring process gets the signal, too, and sets `stop`
    os.sched_setaffinity(0, {core})
    Clients(index, ports, users, orders[0], counts, delays).run()
