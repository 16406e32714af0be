"""Versions of users in a cluster: numbers that the store gives."""

from __future__ import annotations

from presenced.cluster.sharding import shard_of
from presenced.presence.versions import VersionCounter, VersionOf


class SharedVersions(VersionCounter):
    """Version clock of a node. Versions themselves come from the store.

    `newest` is the highest number that this node has seen or shown in any shard.
    """

    shown_up_to: tuple[int, ...] = (0,)
    """Number up to which all changes were shown, for each shard. Higher numbers may belong to changes that are not
    read yet."""

    def of_unknown(self) -> VersionOf:
        """Return a function that returns the number up to which a user's shard has been shown by now."""
        numbers = self.shown_up_to
        return lambda user_id: numbers[shard_of(user_id, len(numbers))]
