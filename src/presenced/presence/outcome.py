"""Result of an event: what became visible, to others and to the user's own devices."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, Generic, TypeVar

from msgspec import Struct

from presenced.presence.model import Change, OwnState
from presenced.presence.session import Session

C = TypeVar("C", bound=Hashable)


class Outcome(Struct, Generic[C], frozen=True, gc=False):
    """Result of applying one event."""

    user_id: str = ""
    """User of the event; empty if it did not apply to any."""
    change: Change | None = None
    """Set if others see the user differently."""
    own: OwnState | None = None
    """Set if the user's own devices see the user differently."""
    session: Session[C] | None = None
    """Session of the connection that opened."""
    connection_id: str = ""
    """Id of the connection that opened."""
    replaced: C | None = None
    """Connection that was replaced by the one that opened. The caller must close it."""
    renumbered: Change | None = None
    """Set if others see the user as before, with a higher version. It goes to the journal, because digests
    contain versions. Subscribers do not need it. Only a cluster sets it."""


NOTHING: Outcome[Any] = Outcome()
"""Outcome of an event that changed nothing."""
