"""Responses of the endpoints, as types. OpenAPI is made from them and from the texts below the fields.

Times are epoch milliseconds, durations are seconds. Responses from the database are in `storage.answers`, and records
that WebSocket clients receive, too, in `protocols.v1.messages`.
"""

from __future__ import annotations

from typing import Annotated, Literal, cast

from msgspec import Meta, Raw, Struct

from presenced.presence.model import Change, StatusDetails, View
from presenced.presence.status import Claim
from presenced.protocols.ids import UserId, wire_user_id
from presenced.protocols.v1 import codec as v1
from presenced.protocols.v1.messages import (
    Chosen,
    DisplayData,
    EncodedRecord,
    RoomMode,
    SeenStatus,
    SomeCause,
    TrueStatus,
    UserRecord,
)
from presenced.storage.answers import LastSeen

SomeCertainty = Annotated[str, Meta(extra_json_schema={"enum": ["stale"]})]


class ApiRecord(Struct, frozen=True, rename="camel"):
    """Base of records that contain all their fields."""


class SparseRecord(ApiRecord, frozen=True, omit_defaults=True):
    """Base of records that omit empty fields."""


class ItemError(ApiRecord, frozen=True):
    """Reason why one item of a request has no result."""

    index: int
    """Position of the item in the request, from 0."""
    code: str
    """Name of a problem: `docs/reference/codes.md`."""
    detail: str


# Presence.


class QueryUsersResult(ApiRecord, frozen=True):
    """Presence of several users."""

    users: list[UserRecord]
    """In the order of the request, without the items in `errors`."""
    errors: list[ItemError]


class OnlineUsers(ApiRecord, frozen=True):
    """One page of the users who are online, in no particular order."""

    position: str
    """Cursor from which to follow the changes (`after`). Use the one of the first page, because users may change while
    the pages are read."""
    users: list[UserRecord]
    next: int | None
    """`after` of the next page; null on the last page."""


class OnlineCounts(ApiRecord, frozen=True):
    """Numbers of users and rooms."""

    online_users: int
    """Users shown as anything but offline."""
    rooms: int | None
    """Rooms with at least one member; null with `viewer`, because clients learn only of rooms that they name."""


class RoomMember(SparseRecord, frozen=True):
    """A user in a room."""

    user_id: UserId
    joined_at: int
    presence: UserRecord
    data: Raw | None = None
    """Data that the member set with JOIN or SET_MEMBER."""


class RoomPage(ApiRecord, frozen=True):
    """A room, and one page of its members in the order of their ids."""

    room: str
    mode: RoomMode
    """Mode in which watchers are notified about the room."""
    count: int
    """Number of members."""
    members: list[RoomMember]
    next: str | None
    """`after` of the next page; null on the last page."""


class RoomSummary(ApiRecord, frozen=True):
    """A room without its members."""

    room: str
    mode: RoomMode
    """Mode in which watchers are notified about the room."""
    count: int
    """Number of members. All of them are shown as anything but offline, because a user who goes offline or becomes
    invisible leaves."""


class RoomList(ApiRecord, frozen=True):
    """One page of the rooms that have a member, in the order in which they got their first one."""

    rooms: list[RoomSummary]
    next: int | None
    """`after` of the next page; null on the last page."""


# Sessions and last seen.


class LiveSession(SparseRecord, frozen=True):
    """A session that is connected or in its grace period."""

    protocol: Literal["classic", "presenced.v1"]
    connected: bool
    """Whether it has a connection. On another node, one in its grace period counts as connected."""
    active: bool
    """Whether the person is active; false: idle."""
    connection_id: str = ""
    """Omitted while the session has no connection."""
    device: str = ""
    opened_at: int = 0
    """When the connection opened."""
    heard_at: int = 0
    """When the client last sent anything, a pong included."""
    grace_ends_in: float | None = None
    """Seconds for which the session keeps the user online; omitted while it has a connection."""
    rooms: tuple[str, ...] = ()
    node: str = ""
    """Name of the node that has the session, in a cluster; omitted if it is the one that responds. Only that node knows
    the connection."""


class LiveSessions(ApiRecord, frozen=True):
    """Current sessions of a user."""

    user_id: UserId
    sessions: list[LiveSession]


class SessionListEntry(LiveSession, frozen=True, kw_only=True):
    """A session that is connected or in its grace period, with the id of its user."""

    user_id: UserId


class SessionList(ApiRecord, frozen=True):
    """One page of all current sessions, those of one user together."""

    sessions: list[SessionListEntry]
    next: int | None
    """`after` of the next page; null on the last page."""


class QueryLastSeenResult(ApiRecord, frozen=True):
    """When several users were last seen."""

    users: list[LastSeen]
    """In the order of the request, without the items in `errors`."""
    errors: list[ItemError]


# Changes.


class ChangeRecord(SparseRecord, frozen=True):
    """One visible change of a user."""

    user_id: UserId
    status: SeenStatus
    was: SeenStatus
    """The previous status."""
    version: int
    """Strictly increasing for one user, even across restarts if there is a database."""
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
    """Display data from the user's token, such as a name."""


class DigestRecord(ApiRecord, frozen=True):
    """Sum over all visible users, to compare with your own. docs/reference/http-api.md shows how to compute it."""

    position: str
    """Position of the state that the digest sums up."""
    users: int
    """Users shown as anything but offline."""
    digest: Annotated[str, Meta(pattern="^[0-9a-f]{16}$")]


class Changes(ApiRecord, frozen=True):
    """Changes in their order."""

    changes: list[ChangeRecord]
    next: str
    """`after` of the next request."""
    digest: DigestRecord | None
    """Digest of the state after these changes; null if there are more changes."""


class WatchEvent(ApiRecord, frozen=True):
    """Data of an event of `/watch`."""

    users: list[EncodedRecord]
    more: bool = False
    """Another part of the snapshot, or of the changes, follows."""


class WatchCertainty(SparseRecord, frozen=True):
    """Data of the event `certainty` of `/watch`. A stream without one is live."""

    certainty: Literal["stale", "live"]
    """`stale`: users of other servers may change unnoticed from now on. `live`: all users are current again, including
    those whose last record is marked as stale."""
    since: int = 0
    """With `stale`: when the server lost the store that it shares with other servers."""


# Results of commands.


class AnnounceResult(SparseRecord, frozen=True):
    """Result of an announcement."""

    changed: bool
    """Whether others see a change."""
    certainty: SomeCertainty = ""
    """`stale` if other nodes of a cluster learn it later, because their store is out of reach."""


class ClosedConnections(SparseRecord, frozen=True):
    """Result of closing connections."""

    closed: int
    """Number of connections that are being closed."""
    certainty: SomeCertainty = ""
    """`stale` if other nodes of a cluster learn it later, because their store is out of reach."""


class ClaimRecord(SparseRecord, frozen=True):
    """A status that a backend set on a user's behalf."""

    source: str
    status: Literal["online", "away", "busy"]
    priority: int
    set_at: int
    text: str = ""
    emoji: str = ""
    data: Raw | None = None
    until: int = 0
    """When the claim ends; omitted if it is permanent."""


class Claims(ApiRecord, frozen=True):
    """All claims about a user."""

    user_id: UserId
    claims: list[ClaimRecord]


class ClearClaimResult(SparseRecord, frozen=True):
    """Result of clearing a claim."""

    cleared: bool
    """Whether there was such a claim."""
    certainty: SomeCertainty = ""
    """`stale` if other nodes of a cluster learn it later, because their store is out of reach."""


class EraseResult(SparseRecord, frozen=True):
    """Result of erasing a user."""

    closed: int
    """Number of connections that are being closed."""
    stored: int
    """Number of rows deleted from the database."""
    certainty: SomeCertainty = ""
    """`stale` if other nodes of a cluster learn it later, because their store is out of reach."""


class Ticket(ApiRecord, frozen=True):
    """A ticket."""

    ticket: str
    user_id: UserId
    expires_in: float
    """Seconds in which the ticket can be used, once."""


class RetryDeadLettersResult(ApiRecord, frozen=True):
    """Result of sending dead letters again."""

    retried: int
    """Number of webhooks that wait for delivery again."""


# Explanations.


class ChoiceRecord(SparseRecord, frozen=True):
    """A status that a user chose."""

    status: Chosen
    text: str = ""
    emoji: str = ""
    data: Raw | None = None
    until: int = 0


class OwnRecord(SparseRecord, frozen=True):
    """Presence of a user as the user's own devices see it."""

    status: TrueStatus
    text: str = ""
    emoji: str = ""
    data: Raw | None = None
    until: int = 0
    devices: tuple[str, ...] = ()
    display: DisplayData | None = None


class ExplainedSession(ApiRecord, frozen=True):
    """One client instance of a user."""

    connection_id: str
    """Empty while the session has no connection."""
    protocol: str
    device: str
    active: bool
    heard: float | None
    """Seconds since the client last sent anything, a pong included; null while there is no connection."""
    pinged_in: float | None
    """Seconds until the next ping; null while there is no connection."""
    times_out_in: float | None
    """Seconds until a client that does not answer its ping times out; null while no answer is due."""
    grace_ends_in: float | None
    """Seconds for which the session keeps the user online without a connection; null if it does not."""
    resumable_for: float | None
    """Seconds for which the session can be resumed; null while it has a connection."""
    rooms: tuple[str, ...]


class PendingEnd(SparseRecord, frozen=True):
    """Something that ends by time alone."""

    what: str
    """Kind of what ends: `grace`, `choice` or `claim`."""
    seconds: float
    """Seconds from now."""
    source: str = ""
    """Source of the claim."""


class ExplainedViewer(ApiRecord, frozen=True):
    """Whether a viewer may see the user, and why."""

    user_id: UserId
    may_see: bool | None
    """null: unknown, because the viewer has no session."""
    watches: bool
    """Whether a session of the viewer is notified about the user."""
    rule: str
    """The reason, in words."""
    roles: tuple[str, ...]
    """Roles from the tokens of the viewer's connections."""


class ExplainUserResult(ApiRecord, frozen=True):
    """Everything that decides the visible status of a user."""

    user_id: UserId
    why: str
    """The reason, in one sentence."""
    shown: UserRecord
    """Presence that every permitted viewer sees."""
    own: OwnRecord
    """Presence that the user's own devices see."""
    sessions: list[ExplainedSession]
    announced: bool
    """Whether a backend announces the user as online."""
    pending: list[PendingEnd]
    """Soonest first."""
    chosen: ChoiceRecord
    timed: ChoiceRecord | None
    """Temporary choice; when it ends, `chosen` returns."""
    claims: list[ClaimRecord]
    """In the order in which they were set."""
    winner: str
    """Source of the claim that decides the status; empty if none does."""
    viewer: ExplainedViewer | None
    """null if the request names no viewer."""
    changes: list[ChangeRecord]
    """Last changes with their true causes, newest first."""


# From the records of `presence`.


def details_of(details: StatusDetails) -> tuple[str, str, Raw | None, int]:
    """Return the fields `text`, `emoji`, `data` and `until` that accompany a status in several records."""
    return details.text, details.emoji, Raw(details.data) if details.data else None, details.until_ms


def display_of(view: View) -> Raw | None:
    """Return the field `display`."""
    return Raw(view.display) if view.display else None


def change_record(change: Change, cause: str = "") -> ChangeRecord:
    """Return the record of a change.

    Args:
        cause: The true cause, for clients that may know that a user is invisible; empty for the cause that others see.
    """
    return ChangeRecord(
        wire_user_id(change.user_id),
        change.status,
        change.was,
        change.version,
        cause or v1.shown_cause(change),
        change.at.epoch_ms,
        change.since_ms,
        change.seen_ms,
        *details_of(change.view.details),
        change.view.devices,
        display_of(change.view),
    )


def claim_record(claim: Claim) -> ClaimRecord:
    """Return the record of a claim."""
    status = cast(Literal["online", "away", "busy"], claim.status.value)  # one of `presence.status.CLAIMABLE`
    return ClaimRecord(claim.source, status, claim.priority, claim.set_ms, *details_of(claim.details))
