"""What a token, a ticket or a hook says of whom its user may see, and where they may go."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from presenced.auth.principal import Principal
from presenced.core.identity import parse_user_id
from presenced.core.sight import EVERYTHING, MAX_BLOCKED, Sight
from presenced.core.watch import MAX_ROOMS, MAX_WATCHED
from presenced.errors import BadUserId
from presenced.settings import Settings


class Allowed(Struct, frozen=True):
    """`{"watch": [7, "bo"], "rooms": ["lobby"], "block": ["eve"]}`."""

    watch: Annotated[list[int | str], Meta(max_length=MAX_WATCHED)] | Literal["*"] | None = None
    """Ids of users, or `*` for everyone."""
    rooms: Annotated[list[Annotated[str, Meta(min_length=1, max_length=128)]], Meta(max_length=MAX_ROOMS)] | None = None
    """Rooms that may be joined and watched; any when it is not given."""
    block: Annotated[list[int | str], Meta(max_length=MAX_BLOCKED)] = []
    """Ids of users who are not seen, whatever else is said."""


def with_allowed(principal: Principal, given: Any) -> Principal:
    """The principal with what `given`, the decoded JSON, allows.

    Raises:
        ValueError: It can't be used; the text says why.
    """
    try:
        allowed = msgspec.convert(given, Allowed)
        watch = None if allowed.watch in (None, "*") else frozenset(map(parse_user_id, allowed.watch or ()))
        block = frozenset(map(parse_user_id, allowed.block))
    except (msgspec.ValidationError, BadUserId) as error:
        raise ValueError(str(error)) from None
    rooms = None if allowed.rooms is None else frozenset(allowed.rooms)
    return principal._replace(watch=watch, watch_everyone=allowed.watch == "*", rooms=rooms, block=block)


def sight_of(settings: Settings, principal: Principal) -> Sight:
    """Whom the user may see, and where they may go, by the setting `visibility`."""
    own: Iterable[str] = (principal.user_id,)
    blocked = principal.block.difference(own)
    match settings.visibility:
        case "everyone":
            if principal.rooms is None and not blocked:
                return EVERYTHING
            return Sight(True, (), principal.rooms, blocked)
        case "rooms":
            return Sight(False, own, principal.rooms, blocked)
        case "claims" | "callback":
            named = principal.watch or frozenset()
            return Sight(principal.watch_everyone, named.union(own), principal.rooms or frozenset(), blocked)
