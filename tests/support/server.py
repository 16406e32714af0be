"""Servers in the test's own loop, on free ports, with durations derived from one scale."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from tests.support.raw import PATIENCE

from presenced import PresenceServer, Settings
from presenced.node.node import Node

SCALE = 0.01
"""Test seconds per second of a default: a grace period of 15 s takes 0.15 s."""

_SCALED = ("grace_going_away", "grace_lost", "settling", "behind_timeout")

CALM = 3600.0
"""Seconds between two pings, and for a pong. Shorter intervals would send pings among the expected frames, and drop an
idle reader on a busy machine. The server also measures its loop lag sixty times in this interval. If the lag is a
second, it refuses handshakes."""

QUICK_HEARTBEAT = {name: getattr(Settings(), name) * SCALE for name in ("heartbeat_interval", "pong_timeout")}
"""Seconds for tests of the heartbeat."""


def server(**changes: object) -> PresenceServer:
    """Return a server on a free port with default settings, some of them scaled.

    Grace periods, settling and the timeout of slow watchers are divided by a hundred. `changes` apply unchanged.
    """
    quick = {name: getattr(Settings(), name) * SCALE for name in _SCALED}
    interval = changes.get("heartbeat_interval", CALM)
    calm = {"heartbeat_interval": interval, "pong_timeout": interval}
    return PresenceServer(Settings.model_validate({"port": 0, "stats_interval": 0, **quick, **calm, **changes}))


async def until_all_have_answered(running: PresenceServer) -> None:
    """Wait until every client has answered a new ping, or has sent something else."""
    connections = node(running).connections.by_serial
    before = {serial: connection.heard_at for serial, connection in connections.items()}
    assert before
    await until(lambda: all(connection.heard_at > before[serial] for serial, connection in connections.items()))
    assert connections.keys() == before.keys(), "nobody was dropped"


async def until(condition: Callable[[], object]) -> None:
    """Wait until the condition holds."""
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0.001)


def node(running: PresenceServer) -> Node:
    """Return the node of a running server."""
    assert running._parts
    return running._parts.node


def metric(running: PresenceServer, name: str) -> float:
    """Return the value of a metric; 0 if it has none yet."""
    return node(running).metrics.registry.get_sample_value(name) or 0.0
