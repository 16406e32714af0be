"""Shell of the cluster on one node: connects the backend, the replicas of the shards, and the node.

    connections, HTTP API             backend (store, other nodes)
            |                              |            ^
            v                              v            |
    SharedDirectory --user_changed--> Cluster  ---- commit, load, heartbeat, remove
            ^                         /      \\
            '--accept-- ShardReplica(s)       Members (which nodes are alive)
            |
            '-- outcomes --> publisher (connections, journal, rooms, storage)

All calls happen on the thread of the event loop. For each shard, a node is in one of three states:

    loading      it has not read everything yet, and accepts no connections
    joined       it shows what all nodes have agreed on
    local        the store has been out of reach for `LOCAL_AFTER_S`: it shows what happens on this node

An idle node commits immediately. Then it pauses for the backend's `commit_pause_s`, so that the work of the store does
not grow with the number of nodes. Everything that happens during the pause goes into one batch.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from math import inf

from msgspec import msgpack
from msgspec.structs import replace

from presenced.cluster import messages
from presenced.cluster.backend import (
    MAX_SLOTS,
    Applicant,
    Backend,
    Committed,
    ContributionUpdate,
    Counts,
    Entry,
    EntryKey,
    Kind,
    Member,
    Registration,
    State,
    StoreRecord,
)
from presenced.cluster.cluster_time import ClusterTime
from presenced.cluster.commands.erasing_publisher import ClusterPublisher
from presenced.cluster.directory import SharedDirectory
from presenced.cluster.events import ClusterEvents
from presenced.cluster.handover import Handover, OnFetched
from presenced.cluster.history.history import History, NoHistory
from presenced.cluster.marks import MARK_PERIOD_S, Marks, decode_mark, encode_mark
from presenced.cluster.members import (
    HEARTBEATS_PER_LEASE,
    DutyKind,
    Figures,
)
from presenced.cluster.messages import AskSession, Drain, GiveSession
from presenced.cluster.metrics import ClusterMetrics
from presenced.cluster.names import SharedNames
from presenced.cluster.node_shard import NodeShard
from presenced.cluster.notices import Notices
from presenced.cluster.own_marks import OwnMarks
from presenced.cluster.replica.replica import ShardReplica
from presenced.cluster.sharding import shard_of
from presenced.delivery.connection import Connection
from presenced.presence.model import Cause
from presenced.presence.session import Session
from presenced.runtime.clock import Clock, Timer
from presenced.runtime.instant import Instant

LOCAL_AFTER_S = 1.0
"""Seconds without the store after which a node shows its own changes immediately."""

CHECK_PERIOD_S = 0.5
"""Seconds between two checks of what only time changes: unsettled users and retained contributions."""


class Cluster(ClusterEvents):
    """The cluster, as one node takes part in it (`cluster.backend.Receiver`, `cluster.directory.Agreement`).

    Args:
        lease_s: Setting `cluster_lease`.
        settling_s: Setting `settling`.
        figures: Returns the figures that the factory knows. The cluster adds its own.
        notices: Log lines and warnings for operators.
        resume_window: Setting of this name, in seconds.
        log_age: Setting of this name, in seconds.
    """

    def __init__(
        self,
        *,
        lease_s: float,
        settling_s: float,
        clock: Clock,
        timer: Timer,
        backend: Backend,
        directory: SharedDirectory[Connection],
        publisher: ClusterPublisher,
        names: SharedNames,
        figures: Callable[[], Figures],
        resume_window: float,
        log_age: float,
        metrics: ClusterMetrics,
        notices: Notices,
    ) -> None:
        super().__init__()
        self._notices = notices
        self._lease_s = lease_s
        self._clock = clock
        self._timer = timer
        self._backend = backend
        self._directory = directory
        self._publisher = publisher
        self._figures = figures
        self._names = names
        self._marks = names.marks = Marks(log_age)
        self._leave_grace_s = 0.0
        self.history: History = NoHistory()
        self.has_joined_running_cluster = False
        """Whether there were nodes or records when this one joined. Otherwise it waits for returning users."""
        self._metrics = metrics
        self.in_reach_since = -inf
        """Monotonic time since when the store is in reach, if it is."""
        self.stale_since_ms = 0
        """Epoch milliseconds since when the users of some shard may have changed unnoticed; 0 if none may have."""
        self.transitions = 0
        """Number of calls of `on_certainty`."""
        shards = backend.shards
        self._shards = [NodeShard(directory, lease_s, index, shards, settling_s) for index in range(shards)]
        self._own_marks = OwnMarks(self._marks, names, directory.users.journal, self._shards)
        self._pending: set[int] = set()  # shards with something to commit
        self._was_ready = False
        self._state = State.LOADING
        self._handover = Handover(
            clock=clock,
            timer=timer,
            backend=backend,
            directory=directory,
            names=names,
            members=lambda: self._shards[0].members.members,
            is_silent=lambda slot: self._shards[0].members.is_silent(slot),
            resume_window=resume_window,
            agreed_from=lambda: self._own_marks.agreed_from,
        )
        self._began = clock.monotonic()
        self.time = ClusterTime(clock)
        self._started_ms = clock.now().epoch_ms
        directory.agreement = self
        metrics.watch(self)

    def start(self) -> None:
        """Connect to the store, and join the other nodes. The node accepts connections once `is_ready`."""
        slot = random.randrange(MAX_SLOTS)  # noqa: S311, not a secret: any free slot will do
        self._backend.start(Applicant(self._notices.name, slot), self)
        self._beat()
        self._check()
        self._mark()

    def stop(self) -> None:
        """Cancel all timers."""
        for action in (self._beat, self._check, self._mark, self._commit_pending, self._go_local):
            self._timer.cancel(action)
        self._handover.stop()

    @property
    def is_ready(self) -> bool:
        """Whether everything was loaded. The node may accept connections then."""
        return bool(self.nodes) and all(shard.replica.is_loaded for shard in self._shards) and self.may_be_ready()

    @property
    def is_in_reach(self) -> bool:
        """Whether no part of the store is out of reach or full, as far as this node knows."""
        return all(shard.unusable_since is None for shard in self._shards)

    @property
    def is_local(self) -> bool:
        """Whether some shard is out of reach. Users of other nodes may be out of date then."""
        return any(shard.replica.is_local for shard in self._shards)

    def is_out_of_reach(self, user_id: str) -> bool:
        """Return whether the shard of a user is out of reach, or has not been read again after that."""
        return self.stale_since_ms > 0 and self._shards[shard_of(user_id, len(self._shards))].stale_since_ms > 0

    @property
    def name(self) -> str:
        """Name of this node that operators see."""
        return self._notices.name

    @property
    def warnings(self) -> list[str]:
        """Warnings for operators: the store is out of reach, or other nodes have other settings or the same name."""
        return self._notices.warnings(self._clock.monotonic())

    @property
    def not_ready(self) -> str:
        """Reason why this node accepts no connections; empty if it does."""
        return "" if self._was_ready else "the node is loading what the other nodes know"

    @property
    def nodes(self) -> Sequence[Member]:
        """The registered nodes."""
        return self._shards[0].members.members

    def name_of(self, slot: int) -> str:
        """Return the name of the node in a slot; the slot itself if no node is registered there."""
        return next((node.name for node in self.nodes if node.slot == slot), str(slot))

    @property
    def others(self) -> int:
        """Number of other nodes that accept connections."""
        return sum(node.state is State.READY and node.slot != self._directory.slot for node in self.nodes)

    # Figures (`cluster.metrics.Measured`).

    @property
    def state(self) -> str:
        """State of this node, for operators."""
        return "local" if self._state is State.READY and self.is_local else self._state.value

    @property
    def live_nodes(self) -> int:
        """Number of registered nodes that are not dead, this one included."""
        return max(1, sum(member.state is not State.DEAD for member in self.nodes))

    @property
    def shards(self) -> Sequence[NodeShard]:
        """The shards, with this node's state of each."""
        return self._shards

    @property
    def lag_s(self) -> float:
        """Seconds since this node had read all of the log. A node that reads does so at least once a second."""
        now = self._clock.monotonic()
        return max(now - (self._began if (at := shard.read_all_at) is None else at) for shard in self._shards)

    def leave(self, leave_grace_s: float) -> None:
        """Announce that this node stops, and commit nothing more.

        Sessions without a connection are saved. The caller saves each other session before it closes the connection
        (`save_session`).

        Args:
            leave_grace_s: Seconds that the node's users have to return to other nodes.
        """
        self._state, self._leave_grace_s = State.LEAVING, leave_grace_s
        self._beat()
        for session in self._directory.users.sessions.values():
            if session.connection is None:
                self.save_session(session)

    # Sessions that move between nodes.

    def fetch_session(self, session_id: str, position: str, user_id: str, on_done: OnFetched) -> bool:
        """Adopt a session of another node (`Handover.fetch`). Return False if there is nothing to wait for."""
        return not self.is_local and self._handover.fetch(session_id, position, user_id, on_done)

    def save_session(self, session: Session[Connection]) -> None:
        """Save a session for other nodes, because this one stops."""
        self._handover.save(session)

    # For `cluster.commands.commands`.

    def add_control(self, kind: Kind, user_id: str, body: bytes, timeout_s: float = inf) -> bool:
        """Log an entry that concerns all nodes, in the shard of a user. Return False if too many wait already.

        Args:
            timeout_s: Seconds after which it is not logged any more.
        """
        is_accepted = self.replica_of(user_id).add_control(kind, body, self._clock.monotonic() + timeout_s)
        self._wake(shard_of(user_id, len(self._shards)))
        return is_accepted

    def replica_of(self, user_id: str) -> ShardReplica:
        """Return the replica of a user's shard (read-only)."""
        return self._shards[shard_of(user_id, len(self._shards))].replica

    # Events of this node.

    def user_changed(self, user_id: str, now: Instant) -> None:
        """Record that something about the user has changed on this node."""
        self._own_marks.changed(user_id)
        self.replica_of(user_id).user_changed(user_id, now)
        self._wake(shard_of(user_id, len(self._shards)))

    def contribution_changed(self, user_id: str) -> None:
        """Record that this node's contribution to the user has changed. Others see the user as before."""
        self._own_marks.changed(user_id)
        self.replica_of(user_id).contribution_changed(user_id)
        self._wake(shard_of(user_id, len(self._shards)))

    def session_moved_here(self, user_id: str, tag: bytes) -> None:
        """Record that a session has come from another node."""
        shard = self._shards[shard_of(user_id, len(self._shards))]
        shard.replica.session_moved_here(user_id, tag, shard.members.contact)
        self._own_marks.arrived(self._clock.monotonic())

    @property
    def has_newcomers(self) -> bool:
        """Whether clients may have come from other nodes with changes that this node has not read yet."""
        return self._own_marks.has_newcomers

    def ends_for_absent(self, user_id: str) -> bool:
        """Return whether this node ends the choice and the claims of a user who has no session."""
        return self.replica_of(user_id).ends_for_absent

    # Reports of the backend.

    def registered(self, shard: int, registration: Registration) -> None:
        """Take a slot and an incarnation, and load the shard."""
        has_rejoined = self._shards[shard].registered(registration)
        if not shard:
            self._names.registered(registration)
            self._directory.slot = registration.slot
            if has_rejoined:
                self.on_rejoined()
        self._notices.registered(shard)
        self.history.registered(shard, registration.epoch)
        self._load(shard, "registered")

    def rejected(self, reason: str) -> None:
        """Log why the node cannot register."""
        self._notices.rejected(reason)

    def page(self, shard: int, users: Sequence[StoreRecord], updates: Sequence[tuple[str, ContributionUpdate]]) -> None:
        """Take a page of a load."""
        self._shards[shard].replica.page(users, updates)

    def loaded(self, shard: int, last: EntryKey | None, n: int) -> bool:
        """Replace what the replica has by the pages of the load."""
        this = self._shards[shard]
        is_done = this.replica.loaded(last, n, this.when(self._clock.now()))
        self._publish()
        if is_done:
            self.history.loaded(shard)
            self.on_loaded()
        return is_done

    def entries(self, shard: int, entries: Sequence[Entry], n: int) -> None:
        """Apply the next entries of the log."""
        this, now = self._shards[shard], self._clock.now()
        self._in_reach(shard, now)
        this.behind = n - entries[-1].n if entries else 0
        for entry in entries:
            self._apply(shard, entry, now)
        applied = this.replica.applied
        if (applied is not None and applied.n >= n) or not entries:
            this.caught_up(n, now)
            if not self.is_local:
                self._notices.back(now.monotonic)
            self.check_ready()
        self._publish()
        self._report_certainty()  # after what happened meanwhile
        self.on_progress()
        self._wake(shard)

    def _apply(self, shard: int, entry: Entry, now: Instant) -> None:
        this = self._shards[shard]
        is_own = entry.incarnation == this.members.incarnation
        (self._metrics.items_own if is_own else self._metrics.items_other).inc(len(entry.items))
        if this.replica.applied is None or entry.n > this.replica.applied.n:
            self.history.entry_read(shard, entry)
            this.replica.apply(entry, this.when(now))
        if entry.kind is Kind.REMOVED:
            this.has_begun_removal = False
            self._metrics.removed_nodes.inc(is_own and shard == 0)  # counted once for all shards
        elif entry.kind is Kind.MARK and not is_own:
            self._marks.add(decode_mark(entry.body), now.monotonic)
        elif entry.kind in self.handlers:
            self.handlers[entry.kind](entry.body, is_own)

    def interrupted(self, shard: int) -> None:
        """Load the shard again, because the log does not continue where this node is."""
        self._shards[shard].must_verify = True
        self._load(shard, "log")

    def committed(self, shard: int, result: Committed) -> None:
        """Take the result of a batch."""
        this = self._shards[shard]
        self._metrics.commit_seconds.observe(self._clock.monotonic() - this.committed_at)
        self._metrics.refused("conflict", len(result.refused))
        self.time.observe(result.time_ms)
        if this.end_full():  # if the node is local, the next read to the end of the log ends that
            self._report_in_reach()
        this.replica.committed(result)
        if not result.refused:  # a new proposal would be refused as well, until the newer item is read
            self._wake(shard)

    def unknown(self, shard: int, serial: int) -> None:
        """Propose the users of a batch again, because its reply was lost."""
        this = self._shards[shard]
        self._metrics.refused("unknown", this.replica.users_in_flight)
        this.commit_unknown(self._clock.monotonic())
        self._wake(shard)

    def full(self, shard: int) -> None:
        """Become local in `LOCAL_AFTER_S`, unless the store has memory for commits again by then."""
        this = self._shards[shard]
        if this.full_at is None:
            this.full_at = self._clock.monotonic()
            self._timer.set(self._go_local, this.full_at + LOCAL_AFTER_S)

    def fenced(self, shard: int) -> None:
        """Prepare to join again, because this incarnation may no longer write."""
        self._notices.fenced(shard)
        self._metrics.fenced.inc()
        self._metrics.refused("fenced", self._shards[shard].replica.users_in_flight)
        self._shards[shard].replica.unknown()
        self._shards[shard].must_verify = True

    def reconnected(self, shard: int, generation: int) -> None:
        """Go on with the store, which is reachable again."""
        if generation != self._shards[shard].generation:
            self._own_marks.lost()
        self._shards[shard].reconnected(generation)
        self._in_reach(shard, self._clock.now())
        self._timer.set(self._beat, self._clock.monotonic())  # before other nodes declare this one dead

    def disconnected(self, shard: int) -> None:
        """Become local in `LOCAL_AFTER_S` after a failed call, unless the store is reachable again by then."""
        now = self._clock.monotonic()
        if self._shards[shard].lost(now):
            self._timer.set(self._go_local, now + LOCAL_AFTER_S)

    def members(self, shard: int, members: Sequence[Member]) -> None:
        """Take the registered nodes, and declare dead or remove some of them if that is this node's duty."""
        this = self._shards[shard]
        this.members.look(self._clock.monotonic())
        if this.replica.check_removal(members, this.members.incarnation):
            this.has_begun_removal = False
        duties = this.members.observe(members)
        # A node that loads or stops could not take the users out.
        for duty in duties if self._state is State.READY and this.replica.is_loaded else ():
            if duty.kind is DutyKind.DECLARE_DEAD:
                self._backend.declare_dead(shard, duty.member)
            elif not this.has_begun_removal:
                this.has_begun_removal = True
                cause = Cause.DRAIN if self._notices.removes(shard, duty.member) else Cause.TIMEOUT
                this.replica.begin_removal(duty.member, cause, self._clock.now())
        self._update_roles(shard)
        self.check_ready()
        self._wake(shard)

    def counted(self, shard: int, counts: Counts) -> None:
        """Read everything again if the store has lost keys, for example because it evicts them."""
        if self._shards[shard].counted(counts):
            self._notices.keys_lost()
            self._load(shard, "keys")

    def received(self, slot: int, message: bytes) -> None:
        """Process a message of another node or of an operator."""
        match messages.decode_node_message(message):
            case AskSession() as ask:
                self._handover.process_request(slot, ask)
            case GiveSession() as given:
                self._handover.process_answer(given)
            case Drain(incarnation) if incarnation == self._shards[0].members.incarnation:
                self._notices.drained()
                self.on_drain()
            case _:
                pass  # a message of another release, or a `Drain` for the node that had this slot before

    # Internal.

    def _update_roles(self, shard: int) -> None:
        this = self._shards[shard]
        (known, writer), own = this.update_roles(), this.members.incarnation
        if not shard:
            self.history.members_seen(known)
            if self._was_ready:
                self._notices.compare(known, own, this.members.heartbeat_has_risen)
        # Without a designated writer, the last one continues, and so does a node that is stopping. A node that loads
        # again takes no shard, because its states are old.
        if writer is not None and self._was_ready and self._state is not State.LEAVING and this.replica.is_loaded:
            self.history.designated(shard, writer.incarnation == own)

    def _load(self, shard: int, reason: str) -> None:
        self._metrics.reloading(reason)
        self._shards[shard].begin_load(self._clock.now())
        self._backend.load(shard)

    def _in_reach(self, shard: int, now: Instant) -> None:
        if self._shards[shard].reached(now.monotonic):
            self._report_in_reach()

    def _report_in_reach(self) -> None:
        if self.is_in_reach:
            self.in_reach_since = self._clock.monotonic()
            self.on_in_reach()

    def check_ready(self) -> None:
        """Accept connections from now on, if everything was loaded."""
        if not self._was_ready and self.is_ready and not self.is_local:
            self._publish()  # before `on_ready`, so that what was loaded is neither logged nor counted
            self._was_ready = True
            self._state = State.READY
            is_new = not any(shard.replica.records for shard in self._shards)
            self.has_joined_running_cluster = not is_new or any(member.state is State.READY for member in self.nodes)
            self.history.ready(is_new)
            self._notices.joined(self._directory.slot, self.live_nodes, self._directory.users.online_users)
            self.on_ready()
            self._beat()

    def _publish(self) -> None:
        now = self._clock.now()
        self._directory.versions.newest = max(shard.replica.floor for shard in self._shards)
        self._directory.versions.shown_up_to = tuple(shard.replica.shown_up_to for shard in self._shards)
        self._publisher.apply_all(self._directory.take_outcomes(), now)
        self._own_marks.published()

    def _wake(self, shard: int) -> None:
        """Schedule a commit of this shard: now if it is idle, otherwise after its pause."""
        self._pending.add(shard)
        at = self._shards[shard].next_commit
        if self._commit_pending not in self._timer:
            self._timer.set(self._commit_pending, max(at, self._clock.monotonic()))

    def _commit_pending(self) -> None:
        pending, self._pending = self._pending, set()
        if self._state is State.LEAVING:
            return
        for index in pending:
            self._commit(index)
            if self._shards[index].replica.has_unchecked:
                self._wake(index)
        self.check_ready()
        self._publish()  # contributions may have expired

    def _commit(self, index: int) -> None:
        shard, now = self._shards[index], self._clock.monotonic()
        if shard.lost_at is not None:
            return  # a commit would fail and be repeated in a busy loop until the node is local
        if now < shard.next_commit:
            self._wake(index)
            return
        is_full = shard.full_at is not None
        batch = shard.replica.next_batch(shard.members.members, shard.when(self._clock.now()), is_full)
        if batch is not None:
            shard.next_commit = now + self._backend.commit_pause_s
            shard.committed_at = now
            self._metrics.batch_items.observe(len(batch.proposals))
            if (left := shard.replica.in_flight_expires_at - now) < inf:
                batch = batch._replace(until_ms=self.time.now_ms + max(1, round(left * 1000)))
            self._backend.commit(index, batch, shard.replica.floor)
        if (member := shard.replica.removable()) is not None and shard.may_ask_for_removal(now):
            self._backend.remove(index, member)
        self.on_progress()

    def _go_local(self) -> None:
        now = self._clock.now()
        for shard in self._shards:
            since = shard.unusable_since
            if since is None or shard.replica.is_local:
                continue
            if now.monotonic - since < LOCAL_AFTER_S:
                self._timer.set(self._go_local, since + LOCAL_AFTER_S)
                continue
            self._notices.local(since, is_full=shard.lost_at is None)
            shard.become_stale(now)
            self._report_certainty()  # before what happens on this node alone, which takes higher positions
            shard.go_local(now)
        self._publish()
        self.on_progress()

    def _report_certainty(self) -> None:
        """Report that the node has become stale, or is no longer. One stale shard is enough: clients know no shards."""
        was_stale = self.stale_since_ms > 0
        self.stale_since_ms = min((s.stale_since_ms for s in self._shards if s.stale_since_ms), default=0)
        if was_stale != (self.stale_since_ms > 0):
            self.transitions += 1
            self.on_certainty()

    def _beat(self) -> None:
        """Send a heartbeat with the figures of this node."""
        figures = replace(
            self._figures(), leave_grace_s=self._leave_grace_s, started_ms=self._started_ms, lag_s=round(self.lag_s, 1)
        )
        for index, shard in enumerate(self._shards):
            own = replace(figures, unsettled=shard.replica.unsettled, digests=shard.replica.digests())
            self._backend.heartbeat(index, self._state, msgpack.encode(own))
        self._timer.set(self._beat, self._clock.monotonic() + self._lease_s / HEARTBEATS_PER_LEASE)

    def _mark(self) -> None:
        """Log a mark with the position of this node's journal, if one is due."""
        now = self._clock.monotonic()
        self._timer.set(self._mark, now + MARK_PERIOD_S)
        if not self.is_ready or self.is_local or self._state is State.LEAVING:
            return
        ready = frozenset(node.incarnation for node in self.nodes if node.state is State.READY)
        mark = self._own_marks.due(ready, now)
        if mark is not None and self._shards[0].replica.add_control(Kind.MARK, encode_mark(mark)):
            self._own_marks.logged(mark, ready, now)
            self._wake(0)

    def _check(self) -> None:
        self._pending.update(range(len(self._shards)))
        self._wake(0)
        self._timer.set(self._check, self._clock.monotonic() + CHECK_PERIOD_S)
