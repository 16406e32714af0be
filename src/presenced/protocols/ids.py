"""User ids on the wire: in the URL of a connection, and in JSON."""

from __future__ import annotations

from presenced.errors import BadUserId
from presenced.net.query import parameter_values
from presenced.presence.identity import is_json_number, parse_user_id

UserId = int | str
"""User id in JSON: 1 to 128 characters, or a number if it is a canonical decimal up to 2^53 - 1."""

_ADVICE = "connect to /ws-online-status?userId=ID"
"""End of the errors about a URL without a user id."""


def wire_user_id(user_id: str) -> UserId:
    """Return the id as it appears in JSON: a number if `is_json_number`, otherwise a string."""
    return int(user_id) if is_json_number(user_id) else user_id


def user_id_from_query(query: bytes, placeholders: bool = True) -> str:
    """Return the user id in the query of `/ws-online-status?userId=ID`; other parameters are ignored.

    The query is decoded like an HTML form: `+` is a space, `%XX` a byte of UTF-8.

    Args:
        placeholders: Whether strings such as `undefined` are valid user ids.

    Raises:
        BadUserId: The id is missing, given more than once, not UTF-8, or refused by `parse_user_id`.
    """
    found = parameter_values(query, b"userId")
    if not found:
        raise BadUserId(f"userId is missing: {_ADVICE}")
    if len(found) > 1:
        raise BadUserId(f"userId is given {len(found)} times; give it once")
    if not found[0]:
        raise BadUserId(f"userId is empty: {_ADVICE}")
    try:
        return parse_user_id(found[0].decode(), placeholders)
    except UnicodeDecodeError:
        raise BadUserId("userId is not percent-encoded UTF-8; use encodeURIComponent(id)") from None
