"""Nodes that share a store, and what the benchmarks of several nodes (`cluster_*`) need around them.

The nodes share the server's core, and store and load share the others. So with two cores, nodes wait for each other.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence, Set
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

from benchmarks.clients import PATIENCE, REQUEST
from benchmarks.load import LoadError
from benchmarks.machine import SERVER_CORES
from benchmarks.probe import metric
from benchmarks.servers import HERE, PRESENCED, end, free_port, running, spawn, start
from benchmarks.stand_in import FIRST_USER
from tests.support.services import Redis

LEASE_S, QUICK_LEASE_S = 15.0, 2.0

V1_FIELDS = "Sec-WebSocket-Protocol: presenced.v1\r\n"
"""Field of a handshake that asks for presenced.v1."""

AT_A_TIME = 100
"""Connections that a crowd opens at a time."""


class Node(NamedTuple):
    """A running node."""

    port: int
    process: subprocess.Popen[bytes]


@contextmanager
def store() -> Iterator[Redis]:
    """Run an empty store on the cores of the load."""
    with Redis() as redis:
        yield redis


def backend(redis: Redis) -> str:
    """Return the option that connects a node to the store."""
    return f"--backend={redis.url('0')}"


@contextmanager
def nodes(count: int, options: Sequence[str], cores: Set[int] = SERVER_CORES) -> Iterator[list[Node]]:
    """Run nodes with the same options."""
    with ExitStack() as stack:
        yield [Node(*stack.enter_context(running(PRESENCED, options, cores))) for _ in range(count)]


def start_seconds(options: Sequence[str], patience: float = PATIENCE) -> tuple[float, Node]:
    """Start a node, and return the seconds until it accepts connections, which it does once it knows everyone.

    The caller ends it.

    Raises:
        LoadError: It does not accept any.
    """
    port, began = free_port(), time.monotonic()
    process = start(PRESENCED, port, options, SERVER_CORES)
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), PATIENCE).close()
        except ConnectionRefusedError:
            if process.poll() is not None or time.monotonic() > began + patience:
                end(process)
                raise LoadError("a node does not listen") from None
            time.sleep(0.01)
        else:
            return time.monotonic() - began, Node(port, process)


class StandIn:
    """A node of many users without sockets (`benchmarks.stand_in`), in a process of its own."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self._answer()

    def commit(self) -> dict[str, float]:
        """Commit all users, and return the number of changes, the seconds, and those of the CPU."""
        self.order("commit")
        return self._answer()

    def order(self, order: str) -> None:
        """Give an order without waiting for the answer."""
        if self.process.stdin is not None:
            self.process.stdin.write(order.encode() + b"\n")
            self.process.stdin.flush()

    def _answer(self) -> dict[str, float]:
        line = self.process.stdout.readline() if self.process.stdout is not None else b""
        if not line:
            raise LoadError("the process that stands in for a node has ended")
        answer: dict[str, float] = json.loads(line)
        return answer


@contextmanager
def stand_in(
    redis: Redis, users: int, batch: int = 200, record_bytes: int = 0, cores: Set[int] = SERVER_CORES
) -> Iterator[StandIn]:
    """Register a node that stands in for one with many users. `commit` then adds them."""
    module = [sys.executable, "-m", "benchmarks.stand_in"]
    arguments = [redis.url("0"), str(users), str(batch), str(record_bytes)]
    environ = {"PYTHONPATH": str(HERE.parent)}
    process = spawn([*module, *arguments], cores, environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        yield StandIn(process)
    finally:
        end(process)


@contextmanager
def crowd(port: int, users: int, first: int = FIRST_USER) -> Iterator[list[socket.socket]]:
    """Connect users who watch nobody, each with one connection."""
    with ExitStack() as stack:
        sockets = []
        for start_at in range(0, users, AT_A_TIME):
            some = [
                stack.enter_context(socket.create_connection(("127.0.0.1", port), PATIENCE))
                for _ in range(start_at, min(start_at + AT_A_TIME, users))
            ]
            for number, sock in enumerate(some, first + start_at):
                sock.sendall(REQUEST.format(user=number, more="&watch=none", fields=V1_FIELDS).encode())
            for sock in some:
                read_until(sock, b"CONNECTION_ESTABLISHED")
            sockets += some
        yield sockets


def read_until(sock: socket.socket, word: bytes) -> bytes:
    """Read until a word has come, and return everything.

    Raises:
        LoadError: The connection ends before.
    """
    unread = b""
    while word not in unread:
        if not (data := sock.recv(1 << 16)):
            raise LoadError(f"a connection was closed: {unread[:200]!r}")
        unread += data
    return unread


def wait_online(node: Node, users: int, patience: float = PATIENCE) -> None:
    """Wait until a node shows so many users.

    Raises:
        LoadError: It does not.
    """
    deadline = time.monotonic() + patience
    while metric(node.port, "presenced_users_online") != users:
        if time.monotonic() > deadline:
            raise LoadError("the users of one node do not come to the other")
        time.sleep(0.05)
