"""The load: watchers that count what they hear, and users who come and go, in processes of their own.

A loaded server must be the only thing that is measured, so the clients are as cheap as Python allows: a socket is
read into one large buffer and its messages are counted, not parsed. Every message of the classic protocol is one
object without objects in it, so a `}` is one message; and as all text is ASCII, a byte above 0x7f is a frame's
first one. That holds for user ids of 7 or 8 digits: then no frame's length is one of those bytes.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import select
import signal
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import NamedTuple, Self

from benchmarks.machine import LOAD_CORES, cpu_seconds

PATIENCE = 60.0
"""Seconds after which whatever is waited for counts as failed."""

BUFFER = 1 << 20
"""Bytes read at a time."""

IN_FLIGHT = 256
"""Connections that a process has in the making at most: together fewer than the servers' backlog of 4,096."""

NAP = 0.0003
"""Seconds between two looks at quiet sockets. A process asleep in `epoll_wait` would have to be woken by the sending
server (an interrupt of another core, and of its virtual machine), which clients on other machines don't cost it."""

CHURN_IDS = 8192
"""User ids per process for those who come and go; used again in turn."""

LOAD_LIMIT = 0.9
"""From this share of a core on that the busiest load process used, the server might have done more."""

SETTLE = 0.5
"""Seconds of a churn that are not counted: the window fills."""

_FIRST_WATCHER = 1_000_000
_FIRST_CHURNER = 10_000_000
_IP_BIND_ADDRESS_NO_PORT = 24  # socket has it from Python 3.12 on
_END = b"}"
_CLOSE, _PING = b"\x88", b"\x89"
_CLOSE_FRAME = b"\x88\x82\0\0\0\0\x03\xe8"  # code 1000; masked, as a client's frames must be, with zeros
_PONG_FRAME = b"\x8a\x80\0\0\0\0"
_REQUEST = (
    "GET /ws-online-status?userId={user} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


class LoadError(Exception):
    """The server, or the load, did not do what the benchmark needs; there is no figure."""


class Rate(NamedTuple):
    """How often something happened, and who was busy meanwhile."""

    per_second: float
    server_share: float
    """Of its core that the server used: near 1, the server is what limited the rate."""
    load_share: float
    """The same of the busiest load process: near 1, the load may be what limited the rate."""

    def __str__(self) -> str:
        at_least = "≥ " if self.load_share >= LOAD_LIMIT else ""
        return f"{at_least}{self.per_second:,.0f}"


class Churn(NamedTuple):
    """What users who come and go made the server do."""

    deliveries: Rate
    """Messages that the watchers received. Those to the users who come and go are not counted."""
    delay: float
    """Seconds from a change's beginning (the client's `connect`) to its delivery, on average (by Little's law)."""


class _Orders(ctypes.Structure):
    """What all load processes are told; written by the one that measures."""

    watchers: int
    window: int
    heard_before: int
    stop: int
    _fields_ = [(name, ctypes.c_int64) for name in ("watchers", "window", "heard_before", "stop")]


class _Counts(ctypes.Structure):
    """What one load process has seen; written by it alone."""

    opened: int
    heard: int
    changes: int
    dismissed: int
    lost: int
    _fields_ = [(name, ctypes.c_int64) for name in ("opened", "heard", "changes", "dismissed", "lost")]


class Load:
    """Clients of the server on `port`, spread over one process per core that the server leaves free.

    Args:
        server: Its process id, to see how busy it is.
        users: The watchers share so many user ids; only the first of each causes a broadcast.
    """

    def __init__(self, port: int, server: int, users: int) -> None:
        context = multiprocessing.get_context("fork")
        self._orders = context.RawArray(_Orders, 1)
        self._counts = context.RawArray(_Counts, len(LOAD_CORES))
        self._server = server
        self._processes = [
            context.Process(target=_run, args=(index, port, users, self._orders, self._counts), daemon=True)
            for index in range(len(LOAD_CORES))
        ]

    def __enter__(self) -> Self:
        for process in self._processes:
            process.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._orders[0].stop = 1
        for process in self._processes:
            process.join(PATIENCE)
            process.kill()

    @property
    def heard(self) -> int:
        """Messages that the watchers have received, without the one that greets them."""
        return sum(counts.heard for counts in self._counts)

    @property
    def dismissed(self) -> int:
        """Watchers whose connection the server has closed with a close frame."""
        return sum(counts.dismissed for counts in self._counts)

    @property
    def lost(self) -> int:
        """Connections that ended without a close frame, or were refused."""
        return sum(counts.lost for counts in self._counts)

    def open(self, watchers: int) -> Rate:
        """Open connections until there are `watchers`; how fast that went.

        Raises:
            LoadError: Not all could be opened within `PATIENCE`.
        """
        opened, cpu, started = self._opened, self._cpu(), time.monotonic()
        self._orders[0].watchers = watchers
        self.wait(lambda: self._opened >= watchers, f"opening {watchers} connections")
        return self._rate(self._opened - opened, cpu, started)

    def wait_heard(self, messages: int) -> None:
        """Wait until the watchers have received so many messages altogether.

        Raises:
            LoadError: They have not, or they have received more.
        """
        self.wait(lambda: self.heard >= messages, f"{messages} messages")
        if self.heard > messages:
            raise LoadError(f"the watchers received {self.heard} messages, {messages} were due")

    def wait(self, done: Callable[[], bool], what: str) -> None:
        """Look every millisecond whether something is done.

        Raises:
            LoadError: It is not, after `PATIENCE`, or a connection was lost.
        """
        deadline = time.monotonic() + PATIENCE
        while not done():
            if self.lost or not all(process.is_alive() for process in self._processes):
                raise LoadError(f"connections were lost while waiting for {what}")
            if time.monotonic() > deadline:
                raise LoadError(f"waited {PATIENCE:.0f} s in vain for {what}")
            time.sleep(0.001)

    def churn(self, watchers: int, window: int, seconds: float) -> Churn:
        """Let users come and go for `seconds`, with `window` changes at a time that not every watcher has heard of.

        Nothing may be outstanding before; nothing is, afterwards.

        Raises:
            LoadError: A watcher did not hear of every change, or a connection was lost.
        """
        orders = self._orders[0]
        orders.heard_before = self.heard - watchers * self._changes
        orders.window = window
        time.sleep(min(SETTLE, seconds))
        heard, cpu, started = self.heard, self._cpu(), time.monotonic()
        outstanding = []
        while time.monotonic() < started + seconds:
            time.sleep(0.01)
            outstanding.append(self._changes - (self.heard - orders.heard_before) / watchers)
        rate = self._rate(self.heard - heard, cpu, started)
        orders.window = 0
        self.wait(lambda: self.heard >= orders.heard_before + watchers * self._changes, "the last changes")
        self.wait_heard(orders.heard_before + watchers * self._changes)
        if not rate.per_second:
            raise LoadError(f"nothing was delivered within {seconds} s")
        return Churn(rate, sum(outstanding) / len(outstanding) * watchers / rate.per_second)

    def _rate(self, count: int, cpu: list[float], started: float) -> Rate:
        """The rate since `started`, when `_cpu` was `cpu`."""
        took = time.monotonic() - started
        server, *load = [(now - before) / took for now, before in zip(self._cpu(), cpu, strict=True)]
        return Rate(count / took, server, max(load))

    @property
    def _opened(self) -> int:
        return sum(counts.opened for counts in self._counts)

    @property
    def _changes(self) -> int:
        return sum(counts.changes for counts in self._counts)

    def _cpu(self) -> list[float]:
        pids = [self._server, *(process.pid or 0 for process in self._processes)]
        return [cpu_seconds(pid) for pid in pids]


class _Client:
    """One connection of a load process."""

    __slots__ = ("churns", "closing", "open", "socket")

    def __init__(self, sock: socket.socket, churns: bool) -> None:
        self.socket = sock
        self.churns = churns
        self.open = False  # greeted with CONNECTION_ESTABLISHED
        self.closing = False  # a close frame went out


class _Clients:
    """The connections of one load process: every so many-th watcher, and its share of those who come and go."""

    def __init__(self, index: int, port: int, users: int, orders: _Orders, counts: ctypes.Array[_Counts]) -> None:
        self._index = index
        self._port = port
        self._users = users
        self._orders = orders
        self._all = counts
        self._mine = counts[index]
        self._clients: dict[int, _Client] = {}
        self._poll = select.epoll()
        self._buffer = bytearray(BUFFER)
        self._begun = self._in_flight = self._served = 0

    def run(self) -> None:
        """Follow the orders until told to stop."""
        parent = os.getppid()
        while not self._orders.stop and os.getppid() == parent:
            watchers = self._orders.watchers
            while self._in_flight < IN_FLIGHT and self._next_watcher < watchers:
                self._connect(_FIRST_WATCHER + self._next_watcher % self._users, churns=False)
                self._begun += 1
            while self._in_flight < IN_FLIGHT and self._window_is_open(watchers):
                self._mine.changes += 2  # it comes, and will go; counted before anyone can hear of it
                self._connect(_FIRST_CHURNER + self._index * CHURN_IDS + self._served % CHURN_IDS, churns=True)
                self._served += 1
            events = self._poll.poll(0)
            for fd, _ in events:
                self._read(fd, self._clients[fd])
            if not events:
                time.sleep(NAP)

    @property
    def _next_watcher(self) -> int:
        return self._index + self._begun * len(self._all)

    def _window_is_open(self, watchers: int) -> bool:
        if not (window := self._orders.window):
            return False
        due = sum(counts.changes for counts in self._all) - window
        return sum(counts.heard for counts in self._all) - self._orders.heard_before > due * watchers

    def _connect(self, user: int, churns: bool) -> None:
        sock = socket.socket()
        sock.setsockopt(socket.SOL_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
        # Thirty addresses, or the ports that recent connections leave in TIME_WAIT would run short.
        sock.bind((f"127.0.0.{2 + user % 30}", 0))
        sock.settimeout(PATIENCE)
        sock.connect(("127.0.0.1", self._port))
        sock.setblocking(False)
        sock.send(_REQUEST.format(user=user).encode())
        self._clients[sock.fileno()] = _Client(sock, churns)
        self._poll.register(sock.fileno(), select.EPOLLIN)
        self._in_flight += 1

    def _read(self, fd: int, client: _Client) -> None:
        buffer = self._buffer
        try:
            size = client.socket.recv_into(buffer)
        except ConnectionError:
            size = 0
        if not size:
            self._forget(fd, client)
            return
        messages = buffer.count(_END, 0, size)
        if not client.open and messages:
            messages -= 1
            self._opened(client)
        if not client.churns:
            self._mine.heard += messages
        if buffer.find(_PING, 0, size) >= 0:
            self._send(client, _PONG_FRAME)
        if buffer.find(_CLOSE, 0, size) >= 0 and not client.closing:
            self._close(client)
            self._mine.dismissed += 1

    def _opened(self, client: _Client) -> None:
        client.open = True
        self._in_flight -= 1
        if client.churns:
            self._close(client)
        else:
            self._mine.opened += 1

    def _close(self, client: _Client) -> None:
        """Send a close frame, or answer one. Ending the stream is the server's part (RFC 6455 section 7.1.1)."""
        client.closing = True
        self._send(client, _CLOSE_FRAME)

    def _send(self, client: _Client, frame: bytes) -> None:
        with suppress(ConnectionError):  # then the next read finds it at its end
            client.socket.send(frame)

    def _forget(self, fd: int, client: _Client) -> None:
        self._poll.unregister(fd)
        del self._clients[fd]
        client.socket.close()
        if not client.open:
            self._in_flight -= 1
        if not client.closing:
            self._mine.lost += 1


def _run(index: int, port: int, users: int, orders: ctypes.Array[_Orders], counts: ctypes.Array[_Counts]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that measures hears of it, too, and says when to stop
    os.sched_setaffinity(0, {LOAD_CORES[index]})
    _Clients(index, port, users, orders[0], counts).run()
