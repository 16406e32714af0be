"""Encoded messages for one connection or many."""

from __future__ import annotations

from collections.abc import Sequence


class Batch:
    """Encoded messages, in order, for one connection or many.

    `cache` is for transports: their form of the messages, made once for all connections that receive the batch.
    """

    __slots__ = ("cache", "messages")

    def __init__(self, messages: Sequence[bytes] = ()) -> None:
        self.messages = messages
        self.cache: dict[str, bytes] = {}

    def __len__(self) -> int:
        return len(self.messages)


EMPTY = Batch()
