"""Events of the cluster, which the parts of a node subscribe to."""

from __future__ import annotations

from collections.abc import Callable

from presenced.cluster.backend import Kind


def _ignore() -> None:
    """Do nothing."""


class ClusterEvents:
    """Functions that the cluster calls when something happens. `cluster.factory` and the parts of the node set them."""

    def __init__(self) -> None:
        self.handlers: dict[Kind, Callable[[bytes, bool], object]] = {}
        """Functions called for entries of the log, by kind. Arguments: the body, and whether this node wrote the
        entry."""
        self.may_be_ready: Callable[[], bool] = lambda: True
        """Returns whether the node may accept connections once everything was loaded."""
        self.on_loaded: Callable[[], None] = _ignore
        """Called when a shard has been loaded."""
        self.on_ready: Callable[[], None] = _ignore
        """Called when the node can accept connections."""
        self.on_progress: Callable[[], None] = _ignore
        """Called after each read of the log and each attempt to commit, so at least once a second while the store
        responds. It is also called when the node becomes local."""
        self.on_in_reach: Callable[[], None] = _ignore
        """Called when the store is in reach again."""
        self.on_certainty: Callable[[], None] = _ignore
        """Called when `Cluster.stale_since_ms` has become 0, or has stopped being 0."""
        self.on_rejoined: Callable[[], None] = _ignore
        """Called when the node has registered again, because the others had declared it dead."""
        self.on_drain: Callable[[], object] = _ignore
        """Called when an operator asks this node to stop."""
