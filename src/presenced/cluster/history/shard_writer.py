"""Designated writer of one shard: a state machine without a clock or a socket.

                 designated              taken in the database         has read the log up to the applied entry
    IDLE ----------------> TAKING ----------------> CATCHING_UP ----------------> LIVE
      ^                      |                           |   ^                     |
      '-- not designated, lost to another node ----------'   '---- reloaded -------'

Everything comes from the log, even events of this node. So each item is stored once and in order, whichever node is
the writer. An item is collected when it is read, and sent to the storage worker with the next batch. The *checkpoint*
is the number up to which everything is in the batches so far. The worker stores it together with the batch, and the
next writer continues there:

    log            ... 96  97  98  99  100  101  102  103
    collected      ----------------------------------->|     `collected_n` is 103
    changes sent   -------------------->|                    the next change that waits is 101
    users sent     ------------>|                            users are sent four times a second
    checkpoint     ------------>|

Storing an item twice does no harm, because rows have keys and versions (`storage.store`).

If the log does not reach back to the checkpoint, the *current states* of all users are stored after the rest of it.
"""

from __future__ import annotations

from collections.abc import Set
from enum import Enum
from typing import Any, NamedTuple

from msgspec.structs import replace

from presenced.cluster.backend import Entry, Item
from presenced.cluster.records import UserRecord, decode_record
from presenced.cluster.sharding import shard_of
from presenced.presence.model import AS_DETECTED, NO_DISPLAY, SEEN_OFFLINE, Change, Choice, Display, Status
from presenced.presence.rooms import Rooms
from presenced.presence.user import User
from presenced.presence.users import Users
from presenced.runtime.instant import Instant
from presenced.runtime.metrics import Metrics
from presenced.storage.collected import MAX_BATCH_RECORDS, CollectedRecords
from presenced.storage.records import Record, RoomOccupancy, StoredClaim, StoredUser, choice_json
from presenced.storage.write_behind import stored_user

IDLE_ITEMS = 1_000
"""Numbers of the log after which the checkpoint is stored even if no record waits. The log is trimmed, so a checkpoint
that is too old would be before its first entry."""


class WriterStage(Enum):
    """Stage of a node as the writer of a shard."""

    IDLE = "idle"
    """Another node is the designated writer."""
    TAKING = "taking"
    """The node waits until the database names it as the writer."""
    CATCHING_UP = "catching up"
    """The node reads the entries again that were not stored, and collects them."""
    LIVE = "live"
    """The node collects each entry that it reads."""


class ShardBatch(NamedTuple):
    """Records to be stored together."""

    records: list[Record]
    n: int
    """Checkpoint: everything up to it was sent with these records or before."""
    may_repeat: bool
    """Whether changes may repeat the ones before them, because the store had lost writes."""


class ShardWriter(CollectedRecords[Item | StoredUser]):
    """Records of one shard that wait to be stored, and the number up to which they reach.

    Bounds: as for `CollectedRecords`.

    Args:
        shards: Number of shards.
        with_changes: Whether changes are stored, or sent to webhooks.
        users: Users of all nodes, as this node knows them.
    """

    def __init__(self, index: int, shards: int, *, with_changes: bool, users: Users[Any], metrics: Metrics) -> None:
        super().__init__(metrics)
        self.index = index
        self.stage = WriterStage.IDLE
        self.epoch = ""
        """Epoch of the cluster; empty before the node has registered."""
        self.catch_up_number = 0
        """Number of the current catch-up. Pages of the log for an earlier one are dropped."""
        self.is_reading = False
        """Whether a page of the log was requested."""
        self.collected_n = 0
        """Number up to which everything was collected."""
        self.stored_n = 0
        """Number up to which everything is stored, as far as this node knows."""
        self.lacks_states = False
        """Whether the current states have to be stored after the rest of the log."""
        self.is_first_catch_up = False
        """Whether this node has not caught up since it took the shard. Until then, webhook receivers may lag behind."""
        self._shards = shards
        self._with_changes = with_changes
        self._all_users = users
        self._checkpoint = 0
        self._due_n = 0  # number up to which users were collected when they became due
        self._users_n = 0  # number up to which users were sent
        self._next_user: int | None = None  # serial of the last user whose current state was collected; None: done
        self._next_room: int | None = None  # the same for rooms
        # Whether waiting changes were read from the log again. A store that has lost writes has accepted some twice.
        self._may_repeat = False
        self._has_states = False  # current states wait, for which there is no number in the log
        self._room_version = 0

    @property
    def collects(self) -> bool:
        """Whether this node collects entries of the shard."""
        return self.stage in (WriterStage.CATCHING_UP, WriterStage.LIVE)

    @property
    def waiting(self) -> int:
        """Number of records that wait to be sent, plus one for each kind of current states still to be collected."""
        return self._count() + (self._next_user is not None) + (self._next_room is not None)

    # Stages.

    def take(self) -> None:
        """Wait until the database names this node. Records that wait are dropped, because they are in the log."""
        self._clear()
        self.stage = WriterStage.TAKING

    def taken(self, n: int, room_version: int) -> None:
        """Catch up from the checkpoint in the database.

        Args:
            n: Checkpoint; 0 if nothing of this epoch is stored. Then the current states are stored.
            room_version: Highest version that any room has.
        """
        self._clear()
        self.stage = WriterStage.CATCHING_UP
        self._begin_at(n)
        self.stored_n = n
        self.is_first_catch_up = True
        self._room_version = max(self._room_version, room_version)
        self.catch_up()

    def catch_up(self) -> None:
        """Read the log from the last collected entry on, because entries may have been skipped."""
        self.stage = WriterStage.CATCHING_UP
        self.catch_up_number += 1
        self.is_reading = False

    def end(self) -> None:
        """Store nothing more for the shard."""
        self._clear()
        self.stage = WriterStage.IDLE
        self._ending = False

    def caught_up(self, n: int) -> None:
        """Continue with the entries that the node reads after number `n`."""
        self.stage, self.is_first_catch_up = WriterStage.LIVE, False
        self.collected_n = max(self.collected_n, n)
        if self.lacks_states:
            self.lacks_states = False
            self._next_user, self._has_states = 0, True

    def collect_rooms(self) -> None:
        """Collect the rooms that are occupied now, because changes of rooms are not in the log."""
        self._next_room = 0

    # Collecting.

    def collect(self, entry: Entry, now: Instant, shown_locally: Set[str] | None = None) -> None:
        """Collect an entry, unless it was collected already.

        Args:
            shown_locally: Users whose change this node has shown already, without the store. None for an old entry,
                which cannot be compared with what the node shows.
        """
        if entry.n <= self.collected_n:
            return
        if shown_locally is None:
            self._may_repeat = True
        for item in entry.items:
            if item.n > self.collected_n:
                self._collect(item, now, shown_locally)
        self.collected_n = entry.n

    def room_changed(self, room: str, occupied: bool, number: int, now: Instant) -> None:
        """Collect the occupancy of a room.

        Args:
            number: Highest number of any shard. Versions of rooms follow them.
        """
        self._room_version = max(self._room_version + 1, number)
        self._changes.append(RoomOccupancy(self._room_version, room, occupied, now.epoch_ms))
        self._begin_waiting(now)

    def collect_states(self, rooms: Rooms, number: int, now: Instant, shown_locally: Set[str] = frozenset()) -> None:
        """Collect the next page of current states, if some are missing and not too many records wait.

        Args:
            number: As for `room_changed`.
            shown_locally: Users whose change was shown without the store. It has no number yet, and will be in the log.
        """
        if len(self._changes) >= MAX_BATCH_RECORDS:
            return
        if self._next_user is not None:
            page = self._all_users.online_after(self._next_user, MAX_BATCH_RECORDS)
            for _, change in page:
                if shard_of(change.user_id, self._shards) == self.index and change.user_id not in shown_locally:
                    self._collect_state(change, now)
            self._next_user = page[-1][0] if page else None
        if self._next_room is not None:
            found = rooms.after(self._next_room, MAX_BATCH_RECORDS)
            for room in found:
                self.room_changed(room.name, True, number, now)
            self._next_room = found[-1].number if found else None

    # Sending.

    def next_batch(self, now: float) -> ShardBatch:
        """Remove and return the records that are due, with the checkpoint."""
        may_repeat = self._may_repeat
        records = self._batch(now)
        self._may_repeat = may_repeat and bool(self._changes)
        self._checkpoint = max(self._checkpoint, self._sent_up_to())
        return ShardBatch(records, self._checkpoint, may_repeat)

    def is_checkpoint_old(self) -> bool:
        """Return whether the checkpoint should be stored even though nothing waits."""
        return self.stage is WriterStage.LIVE and self.collected_n - self._checkpoint >= IDLE_ITEMS and not self.waiting

    def apply_bounds(self) -> None:
        """Drop records beyond the bounds."""
        self._apply_bounds()

    def finish(self) -> None:
        """Send everything without delay until `end`."""
        self._ending, self._next_due = True, 0.0

    # Internal.

    def _collect(self, item: Item, now: Instant, shown_locally: Set[str] | None) -> None:
        record = decode_record(item.record)
        self._users[item.user_id] = item
        for claim in record.claims:
            self._others["claim", item.user_id, claim.source] = StoredClaim(
                user_id=item.user_id,
                source=claim.source,
                status=claim.status or "",
                text=claim.details.text,
                emoji=claim.details.emoji,
                data=claim.details.data,
                priority=claim.priority,
                set_ms=claim.stamp_ms,
                until_ms=claim.details.until_ms or None,
            )
        is_visible = item.version == item.n  # a visible change gets the item's number as the user's version
        if is_visible and self._with_changes and not self._is_repeated(item, record, shown_locally):
            self._changes.append(_change_of(item, record, now))
        self._begin_waiting(now)

    def _is_repeated(self, item: Item, record: UserRecord, shown_locally: Set[str] | None) -> bool:
        """Return whether others already see the user like this, because the item repeats one that was lost."""
        if shown_locally is None or item.user_id in shown_locally:
            return False
        user = self._all_users.user(item.user_id)
        return (user.shown if user is not None else SEEN_OFFLINE) == record.view

    def _collect_state(self, change: Change, now: Instant) -> None:
        user = self._all_users.user(change.user_id)
        assert user is not None, "the user was listed just before"
        self._users.setdefault(change.user_id, stored_user(user, user.version))
        if self._with_changes:
            self._changes.append(replace(change, position=change.version))
        self._begin_waiting(now)

    def _record_of(self, user: Item | StoredUser) -> StoredUser:
        known: User[Any] | None = self._all_users.user(user.user_id)
        if known is not None and known.version >= user.version:  # otherwise the item is not applied yet
            return stored_user(known, max(known.version, _version_of(user)))
        if isinstance(user, StoredUser):
            return user
        return _stored_from(user, self._all_users.displays.get(user.user_id) or NO_DISPLAY)

    def _make_due(self, now: float) -> None:
        super()._make_due(now)
        self._due_n = self.collected_n

    def _sent_up_to(self) -> int:
        """Return the number up to which everything was sent; 0 while the current states, or other records, wait.

        Called once after each batch: it also notes that the current states, and the users collected so far, were sent.
        """
        if self._has_states and (self._next_user is not None or self._count()):
            return 0
        self._has_states = False
        if self._others:
            return 0
        first = next((change.position for change in self._changes if isinstance(change, Change)), None)
        if not self._due_users:
            self._users_n = self._due_n if self._users else self.collected_n
        return min(self.collected_n if first is None else first - 1, self._users_n)

    def _begin_waiting(self, now: Instant) -> None:
        if self._collected_since is None:
            self._collected_since = now.monotonic

    def _begin_at(self, n: int) -> None:
        self.collected_n = self._checkpoint = self._due_n = self._users_n = n
        self.lacks_states = n == 0

    def _clear(self) -> None:
        self._users.clear()
        self._due_users.clear()
        self._others.clear()
        self._changes.clear()
        self._collected_since = self._due_since = None
        self._next_user = self._next_room = None
        self._has_states = self.lacks_states = self._may_repeat = False
        self.is_reading = False
        self.catch_up_number += 1


def _change_of(item: Item, record: UserRecord, now: Instant) -> Change:
    """Return the visible change in an item of the log. Its position is the item's number, the same on every node."""
    is_status_change = record.view.status is not record.was
    at = Instant(now.monotonic, record.since_ms) if is_status_change else now
    return Change(
        position=item.n,
        user_id=item.user_id,
        view=record.view,
        was=record.was,
        version=item.version,
        at=at,
        since_ms=record.since_ms,
        seen_ms=record.seen_ms,
        cause=record.cause,
        was_version=record.was_version,
    )


def _version_of(user: Item | StoredUser) -> int:
    """Return the version of a waiting user's row, which must not be below that of the row in the database.

    An item has no version if the store does not know of a visible change of the user. Its number is below the user's
    next version and above all earlier ones.
    """
    return user.version if isinstance(user, StoredUser) else user.version or user.n


def _stored_from(item: Item, remembered: Display) -> StoredUser:
    """Return the record of a user from an item that this node has not applied, or whose user it no longer knows.

    Args:
        remembered: Display data of an evicted user. The item of an absent user may have none.
    """
    record = decode_record(item.record)
    chosen, timed = record.chosen, b""
    if chosen.timed_details is not None:
        timed = choice_json(Choice(chosen.timed, chosen.timed_details))
    permanent = Choice(chosen.status, chosen.details)
    seen_ms = record.seen_ms if record.view.status is Status.OFFLINE else max(record.seen_ms, record.since_ms)
    return StoredUser(
        user_id=item.user_id,
        status=record.view.status,
        version=_version_of(item),
        since_ms=record.since_ms,
        seen_ms=seen_ms,
        active_ms=record.active_ms,
        chosen=b"" if permanent == AS_DETECTED else choice_json(permanent),
        timed=timed,
        display=record.display or remembered.data,
    )
