"""What an event came to."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, Generic, TypeVar

from msgspec import Struct

from presenced.presence.model import Change, Own
from presenced.presence.user import Session

C = TypeVar("C", bound=Hashable)


class Outcome(Struct, Generic[C], frozen=True, gc=False):
    """What an event came to."""

    user_id: str = ""
    """Whom it was about; empty when it was about nobody."""
    change: Change | None = None
    """What others see became another."""
    own: Own | None = None
    """What the user's own devices see became another."""
    session: Session[C] | None = None
    """Of the connection that opened."""
    connection_id: str = ""
    replaced: C | None = None
    """The connection that the one that opened takes the place of; to be closed."""


NOTHING: Outcome[Any] = Outcome()
