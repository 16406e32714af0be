"""Users of a node that was killed with SIGKILL: when a watcher on another node has seen all of them go offline.

Up to `MAX_SOCKETS` users have a socket each. More than that is beyond the open files that a process may have here, so
another process stands in for the node (`benchmarks.stand_in`). The other nodes cannot tell the difference.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import NamedTuple

from benchmarks.machine import resident_bytes
from benchmarks.nodes import LEASE_S, QUICK_LEASE_S, backend, crowd, nodes, stand_in, store, wait_online
from benchmarks.probe import Probe
from benchmarks.report import Report, Table
from benchmarks.servers import V1, end

USERS = (1_000, 10_000, 100_000)
QUICK_USERS = (200, 500)
MAX_SOCKETS, QUICK_MAX_SOCKETS = 10_000, 200
SURVIVORS = 2
"""Nodes that stay. One of them takes the users out, and the watcher is on the other one or on the same."""

PROBING = 40_000_000
AIM_S = 2.0
"""Seconds after the lease within which all are offline."""

LOAD_PATIENCE_S = 120.0


class Death(NamedTuple):
    """Seconds from the kill, as one watcher saw it."""

    first_s: float
    last_s: float
    replicated_bytes: float
    """Memory of another node per user of the killed one."""


def run(quick: bool) -> Report:
    """Measure all numbers of users."""
    lease = QUICK_LEASE_S if quick else LEASE_S
    sockets = QUICK_MAX_SOCKETS if quick else MAX_SOCKETS
    found = {users: kill(users, lease, with_sockets=users <= sockets) for users in (QUICK_USERS if quick else USERS)}
    most, last = max(found), found[max(found)]
    return Report(
        "When are the users of a killed node offline?",
        f"{most:,} users are offline for a watcher on another node {last.last_s:.1f} s after the kill, with a lease of "
        f"{lease:g} s. Taking them out took {last.last_s - last.first_s:.1f} s of it.",
        [
            Table(
                ["users of the killed node", "first offline", "last offline", "first to last", "last after the lease"],
                [
                    [
                        f"{users:,}",
                        f"{one.first_s:.1f} s",
                        f"{one.last_s:.1f} s",
                        f"{one.last_s - one.first_s:.2f} s",
                        f"{one.last_s - lease:+.1f} s",
                    ]
                    for users, one in found.items()
                ],
            )
        ],
        [
            f"The lease runs from the last heartbeat. A node sends one every {lease / 5:g} s, and a process that "
            "stands in for a node every 0.4 s, so that its users take longest.",
            f"{SURVIVORS} nodes stay, and share one core. Users beyond {sockets:,} are of a process that stands in for "
            "a node and has no sockets.",
            f"Aim: all offline {AIM_S:g} s after the lease.",
        ],
        {str(users): one._asdict() for users, one in found.items()},
    )


def kill(users: int, lease_s: float, *, with_sockets: bool) -> Death:
    """Kill a node with so many users, and watch."""
    options = [f"--cluster-lease={lease_s:g}", *V1]
    with ExitStack() as stack:
        redis = stack.enter_context(store())
        options.append(backend(redis))
        watching, *_ = stack.enter_context(nodes(SURVIVORS, options))
        before = resident_bytes(watching.process.pid)
        if with_sockets:
            [(port, victim)] = stack.enter_context(nodes(1, options))
            stack.enter_context(crowd(port, users))
        else:
            other = stack.enter_context(stand_in(redis, users))
            other.commit()
            victim = other.process
        wait_online(watching, users, LOAD_PATIENCE_S)
        bytes_each = (resident_bytes(watching.process.pid) - before) / users
        with Probe(watching.port, PROBING) as watcher:
            began = time.monotonic()
            end(victim)
            gone: set[int] = set()
            first = 0.0
            while len(gone) < users:
                gone |= {user for is_online, user in watcher.read_turns() if not is_online}
                first = first or (time.monotonic() - began if gone else 0.0)
            return Death(first, time.monotonic() - began, bytes_each)
