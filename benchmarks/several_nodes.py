"""Several nodes with one store: how late a change is on another node, and what nodes and store cost.

All nodes share the server's core, and the store shares the core of the load. With two cores or fewer, the figures
therefore include the wait for each other.
"""

from __future__ import annotations

import socket
import statistics
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

from benchmarks.clients import PATIENCE, REQUEST
from benchmarks.load import Load, LoadError
from benchmarks.machine import SERVER_CORES, cpu_seconds, resident_bytes
from benchmarks.probe import Probe, metric
from benchmarks.report import Report, Table, times
from benchmarks.servers import PRESENCED, V1, end, free_port, running, start, wait_listening
from tests.support.services import Redis

SAMPLES, QUICK_SAMPLES = 400, 40
USERS, QUICK_USERS = 10_000, 500
SECONDS, QUICK_SECONDS = 3.0, 0.5
WINDOW = 1_024
"""Changes outstanding while the rate is measured."""

WATCHERS = 10
LEASE_S, QUICK_LEASE_S = 15.0, 2.0
PROBING, CROWD = 40_000_000, 50_000_000
"""First user ids of the measured clients, and of those on the node that is killed."""

V1_FIELD = "Sec-WebSocket-Protocol: presenced.v1"


class Delays(NamedTuple):
    """Seconds from a client's `connect` to the receipt by a watcher."""

    median: float
    p99: float


class Changes(NamedTuple):
    """Rate of changes, and the share of a core that each part used."""

    per_second: float
    node: float
    other_node: float
    store: float


class Death(NamedTuple):
    """End of a node with many users, as the other node shows it."""

    replicated_bytes: float
    """Memory of the other node per user."""
    start_s: float
    """Seconds until a further node listened, beyond those of one with an empty store."""
    first_s: float
    """Seconds from the kill to the first user offline."""
    last_s: float


def run(quick: bool) -> Report:
    """Measure one node without a store, and one, two and three with it."""
    samples, seconds = (QUICK_SAMPLES, QUICK_SECONDS) if quick else (SAMPLES, SECONDS)
    with store() as redis:
        alone = delays(samples, "")
        delay = delays(samples, redis.url("0"))
    rates = {}
    for what, nodes in (("one node, no store", 0), ("one node", 1), ("two nodes", 2)):
        with store() as redis:
            rates[what] = changes(seconds, redis if nodes else None, nodes)
    ratio = times(rates["one node"].per_second, rates["one node, no store"].per_second)
    users, lease = (QUICK_USERS, QUICK_LEASE_S) if quick else (USERS, LEASE_S)
    with store() as redis:
        death = kill(users, lease, redis)
    return Report(
        "What do several nodes cost?",
        f"A change on one node reaches a watcher on another after {delay.median * 1e3:.1f} ms at the median "
        f"({alone.median * 1e3:.1f} ms on one node alone). Two nodes with one store make "
        f"{rates['two nodes'].per_second:,.0f} changes/s. A user on another node costs "
        f"{death.replicated_bytes:,.0f} bytes. {users:,} users of a node that was killed are offline "
        f"{death.last_s:.1f} s later, with a lease of {lease:g} s.",
        [
            Table(
                ["ms from connect to receipt, idle", "median", "p99"],
                [
                    [what, f"{found.median * 1e3:.1f}", f"{found.p99 * 1e3:.1f}"]
                    for what, found in (("on one node, no store", alone), ("on another node", delay))
                ],
            ),
            Table(
                ["changes of one node's users", "a second", "its core", "other node's", "store's"],
                [
                    [what, f"{c.per_second:,.0f}", f"{c.node:.0%}", f"{c.other_node:.0%}", f"{c.store:.0%}"]
                    for what, c in rates.items()
                ],
            ),
            Table(
                [f"{users:,} users on a node that is killed", ""],
                [
                    ["memory of another node, bytes per user", f"{death.replicated_bytes:,.0f}"],
                    ["further start of a node, s more", f"{death.start_s:.2f}"],
                    ["first user offline, s after the kill", f"{death.first_s:.1f}"],
                    ["last user offline, s after the kill", f"{death.last_s:.1f}"],
                ],
            ),
        ],
        [
            "A change of the table in the middle is a user who becomes idle or active.",
            f"With a store, one node makes {ratio} the changes of a node without one.",
        ],
        {
            "delays": {"alone": alone._asdict(), "other_node": delay._asdict()},
            "changes": {what: found._asdict() for what, found in rates.items()},
            "death": death._asdict(),
        },
    )


@contextmanager
def store() -> Iterator[Redis]:
    """Run a store."""
    with Redis() as redis:
        yield redis


def delays(samples: int, url: str) -> Delays:
    """Measure users who connect to one node, one at a time, with a watcher on another node, or on the same one."""
    with ExitStack() as stack:
        options = [f"--backend={url}"] if url else []
        port, _ = stack.enter_context(running(PRESENCED, options))
        other = stack.enter_context(running(PRESENCED, options))[0] if url else port
        watcher = stack.enter_context(Probe(other, PROBING))
        found = []
        for number in range(1, samples + 1):
            began = time.monotonic()
            with Probe(port, PROBING + number):
                while (True, PROBING + number) not in watcher.read_turns():
                    pass
                found.append(time.monotonic() - began)
            time.sleep(0.02)
        found.sort()
        return Delays(statistics.median(found), found[len(found) * 99 // 100])


def changes(seconds: float, redis: Redis | None, nodes: int) -> Changes:
    """Measure users of one node who become idle and active as fast as it goes, with watchers on this node."""
    options = [*V1, *([f"--backend={redis.url('0')}"] if redis else [])]
    with ExitStack() as stack:
        servers = [stack.enter_context(running(PRESENCED, options)) for _ in range(max(1, nodes))]
        port, server = servers[0]
        load = stack.enter_context(Load(port, server.pid, WATCHERS, v1=True))
        load.open(WATCHERS)
        load.rest()  # with a store, the watchers hear of each other later
        load.open_actors()
        pids = [process.pid for _, process in servers] + ([redis.pid] if redis else [])
        before, began = [cpu_seconds(pid) for pid in pids], time.monotonic()
        churn = load.churn(WATCHERS, WINDOW, seconds)
        shares = [(cpu_seconds(pid) - one) / (time.monotonic() - began) for pid, one in zip(pids, before, strict=True)]
        other = shares[1] if nodes > 1 else 0.0
        return Changes(churn.deliveries.per_second / WATCHERS, shares[0], other, shares[-1] if redis else 0.0)


def kill(users: int, lease_s: float, redis: Redis) -> Death:
    """Measure what a node knows of many users of another one, and the time until all are offline after its death."""
    options = [f"--backend={redis.url('0')}", f"--cluster-lease={lease_s:g}", *V1]
    with ExitStack() as stack:
        port, server = stack.enter_context(running(PRESENCED, options))
        other, watching = stack.enter_context(running(PRESENCED, options))
        empty = _start(options)
        before = resident_bytes(watching.pid)
        stack.enter_context(crowd(port, users))
        wait_online(other, users)
        bytes_each = (resident_bytes(watching.pid) - before) / users
        full = _start(options)
        with Probe(other, PROBING) as watcher:
            began = time.monotonic()
            end(server)
            gone: set[int] = set()
            first = 0.0
            while len(gone) < users:
                gone |= {user for is_online, user in watcher.read_turns() if not is_online}
                first = first or (time.monotonic() - began if gone else 0.0)
            return Death(bytes_each, full - empty, first, time.monotonic() - began)


def _start(options: list[str]) -> float:
    """Return the seconds until a further node listens. It ends at once."""
    port, began = free_port(), time.monotonic()
    process = start(PRESENCED, port, options, SERVER_CORES)
    try:
        wait_listening(PRESENCED, port, process)
        return time.monotonic() - began
    finally:
        end(process)


@contextmanager
def crowd(port: int, users: int) -> Iterator[None]:
    """Connect users who watch nobody, each with one connection."""
    with ExitStack() as stack:
        for number in range(users):
            sock = stack.enter_context(socket.create_connection(("127.0.0.1", port), PATIENCE))
            request = REQUEST.format(user=CROWD + number, more="&watch=none", fields=f"{V1_FIELD}\r\n")
            sock.sendall(request.encode())
            head = b""
            while b"CONNECTION_ESTABLISHED" not in head:
                if not (data := sock.recv(4096)):
                    raise LoadError(f"a connection was refused: {head[:200]!r}")
                head += data
        yield


def wait_online(port: int, users: int) -> None:
    """Wait until a node shows as many users.

    Raises:
        LoadError: It does not.
    """
    deadline = time.monotonic() + PATIENCE
    while metric(port, "presenced_users_online") < users:
        if time.monotonic() > deadline:
            raise LoadError("the users of one node do not come to the other")
        time.sleep(0.1)
