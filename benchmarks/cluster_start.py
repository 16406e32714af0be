"""A node that starts while others have many users: when it accepts connections, and what it then holds.

A process stands in for the other nodes (`benchmarks.stand_in`). A node accepts connections once it knows everyone.
"""

from __future__ import annotations

import statistics
from typing import NamedTuple

from benchmarks.machine import cpu_seconds, resident_bytes
from benchmarks.nodes import backend, stand_in, start_seconds, store, wait_online
from benchmarks.report import Report, Table
from benchmarks.servers import V1, end

USERS = (0, 100_000, 1_000_000)
QUICK_USERS = (0, 5_000)
STARTS = 3
"""Number of starts with up to `MANY` users, of which the median counts. With more, there is one."""

MANY = 100_000

PATIENCE_S = 300.0
AIMS_S = {100_000: 3.0, 1_000_000: 30.0}
AIM_BYTES = 700


class Start(NamedTuple):
    """Starts of a node beside so many users."""

    seconds: float
    cpu_s: float
    """Its CPU time until it accepts connections."""
    store_s: float
    """The store's CPU time meanwhile."""
    resident_bytes: float


def run(quick: bool) -> Report:
    """Measure all numbers of users."""
    found = {
        users: measure(users, 1 if quick or users > MANY else STARTS) for users in (QUICK_USERS if quick else USERS)
    }
    empty = found[0]
    most = max(found)
    bytes_each = {users: (one.resident_bytes - empty.resident_bytes) / users for users, one in found.items() if users}
    return Report(
        "How soon is a node ready, and what do the users of the others cost it?",
        f"Beside {most:,} users, a node accepts connections after {found[most].seconds:.1f} s. It holds each of them "
        f"in {bytes_each[most]:,.0f} bytes.",
        [
            Table(
                ["users online", "ready after", "aim", "its CPU", "store's CPU", "memory", "bytes/user"],
                [
                    [
                        f"{users:,}",
                        f"{one.seconds:.2f} s",
                        f"{AIMS_S[users]:g} s" if users in AIMS_S else "-",
                        f"{one.cpu_s:.2f} s",
                        f"{one.store_s:.2f} s",
                        f"{one.resident_bytes / 1e6:,.0f} MB",
                        f"{bytes_each[users]:,.0f}" if users else "-",
                    ]
                    for users, one in found.items()
                ],
            )
        ],
        [f"Aim of the memory: {AIM_BYTES} bytes for each user.", "The first row is a start with an empty store."],
        {str(users): one._asdict() | {"bytes_each": bytes_each.get(users)} for users, one in found.items()},
    )


def measure(users: int, starts: int) -> Start:
    """Start nodes, one after the other."""
    with store() as redis, stand_in(redis, users) as others:
        if users:
            others.commit()
        found = [_start([backend(redis), *V1], users, redis.pid) for _ in range(starts)]
        return Start(*(statistics.median(values) for values in zip(*found, strict=True)))


def _start(options: list[str], users: int, store_pid: int) -> Start:
    before = cpu_seconds(store_pid)
    seconds, node = start_seconds(options, PATIENCE_S)
    spent, store_spent = cpu_seconds(node.process.pid), cpu_seconds(store_pid) - before
    try:
        wait_online(node, users, PATIENCE_S)
        return Start(seconds, spent, store_spent, resident_bytes(node.process.pid))
    finally:
        end(node.process)
