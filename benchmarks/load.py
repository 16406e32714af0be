"""Load: controls clients in separate processes (`benchmarks.clients`) and reads their counts, through shared memory."""

from __future__ import annotations

import ctypes
import multiprocessing
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import NamedTuple, Self

from benchmarks.clients import ACTORS, CHURN_IDS, PATIENCE, SAMPLES, Counts, Orders, run
from benchmarks.machine import LOAD_CORES, cpu_seconds

LOAD_LIMIT = 0.9
"""Share of a core of the busiest load process from which the server might have done more than was measured."""

REST = 0.3
"""Seconds without a message after which watchers are at rest."""

PINGS = 4
"""Bytes of two pings, which the server may have sent to some watchers only."""

SETTLE = 0.5
"""Seconds at the start of a churn that do not count, because the window fills."""


class LoadError(Exception):
    """The server or the load failed, so there is no figure."""


class Rate(NamedTuple):
    """Rate of an event, and the CPU use meanwhile."""

    per_second: float
    server_share: float
    """Share of its core that the server used. If it is near 1, the server limited the rate."""
    load_share: float
    """Share of a core that the busiest load process used. If it is near 1, the load may have limited the rate."""

    def __str__(self) -> str:
        at_least = "≥ " if self.load_share >= LOAD_LIMIT else ""
        return f"{at_least}{self.per_second:,.0f}"


class Churn(NamedTuple):
    """Figures of a server while clients make changes."""

    deliveries: Rate
    """Messages that the watchers received, without the messages to the clients that make changes."""
    delay: float
    """Average seconds from a change (the client's `connect` or request) to its delivery, by Little's law."""
    median: float
    """Median delay in seconds, as some watchers measured it."""
    p99: float
    """99th percentile of these delays."""
    longest: float


class Load:
    """Clients of the server on `port`, spread over one process per core that the server leaves free.

    Args:
        server: Process id of the server, to measure its CPU use.
        users: Number of user ids that the watchers share. Only the first connection of each user causes a broadcast.
        v1: Speak presenced.v1.
        deflate: Offer compression.
        one_of: One watcher in this many counts messages. `weigh` checks the others.
        lazy: Let watchers that do not count read rarely, for a load that may use only a tenth of a core.
        ids: Number of users per process who connect and disconnect in turn.
        other_ports: Ports of further nodes. The watchers and the users who make changes are spread over all nodes.
        cores: Cores of the load, with one process on each.
    """

    def __init__(
        self,
        port: int,
        server: int,
        users: int,
        v1: bool = False,
        deflate: bool = False,
        one_of: int = 1,
        lazy: bool = False,
        ids: int = CHURN_IDS,
        other_ports: Sequence[int] = (),
        cores: Sequence[int] = tuple(LOAD_CORES),
    ) -> None:
        context = multiprocessing.get_context("fork")
        self._orders = context.RawArray(Orders, 1)
        orders = self._orders[0]
        orders.v1, orders.deflate, orders.one_of, orders.lazy, orders.ids = v1, deflate, one_of, lazy, ids
        self._counts = context.RawArray(Counts, len(cores))
        self._delays = [context.RawArray(ctypes.c_float, SAMPLES) for _ in cores]
        self._server = server
        shared = self._orders, self._counts
        self._processes = [
            context.Process(
                target=run, args=(index, core, (port, *other_ports), users, *shared, self._delays[index]), daemon=True
            )
            for index, core in enumerate(cores)
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
        """Number of messages that the counting watchers have received, without the first one of each."""
        return sum(counts.heard for counts in self._counts)

    @property
    def changes(self) -> int:
        """Number of changes that the clients have made."""
        return sum(counts.changes for counts in self._counts)

    @property
    def dismissed(self) -> int:
        """Number of watchers whose connection the server has closed with a close frame."""
        return sum(counts.dismissed for counts in self._counts)

    @property
    def lost(self) -> int:
        """Number of connections that ended without a close frame, or were refused."""
        return sum(counts.lost for counts in self._counts)

    def open(self, watchers: int) -> Rate:
        """Open connections until there are `watchers`. Return the rate.

        Raises:
            LoadError: Not all could be opened within `PATIENCE`.
        """
        opened, cpu, started = self._opened, self._cpu(), time.monotonic()
        self._orders[0].watchers = watchers
        self.wait(lambda: self._opened >= watchers, f"opening {watchers} connections")
        return self._rate(self._opened - opened, cpu, started)

    def rest(self) -> None:
        """Wait until the watchers receive nothing more.

        Raises:
            LoadError: They still receive messages after `PATIENCE`.
        """
        heard, since = self.heard, time.monotonic()

        def quiet() -> bool:
            nonlocal heard, since
            if self.heard != heard:
                heard, since = self.heard, time.monotonic()
            return time.monotonic() > since + REST

        self.wait(quiet, "the watchers to hear nothing more")

    def open_actors(self) -> None:
        """Open the connections of presenced.v1 that make changes, and wait until every watcher has received them.

        Raises:
            LoadError: Not all could be opened within `PATIENCE`.
        """
        actors, opened = ACTORS * len(self._processes), self._opened
        due = self.heard + actors * self._orders[0].counting
        self._orders[0].actors = ACTORS
        self.wait(lambda: self._opened >= opened + actors, f"opening {actors} connections")
        self.wait_heard(due)

    def wait_heard(self, messages: int) -> None:
        """Wait until the watchers have received this number of messages in total.

        Raises:
            LoadError: They have not within `PATIENCE`, or they have received more.
        """
        self.wait(lambda: self.heard >= messages, f"{messages} messages")
        if self.heard > messages:
            raise LoadError(f"the watchers received {self.heard} messages, {messages} were due")

    def wait(self, done: Callable[[], bool], what: str) -> None:
        """Check every millisecond whether the condition holds, and return when it does.

        Args:
            what: Description of the condition for errors.

        Raises:
            LoadError: It does not hold after `PATIENCE`, or a connection was lost.
        """
        deadline = time.monotonic() + PATIENCE
        while not done():
            if self.lost or not all(process.is_alive() for process in self._processes):
                raise LoadError(f"connections were lost while waiting for {what}")
            if time.monotonic() > deadline:
                raise LoadError(f"waited {PATIENCE:.0f} s in vain for {what}")
            time.sleep(0.001)

    def churn(self, watchers: int, window: int, seconds: float, pause: float = 0) -> Churn:
        """Make changes for `seconds`, with `window` outstanding changes, which not every watcher has received.

        Nothing may be outstanding before, and nothing is afterwards.

        Args:
            pause: Minimum number of seconds between two changes of one load process.

        Raises:
            LoadError: A watcher did not receive every change, or a connection was lost.
        """
        orders = self._orders[0]
        counting = orders.counting
        if orders.one_of > 1:
            self.weigh()
        orders.heard_before = self.heard - counting * self.changes
        orders.pause_us = round(1e6 * pause)
        orders.window = window
        time.sleep(min(SETTLE, seconds))
        sampled = [counts.sampled for counts in self._counts]
        heard, cpu, started = self.heard, self._cpu(), time.monotonic()
        outstanding = []
        while time.monotonic() < started + seconds:
            time.sleep(0.01)
            outstanding.append(self.changes - (self.heard - orders.heard_before) / counting)
        rate = self._rate((self.heard - heard) * watchers // counting, cpu, started)
        orders.window = 0
        self.wait(lambda: self.heard >= orders.heard_before + counting * self.changes, "the last changes")
        self.wait_heard(orders.heard_before + counting * self.changes)
        if orders.one_of > 1 and not self.weigh():
            raise LoadError("watchers that do not count received more, or less, than those that do")
        if not rate.per_second:
            raise LoadError(f"nothing was delivered within {seconds} s")
        delays = self._delays_since(sampled)
        delay = sum(outstanding) / len(outstanding) * watchers / rate.per_second
        return Churn(rate, delay, delays[len(delays) // 2], delays[len(delays) * 99 // 100], delays[-1])

    def weigh(self) -> bool:
        """Return whether all watchers have received the same number of bytes since the last call.

        Nothing may be outstanding. A difference of `PINGS` does not count: a change takes more bytes, even compressed.
        """
        self.rest()
        self._orders[0].weigh += 1
        self.wait(lambda: all(counts.weighed == self._orders[0].weigh for counts in self._counts), "weighing")
        return max(c.most for c in self._counts) - min(c.least for c in self._counts) <= PINGS

    def flood(self, window: int, seconds: float) -> float:
        """Make changes as `churn` does, without a check that all are delivered, because other clients change, too.

        Returns:
            Number of messages received per second.
        """
        orders = self._orders[0]
        orders.heard_before = self.heard - orders.counting * self.changes
        orders.window = window
        heard, started = self.heard, time.monotonic()
        time.sleep(seconds)
        orders.window = 0
        return (self.heard - heard) / (time.monotonic() - started)

    def _delays_since(self, sampled: Sequence[int]) -> list[float]:
        """Return the delays in seconds, in ascending order; [0.0] if there are none."""
        found = [
            delays[number % SAMPLES]
            for before, counts, delays in zip(sampled, self._counts, self._delays, strict=True)
            for number in range(max(before, counts.sampled - SAMPLES), counts.sampled)
        ]
        return sorted(found) or [0.0]

    def _rate(self, count: int, cpu: list[float], started: float) -> Rate:
        """Return the rate since `started`, when `_cpu` was `cpu`."""
        took = time.monotonic() - started
        server, *load = [(now - before) / took for now, before in zip(self._cpu(), cpu, strict=True)]
        return Rate(count / took, server, max(load))

    @property
    def _opened(self) -> int:
        return sum(counts.opened for counts in self._counts)

    def _cpu(self) -> list[float]:
        pids = [self._server, *(process.pid or 0 for process in self._processes)]
        return [cpu_seconds(pid) for pid in pids]
