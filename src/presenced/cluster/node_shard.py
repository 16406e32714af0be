"""One shard on this node: its replica, the other nodes as they are seen there, and the connection to the store."""

from __future__ import annotations

from presenced.cluster.backend import Registration
from presenced.cluster.directory import SharedDirectory
from presenced.cluster.members import Members
from presenced.cluster.replica.replica import ShardReplica, When
from presenced.cluster.sharding import shard_of
from presenced.delivery.connection import Connection
from presenced.runtime.instant import Instant


class NodeShard:
    """One shard on this node, without its calls to the backend (`cluster.cluster`).

    Args:
        lease_s: Setting `cluster_lease`.
        index: Number of the shard.
        shards: Number of shards.
    """

    def __init__(self, directory: SharedDirectory[Connection], lease_s: float, index: int, shards: int) -> None:
        self.replica = ShardReplica(directory, lease_s, lambda user_id: shard_of(user_id, shards) == index)
        self.members = Members(lease_s)
        self.generation = -1
        """Number of times that the store may have lost writes, when this node connected last."""
        self.lost_at: float | None = None
        """Monotonic time since when the store is out of reach; None if it is in reach."""
        self.must_verify = False
        """Whether the store may have lost what this node wrote."""
        self.stale_since_ms = 0
        """Epoch milliseconds since when other nodes' users may have changed unnoticed; 0 if they may not."""
        self.next_commit = 0.0
        """Monotonic time before which nothing is committed."""
        self.committed_at = 0.0
        """Monotonic time of the commit in flight."""
        self.has_begun_removal = False
        """Whether this node is taking out the users of a dead node."""
        self.next_removal = 0.0
        """Monotonic time before which the store is not asked again to remove a dead node."""
        self.behind = 0
        """Numbers up to the highest one that the store had given when this node read last. They may jump."""
        self.read_all_at: float | None = None
        """Monotonic time at which this node last had read all of the log; None before."""

    def when(self, now: Instant) -> When:
        """Return the present moment, with the contact time of this shard."""
        return When(self.members.contact, now)

    def registered(self, registration: Registration) -> bool:
        """Take the slot and the incarnation. Return whether the node was registered before."""
        was_registered = bool(self.members.incarnation)
        self.replica.registered(registration.slot)
        self.members.incarnation = registration.incarnation
        self.generation = registration.generation
        self.must_verify = True
        return was_registered

    def lost(self, now: float) -> bool:
        """Note that a call to the store failed (`now`: monotonic seconds). Return whether it was in reach before."""
        if self.lost_at is not None:
            return False
        self.lost_at = now
        self.members.lost()
        return True

    def reached(self, now: float) -> bool:
        """Note that a read has succeeded (`now`: monotonic seconds). Return whether the store was out of reach."""
        self.members.look(now)
        was_lost, self.lost_at = self.lost_at is not None, None
        return was_lost

    def reconnected(self, generation: int) -> None:
        """Take the store's generation on a new connection, before `reached`."""
        self.must_verify = self.must_verify or generation != self.generation or self.lost_at is not None
        self.generation = generation

    def has_read_all(self, n: int, now: Instant) -> None:
        """Note that the log has been read to its end, and the store has given numbers up to `n`."""
        self.read_all_at = now.monotonic
        self.replica.read_up_to(n, self.when(now))
        if self.replica.is_local:
            self.replica.reconnected()
        if self.replica.is_loaded:
            self.stale_since_ms = 0
        if self.must_verify:
            self.must_verify = False
            self.has_begun_removal = False  # what was taken out may be lost, or the dead node itself: begin again
            self.replica.verify()

    def go_local(self, now: Instant) -> None:
        """Show what happens on this node alone, because the store has been out of reach since `lost_at`."""
        assert self.lost_at is not None, "only a store that is out of reach makes a node local"
        self.replica.disconnected(now)
        self.stale_since_ms = now.epoch_ms - int((now.monotonic - self.lost_at) * 1000)
