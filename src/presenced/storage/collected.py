"""Records that wait to be sent to the storage worker, merged by key.

`storage.write_behind` describes the life of a record, and the bounds. A server that is alone has one collection. In a
cluster, a node has another one for each shard that it writes.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Iterable
from itertools import islice
from typing import Generic, TypeVar

from presenced.presence.model import Change
from presenced.runtime.metrics import Metrics
from presenced.storage.records import (
    Record,
    RoomOccupancy,
    StoredClaim,
    StoredRevocation,
    StoredSession,
    StoredUser,
    is_about,
)

STATE_PERIOD_S = 0.25
"""Seconds for which users and sessions are collected after some were sent. A server that is killed should lose at most
one second of last seen. The rest of that second is for writing."""

MAX_BATCH_RECORDS = 400
"""Maximum number of records of one kind in a batch, so that making and encoding it takes a few milliseconds at most.
More of them wait for the next flush."""

MAX_WAITING = 100_000
"""Maximum number of waiting records of each kind; the table in `storage.write_behind` says what happens beyond it."""

U = TypeVar("U")
K = TypeVar("K")
V = TypeVar("V")


class CollectedRecords(Generic[U]):
    """Waiting records: users, sessions, changes, and all others by key.

    `U` is the type of a waiting user, from which `_record_of` makes the record when it is sent.

    Bounds: `MAX_WAITING` records of each kind.
    """

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._users: dict[str, U] = {}
        """Users who may have changed since users were last due."""
        self._sessions: dict[str, StoredSession] = {}
        self._changes: list[Change | RoomOccupancy] = []
        self._others: dict[tuple[str, str, str], StoredClaim | StoredRevocation] = {}
        self._collected_since: float | None = None
        """Monotonic time of the oldest event in these four, or a little earlier; None if they are empty."""
        self._due_users: dict[str, U] = {}
        self._due_sessions: dict[str, StoredSession] = {}
        self._due_since: float | None = None
        self._next_due = 0.0
        self._ending = False
        """Whether everything is due immediately, because the server stops, or leaves the storing to another node."""

    @abstractmethod
    def _record_of(self, user: U) -> StoredUser:
        """Return the record of a user."""

    @property
    def waiting(self) -> int:
        """Number of records that wait to be sent."""
        return self._count()

    def _count(self) -> int:
        due = len(self._due_users) + len(self._due_sessions)
        return due + len(self._users) + len(self._sessions) + len(self._changes) + len(self._others)

    @property
    def waiting_since(self) -> float | None:
        """Monotonic time since which the oldest record has been waiting; None if nothing waits."""
        return self._collected_since if self._due_since is None else self._due_since

    def waiting_of(self, user_ids: Collection[str]) -> dict[str, StoredUser]:
        """Return the state of each of these users whose record waits."""
        found = ((user_id, self._users.get(user_id) or self._due_users.get(user_id)) for user_id in user_ids)
        return {user_id: self._record_of(user) for user_id, user in found if user is not None}

    def forget(self, user_id: str) -> None:
        """Discard everything that waits about a user, because the user is being erased."""
        self._users.pop(user_id, None)
        self._due_users.pop(user_id, None)
        self._sessions, self._due_sessions = (
            {key: record for key, record in sessions.items() if not is_about(record, user_id)}
            for sessions in (self._sessions, self._due_sessions)
        )
        self._changes = [one for one in self._changes if not is_about(one, user_id)]
        self._others = {key: record for key, record in self._others.items() if not is_about(record, user_id)}
        if not self._count():  # otherwise the next event would not schedule a flush
            self._collected_since = self._due_since = None

    def _batch(self, now: float) -> list[Record]:
        """Remove and return the next records that are due."""
        records: list[Record] = [*_take(self._others), *self._changes[:MAX_BATCH_RECORDS]]
        del self._changes[:MAX_BATCH_RECORDS]
        if now >= self._next_due and not self._due_users and not self._due_sessions:
            self._make_due(now)
        sessions, users = _take(self._due_sessions), _take(self._due_users)
        records += [*sessions, *map(self._record_of, users)]
        if not self._due_users and not self._due_sessions:
            self._due_since = None
        if not self._count():
            self._collected_since = None
        return records

    def _make_due(self, now: float) -> None:
        self._due_users, self._users = self._users, {}
        self._due_sessions, self._sessions = self._sessions, {}
        if self._due_users or self._due_sessions:
            self._due_since = self._collected_since
            self._next_due = now if self._ending else now + STATE_PERIOD_S
        if not self._others:  # only changes can be left, and each knows the time of its event
            oldest = next((one.at.monotonic for one in self._changes if isinstance(one, Change)), now)
            self._collected_since = oldest if self._changes else None

    def _apply_bounds(self) -> None:
        dropped = _trim(self._users, MAX_WAITING - len(self._due_users))
        dropped += _trim(self._sessions, MAX_WAITING - len(self._due_sessions))
        dropped += _trim(self._others, MAX_WAITING)
        if (waiting := len(self._changes)) > MAX_WAITING:
            # Merging 100,000 changes takes 8 ms of CPU if they are of 100 users, and 51 ms if each is of another user.
            # So only half the bound stays, and the next merge is many flushes later.
            latest = _latest(self._changes)
            self._changes = latest[-(MAX_WAITING // 2) :]
            self._metrics.records_merged.inc(waiting - len(latest))
            dropped += len(latest) - len(self._changes)
        self._metrics.records_dropped.inc(dropped)


def _latest(changes: Iterable[Change | RoomOccupancy]) -> list[Change | RoomOccupancy]:
    """Return the newest change of each user and room, in order."""
    # The key of a room is a tuple, so that it differs from that of a user with the same name.
    latest = {one.user_id if isinstance(one, Change) else (one.room,): one for one in changes}
    return sorted(latest.values(), key=lambda one: one.position)


def _take(waiting: dict[K, V]) -> list[V]:
    """Remove and return the oldest values, up to `MAX_BATCH_RECORDS`."""
    return [waiting.pop(key) for key in list(islice(waiting, MAX_BATCH_RECORDS))]


def _trim(waiting: dict[K, V], limit: int) -> int:
    """Drop the oldest entries beyond `limit`. Return their number."""
    excess = list(islice(waiting, max(0, len(waiting) - limit)))
    for key in excess:
        del waiting[key]
    return len(excess)
