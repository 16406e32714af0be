"""Delay of changes when idle and under load, and of new connections and pings meanwhile.

Idle: one change at a time. Loaded: the closed loop of `fan_out`, with more and more outstanding changes. Fairness:
under load, one client connects again and again, and another one sends pings.
"""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable, Sequence

from benchmarks.load import Churn, Load
from benchmarks.probe import Probe
from benchmarks.report import Report, Table
from benchmarks.servers import FLOOR, PRESENCED, available, running

WATCHERS = (1_000, 5_000)
QUICK_WATCHERS = (200,)

WINDOWS = (1, 16, 128, 1_024, 4_096)

SECONDS = 2.5
QUICK_SECONDS = 0.3

FLOOD = 1_024
"""Number of outstanding changes while fairness is measured."""

EVERY = 0.01
"""Seconds between two probes."""

USERS = 100
_KINDS = ("connect", "ping")
PROBING = 30_000_000


def run(quick: bool) -> Report:
    """Measure presenced, and the C floor if it is available."""
    names = [name for name in available()[0] if name in (FLOOR, PRESENCED)]
    seconds = QUICK_SECONDS if quick else SECONDS
    rows, found = [], {}
    for watchers in QUICK_WATCHERS if quick else WATCHERS:
        for name in names:
            churns = found[watchers, name] = load(name, watchers, seconds)
            rows.append([f"{watchers:,} {name}", *(f"{c.median * 1e3:.1f} / {c.p99 * 1e3:.0f}" for c in churns)])
    watchers = (QUICK_WATCHERS if quick else WATCHERS)[0]
    waits = {what: fairness(watchers, seconds, flood) for what, flood in (("idle", 0), ("flood", FLOOD))}
    idle = found[watchers, PRESENCED][0]
    connected, answered = (statistics.median(samples) * 1e3 for samples in waits["flood"])
    return Report(
        "How long does a change take to reach its watchers, and do others wait meanwhile?",
        f"With {watchers:,} watchers and one change at a time, {idle.median * 1e3:.1f} ms at the median. In a flood of "
        f"changes a new client is greeted after {connected:.0f} ms and a ping answered after {answered:.0f} ms.",
        [
            Table(["ms, median / p99, changes outstanding:", *(f"{window:,}" for window in WINDOWS)], rows),
            Table(
                [f"{watchers:,} watchers, ms", "connect, median", "p99", "ping, median", "p99"],
                [[what, *_row(samples)] for what, samples in waits.items()],
            ),
        ],
        ["From the client's `connect` to the receipt by one of every hundred watchers, which are spread over all."],
        {
            "delays": [
                {"watchers": n, "server": name, "window": window, "median_s": churn.median, "p99_s": churn.p99}
                for (n, name), churns in found.items()
                for window, churn in zip(WINDOWS, churns, strict=True)
            ],
            "fairness": {
                what: {
                    f"{kind}_median_s": statistics.median(samples) for kind, samples in zip(_KINDS, both, strict=True)
                }
                for what, both in waits.items()
            },
        },
    )


def load(name: str, watchers: int, seconds: float) -> list[Churn]:
    """Measure one server with one window after the other."""
    with running(name) as (port, server), Load(port, server.pid, USERS) as load:
        load.open(USERS)
        load.wait_heard(USERS * (USERS - 1) // 2)  # each user is announced to the earlier ones
        load.open(watchers)
        return [load.churn(watchers, window, seconds) for window in WINDOWS]


def fairness(watchers: int, seconds: float, window: int) -> tuple[list[float], list[float]]:
    """Return the seconds that new clients waited for their first message, and pings for their answer."""
    with running(PRESENCED) as (port, server), Load(port, server.pid, USERS) as load:
        load.open(USERS)
        load.wait_heard(USERS * (USERS - 1) // 2)
        load.open(watchers)
        greeted: list[float] = []
        answered: list[float] = []
        with Probe(port, PROBING) as pinging, Probe(port, PROBING + 1):
            ended = threading.Event()
            threads = [
                threading.Thread(target=_repeat, args=(ended, greeted, lambda: _connect(port))),
                threading.Thread(target=_repeat, args=(ended, answered, pinging.ping)),
            ]
            for thread in threads:
                thread.start()
            if window:
                load.flood(window, seconds)
            else:
                time.sleep(seconds)
            ended.set()
            for thread in threads:
                thread.join()
        return greeted, answered


def _connect(port: int) -> float:
    with Probe(port, PROBING + 1) as probe:  # the user is online already, so nothing is broadcast
        return probe.greeted_after


def _repeat(ended: threading.Event, samples: list[float], measure: Callable[[], float]) -> None:
    while not ended.wait(EVERY):
        samples.append(measure())


def _row(samples: Sequence[Sequence[float]]) -> list[str]:
    cells = []
    for waited in map(sorted, samples):
        cells += [f"{statistics.median(waited) * 1e3:.1f}", f"{waited[len(waited) * 99 // 100] * 1e3:.0f}"]
    return cells
