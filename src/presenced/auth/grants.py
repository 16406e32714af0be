"""Grants in a token, ticket or callback response: the user's visibility, rooms, blocks, display data and roles."""

from __future__ import annotations

from collections.abc import Iterable
from math import inf
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from presenced.auth.principal import CAUSES, Principal
from presenced.config.settings import Settings
from presenced.errors import BadUserId
from presenced.presence.identity import parse_user_id
from presenced.presence.model import Display
from presenced.presence.subscriptions import MAX_ROOMS, MAX_WATCHED_USERS
from presenced.presence.visibility import EVERYTHING, MAX_BLOCKED_USERS, Visibility
from presenced.protocols.v1 import codec as v1
from presenced.protocols.v1.messages import MAX_DISPLAY_BYTES, MAX_ROOM_NAME_CHARACTERS
from presenced.runtime.strict_json import explain_invalid, field_at_fault, without_extensions
from presenced.runtime.text import refused_character

MAX_ROLES = 10
"""Maximum number of roles. Grants with more are refused."""

MAX_ROLE_CHARACTERS = 64
"""Maximum number of characters of a role. Grants with a longer one are refused."""


# Unknown fields are refused: otherwise a misspelt `blok` would block nobody.
class Grants(Struct, frozen=True, forbid_unknown_fields=True):
    """Claim `presence` of a token, field of the same name in a ticket request, or response of a callback.

    `{"watch": [7, "bo"], "rooms": ["lobby"], "block": ["eve"], "display": {"name": "Ada"}, "roles": ["causes"]}`
    """

    watch: Annotated[list[int | str], Meta(max_length=MAX_WATCHED_USERS)] | Literal["*"] | UnsetType = UNSET
    """Ids of users, or `*` for everyone."""
    rooms: (
        Annotated[
            list[Annotated[str, Meta(min_length=1, max_length=MAX_ROOM_NAME_CHARACTERS)]], Meta(max_length=MAX_ROOMS)
        ]
        | UnsetType
    ) = UNSET
    """Rooms that the user may join and watch; any room if omitted. null does not mean any room."""
    block: Annotated[list[int | str], Meta(max_length=MAX_BLOCKED_USERS)] = []
    """Ids of users hidden from this user, regardless of the other fields."""
    display: dict[str, Any] | None = None
    """Display data that others see; `{}` removes earlier display data."""
    roles: Annotated[
        list[Annotated[str, Meta(min_length=1, max_length=MAX_ROLE_CHARACTERS)]], Meta(max_length=MAX_ROLES)
    ] = []
    """Roles of the user. The server knows `causes`; applications may define others."""


class InvalidGrants(ValueError):
    """Grants are refused. `str()` says why, and may quote them.

    Args:
        field: Name of the field that is wrong, as `field_at_fault` returns it; empty if it is all of them.
    """

    def __init__(self, detail: str, field: str) -> None:
        self.field = field
        super().__init__(detail)

    @property
    def is_field_known(self) -> bool:
        """Whether the field is one of `Grants`."""
        return self.field in Grants.__struct_fields__


def with_grants(principal: Principal, given: Any) -> Principal:
    """Return the principal with the grants in `given`, the decoded JSON.

    Raises:
        InvalidGrants: `given` is invalid.
    """
    try:
        grants = msgspec.convert(without_extensions(given), Grants)
    except msgspec.ValidationError as error:
        raise InvalidGrants(explain_invalid(error, Grants), field_at_fault(error)) from None
    watch = None if grants.watch in (UNSET, "*") else _user_ids(grants.watch or (), "watch")
    block = _user_ids(grants.block, "block")
    if any(map(refused_character, grants.roles)):
        raise InvalidGrants("a role contains a line break or another control character", "roles")
    rooms = None if grants.rooms is UNSET else frozenset(grants.rooms)
    display = None
    if grants.display is not None:
        # Without a time of issue, the display data counts as the newest.
        display = Display(_encoded(grants.display), inf if principal.issued_at is None else principal.issued_at)
    return principal._replace(
        watch=watch,
        watch_everyone=grants.watch == "*",
        rooms=rooms,
        block=block,
        display=display,
        roles=tuple(dict.fromkeys(grants.roles)),
    )


def _user_ids(given: Iterable[int | str], field: str) -> frozenset[str]:
    try:
        return frozenset(map(parse_user_id, given))
    except BadUserId as error:
        raise InvalidGrants(str(error), field) from None


def _encoded(display: dict[str, Any]) -> bytes:
    """Return display data as JSON; empty for `{}`."""
    try:
        data = msgspec.json.encode(display) if display else b""
    except (ValueError, TypeError, OverflowError, RecursionError):  # a lone surrogate, or a number out of range
        detail = "display contains half a surrogate pair, or a number out of range"
        raise InvalidGrants(detail, "display") from None
    if data and not v1.is_display(data):
        detail = (
            f"display has more than {MAX_DISPLAY_BYTES} bytes of JSON, or {v1.MAX_NESTING_LEVELS} levels of nesting"
        )
        raise InvalidGrants(detail, "display")
    return data


def visibility_of(settings: Settings, principal: Principal) -> Visibility:
    """Return what the user may see by the setting `visibility` and the grants."""
    own = frozenset((principal.user_id,))
    blocked = principal.block.difference(own)  # users always see themselves
    causes = CAUSES in principal.roles
    match settings.visibility:
        case "everyone":
            if principal.rooms is None and not blocked and not causes:
                return EVERYTHING  # most users have no restriction, and share one object
            return Visibility(True, frozenset(), principal.rooms, blocked, causes)
        case "rooms":
            return Visibility(False, own, principal.rooms, blocked, causes)
        case "claims" | "callback":
            named = own.union(principal.watch or ())
            rooms = principal.rooms or frozenset()  # unlike above, no rooms means none: each has to be granted
            return Visibility(principal.watch_everyone, named, rooms, blocked, causes)
