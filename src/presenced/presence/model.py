"""The records the rules speak of. No behaviour."""

from __future__ import annotations

from enum import StrEnum
from math import inf
from typing import NamedTuple

from msgspec import Struct

from presenced.runtime.instant import Instant


class Status(StrEnum):
    """How available a user is."""

    ONLINE = "online"
    AWAY = "away"
    BUSY = "busy"
    INVISIBLE = "invisible"
    """Chosen only; all but the user see `offline`."""
    OFFLINE = "offline"


class Ending(StrEnum):
    """How a connection ended; it determines the grace period (`presence.user.Grace`)."""

    CLOSED = "closed"
    """Deliberate close by the client: code 1000, 1005 or one of its own (3000 to 4999, except 4001)."""
    GOING_AWAY = "going_away"
    """The client's page is going away (1001): a reload, perhaps."""
    KEEP_SESSION = "keep_session"
    """The client's page enters the back/forward cache or is frozen (4001). It may return and resume."""
    LOST = "lost"
    """It broke without a word (1006), or was ended for breaking a rule."""
    TIMED_OUT = "timed_out"
    """It no longer answered."""
    DISCONNECTED = "disconnected"
    """The application ended it (`handle_user_disconnect`)."""
    REPLACED = "replaced"
    """A new connection of the same session took its place."""


class Cause(StrEnum):
    """Why what is seen of a user changed."""

    CONNECT = "connect"
    CLOSE = "close"
    GRACE = "grace"
    """A grace ended and nobody had come back."""
    TIMEOUT = "timeout"
    """The last connection no longer answered, and there was no grace."""
    IDLE = "idle"
    """All of the user's devices became idle, or one became active again."""
    CHOICE = "choice"
    """A status was chosen: by the user, or for the user by a backend."""
    CLAIM = "claim"
    """A backend claims something of the user, or no longer does."""
    EXPIRY = "expiry"
    """A chosen status, or a claim, came to its end."""
    KICK = "kick"
    """The application ended the user's connections."""
    DISPLAY = "display"
    """A newer token of a connection gives other display data."""
    DRAIN = "drain"
    """The server that the user was connected to stopped, and they did not come back. Reserved for servers that share
    their users: one alone tells nobody while it stops."""
    ANNOUNCEMENT = "announcement"
    """A backend said so (`broadcast_user_status`)."""


class Custom(Struct, frozen=True, gc=False, array_like=True):
    """What a person adds to their status. Everything is optional."""

    text: str = ""
    emoji: str = ""
    data: bytes = b""
    """JSON; empty when there is none."""
    until_ms: int = 0
    """When the choice ends, in epoch milliseconds; 0 when it lasts."""


PLAIN = Custom()


class Choice(NamedTuple):
    """A status that a person chose, with text and emoji. `choices.choice_of` builds it from untrusted input."""

    status: Status | None
    """None: as detected. Never `offline`."""
    custom: Custom = PLAIN


AS_DETECTED = Choice(None)
"""The choice of nothing. Compare it by value, because equal objects may exist."""


class Display(Struct, frozen=True, gc=False):
    """What a token, a ticket or a hook gives of its user for others to see: a name, a picture."""

    data: bytes = b""
    """A JSON object; empty when there is nothing to see."""
    issued: float = inf
    """When what gives it was made, in epoch seconds; inf: it does not say, and counts as made when it is shown."""


NO_DISPLAY = Display(issued=-inf)
"""Nobody has given any."""


class View(Struct, frozen=True, gc=False, array_like=True):
    """What is seen of a user at one time; two that are equal look the same."""

    status: Status
    custom: Custom = PLAIN
    devices: tuple[str, ...] = ()
    """Kinds of device that are connected, each once, sorted."""
    display: bytes = b""
    """`Display.data`."""


_OFFLINE = Status.OFFLINE  # an enum's members are found slowly by its name

SEEN_ONLINE = View(Status.ONLINE)
SEEN_OFFLINE = View(Status.OFFLINE)


class Change(Struct, frozen=True, gc=False, array_like=True, tag="change"):
    """What others see of one user became another; the last one of a user is what they see now.

    It is stored as it is: what it consists of can be packed, as arrays.
    """

    position: int
    """Place in the log of changes: 1, 2, 3, ... without a gap, across all users."""
    user_id: str
    view: View
    was: Status
    """The status before."""
    version: int
    """Strictly increasing for one user; may skip."""
    at: Instant
    since_ms: int
    """When the status (not only what goes with it) became this one, in epoch milliseconds."""
    seen_ms: int
    """When the user was last known to be there, in epoch milliseconds; 0 while they are online or busy."""
    cause: Cause
    was_version: int = 0
    """Of the change before; 0 when nothing was known of the user, who was offline then."""

    @property
    def status(self) -> Status:
        """What is seen."""
        return self.view.status

    @property
    def is_turn(self) -> bool:
        """Whether it is one of offline into another or back: all that the classic protocol tells."""
        return (self.view.status is _OFFLINE) is not (self.was is _OFFLINE)


class Own(Struct, frozen=True, gc=False):
    """What a user's own devices see of the user: the truth."""

    view: View
    """Its status may be `invisible`."""
    chosen: Status | None
    """None: as detected."""
    cause: Cause
    """Why it became this."""
    overruled: Custom | None = None
    """Text, emoji and end of the choice that a claim overrides; None if no claim determines the status."""

    def looks_like(self, other: Own | None) -> bool:
        """Return whether devices that know the other need no message about this one."""
        if other is None or self.chosen is not other.chosen:
            return False
        return self.view == other.view and self.overruled == other.overruled
