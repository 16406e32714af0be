"""One shard on this node: its replica, the other nodes as seen there, and its access to the store."""

from __future__ import annotations

from presenced.cluster.backend import Counts, Member, Registration
from presenced.cluster.directory import SharedDirectory
from presenced.cluster.members import Figures, Members, expirer_of, figures_of, writer_of
from presenced.cluster.replica.lost_writes import RECOVERY_S
from presenced.cluster.replica.replica import ShardReplica, When
from presenced.cluster.sharding import shard_of
from presenced.delivery.connection import Connection
from presenced.runtime.instant import Instant

UNKNOWN_PAUSE_S = 0.05
"""Seconds from a commit whose reply was lost to the next one."""

FULL_PAUSE_S = 0.25
"""Seconds from a commit for which the store had no memory to the next one, which shows whether there is some again."""

REMOVE_AGAIN_S = 1.0
"""Seconds after which the store is asked again to remove a dead node, if the log does not show the removal."""


class NodeShard:
    """One shard on this node, without its calls to the backend (`cluster.cluster`).

    Args:
        lease_s: Setting `cluster_lease`.
        index: Number of the shard.
        shards: Number of shards.
        settling_s: Setting `settling`.
    """

    def __init__(
        self,
        directory: SharedDirectory[Connection],
        lease_s: float,
        index: int,
        shards: int,
        settling_s: float = 0.0,
    ) -> None:
        self.replica = ShardReplica(directory, lease_s, lambda user_id: shard_of(user_id, shards) == index)
        self.members = Members(lease_s, settling_s)
        self._index = index
        self._recovery_s = lease_s + RECOVERY_S
        self._recovered_at = 0.0  # contact time by which nodes have committed again what the store has lost
        self.generation = -1
        """Number of times that the store may have lost writes, when this node connected last."""
        self.lost_at: float | None = None
        """Monotonic time since when the store is out of reach; None if it is in reach."""
        self.full_at: float | None = None
        """Monotonic time since when the store has no memory for commits; None if it has."""
        self.must_verify = False
        """Whether the store may have lost what this node wrote."""
        self.stale_since_ms = 0
        """Epoch milliseconds since when users of other nodes may have changed unnoticed; 0 if none may have."""
        self.next_commit = 0.0
        """Monotonic time before which nothing is committed."""
        self.committed_at = 0.0
        """Monotonic time of the commit in flight."""
        self._missed_n = -1  # `ShardReplica.changed_at` when the last count was too low; -1 if it was not
        self.has_begun_removal = False
        """Whether this node is taking out the users of a dead node."""
        self._next_removal = 0.0
        self.behind = 0
        """Highest number that the store had given at the last read, minus that of the last entry read; 0 if everything
        was read. Numbers may jump, so it is not a number of entries."""
        self.read_all_at: float | None = None
        """Monotonic time at which this node last had read all of the log; None before."""

    @property
    def unusable_since(self) -> float | None:
        """Monotonic time since when this node cannot commit; None if it can."""
        return min((at for at in (self.lost_at, self.full_at) if at is not None), default=None)

    def may_ask_for_removal(self, now: float) -> bool:
        """Return whether to ask the store now to remove a dead node: at most once in `REMOVE_AGAIN_S`.

        The caller must ask if this returns True.

        Args:
            now: Monotonic seconds.
        """
        is_due = now >= self._next_removal
        if is_due:
            self._next_removal = now + REMOVE_AGAIN_S
        return is_due

    def update_roles(self) -> tuple[list[tuple[Member, Figures]], Member | None]:
        """Decide whether this node ends choices and claims of absent users, from the nodes that are registered now.

        Return these nodes with their figures, and the designated writer; None if there is none.
        """
        known = [(member, figures_of(member)) for member in self.members.members]
        expirer = expirer_of(self._index, known)
        self.replica.ends_for_absent = expirer is not None and expirer.incarnation == self.members.incarnation
        return known, writer_of(self._index, known)

    def when(self, now: Instant) -> When:
        """Return the present moment, with the contact time of this shard."""
        return When(self.members.contact, now)

    def begin_load(self, now: Instant) -> None:
        """Read everything again (`ShardReplica.begin_load`)."""
        self.replica.begin_load(self.when(now))

    def registered(self, registration: Registration) -> bool:
        """Take the slot and the incarnation. Return whether the node was registered before."""
        was_registered = bool(self.members.incarnation)
        self.replica.registered(registration.slot)
        self.members.incarnation = registration.incarnation
        self.generation = registration.generation
        self.must_verify = True
        return was_registered

    def lost(self, now: float) -> bool:
        """Record that a call to the store failed (`now`: monotonic seconds). Return whether it was in reach before."""
        if self.lost_at is not None:
            return False
        self.lost_at = now
        self.members.lost()
        return True

    def reached(self, now: float) -> bool:
        """Record that a read has succeeded (`now`: monotonic seconds). Return whether the store was out of reach."""
        self.members.look(now)
        was_lost, self.lost_at = self.lost_at is not None, None
        return was_lost

    def reconnected(self, generation: int) -> None:
        """Take the store's generation on a new connection, before `reached`."""
        if self.generation != generation:
            self._recovered_at = self.members.contact + self._recovery_s
        self.must_verify = self.must_verify or generation != self.generation or self.lost_at is not None
        self.generation = generation

    def end_full(self) -> bool:
        """Record that the store has memory for commits. Return whether it had none before."""
        was_full, self.full_at = self.full_at is not None, None
        return was_full

    def commit_unknown(self, now: float) -> None:
        """Propose the users of the batch in flight again, after a pause (`now`: monotonic seconds)."""
        self.replica.unknown()
        self.next_commit = now + (UNKNOWN_PAUSE_S if self.full_at is None else FULL_PAUSE_S)

    def has_all_since(self, at: float) -> bool:
        """Return whether this node has what any other node had at a monotonic time.

        Another node may have known what the store has lost since. This node learns it when the other one commits again.
        """
        is_recovered = self.members.contact >= self._recovered_at
        return self.replica.is_loaded and is_recovered and (self.read_all_at or 0.0) > at

    def caught_up(self, n: int, now: Instant) -> None:
        """Record that the log has been read to its end, and the store has given numbers up to `n`."""
        self.read_all_at = now.monotonic
        self.replica.read_up_to(n, self.when(now))
        if self.full_at is None:  # otherwise the other nodes cannot commit, either
            if self.replica.is_local:
                self.replica.reconnected()
            if self.replica.is_loaded:
                self.stale_since_ms = 0
        if self.must_verify:
            self.must_verify = False
            self.has_begun_removal = False  # the store may have lost its progress: begin again
            self.replica.verify()

    def counted(self, counts: Counts) -> bool:
        """Compare what the store has with what it should have. Return whether it has lost keys: a load is due then.

        A count that arrives late differs by what happened meanwhile. So keys are lost only if two counts in a row are
        too low, and either nothing has changed in between, or less than half of something is left.
        """
        expected, changed_n = self.replica.counts(), self.replica.changed_at
        has_too_few = any(found < own for found, own in zip(counts, expected, strict=True))
        has_half = all(2 * found >= own for found, own in zip(counts, expected, strict=True))
        if not self.replica.is_loaded or not has_too_few:
            self._missed_n = -1
            return False
        had_missed, self._missed_n = self._missed_n, changed_n
        is_lost = had_missed == changed_n or (had_missed >= 0 and not has_half)
        if is_lost:
            self._missed_n, self.must_verify = -1, True
        return is_lost

    def become_stale(self, now: Instant) -> None:
        """Record that users may have changed unnoticed since `unusable_since`. The caller then calls `go_local`."""
        since = self.unusable_since
        assert since is not None, "a store that can be used makes no node local"
        self.stale_since_ms = now.epoch_ms - int((now.monotonic - since) * 1000)

    def go_local(self, now: Instant) -> None:
        """Show what happens on this node alone, because it cannot commit."""
        self.replica.disconnected(now)
