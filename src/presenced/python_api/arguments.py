"""Checks of arguments. The types of the HTTP API's requests check them, so that both interfaces accept the same."""

from __future__ import annotations

from typing import TypeVar

import msgspec
from msgspec import Raw, Struct
from msgspec.structs import fields

from presenced.errors import BadParameter, BadUserId
from presenced.presence.identity import parse_user_id
from presenced.protocols.ids import UserId
from presenced.runtime.strict_json import explain_invalid

S = TypeVar("S", bound=Struct)


def checked_arguments(kind: type[S], **given: object) -> S:
    """Return the arguments of a call as the equivalent request of the HTTP API.

    Args:
        given: Values by the names of the fields; None for an omitted one.

    Raises:
        BadParameter: A value is invalid. The message names the argument.
    """
    names = {field.name: field.encode_name for field in fields(kind)}
    try:
        return msgspec.convert({names[name]: value for name, value in given.items() if value is not None}, kind)
    except msgspec.ValidationError as error:
        text = explain_invalid(error, kind)
        # The text names the field as the HTTP API does, but the caller knows the Python name.
        for name, encoded in names.items():
            text = text.replace(f"`{encoded}`", name)
        raise BadParameter(text) from None


def json_of(data: object) -> Raw | None:
    """Return data as JSON; None if there is none.

    Raises:
        BadParameter: JSON cannot express the data.
    """
    if data is None:
        return None
    try:
        return Raw(msgspec.json.encode(data))
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise BadParameter(f"data can't be sent as JSON: {error}") from None


def checked_user(user_id: UserId, placeholders: bool, what: str = "userId") -> str:
    """Return a user id as a string.

    Args:
        placeholders: Whether strings such as `undefined` are valid user ids.
        what: Name of the argument in the error.

    Raises:
        BadUserId: The id is invalid.
    """
    try:
        return parse_user_id(user_id, placeholders)
    except BadUserId as error:
        raise BadUserId(str(error).replace("userId", what, 1)) from None
