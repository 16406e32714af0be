"""Reports of a cluster to the part of a node that stores for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from presenced.cluster.backend import Entry, Member
from presenced.cluster.members import Figures


class History(Protocol):
    """What a node does for the database of the cluster: `cluster.history.write_behind`."""

    def registered(self, shard: int, epoch: str) -> None:
        """The node belongs to this life of the cluster."""

    def loaded(self, shard: int) -> None:
        """Everything was loaded, and entries of the log may have been skipped."""

    def reads(self, shard: int, entry: Entry) -> None:
        """The node has read the next entry of the log, and has not applied it yet."""

    def designated(self, shard: int, is_writer: bool) -> None:
        """Note whether this node is the designated writer. It is called about once a second."""

    def knows(self, members: Sequence[tuple[Member, Figures]]) -> None:
        """Note the registered nodes in shard 0."""

    def ready(self, is_new: bool) -> None:
        """The node takes connections. `is_new`: nobody knew anything, so that the database counts."""


class NoHistory:
    """Implements `History` for a node without a database."""

    def registered(self, shard: int, epoch: str) -> None:
        """Do nothing."""

    def loaded(self, shard: int) -> None:
        """Do nothing."""

    def reads(self, shard: int, entry: Entry) -> None:
        """Do nothing."""

    def designated(self, shard: int, is_writer: bool) -> None:
        """Do nothing."""

    def knows(self, members: Sequence[tuple[Member, Figures]]) -> None:
        """Do nothing."""

    def ready(self, is_new: bool) -> None:
        """Do nothing."""
