"""What is asked of what was kept. Answers are JSON, ready to be sent: `replies` has their types."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class Archive(Protocol):
    """Where what happened is kept.

    Every question may raise:
        Unavailable: It does not answer now: it is gone, slow, or asked too much.
    """

    async def last_seen(self, user_ids: Sequence[str]) -> bytes:
        """`[{"userId", "lastSeen", "lastActive"}, ...]` of those of whom something is known, in any order."""
        ...

    async def history(self, user_id: str, before: int, limit: int) -> bytes:
        """`replies.History`: of versions below `before`; 0: the newest."""
        ...

    async def sessions(self, user_id: str, before: tuple[int, str] | None, limit: int) -> bytes:
        """`replies.PastSessions`: those that come after the one that opened then and has this key; None: the newest."""
        ...

    async def erase(self, user_id: str) -> bytes:
        """`{"stored": rows}`: all that is kept of the user is deleted."""
        ...

    async def dead_letters(self, after: str, limit: int) -> bytes:
        """`replies.DeadLetters`."""
        ...

    async def retry_dead(self, ids: Sequence[str] | None) -> bytes:
        """`replies.Retried`; None: all."""
        ...


class Unavailable(Exception):
    """The archive does not answer now; `str()` says why, for whoever asked."""
