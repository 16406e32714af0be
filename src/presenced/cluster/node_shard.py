"""What a node has of one shard, beside the rules."""

from __future__ import annotations

from presenced.cluster.directory import SharedDirectory
from presenced.cluster.members import Members
from presenced.cluster.replica.replica import ShardReplica
from presenced.cluster.sharding import shard_of
from presenced.delivery.connection import Connection


class NodeShard:
    """One shard, with everything about it that is not a rule."""

    def __init__(self, directory: SharedDirectory[Connection], lease_s: float, index: int, shards: int) -> None:
        self.replica = ShardReplica(directory, lease_s, lambda user_id: shard_of(user_id, shards) == index)
        self.members = Members(lease_s)
        self.generation = -1
        self.lost_at: float | None = None
        """Monotonic time since when the store is out of reach; None if it is in reach."""
        self.must_verify = False
        """Whether the store may have lost what this node wrote."""
        self.stale_since_ms = 0
        """Epoch milliseconds since when other nodes' users may have changed unnoticed; 0 if they may not."""
        self.next_commit = 0.0
        """Monotonic time before which nothing is committed."""
        self.has_begun_removal = False
        """Whether this node is taking out the users of a dead node."""
        self.ends_for_absent = False
        """Whether this node ends choices and claims of absent users."""
        self.behind = 0
        """Numbers up to the highest one that the store had given when this node read last. They may jump."""
        self.read_all_at: float | None = None
        """Monotonic time at which this node last had read all of the log; None before."""
        self.committed_at = 0.0
        """Monotonic time of the commit in flight."""
