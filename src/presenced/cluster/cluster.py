"""The shell of the cluster on one node: connects the backend, the pure rules, and the node.

    connections, HTTP API             backend (store, other nodes)
            |                              |            ^
            v                              v            |
    SharedDirectory --touched-->      Cluster  ---- commit, load, heartbeat, remove
            ^                         /      \\
            '--accept-- SharedShard(s)        Members (who is alive)
            |
            '-- outcomes --> publisher (connections, journal, rooms, storage)

All calls happen on the thread of the event loop. A node is, for each shard,

    loading      it has not read everything yet, and takes no connections
    joined       what it shows is what all nodes have agreed on
    local        the store has been out of reach for `LOCAL_AFTER_S`: it shows what happens here

Pace: an idle node commits at once. After that, it pauses for the backend's `commit_pause_s`, so that the work of the
store does not grow with the number of nodes. What happens in the pause is one batch.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from math import inf
from typing import Protocol

from msgspec import msgpack
from msgspec.structs import replace

from presenced.cluster import messages
from presenced.cluster.backend import (
    MAX_SLOTS,
    Applicant,
    Backend,
    Committed,
    Entry,
    EntryKey,
    Kind,
    Member,
    Part,
    Registration,
    State,
    StoredUser,
)
from presenced.cluster.directory import SharedDirectory
from presenced.cluster.handover import Handover
from presenced.cluster.history import History, NoHistory
from presenced.cluster.marks import MARK_PERIOD_S, Mark, Marks, decode_mark, encode_mark
from presenced.cluster.members import (
    HEARTBEATS_PER_LEASE,
    Do,
    Figures,
    Members,
    ender_of,
    figures_of,
    writer_of,
)
from presenced.cluster.messages import AskSession, GiveSession
from presenced.cluster.names import SharedNames
from presenced.cluster.presence import When
from presenced.cluster.sharding import shard_of
from presenced.cluster.shared import MAX_CONTROLS, SharedShard
from presenced.delivery.connection import Connection
from presenced.presence.directory import Outcome
from presenced.presence.journal import Cursor
from presenced.presence.model import Cause, Status
from presenced.presence.session import Session
from presenced.runtime.clock import Clock, Timer
from presenced.runtime.instant import Instant
from presenced.runtime.logs import logger

LOCAL_AFTER_S = 1.0
"""Seconds without the store after which a node shows its own changes at once."""

ERASE_WITHIN_S = 5.0
"""Seconds after which a user is erased although the user has not gone offline on all nodes."""

CHECK_PERIOD_S = 0.5
"""Seconds between two looks at what only time changes: unsettled users and retained contributions."""


UNKNOWN_PAUSE_S = 0.05
"""Seconds from a commit whose reply was lost to the next one."""


class ClusterPublisher(Protocol):
    """The part of the node's publisher that the cluster uses."""

    def apply(self, outcome: Outcome[Connection], now: Instant) -> None:
        """Notify everyone that the outcome concerns."""


class _Shard:
    """One shard, with everything about it that is not a rule."""

    def __init__(self, directory: SharedDirectory[Connection], lease_s: float, index: int, shards: int) -> None:
        self.rules = SharedShard(directory, lease_s, lambda user_id: shard_of(user_id, shards) == index)
        self.members = Members(lease_s)
        self.generation = -1
        self.lost_at: float | None = None
        """Monotonic time since when the store is out of reach; None if it is in reach."""
        self.must_verify = False
        """Whether the store may have lost what this node wrote."""
        self.next_commit = 0.0
        """Monotonic time before which nothing is committed."""
        self.is_removing = False
        self.ends_for_absent = False
        """Whether this node ends choices and claims of absent users."""


class Cluster:
    """This node's part in the cluster (`cluster.backend.Receiver`, `cluster.directory.Agreement`).

    Args:
        name: Name of the node, for people.
        lease_s: Setting `cluster_lease`.
        figures: Returns what the node reports about itself.
        resume_window: Setting.
        log_age: Setting.
    """

    def __init__(
        self,
        *,
        name: str,
        lease_s: float,
        clock: Clock,
        timer: Timer,
        backend: Backend,
        directory: SharedDirectory[Connection],
        publisher: ClusterPublisher,
        names: SharedNames,
        figures: Callable[[], Figures],
        resume_window: float,
        log_age: float,
    ) -> None:
        self._name = name
        self._lease_s = lease_s
        self._clock = clock
        self._timer = timer
        self._backend = backend
        self._directory = directory
        self._publisher = publisher
        self._figures = figures
        self._names = names
        self._marks = names.marks = Marks(log_age)
        self._marked = Mark("", -1, ())  # this node's last mark
        self._marked_at = -inf
        self._known: set[str] = set()  # incarnations of the nodes that have seen a mark of this one
        self._leaves_in = 0.0
        self.on_kick: Callable[[str], object] = lambda _: None
        """Called with a user whose connections another node's application has closed."""
        self.on_erase: Callable[[str], object] = lambda _: None
        """Called with a user whom an application has erased on any node."""
        self.on_rejoined: Callable[[], None] = lambda: None
        """Called when the node has registered again, because the others had declared it dead."""
        self.on_ready: Callable[[], None] = lambda: None
        """Called when the node has become able to take connections."""
        self.history: History = NoHistory()
        self.finds_others = False
        """Whether the node has joined a cluster that lives, so that nobody has to return to it."""
        self._shards = [_Shard(directory, lease_s, index, backend.shards) for index in range(backend.shards)]
        self._erasing: dict[str, float] = {}  # users whose erasure waits, and until when
        self._pending: set[int] = set()  # shards with something to commit
        self._was_ready = False
        self._state = State.LOADING
        self.rejection = ""
        """Why the node cannot join; empty if it can."""
        self._handover = Handover(
            clock=clock,
            timer=timer,
            backend=backend,
            directory=directory,
            names=names,
            members=lambda: self._shards[0].members.members,
            is_silent=lambda slot: self._shards[0].members.is_silent(slot),
            resume_window=resume_window,
        )
        directory.agreement = self

    def start(self) -> None:
        """Connect to the store, and join the other nodes. The node takes connections once `is_ready`."""
        slot = random.randrange(MAX_SLOTS)  # noqa: S311, not a secret: any free slot will do
        self._backend.start(Applicant(self._name, slot), self)
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
        """Whether everything was loaded, so that the node may take connections."""
        return all(shard.rules.is_loaded for shard in self._shards)

    @property
    def is_local(self) -> bool:
        """Whether some shard is out of reach, so that other nodes' users may be out of date."""
        return any(shard.rules.is_local for shard in self._shards)

    @property
    def warning(self) -> str:
        """Why other nodes' users may be out of date; empty if they are not."""
        lost = [shard.lost_at for shard in self._shards if shard.rules.is_local and shard.lost_at is not None]
        if not lost:
            return ""
        away = self._clock.monotonic() - min(lost)
        return f"the store has been out of reach for {away:.0f} s, so this node shows only what happens on it"

    @property
    def nodes(self) -> Sequence[Member]:
        """The registered nodes."""
        return self._shards[0].members.members

    def name_of(self, slot: int) -> str:
        """Return the name of the node in a slot; its number if it is not registered any more."""
        return next((node.name for node in self.nodes if node.slot == slot), str(slot))

    @property
    def others(self) -> int:
        """Number of other nodes that take connections."""
        return sum(node.state is State.READY and node.slot != self._directory.slot for node in self.nodes)

    def leave(self, leaves_in: float) -> None:
        """Say that this node stops, and commit nothing more.

        The sessions that have lost their connections are saved. The caller saves each of the others before it closes
        the connection (`save_session`).

        Args:
            leaves_in: Seconds for which the node's users may return to other nodes.
        """
        self._state, self._leaves_in = State.LEAVING, leaves_in
        self._beat()
        for session in self._directory.users.sessions.values():
            if session.connection is None:
                self.save_session(session)

    def erase(self, user_id: str) -> None:
        """Have all nodes and the database forget a user, as soon as the user's last changes are in the log.

        Otherwise these changes would be stored after the user was deleted.
        """
        if len(self._erasing) < MAX_CONTROLS:
            self._erasing[user_id] = self._clock.monotonic() + ERASE_WITHIN_S

    def applied(self, shard: int) -> int:
        """Return the number of the entry of the log that was applied last; 0 if there is none."""
        applied = self._shards[shard].rules.applied
        return applied.n if applied is not None else 0

    def continue_above(self, number: int) -> None:
        """Have the store give only numbers above this one, because the database has lower ones."""
        for shard in self._shards:
            shard.rules.floor = max(shard.rules.floor, number)

    # Sessions that move between nodes.

    def fetch_session(
        self, session_id: str, position: str, user_id: str, done: Callable[[Cursor | None], None]
    ) -> bool:
        """Adopt a session of another node (`Handover.fetch`). Return False if there is nothing to wait for."""
        return not self.is_local and self._handover.fetch(session_id, position, user_id, done)

    def save_session(self, session: Session[Connection]) -> None:
        """Save a session for other nodes, because this one stops."""
        self._handover.save(session)

    def kick(self, user_id: str) -> int:
        """Have all other nodes close the connections of a user, and return the number of these connections."""
        index = shard_of(user_id, len(self._shards))
        user = self._directory.users.user(user_id)
        elsewhere = sum(session.slot >= 0 for session in user.sessions) if user is not None else 0
        if elsewhere and self._shards[index].rules.control(Kind.KICK, user_id.encode()):
            self._wake(index)
        return elsewhere

    # Events of this node.

    def touched(self, user_id: str, now: Instant) -> None:
        """Something about the user has changed on this node."""
        index = shard_of(user_id, len(self._shards))
        self._shards[index].rules.touched(user_id, now)
        self._wake(index)

    def contribution_changed(self, user_id: str) -> None:
        """What this node contributes to the user has changed, and nothing that others see here."""
        index = shard_of(user_id, len(self._shards))
        self._shards[index].rules.contribution_changed(user_id)
        self._wake(index)

    def came_back(self, user_id: str, tag: bytes) -> None:
        """A session has come from another node."""
        shard = self._shards[shard_of(user_id, len(self._shards))]
        shard.rules.came_back(user_id, tag, shard.members.contact)

    def ends_for_absent(self, user_id: str) -> bool:
        """Return whether this node ends the choice and the claims of a user who has no session."""
        return self._shards[shard_of(user_id, len(self._shards))].ends_for_absent

    # Reports of the backend.

    def registered(self, shard: int, registration: Registration) -> None:
        """The node has a slot and an incarnation. It loads the shard."""
        this = self._shards[shard]
        this.rules.registered(registration.slot)
        has_rejoined = bool(this.members.incarnation)
        this.members.incarnation = registration.incarnation
        this.generation = registration.generation
        this.must_verify = True
        if not shard:
            self._names.registered(registration)
            self._directory.slot = registration.slot
            if has_rejoined:
                self.on_rejoined()
        self.history.registered(shard, registration.epoch)
        self._load(shard)

    def rejected(self, reason: str) -> None:
        """The node cannot register."""
        self.rejection = reason
        logger.error("cannot join the cluster: %s", reason, extra={"event": "cluster_rejected"})

    def page(self, shard: int, users: Sequence[StoredUser], parts: Sequence[tuple[str, Part]]) -> None:
        """A page of a load."""
        self._shards[shard].rules.page(users, parts)

    def loaded(self, shard: int, last: EntryKey | None, n: int) -> None:
        """All pages of a load were sent."""
        self._shards[shard].rules.loaded(last, n, self._when(shard))
        self.history.loaded(shard)
        self._publish()

    def entries(self, shard: int, entries: Sequence[Entry], n: int) -> None:
        """The next entries of the log."""
        this, now = self._shards[shard], self._clock.now()
        self._in_reach(shard, now)
        when = When(this.members.contact, now)
        for entry in entries:
            if this.rules.applied is None or entry.n > this.rules.applied.n:
                self.history.reads(shard, entry)
                this.rules.apply(entry, when)
            if entry.kind is Kind.REMOVED:
                this.is_removing = False
            elif entry.kind is Kind.MARK and entry.incarnation != self._shards[0].members.incarnation:
                self._marks.add(decode_mark(entry.body), now.monotonic)
            elif entry.kind is Kind.KICK and entry.incarnation != this.members.incarnation:
                self.on_kick(entry.body.decode())
        applied = this.rules.applied
        if (applied is not None and applied.n >= n) or not entries:
            self._has_read_all(shard, n, when)
        self._publish()
        for entry in entries:
            if entry.kind is Kind.ERASE:
                self.on_erase(entry.body.decode())  # after the user's last change was published
        self._wake(shard)

    def interrupted(self, shard: int) -> None:
        """The log does not continue where this node is."""
        self._shards[shard].must_verify = True
        self._load(shard)

    def committed(self, shard: int, result: Committed) -> None:
        """The store has processed a batch."""
        self._shards[shard].rules.committed(result)
        self._wake(shard)

    def unknown(self, shard: int, serial: int) -> None:
        """The reply to a batch was lost."""
        this = self._shards[shard]
        this.rules.unknown()
        this.next_commit = self._clock.monotonic() + UNKNOWN_PAUSE_S
        self._wake(shard)

    def fenced(self, shard: int) -> None:
        """This incarnation may no longer write. The backend registers the node again."""
        logger.warning("the store has declared this node dead: it joins again", extra={"event": "cluster_fenced"})
        self._shards[shard].rules.unknown()
        self._shards[shard].must_verify = True

    def reconnected(self, shard: int, generation: int) -> None:
        """The store is reachable again."""
        this = self._shards[shard]
        this.must_verify = this.must_verify or generation != this.generation or this.lost_at is not None
        this.generation = generation
        self._in_reach(shard, self._clock.now())

    def disconnected(self, shard: int) -> None:
        """A call to the store failed."""
        this = self._shards[shard]
        if this.lost_at is None:
            this.lost_at = self._clock.monotonic()
            this.members.lost()
            self._timer.set(self._go_local, this.lost_at + LOCAL_AFTER_S)

    def members(self, shard: int, members: Sequence[Member]) -> None:
        """Take the registered nodes, and do what has to be done about dead ones."""
        this = self._shards[shard]
        this.members.look(self._clock.monotonic())
        for duty in this.members.observe(members):
            if duty.do is Do.DECLARE_DEAD:
                self._backend.declare_dead(shard, duty.member)
            elif not this.is_removing:
                logger.warning(
                    "node %s is dead: its users are taken out", duty.member.name, extra={"event": "cluster_removes"}
                )
                this.is_removing = True
                cause = Cause.DRAIN if figures_of(duty.member).leaves_in else Cause.TIMEOUT
                this.rules.remove(duty.member, cause, self._clock.now())
        self._share_duties(shard)
        self._wake(shard)

    def received(self, slot: int, message: bytes) -> None:
        """Another node sent a message to this one."""
        match messages.decode(message):
            case AskSession() as ask:
                self._handover.asked(slot, ask)
            case GiveSession() as given:
                self._handover.given(given)
            case None:
                pass

    # Internal.

    def _share_duties(self, shard: int) -> None:
        this = self._shards[shard]
        known = [(member, figures_of(member)) for member in this.members.members]
        writer, ender = writer_of(shard, known), ender_of(shard, known)
        own = this.members.incarnation
        this.ends_for_absent = ender is not None and ender.incarnation == own
        if not shard:
            self.history.knows(known)
        # While there is no designated writer, the last one goes on, and so does a node that stops.
        if writer is not None and self._was_ready and self._state is not State.LEAVING:
            self.history.designated(shard, writer.incarnation == own)

    def _when(self, shard: int) -> When:
        return When(self._shards[shard].members.contact, self._clock.now())

    def _load(self, shard: int) -> None:
        self._shards[shard].rules.begin_load()
        self._backend.load(shard)

    def _in_reach(self, shard: int, now: Instant) -> None:
        this = self._shards[shard]
        this.lost_at = None
        this.members.look(now.monotonic)

    def _has_read_all(self, shard: int, n: int, when: When) -> None:
        this = self._shards[shard]
        this.rules.read_up_to(n, when)
        if this.rules.is_local:
            this.rules.reconnected()
        if this.must_verify:
            this.must_verify = False
            this.rules.verify()
        if self.is_ready and not self._was_ready:
            self._was_ready = True
            self._state = State.READY
            is_new = not any(shard.rules.records for shard in self._shards)
            others = any(member.state is State.READY for member in self.nodes)
            self.finds_others = others or not is_new
            self.history.ready(is_new)
            self.on_ready()
            self._beat()

    def _publish(self) -> None:
        now = self._clock.now()
        self._directory.versions.newest = max(shard.rules.floor for shard in self._shards)
        for outcome in self._directory.take_outcomes():
            self._publisher.apply(outcome, now)

    def _wake(self, shard: int) -> None:
        """Commit what is due in this shard: now if it is idle, else after its pause."""
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

    def _commit(self, index: int) -> None:
        shard, now = self._shards[index], self._clock.monotonic()
        if now < shard.next_commit:
            self._wake(index)
            return
        batch = shard.rules.due(shard.members.members, self._when(index))
        if batch is not None:
            shard.next_commit = now + self._backend.commit_pause_s
            self._backend.commit(index, batch, shard.rules.floor)
        elif (member := shard.rules.removing) is not None and shard.rules.is_removed(member):
            self._backend.remove(index, member)

    def _go_local(self) -> None:
        now = self._clock.now()
        for shard in self._shards:
            if shard.lost_at is None or shard.rules.is_local:
                continue
            if now.monotonic - shard.lost_at < LOCAL_AFTER_S:
                self._timer.set(self._go_local, shard.lost_at + LOCAL_AFTER_S)
                continue
            logger.warning("the store is out of reach: this node is on its own", extra={"event": "cluster_local"})
            shard.rules.disconnected(now)
        self._publish()

    def _beat(self) -> None:
        """Show the other nodes that this one is alive."""
        figures = msgpack.encode(replace(self._figures(), leaves_in=self._leaves_in))
        for index in range(len(self._shards)):
            self._backend.heartbeat(index, self._state, figures)
        self._timer.set(self._beat, self._clock.monotonic() + self._lease_s / HEARTBEATS_PER_LEASE)

    def _mark(self) -> None:
        """Log where this node is in its journal, if it has moved, another node has joined, or the last mark is old."""
        now = self._clock.monotonic()
        self._timer.set(self._mark, now + MARK_PERIOD_S)
        if not self.is_ready or self.is_local or self._state is State.LEAVING:
            return
        position = self._directory.users.journal.position
        known = {node.incarnation for node in self.nodes if node.state is State.READY}
        is_due = now - self._marked_at >= self._marks.gap_s or not known <= self._known
        if position == self._marked.position and self._names.home == self._marked.home and not is_due:
            return
        applied = tuple(shard.rules.applied.n for shard in self._shards if shard.rules.applied is not None)
        mark = Mark(self._names.home, position, applied)
        if self._shards[0].rules.control(Kind.MARK, encode_mark(mark)):
            self._marked, self._marked_at, self._known = mark, now, known
            changed_at = tuple(shard.rules.changed_at for shard in self._shards)
            self._marks.add(replace(mark, applied=changed_at), now)
            self._wake(0)

    def _log_erasures(self) -> None:
        now = self._clock.monotonic()
        for user_id, until in list(self._erasing.items()):
            index = shard_of(user_id, len(self._shards))
            rules = self._shards[index].rules
            is_gone = user_id not in rules.records and self._directory.users.status(user_id) is Status.OFFLINE
            if (is_gone or now >= until) and rules.control(Kind.ERASE, user_id.encode()):
                del self._erasing[user_id]

    def _check(self) -> None:
        self._log_erasures()
        for index in range(len(self._shards)):
            self._wake(index)
        self._timer.set(self._check, self._clock.monotonic() + CHECK_PERIOD_S)
