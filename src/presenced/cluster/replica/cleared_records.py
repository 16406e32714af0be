"""Records that only say that something was cleared, the oldest first. Pure.

If a user is offline, and a choice, claim or announcement was cleared, the record stays and has nothing but the stamps.
Otherwise a node that was cut off meanwhile would bring back what it had. The node that ends choices and claims of
absent users deletes the record later. If that node is slow or gone, the others do.

All times are contact times in seconds (`cluster.members`).
"""

from __future__ import annotations

from collections import OrderedDict

CLEARED_S = 3600.0
"""Seconds of contact for which a record only says that something was cleared. A node that was cut off for longer may
bring back what was cleared meanwhile."""

MAX_CLEARED = 100_000
"""Maximum number of such records in a shard. At the bound, the oldest are deleted."""

OTHERS_FACTOR = 1.1
"""Factor of `CLEARED_S` and `MAX_CLEARED` beyond which any node deletes the records."""


class ClearedRecords:
    """Users whose records only say that something was cleared.

    Bounds: `MAX_CLEARED` and `CLEARED_S`, each times `OTHERS_FACTOR`.
    """

    def __init__(self) -> None:
        self._since: OrderedDict[str, float] = OrderedDict()

    def clear(self) -> None:
        """Begin again without records."""
        self._since.clear()

    def has(self, user_id: str) -> bool:
        """Return whether the record of a user only says that something was cleared."""
        return user_id in self._since

    def add(self, user_id: str, contact: float) -> None:
        """Add a user whose record only says that something was cleared."""
        self._since[user_id] = contact

    def remove(self, user_id: str) -> bool:
        """Remove a user. Return whether the user was there."""
        return self._since.pop(user_id, None) is not None

    def expired(self, contact: float, is_responsible: bool) -> list[str]:
        """Take out the users whose records are to be deleted now.

        Args:
            is_responsible: Whether this node has to delete the records. If not, it leaves them to that node for longer.
        """
        scale = 1.0 if is_responsible else OTHERS_FACTOR
        expired: list[str] = []
        while self._since:
            user_id, since = next(iter(self._since.items()))
            if contact - since <= CLEARED_S * scale and len(self._since) <= MAX_CLEARED * scale:
                break
            del self._since[user_id]
            expired.append(user_id)
        return expired
