"""Write-behind: collects records of events, and sends them to the storage worker in batches.

The live process never waits for a database. An event costs it a dictionary entry or an append, 2.1 µs of its CPU per
change of the classic protocol (`benchmarks/write_behind.py`). The rest happens up to a quarter of a second later.

Life of a record:

    event -> collected -> (due) -> batch -> worker -> transaction -> confirmed
             | here                | `worker.client`  | `worker.program`

1. *Collected.* For a user, only a reference is stored. The record is made when it is sent, so any number of events in
   between is one row. A session has one record, which is updated in place. Changes and occupancies of rooms are events,
   and all of them are sent, in order. Claims and revocations are few, and the newest of each key is sent.
2. *Due.* Changes, claims and revocations are due at once, users and sessions at most every `STATE_PERIOD_S`. A user who
   reloads a page, or changes ten times while the database is slow, is one row. A flush runs `FLUSH_DELAY_S` after an
   event and again until nothing waits. An idle server has no timer.
3. *Batch.* A flush sends at most `MAX_BATCH_RECORDS` of each kind if the worker accepts a batch. While it does not,
   everything waits here, and a flush every `BLOCKED_PERIOD_S` applies the bounds.
4. *Worker.* The worker writes all batches that have arrived in one transaction and confirms them. The client sends
   unconfirmed batches again to a new worker. Writing a batch twice changes nothing, so nothing is lost or doubled.

| bound | at the bound |
|---|---|
| `MAX_WAITING` users, sessions, claims with revocations | the oldest are dropped |
| `MAX_WAITING` changes | only the newest of each user and room stays, and of these only the newest `MAX_WAITING / 2` |

So under overload the history has gaps. The last state of each user and room is still stored and sent to webhooks,
unless more than half the bound of them wait. Metrics call records *facts*: `presenced_storage_facts_merged_total`
counts changes replaced by a newer one, and `presenced_storage_facts_dropped_total` everything else that is discarded.

*Restoring.* At a start the worker sends choices, display data, claims and revocations (`restore`). They may arrive long
after the server has begun to serve. Decisions made since then take precedence (`presence.restore`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from math import inf
from typing import Any, Protocol

from msgspec import UNSET

from presenced.config.settings import Settings
from presenced.delivery.connection import Connection
from presenced.errors import CapacityError
from presenced.presence.directory import Directory
from presenced.presence.model import AS_DETECTED, NO_DISPLAY, Choice, Status, StatusDetails
from presenced.presence.outcome import Outcome
from presenced.presence.rooms import RoomChange, Rooms
from presenced.presence.status import CLAIMABLE, Claim, TimedChoice, choice_of
from presenced.presence.user import User
from presenced.protocols.v1 import codec as v1
from presenced.runtime.clock import Clock, Timer
from presenced.runtime.instant import Instant
from presenced.runtime.metrics import Metrics
from presenced.runtime.text import refused_character
from presenced.storage.collected import CollectedRecords
from presenced.storage.records import (
    Record,
    Restored,
    RestoredChoices,
    RestoredDisplay,
    RoomOccupancy,
    StoredClaim,
    StoredRevocation,
    StoredSession,
    StoredUser,
    choice_from,
    choice_json,
)

FLUSH_DELAY_S = 0.02
"""Seconds from an event to the flush. Events in between share a batch."""

BLOCKED_PERIOD_S = 1.0
"""Seconds between two flushes while the worker accepts nothing. A confirmed batch causes a flush earlier."""

MAX_ADDRESS_CHARACTERS = 64
"""Maximum number of characters of a stored address, the length of its column. A longer one is truncated."""

MAX_SUBJECT_CHARACTERS = 255
"""Maximum number of characters of a revocation's subject, the length of its column. User ids are shorter. A longer
token id is not stored, so its revocation ends with the server."""


class StorageWorker(Protocol):
    """Receiver of batches (`worker.client.WorkerClient`)."""

    @property
    def accepts_batch(self) -> bool:
        """Whether the worker accepts a batch now. If not, the caller keeps its records and asks again later."""

    @property
    def warning(self) -> str:
        """Text for operators about a fault; empty if there is none."""

    def store_batch(self, records: list[Record], position: int) -> None:
        """Store a batch. This neither waits nor fails. `position` is `WriteBehind.position`."""


class WriteBehind(CollectedRecords[User[Any]]):
    """Collects records of events, sends them to the storage worker, and restores what was stored before the start.

    Bounds: `MAX_WAITING` records of each kind.

    Args:
        apply: Function that notifies users and watchers of an outcome.
        restore_revocations: Function that takes revocations from before the start.
    """

    def __init__(
        self,
        *,
        settings: Settings,
        clock: Clock,
        timer: Timer,
        metrics: Metrics,
        worker: StorageWorker,
        directory: Directory[Any],
        rooms: Rooms,
        apply: Callable[[Outcome[Any], Instant], None],
        restore_revocations: Callable[[Sequence[StoredRevocation]], None],
    ) -> None:
        super().__init__(metrics)
        self._worker = worker
        self._clock = clock
        self._timer = timer
        self._directory = directory
        self._rooms = rooms
        self._apply = apply
        self._restore_revocations = restore_revocations
        self._with_changes = settings.history_age > 0 or bool(settings.webhook_urls)
        self._with_addresses = settings.keep_addresses
        self._is_draining = False
        """Whether the server is stopping. Nobody is notified of changes then."""
        self._is_applying_restored = False
        """Whether the outcome being applied is that of restored data."""
        self.is_blocked = False
        """Whether something waits that the worker does not accept."""
        directory.begin_restore()
        metrics.gauge("presenced_storage_waiting_facts", "Records that wait to be sent.", lambda: self.waiting)

    # Events. They run for each event of the node, so they do as little as possible.

    def store_outcome(self, outcome: Outcome[Any], is_draining: bool) -> None:
        """Collect the user of an outcome, and the change if there is one.

        Args:
            is_draining: Whether the server is stopping. Then nobody is notified of the change, and it is not stored.
        """
        self._is_draining = is_draining
        if self._is_applying_restored and outcome.change is None:
            return  # it is in the database, where the row may belong to another server by now
        if (user := self._directory.users.user(outcome.user_id)) is not None:
            self._users[outcome.user_id] = user
        elif outcome.user_id:
            self._collect_evicted(outcome.user_id)
        if (change := outcome.change) is not None and not is_draining and self._with_changes:
            self._changes.append(change)
        if self._collected_since is None:
            self._flush_later()

    def opened(self, connection: Connection) -> None:
        """Collect a session that opened, or was resumed.

        The caller applies an outcome next, which schedules the flush.
        """
        session = connection.session
        record = session.stored
        if isinstance(record, StoredSession):
            record.connection_id, record.closed_ms, record.reason = connection.connection_id, None, ""
        else:
            record = StoredSession(
                session_key=connection.connection_id,
                user_id=connection.user_id,
                connection_id=connection.connection_id,
                session=_digest_of(session.session_id),
                protocol="presenced.v1" if session.session_id else "classic",
                device=session.device,
                address=(connection.throttle_key[:MAX_ADDRESS_CHARACTERS] or None) if self._with_addresses else None,
                opened_ms=connection.opened_ms,
            )
        session.stored = self._sessions[record.session_key] = record

    def closed(self, connection: Connection, reason: str, now: Instant) -> None:
        """Collect a session whose connection ended. No-op if another connection has resumed it.

        The caller applies an outcome next, which schedules the flush.
        """
        record = connection.session.stored
        if connection.session.connection is connection and isinstance(record, StoredSession):
            record.closed_ms, record.reason = now.epoch_ms, reason
            self._sessions[record.session_key] = record

    def room_changed(self, change: RoomChange, now: Instant) -> None:
        """Collect the occupancy of a room if this change of a member changed it."""
        if self._with_changes and change.occupied is not None:
            self._changes.append(RoomOccupancy(change.position, change.room, change.occupied, now.epoch_ms))
            self._flush_later()

    def revoked(self, revocation: StoredRevocation) -> None:
        """Collect a revocation, unless the database cannot hold its subject."""
        subject = revocation.subject
        if len(subject) <= MAX_SUBJECT_CHARACTERS and not refused_character(subject):
            self._others["revocation", revocation.kind, subject] = revocation
            self._flush_later()

    def claimed(self, user_id: str, claim: Claim) -> None:
        """Collect a claim that a backend set."""
        details = claim.details
        self._others["claim", user_id, claim.source] = StoredClaim(
            user_id=user_id,
            source=claim.source,
            status=claim.status,
            text=details.text,
            emoji=details.emoji,
            data=details.data,
            priority=claim.priority,
            set_ms=claim.set_ms,
            until_ms=details.until_ms or None,
        )
        self._flush_later()

    def unclaimed(self, user_id: str, source: str) -> None:
        """Collect a claim that a backend cleared."""
        self._others["claim", user_id, source] = StoredClaim(user_id, source)
        self._flush_later()

    # State.

    @property
    def is_restoring(self) -> bool:
        """Whether data from before the start has yet to be restored."""
        return self._directory.since_start is not None

    @property
    def warning(self) -> str:
        """Text for operators about a fault of storage; empty if there is none."""
        return self._worker.warning

    @property
    def position(self) -> int:
        """Highest number that was used as a position or version."""
        return max(self._directory.users.journal.position, self._directory.users.versions.newest)

    def absent(self, users: Iterable[str], rooms: Iterable[str]) -> tuple[list[str], list[str]]:
        """Return which of these users are shown offline now, and which of these rooms are empty.

        Return empty lists while the server stops: nobody is notified that users leave because of that.
        """
        if self._is_draining:
            return [], []
        offline = [user_id for user_id in users if self._directory.users.status(user_id) is Status.OFFLINE]
        return offline, [name for name in rooms if self._rooms.get(name) is None]

    # In a cluster, whose class overrides them (`cluster.history.history`).

    def shard_answered(self, answer: object) -> None:
        """Take the answer of the worker about a shard (`ShardTaken`, `ShardLost`)."""

    def shard_stored(self, shard: int, n: int) -> None:
        """Record that the log of a shard is stored up to a number."""

    # To the worker.

    def flush(self) -> None:
        """Send one batch of what is due, if the worker accepts it. Call this again when it accepts more."""
        now = self._clock.monotonic()
        self._send_due(now)
        self._apply_bounds()
        self.is_blocked = bool(self.waiting) and not self._worker.accepts_batch
        if not self.waiting:
            self._timer.cancel(self.flush)
        else:
            self._timer.set(self.flush, now + (BLOCKED_PERIOD_S if self.is_blocked else FLUSH_DELAY_S))

    def finish(self) -> None:
        """Send everything without delay from now on, because the server stops."""
        self._ending, self._next_due = True, 0.0
        self.flush()

    def _send_due(self, now: float) -> None:
        if self._worker.accepts_batch and (records := self._batch(now)):
            self._worker.store_batch(records, self.position)

    def _record_of(self, user: User[Any]) -> StoredUser:
        if user.version:
            return stored_user(user, user.version)
        # The database keeps a row with a higher version, so a decision that others do not see needs a version, too.
        # A user who was evicted and is back has versions below it: the newer state replaces the waiting one then.
        latest = self._users.get(user.user_id, user)
        return stored_user(latest, latest.version or self._directory.users.versions.of_unknown()(user.user_id))

    def _collect_evicted(self, user_id: str) -> None:
        """Collect that nothing is set for a user, because the event cleared the last thing that was.

        A waiting record of the user stays, because it has the times, and it was cleared as well.
        """
        if user_id not in self._users:
            display = self._directory.users.displays.get(user_id) or NO_DISPLAY
            self._users[user_id] = User(user_id, display=display)

    def _flush_later(self) -> None:
        if self._collected_since is None:
            self._collected_since = now = self._clock.monotonic()
            self._timer.set(self.flush, now + FLUSH_DELAY_S)

    # From the worker.

    def restore(self, records: Sequence[Restored]) -> None:
        """Restore data from before the start. Decisions made since then take precedence (`presence.restore`)."""
        now = self._clock.now()
        for record in records:
            match record:
                case RestoredChoices():
                    self._restore_choices(record, now)
                case RestoredDisplay(user_id, display):
                    if v1.is_display(display):  # another program may have written the row
                        self._apply_restored(self._directory.restore_display(user_id, v1.compact(display), now), now)
                case StoredClaim():
                    self._restore_claim(record, now)
        if revocations := [record for record in records if isinstance(record, StoredRevocation)]:
            self._restore_revocations(revocations)

    def start_above(self, position: int) -> None:
        """Let the first position be above `position`. Call this before the first change."""
        assert self._directory.users.journal.position == 0, "no position has been used"
        self._directory.begin_above(position)

    def finish_restore(self, position: int) -> None:
        """Finish the restore. The next positions are above `position`."""
        self._directory.begin_above(position)
        self._directory.end_restore()
        self.flush()

    def _restore_choices(self, record: RestoredChoices, now: Instant) -> None:
        stored = [TimedChoice(choice) for choice in _choices(record.chosen)]
        for choice in _choices(record.timed):
            left_s = (choice.details.until_ms - now.epoch_ms) / 1000
            stored += [TimedChoice(choice, now.monotonic + left_s)] if left_s > 0 else []
        self._apply_restored(self._directory.restore_choices(record.user_id, tuple(stored), now), now)

    def _restore_claim(self, record: StoredClaim, now: Instant) -> None:
        user, since = self._directory.users.user(record.user_id), self._directory.since_start
        is_decided = since is not None and since.has_claim(record.user_id, record.source)
        if is_decided or (user is not None and any(claim.source == record.source for claim in user.claims)):
            return
        left_s = inf if record.until_ms is None else (record.until_ms - now.epoch_ms) / 1000
        if record.status not in CLAIMABLE or left_s <= 0:
            return
        details = StatusDetails(record.text, record.emoji, _readable(record.data), record.until_ms or 0)
        ends = now.monotonic + left_s
        claim = Claim(record.source, Status(record.status), details, record.priority, record.set_ms, ends)
        with suppress(CapacityError):  # other sources have used up the user's claims since
            self._apply_restored(self._directory.set_claim(record.user_id, claim, now), now)

    def _apply_restored(self, outcome: Outcome[Any], now: Instant) -> None:
        """Apply the outcome of restored data. The user is collected only if others see a change."""
        self._is_applying_restored = True
        try:
            self._apply(outcome, now)
        finally:
            self._is_applying_restored = False


def stored_user(user: User[Any], version: int) -> StoredUser:
    """Return the record of a user as others see them. An invisible user was last seen when they became invisible.

    Args:
        version: Version of the row: that of the user, or one in its place if others have seen no change of the user.
    """
    change, seen_ms, active_ms = user.last_change, user.seen_ms, user.active_ms
    # If the record has waited for long, the change may have left the journal.
    last = change or user.departure
    if user.shown.status is Status.OFFLINE:
        seen_ms = last.seen_ms
        active_ms = min(active_ms, seen_ms)
    chosen = b"" if user.chosen == AS_DETECTED else choice_json(user.chosen)
    timed = choice_json(user.timed) if user.timed else b""
    times = last.since_ms, seen_ms, active_ms
    return StoredUser(user.user_id, user.shown.status, version, *times, chosen, timed, user.display.data)


def _digest_of(session_id: str) -> str:
    """Return a digest of a session id, because the id is a secret; empty for a classic session, which has none."""
    return hashlib.blake2b(session_id.encode(), digest_size=16).hexdigest() if session_id else ""


def _choices(stored: bytes) -> list[Choice]:
    """Return the stored choice; none if it is invalid, since another program may have written the row."""
    if (choice := choice_from(stored)) is None:
        return []
    data = b"" if choice.data is UNSET else bytes(choice.data)
    with suppress(ValueError):  # another release may have allowed this choice
        return [choice_of(choice.status, choice.text, choice.emoji, _readable(data), choice.until)]
    return []


def _readable(stored: bytes) -> bytes:
    """Return stored JSON as clients receive it, on one line; empty if clients could not read it.

    Another program, or an earlier version, may have written it.
    """
    return v1.compact(stored) if v1.can_be_read(stored) else b""
