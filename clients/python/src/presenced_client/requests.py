"""Requests without an answer, across connections."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from presenced_client.requested_state import Request, Undo, rooms_of


@dataclass
class Pending:
    """A request without an answer."""

    request: Request
    undo: Undo
    """State to restore if the server refuses it."""
    sent: bool = True
    """Whether it was sent on this connection."""


class Requests:
    """Requests without an answer, oldest first. Ids are never used again, so a late answer cannot be confused."""

    def __init__(self) -> None:
        self._last_id = 0
        self._pending: dict[int, Pending] = {}

    def __len__(self) -> int:
        return len(self._pending)

    def new_id(self) -> int:
        """Return an id that no request has had."""
        self._last_id += 1
        return self._last_id

    def add(self, request: Request, undo: Undo) -> Request:
        """Add a request that is sent now, and return it with its id."""
        request_id = self.new_id()
        self._pending[request_id] = Pending(request, undo)
        return {**request, "id": request_id}

    def answered(self, request_id: object) -> Pending | None:
        """Remove and return the request that was answered; None if it is not pending."""
        return self._pending.pop(request_id, None) if isinstance(request_id, int) else None

    def resend(self) -> None:
        """Send all again, because the session continues on a new connection.

        An ACTIVITY may be older than the URL of that connection, so it is dropped.
        """
        self._pending = {key: one for key, one in self._pending.items() if one.request["type"] != "ACTIVITY"}
        for pending in self._pending.values():
            pending.sent = False

    def unsent(self) -> Iterator[Request]:
        """Yield the requests to send again. Each then counts as sent."""
        for request_id, pending in list(self._pending.items()):
            if not pending.sent:
                pending.sent = True
                yield {**pending.request, "id": request_id}

    def all(self) -> list[Pending]:
        """Return all requests without an answer."""
        return list(self._pending.values())

    def rooms(self) -> set[str]:
        """Return the rooms that these requests name."""
        return {name for pending in self._pending.values() for name in rooms_of(pending.request)}

    def has_membership(self, name: str) -> bool:
        """Return whether a request about the membership of a room has no answer."""
        requests = (pending.request for pending in self._pending.values())
        return any(one.get("room") == name and one["type"] in ("JOIN", "SET_MEMBER") for one in requests)

    def drop(self) -> None:
        """Drop all, because their session has ended."""
        self._pending.clear()
