"""A node that stores, on a fake clock, with a storage worker that shows what it was given."""

from __future__ import annotations

from typing import Any

from tests.support.fakes import FakeConnection
from tests.support.nodes import make_node, request

from presenced.config.settings import Settings
from presenced.node.service import PresenceService
from presenced.presence.model import Ending
from presenced.storage.records import Record
from presenced.storage.write_behind import PERIOD_S, STATE_PERIOD_S
from presenced.testing import FakeClock
from presenced.worker.rpc import HEADER, RecordBatch, encode, to_worker


class FakeStorageWorker:
    """Storage worker that accepts `room` more batches."""

    def __init__(self) -> None:
        self.room = 1000
        self.records: list[Record] = []
        self.warning = ""

    @property
    def takes(self) -> bool:
        return self.room > 0

    def give(self, records: list[Record], position: int) -> None:
        assert records
        self.room -= 1
        batch = to_worker.decode(encode(RecordBatch(1, position, records))[HEADER.size :])
        assert isinstance(batch, RecordBatch)
        assert batch.records == records
        self.records += batch.records

    def of(self, kind: type[Any]) -> list[Any]:
        return [record for record in self.records if isinstance(record, kind)]


class StoringNode:
    """Node with a write-behind.

    Args:
        restored: Whether everything is restored already.
    """

    def __init__(self, restored: bool = True, **settings: object) -> None:
        self.clock = FakeClock()
        self.worker = FakeStorageWorker()
        self.node = make_node(Settings.model_validate(settings), self.clock, storage_worker=self.worker)
        assert self.node.storage
        self.write_behind = self.node.storage
        if restored:
            self.write_behind.begin(0)

    def open(self, user_id: str = "ada", subprotocol: str = "") -> FakeConnection:
        connection = FakeConnection(self.node.closed)
        connection.address = "192.0.2.1"
        self.node.opened(connection, request(f"userId={user_id}", subprotocol))
        return connection

    def close(self, connection: FakeConnection) -> None:
        self.node.closed(connection, Ending.CLOSED, "closed")

    def pass_period(self) -> None:
        self.clock.advance(STATE_PERIOD_S)

    def metric(self, name: str) -> float:
        return self.node.metrics.registry.get_sample_value(name) or 0.0


def change_often(storing: StoringNode, seconds: float, per_second: float, users: int) -> int:
    """Make so many changes a second, of these users in turn: online, then offline. Return their number."""
    application, changes = PresenceService(storing.node), 0
    for _ in range(round(seconds / PERIOD_S)):
        for _ in range(round(per_second * PERIOD_S)):
            application.announce(f"user{changes // 2 % users}", changes % 2 == 0)
            changes += 1
        storing.clock.advance(PERIOD_S)
    return changes
