"""What noting costs the server: a node without sockets, beside one that gives its keeper all there is to be stored.

It is measured apart because it can be: in one process, the two in turn, to a percent. Of two whole servers each change
takes twenty times as long, most of it in the kernel, and that varies by more than this is.
"""

from __future__ import annotations

import multiprocessing
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from benchmarks.watching import Sink

from presenced.config.settings import Settings
from presenced.node.node import Node
from presenced.presence.model import Ending
from presenced.runtime.metrics import Metrics
from presenced.storage.records import Record
from presenced.storage.write_behind import PERIOD
from presenced.testing import FakeClock
from presenced.worker.rpc import Batch, encode

ROUNDS = 15
CHANGES = 2_000
"""Of each node and round."""

MOVERS = 100
"""Users of presenced.v1 who become idle and active."""

CLASSIC_WATCHERS = 10

AT_ONCE = 200
"""Changes between two moments at which what was noted is given away: `PERIOD` seconds of 10,000 a second."""


class Noting(NamedTuple):
    """Microseconds of the process per change: without, and with."""

    classic: tuple[float, float]
    v1: tuple[float, float]


class _Keeper:
    """Packs what it is given, as the link to the real one does; storing is the business of that one's process."""

    takes = True
    warning = ""

    def give(self, facts: list[Record], position: int) -> None:
        """Pack."""
        encode(Batch(1, position, facts))


class _House:
    """An node, some who watch, and some who move."""

    def __init__(self, kept: bool) -> None:
        webhooks = {"webhook_urls": ["https://receiver.example/"], "webhook_secrets": f"whsec_{'A' * 32}"}
        settings = Settings.model_validate(
            {
                "stats_interval": 0,
                "log_burst": 0,
                "status_pause": 0,
                "request_rate": 10_000,
                "request_burst": 100_000,
                **({"database": "sqlite", **webhooks} if kept else {}),
            }
        )
        self._clock = FakeClock()
        self._node = Node(settings, self._clock, Metrics(), 10**7, keeper=_Keeper() if kept else None)
        if self._node.recorder is not None:
            self._node.recorder.begin(1)
        self._users = 0
        for _ in range(CLASSIC_WATCHERS):
            self._open("")
        self._movers = [self._open("presenced.v1") for _ in range(MOVERS)]
        self._idle = False

    def _open(self, subprotocol: str) -> Sink:
        self._users += 1
        sink = Sink()
        self._node.opened(sink, f"userId={self._users % 5_000}&watch=none".encode(), b"", subprotocol)
        return sink

    def come_and_go(self) -> None:
        """Users of the classic protocol, one after the other."""
        for number in range(CHANGES // 2):
            self._node.closed(self._open(""), Ending.CLOSED, "closed")
            if number % (AT_ONCE // 2) == 0:
                self._clock.advance(PERIOD)

    def become_idle_and_active(self) -> None:
        """Users of presenced.v1."""
        for number in range(CHANGES):
            if number % MOVERS == 0:
                self._idle = not self._idle
            text = '{"type":"ACTIVITY","state":"idle"}' if self._idle else '{"type":"ACTIVITY","state":"active"}'
            self._node.received(self._movers[number % MOVERS], text)
            if number % AT_ONCE == 0:
                self._clock.advance(PERIOD)


def measure() -> Noting:
    """The medians of `ROUNDS`, in a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_measure)


def _measure() -> Noting:
    houses = [_House(kept=False), _House(kept=True)]
    return Noting(
        _in_turn([partial(_House.come_and_go, house) for house in houses]),
        _in_turn([partial(_House.become_idle_and_active, house) for house in houses]),
    )


def _in_turn(works: list[Callable[[], None]]) -> tuple[float, float]:
    took: list[list[float]] = [[], []]
    for _ in range(ROUNDS):
        for work, times in zip(works, took, strict=True):
            began = time.process_time()
            work()
            times.append(1e6 * (time.process_time() - began) / CHANGES)
    return statistics.median(took[0]), statistics.median(took[1])
