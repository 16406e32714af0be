"""Gain of a second core for threads, for processes, and for the server (`--writers 1`).

First a bare loop sends a small frame to each of many connections: in one thread, and in two with half of the
connections each. Then the whole server runs on two cores, without and with a writer process. The load is lazy and takes
a tenth of a core. On a machine with two cores it shares one with the server, which reduces the gain.
"""

from __future__ import annotations

import multiprocessing
import os
import queue
import socket
import statistics
import threading
import time
from collections.abc import Callable, Sequence

from benchmarks.fan_out import COUNTING
from benchmarks.load import Churn, Load
from benchmarks.machine import LOAD_CORES, TWO_CORES
from benchmarks.report import Report, Table, times
from benchmarks.servers import NO_PINGS, PRESENCED, running

WATCHERS = (1_000, 5_000)
QUICK_WATCHERS = (200,)

WINDOWS = (1, 16, 1_024)

SECONDS = 3.0
QUICK_SECONDS = 0.3

USERS = 100

SOCKETS = 2_000
ROUNDS = 40
PAUSE = 0.02
"""Seconds between two rounds of the bare loop."""

FRAME = b"\x81\x50" + b"x" * 80

_LOAD = [core for core in LOAD_CORES if core not in TWO_CORES] or LOAD_CORES


def run(quick: bool) -> Report:
    """Measure the loops, and presenced."""
    seconds = QUICK_SECONDS if quick else SECONDS
    bare = bare_loops(SOCKETS // 10 if quick else SOCKETS)
    rows, found = [], []
    for watchers in QUICK_WATCHERS if quick else WATCHERS:
        alone, helped = (serve(watchers, seconds, writers) for writers in (0, 1))
        for window, one, two in zip(WINDOWS, alone, helped, strict=True):
            rows.append(
                [
                    f"{watchers:,} watchers, {window:,} outstanding",
                    str(one.deliveries),
                    str(two.deliveries),
                    times(two.deliveries.per_second, one.deliveries.per_second),
                    f"{one.median * 1e3:.1f}",
                    f"{two.median * 1e3:.1f}",
                    f"{one.deliveries.load_share:.0%}, {two.deliveries.load_share:.0%}",
                ]
            )
            found.append(
                {
                    "watchers": watchers,
                    "window": window,
                    "per_second": [one.deliveries.per_second, two.deliveries.per_second],
                    "median_s": [one.median, two.median],
                }
            )
    single = bare["one thread"]
    return Report(
        "What does a second core give?",
        f"In a bare loop, two threads send {times(single, bare['two threads'])} as many frames as one. "
        f"The server with a second core and one writer delivers {rows[-len(WINDOWS)][3]} as much at "
        f"{found[-1]['watchers']:,} watchers when there is little to merge.",
        [
            Table(
                ["bare loop", "microseconds per send", "beside one thread"],
                [[name, f"{took * 1e6:.2f}", times(single, took)] for name, took in bare.items()],
            ),
            Table(
                ["deliveries/s", "alone", "one writer", "ratio", "median ms", "one writer", "busiest load's CPU"], rows
            ),
        ],
        [
            f"The server on cores {sorted(TWO_CORES)}, the load on {_LOAD}.",
            "“≥”: the load was near its own limit; the server might do more.",
        ],
        {"bare_loop_s": bare, "server": found},
    )


def serve(watchers: int, seconds: float, writers: int) -> list[Churn]:
    """Run the server on two cores, and return a churn for each window."""
    with (
        running(PRESENCED, [f"--writers={writers}", *NO_PINGS], TWO_CORES) as (port, server),
        Load(port, server.pid, USERS, one_of=watchers // COUNTING, lazy=True, cores=_LOAD) as load,
    ):
        load.open(watchers)
        load.rest()  # each user was announced to those who were there
        load.churn(watchers, 16, seconds)  # the writer gets its share
        return [load.churn(watchers, window, seconds) for window in WINDOWS]


def bare_loops(sockets: int) -> dict[str, float]:
    """Return the seconds per send by the kind of loop: medians of `ROUNDS`."""
    with multiprocessing.get_context("fork").Pool(1) as pool:
        return pool.apply(_bare_loops, (sockets,))


def _bare_loops(sockets: int) -> dict[str, float]:
    here, there = min(TWO_CORES), max(TWO_CORES)
    os.sched_setaffinity(0, {here})
    pairs = _loopback_pairs(sockets)
    near, far = [a for a, _ in pairs], [b for _, b in pairs]
    first, second = near[: sockets // 2], near[sockets // 2 :]
    orders: queue.SimpleQueue[None] = queue.SimpleQueue()
    done: queue.SimpleQueue[None] = queue.SimpleQueue()
    threading.Thread(target=_obey, args=(there, orders, done, first), daemon=True).start()

    def two_threads() -> None:
        orders.put(None)
        _send(second)
        done.get()

    ways: dict[str, Callable[[], None]] = {
        "one thread": lambda: _send(near),
        "two threads": two_threads,
    }
    took: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            started = time.perf_counter()
            way()
            took[name].append((time.perf_counter() - started) / sockets)
            for sock in far:
                sock.recv(1 << 16)
            time.sleep(PAUSE)
    return {name: statistics.median(samples) for name, samples in took.items()}


def _obey(
    core: int, orders: queue.SimpleQueue[None], done: queue.SimpleQueue[None], sockets: Sequence[socket.socket]
) -> None:
    os.sched_setaffinity(0, {core})  # this thread's
    while True:
        orders.get()
        _send(sockets)
        done.put(None)


def _send(sockets: Sequence[socket.socket]) -> None:
    for sock in sockets:
        sock.send(FRAME)


def _loopback_pairs(count: int) -> list[tuple[socket.socket, socket.socket]]:
    """Return both ends of new TCP connections: the near one, and the far one."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        pairs = []
        for _ in range(count):
            far = socket.create_connection(listening.getsockname())
            near, _ = listening.accept()
            near.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            near.setblocking(False)
            pairs.append((near, far))
    return pairs
