"""Writing to many connections with the help of other processes, each on a core of its own (the setting `writers`).

Four fifths of the cost of fan-out are the kernel's `send`. Two threads complete only 1.0 to 1.1 times as many as one,
because the interpreter's lock changes hands after each. Processes share no lock: with one helper the server delivers
1.7 to 1.9 times as much to 5,000 connections (`benchmarks/cores.py`).

A helper knows nothing of presence. It holds duplicates of the sockets of some connections. One call of `write`:

    this process                                       helper
    divide the connections by the helper that holds them
    WRITE numbers, data  ────────────────────────────→ send to its share
    send to the rest                                   ⋮
    wait                 ←──────────────────────────── sockets that took less than all
    pass what is left to their transports
    ADOPT sockets        ────────────────────────────→ hold more of them, until the shares are even

Nothing else happens in between, because `write` returns when all are done. So a helper never writes to a connection
that this process writes to, nor to one that has been closed. A connection whose transport buffers output is written to
by this process, which keeps the order.

| failure of a helper               | effect                                                                          |
|-----------------------------------|---------------------------------------------------------------------------------|
| died, noticed while sending WRITE | this process writes to the helper's share                                       |
| died or hung after WRITE          | the connections of its share are aborted, because what they received is         |
|                                   | unknown; their clients reconnect within the grace period                        |
| either                            | another helper replaces it after `RETRY_S`; until then this process writes      |
"""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
from array import array
from collections.abc import Collection, Sequence
from contextlib import suppress
from pathlib import Path
from typing import cast

from presenced.config.sources import without_settings
from presenced.delivery.batch import Batch
from presenced.delivery.broadcaster import BatchWriter
from presenced.delivery.connection import Connection
from presenced.runtime.clock import Clock
from presenced.runtime.metrics import Metrics
from presenced.transports.fastpath import writer_process as program
from presenced.transports.fastpath.direct import FastConnection, write_batch, write_each

MIN_CONNECTIONS = 100
"""Minimum number of connections in a batch for which helpers are used. The messages to and from a helper take as long
as 20 writes, 85 microseconds."""

MAX_SURPLUS_CONNECTIONS = 16
"""Maximum number of connections that this process keeps beyond its share. With more it hands some over."""

ANSWER_TIMEOUT_S = 5.0
"""Maximum number of seconds to wait for the response of a helper. At the bound the helper is killed, and the
connections of its share are aborted."""

RETRY_S = 1.0
"""Minimum number of seconds between two starts of helpers."""

Cores = frozenset[int] | None
"""Cores that a process may run on; None if they cannot be chosen."""

_logger = logging.getLogger("presenced")


class _Helper:
    """One helper process. Every method raises `OSError` if the process fails."""

    def __init__(self, timeout: float, cores: Cores) -> None:
        self.connections: dict[int, FastConnection] = {}
        """Connections whose sockets it holds, by number."""
        self.cores = cores
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(timeout)
        try:
            self._process = subprocess.Popen(  # noqa: S603  # no part of the command is input
                [sys.executable, "-I", "-S", str(Path(program.__file__)), str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                env=without_settings(os.environ),
            )
        except OSError:
            self._socket.close()
            raise
        finally:
            theirs.close()
        _pin(cores, self._process.pid)

    def adopt(self, connections: Sequence[FastConnection]) -> None:
        """Hand over duplicates of the sockets of at most `program.MAX_FILES` connections."""
        numbers = array(program.NUMBERS, (connection.serial for connection in connections))
        message = program.HEADER.pack(program.ADOPT, len(connections), 0) + numbers.tobytes()
        sent = socket.send_fds(self._socket, [message], [connection.fileno() for connection in connections])
        self._socket.sendall(message[sent:])
        self.connections.update((connection.serial, connection) for connection in connections)

    def drop(self, connection: FastConnection) -> None:
        """Close the helper's duplicate of the connection's socket."""
        del self.connections[connection.serial]
        numbers = array(program.NUMBERS, (connection.serial,))
        self._socket.sendall(program.HEADER.pack(program.DROP, 1, 0) + numbers.tobytes())

    def begin(self, numbers: array[int], data: bytes) -> None:
        """Start writing `data` to the connections with these numbers. `end` waits for the result."""
        self._socket.sendall(program.HEADER.pack(program.WRITE, len(numbers), len(data)) + numbers.tobytes() + data)

    def end(self) -> list[tuple[FastConnection, int]]:
        """Wait for the end of the write. Return the connections that took only a part, with the number of its bytes."""
        (count,) = program.COUNT.unpack(self._receive(program.COUNT.size))
        short = array(program.NUMBERS)
        short.frombytes(self._receive(count * 2 * short.itemsize))
        return [(self.connections[number], taken) for number, taken in zip(short[::2], short[1::2], strict=True)]

    def _receive(self, size: int) -> bytes:
        received = b""
        while len(received) < size:
            part = self._socket.recv(size - len(received))
            if not part:
                raise ConnectionError("the process has ended")
            received += part
        return received

    def stop(self, timeout: float) -> None:
        """End the process by closing its stream. Kill it after `timeout` seconds."""
        self._socket.close()
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class WriterPool(BatchWriter):
    """Writes with the help of `count` processes.

    A helper gets the connections that have been open longest, so that short-lived ones are not handed over.

    Each process keeps to its share of the cores that this one may use. The scheduler often wakes a helper on the core
    of the process that woke it, where it waits until that one is done. At 40 changes/s to 1,000 connections the median
    latency is then 9.1 ms, as without a helper. With fixed cores it is 6.6 ms.

    Bounds: a helper holds one file for each of its connections, and no data between two calls of `write`.
    """

    def __init__(self, count: int, clock: Clock, metrics: Metrics, timeout: float = ANSWER_TIMEOUT_S) -> None:
        self._count = count
        self._clock = clock
        self._metrics = metrics
        self._timeout = timeout
        self._helpers: list[_Helper] = []
        self._started_at = float("-inf")
        self._is_running = True
        self._cores, self._shares = _divide_cores(count + 1)
        _pin(self._shares[0])
        metrics.gauge("presenced_writers", "Processes that help to write.", lambda: len(self._helpers))
        self._start()

    def discard(self, connection: Connection) -> None:
        """Close the helper's duplicate of the connection's socket, if there is one."""
        fast = cast("FastConnection", connection)
        helper = fast.helper
        if isinstance(helper, _Helper):
            fast.helper = None
            try:
                helper.drop(fast)
            except OSError as error:
                self._lose(helper, error)

    def write(self, connections: Collection[Connection], batch: Batch) -> int:
        """Write a batch to each connection. Return the number of bytes written."""
        return write_batch(self._write, cast("Collection[FastConnection]", connections), batch)

    def _write(self, connections: Collection[FastConnection], data: bytes) -> None:
        if len(connections) < MIN_CONNECTIONS or not self._is_running:
            write_each(connections, data)
            return
        if len(self._helpers) < self._count:
            self._start()
        own, shares = self._divide(connections)
        begun = [helper for helper, numbers in shares.items() if numbers and self._begin(helper, numbers, data, own)]
        write_each(own, data)
        for helper in begun:
            self._end(helper, shares[helper], data)
        self._hand_over([connection for connection in own if connection.helper is None], len(connections))

    def stop(self) -> None:
        """End the helpers. From now on this process writes alone."""
        self._is_running = False
        for helper in self._helpers:
            for connection in helper.connections.values():
                connection.helper = None
            helper.stop(self._timeout)
        self._helpers.clear()
        _pin(self._cores)

    def _divide(
        self, connections: Collection[FastConnection]
    ) -> tuple[list[FastConnection], dict[_Helper, array[int]]]:
        """Return the connections that this process writes to, and the numbers of those for each helper."""
        own: list[FastConnection] = []
        shares = {helper: array(program.NUMBERS) for helper in self._helpers}
        for connection in connections:
            # Output that the transport buffers must go out first.
            if (helper := connection.helper) is None or connection.unsent:
                own.append(connection)
            else:
                shares[helper].append(connection.serial)
        return own, shares

    def _begin(self, helper: _Helper, numbers: array[int], data: bytes, own: list[FastConnection]) -> bool:
        """Send WRITE. Return whether the helper got it. If not, its connections become `own`.

        The helper writes only after the whole message has arrived.
        """
        try:
            helper.begin(numbers, data)
        except OSError as error:
            own += [helper.connections[number] for number in numbers]
            self._lose(helper, error)
            return False
        return True

    def _end(self, helper: _Helper, numbers: array[int], data: bytes) -> None:
        try:
            short = helper.end()
        except OSError as error:
            involved = [helper.connections[number] for number in numbers]
            self._lose(helper, error)
            _logger.error("%d connections are aborted, because it is unknown what they were sent", len(involved))
            for connection in involved:
                connection.abort()
        else:
            for connection, taken in short:
                connection.write(data[taken:])

    def _hand_over(self, candidates: Sequence[FastConnection], total: int) -> None:
        """Give each helper its share of `total`, at most one message at a time."""
        surplus = len(candidates) - total // (len(self._helpers) + 1)
        if surplus <= MAX_SURPLUS_CONNECTIONS or not self._helpers:
            return
        size = min(-(-surplus // len(self._helpers)), program.MAX_FILES)
        # The helper with the fewest gets the first part, which is the largest if the parts are uneven.
        for number, helper in enumerate(sorted(self._helpers, key=lambda helper: len(helper.connections))):
            part = candidates[number * size : min((number + 1) * size, surplus)]
            try:
                helper.adopt(part)
            except OSError as error:
                self._lose(helper, error)
            else:
                for connection in part:
                    connection.helper = helper

    def _start(self) -> None:
        """Start the missing helpers, unless some were started within `RETRY_S`."""
        if self._clock.monotonic() < self._started_at + RETRY_S:
            return
        self._started_at = self._clock.monotonic()
        try:
            while len(self._helpers) < self._count:
                taken = [helper.cores for helper in self._helpers]
                free = next(share for share in self._shares[1:] if share is None or share not in taken)
                self._helpers.append(_Helper(self._timeout, free))
        except OSError as error:
            _logger.error("a process that helps to write can't be started: %s", error)

    def _lose(self, helper: _Helper, error: OSError) -> None:
        """Continue without a helper that died or hangs."""
        _logger.error("a process that helps to write failed: %s", error)
        self._metrics.writers_lost.inc()
        self._helpers.remove(helper)
        for connection in helper.connections.values():
            connection.helper = None
        helper.stop(0)


def _divide_cores(parts: int) -> tuple[Cores, list[Cores]]:
    """Return the cores that this process may run on, and a share of them for each of `parts` processes."""
    cores = os.sched_getaffinity(0) if sys.platform == "linux" else set()
    if len(cores) < parts:
        return None, [None] * parts
    # Every n-th core: neighbours share caches, and the two halves of one core are often numbered n/2 apart.
    return frozenset(cores), [frozenset(sorted(cores)[part::parts]) for part in range(parts)]


def _pin(cores: Cores, process: int = 0) -> None:
    """Restrict a process, or this thread, to `cores`, if possible."""
    if sys.platform == "linux" and cores:
        with suppress(OSError):  # failure only costs speed
            os.sched_setaffinity(process, cores)
