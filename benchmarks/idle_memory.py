"""Memory of an idle connection, and connections accepted per second.

The memory is the growth of the server's resident set, divided by the number of connections. It excludes the kernel's
memory for sockets. The connections share a few user ids, because a server that announces each user to everyone accepts
slowly. `fan_out` measures that. A separate row has the memory of a user beyond the connection.
"""

from __future__ import annotations

import time
from typing import NamedTuple

from benchmarks.load import Load, Rate
from benchmarks.machine import resident_bytes
from benchmarks.report import Report, Table, beside, times
from benchmarks.servers import PRESENCED, available, running

CONNECTIONS = 10_000
QUICK_CONNECTIONS = 1_000

USERS = 100
"""User ids that the connections share."""

IDLE = 0.7
"""Seconds without any event before the memory is read."""


class Idle(NamedTuple):
    """Figures of a server with idle connections."""

    bytes: float
    """Resident memory per connection."""
    accepted: Rate
    """Accepted connections, when no broadcast follows."""


def run(quick: bool) -> Report:
    """Measure all available servers."""
    connections = QUICK_CONNECTIONS if quick else CONNECTIONS
    names, notes = available()
    found = {name: measure(name, connections, USERS) for name in names}
    own = found[PRESENCED]
    rows = [row(name, idle, own) for name, idle in found.items()]
    each_a_user = measure(PRESENCED, connections, connections)
    rows.append([f"{PRESENCED}, each its own user", f"{each_a_user.bytes:,.0f}", "", "", "", "", ""])
    return Report(
        "How much memory does an idle connection cost, and how fast are connections taken?",
        f"{own.bytes:,.0f} bytes{beside(PRESENCED, {name: idle.bytes for name, idle in found.items()})}; "
        f"{own.accepted} connections per second"
        f"{beside(PRESENCED, {name: idle.accepted.per_second for name, idle in found.items()})}. "
        f"Measured with {connections:,} connections.",
        [
            Table(
                [
                    "server",
                    "bytes/connection",
                    f"beside {PRESENCED}",
                    "accepts/s",
                    f"beside {PRESENCED}",
                    "server's CPU",
                    "busiest load's CPU",
                ],
                rows,
            )
        ],
        [
            "Resident memory of the server's process; what the kernel keeps for each socket is not in it.",
            "Connections taken while none of them has to be announced.",
            "“≥”: the load was near its own limit; the server might do more.",
            *notes,
        ],
        {
            "connections": connections,
            "servers": {
                name: {"bytes_per_connection": idle.bytes, "accepts_per_second": idle.accepted.per_second}
                for name, idle in found.items()
            },
            "bytes_per_connection_of_its_own_user": each_a_user.bytes,
        },
    )


def row(name: str, idle: Idle, own: Idle) -> list[str]:
    """Return the row of one server, with its ratios to `own`."""
    return [
        name,
        f"{idle.bytes:,.0f}",
        times(idle.bytes, own.bytes),
        str(idle.accepted),
        times(idle.accepted.per_second, own.accepted.per_second),
        f"{idle.accepted.server_share:.0%}",
        f"{idle.accepted.load_share:.0%}",
    ]


def measure(name: str, connections: int, users: int) -> Idle:
    """Measure one server with `connections` of `users` users."""
    with running(name) as (port, server), Load(port, server.pid, users) as load:
        before = resident_bytes(server.pid)
        load.open(users)
        load.wait_heard(users * (users - 1) // 2)  # each user is announced to the earlier ones
        accepted = load.open(connections)
        time.sleep(IDLE)
        return Idle((resident_bytes(server.pid) - before) / connections, accepted)
