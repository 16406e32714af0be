"""Which shard a user is in."""

from __future__ import annotations

from hashlib import blake2b


def shard_of(user_id: str, shards: int) -> int:
    """Return the number of the user's shard, below `shards`. All nodes and releases must give the same result."""
    return 0 if shards == 1 else blake2b(user_id.encode(), digest_size=1).digest()[0] % shards
