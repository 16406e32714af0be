"""A database in memory that the nodes of a cluster share, and their storage workers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from presenced.cluster.history.write_behind import SharedWriteBehind
from presenced.presence.model import Change
from presenced.storage.records import Record, RoomOccupancy, StoredClaim, StoredSession, StoredUser
from presenced.testing import FakeClock
from presenced.worker.rpc import (
    CheckAbsences,
    EndSessions,
    LeaveShard,
    Method,
    ShardLost,
    ShardTaken,
    TakeShard,
    ToWorker,
    WorkerCall,
)


class FakeDatabase:
    """Rows, and who writes which shard up to where."""

    def __init__(self) -> None:
        self.log: dict[int, tuple[str, int, str]] = {}
        """Epoch, number and writer of each shard."""
        self.changes: dict[tuple[int, int], Change] = {}
        """By shard and position, in the order in which they were stored first."""
        self.stored_twice = 0
        self.users: dict[str, StoredUser] = {}
        self.claims: dict[tuple[str, str], StoredClaim] = {}
        self.rooms: list[RoomOccupancy] = []
        self.sessions: list[StoredSession] = []
        self.ended: list[EndSessions] = []
        self.absence_checks: list[CheckAbsences] = []

    def history(self, user_id: str) -> list[tuple[str, int]]:
        """Return the stored statuses and versions of a user, in the order in which they were stored."""
        return [(one.status.value, one.version) for one in self.changes.values() if one.user_id == user_id]

    def put(self, shard: int, record: Record, may_repeat: bool) -> None:
        """Store a record as the tables do."""
        match record:
            case Change() if may_repeat and self._is_repeated(record):
                pass
            case Change():
                key = shard, record.position
                self.stored_twice += key in self.changes
                self.changes.setdefault(key, record)
            case StoredUser(user_id=user_id):
                if user_id not in self.users or record.version >= self.users[user_id].version:
                    self.users[user_id] = record
            case StoredClaim():
                self.claims[record.user_id, record.source] = record
            case RoomOccupancy():
                self.rooms.append(record)
            case StoredSession():
                self.sessions.append(record)

    def _is_repeated(self, change: Change) -> bool:
        last = [one for one in self.changes.values() if one.user_id == change.user_id][-1:]
        return [(one.view, one.since_ms) for one in last] == [(change.view, change.since_ms)]


class FakeClusterWorker:
    """Storage worker of one node (`ClusterStorageWorker`).

    Args:
        delay: Returns the seconds until the worker has stored a batch, or answered a message.
    """

    def __init__(
        self, database: FakeDatabase, clock: FakeClock, epoch: str, delay: Callable[[], float] = lambda: 0.001
    ) -> None:
        self.epoch = epoch
        self.warning = ""
        self.is_storing = True
        self.is_dead = False
        self.write_behind: SharedWriteBehind
        self._database = database
        self._clock = clock
        self._delay = delay
        self._held: set[int] = set()
        self._in_flight = 0
        self._busy_until = 0.0

    @property
    def accepts_batch(self) -> bool:
        """Whether it accepts a batch."""
        return self.is_storing and self._in_flight < 4

    def store_batch(
        self, records: list[Record], position: int, shard: int = -1, n: int = 0, may_repeat: bool = False
    ) -> None:
        """Store a batch later."""
        self._in_flight += 1

        def store() -> None:
            self._in_flight -= 1
            if shard >= 0 and not self._may_write(shard, n):
                self.write_behind.shard_answered(ShardLost(shard))
                return
            for record in records:
                self._database.put(shard, record, may_repeat)
            if shard >= 0:
                self.write_behind.shard_stored(shard, n)
            if self.write_behind.is_blocked:
                self.write_behind.flush()

        self._later(store)

    def post(self, message: ToWorker) -> None:
        """Handle a message later."""
        self._later(lambda: self._handle(message))

    def _handle(self, message: ToWorker) -> None:
        database = self._database
        match message:
            case TakeShard(shard, epoch):
                known, n, _ = database.log.get(shard, ("", 0, ""))
                n = n if known == epoch else 0
                database.log[shard] = epoch, n, self.epoch
                self._held.add(shard)
                versions = [one.position for one in database.rooms]
                self.write_behind.shard_answered(ShardTaken(shard, n, max(versions, default=0)))
            case LeaveShard(shard):
                self._held.discard(shard)
            case EndSessions():
                database.ended.append(message)
            case CheckAbsences():
                database.absence_checks.append(message)
            case WorkerCall(_, Method.ERASE, (user_id,)):
                database.users.pop(user_id, None)
                for key in [key for key, one in database.changes.items() if one.user_id == user_id]:
                    del database.changes[key]

    def _may_write(self, shard: int, n: int) -> bool:
        epoch, known, writer = self._database.log.get(shard, ("", 0, ""))
        if shard not in self._held or writer != self.epoch:
            self._held.discard(shard)
            return False
        self._database.log[shard] = epoch, max(n, known), writer
        return True

    def _later(self, action: Callable[[], Any]) -> None:
        """Act after a delay, and after everything before."""
        self._busy_until = max(self._busy_until, self._clock.monotonic() + self._delay())
        self._clock.call_at(self._busy_until, lambda: None if self.is_dead else action())
