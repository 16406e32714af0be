"""The store comes back after an outage in which users of all nodes have changed: when every node knows everything.

The store is stopped with SIGSTOP, so that no connection breaks, as with a network that drops packets. Meanwhile a
backend announces users on both nodes, which need no sockets. Each node has a core, and the store shares one of them.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Sequence
from typing import NamedTuple

from benchmarks.clients import PATIENCE
from benchmarks.load import LoadError
from benchmarks.machine import TWO_CORES
from benchmarks.nodes import Node, backend, nodes, store
from benchmarks.probe import metric
from benchmarks.report import Report, Table
from benchmarks.servers import V1
from benchmarks.stand_in import FIRST_USER
from tests.support.services import Redis

NODES = 2
USERS = (0, 5_000, 50_000)
QUICK_USERS = (0, 400)
AWAY_S, QUICK_AWAY_S = 60.0, 10.0
AIM_S = 2.0

AT_A_TIME = 16
"""Requests that wait for a response. The server refuses more in one connection."""

EVERY_S = 0.02
"""Seconds between two looks at the metrics of the nodes."""


class Return(NamedTuple):
    """Seconds from the moment at which the store runs again."""

    joined_s: float
    """Until no node is on its own."""
    complete_s: float
    """Until every node has every change."""


def run(quick: bool) -> Report:
    """Measure all numbers of changed users."""
    away_s = QUICK_AWAY_S if quick else AWAY_S
    found = {users: measure(users, away_s) for users in (QUICK_USERS if quick else USERS)}
    most, last = max(found), found[max(found)]
    return Report(
        "The store was away. When does every node know everything again?",
        f"{last.complete_s:.1f} s after an outage of {away_s:g} s in which {most:,} users changed, "
        f"half of them on each of {NODES} nodes.",
        [
            Table(
                ["users changed meanwhile", "no node on its own", "every node has every change", "the changes alone"],
                [
                    [
                        f"{users:,}",
                        f"{one.joined_s:.2f} s",
                        f"{one.complete_s:.2f} s",
                        f"{one.complete_s - one.joined_s:.2f} s",
                    ]
                    for users, one in found.items()
                ],
            )
        ],
        [
            f"Aim: {AIM_S:g} s with {max(USERS):,} users.",
            "A node notices a store that runs again at its next attempt to connect, up to a second later.",
        ],
        {str(users): one._asdict() for users, one in found.items()},
    )


def measure(users: int, away_s: float) -> Return:
    """Stop the store, change users, and continue it."""
    with store() as redis, nodes(NODES, [backend(redis), *V1], TWO_CORES) as started:
        redis.pause()
        ends = time.monotonic() + away_s
        for node in started:
            _wait(node, "presenced_cluster_state", "local", 1)
        share = users // len(started)
        for index, node in enumerate(started):
            announce(node, range(FIRST_USER + index * share, FIRST_USER + (index + 1) * share))
            if round(metric(node.port, "presenced_users_online")) != share:
                raise LoadError("a node without the store does not show its own changes")
        if time.monotonic() > ends:
            raise LoadError("the changes took longer than the outage")
        time.sleep(ends - time.monotonic())
        return _return(redis, started, users)


def _return(redis: Redis, started: Sequence[Node], users: int) -> Return:
    redis.resume()
    began = time.monotonic()
    for node in started:
        _wait(node, "presenced_cluster_state", "ready", 1)
    joined = time.monotonic() - began
    for node in started:
        _wait(node, "presenced_cluster_records", "", users)
        _wait(node, "presenced_users_online", "", users)
        _wait(node, "presenced_cluster_unsettled", "", 0)
    return Return(joined, time.monotonic() - began)


def announce(node: Node, user_ids: range) -> None:
    """Announce users online, with requests in one connection.

    Raises:
        LoadError: A request fails.
    """
    body = b'{"online":true}'
    with socket.create_connection(("127.0.0.1", node.port), PATIENCE) as sock:
        for first in range(user_ids.start, user_ids.stop, AT_A_TIME):
            some = range(first, min(first + AT_A_TIME, user_ids.stop))
            for user_id in some:
                sock.sendall(
                    b"POST /api/v1/users/%d/announce HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s"
                    % (user_id, len(body), body)
                )
            unread = b""
            while unread.count(b"HTTP/1.1 200") < len(some) or not unread.endswith(b"}"):
                if not (data := sock.recv(1 << 16)):
                    raise LoadError(f"an announcement was refused: {unread[-300:]!r}")
                unread += data


def _wait(node: Node, name: str, state: str, value: float) -> None:
    """Wait until a metric has a value.

    Raises:
        LoadError: It does not get it.
    """
    sample = f'{name}{{state="{state}"}}' if state else name
    deadline = time.monotonic() + PATIENCE
    while metric(node.port, sample) != value:
        if time.monotonic() > deadline:
            raise LoadError(f"{sample} is {metric(node.port, sample)}, and not {value}")
        time.sleep(EVERY_S)
