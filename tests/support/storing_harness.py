"""Node with a write-behind on a fake clock, and a storage worker that records what it receives."""

from __future__ import annotations

from typing import Any

from tests.support.fakes import FakeConnection
from tests.support.nodes import make_node, request

from presenced.config.settings import Settings
from presenced.node.service import PresenceService
from presenced.presence.model import Ending
from presenced.storage.collected import STATE_PERIOD_S
from presenced.storage.records import Record
from presenced.storage.write_behind import FLUSH_DELAY_S
from presenced.testing import FakeClock
from presenced.worker.rpc import MESSAGE_HEADER, RecordBatch, encode_message, to_worker


class FakeStorageWorker:
    """Storage worker that accepts `room` more batches."""

    def __init__(self) -> None:
        self.room = 1000
        self.records: list[Record] = []
        self.warning = ""

    @property
    def accepts_batch(self) -> bool:
        """Whether the worker accepts a batch."""
        return self.room > 0

    def store_batch(self, records: list[Record], position: int) -> None:
        """Record a batch, after it has been encoded and decoded."""
        assert records
        self.room -= 1
        batch = to_worker.decode(encode_message(RecordBatch(1, position, records))[MESSAGE_HEADER.size :])
        assert isinstance(batch, RecordBatch)
        assert batch.records == records
        self.records += batch.records

    def of(self, kind: type[Any]) -> list[Any]:
        """Return the records of one class."""
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
            self.write_behind.finish_restore(0)

    def open(self, user_id: str = "ada", subprotocol: str = "") -> FakeConnection:
        """Connect a user."""
        connection = FakeConnection(self.node.closed)
        connection.throttle_key = "192.0.2.1"
        self.node.opened(connection, request(f"userId={user_id}", subprotocol))
        return connection

    def close(self, connection: FakeConnection) -> None:
        """Close a connection deliberately."""
        self.node.closed(connection, Ending.CLOSED, "closed")

    def pass_period(self) -> None:
        """Let time pass until users and sessions are due."""
        self.clock.advance(STATE_PERIOD_S)

    def metric(self, name: str) -> float:
        """Return the value of a metric; 0 if it has none yet."""
        return self.node.metrics.registry.get_sample_value(name) or 0.0


def change_often(storing: StoringNode, seconds: float, per_second: float, users: int) -> int:
    """Make changes of `users` users in turn, online and then offline, at this rate. Return the number of changes."""
    application, changes = PresenceService(storing.node), 0
    for _ in range(round(seconds / FLUSH_DELAY_S)):
        for _ in range(round(per_second * FLUSH_DELAY_S)):
            application.announce(f"user{changes // 2 % users}", changes % 2 == 0)
            changes += 1
        storing.clock.advance(FLUSH_DELAY_S)
    return changes
