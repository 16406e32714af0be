"""What is asked of what was kept. Answers are JSON, ready to be sent: `storage.answers` has their types."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from presenced.storage.records import StoredUser


class Archive(Protocol):
    """Where what happened is kept.

    Every question may raise:
        StorageUnavailable: It is not answered now.
    """

    def unstored(self, user_ids: Sequence[str]) -> Mapping[str, StoredUser]:
        """Function that returns the state of those of these users whose newest facts `last_seen` may miss. Call it
        before `last_seen`. It raises nothing."""
        ...

    async def last_seen(self, user_ids: Sequence[str]) -> bytes:
        """`[{"userId", "lastSeen", "lastActive"}, ...]` of those of whom something is known, in any order."""
        ...

    async def history(self, user_id: str, after: str, limit: int) -> bytes:
        """`History`; `after` is its `next`, or empty.

        Raises:
            BadParameter: `after` is none.
        """
        ...

    async def sessions(self, user_id: str, after: str, limit: int) -> bytes:
        """`PastSessions`; `after` is its `next`, or empty.

        Raises:
            BadParameter: `after` is none.
        """
        ...

    async def erase(self, user_id: str) -> bytes:
        """All that is kept of the user is deleted: `{"stored": rows}`."""
        ...


class Letters(Protocol):
    """Webhooks that could not be delivered.

    Every question may raise:
        StorageUnavailable: It is not answered now.
    """

    async def dead_letters(self, after: str, limit: int) -> bytes:
        """`DeadLetters`; `after` is its `next`, or empty."""
        ...

    async def retry_dead(self, ids: Sequence[str] | None) -> bytes:
        """`replies.Retried`; None: all."""
        ...
