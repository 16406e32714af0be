"""An node that keeps, on a fake clock, with a keeper that shows what it was given."""

from __future__ import annotations

from typing import Any

from tests.support.fakes import FakeConnection

from presenced.config.settings import Settings
from presenced.node.node import Node
from presenced.presence.model import Ending
from presenced.runtime.metrics import Metrics
from presenced.storage.noted import STATE_PERIOD
from presenced.storage.records import Fact
from presenced.storage.write_behind import PERIOD
from presenced.testing import FakeClock
from presenced.worker.rpc import HEADER, Batch, encode, to_keeper


class FakeKeeper:
    """Takes as many batches as it is told to."""

    def __init__(self) -> None:
        self.room = 1000
        self.facts: list[Fact] = []
        self.warning = ""

    @property
    def takes(self) -> bool:
        return self.room > 0

    def give(self, facts: list[Fact], position: int) -> None:
        assert facts
        self.room -= 1
        batch = to_keeper.decode(encode(Batch(1, position, facts))[HEADER.size :])
        assert isinstance(batch, Batch)
        assert batch.facts == facts
        self.facts += batch.facts

    def of(self, kind: type[Any]) -> list[Any]:
        return [fact for fact in self.facts if isinstance(fact, kind)]


class StoringHarness:
    """Server parts around a recorder.

    Args:
        restored: Everything is already restored.
    """

    def __init__(self, restored: bool = True, **settings: object) -> None:
        self.clock = FakeClock()
        self.keeper = FakeKeeper()
        self.node = Node(Settings.model_validate(settings), self.clock, Metrics(), 1000, keeper=self.keeper)
        assert self.node.recorder
        self.recorder = self.node.recorder
        if restored:
            self.recorder.begin(0)

    def open(self, user_id: str = "ada", subprotocol: str = "") -> FakeConnection:
        connection = FakeConnection(self.node.closed)
        connection.address = "192.0.2.1"
        self.node.opened(connection, f"userId={user_id}".encode(), b"", subprotocol)
        return connection

    def close(self, connection: FakeConnection) -> None:
        self.node.closed(connection, Ending.CLOSED, "closed")

    def pass_period(self) -> None:
        self.clock.advance(STATE_PERIOD)


def come_and_go(harness: StoringHarness, seconds: float, per_second: float, users: int) -> int:
    """So many changes a second, of these users in turn. How many that were."""
    changes = 0
    for _ in range(round(seconds / PERIOD)):
        for _ in range(round(per_second * PERIOD / 2)):
            harness.close(harness.open(f"user{changes // 2 % users}"))
            changes += 2
        harness.clock.advance(PERIOD)
    return changes
