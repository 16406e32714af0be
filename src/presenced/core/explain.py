"""Why a user looks as they do to somebody: for whoever is asked by phone."""

from __future__ import annotations

from msgspec import Struct

from presenced.core.claims import Claim
from presenced.core.model import Change, Choice, View


class SessionExplained(Struct, frozen=True):
    """One client instance of the user."""

    connection_id: str
    """Of its last connection; empty for one that has none."""
    protocol: str
    """`classic` or `presenced.v1`."""
    device: str
    """Empty when not known."""
    connected: bool
    active: bool
    heard: float | None
    """Seconds since the client was last heard; None while it has no connection."""
    waited_for: float | None
    """Seconds for which it still keeps its user online without a connection; None when it does not."""
    resumable: float | None
    """Seconds for which it can still be resumed; None while it has a connection."""
    rooms: tuple[str, ...]


class Pending(Struct, frozen=True):
    """What happens by time alone."""

    what: str
    """`grace`, `choice` or `claim`: which of them ends."""
    source: str
    """Of the claim."""
    seconds: float
    """From now."""


class Visibility(Struct, frozen=True):
    """What one viewer sees of the user."""

    user_id: str
    may_see: bool | None
    """None: not known, for the viewer has no session."""
    watches: bool
    """Whether a session of the viewer asks to be told of the user."""
    rule: str
    """Why, in words."""


class Explanation(Struct, frozen=True):
    """Everything that decides how a user looks."""

    user_id: str
    why: str
    """One sentence."""
    shown: Change | None
    """What all who may see the user are shown; None when nothing is known of the user."""
    true: View
    """What the user's own devices see."""
    sessions: tuple[SessionExplained, ...]
    announced: bool
    pending: tuple[Pending, ...]
    """What comes first stands first."""
    chosen: Choice
    timed: Choice | None
    """What was chosen for a time; the other one returns after it."""
    claims: tuple[Claim, ...]
    """In the order in which they were set."""
    winner: str
    """The source of the claim that decides the status; empty when none does."""
    viewer: Visibility | None
    changes: tuple[Change, ...]
    """The last ones, newest first."""
