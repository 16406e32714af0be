"""Delay of a change from a client of one node to a client of another, when idle and while others change.

The user becomes idle and active again, so nobody connects meanwhile. The other changes come from a process that stands
in for a further node.
"""

from __future__ import annotations

import json
import random
import socket
import statistics
import time
from contextlib import ExitStack
from typing import NamedTuple

from benchmarks.clients import ACTIVE_FRAME, IDLE_FRAME
from benchmarks.nodes import backend, crowd, nodes, read_until, stand_in, store, wait_online
from benchmarks.report import Report, Table
from benchmarks.servers import V1
from websockets.frames import Frame, Opcode

NODES = (2, 4, 10)
QUICK_NODES = (2,)
SAMPLES, QUICK_SAMPLES = 400, 30
BUSY = 1_000
"""Changes a second of other users."""

BATCHES_PER_S = 100
"""Batches in which they come."""

USERS = 5_000
"""Number of users who change while it is busy."""

GAP_S = 0.02
"""Longest seconds between two samples. They are random, so that samples do not follow the pace of the nodes."""

PROBING = 40_000_000
AIM_P50_S, AIM_P99_S = 0.002, 0.010
"""Aims of the median and of the 99th percentile, idle."""


class Delays(NamedTuple):
    """Seconds from a client's message to the receipt by another client."""

    median: float
    p99: float

    def __str__(self) -> str:
        return f"{self.median * 1e3:.1f} / {self.p99 * 1e3:.1f}"


def run(quick: bool) -> Report:
    """Measure one node without a store, and several with it."""
    samples = QUICK_SAMPLES if quick else SAMPLES
    alone = measure(1, 0, samples, shared=False)
    counts = QUICK_NODES if quick else NODES
    idle = {count: measure(count, 0, samples) for count in counts}
    busy = {count: measure(count, BUSY, samples) for count in counts}
    first = counts[0]
    return Report(
        "How late is a change on another node?",
        f"With {first} nodes, {idle[first].median * 1e3:.1f} ms at the median and {idle[first].p99 * 1e3:.1f} ms at "
        f"the 99th percentile ({alone.median * 1e3:.1f} and {alone.p99 * 1e3:.1f} ms on one node alone). While others "
        f"make {BUSY:,} changes/s, {busy[first].median * 1e3:.1f} and {busy[first].p99 * 1e3:.1f} ms.",
        [
            Table(
                ["ms, median / p99", "idle", f"{BUSY:,} changes/s"],
                [
                    ["one node, no store", str(alone), "-"],
                    *([f"{count} nodes", str(idle[count]), str(busy[count])] for count in counts),
                ],
            )
        ],
        [
            "From a client's message that it is idle or active to the receipt by a client of another node.",
            "All nodes share one core, and store and clients the other. With 10 nodes and 1,000 changes/s, each node "
            "therefore waits for the other nine.",
            f"Aims, idle: median {AIM_P50_S * 1e3:g} ms, p99 {AIM_P99_S * 1e3:g} ms.",
        ],
        {
            "alone": alone._asdict(),
            "idle": {count: found._asdict() for count, found in idle.items()},
            "busy": {count: found._asdict() for count, found in busy.items()},
        },
    )


def measure(count: int, rate: int, samples: int, *, shared: bool = True) -> Delays:
    """Measure with so many nodes, while others make `rate` changes a second."""
    with ExitStack() as stack:
        redis = stack.enter_context(store())
        options = [backend(redis), *V1] if shared else V1
        others = None
        if rate:
            others = stack.enter_context(stand_in(redis, USERS))
            others.commit()
        started = stack.enter_context(nodes(count, options))
        if rate:
            wait_online(started[-1], USERS)
        [actor] = stack.enter_context(crowd(started[0].port, 1, PROBING))
        [watcher] = stack.enter_context(crowd(started[-1].port, 1, PROBING + 1))
        _watch(watcher)
        if others is not None:
            others.order(f"change {rate} {samples * (GAP_S + 0.05) + 5} {BATCHES_PER_S}")
            time.sleep(1)  # until it runs
        return _delays(actor, watcher, samples)


def _watch(watcher: socket.socket) -> None:
    request = {"type": "WATCH", "users": [PROBING]}
    watcher.sendall(Frame(Opcode.TEXT, json.dumps(request).encode()).serialize(mask=True))
    read_until(watcher, b'"status":"online"')


def _delays(actor: socket.socket, watcher: socket.socket, samples: int) -> Delays:
    found = []
    for number in range(samples):
        time.sleep(random.uniform(GAP_S / 4, GAP_S))  # noqa: S311 -- not a secret
        idle = number % 2 == 0
        began = time.monotonic()
        actor.sendall(IDLE_FRAME if idle else ACTIVE_FRAME)
        read_until(watcher, b'"status":"away"' if idle else b'"status":"online"')
        found.append(time.monotonic() - began)
        read_until(actor, b"SELF")
    found.sort()
    return Delays(statistics.median(found), found[len(found) * 99 // 100])
