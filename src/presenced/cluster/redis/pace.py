"""Pauses between reads and between commits, so that all nodes together do not overload the store."""

from __future__ import annotations

SHORTEST_PAUSE_S = 0.002
"""Shortest pause in seconds after a read or a commit."""

READ_SHARE_S = 0.000083
"""Seconds of pause after a read, for each node and shard of a master.

A read takes 25 µs of the store's core. So all reads together take at most 30 % of it, for any number of nodes.
"""

COMMITS_PER_READ = 0.4
"""Number of commits per read. It is below 1 because a commit costs the store more than a read."""


def read_pause_s(nodes: int, shards: int, masters: int) -> float:
    """Return the seconds between a read that found something, and the next one."""
    return max(SHORTEST_PAUSE_S, nodes * shards / masters * READ_SHARE_S)


def commit_pause_s(nodes: int, shards: int, masters: int) -> float:
    """Return the seconds between two commits of a shard."""
    return max(SHORTEST_PAUSE_S, nodes * shards / masters * READ_SHARE_S / COMMITS_PER_READ)
