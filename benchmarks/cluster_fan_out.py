"""Deliveries per second of several nodes, with the same number of watchers in all.

The closed loop of `fan_out` in presenced.v1: users become idle and active, and every watcher receives every change. The
watchers and these users are spread over the nodes. Each node writes only to its own watchers, so nodes with a core each
share the work. Here all nodes share one core. The comparable figure is therefore the number of deliveries for each
second of CPU time that a node spends: if it stays the same, nodes with a core each deliver as many times more.
"""

from __future__ import annotations

import re
from contextlib import ExitStack
from typing import NamedTuple
from urllib.request import urlopen

from benchmarks.clients import PATIENCE
from benchmarks.load import Load
from benchmarks.machine import cpu_seconds
from benchmarks.nodes import Node, backend, nodes, store
from benchmarks.report import Report, Table, times
from benchmarks.servers import V1

WATCHERS, QUICK_WATCHERS = 5_000, 200
COUNTING = 8
"""Number of watchers that count, on all nodes."""

USERS = 100
"""User ids that the watchers share."""

WINDOWS = (16, 1_024)
QUICK_WINDOWS = (16,)
SECONDS, QUICK_SECONDS = 3.0, 0.5

SETUPS = {"one node, no store": 0, "one node": 1, "two nodes": 2, "four nodes": 4}
QUICK_SETUPS = ("one node, no store", "two nodes")


class FanOut(NamedTuple):
    """Deliveries of all nodes together, at one number of outstanding changes."""

    per_second: float
    per_cpu_second: float
    """Deliveries for each second of the nodes' CPU time."""
    median_s: float
    flush_s: float
    """Average seconds of a flush of one node."""
    flush_changes: float
    """Average number of changes in it."""
    load_share: float


def run(quick: bool) -> Report:
    """Measure all numbers of nodes."""
    watchers, seconds = (QUICK_WATCHERS, QUICK_SECONDS) if quick else (WATCHERS, SECONDS)
    windows = QUICK_WINDOWS if quick else WINDOWS
    found = {what: measure(SETUPS[what], watchers, windows, seconds) for what in (QUICK_SETUPS if quick else SETUPS)}
    last = len(windows) - 1
    alone = found["one node, no store"]
    return Report(
        "How many deliveries a second do several nodes make?",
        f"With {watchers:,} watchers in all, two nodes make "
        f"{times(found['two nodes'][last].per_cpu_second, alone[last].per_cpu_second)} the deliveries of one node "
        "without a store for the same CPU time.",
        [
            Table(
                [
                    f"{watchers:,} watchers, {window:,} changes outstanding",
                    "deliveries/s",
                    "for a CPU second",
                    "beside the first",
                    "median delay",
                    "flush",
                    "changes in it",
                ],
                [
                    [
                        what,
                        f"{one[i].per_second / 1e6:.2f} M",
                        f"{one[i].per_cpu_second / 1e6:.2f} M",
                        times(one[i].per_cpu_second, alone[i].per_cpu_second),
                        f"{one[i].median_s * 1e3:.0f} ms",
                        f"{one[i].flush_s * 1e3:.1f} ms",
                        f"{one[i].flush_changes:.1f}",
                    ]
                    for what, one in found.items()
                ],
            )
            for i, window in enumerate(windows)
        ],
        [
            "All nodes share one core. A node with a core of its own has that core's deliveries.",
            "A flush is what one node writes at once to all of its watchers, so with four nodes each flush is a "
            "quarter of the watchers.",
        ],
        {what: {windows[i]: one._asdict() for i, one in enumerate(all_)} for what, all_ in found.items()},
    )


def measure(count: int, watchers: int, windows: tuple[int, ...], seconds: float) -> list[FanOut]:
    """Measure this number of nodes, or one without a store, with each number of outstanding changes."""
    with ExitStack() as stack:
        redis = stack.enter_context(store())
        started = stack.enter_context(nodes(max(1, count), [backend(redis), *V1] if count else V1))
        first, *others = started
        load = stack.enter_context(
            Load(
                first.port,
                first.process.pid,
                USERS,
                v1=True,
                one_of=watchers // COUNTING,
                other_ports=[node.port for node in others],
            )
        )
        load.open(watchers)
        load.rest()
        load.open_actors()
        return [_churn(load, started, watchers, window, seconds) for window in windows]


def _churn(load: Load, started: list[Node], watchers: int, window: int, seconds: float) -> FanOut:
    cpu, made = _cpu(started), load.changes
    flushes = [_flushes(node) for node in started]
    churn = load.churn(watchers, window, seconds)
    cpu, made = _cpu(started) - cpu, load.changes - made
    count, took, changes = (
        sum(after[i] - before[i] for before, after in zip(flushes, map(_flushes, started), strict=True))
        for i in range(3)
    )
    return FanOut(
        churn.deliveries.per_second,
        made * watchers / cpu,
        churn.median,
        took / count,
        changes / count,
        churn.deliveries.load_share,
    )


def _cpu(started: list[Node]) -> float:
    return sum(cpu_seconds(node.process.pid) for node in started)


def _flushes(node: Node) -> tuple[float, float, float]:
    """Return the number of flushes of a node, their seconds, and their changes."""
    with urlopen(f"http://127.0.0.1:{node.port}/metrics", timeout=PATIENCE) as answer:
        text = answer.read().decode()
    names = "flush_duration_seconds_count", "flush_duration_seconds_sum", "flush_changes_sum"
    count, took, changes = (float(re.findall(rf"^presenced_{name} (\S+)$", text, re.MULTILINE)[0]) for name in names)
    return count, took, changes
