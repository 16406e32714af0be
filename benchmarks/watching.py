"""Cost of presenced.v1 inside the server: changes, snapshots and memory.

A node whose connections discard all data. There are no sockets and no kernel, so the figures are the work of the server
alone. `fan_out` measures the whole. Each measurement runs in its own process.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import time
from collections.abc import Callable
from typing import Any

from benchmarks.machine import resident_bytes
from benchmarks.report import Report, Table
from msgspec import json

from presenced.config.settings import WEBSOCKET_PATH, Settings
from presenced.delivery.batch import Batch
from presenced.node.build import build_node
from presenced.presence.visibility import Visibility
from presenced.protocols.base import ConnectRequest
from presenced.runtime.metrics import Metrics
from presenced.testing import FakeClock
from presenced.transports.websocket.framing import frames, text_frame

WATCHERS = 10_000
USERS = 100_000
"""Users of the large snapshot."""

SECONDS = 2.0
"""Duration of each measurement of changes."""

WATCHED_BY = (1, 10, 100, 1_000, 10_000)
"""Numbers of watchers of the user whose change is measured."""

BATCHES = (1, 10, 100)
"""Numbers of changes in one flush."""


class Sink:
    """Connection that discards everything it is sent."""

    def __init__(self) -> None:
        self.protocol: Any = None
        self.session: Any = None
        self.user_id = self.connection_id = self.throttle_key = ""
        self.serial = self.opened_ms = self.unsent = self.writes = self.size = 0
        self.opened_at = 0.0
        self.slice = -1
        self.heard_at = 0.0
        self.paused = False

    def accept(self) -> None:
        """Do nothing."""

    def send(self, message: bytes) -> None:
        """Count a message."""
        self._count(text_frame(message))

    def send_batch(self, batch: Batch) -> int:
        """Count a batch."""
        data = frames(batch, False)
        self._count(data)
        return len(data)

    def ping(self) -> None:
        """Do nothing."""

    def _count(self, data: bytes) -> None:
        self.writes += 1
        self.size += len(data)

    def close(self, close: object, reason: str = "") -> None:
        """Fail, because no benchmark closes a connection."""
        raise AssertionError(f"closed: {close} {reason}")


class Bench:
    """Node with sinks as connections."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        settings = Settings(stats_interval=0, log_burst=0, request_rate=10_000, request_burst=100_000, status_pause=0)
        self.node = build_node(settings=settings, clock=self.clock, metrics=Metrics(), max_connections=10**7)
        self.users = 0

    def open(self, query: str = "watch=none", subprotocol: str = "presenced.v1") -> Sink:
        """Open a connection of a new user."""
        sink = Sink()
        self.users += 1
        self.node.opened(
            sink, ConnectRequest(WEBSOCKET_PATH.encode(), f"userId={self.users}&{query}".encode(), subprotocol, "")
        )
        return sink

    def many(self, count: int, query: str = "watch=none", subprotocol: str = "presenced.v1") -> list[Sink]:
        """Open connections of new users within one turn of the loop."""
        sinks = [self.open(query, subprotocol) for _ in range(count)]
        self.clock.run_soon()
        return sinks

    def send(self, sink: Sink, type_: str, **fields: object) -> None:
        """Send a request."""
        self.node.received(sink, json.encode({"type": type_, **fields}).decode())

    def toggle(self, sinks: list[Sink], idle: bool) -> None:
        """Make all these users idle or active, and flush once."""
        text = '{"type":"ACTIVITY","state":"idle"}' if idle else '{"type":"ACTIVITY","state":"active"}'
        for sink in sinks:
            self.node.received(sink, text)
        self.clock.run_soon()


def deliveries(make: Callable[[Bench, int], tuple[list[Sink], int]], changes: int) -> float:
    """Return the changes per second handed to connections of watchers, with this number of changes in a flush."""
    bench = Bench()
    movers, heard = make(bench, changes)
    idle, flushes, started = True, 0, time.perf_counter()
    while time.perf_counter() - started < SECONDS:
        bench.toggle(movers, idle)
        bench.clock.advance(0.01)  # the bucket of requests fills again
        idle, flushes = not idle, flushes + 1
    return flushes * heard / (time.perf_counter() - started)


def to_everyone(bench: Bench, changes: int) -> tuple[list[Sink], int]:
    """Let all watchers watch everyone. Return the changing users, and the deliveries of a flush."""
    movers = bench.many(changes)
    bench.many(WATCHERS, "watch=everyone")
    return movers, changes * WATCHERS


def to_lists(bench: Bench, changes: int) -> tuple[list[Sink], int]:
    """Let all watchers watch the changing users by id. Return these users, and the deliveries of a flush."""
    movers = bench.many(changes)
    for sink in bench.many(WATCHERS):
        bench.send(sink, "WATCH", users=[mover.user_id for mover in movers])
    return movers, changes * WATCHERS


def to_one(bench: Bench, changes: int) -> tuple[list[Sink], int]:
    """Let one watcher watch everyone. Return the changing users, and the deliveries of a flush."""
    movers = bench.many(WATCHERS)
    bench.many(1, "watch=everyone")
    return movers[:changes], changes


def snapshot() -> tuple[float, float, int, int]:
    """Return the seconds of a snapshot for the first watcher and for later ones, its bytes, and its pages."""
    bench = Bench()
    bench.many(USERS, subprotocol="")
    gc.collect()
    gc.freeze()
    started = time.perf_counter()
    first = bench.open("watch=everyone")
    once = time.perf_counter() - started
    started = time.perf_counter()
    bench.many(100, "watch=everyone")
    again = (time.perf_counter() - started) / 100
    return once, again, first.size, first.writes - 1


def session_bytes() -> float:
    """Return the bytes of a session that watches nobody."""
    bench = Bench()
    bench.many(1000)
    before = _resident()
    bench.many(USERS // 2)
    return (_resident() - before) / (USERS // 2)


def edge_bytes() -> float:
    """Return the bytes of one user watched by id by one session."""
    bench, watched = Bench(), 100
    movers = [mover.user_id for mover in bench.many(watched * 10)]
    watchers = bench.many(WATCHERS)
    before = _resident()
    for number, watcher in enumerate(watchers):
        start = number % 10 * watched
        bench.send(watcher, "WATCH", users=movers[start : start + watched])
    return (_resident() - before) / (WATCHERS * watched)


def cost_of_a_change(watched_by: int) -> float:
    """Return the seconds for one change of a user with this number of watchers by id, among a million edges."""
    bench, each = Bench(), 100
    crowd = [mover.user_id for mover in bench.many(each)]
    mover = bench.many(1)
    for number, watcher in enumerate(bench.many(WATCHERS)):
        bench.send(watcher, "WATCH", users=[*crowd[1:], mover[0].user_id if number < watched_by else crowd[0]])
    idle, changes, started = True, 0, time.perf_counter()
    while time.perf_counter() - started < SECONDS:
        bench.toggle(mover, idle)
        bench.clock.advance(0.01)
        idle, changes = not idle, changes + 1
    return (time.perf_counter() - started) / changes


def cost_of_a_flush(changes: int, touched: bool) -> float:
    """Return the seconds per watcher of everyone for one flush.

    Each watcher blocks ten users. If `touched`, one of them is in the flush, otherwise none.
    """
    bench = Bench()
    movers = bench.many(changes)
    strangers = [sink.user_id for sink in bench.many(10)]
    for number, watcher in enumerate(bench.many(WATCHERS, "watch=everyone")):
        blocked = [*strangers[1:], movers[number % changes].user_id if touched else strangers[0]]
        visibility = Visibility(True, blocked=frozenset(blocked))
        watcher.protocol.visibility_changed(watcher, visibility, bench.clock.now())
    idle, flushes, started = True, 0, time.perf_counter()
    while time.perf_counter() - started < SECONDS:
        bench.toggle(movers, idle)
        bench.clock.advance(0.01)
        idle, flushes = not idle, flushes + 1
    return (time.perf_counter() - started) / flushes / WATCHERS


def snapshot_without_one() -> tuple[float, float]:
    """Return the seconds of a snapshot without a blocked user, for the first watcher and for the third."""
    bench = Bench()
    bench.many(USERS, subprotocol="")
    for _ in range(2):  # the parts that all share are encoded
        bench.open("watch=everyone")
    times = []
    for user_id in ("1", "2", "3"):
        watcher = bench.open()
        started = time.perf_counter()
        seen = watcher.protocol.feed._snapshots_for(watcher).everyone(True, frozenset([user_id]))
        for page in seen.portions(watcher):
            watcher.send_batch(page.batch)
        times.append(time.perf_counter() - started)
    return times[0], times[2]


def _resident() -> int:
    gc.collect()
    return resident_bytes(os.getpid())


def apart(measure: Callable[..., Any], *arguments: Any) -> Any:
    """Return the result of a measurement in a separate process."""
    with multiprocessing.get_context("fork").Pool(1) as pool:
        return pool.apply(measure, arguments)


def run(quick: bool) -> Report:
    """Measure the node."""
    batches = BATCHES[:1] if quick else BATCHES
    cases = {
        f"{WATCHERS:,} watch everyone": to_everyone,
        f"{WATCHERS:,} watch the same users by id": to_lists,
        f"one watches {WATCHERS:,} users": to_one,
    }
    rows = [[name, *(f"{apart(deliveries, make, size):,.0f}" for size in batches)] for name, make in cases.items()]
    first, second, size, pages = apart(snapshot)
    costs = {watched_by: apart(cost_of_a_change, watched_by) for watched_by in WATCHED_BY[: 1 if quick else None]}
    session, edge = apart(session_bytes), apart(edge_bytes)
    return Report(
        "What does presenced.v1 cost inside the server: changes, snapshots, memory?",
        f"A snapshot of {USERS:,} users takes {first:.2f} s the first time and {second * 1000:.1f} ms for the "
        f"next, {size / 1e6:.1f} MB in {pages} pages; a session costs {session:,.0f} bytes, a watched user {edge:.0f}.",
        [
            Table(["changes per second handed to watchers", *(f"{n} a flush" for n in batches)], rows),
            Table(
                ["one change, with a million edges", "microseconds", "per watcher"],
                [[f"watched by {n:,}", f"{cost * 1e6:,.0f}", f"{cost * 1e6 / n:.2f}"] for n, cost in costs.items()],
            ),
        ],
        [
            "Without sockets: the kernel's `send`, 3 to 5 microseconds per watcher and flush here, comes on top.",
            "Memory of the process, kernel sockets not included.",
            "An edge is one user watched by id by one session: 10,000 sessions watch 100 users each.",
        ],
        {
            "batches": list(batches),
            "snapshot": {"users": USERS, "first_s": first, "next_s": second, "bytes": size, "pages": pages},
            "session_bytes": session,
            "edge_bytes": edge,
            "change_s_by_watchers": costs,
        },
    )
