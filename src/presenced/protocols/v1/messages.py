"""Every message of the wire as a typed record. No bytes: `wire` makes those."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal, get_args

from msgspec import Meta, Raw, Struct, field

from presenced.presence.model import Cause, Status
from presenced.protocols.ids import UserId

MAX_TEXT = 140
"""Characters of a status' text."""

MAX_EMOJI = 32
"""Characters of its emoji."""

MAX_DATA = 2048
"""Bytes of its data, or of a member's, as JSON."""

MAX_DISPLAY = 1024
"""Bytes of a user's display data as JSON."""

MAX_ROOM_NAME = 128
"""Characters of a room's name."""

RoomName = Annotated[str, Meta(min_length=1, max_length=MAX_ROOM_NAME)]

# presenced.v1, server to client. Times are epoch milliseconds by the server's clock, durations seconds.


class LimitsV1(Struct, frozen=True, rename="camel"):
    """What a client of presenced.v1 may do at most."""

    max_message_size: int
    """Bytes of one message."""
    max_watched_users: int
    max_rooms: int
    """Rooms of one session, joined or watched."""
    max_data_size: int
    """Bytes of a status' `data`, as JSON."""
    max_text_length: int
    """Characters of a status' `text`."""
    requests_per_second: float
    request_burst: int


class EstablishedV1(
    Struct, frozen=True, tag_field="type", tag="CONNECTION_ESTABLISHED", rename="camel", omit_defaults=True
):
    """The first message on every connection."""

    user_id: UserId
    timestamp: str
    connection_id: str
    session_id: str
    """To be given as `session` with the URL of the next connection, together with the last `position`."""
    resumed: bool
    """Whether the session named in the URL goes on: then what was missed follows, else a snapshot."""
    epoch: str
    """The start of the server that speaks: versions and positions of another one can't be compared with its own."""
    server_time: int
    heartbeat_interval: float
    resume_window: float
    """Seconds for which the session can be resumed after its connection was lost."""
    settling: float
    """Seconds for which the server, which has just started, does not know yet who is coming back: until they are
    over, a client that came back itself keeps showing those it knew to be here."""
    limits: LimitsV1
    features: tuple[str, ...] = ()
    """Names of features that this server has beyond this version of the protocol; omitted if there are none. A client
    sends a field or request of a later version only if the server lists its feature."""


def _encoded(name: str) -> Meta:
    """JSON of the record `name`: encoded once and shared by many messages."""
    return Meta(extra_json_schema={"$ref": f"#/components/schemas/{name}"})


def _one_of(values: Iterable[str]) -> Meta:
    return Meta(extra_json_schema={"enum": list(values)})


SeenStatus = Annotated[str, _one_of(status.value for status in Status if status is not Status.INVISIBLE)]
Chosen = Literal["auto", "online", "away", "busy", "invisible"]
TrueStatus = Annotated[str, _one_of(status.value for status in Status)]
SomeCause = Annotated[str, _one_of(cause.value for cause in Cause)]
DisplayData = Annotated[Raw, Meta(extra_json_schema={"type": "object"})]
EncodedRecord = Annotated[Raw, _encoded("UserRecord")]
EncodedMember = Annotated[Raw, _encoded("Member")]


class UserRecord(Struct, frozen=True, rename="camel", omit_defaults=True):
    """What is seen of one user. What is not there is empty."""

    user_id: UserId
    status: SeenStatus
    since: int
    """When the status began; 0 when nothing is known of the user, who is offline."""
    version: int
    """Strictly increasing for one user. Ignore a record whose version is not above the known one. The record of a user
    without known presence has the newest number of all."""
    last_seen: int = 0
    """When they were last known to be there; not given for users who are online or busy."""
    text: str = ""
    emoji: str = ""
    data: Raw | None = None
    until: int = 0
    """When the chosen status ends."""
    devices: tuple[str, ...] = ()
    """Kinds of device that are connected."""
    display: DisplayData | None = None
    """What the user's token gives for others to see, such as a name; not given for users who are offline."""
    cause: SomeCause = ""
    """Why it changed, for those entitled to know."""
    certainty: Annotated[str, _one_of(["stale"])] = ""
    """`stale` when the server has lost a store it depends on: the rest is what it knew before. This one has none."""


class PresenceSnapshot(Struct, frozen=True, tag_field="type", tag="PRESENCE_SNAPSHOT", rename="camel"):
    """Who is here, one page of it. All pages are of the same moment; PRESENCE_CHANGES follow from there."""

    watch: Literal["everyone", "users"]
    """`everyone`: whoever is in no page is offline. `users`: it has everyone who was asked for."""
    page: int
    """1, 2, 3, ..."""
    pages: int
    users: list[EncodedRecord]


class PresenceChanges(Struct, frozen=True, tag_field="type", tag="PRESENCE_CHANGES", rename="camel"):
    """What changed, each user once, with their last status. The only message with a position, and the last of each
    write: a client that has it has everything that came before, snapshots and rooms included."""

    position: str
    """To be given with the URL of the next connection."""
    users: list[EncodedRecord]


Watched = Literal["everyone", "users", "room"]


class PresenceCount(Struct, frozen=True, tag_field="type", tag="PRESENCE_COUNT", rename="camel", omit_defaults=True):
    """Numbers of online users among those watched with `"mode":"count"`, at most once a second, and as a response."""

    watch: Watched
    online: int
    """Shown as anything but offline."""
    room: str = ""


class Member(Struct, frozen=True, rename="camel", omit_defaults=True):
    """A user in a room."""

    user_id: UserId
    joined_at: int
    presence: EncodedRecord
    """What is seen of the user."""
    data: Raw | None = None
    """What the member gave with JOIN or SET_MEMBER."""


RoomMode = Literal["full", "coalesced", "counts"]


class RoomSnapshot(Struct, frozen=True, tag_field="type", tag="ROOM_SNAPSHOT", rename="camel"):
    """Who is in a room, one page of it. All pages are of the same moment."""

    room: str
    mode: RoomMode
    """`full`: every change is told at once; `coalesced`: once a second; `counts`: only how many there are."""
    count: int
    """Members."""
    page: int
    pages: int
    members: list[EncodedMember]
    """None in mode `counts`."""


class RoomChanges(Struct, frozen=True, tag_field="type", tag="ROOM_CHANGES", rename="camel", omit_defaults=True):
    """What changed in a room, each member once."""

    room: str
    count: int
    """Members now."""
    mode: RoomMode
    members: list[EncodedMember] = []
    """Those who joined, or whose data changed."""
    left: list[UserId] = []
    """Ids of users who left. Some may have joined since the last message about the room."""


class Overruled(Struct, frozen=True, rename="camel", omit_defaults=True):
    """Text, emoji and end of a choice that a claim overrides."""

    text: str = ""
    emoji: str = ""
    until: int = 0


class Self(Struct, frozen=True, tag_field="type", tag="SELF", rename="camel", omit_defaults=True):
    """The truth about the user, for their own devices."""

    status: TrueStatus
    """May be `invisible`."""
    chosen: Annotated[str, _one_of(get_args(Chosen))]
    """The status chosen, `auto` when it is as detected."""
    text: str = ""
    emoji: str = ""
    data: Raw | None = None
    until: int = 0
    """When the chosen status ends: to be given with it in the URL of the next connection."""
    devices: tuple[str, ...] = ()
    display: DisplayData | None = None
    """What others see of it unless the status is `invisible`."""
    cause: SomeCause = ""
    """Why it became this: own devices are told also where others are not."""
    claimed: bool = False
    """Whether a backend's claim determines the status, instead of the user's choice or detection."""
    choice: Overruled | None = None
    """With `claimed`: text, emoji and end of the chosen status. Put these, not the fields above, into the next URL."""


RequestId = Annotated[str, Meta(max_length=64)] | Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]


class Ack(Struct, frozen=True, tag_field="type", tag="ACK", rename="camel"):
    """The server accepted the request with this id. Only a later request replaces it."""

    id: RequestId


class Error(Struct, frozen=True, tag_field="type", tag="ERROR", rename="camel", omit_defaults=True):
    """The server refused a request. The request has no effect."""

    code: int
    name: str
    message: str
    """What was wrong and how to mend it."""
    id: RequestId | None = None


class AuthExpiring(Struct, frozen=True, tag_field="type", tag="AUTH_EXPIRING", rename="camel"):
    """The token ends soon: send AUTH with a newer one, or the connection will be closed (4401)."""

    expires_at: int


class GoingAway(Struct, frozen=True, tag_field="type", tag="GOING_AWAY", rename="camel"):
    """The server stops; a close frame (1001) follows."""

    retry_after: float
    """Seconds to wait before connecting again. Each client gets a different number."""


class Pong(Struct, frozen=True, tag_field="type", tag="PONG", rename="camel", omit_defaults=True):
    """The answer to PING."""

    server_time: int
    id: RequestId | None = None


# presenced.v1, client to server. Unknown fields are refused, except names that begin with `x-` (`runtime.strict_json`).


class Watch(Struct, frozen=True, tag_field="type", tag="WATCH", rename="camel", forbid_unknown_fields=True):
    """Be told of everyone, or of these users or rooms, too."""

    id: RequestId | None = None
    everyone: bool = False
    users: list[UserId] = []
    rooms: list[RoomName] = []
    mode: Literal["full", "count"] = "full"
    """`count`: how many are online, without names."""


class Unwatch(Struct, frozen=True, tag_field="type", tag="UNWATCH", rename="camel", forbid_unknown_fields=True):
    """Be told no longer of everyone, or of these users or rooms, neither in full nor by count."""

    id: RequestId | None = None
    everyone: bool = False
    users: list[UserId] = []
    rooms: list[RoomName] = []


class SetStatus(Struct, frozen=True, tag_field="type", tag="SET_STATUS", rename="camel", forbid_unknown_fields=True):
    """Choose a status, and what goes with it; what is not given is empty."""

    status: Chosen
    id: RequestId | None = None
    text: Annotated[str, Meta(max_length=MAX_TEXT)] = ""
    emoji: Annotated[str, Meta(max_length=MAX_EMOJI)] = ""
    data: Raw = field(default_factory=Raw)
    """Anything; at most 2,048 bytes of JSON."""
    expires_in: Annotated[float, Meta(gt=0, le=31_536_000)] | None = None
    """Seconds from now until the previous permanent choice returns."""


class Activity(Struct, frozen=True, tag_field="type", tag="ACTIVITY", rename="camel", forbid_unknown_fields=True):
    """The person at this device is active, or idle."""

    state: Literal["active", "idle"]
    id: RequestId | None = None


class Join(Struct, frozen=True, tag_field="type", tag="JOIN", rename="camel", forbid_unknown_fields=True):
    """Become a member of a room with this session, and watch it."""

    room: RoomName
    id: RequestId | None = None
    data: Raw = field(default_factory=Raw)
    """What others see of the member; at most 2,048 bytes of JSON."""


class SetMember(Struct, frozen=True, tag_field="type", tag="SET_MEMBER", rename="camel", forbid_unknown_fields=True):
    """Give other data as a member of a room."""

    room: RoomName
    data: Raw
    """As with JOIN; null takes it away."""
    id: RequestId | None = None


class Leave(Struct, frozen=True, tag_field="type", tag="LEAVE", rename="camel", forbid_unknown_fields=True):
    """Leave a room with this session, and no longer watch it."""

    room: RoomName
    id: RequestId | None = None


class Ping(Struct, frozen=True, tag_field="type", tag="PING", rename="camel", forbid_unknown_fields=True):
    """Measure the round trip."""

    id: RequestId | None = None


class Auth(Struct, frozen=True, tag_field="type", tag="AUTH", rename="camel", forbid_unknown_fields=True):
    """Show who this is, or, once connected, that it still is. Classic clients may send it, too."""

    token: str
    """A JSON Web Token or a ticket, as the server is set up."""
    id: RequestId | None = None


Request = Auth | Watch | Unwatch | SetStatus | Activity | Join | SetMember | Leave | Ping

ServerMessageV1 = (
    EstablishedV1
    | PresenceSnapshot
    | PresenceChanges
    | PresenceCount
    | RoomSnapshot
    | RoomChanges
    | Self
    | AuthExpiring
    | GoingAway
    | Ack
    | Error
    | Pong
)
