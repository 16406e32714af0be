"""Contract between the cluster and the part of a node that stores its history."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from presenced.cluster.backend import Entry, Member
from presenced.cluster.members import Figures


class History(Protocol):
    """Receiver of the cluster's reports that stores the cluster's history (`cluster.history.write_behind`).

    An implementation stores a shard's entries only while it is the designated writer of the shard.
    """

    def registered(self, shard: int, epoch: str) -> None:
        """Take the epoch of the cluster, to which all later entries of the shard belong.

        Called each time that the node has registered in the shard.
        """

    def loaded(self, shard: int) -> None:
        """Record that a shard was loaded, in which case entries of the log may have been skipped."""

    def entry_read(self, shard: int, entry: Entry) -> None:
        """Take the next entry of the log, before the node applies it."""

    def designated(self, shard: int, is_writer: bool) -> None:
        """Begin or stop storing for a shard. Called about once a second.

        Args:
            is_writer: Whether this node is the designated writer of the shard.
        """

    def members_seen(self, members: Sequence[tuple[Member, Figures]]) -> None:
        """Take the registered nodes, with their figures, about once a second.

        They are those of shard 0, because every node registers in all shards.
        """

    def ready(self, is_new: bool) -> None:
        """Record that the node accepts connections.

        Args:
            is_new: Whether the store had no user records. The node then restores presence from the database.
        """


class NoHistory:
    """`History` of a node without a database."""

    def registered(self, shard: int, epoch: str) -> None:
        """Do nothing."""

    def loaded(self, shard: int) -> None:
        """Do nothing."""

    def entry_read(self, shard: int, entry: Entry) -> None:
        """Do nothing."""

    def designated(self, shard: int, is_writer: bool) -> None:
        """Do nothing."""

    def members_seen(self, members: Sequence[tuple[Member, Figures]]) -> None:
        """Do nothing."""

    def ready(self, is_new: bool) -> None:
        """Do nothing."""
