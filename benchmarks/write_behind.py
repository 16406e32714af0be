"""CPU time of the write-behind per change: a node without sockets and storage, beside one that sends its records.

In one process, with the two nodes in turn, this can be measured to a percent. In a whole server each change takes
twenty times as long, most of it in the kernel, and varies by more than the write-behind takes.
"""

from __future__ import annotations

import multiprocessing
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from benchmarks.watching import Sink

from presenced.config.settings import WEBSOCKET_PATH, Settings
from presenced.node.build import build_node
from presenced.presence.model import Ending
from presenced.protocols.base import ConnectRequest
from presenced.runtime.metrics import Metrics
from presenced.storage.records import Record
from presenced.storage.write_behind import FLUSH_DELAY_S
from presenced.testing import FakeClock
from presenced.worker.rpc import RecordBatch, encode_message

ROUNDS = 15
CHANGES = 2_000
"""Number of changes per node and round."""

MOVERS = 100
"""Number of users of presenced.v1 who become idle and active."""

CLASSIC_WATCHERS = 10

AT_ONCE = 200
"""Number of changes between two flushes: `FLUSH_DELAY_S` seconds of 10,000 a second."""


class Costs(NamedTuple):
    """Microseconds of CPU time per change, without and with a write-behind."""

    classic: tuple[float, float]
    v1: tuple[float, float]


class _EncodingWorker:
    """Storage worker that encodes batches, as the client does. The real one stores them in its own process."""

    accepts_batch = True
    warning = ""

    def store_batch(self, records: list[Record], position: int) -> None:
        """Encode a batch."""
        encode_message(RecordBatch(1, position, records))


class _Load:
    """Node with watchers, and with users who change."""

    def __init__(self, stores: bool) -> None:
        webhooks = {"webhook_urls": ["https://receiver.example/"], "webhook_secrets": f"whsec_{'A' * 32}"}
        settings = Settings.model_validate(
            {
                "stats_interval": 0,
                "log_burst": 0,
                "status_pause": 0,
                "request_rate": 10_000,
                "request_burst": 100_000,
                **({"database": "sqlite", **webhooks} if stores else {}),
            }
        )
        self._clock = FakeClock()
        self._node = build_node(
            settings=settings,
            clock=self._clock,
            metrics=Metrics(),
            max_connections=10**7,
            storage_worker=_EncodingWorker() if stores else None,
        )
        if self._node.storage is not None:
            self._node.storage.finish_restore(1)
        self._users = 0
        for _ in range(CLASSIC_WATCHERS):
            self._open("")
        self._movers = [self._open("presenced.v1") for _ in range(MOVERS)]
        self._idle = False

    def _open(self, subprotocol: str) -> Sink:
        self._users += 1
        sink = Sink()
        query = f"userId={self._users % 5_000}&watch=none".encode()
        self._node.opened(sink, ConnectRequest(WEBSOCKET_PATH.encode(), query, subprotocol, ""))
        return sink

    def come_and_go(self) -> None:
        """Connect and close users of the classic protocol, one after the other."""
        for number in range(CHANGES // 2):
            self._node.closed(self._open(""), Ending.CLOSED, "closed")
            if number % (AT_ONCE // 2) == 0:
                self._clock.advance(FLUSH_DELAY_S)

    def become_idle_and_active(self) -> None:
        """Let users of presenced.v1 become idle and active."""
        for number in range(CHANGES):
            if number % MOVERS == 0:
                self._idle = not self._idle
            text = '{"type":"ACTIVITY","state":"idle"}' if self._idle else '{"type":"ACTIVITY","state":"active"}'
            self._node.received(self._movers[number % MOVERS], text)
            if number % AT_ONCE == 0:
                self._clock.advance(FLUSH_DELAY_S)


def measure() -> Costs:
    """Return the medians of `ROUNDS`, measured in a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_measure)


def _measure() -> Costs:
    loads = [_Load(stores=False), _Load(stores=True)]
    return Costs(
        _in_turn([partial(_Load.come_and_go, load) for load in loads]),
        _in_turn([partial(_Load.become_idle_and_active, load) for load in loads]),
    )


def _in_turn(works: list[Callable[[], None]]) -> tuple[float, float]:
    took: list[list[float]] = [[], []]
    for _ in range(ROUNDS):
        for work, times in zip(works, took, strict=True):
            began = time.process_time()
            work()
            times.append(1e6 * (time.process_time() - began) / CHANGES)
    return statistics.median(took[0]), statistics.median(took[1])
