"""Messages of presenced.v1 as records (`docs/reference/websocket-v1.md`). `codec` encodes them.

Times are epoch milliseconds by the server's clock, durations are seconds.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal, get_args

from msgspec import Meta, Raw, Struct, field

from presenced.presence.model import Cause, Status
from presenced.protocols.ids import UserId

MAX_TEXT_CHARACTERS = 140
"""Maximum number of characters of the text of a status; a longer one is refused."""

MAX_EMOJI_CHARACTERS = 32
"""Maximum number of characters of the emoji of a status; a longer one is refused."""

MAX_DATA_BYTES = 2048
"""Maximum size in bytes of the data of a status or member as JSON; more are refused."""

MAX_DISPLAY_BYTES = 1024
"""Maximum size in bytes of a user's display data as JSON; more are refused."""

MAX_ROOM_NAME_CHARACTERS = 128
"""Maximum number of characters of a room's name; a longer one is refused."""

RoomName = Annotated[str, Meta(min_length=1, max_length=MAX_ROOM_NAME_CHARACTERS)]

# Server to client.


class LimitsV1(Struct, frozen=True, rename="camel"):
    """Limits for one client."""

    max_message_size: int
    """Maximum size of one message in bytes."""
    max_watched_users: int
    """Maximum number of users that one session watches by id."""
    max_rooms: int
    """Maximum number of rooms that one session joins or watches."""
    max_data_size: int
    """Maximum size in bytes of the `data` of a status as JSON."""
    max_text_length: int
    """Maximum number of characters of the `text` of a status."""
    requests_per_second: float
    """Maximum number of requests per second, on average."""
    request_burst: int
    """Maximum number of requests at once."""


class EstablishedV1(
    Struct, frozen=True, tag_field="type", tag="CONNECTION_ESTABLISHED", rename="camel", omit_defaults=True
):
    """The first message on every connection."""

    user_id: UserId
    timestamp: str
    """Time of opening: ISO 8601, UTC, milliseconds, `Z`."""
    connection_id: str
    session_id: str
    """Put it as `session` into the URL of the next connection, together with the last `position`."""
    resumed: bool
    """Whether the session named in the URL continues. Then everything that was missed follows, otherwise a snapshot."""
    epoch: str
    """Name of this start of the server or, with several nodes, of the cluster. Positions of different epochs cannot be
    compared."""
    server_time: int
    """Time of opening in epoch milliseconds."""
    heartbeat_interval: float
    """Seconds between two pings of the server."""
    resume_window: float
    """Seconds for which the session can be resumed after a loss."""
    settling: float
    """Seconds for which a server that has just started does not know yet which users will reconnect. Meanwhile a client
    that has reconnected continues to show the users that it knew to be online."""
    limits: LimitsV1
    stale_since: int = 0
    """Time since when the server has been stale, as in CERTAINTY; omitted if it is not."""
    features: tuple[str, ...] = ()
    """Names of features that this server has beyond this version of the protocol; omitted if there are none. A client
    sends a field or request of a later version only if the server lists its feature."""


def _encoded(name: str) -> Meta:
    """Return metadata for JSON of the record `name`, which is encoded once and shared by many messages."""
    return Meta(extra_json_schema={"$ref": f"#/components/schemas/{name}"})


def _one_of(values: Iterable[str]) -> Meta:
    return Meta(extra_json_schema={"enum": list(values)})


SeenStatus = Annotated[str, _one_of(status.value for status in Status if status is not Status.INVISIBLE)]
Chosen = Literal["auto", "online", "away", "busy", "invisible"]
TrueStatus = Annotated[str, _one_of(status.value for status in Status)]
SomeCause = Annotated[str, _one_of(cause.value for cause in Cause)]
DisplayData = Annotated[Raw, Meta(extra_json_schema={"type": "object"})]
EncodedRecord = Annotated[Raw, _encoded("UserRecord")]
EncodedMember = Annotated[Raw, _encoded("MemberRecord")]


class UserRecord(Struct, frozen=True, rename="camel", omit_defaults=True):
    """State of one user, as others see it. Omitted fields are empty."""

    user_id: UserId
    status: SeenStatus
    since: int
    """Time at which the status began; 0 for a user without known presence, who is offline."""
    version: int
    """Strictly increasing for one user. Ignore a record whose version is not above the known one. The record of a user
    without known presence has the newest number of all."""
    last_seen: int = 0
    """Time at which the user was last known to be there; omitted for users who are online or busy."""
    text: str = ""
    emoji: str = ""
    data: Raw | None = None
    until: int = 0
    """Time at which the chosen status ends."""
    devices: tuple[str, ...] = ()
    """Kinds of connected devices."""
    display: DisplayData | None = None
    """Display data from the user's token, such as a name; omitted for users who are offline."""
    cause: SomeCause = ""
    """Why the state changed, for clients that may know it."""
    certainty: Annotated[str, _one_of(["stale"])] = ""
    """`stale` if the user may have changed unnoticed, because the server has lost the store that it shares with other
    servers. The rest is the last known state. It holds until a newer record, or until the server is certain again."""


class PresenceSnapshot(Struct, frozen=True, tag_field="type", tag="PRESENCE_SNAPSHOT", rename="camel"):
    """One page of the users who are online. All pages show the same moment; PRESENCE_CHANGES continue from there."""

    watch: Literal["everyone", "users"]
    """`everyone`: users in no page are offline. `users`: the pages contain every requested user."""
    page: int
    """1, 2, 3, ..."""
    pages: int
    users: list[EncodedRecord]


class PresenceChanges(Struct, frozen=True, tag_field="type", tag="PRESENCE_CHANGES", rename="camel"):
    """Users who changed, each once, in their latest state.

    It is the only message with a position, and the last of each write. A client that has received it has everything
    before it, snapshots and rooms included.
    """

    position: str
    """Put it into the URL of the next connection."""
    users: list[EncodedRecord]


class PresenceCount(Struct, frozen=True, tag_field="type", tag="PRESENCE_COUNT", rename="camel", omit_defaults=True):
    """Number of online users among those watched with `"mode":"count"`: as a response, and at most once a second."""

    watch: Literal["everyone", "users", "room"]
    online: int
    """Number of users who are not shown as offline."""
    room: str = ""


class Certainty(Struct, frozen=True, tag_field="type", tag="CERTAINTY", rename="camel", omit_defaults=True):
    """The server has lost the store that it shares with other servers, or has caught up with it again."""

    certainty: Literal["stale", "live"]
    """`stale`: users of other servers may change unnoticed from now on. `live`: all users are current again, including
    those whose last record is marked as stale."""
    since: int = 0
    """With `stale`: time at which the server lost the store."""


class MemberRecord(Struct, frozen=True, rename="camel", omit_defaults=True):
    """A member of a room."""

    user_id: UserId
    joined_at: int
    """Time of joining."""
    presence: EncodedRecord
    """State of the user, as others see it."""
    data: Raw | None = None
    """Data from JOIN or SET_MEMBER."""


RoomMode = Literal["full", "coalesced", "counts"]


class RoomSnapshot(Struct, frozen=True, tag_field="type", tag="ROOM_SNAPSHOT", rename="camel"):
    """One page of the members of a room. All pages show the same moment."""

    room: str
    mode: RoomMode
    """`full`: every change is sent immediately. `coalesced`: once a second. `counts`: only the number of members."""
    count: int
    """Number of members."""
    page: int
    pages: int
    members: list[EncodedMember]
    """Empty in mode `counts`."""


class RoomChanges(Struct, frozen=True, tag_field="type", tag="ROOM_CHANGES", rename="camel", omit_defaults=True):
    """Changes in a room, each member once."""

    room: str
    count: int
    """Number of members now."""
    mode: RoomMode
    members: list[EncodedMember] = []
    """Members who joined, or whose data changed."""
    left: list[UserId] = []
    """Ids of users who left. Some may have joined since the last message about the room."""


class Overruled(Struct, frozen=True, rename="camel", omit_defaults=True):
    """Text, emoji and end of a choice that a claim overrides."""

    text: str = ""
    emoji: str = ""
    until: int = 0


class Self(Struct, frozen=True, tag_field="type", tag="SELF", rename="camel", omit_defaults=True):
    """True state of the user, for their own devices."""

    status: TrueStatus
    """May be `invisible`."""
    chosen: Annotated[str, _one_of(get_args(Chosen))]
    """Chosen status; `auto` if the status is detected."""
    text: str = ""
    emoji: str = ""
    data: Raw | None = None
    until: int = 0
    """Time at which the chosen status ends. Put it into the URL of the next connection, together with the status."""
    devices: tuple[str, ...] = ()
    display: DisplayData | None = None
    """Display data, which others see unless the status is `invisible`."""
    cause: SomeCause = ""
    """Why the state changed. The user's own devices always receive it."""
    claimed: bool = False
    """Whether a backend's claim determines the status, instead of the user's choice or detection."""
    choice: Overruled | None = None
    """With `claimed`: text, emoji and end of the chosen status. Put these, not the fields above, into the next URL."""


RequestId = Annotated[str, Meta(max_length=64)] | Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]


class Ack(Struct, frozen=True, tag_field="type", tag="ACK", rename="camel"):
    """The server accepted the request with this id. Only a later request replaces it."""

    id: RequestId


class Error(Struct, frozen=True, tag_field="type", tag="ERROR", rename="camel", omit_defaults=True):
    """The server refused a request, which has no effect.

    With `room`, the server ended the membership of the room and the subscription to it, because a newer token does not
    allow the room.
    """

    code: int
    name: str
    message: str
    """Reason of the refusal, and how to fix it."""
    id: RequestId | None = None
    room: str = ""
    """Room that the session may no longer enter."""


class AuthExpiring(Struct, frozen=True, tag_field="type", tag="AUTH_EXPIRING", rename="camel"):
    """The token expires soon. Send AUTH with a newer one, or the connection will be closed (4401)."""

    expires_at: int
    """Time at which the token expires."""


class GoingAway(Struct, frozen=True, tag_field="type", tag="GOING_AWAY", rename="camel"):
    """The server stops. A close frame (1001) follows."""

    retry_after: float
    """Seconds to wait before connecting again. Each client receives a different number."""


class Pong(Struct, frozen=True, tag_field="type", tag="PONG", rename="camel", omit_defaults=True):
    """Answer to PING."""

    server_time: int
    id: RequestId | None = None


# Client to server. Unknown fields are refused, except names that begin with `x-` (`runtime.strict_json`).


class Watch(Struct, frozen=True, tag_field="type", tag="WATCH", rename="camel", forbid_unknown_fields=True):
    """Subscribe to everyone, or to these users and rooms, in addition to earlier subscriptions."""

    id: RequestId | None = None
    everyone: bool = False
    users: list[UserId] = []
    rooms: list[RoomName] = []
    mode: Literal["full", "count"] = "full"
    """`count`: the number of online users, without names."""


class Unwatch(Struct, frozen=True, tag_field="type", tag="UNWATCH", rename="camel", forbid_unknown_fields=True):
    """End the subscription to everyone, or to these users and rooms, in full and by count."""

    id: RequestId | None = None
    everyone: bool = False
    users: list[UserId] = []
    rooms: list[RoomName] = []


class SetStatus(Struct, frozen=True, tag_field="type", tag="SET_STATUS", rename="camel", forbid_unknown_fields=True):
    """Choose a status, with text, emoji and data. Omitted fields become empty."""

    status: Chosen
    id: RequestId | None = None
    text: Annotated[str, Meta(max_length=MAX_TEXT_CHARACTERS)] = ""
    emoji: Annotated[str, Meta(max_length=MAX_EMOJI_CHARACTERS)] = ""
    data: Raw = field(default_factory=Raw)
    """Any JSON of at most 2,048 bytes."""
    expires_in: Annotated[float, Meta(gt=0, le=31_536_000)] | None = None
    """Seconds from now until the previous permanent choice returns."""


class Activity(Struct, frozen=True, tag_field="type", tag="ACTIVITY", rename="camel", forbid_unknown_fields=True):
    """Report that the person at this device is active or idle."""

    state: Literal["active", "idle"]
    id: RequestId | None = None


class Join(Struct, frozen=True, tag_field="type", tag="JOIN", rename="camel", forbid_unknown_fields=True):
    """Join a room with this session, and subscribe to it."""

    room: RoomName
    id: RequestId | None = None
    data: Raw = field(default_factory=Raw)
    """Data that others see of the member: JSON of at most 2,048 bytes."""


class SetMember(Struct, frozen=True, tag_field="type", tag="SET_MEMBER", rename="camel", forbid_unknown_fields=True):
    """Change the data of this member of a room."""

    room: RoomName
    data: Raw
    """As in JOIN; null removes it."""
    id: RequestId | None = None


class Leave(Struct, frozen=True, tag_field="type", tag="LEAVE", rename="camel", forbid_unknown_fields=True):
    """Leave a room with this session, and end the subscription to it."""

    room: RoomName
    id: RequestId | None = None


class Ping(Struct, frozen=True, tag_field="type", tag="PING", rename="camel", forbid_unknown_fields=True):
    """Measure the round trip."""

    id: RequestId | None = None


class Auth(Struct, frozen=True, tag_field="type", tag="AUTH", rename="camel", forbid_unknown_fields=True):
    """Authenticate, or renew the token of an open connection. Classic clients may send it, too."""

    token: str
    """JSON Web Token or ticket, depending on the server's settings."""
    id: RequestId | None = None


Request = Auth | Watch | Unwatch | SetStatus | Activity | Join | SetMember | Leave | Ping

ServerMessageV1 = (
    EstablishedV1
    | PresenceSnapshot
    | PresenceChanges
    | PresenceCount
    | Certainty
    | RoomSnapshot
    | RoomChanges
    | Self
    | AuthExpiring
    | GoingAway
    | Ack
    | Error
    | Pong
)
