"""Changes per second of several nodes, and what a change costs its node, the other nodes and the store.

First, the users of one node become idle and active as fast as it goes, while none, one or three nodes follow. All nodes
share one core, so this is less than nodes with a core of their own would do. The CPU time per change does not depend on
that. Then a process stands in for a busy node, and changes users at a given rate, so that the cost of following is seen
alone.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import NamedTuple

from benchmarks.load import Churn, Load
from benchmarks.machine import cpu_seconds
from benchmarks.nodes import backend, nodes, stand_in, store, wait_online
from benchmarks.report import Report, Table, times
from benchmarks.servers import V1

WATCHERS = 10
SECONDS, QUICK_SECONDS = 3.0, 0.5

WINDOWS = (64, 256, 1_024)
QUICK_WINDOWS = (256,)
"""Changes outstanding. The highest rate with a median delay up to `MAX_DELAY_S` counts."""

MAX_DELAY_S = 0.1

SETUPS = {"one node, no store": 0, "one node": 1, "two nodes": 2, "four nodes": 4}
QUICK_SETUPS = ("one node, no store", "two nodes")

RATES = (0, 100, 500, 5_000)
QUICK_RATES = (0, 500)
"""Changes a second of the process that stands in for a node, in up to `BATCHES_PER_S` batches a second."""

BATCHES_PER_S = 500
"""As many as one node commits, or reads, at its shortest pause."""

FOLLOWERS = (1, 4)
QUICK_FOLLOWERS = (1,)
USERS = 5_000
FOLLOW_S, QUICK_FOLLOW_S = 8.0, 1.0


class Rate(NamedTuple):
    """Highest rate of one node's changes, and the CPU seconds of each change."""

    per_second: float
    delay_s: float
    own_s: float
    other_s: float
    """Of one of the nodes that follow; 0 if there is none."""
    store_s: float


class Following(NamedTuple):
    """Shares of a core."""

    node: float
    """Of one node that follows, while nobody watches there."""
    store: float


def run(quick: bool) -> Report:
    """Measure all numbers of nodes."""
    seconds = QUICK_SECONDS if quick else SECONDS
    windows = QUICK_WINDOWS if quick else WINDOWS
    found = {what: rate(SETUPS[what], windows, seconds) for what in (QUICK_SETUPS if quick else SETUPS)}
    following = {
        (followers, per_second): follow(followers, per_second, QUICK_FOLLOW_S if quick else FOLLOW_S)
        for followers in (QUICK_FOLLOWERS if quick else FOLLOWERS)
        for per_second in (QUICK_RATES if quick else RATES)
    }
    two, alone = found["two nodes"], found["one node, no store"]
    return Report(
        "How many changes a second do several nodes make, and what do they cost?",
        f"{two.per_second:,.0f} changes/s of one node while another one follows on the same core. A change costs its "
        f"node {two.own_s * 1e6:.0f} µs of CPU ({alone.own_s * 1e6:.0f} µs without a store), each other node "
        f"{two.other_s * 1e6:.0f} µs, and the store {two.store_s * 1e6:.0f} µs.",
        [
            Table(
                ["changes of one node's users", "a second", "median delay", "µs: its node", "another", "store"],
                [
                    [
                        what,
                        f"{one.per_second:,.0f}",
                        f"{one.delay_s * 1e3:.0f} ms",
                        f"{one.own_s * 1e6:.0f}",
                        f"{one.other_s * 1e6:.0f}" if one.other_s else "-",
                        f"{one.store_s * 1e6:.0f}" if one.store_s else "-",
                    ]
                    for what, one in found.items()
                ],
            ),
            Table(
                ["nodes that only follow", "changes/s", "core of each node", "store's core"],
                [
                    [f"{followers}", f"{per_second:,}", f"{one.node:.1%}", f"{one.store:.1%}"]
                    for (followers, per_second), one in following.items()
                ],
            ),
        ],
        [
            f"A change is a user who becomes idle or active, and {WATCHERS} clients on the same node watch.",
            f"The highest rate with a median delay up to {MAX_DELAY_S * 1e3:g} ms, of {windows} changes outstanding. "
            f"One node with a store makes {times(two.per_second, alone.per_second)} the changes of a node without one, "
            "if another one shares its core.",
        ],
        {
            "rates": {what: one._asdict() for what, one in found.items()},
            "following": [
                {"followers": key[0], "per_second": key[1], **one._asdict()} for key, one in following.items()
            ],
        },
    )


def rate(count: int, windows: tuple[int, ...], seconds: float) -> Rate:
    """Measure the changes of one node's users, with this number of nodes; 0: one without a store."""
    with ExitStack() as stack:
        redis = stack.enter_context(store())
        started = stack.enter_context(nodes(max(1, count), [backend(redis), *V1] if count else V1))
        load = stack.enter_context(Load(started[0].port, started[0].process.pid, WATCHERS, v1=True))
        load.open(WATCHERS)
        load.rest()  # with a store, the watchers hear of each other later
        load.open_actors()
        pids = [*(node.process.pid for node in started), redis.pid]
        found = []
        for window in windows:
            before = [cpu_seconds(pid) for pid in pids]
            changed = load.changes
            churn = load.churn(WATCHERS, window, seconds)
            changed = load.changes - changed
            spent = [(cpu_seconds(pid) - one) / changed for pid, one in zip(pids, before, strict=True)]
            found.append(_rate(churn, spent, count))
        # If all are too slow, the first and smallest window counts.
        return max(found, key=lambda one: (one.delay_s <= MAX_DELAY_S, one.per_second * (one.delay_s <= MAX_DELAY_S)))


def _rate(churn: Churn, spent: list[float], count: int) -> Rate:
    others = spent[1:-1]
    other_s = sum(others) / len(others) if others else 0.0
    return Rate(churn.deliveries.per_second / WATCHERS, churn.median, spent[0], other_s, spent[-1] if count else 0.0)


def follow(followers: int, per_second: int, seconds: float) -> Following:
    """Measure nodes without clients, while users of another one change."""
    with store() as redis, stand_in(redis, USERS) as other, nodes(followers, [backend(redis), *V1]) as started:
        other.commit()
        for node in started:
            wait_online(node, USERS)
        if per_second:
            other.order(f"change {per_second} {seconds + 2} {BATCHES_PER_S}")
        time.sleep(1)  # until it runs, and the nodes have done what follows a start
        pids = [*(node.process.pid for node in started), redis.pid]
        before, began = [cpu_seconds(pid) for pid in pids], time.monotonic()
        time.sleep(seconds)
        took = time.monotonic() - began
        *shares, store_share = [(cpu_seconds(pid) - one) / took for pid, one in zip(pids, before, strict=True)]
        return Following(sum(shares) / len(shares), store_share)
