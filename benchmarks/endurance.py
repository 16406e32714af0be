"""CPU of idle connections, memory after many reconnects, and pauses of the garbage collector.

Idle: 10,000 connections with the default heartbeat, for a whole interval. Reconnects: all connections close and open
again ten times, and the memory is read each time. Pauses: the longest time for which Python's garbage collector stopped
the loop while 15,000 connections opened.
"""

from __future__ import annotations

import time

from benchmarks.load import Load
from benchmarks.machine import cpu_seconds, resident_bytes
from benchmarks.probe import metric
from benchmarks.report import Report, Table
from benchmarks.servers import PRESENCED, running

CONNECTIONS = 10_000
QUICK_CONNECTIONS = 500

ROUNDS = 10
QUICK_ROUNDS = 2

IDLE_SECONDS = 31.0
"""Slightly more than the interval of the heartbeat."""
QUICK_IDLE_SECONDS = 1.0

MANY = 15_000
"""Connections while the pauses are measured."""

SETTLE = 0.7

USERS = 100


def run(quick: bool) -> Report:
    """Measure presenced."""
    connections, rounds = (QUICK_CONNECTIONS, QUICK_ROUNDS) if quick else (CONNECTIONS, ROUNDS)
    resident, idle = come_and_go(connections, rounds, QUICK_IDLE_SECONDS if quick else IDLE_SECONDS)
    many = QUICK_CONNECTIONS if quick else MANY
    longest, together = pauses(many)
    growth = resident[-1] / resident[0] - 1
    return Report(
        "What do connections cost while nothing happens, and what stays behind when they have gone?",
        f"{connections:,} idle connections with heartbeats use {idle:.1%} of a core. After they have left and come "
        f"back {rounds} times the server's memory has changed by {growth:+.1%}. While {many:,} came, the longest "
        f"garbage collection took {longest * 1e3:.1f} ms.",
        [
            Table(
                ["", "figure", "target"],
                [
                    [f"share of a core, {connections:,} idle", f"{idle:.2%}", "< 2%"],
                    ["memory at first", f"{resident[0] / 2**20:.1f} MiB", ""],
                    *(
                        [f"after time {number}", f"{size / 2**20:.1f} MiB", "" if number < rounds else "within 5%"]
                        for number, size in enumerate(resident[1:], 1)
                    ),
                    [f"longest collection, {many:,} come", f"{longest * 1e3:.1f} ms", "< 20 ms"],
                    ["all collections together", f"{together * 1e3:.1f} ms", ""],
                ],
            )
        ],
        ["Resident memory of the server's process with all connections open."],
        {"idle_share": idle, "resident_bytes": resident, "longest_gc_pause_s": longest, "gc_s": together},
    )


def come_and_go(connections: int, rounds: int, idle_seconds: float) -> tuple[list[int], float]:
    """Return the memory with all connections open, at first and after each round, and the share of a core when idle."""
    resident: list[int] = []
    idle = 0.0
    with running(PRESENCED) as (port, server):
        for number in range(rounds + 1):
            with Load(port, server.pid, USERS) as load:
                load.open(USERS)
                load.open(connections)
                time.sleep(SETTLE)
                resident.append(resident_bytes(server.pid))
                if number == 0:
                    used = cpu_seconds(server.pid)
                    time.sleep(idle_seconds)
                    idle = (cpu_seconds(server.pid) - used) / idle_seconds
            time.sleep(SETTLE)  # all connections are closed
    return resident, idle


def pauses(connections: int) -> tuple[float, float]:
    """Return the seconds of the longest collection, and of all, while connections of different users opened."""
    with running(PRESENCED) as (port, server), Load(port, server.pid, connections) as load:
        load.open(connections)
        return metric(port, "presenced_gc_longest_pause_seconds"), metric(port, "presenced_gc_paused_seconds")
