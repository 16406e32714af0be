"""Results of the Python interface.

They have the fields of the responses of the HTTP API (`http.api.responses`), as Python types. Times are aware
`datetime` objects in UTC, JSON is decoded, and None stands for omitted or unknown values. They are dataclasses, which
FastAPI, Pydantic and `dataclasses.asdict` turn into JSON.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, Literal, TypeVar

from presenced.presence.model import Cause, Status
from presenced.protocols.ids import UserId
from presenced.protocols.v1.messages import RoomMode

T = TypeVar("T")

Next = int | str | None
"""Value of `after` for the next page; None on the last page."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page(Generic[T]):
    """One page of a list."""

    items: list[T]
    """Items, at most as many as `limit`."""
    next: Next
    """Value of `after` for the next page; None on the last page."""


# Users.


@dataclass(frozen=True, slots=True, kw_only=True)
class Presence:
    """Presence of a user, as others see it."""

    user_id: UserId
    """An integer if it is a whole number from 0 to 2^53 - 1 without a leading zero, otherwise a string."""
    status: Status
    """Status that others see; never `invisible`."""
    since: datetime | None
    """When the status began; None for a user without known presence, who is offline."""
    version: int
    """Strictly increasing for one user. Of two results about one user, the one with the higher version is newer."""
    last_seen: datetime | None
    """When the user was last known to be there; None while the user is online or busy, or if unknown."""
    text: str
    """Text of the status; empty if there is none."""
    emoji: str
    """Emoji of the status; empty if there is none."""
    data: Any
    """Decoded JSON; None if there is none."""
    until: datetime | None
    """When the chosen or claimed status ends; None if it does not end by itself."""
    devices: tuple[str, ...]
    """Kinds of connected devices."""
    display: dict[str, Any] | None
    """Display data from the user's token, such as a name."""
    cause: Cause | None
    """Why the presence is as it is; None if the viewer may not know it, or if nothing is known about the user."""
    certain: bool = True
    """False if the user may have changed unnoticed, because this server has lost the store that it shares with other
    servers. The rest is then the last known state."""

    @property
    def is_online(self) -> bool:
        """Whether the user is shown as anything but offline."""
        return self.status is not Status.OFFLINE


@dataclass(frozen=True, slots=True, kw_only=True)
class PresenceChange(Presence):
    """One visible change of a user: the presence after it, and what it was before."""

    was: Status
    """Status before the change. It is the same as `status` if only the details changed."""
    at: datetime
    """When the change happened."""
    position: str
    """Cursor of this change, for `PresenceServer.changes(after=...)`."""

    @property
    def went_online(self) -> bool:
        """Whether the user was offline before."""
        return self.is_online and self.was is Status.OFFLINE

    @property
    def went_offline(self) -> bool:
        """Whether this change took the user offline."""
        return not self.is_online and self.was is not Status.OFFLINE


@dataclass(frozen=True, slots=True, kw_only=True)
class UserClaim:
    """A status that a backend set on a user's behalf."""

    source: str
    """Name of the source of the claim."""
    status: Status
    """`online`, `away` or `busy`."""
    priority: int
    """-100 to 100. The claim with the highest priority wins."""
    set_at: datetime
    """When the claim was set."""
    text: str
    """Text of the status; empty if there is none."""
    emoji: str
    """Emoji of the status; empty if there is none."""
    data: Any
    """Decoded JSON; None if there is none."""
    until: datetime | None
    """When the claim ends; None if it is permanent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UserSession:
    """A session that is connected or in its grace period."""

    user_id: UserId
    """Id of the user."""
    protocol: Literal["classic", "presenced.v1"]
    """Protocol that the client speaks."""
    connected: bool
    """Whether the session has a connection; False: it is in its grace period. On another node, that counts as
    connected."""
    active: bool
    """Whether the person is active; False: idle."""
    connection_id: str
    """Id of the connection; empty while the session has no connection."""
    device: str
    """Kind of device; empty if unknown."""
    opened_at: datetime | None
    """When the connection opened; None while the session has none."""
    heard_at: datetime | None
    """When the client last sent anything, a pong included; None while the session has no connection."""
    grace_ends_in: float | None
    """Seconds for which the session keeps the user online; None while it has a connection."""
    rooms: tuple[str, ...]
    """Rooms that the session has joined."""
    node: str
    """Name of the node that has the session, in a cluster; empty for this one."""


# Rooms.


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomSize:
    """A room with the number of its members."""

    name: str
    """Name of the room."""
    mode: RoomMode
    """Mode in which watchers are notified about the room."""
    count: int
    """Number of members. All of them are shown as anything but offline."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberPresence:
    """A member of a room."""

    user_id: UserId
    """Id of the member."""
    joined_at: datetime
    """When the user became a member."""
    presence: Presence
    """Presence of the member."""
    data: Any
    """Decoded JSON that the member set with JOIN or SET_MEMBER; None if there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomPresence(RoomSize):
    """A room, and one page of its members in the order of their ids."""

    members: list[MemberPresence]
    """Members, at most as many as `limit`."""
    next: str | None
    """Value of `after` for the next page; None on the last page."""


# Stored data.


@dataclass(frozen=True, slots=True, kw_only=True)
class UserLastSeen:
    """When a user was last seen."""

    user_id: UserId
    """Id of the user."""
    status: Status
    """Current status."""
    last_seen: datetime | None
    """When the user was last known to be present; None for a user who was never present."""
    last_active: datetime | None
    """When the user last connected, chose a status or became active; None if unknown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryChange:
    """A stored change, with its true cause."""

    version: int
    """Version that the user had after the change."""
    status: Status
    """Status after the change."""
    was: Status
    """Status before the change."""
    cause: Cause
    """Why it changed."""
    at: datetime
    """When it changed."""
    text: str
    """Text of the status; empty if there is none."""
    emoji: str
    """Emoji of the status; empty if there is none."""
    data: Any
    """Decoded JSON; None if there is none."""
    until: datetime | None
    """When the status ends; None if it does not end by itself."""
    devices: tuple[str, ...]
    """Kinds of connected devices."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HistorySession:
    """A stored session."""

    connection_id: str
    """Id of its latest connection."""
    protocol: str
    """Protocol that the client spoke: `classic` or `presenced.v1`."""
    opened_at: datetime
    """When the session opened."""
    closed_at: datetime | None
    """When the session ended; None while the session is open."""
    reason: str
    """Why its latest connection ended; empty while the session is open."""
    device: str
    """Kind of device; empty if unknown."""
    address: str
    """Address of the client, an IPv6 address as its /64. Empty unless addresses are stored, and for a client on the
    machine of the server."""
    node: str
    """Name of the node that had the session."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UndeliveredWebhook:
    """A webhook that could not be delivered."""

    id: str
    """Id for `PresenceServer.retry_dead_letters`."""
    endpoint: str
    """URL of the receiver."""
    attempts: int
    """Number of requests that contained it."""
    error: str
    """Error of the last attempt."""
    event: dict[str, Any]
    """The event, decoded."""


# Explanations.


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusChoice:
    """A status that a user chose."""

    status: Status | None
    """Chosen status; None: as detected."""
    text: str
    """Text of the status; empty if there is none."""
    emoji: str
    """Emoji of the status; empty if there is none."""
    data: Any
    """Decoded JSON; None if there is none."""
    until: datetime | None
    """When the choice ends; None if it is permanent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnPresence:
    """Presence of a user as the user's own devices see it."""

    status: Status
    """True status, which may be `invisible`."""
    text: str
    """Text of the status; empty if there is none."""
    emoji: str
    """Emoji of the status; empty if there is none."""
    data: Any
    """Decoded JSON; None if there is none."""
    until: datetime | None
    """When the status ends; None if it does not end by itself."""
    devices: tuple[str, ...]
    """Kinds of connected devices."""
    display: dict[str, Any] | None
    """Display data from the user's token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionExplanation:
    """One client instance of a user, with what happens to it next. Durations are seconds from now."""

    connection_id: str
    """Id of the connection; empty while the session has no connection."""
    protocol: str
    """`classic` or `presenced.v1`."""
    device: str
    """Kind of device; empty if unknown."""
    active: bool
    """Whether the person is active; False: idle."""
    heard: float | None
    """Seconds since the client last sent anything, a pong included; None without a connection."""
    pinged_in: float | None
    """Seconds until the next ping; None without a connection."""
    times_out_in: float | None
    """Seconds until a client that does not answer its ping times out; None while no answer is due."""
    grace_ends_in: float | None
    """Seconds for which the session keeps the user online without a connection; None if it does not."""
    resumable_for: float | None
    """Seconds for which the session can be resumed; None while it has a connection."""
    rooms: tuple[str, ...]
    """Rooms that the session has joined."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingEnding:
    """Something that ends by time alone."""

    what: str
    """Kind of what ends: `grace`, `choice` or `claim`."""
    seconds: float
    """Seconds from now."""
    source: str
    """Source of the claim; empty for the other kinds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewerExplanation:
    """One viewer's view of a user."""

    user_id: UserId
    """Id of the viewer."""
    may_see: bool | None
    """Whether the viewer may see the user; None: unknown, because the viewer has no session."""
    watches: bool
    """Whether a session of the viewer is notified about the user."""
    rule: str
    """The reason, in words."""
    roles: tuple[str, ...]
    """Roles from the tokens of the viewer's connections."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusExplanation:
    """Everything that decides the visible status of a user, including the truth about invisible users."""

    user_id: UserId
    """Id of the user."""
    why: str
    """The reason, in one sentence."""
    shown: Presence
    """Presence that every permitted viewer sees."""
    own: OwnPresence
    """Presence that the user's own devices see."""
    sessions: list[SessionExplanation]
    """All sessions, including those that can only be resumed."""
    announced: bool
    """Whether a backend announces the user as online."""
    pending: list[PendingEnding]
    """Everything that ends by time alone, soonest first."""
    chosen: StatusChoice
    """Permanent choice."""
    timed: StatusChoice | None
    """Temporary choice; when it ends, `chosen` returns."""
    claims: list[UserClaim]
    """Claims, in the order in which they were set."""
    winner: str
    """Source of the claim that decides the status; empty if none does."""
    viewer: ViewerExplanation | None
    """The viewer's view; None if no viewer is named."""
    changes: list[PresenceChange]
    """Last changes with their true causes, newest first."""
