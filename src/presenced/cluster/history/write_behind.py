"""Write-behind of a node in a cluster.

Nodes share the work:

    records                     stored by
    sessions, revocations       the node where they happen
    users, changes, claims      the designated writer of their shard, from the log (`cluster.history.shard_writer`)
    rooms, for webhooks         the designated writer of shard 0, as it sees them

Only the first node of a new cluster restores choices, claims and display data from the database. All others take them
from the records of the cluster, which are newer.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, NamedTuple, Protocol

from prometheus_client import Counter

from presenced.cluster.backend import MAX_SLOTS, Entry, Excerpt, Kind, Member
from presenced.cluster.directory import SharedDirectory
from presenced.cluster.history.shard_writer import ShardBatch, ShardWriter, WriterStage
from presenced.cluster.members import Figures
from presenced.cluster.sharding import shard_of
from presenced.delivery.connection import Connection
from presenced.presence.model import Status
from presenced.presence.outcome import Outcome
from presenced.presence.rooms import RoomChange
from presenced.presence.status import Claim
from presenced.runtime.instant import Instant
from presenced.runtime.logs import logger
from presenced.storage.records import Record, Restored, StoredRevocation, StoredSession, StoredUser
from presenced.storage.write_behind import FLUSH_DELAY_S, StorageWorker, WriteBehind
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

ROOMS_SHARD = 0
"""Shard whose designated writer stores the occupancy of rooms, and ends the sessions of dead nodes."""

MAX_CATCHING_UP = 10_000
"""Maximum number of waiting records of a shard while it catches up. Above it, no further page of the log is read."""

NO_ANSWER = 0
"""Number of a call to the worker whose result is not needed."""

REOPEN_AFTER_S = 5.0
"""Seconds after which a node that was declared dead stores its sessions again. By then, the designated writer has
stored that they ended."""

CATCH_UP_PAUSE_S = 0.1
"""Seconds until the next page of the log after too many records waited."""


class ClusterStorageWorker(StorageWorker, Protocol):
    """Receiver of batches and of messages about shards (`worker.client.WorkerClient`)."""

    epoch: str
    """Epoch of the rows of this node."""

    @property
    def is_storing(self) -> bool:
        """Whether records are being stored, apart from failures of a moment."""

    def store_batch(
        self, records: list[Record], position: int, shard: int = -1, n: int = 0, may_repeat: bool = False
    ) -> None:
        """Store a batch. This neither waits nor fails."""

    def post(self, message: ToWorker) -> None:
        """Send a message about a shard. No-op while no process is ready."""


class SharedLog(Protocol):
    """Access to the log, through the cluster and its backend."""

    def applied(self, shard: int) -> int:
        """Return the number of the entry that this node applied last; 0 if there is none."""

    def continue_above(self, number: int) -> None:
        """Have the store give only numbers above this one."""

    def read_log(self, shard: int, after: int, on_answer: Callable[[Excerpt], None]) -> None:
        """Read entries of the log again."""


class _NodeName(NamedTuple):
    """Name of a node in its rows of the database."""

    node: str
    epoch: str
    """Empty if the node has no database."""


class SharedWriteBehind(WriteBehind):
    """Collects the records that this node has to store, and sends them to the worker (`History`).

    Bounds: those of `WriteBehind`, and of `ShardWriter` for each shard.

    Args:
        parts: As for `WriteBehind`.
    """

    def __init__(self, **parts: Any) -> None:
        self._shards: list[ShardWriter] = []
        super().__init__(**parts)
        worker: ClusterStorageWorker = parts["worker"]
        directory: SharedDirectory[Any] = parts["directory"]
        self._cluster_worker = worker
        self._shared_directory = directory
        self._settling_s: float = parts["settings"].settling
        self._log: SharedLog
        self._is_new: bool | None = None
        """Whether the node is the first one of a new cluster; None before it has joined."""
        self._held: list[Restored] = []
        """Records that were restored before the node joined."""
        self._names: dict[str, _NodeName] = {}
        """Names in the database of the nodes that were registered last, by incarnation."""
        self._next_shard = 0
        self._connections: Callable[[], Iterable[Connection]] = tuple
        self._gaps = Counter(
            "presenced_cluster_history_gaps",
            "Times that the log did not reach back to what was stored, so that changes are missing in the history.",
            registry=self._metrics.registry,
        )
        self._metrics.gauge(
            "presenced_cluster_designated_writer",
            "Shards whose changes this node stores for all.",
            lambda: sum(shard.collects for shard in self._shards),
        )

    def join(self, log: SharedLog, shards: int) -> None:
        """Make a writer for each shard. Call this before the node joins the cluster.

        Args:
            shards: Number of shards.
        """
        self._log = log
        for index in range(shards):
            writer = ShardWriter(
                index,
                shards,
                with_changes=self._with_changes,
                users=self._directory.users,
                metrics=self._metrics,
            )
            self._shards.append(writer)

    @property
    def is_storing(self) -> bool:
        """Whether the node has a working database. Only such a node may be a designated writer."""
        return self._cluster_worker.is_storing

    @property
    def stored_epoch(self) -> str:
        """Epoch of the rows of this node."""
        return self._cluster_worker.epoch

    @property
    def stored_n(self) -> int:
        """Number up to which this node has stored shard 0; 0 if it is not the designated writer."""
        return self._shards[0].stored_n if self._shards[0].collects else 0

    # Events of the node. Records on which the nodes agree come from the log.

    def store_outcome(self, outcome: Outcome[Any], is_draining: bool) -> None:
        """Schedule the flush of the sessions that wait."""
        self._is_draining = is_draining
        if self._sessions and self._collected_since is None:
            self._flush_later()

    def closed(self, connection: Connection, reason: str, now: Instant) -> None:
        """Collect a session whose connection ended, even if the session has moved to another node.

        The other node stores a row of its own.
        """
        record = connection.session.stored
        if isinstance(record, StoredSession) and record.connection_id == connection.connection_id:
            record.closed_ms, record.reason = now.epoch_ms, reason
            self._sessions[record.session_key] = record

    def reopen_later(self, connections: Callable[[], Iterable[Connection]]) -> None:
        """Store again that the sessions of these connections are open, because this node had been declared dead."""
        self._connections = connections
        self._timer.set(self._reopen, self._clock.monotonic() + REOPEN_AFTER_S)

    def _reopen(self) -> None:
        for connection in self._connections():
            self.opened(connection)
        if self._sessions and self._collected_since is None:
            self._flush_later()

    def room_changed(self, change: RoomChange, now: Instant) -> None:
        """Collect the occupancy of a room if this change of a member changed it."""
        writer = self._shards[ROOMS_SHARD]
        if change.occupied is not None and self._with_changes and writer.collects:
            writer.room_changed(change.room, change.occupied, self._directory.users.versions.newest, now)
            self._flush_soon()

    def claimed(self, user_id: str, claim: Claim) -> None:
        """Do nothing, because claims are in the log."""

    def unclaimed(self, user_id: str, source: str) -> None:
        """Do nothing, because claims are in the log."""

    def forget(self, user_id: str) -> None:
        """Discard everything that waits about a user."""
        super().forget(user_id)
        for writer in self._shards:
            writer.forget(user_id)

    # State.

    @property
    def waiting(self) -> int:
        """Number of records that wait to be sent."""
        return self._count() + sum(writer.waiting for writer in self._shards)

    @property
    def waiting_since(self) -> float | None:
        """Monotonic time since which the oldest record has been waiting; None if nothing waits."""
        times = [super().waiting_since, *(writer.waiting_since for writer in self._shards)]
        return min((time for time in times if time is not None), default=None)

    def waiting_of(self, user_ids: Collection[str]) -> dict[str, StoredUser]:
        """Return the state of each of these users whose record waits on this node."""
        found = super().waiting_of(user_ids)
        for writer in self._shards:
            found |= writer.waiting_of(user_ids)
        return found

    def absent(self, users: Iterable[str], rooms: Iterable[str]) -> tuple[list[str], list[str]]:
        """Return the users who are offline and the rooms that are empty, among those that this node stores."""
        if self._is_draining:
            return [], []
        known = self._directory.users
        own = [one for one in users if self._shards[shard_of(one, len(self._shards))].stage is WriterStage.LIVE]
        offline = [user_id for user_id in own if known.status(user_id) is Status.OFFLINE]
        if not self._shards[ROOMS_SHARD].collects:
            return offline, []
        return offline, [name for name in rooms if self._rooms.get(name) is None]

    # Reports of the cluster (`History`).

    def registered(self, shard: int, epoch: str) -> None:
        """Take the epoch of the cluster."""
        self._shards[shard].epoch = epoch

    def loaded(self, shard: int) -> None:
        """Read entries of the log that the load has skipped."""
        if self._shards[shard].collects:
            self._shards[shard].catch_up()
            self._read_on(self._shards[shard])

    def entry_read(self, shard: int, entry: Entry) -> None:
        """Collect an entry before the node applies it."""
        writer = self._shards[shard]
        if writer.stage is WriterStage.LIVE:
            self._collect(writer, entry, is_live=True)

    def designated(self, shard: int, is_writer: bool) -> None:
        """Begin or stop storing for a shard, or store the checkpoint of a shard in which nothing has changed lately."""
        writer = self._shards[shard]
        if is_writer and writer.stage is WriterStage.IDLE:
            self._take(writer)
        elif not is_writer and writer.stage is not WriterStage.IDLE:
            while writer.collects and writer.waiting and self._worker.accepts_batch:
                # The next writer reads the log, but the store may have lost these entries.
                writer.finish()
                self._store(writer, writer.next_batch(self._clock.monotonic()))
            writer.end()
            self._cluster_worker.post(LeaveShard(shard))
        elif writer.is_checkpoint_old() and self._worker.accepts_batch:
            self._store(writer, writer.next_batch(self._clock.monotonic()))

    def members_seen(self, members: Sequence[tuple[Member, Figures]]) -> None:
        """Remember the names of nodes, for when they are removed."""
        for member, figures in members:
            self._names.pop(member.incarnation, None)
            self._names[member.incarnation] = _NodeName(member.name, figures.stored_epoch)
        for incarnation in list(self._names)[: -2 * MAX_SLOTS]:
            del self._names[incarnation]

    def ready(self, is_new: bool) -> None:
        """Restore what the database has, if this node begins a new cluster."""
        self._is_new = is_new
        held, self._held = self._held, []
        if is_new:
            super().restore(held)

    # From the worker.

    def restore(self, records: Sequence[Restored]) -> None:
        """Restore data from before the start, if this node begins a new cluster. Revocations are always restored."""
        super().restore([record for record in records if isinstance(record, StoredRevocation)])
        others = [record for record in records if not isinstance(record, StoredRevocation)]
        if self._is_new:
            super().restore(others)
        elif self._is_new is None:
            self._held += others

    def finish_restore(self, position: int) -> None:
        """Finish the restore, and continue above the numbers in the database. A new worker has no shards."""
        self._log.continue_above(position)
        super().finish_restore(position)
        for writer in self._shards:
            if writer.stage is not WriterStage.IDLE:
                self._take(writer)

    def start_above(self, position: int) -> None:
        """Let the first position be above `position`. Call this before the first change."""
        super().start_above(position)
        self._log.continue_above(position)

    def shard_answered(self, answer: object) -> None:
        """Begin to store for a shard, or stop because another node does."""
        match answer:
            case ShardTaken(shard, n, room_version) if self._shards[shard].stage is WriterStage.TAKING:
                self._taken(self._shards[shard], n, room_version)
            case ShardLost(shard) if self._shards[shard].collects:
                logger.info(
                    "another node stores shard %d of the cluster now", shard, extra={"event": "cluster_writer_lost"}
                )
                self._shards[shard].end()

    def shard_stored(self, shard: int, n: int) -> None:
        """Remember the number up to which the log of a shard is stored."""
        writer = self._shards[shard]
        if writer.collects:
            writer.stored_n = max(writer.stored_n, n)

    # To the worker.

    def finish(self) -> None:
        """Send everything without delay from now on, because the server stops."""
        for writer in self._shards:
            writer.finish()
        super().finish()

    def _send_due(self, now: float) -> None:
        super()._send_due(now)
        self._next_shard += 1  # all shards get a turn, although the worker accepts only a few batches at a time
        for offset in range(len(self._shards)):
            writer = self._shards[(self._next_shard + offset) % len(self._shards)]
            if writer.collects and self._worker.accepts_batch:
                newest, local = self._directory.users.versions.newest, self._shared_directory.shown_locally
                writer.collect_states(self._rooms, newest, self._clock.now(), local)
                batch = writer.next_batch(now)
                if batch.records:
                    self._store(writer, batch)

    def _store(self, writer: ShardWriter, batch: ShardBatch) -> None:
        self._cluster_worker.store_batch(batch.records, self.position, writer.index, batch.n, batch.may_repeat)

    def _apply_bounds(self) -> None:
        super()._apply_bounds()
        for writer in self._shards:
            writer.apply_bounds()

    # Internal.

    def _take(self, writer: ShardWriter) -> None:
        writer.take()
        self._cluster_worker.post(TakeShard(writer.index, writer.epoch))

    def _taken(self, writer: ShardWriter, n: int, room_version: int) -> None:
        logger.info(
            "this node stores shard %d of the cluster, from %d on", writer.index, n, extra={"event": "cluster_writer"}
        )
        writer.taken(n, room_version)
        if writer.index == ROOMS_SHARD and self._with_changes:
            writer.collect_rooms()
        self._read_on(writer)
        self._flush_soon()

    def _caught_up(self, writer: ShardWriter, n: int) -> None:
        lacks_states, is_first = writer.lacks_states, writer.is_first_catch_up
        writer.caught_up(n)
        if lacks_states or (is_first and writer.index == ROOMS_SHARD):
            # Only now: the worker asks which users are absent, and the live state is right only after catching up.
            self._cluster_worker.post(CheckAbsences(self._settling_s if self._is_new else 0.0, users=lacks_states))
        self._flush_soon()

    def _collect(self, writer: ShardWriter, entry: Entry, is_live: bool) -> None:
        if entry.n <= writer.collected_n:
            return
        now = self._clock.now()
        writer.collect(entry, now, self._shared_directory.shown_locally if is_live else None)
        if entry.kind is Kind.REMOVED and writer.index == ROOMS_SHARD:
            removed = self._names.get(entry.body.decode().split()[1])
            if removed is not None and removed.epoch:
                self._cluster_worker.post(EndSessions(removed.node, removed.epoch))
        elif entry.kind is Kind.ERASE:
            user_id = entry.body.decode()
            self.forget(user_id)
            self._cluster_worker.post(WorkerCall(NO_ANSWER, Method.ERASE, (user_id,)))
        self._flush_soon()

    def _read_on(self, writer: ShardWriter) -> None:
        """Request the next page of the log after the last collected entry."""
        if writer.stage is not WriterStage.CATCHING_UP or writer.is_reading:
            return
        if writer.waiting > MAX_CATCHING_UP:
            self._timer.set(self._read_on_later, self._clock.monotonic() + CATCH_UP_PAUSE_S)
            return
        writer.is_reading = True
        number = writer.catch_up_number

        def on_answer(excerpt: Excerpt) -> None:
            if number == writer.catch_up_number:
                self._answered(writer, excerpt)

        self._log.read_log(writer.index, writer.collected_n, on_answer)

    def _read_on_later(self) -> None:
        for writer in self._shards:
            self._read_on(writer)

    def _answered(self, writer: ShardWriter, excerpt: Excerpt) -> None:
        writer.is_reading = False
        if not excerpt.is_whole and not writer.lacks_states:
            logger.error(
                "the log of shard %d does not reach back to %d: changes are missing in the history",
                writer.index,
                writer.collected_n,
                extra={"event": "cluster_history_gap"},
            )
            self._gaps.inc()
            writer.lacks_states = True
        applied = self._log.applied(writer.index)
        for entry in excerpt.entries:
            # Entries above `applied` wait until the node reads them: it does not know the users' states at them yet.
            if entry.n <= applied:
                self._collect(writer, entry, is_live=False)
        if excerpt.entries and excerpt.entries[-1].n < applied:
            self._read_on(writer)
        elif not excerpt.entries and excerpt.is_whole and writer.collected_n < applied:
            # The entry applied last was logged after this page was read, and arrived before it on another connection.
            self._timer.set(self._read_on_later, self._clock.monotonic() + CATCH_UP_PAUSE_S)
        else:
            self._caught_up(writer, 0 if excerpt.entries else applied)  # the entries have raised `collected_n`

    def _flush_soon(self) -> None:
        """Schedule a flush for the records of shards. `_flush_later` is for those of this node."""
        if self.flush not in self._timer:
            self._timer.set(self.flush, self._clock.monotonic() + FLUSH_DELAY_S)
