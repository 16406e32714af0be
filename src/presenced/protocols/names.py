"""Names of positions and sessions, which are opaque text for clients and backends."""

from __future__ import annotations

import secrets

from presenced.presence.journal import Cursor, Journal


class Names:
    """Names of the positions and sessions of this node.

    A cluster subclasses this, because its nodes understand each other's names.

    Args:
        epoch: Name of this start of the server, with which its positions begin; letters and digits.
    """

    def __init__(self, epoch: str, journal: Journal) -> None:
        self.epoch = epoch
        self._journal = journal

    def position(self, position: int, snapshot: int = 0) -> str:
        """Return the name of a position.

        Args:
            snapshot: Number of the session's snapshot that ends at the position; 0 if changes end there.
        """
        return f"{self.epoch}-{position}-{snapshot}" if snapshot else f"{self.epoch}-{position}"

    def cursor(self, text: str) -> Cursor | None:
        """Return the cursor with this name; None if this server has not issued it since its start."""
        epoch, *numbers = text.split("-")
        return self._cursor(numbers) if epoch == self.epoch else None

    def new_session(self) -> str:
        """Return the id of a new session. It is a secret of its client."""
        return secrets.token_urlsafe(16)

    def _cursor(self, numbers: list[str]) -> Cursor | None:
        """Return the cursor for a position and perhaps a snapshot, both as text; None if no such cursor can exist."""
        if not all(n.isascii() and n.isdigit() and len(n) < 20 for n in numbers):
            return None
        if not 1 <= len(numbers) <= 2 or int(numbers[0]) > self._journal.position:
            return None
        return Cursor(*map(int, numbers))
