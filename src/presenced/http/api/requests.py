"""Parameters of URLs and bodies of requests, as types. OpenAPI contains them and the texts below the fields."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Raw, Struct, UnsetType, field

from presenced.auth.authenticator import MAX_TOKEN_CHARACTERS
from presenced.errors import BadParameter
from presenced.presence.identity import MAX_SAFE_INTEGER, MAX_USER_ID_CHARACTERS
from presenced.presence.status import MAX_PRIORITY, MAX_SOURCE_CHARACTERS
from presenced.protocols.ids import UserId
from presenced.protocols.v1.messages import MAX_EMOJI_CHARACTERS, MAX_ROOM_NAME_CHARACTERS, MAX_TEXT_CHARACTERS, Chosen
from presenced.runtime.text import refused_character

MAX_USERS = 1_000
"""Maximum number of users in one request. A longer list gets 400."""

MAX_PAGE_ENTRIES = 1_000
"""Maximum number of entries in one response. A higher `limit` gets 400."""

MAX_WAIT_S = 60
"""Maximum number of seconds that a long poll may wait. A higher `wait` gets 400."""

MAX_DURATION_S = 31_536_000
"""Maximum number of seconds that a status or a claim may last, one year. A higher `expiresIn` gets 400."""

MAX_NAME_CHARACTERS = {"room": MAX_ROOM_NAME_CHARACTERS, "source": MAX_SOURCE_CHARACTERS}
"""Maximum number of characters of the names in paths other than user ids. A longer name gets 400."""

PageSize = Annotated[int, Meta(ge=1, le=MAX_PAGE_ENTRIES)]
CursorText = Annotated[str, Meta(min_length=1, max_length=64)]
Duration = Annotated[float, Meta(gt=0, le=MAX_DURATION_S)]
UserIds = Annotated[list[Any], Meta(max_length=MAX_USERS)]
"""List of `UserId`. An invalid item gets an error of its own, so that the others still get a response."""
ViewerId = Annotated[str, Meta(min_length=1, max_length=MAX_USER_ID_CHARACTERS)] | UnsetType
"""Unset if no viewer is named. An empty id is an error of the backend, and must not reveal everything."""
Text = Annotated[str, Meta(max_length=MAX_TEXT_CHARACTERS)]
Emoji = Annotated[str, Meta(max_length=MAX_EMOJI_CHARACTERS)]


class RequestRecord(Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """Base of all records in requests."""


class Empty(RequestRecord, frozen=True):
    """No parameters, or no body."""


# Parameters of the URL.


class ViewerParams(RequestRecord, frozen=True):
    """Parameter that restricts the response to what a viewer may see."""

    viewer: ViewerId = UNSET
    """User whose view restricts the response. Without it, the response contains everything."""


class RoomParams(ViewerParams, frozen=True):
    """Parameters of a page of a room's members."""

    after: Annotated[str, Meta(min_length=1, max_length=MAX_USER_ID_CHARACTERS)] = ""
    """`next` of the previous page."""
    limit: PageSize = 100
    """Maximum number of members."""


class OnlineParams(RequestRecord, frozen=True):
    """Parameters of a page of the users who are online."""

    viewer: ViewerId = UNSET
    """Only users that this user may see. A page may then have fewer users than `limit`, or none."""
    after: Annotated[int, Meta(ge=0, le=MAX_SAFE_INTEGER)] = 0
    """`next` of the previous page."""
    limit: PageSize = 100
    """Maximum number of users."""


class RoomListParams(RequestRecord, frozen=True):
    """Parameters of a page of all rooms."""

    after: Annotated[int, Meta(ge=0, le=MAX_SAFE_INTEGER)] = 0
    """`next` of the previous page."""
    limit: PageSize = 100
    """Maximum number of rooms."""


class SessionListParams(RequestRecord, frozen=True):
    """Parameters of a page of all current sessions."""

    after: Annotated[int, Meta(ge=0, le=MAX_SAFE_INTEGER)] = 0
    """`next` of the previous page."""
    limit: PageSize = 100
    """Maximum number of sessions. A page exceeds it only if its first user has more sessions, because the sessions of
    a user are never divided."""


class HistoryParams(RequestRecord, frozen=True):
    """Parameters of a page of stored changes or sessions, newest first."""

    after: Annotated[str, Meta(min_length=1, max_length=256)] = ""
    """`next` of the previous page."""
    limit: PageSize = 100
    """Maximum number of entries."""


class ChangesParams(RequestRecord, frozen=True):
    """Parameters of a request for the next changes."""

    after: CursorText = ""
    """`next` of the previous response, or `position` of the first page of `/online`. Without it, the feed starts
    now."""
    wait: Annotated[float, Meta(ge=0, le=MAX_WAIT_S)] = 0
    """Seconds to wait for a change if there is none yet."""
    limit: PageSize = 100
    """Maximum number of changes."""


class WatchParams(RequestRecord, frozen=True):
    """Parameters of an event stream: users to watch, and credentials."""

    users: Annotated[
        list[Annotated[str, Meta(min_length=1, max_length=MAX_USER_ID_CHARACTERS)]], Meta(max_length=MAX_USERS)
    ] = field(default_factory=list)
    """Users to watch. Repeat the parameter for each: `users=7&users=ada`."""
    everyone: bool = False
    """Watch all visible users."""
    token: Annotated[str, Meta(min_length=1, max_length=MAX_TOKEN_CHARACTERS)] = ""
    """A user's token or ticket, for the `EventSource` of browsers, which cannot set a header. Proxies log URLs."""
    last_event_id: Annotated[str, Meta(max_length=256)] = ""
    """Id of the last event, from clients that cannot send the `Last-Event-ID` header. The header takes precedence."""


class DeadLetterParams(RequestRecord, frozen=True):
    """Parameters of a page of dead letters."""

    after: CursorText = ""
    """`next` of the previous page."""
    limit: PageSize = 100
    """Maximum number of dead letters."""


# Bodies.


class UsersQuery(RequestRecord, frozen=True):
    """Users that a query is about."""

    users: UserIds
    """User ids, as strings or whole numbers. An invalid item is listed in `errors`."""


class PresenceQuery(UsersQuery, frozen=True):
    """Users that a query is about, and a viewer."""

    viewer: UserId | UnsetType = UNSET
    """User whose view restricts the response. Without it, the response contains everything."""


class Announcement(RequestRecord, frozen=True):
    """Whether a user is online, as a backend knows from elsewhere."""

    online: bool


class NewStatus(RequestRecord, frozen=True):
    """Status to choose for a user. Omitted fields are empty."""

    status: Chosen
    """`auto` follows what the server detects."""
    text: Text = ""
    emoji: Emoji = ""
    data: Raw = field(default_factory=Raw)
    """Any JSON of at most 2,048 bytes."""
    expires_in: Duration | None = None
    """Seconds after which the previous permanent choice returns. Without it, the choice is permanent."""


class NewClaim(RequestRecord, frozen=True):
    """Status that a backend sets on a user's behalf, such as in a meeting or on the phone."""

    status: Literal["online", "away", "busy"]
    text: Text = ""
    emoji: Emoji = ""
    data: Raw = field(default_factory=Raw)
    """Any JSON of at most 2,048 bytes."""
    priority: Annotated[int, Meta(ge=-MAX_PRIORITY, le=MAX_PRIORITY)] = 0
    """The claim with the highest priority wins, then the newest. Above 0 it also wins over the user's choice."""
    expires_in: Duration | None = None
    """Seconds after which the claim ends. Without it, the claim is permanent."""


class NewTicket(RequestRecord, frozen=True):
    """User and permissions of a ticket."""

    user_id: UserId
    lasts: Annotated[float, Meta(gt=0)] | None = None
    """Maximum number of seconds for the connection. Without it, there is no limit."""
    presence: dict[str, Any] | UnsetType = UNSET
    """Users that the user may see, and rooms that they may enter: `{"watch": [7, "bo"], "rooms": ["lobby"]}`."""


class Revocation(RequestRecord, frozen=True):
    """Tokens to revoke. With neither field, all tokens of the user."""

    session_id: Annotated[str, Meta(min_length=1, max_length=256)] | UnsetType = UNSET
    """The token that opened this session."""
    token_id: Annotated[str, Meta(min_length=1, max_length=256)] | UnsetType = UNSET
    """The token with this `jti`."""


class DeadLetterRetry(RequestRecord, frozen=True):
    """Dead letters to send again."""

    ids: Annotated[list[Annotated[str, Meta(max_length=64)]], Meta(max_length=MAX_PAGE_ENTRIES)] | UnsetType = UNSET
    """Ids of the dead letters. Without it, all of them."""


# Names in paths.


def checked_name(text: str, what: str) -> str:
    """Return the name of a room or of a source.

    Args:
        what: `room` or `source`.

    Raises:
        BadParameter: It is empty, too long, or contains a refused character.
    """
    max_characters = MAX_NAME_CHARACTERS[what]
    if not 0 < len(text) <= max_characters:
        raise BadParameter(f"the name of a {what} has 1 to {max_characters} characters")
    if character := refused_character(text):
        raise BadParameter(f"the name of a {what} must not contain {character}")
    return text
