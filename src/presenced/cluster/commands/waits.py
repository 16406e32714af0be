"""Callers of the HTTP API that wait until all nodes have what this node has decided about a user.

All nodes read the same log in the same order. So once this node has read its decision back from the log, every node has
it, or gets it before it reads anything newer.
"""

from __future__ import annotations

from collections.abc import Callable

from presenced.cluster.replica.replica import ShardReplica
from presenced.errors import CapacityError

MAX_WAITS = 1_000
"""Maximum number of waiting callers. Further callers get `CapacityError`."""

OnAnswer = Callable[[bool], None]
"""Gets True if all nodes have the decision, and False if the store is out of reach."""


class _Wait:
    __slots__ = ("on_answer", "replica", "user_id")

    def __init__(self, user_id: str, replica: ShardReplica, on_answer: OnAnswer) -> None:
        self.user_id = user_id
        self.replica = replica
        self.on_answer = on_answer


class Waits:
    """Waiting callers. The wait of each is over when this node has read its decision about the user back from the log.

    Bounds: `MAX_WAITS`. The callers decide how long they wait.
    """

    def __init__(self) -> None:
        self._waits: dict[_Wait, None] = {}

    def add(self, user_id: str, replica: ShardReplica, on_answer: OnAnswer) -> Callable[[], None]:
        """Add a caller, and return the function that removes it.

        Args:
            replica: Replica of the user's shard.
            on_answer: Called at most once, and never after the removal.

        Raises:
            CapacityError: Too many callers wait.
        """
        if len(self._waits) >= MAX_WAITS:
            raise CapacityError(f"{MAX_WAITS:,} commands wait for the other nodes already")
        wait = _Wait(user_id, replica, on_answer)
        self._waits[wait] = None
        return lambda: self._waits.pop(wait, None)

    def check(self, must_wait: Callable[[str], bool]) -> None:
        """Answer the callers for whom the wait is over.

        Args:
            must_wait: Returns whether a revocation of the user's tokens is not in the store yet.
        """
        if not self._waits:
            return
        by_shard: dict[ShardReplica, list[_Wait]] = {}
        for wait in self._waits:
            by_shard.setdefault(wait.replica, []).append(wait)
        for replica, waits in by_shard.items():
            # A local node does not reach the store, so nothing is agreed soon. Its callers get False at once.
            pending = set() if replica.is_local else replica.pending([wait.user_id for wait in waits])
            for wait in waits:
                if wait.user_id in pending or (not replica.is_local and must_wait(wait.user_id)):
                    continue
                if wait in self._waits:  # an earlier answer may have removed it
                    del self._waits[wait]
                    wait.on_answer(not replica.is_local)
