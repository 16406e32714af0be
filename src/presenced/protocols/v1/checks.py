"""Checks of requests that the types of `messages` cannot express. The HTTP API uses them too."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from presenced.delivery.connection import Connection
from presenced.errors import BadUserId, Fault
from presenced.presence.identity import parse_user_id
from presenced.protocols.requests import RequestRefused
from presenced.protocols.v1 import codec
from presenced.protocols.v1.messages import MAX_DATA_BYTES
from presenced.runtime.text import refused_character


def user_ids(given: list[int | str]) -> set[str]:
    """Return user ids in their canonical form.

    Raises:
        RequestRefused: One of them is invalid.
    """
    try:
        return {parse_user_id(user_id) for user_id in given}
    except BadUserId as error:
        raise RequestRefused(Fault.BAD_REQUEST, str(error)) from None


def room_names(given: list[str]) -> set[str]:
    """Return names of rooms as a set.

    Raises:
        RequestRefused: One of them contains a refused character.
    """
    for name in given:
        if character := refused_character(name):
            raise RequestRefused(Fault.BAD_REQUEST, f"a room's name must not contain {character}")
    return set(given)


def check_may_enter(connection: Connection, rooms: Iterable[str]) -> None:
    """Check whether the session may enter rooms. The answer is the same whether a room exists or not.

    Raises:
        RequestRefused: It may not enter one of them.
    """
    for name in rooms:
        if not connection.session.visibility.may_enter(name):
            raise RequestRefused(Fault.NOT_ALLOWED, f"the room {name} is not among those your token names")


def check_count(count: int, maximum: int, what: str, fault: Fault) -> None:
    """Check whether a session would subscribe to at most `maximum` users or rooms.

    Raises:
        RequestRefused: It would subscribe to more.
    """
    if count > maximum:
        raise RequestRefused(
            fault, f"that would be {count} {what}, and at most {maximum} are allowed; UNWATCH or LEAVE some"
        )


def data_of(given: msgspec.Raw) -> bytes:
    """Return JSON without white space between its tokens; empty for null.

    Raises:
        RequestRefused: The JSON is too large, or some JSON parsers cannot read it.
    """
    data = codec.compact(bytes(given))
    if len(data) > MAX_DATA_BYTES:
        raise RequestRefused(Fault.BAD_REQUEST, f"data has {len(data)} bytes; at most {MAX_DATA_BYTES} are allowed")
    if not codec.can_be_read(data):
        raise RequestRefused(
            Fault.BAD_REQUEST,
            f"data has half a surrogate pair, a number out of range, or more than {codec.MAX_NESTING_LEVELS} levels",
        )
    return b"" if data == b"null" else data


def check_text_and_emoji(text: str, emoji: str) -> None:
    """Check the text and the emoji of a status.

    Raises:
        RequestRefused: One of them contains a refused character.
    """
    for name, given in (("text", text), ("emoji", emoji)):
        if character := refused_character(given):
            raise RequestRefused(Fault.BAD_REQUEST, f"{name} must not contain {character}")
