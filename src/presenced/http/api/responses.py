"""What the endpoints answer. OpenAPI is made from these, too. Times are epoch milliseconds, durations seconds."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Raw, Struct

from presenced.protocols.ids import UserId
from presenced.protocols.v1.messages import Chosen, DisplayData, RoomMode, SeenStatus, SomeCause, TrueStatus, UserRecord


class Fault(Struct, frozen=True, rename="camel"):
    """Why there is no answer for one item of a question."""

    index: int
    """Its place in the question, from 0."""
    code: str
    """The name of a problem: `spec/codes.md`."""
    detail: str


class Found(Struct, frozen=True, rename="camel"):
    """The presence of many."""

    users: list[UserRecord]
    """In the order of the question, without those that are in `errors`."""
    errors: list[Fault]


class Online(Struct, frozen=True, rename="camel"):
    """Who is online, one page of it, in no particular order."""

    position: str
    """Of the first page: where to follow the changes from (`after`); what changes meanwhile is told there."""
    users: list[UserRecord]
    next: int | None
    """`after` of the next page; null when this is the last."""


class Counted(Struct, frozen=True, rename="camel"):
    """How many there are."""

    online_users: int
    """Shown as anything but offline."""
    rooms: int | None
    """With a member; null with `viewer`, for users are told of the rooms alone that they ask for."""


class RoomMember(Struct, frozen=True, rename="camel", omit_defaults=True):
    """A user in a room."""

    user_id: UserId
    joined_at: int
    presence: UserRecord
    data: Raw | None = None
    """What the member gave."""


class RoomReply(Struct, frozen=True, rename="camel"):
    """A room, and one page of its members, in the order of their ids."""

    room: str
    mode: RoomMode
    """In which its watchers are told of it."""
    count: int
    """Members."""
    members: list[RoomMember]
    next: str | None
    """`after` of the next page; null when this is the last."""


class LiveSession(Struct, frozen=True, rename="camel", omit_defaults=True):
    """A session that is connected, or whose client is waited for."""

    protocol: Literal["classic", "presenced.v1"]
    connected: bool
    active: bool
    """Its person is; false: idle."""
    connection_id: str = ""
    """While it is connected."""
    device: str = ""
    opened_at: int = 0
    """When its connection opened."""
    heard_at: int = 0
    """When its client last sent anything, a pong included."""
    grace_ends_in: float | None = None
    """Seconds for which others still see the user because of it; not given while it has a connection."""
    rooms: tuple[str, ...] = ()


class LiveSessions(Struct, frozen=True, rename="camel"):
    """Sessions of a user now."""

    user_id: UserId
    sessions: list[LiveSession]


class LastSeen(Struct, frozen=True, rename="camel", omit_defaults=True):
    """When a user was last there."""

    user_id: UserId
    status: SeenStatus
    """Now."""
    last_seen: int = 0
    """When they were last known to be there; not given for one who was never here."""
    last_active: int = 0
    """When they last did something: came, chose, or became active."""


class LastSeenOf(Struct, frozen=True, rename="camel"):
    """When users were last there."""

    users: list[LastSeen]
    """In the order of the question, without those that are in `errors`."""
    errors: list[Fault]


class ChangeRecord(Struct, frozen=True, rename="camel", omit_defaults=True):
    """What others see of a user became another."""

    user_id: UserId
    status: SeenStatus
    was: SeenStatus
    """The status before."""
    version: int
    """Strictly increasing for one user, also over restarts where something is kept."""
    cause: SomeCause
    at: int
    since: int
    """When the status began."""
    last_seen: int = 0
    text: str = ""
    emoji: str = ""
    data: Raw | None = None
    until: int = 0
    """When the chosen or claimed status ends."""
    devices: tuple[str, ...] = ()
    display: DisplayData | None = None
    """What the user's token gives for others to see."""


class DigestRecord(Struct, frozen=True, rename="camel"):
    """A sum over all that is shown, to compare with one's own: docs/http-api.md has how it is made."""

    position: str
    """Of the moment it is of."""
    users: int
    """Shown as anything but offline."""
    digest: Annotated[str, Meta(pattern="^[0-9a-f]{16}$")]


class Changes(Struct, frozen=True, rename="camel"):
    """Changes in their order."""

    changes: list[ChangeRecord]
    next: str
    """`after` of the next question."""
    digest: DigestRecord | None
    """Of the state after these changes; null when more of them wait."""


class Watched(Struct, frozen=True, rename="camel"):
    """The data of an event of `/watch`."""

    users: list[UserRecord]
    more: bool = False
    """In a snapshot: another part follows."""


class Announced(Struct, frozen=True, rename="camel"):
    """What came of an announcement."""

    changed: bool
    """Others see something else now."""


class Disconnected(Struct, frozen=True, rename="camel"):
    """What came of disconnecting a user."""

    closed: int
    """Connections that are being closed."""


class ClaimRecord(Struct, frozen=True, rename="camel", omit_defaults=True):
    """What a backend says of a user."""

    source: str
    status: Literal["online", "away", "busy"]
    priority: int
    set_at: int
    text: str = ""
    emoji: str = ""
    data: Raw | None = None
    until: int = 0
    """When it ends; not given when it lasts."""


class ChoiceRecord(Struct, frozen=True, rename="camel", omit_defaults=True):
    """What a person chose."""

    status: Chosen
    text: str = ""
    emoji: str = ""
    data: Raw | None = None
    until: int = 0


class Looks(Struct, frozen=True, rename="camel", omit_defaults=True):
    """How a user looks to their own devices."""

    status: TrueStatus
    text: str = ""
    emoji: str = ""
    data: Raw | None = None
    until: int = 0
    devices: tuple[str, ...] = ()
    display: DisplayData | None = None


class ExplainedSession(Struct, frozen=True, rename="camel"):
    """One client instance of a user."""

    connection_id: str
    """Of its connection; empty while it has none."""
    protocol: str
    device: str
    active: bool
    heard: float | None
    """Seconds since its client was last heard, a pong included; null while it has no connection."""
    pinged_in: float | None
    """Seconds until its client is pinged next; null while it has no connection."""
    times_out_in: float | None
    """Seconds until its connection is given up when its client, which was pinged, stays silent; null while it need say
    nothing."""
    grace_ends_in: float | None
    """Seconds for which it keeps its user online without a connection; null when it does not."""
    resumable_for: float | None
    """Seconds for which it can still be resumed; null while it has a connection."""
    rooms: tuple[str, ...]


class Pending(Struct, frozen=True, rename="camel", omit_defaults=True):
    """What will happen by time alone."""

    what: str
    """`grace`, `choice` or `claim`: which of them ends."""
    seconds: float
    """From now."""
    source: str = ""
    """Of the claim."""


class Seeing(Struct, frozen=True, rename="camel"):
    """What one viewer sees of the user."""

    user_id: UserId
    may_see: bool | None
    """null: not known, for the viewer has no session."""
    watches: bool
    """Whether a session of the viewer asks to be told of the user."""
    rule: str
    """Why, in words."""
    roles: tuple[str, ...]
    """The viewer's, by what their connections came with."""


class Explained(Struct, frozen=True, rename="camel"):
    """Everything that decides how a user looks."""

    user_id: UserId
    why: str
    """One sentence."""
    shown: UserRecord
    """Presence that every permitted viewer sees."""
    own: Looks
    """What the user's own devices see."""
    sessions: list[ExplainedSession]
    announced: bool
    """A backend said that they are online."""
    pending: list[Pending]
    """What comes first stands first."""
    chosen: ChoiceRecord
    timed: ChoiceRecord | None
    """What was chosen for a time; the other one returns after it."""
    claims: list[ClaimRecord]
    """In the order in which they were set."""
    winner: str
    """The source of the claim that decides the status; empty when none does."""
    viewer: Seeing | None
    """When one was asked for."""
    changes: list[ChangeRecord]
    """The last ones, newest first, with their true causes."""


class Claims(Struct, frozen=True, rename="camel"):
    """What backends say of a user."""

    user_id: UserId
    claims: list[ClaimRecord]


class Cleared(Struct, frozen=True, rename="camel"):
    """What came of taking a claim back."""

    cleared: bool
    """There was one."""


class Erased(Struct, frozen=True, rename="camel"):
    """What came of erasing a user."""

    closed: int
    """Connections that are being closed."""
    stored: int
    """Rows that were deleted where something is kept."""


class Ticket(Struct, frozen=True, rename="camel"):
    """A ticket."""

    ticket: str
    user_id: UserId
    expires_in: float
    """Seconds in which it can be used, once."""


class Revoked(Struct, frozen=True, rename="camel"):
    """What came of a revocation."""

    closed: int
    """Connections that are being closed."""


class Retried(Struct, frozen=True, rename="camel"):
    """What came of sending dead letters again."""

    retried: int
    """How many wait to be delivered again."""
