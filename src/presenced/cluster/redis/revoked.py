"""Revoked users and tokens in Redis."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from presenced.cluster.redis.format import decode_revoked, encode_revoked, revoked_key
from presenced.cluster.redis.messages import RedisMessages
from presenced.cluster.redis.scripts import REVOKE
from presenced.storage.records import StoredRevocation

PAGE_SIZE = 500
"""Number of revocations in one command. The store takes less than a millisecond for them."""


class RedisRevoked:
    """Hash of the revoked users and tokens."""

    def __init__(self, cluster_name: str, messages: RedisMessages) -> None:
        self._key = revoked_key(cluster_name)
        self._messages = messages
        self._cursor: bytes | str = "0"  # where the script continues to search for expired ones

    def add(self, revoked: Sequence[StoredRevocation], now: float, on_answer: Callable[[bool], None]) -> None:
        """Remember revoked users and tokens. The pages are written one after the other."""
        page, rest = revoked[:PAGE_SIZE], revoked[PAGE_SIZE:]

        def written(cursor: bytes) -> None:
            self._cursor = cursor
            if rest:
                self.add(rest, now, on_answer)
            else:
                on_answer(True)

        command = ("EVAL", REVOKE.source, 1, self._key, repr(now), self._cursor, *encode_revoked(page))
        self._messages.call(self._key, command, written, lambda: on_answer(False))

    def read(self, on_answer: Callable[[Sequence[StoredRevocation] | None], None]) -> None:
        """Read all revoked users and tokens."""
        self._read("0", [], on_answer)

    def _read(
        self,
        cursor: bytes | str,
        found: list[StoredRevocation],
        on_answer: Callable[[Sequence[StoredRevocation] | None], None],
    ) -> None:
        def read(reply: Any) -> None:
            next_cursor, flat = reply
            found.extend(decode_revoked(flat))
            if next_cursor == b"0":
                on_answer(found)
            else:
                self._read(next_cursor, found, on_answer)

        command = ("HSCAN", self._key, cursor, "COUNT", PAGE_SIZE)
        self._messages.call(self._key, command, read, lambda: on_answer(None))
