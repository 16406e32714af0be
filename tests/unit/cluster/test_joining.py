"""A node that starts: what it waits for, and what it says meanwhile."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from presenced.cluster import factory
from presenced.cluster.backend import Member
from presenced.cluster.factory import ClusterNode
from presenced.cluster.members import Figures
from presenced.cluster.notices import Notices
from presenced.config.settings import Settings
from presenced.errors import BackendError

pytestmark = pytest.mark.anyio


class FakeBackend:
    """A store that responds to the check, and has a problem later."""

    def __init__(self, missing: str = "") -> None:
        self.missing = missing
        self.conflict = ""
        self.trouble = ""
        self.cluster_name = "presenced"

    async def check(self) -> str:
        missing, self.missing = self.missing, ""
        return missing

    async def members(self) -> list[Member]:
        return []


class FakeCluster:
    """The node's part in the cluster."""

    on_ready: Callable[[], None]

    def start(self) -> None:
        """Do nothing."""


class Joining:
    """A node that joins."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, missing: str = "") -> None:
        monkeypatch.setattr(factory, "RETRY_S", 0.001)
        self.backend, self.cluster = FakeBackend(missing), FakeCluster()
        node = SimpleNamespace(publisher=SimpleNamespace(), settings=Settings())
        notices = Notices("a", "presenced", Figures())
        self.node = ClusterNode(cast("Any", self.cluster), cast("Any", self.backend), cast("Any", node), notices)
        self.task = asyncio.create_task(self.node.join())


def events(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the events in the log."""
    return [record.event for record in caplog.records if hasattr(record, "event")]


async def until(condition: Callable[[], bool]) -> None:
    """Wait until something holds."""
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.001)


async def test_a_node_says_that_it_waits_if_the_store_is_lost_after_the_check(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    joining = Joining(monkeypatch)
    await asyncio.sleep(0.01)
    assert events(caplog) == []
    joining.backend.trouble = "connection refused"
    await until(lambda: events(caplog) == ["cluster_waits"])
    assert "connection refused" in caplog.text
    joining.cluster.on_ready()
    await joining.task
    assert events(caplog) == ["cluster_waits"]


async def test_a_node_that_joins_at_once_says_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    joining = Joining(monkeypatch)
    await asyncio.sleep(0)
    joining.cluster.on_ready()
    await joining.task
    assert events(caplog) == []


async def test_a_node_with_another_number_of_shards_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    joining = Joining(monkeypatch, "connection refused")
    joining.backend.conflict = "the store has layout 1 and 8 shards"
    with pytest.raises(BackendError, match="8 shards"):
        await joining.task
