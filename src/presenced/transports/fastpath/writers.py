"""Writing to many watchers with the help of other processes, each on a core of its own: the setting `writers`.

Four fifths of fan-out are the kernel's `send`, and within one process two threads hardly do more of them than one:
after each the interpreter's lock changes hands (1.0 to 1.1 times as many a second). Processes do: with one more the
server delivers 1.7 to 1.9 times as much to 5,000 watchers (`benchmarks/cores.py`).

The helpers know nothing of presence. Each holds duplicates of some connections' sockets, and when many watchers are to
have the same bytes, writes them to its share while this process writes to its own.

Nothing else happens meanwhile: `write` returns when all are done. So a helper never writes to a connection that this
process is writing to, and never to one that has been closed.
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
from presenced.delivery.connection import Connection
from presenced.delivery.events import Batch
from presenced.runtime.clock import Clock
from presenced.runtime.metrics import Metrics
from presenced.transports.fastpath import writer as program
from presenced.transports.fastpath.direct import FastConnection, write_batch, write_each

AT_LEAST = 100
"""Connections from which helpers are used. To instruct a helper and wait for it takes as long as 20 writes, 85 us."""

SURPLUS = 16
"""FastConnections more than its share that this process keeps before it hands some over."""

PATIENCE = 5.0
"""Seconds a helper may take. Then it is killed, and the connections it was writing to are cut, for nobody knows what
they were sent; their clients come back, within the grace."""

RETRY = 1.0
"""Seconds from the start of a helper to the next, when they die."""

Cores = frozenset[int] | None
"""Those a process may run on; None where that can't be chosen."""

_logger = logging.getLogger("presenced")


class _Helper:
    """One process. Whatever fails raises `OSError`."""

    def __init__(self, patience: float, cores: Cores) -> None:
        self.watchers: dict[int, FastConnection] = {}
        """Those whose sockets it holds, by number."""
        self.cores = cores
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(patience)
        try:
            self._process = subprocess.Popen(  # noqa: S603  # nothing in it is anybody's input
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
        _keep_to(cores, self._process.pid)

    def adopt(self, watchers: Sequence[FastConnection]) -> None:
        """Hold the sockets of these, too; at most `program.MAX_FILES`."""
        numbers = array(program.NUMBERS, (watcher.serial for watcher in watchers))
        message = program.HEADER.pack(program.ADOPT, len(watchers), 0) + numbers.tobytes()
        sent = socket.send_fds(self._socket, [message], [watcher.fileno() for watcher in watchers])
        self._socket.sendall(message[sent:])
        self.watchers.update((watcher.serial, watcher) for watcher in watchers)

    def drop(self, watcher: FastConnection) -> None:
        """Close its socket."""
        del self.watchers[watcher.serial]
        numbers = array(program.NUMBERS, (watcher.serial,))
        self._socket.sendall(program.HEADER.pack(program.DROP, 1, 0) + numbers.tobytes())

    def begin(self, numbers: array[int], data: bytes) -> None:
        """Have it write `data` to these."""
        self._socket.sendall(program.HEADER.pack(program.WRITE, len(numbers), len(data)) + numbers.tobytes() + data)

    def end(self) -> list[tuple[FastConnection, int]]:
        """Wait until that is done: those that did not take all, and how many bytes they took."""
        (count,) = program.COUNT.unpack(self._receive(program.COUNT.size))
        short = array(program.NUMBERS)
        short.frombytes(self._receive(count * 2 * short.itemsize))
        return [(self.watchers[number], taken) for number, taken in zip(short[::2], short[1::2], strict=True)]

    def _receive(self, size: int) -> bytes:
        received = b""
        while len(received) < size:
            part = self._socket.recv(size - len(received))
            if not part:
                raise ConnectionError("it has ended")
            received += part
        return received

    def stop(self, patience: float) -> None:
        """End the process: what it holds is closed."""
        self._socket.close()
        try:
            self._process.wait(patience)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class Writers:
    """A `delivery.broadcaster.BatchWriter`, with the help of `count` processes while they live.

    A helper that dies is replaced; meanwhile this process writes alone. A helper's watchers are chosen when many are
    written to: the connections that are there longest, so that those who come and go are not handed over.

    Each process keeps to its share of the cores this one may use. Left to the scheduler, a helper is often woken on the
    core of who wakes it, and starts when that one is done: at 40 changes/s to 1,000 watchers half of them are
    heard of after 9.1 ms then, as without a helper, and after 6.6 so.

    Bounds: a helper holds one file for each of its connections, and no data between two calls of `write`.
    """

    def __init__(self, count: int, clock: Clock, metrics: Metrics, patience: float = PATIENCE) -> None:
        self._count = count
        self._clock = clock
        self._metrics = metrics
        self._patience = patience
        self._helpers: list[_Helper] = []
        self._started_at = float("-inf")
        self._running = True
        self._cores, self._shares = _divide_cores(count + 1)
        _keep_to(self._shares[0])
        metrics.gauge("presenced_writers", "Processes that help to write.", lambda: len(self._helpers))
        self._start()

    def discard(self, connection: Connection) -> None:
        """Let the helper that holds a duplicate of the connection's socket close it."""
        watcher = cast("FastConnection", connection)
        helper = watcher.writer
        if isinstance(helper, _Helper):
            watcher.writer = None
            try:
                helper.drop(watcher)
            except OSError as error:
                self._lose(helper, error)

    def write(self, connections: Collection[Connection], batch: Batch) -> int:
        """Write a batch to each connection. Return the number of bytes written."""
        return write_batch(self._write, cast("Collection[FastConnection]", connections), batch)

    def _write(self, watchers: Collection[FastConnection], data: bytes) -> None:
        if len(watchers) < AT_LEAST or not self._running:
            write_each(watchers, data)
            return
        if len(self._helpers) < self._count:
            self._start()
        mine, shares = self._divide(watchers)
        begun = [helper for helper, numbers in shares.items() if numbers and self._begin(helper, numbers, data, mine)]
        write_each(mine, data)
        for helper in begun:
            self._end(helper, shares[helper], data)
        self._hand_over([watcher for watcher in mine if watcher.writer is None], len(watchers))

    def stop(self) -> None:
        """End the processes; from now on this one writes alone."""
        self._running = False
        for helper in self._helpers:
            for watcher in helper.watchers.values():
                watcher.writer = None
            helper.stop(self._patience)
        self._helpers.clear()
        _keep_to(self._cores)

    def _divide(self, watchers: Collection[FastConnection]) -> tuple[list[FastConnection], dict[_Helper, array[int]]]:
        mine: list[FastConnection] = []
        shares = {helper: array(program.NUMBERS) for helper in self._helpers}
        for watcher in watchers:
            # What its transport still holds comes first.
            if (helper := watcher.writer) is None or watcher.unsent:
                mine.append(watcher)
            else:
                shares[helper].append(watcher.serial)
        return mine, shares

    def _begin(self, helper: _Helper, numbers: array[int], data: bytes, mine: list[FastConnection]) -> bool:
        """Whether the helper writes; else its share is `mine`, for it starts only when it knows all."""
        try:
            helper.begin(numbers, data)
        except OSError as error:
            mine += [helper.watchers[number] for number in numbers]
            self._lose(helper, error)
            return False
        return True

    def _end(self, helper: _Helper, numbers: array[int], data: bytes) -> None:
        try:
            short = helper.end()
        except OSError as error:
            involved = [helper.watchers[number] for number in numbers]
            self._lose(helper, error)
            _logger.error("%d connections are cut: nobody knows what they were sent", len(involved))
            for watcher in involved:
                watcher.cut()
        else:
            for watcher, taken in short:
                watcher.write(data[taken:])

    def _hand_over(self, candidates: Sequence[FastConnection], all_of_them: int) -> None:
        """Let each process have its share; to each helper so much at a time as one message carries."""
        surplus = len(candidates) - all_of_them // (len(self._helpers) + 1)
        if surplus <= SURPLUS or not self._helpers:
            return
        size = min(-(-surplus // len(self._helpers)), program.MAX_FILES)
        # Who got fewer before, or lost more since, gets the first part, which is the largest when they are uneven.
        for number, helper in enumerate(sorted(self._helpers, key=lambda helper: len(helper.watchers))):
            some = candidates[number * size : min((number + 1) * size, surplus)]
            try:
                helper.adopt(some)
            except OSError as error:
                self._lose(helper, error)
            else:
                for watcher in some:
                    watcher.writer = helper

    def _start(self) -> None:
        if self._clock.monotonic() < self._started_at + RETRY:
            return
        self._started_at = self._clock.monotonic()
        try:
            while len(self._helpers) < self._count:
                taken = [helper.cores for helper in self._helpers]
                free = next(share for share in self._shares[1:] if share is None or share not in taken)
                self._helpers.append(_Helper(self._patience, free))
        except OSError as error:
            _logger.error("a process that helps to write can't be started: %s", error)

    def _lose(self, helper: _Helper, error: OSError) -> None:
        """It is dead, or as good as dead: go on without it."""
        _logger.error("a process that helps to write failed: %s", error)
        self._metrics.writers_lost.inc()
        self._helpers.remove(helper)
        for watcher in helper.watchers.values():
            watcher.writer = None
        helper.stop(0)


def _divide_cores(parts: int) -> tuple[Cores, list[Cores]]:
    """The cores this process may run on, and a share of them for each of `parts` processes."""
    if sys.platform != "linux":
        return None, [None] * parts
    cores = os.sched_getaffinity(0)
    if len(cores) < parts:
        return None, [None] * parts
    # Every n-th: neighbours share caches, and the two halves of one core are often numbered n/2 apart.
    return frozenset(cores), [frozenset(sorted(cores)[part::parts]) for part in range(parts)]


def _keep_to(cores: Cores, process: int = 0) -> None:
    """Have a process, or this thread, run on `cores` only, where the system lets us: it is only faster so."""
    if sys.platform == "linux" and cores:
        with suppress(OSError):
            os.sched_setaffinity(process, cores)
