"""Values of the presence rules: what happens to users, what they choose, and what others see.

The rules that make and compare them are in `presence.directory`, `presence.user` and `presence.status`.
"""

from __future__ import annotations

from enum import StrEnum
from math import inf
from typing import NamedTuple

from msgspec import Struct

from presenced.runtime.instant import Instant


class Status(StrEnum):
    """Availability of a user."""

    ONLINE = "online"
    """Present and active."""
    AWAY = "away"
    """Present, and detected as idle, chosen or claimed."""
    BUSY = "busy"
    """Present, and chosen or claimed."""
    INVISIBLE = "invisible"
    """Only a user can choose it. Everyone else sees `offline`."""
    OFFLINE = "offline"
    """Not present, or invisible to others."""


class Ending(StrEnum):
    """Kind of end of a connection. It determines the grace period (`presence.session.Grace`)."""

    CLOSED = "closed"
    """Deliberate close by the client: code 1000, 1005 or one of its own (3000 to 4999, except 4001)."""
    GOING_AWAY = "going_away"
    """The client's page is going away (1001), perhaps for a reload."""
    KEEP_SESSION = "keep_session"
    """The client's page enters the back/forward cache or is frozen (4001). It may return and resume."""
    LOST = "lost"
    """The connection was lost without a close frame (1006), or was closed because its client broke a rule."""
    TIMED_OUT = "timed_out"
    """The client did not answer a ping in time."""
    DISCONNECTED = "disconnected"
    """The application closed it."""
    REPLACED = "replaced"
    """A new connection of the same session replaced it."""


class Cause(StrEnum):
    """Reason why others see a user differently."""

    CONNECT = "connect"
    """The user's first connection opened."""
    CLOSE = "close"
    """The user's last connection was closed deliberately."""
    GRACE = "grace"
    """A grace period ended without a reconnect."""
    TIMEOUT = "timeout"
    """The last connection timed out, and there was no grace period."""
    IDLE = "idle"
    """All of the user's devices became idle, or one became active again."""
    CHOICE = "choice"
    """The user, or a backend for the user, chose a status."""
    CLAIM = "claim"
    """A backend set or cleared a claim."""
    EXPIRY = "expiry"
    """A temporary choice or a claim expired."""
    KICK = "kick"
    """The application closed the user's connections."""
    DISPLAY = "display"
    """A newer token of a connection has other display data."""
    DRAIN = "drain"
    """The node of the user stopped, and the user did not reconnect. Reserved for a cluster: a single node sends no
    notifications while it stops."""
    ANNOUNCEMENT = "announcement"
    """A backend announced the user, or withdrew the announcement."""


class StatusDetails(Struct, frozen=True, gc=False, array_like=True):
    """Details that go with a status. All are optional.

    Nodes of a cluster exchange this class as an array (`cluster.records`). Append new fields, with defaults, and never
    reorder or remove one. A node of an older release drops a field that it does not know.
    """

    text: str = ""
    emoji: str = ""
    data: bytes = b""
    """JSON; empty if there is none."""
    until_ms: int = 0
    """When the choice or claim ends, in epoch milliseconds; 0 if it does not end by itself."""


NO_DETAILS = StatusDetails()
"""No text, emoji, data or end."""


class Choice(NamedTuple):
    """A status that a user chose, with its details. `status.choice_of` builds it from untrusted input."""

    status: Status | None
    """None: as detected. Never `offline`."""
    details: StatusDetails = NO_DETAILS


AS_DETECTED = Choice(None)
"""The choice of nothing. Compare it by value, because equal objects may exist."""


class Display(Struct, frozen=True, gc=False):
    """Display data of a user, for example a name and a picture, from a token, a ticket or a callback."""

    data: bytes = b""
    """A JSON object; empty if there is nothing to show."""
    issued: float = inf
    """Issue time of the source in epoch seconds; infinity if unknown, which counts as the time it is presented."""


NO_DISPLAY = Display(issued=-inf)
"""No display data."""


class View(Struct, frozen=True, gc=False, array_like=True):
    """Visible state of a user. Two equal views look the same.

    Nodes of a cluster exchange it as an array: append new fields, with defaults, as for `StatusDetails`.
    """

    status: Status
    details: StatusDetails = NO_DETAILS
    devices: tuple[str, ...] = ()
    """Kinds of devices that are connected, each once, sorted."""
    display: bytes = b""
    """`Display.data`."""


SEEN_ONLINE = View(Status.ONLINE)
"""View of a user of the classic protocol who is online. All of them share it."""

SEEN_OFFLINE = View(Status.OFFLINE)
"""View of every user who is offline."""

_OFFLINE = Status.OFFLINE  # for `went_online_or_offline`, which is hot: attribute access on an enum is slow


class Change(Struct, frozen=True, gc=False, array_like=True, tag="change"):
    """One visible change of one user. The user's last change is what others see now.

    The write-behind stores it as it is: it consists of types that msgspec can pack as arrays.
    """

    position: int
    """Place in the journal."""
    user_id: str
    view: View
    was: Status
    """Status before this change."""
    version: int
    """Number from the version clock. It strictly increases for one user, with gaps."""
    at: Instant
    """When it happened."""
    since_ms: int
    """When the user got this status, in epoch milliseconds. A change of the details alone keeps it."""
    seen_ms: int
    """When the user was last known to be present, in epoch milliseconds; 0 while they are online or busy."""
    cause: Cause
    was_version: int = 0
    """Version of the previous change; 0 if there is none, because the user was unknown."""

    @property
    def status(self) -> Status:
        """Status that others see."""
        return self.view.status

    @property
    def went_online_or_offline(self) -> bool:
        """Whether the user went online or offline. The classic protocol reports no other changes."""
        return (self.view.status is _OFFLINE) is not (self.was is _OFFLINE)


class OwnState(Struct, frozen=True, gc=False):
    """True state of a user, which only the user's own devices see."""

    view: View
    """Its status may be `invisible`."""
    chosen: Status | None
    """Chosen status; None: as detected."""
    cause: Cause
    overruled: StatusDetails | None = None
    """Text, emoji and end of the choice that a claim overrides; None if no claim determines the status."""

    def looks_like(self, other: OwnState | None) -> bool:
        """Return whether a device that knows `other` needs no message about this state."""
        if other is None or self.chosen is not other.chosen:
            return False
        return self.view == other.view and self.overruled == other.overruled
