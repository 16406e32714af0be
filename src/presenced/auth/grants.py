"""What a token, a ticket or a hook says of its user: whom they may see, where they may go, what others see of them."""

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
from presenced.presence.subscriptions import MAX_ROOMS, MAX_WATCHED
from presenced.presence.visibility import EVERYTHING, MAX_BLOCKED, Visibility
from presenced.protocols.v1 import codec as v1
from presenced.protocols.v1.messages import MAX_DISPLAY
from presenced.runtime.strict_json import explained, without_extensions
from presenced.runtime.text import refused_character

MAX_ROLES = 10

MAX_ROLE = 64
"""Characters of a role."""


class Allowed(Struct, frozen=True, forbid_unknown_fields=True):  # `blok` would block nobody
    """`{"watch": [7, "bo"], "rooms": ["lobby"], "block": ["eve"], "display": {"name": "Ada"}, "roles": ["causes"]}`."""

    watch: Annotated[list[int | str], Meta(max_length=MAX_WATCHED)] | Literal["*"] | UnsetType = UNSET
    """Ids of users, or `*` for everyone."""
    rooms: (
        Annotated[list[Annotated[str, Meta(min_length=1, max_length=128)]], Meta(max_length=MAX_ROOMS)] | UnsetType
    ) = UNSET
    """Rooms that the user may join and watch; any room if omitted. null does not mean any room."""
    block: Annotated[list[int | str], Meta(max_length=MAX_BLOCKED)] = []
    """Ids of users who are not seen, whatever else is said."""
    display: dict[str, Any] | None = None
    """What others see of the user; `{}` takes away what was given earlier."""
    roles: Annotated[list[Annotated[str, Meta(min_length=1, max_length=MAX_ROLE)]], Meta(max_length=MAX_ROLES)] = []


def with_allowed(principal: Principal, given: Any) -> Principal:
    """Return the principal with the restrictions in `given`, the decoded JSON.

    Raises:
        ValueError: `given` is invalid; the message says why.
    """
    try:
        allowed = msgspec.convert(without_extensions(given), Allowed)
        watch = None if allowed.watch in (UNSET, "*") else frozenset(map(parse_user_id, allowed.watch or ()))
        block = frozenset(map(parse_user_id, allowed.block))
    except msgspec.ValidationError as error:
        raise ValueError(explained(error, Allowed)) from None
    except BadUserId as error:
        raise ValueError(str(error)) from None
    if any(map(refused_character, allowed.roles)):
        raise ValueError("a role holds a line break or another control character")
    rooms = None if allowed.rooms is UNSET else frozenset(allowed.rooms)
    display = None
    if allowed.display is not None:
        display = Display(_encoded(allowed.display), inf if principal.issued_at is None else principal.issued_at)
    return principal._replace(
        watch=watch,
        watch_everyone=allowed.watch == "*",
        rooms=rooms,
        block=block,
        display=display,
        roles=tuple(dict.fromkeys(allowed.roles)),
    )


def _encoded(display: dict[str, Any]) -> bytes:
    """As JSON; nothing for an empty one."""
    try:
        data = msgspec.json.encode(display) if display else b""
    except (ValueError, TypeError, OverflowError, RecursionError):  # half a surrogate pair, or a number out of range
        raise ValueError("display holds what can't be passed on") from None
    if data and not v1.is_display(data):
        raise ValueError(f"display has more than {MAX_DISPLAY} bytes of JSON, or {v1.MAX_DEPTH} levels of nesting")
    return data


def visibility_of(settings: Settings, principal: Principal) -> Visibility:
    """Whom the user may see, and where they may go, by the setting `visibility`; and whether they are told causes."""
    own: Iterable[str] = (principal.user_id,)
    blocked = principal.block.difference(own)
    causes = CAUSES in principal.roles
    match settings.visibility:
        case "everyone":
            if principal.rooms is None and not blocked and not causes:
                return EVERYTHING
            return Visibility(True, (), principal.rooms, blocked, causes)
        case "rooms":
            return Visibility(False, own, principal.rooms, blocked, causes)
        case "claims" | "callback":
            named = principal.watch or frozenset()
            rooms = principal.rooms or frozenset()
            return Visibility(principal.watch_everyone, named.union(own), rooms, blocked, causes)
