"""What the endpoints are asked: parameters of URLs, and bodies. OpenAPI is made from these, too."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Raw, Struct, UnsetType, field

from presenced.presence.identity import MAX_SAFE_INTEGER
from presenced.protocols.ids import UserId
from presenced.protocols.v1.messages import MAX_EMOJI, MAX_TEXT, Chosen

MAX_USERS = 1_000
"""Users asked for at once."""

MAX_PAGE = 1_000
"""Entries of one answer."""

MAX_WAIT = 60
"""Seconds a long poll may wait."""

MAX_LASTS = 31_536_000
"""Seconds for which a status or a claim may last: a year."""

Page = Annotated[int, Meta(ge=1, le=MAX_PAGE)]
Cursor = Annotated[str, Meta(min_length=1, max_length=64)]
Seconds = Annotated[float, Meta(gt=0, le=MAX_LASTS)]
UserIds = Annotated[list[Any], Meta(max_length=MAX_USERS)]
"""Of `UserId`; whatever else is among them gets an error of its own, and does not keep the others from an answer."""
Viewer = Annotated[str, Meta(min_length=1, max_length=128)] | UnsetType
"""Unset, not empty, if nobody is named. An empty id is a fault of the backend and must not reveal everything."""
Text = Annotated[str, Meta(max_length=MAX_TEXT)]
Emoji = Annotated[str, Meta(max_length=MAX_EMOJI)]


class Nothing(Struct, frozen=True, forbid_unknown_fields=True):
    """No parameters, or no body."""


# Parameters of the URL.


class Viewing(Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """As whom it is looked at."""

    viewer: Viewer = UNSET
    """Answer as this user may see it; without, all there is."""


class RoomPage(Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """Which members of a room."""

    viewer: Viewer = UNSET
    """Answer as this user may see it; without, all there is."""
    after: Annotated[str, Meta(min_length=1, max_length=128)] = ""
    """`next` of the page before."""
    limit: Page = 100
    """Members at most."""


class OnlinePage(Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """Which of the users who are online."""

    viewer: Viewer = UNSET
    """Only those whom this user may see; a page may then have fewer users than `limit`, or none."""
    after: Annotated[int, Meta(ge=0, le=MAX_SAFE_INTEGER)] = 0
    """`next` of the page before."""
    limit: Page = 100
    """Users at most."""


class PastPage(Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """Which entries of the past, newest first."""

    after: Annotated[str, Meta(min_length=1, max_length=256)] = ""
    """`next` of the page before."""
    limit: Page = 100
    """Entries at most."""


class After(Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """Which changes."""

    after: Cursor = ""
    """`next` of the answer before, or `position` of the first page of who is online; without: from now on."""
    wait: Annotated[float, Meta(ge=0, le=MAX_WAIT)] = 0
    """Seconds to wait for a change when there is none yet."""
    limit: Page = 100
    """Changes at most."""


class Watching(Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """Whom to watch."""

    users: Annotated[list[Annotated[str, Meta(min_length=1, max_length=128)]], Meta(max_length=MAX_USERS)] = field(
        default_factory=list
    )
    """These; to be given once for each: `users=7&users=ada`."""
    everyone: bool = False
    """All who may be seen."""
    token: Annotated[str, Meta(min_length=1, max_length=8192)] = ""
    """A user's token or ticket, for browsers, whose EventSource can't set a header; URLs are logged by proxies."""
    last_event_id: Annotated[str, Meta(max_length=256)] = ""
    """Id of the last event, from clients that cannot send the `Last-Event-ID` header. The header takes precedence."""


class DeadPage(Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """Which dead letters."""

    after: Cursor = ""
    """`next` of the page before."""
    limit: Page = 100
    """Dead letters at most."""


# Bodies.


class Many(Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """Of whom to answer."""

    users: UserIds
    """Ids, texts or whole numbers; an item that can't be one is named in `errors`."""
    viewer: UserId | UnsetType = UNSET
    """Answer as this user may see it; without, all there is."""


class Users(Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """Of whom to answer."""

    users: UserIds
    """Ids, texts or whole numbers; an item that can't be one is named in `errors`."""


class Announcement(Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """What is known of a user from elsewhere; it holds until the opposite is announced."""

    online: bool


class NewStatus(Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """What the user is to have chosen; what is not given is empty."""

    status: Chosen
    """`auto`: as detected."""
    text: Text = ""
    emoji: Emoji = ""
    data: Raw = field(default_factory=Raw)
    """Anything; at most 2,048 bytes of JSON."""
    expires_in: Seconds | None = None
    """Seconds after which the earlier choice returns; for good when not given."""


class NewClaim(Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """What a backend says of a user: in a meeting, on the phone."""

    status: Literal["online", "away", "busy"]
    text: Text = ""
    emoji: Emoji = ""
    data: Raw = field(default_factory=Raw)
    """Anything; at most 2,048 bytes of JSON."""
    priority: Annotated[int, Meta(ge=-100, le=100)] = 0
    """The highest wins, then the newest. Above 0 it wins over what the user chose, too."""
    expires_in: Seconds | None = None
    """Seconds after which it ends; for good when not given."""


class NewTicket(Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """For whom a ticket is to be made."""

    user_id: UserId
    lasts: Annotated[float, Meta(gt=0)] | None = None
    """Seconds for which the connection may stay; for good when not given."""
    presence: dict[str, Any] | UnsetType = UNSET
    """Whom the user may see, and where they may go: `{"watch": [7, "bo"], "rooms": ["lobby"]}`."""


class Revocation(Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """What is to be accepted no longer; with neither, all of the user's tokens are meant."""

    session_id: Annotated[str, Meta(min_length=1, max_length=256)] | UnsetType = UNSET
    """The token that this session came in with."""
    token_id: Annotated[str, Meta(min_length=1, max_length=256)] | UnsetType = UNSET
    """The token with this `jti`."""


class Retry(Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """Which dead letters to send again."""

    ids: Annotated[list[Annotated[str, Meta(max_length=64)]], Meta(max_length=MAX_PAGE)] | UnsetType = UNSET
    """These; all when not given."""
