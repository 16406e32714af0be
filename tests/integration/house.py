"""Servers in the test's own loop, on free ports, with durations derived from one scale."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from tests.integration.raw import PATIENCE

from presenced import PresenceServer, Settings
from presenced.engine import Engine

SCALE = 0.01
"""Test seconds per second of a default: a heartbeat of 30 s is one of 0.3 s."""

_SCALED = ("heartbeat_interval", "pong_timeout", "grace_going_away", "grace_lost", "behind_timeout")


def server(**changes: object) -> PresenceServer:
    """A server with default settings on a free port, a hundred times quicker; `changes` are taken as they are."""
    quick = {name: getattr(Settings(), name) * SCALE for name in _SCALED}
    return PresenceServer(Settings.model_validate({"port": 0, "stats_interval": 0, **quick, **changes}))


async def until(condition: Callable[[], object]) -> None:
    """Wait for something that will happen soon."""
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0.001)


def engine(house: PresenceServer) -> Engine:
    """The inside of a running server."""
    assert house._parts
    return house._parts.engine


def metric(house: PresenceServer, name: str) -> float:
    return engine(house).metrics.registry.get_sample_value(name) or 0.0
