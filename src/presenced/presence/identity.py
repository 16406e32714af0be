"""User ids: which strings are valid, and which of them are JSON numbers on the wire."""

from __future__ import annotations

from presenced.errors import BadUserId
from presenced.runtime.text import refused_character

MAX_USER_ID_CHARACTERS = 128
"""Maximum number of characters (code points) of a user id."""

MAX_SAFE_INTEGER = 2**53 - 1
"""Largest integer that every JSON parser represents exactly (RFC 8259 section 6)."""

PLACEHOLDERS = frozenset(("undefined", "null", "NaN", "None", "[object Object]"))
"""Texts that JavaScript and Python templates produce from a variable without a value or with the wrong value."""


def parse_user_id(value: str | int, placeholders: bool = True) -> str:
    """Return the canonical user id, a string; an integer becomes its decimal digits.

    Args:
        placeholders: Whether strings such as `undefined` are valid user ids.

    Raises:
        BadUserId: The value is neither a string nor an integer, does not have 1 to 128 characters, contains a refused
            character, or is a placeholder.
    """
    if not isinstance(value, str) and (isinstance(value, bool) or not isinstance(value, int)):
        raise BadUserId("userId must be a string or a whole number")
    text = str(value)
    if not text:
        raise BadUserId(f"userId is empty; an id has 1 to {MAX_USER_ID_CHARACTERS} characters")
    if len(text) > MAX_USER_ID_CHARACTERS:
        raise BadUserId(f"userId has {len(text)} characters; at most {MAX_USER_ID_CHARACTERS} are allowed")
    if character := refused_character(text):
        raise BadUserId(f"userId contains {character}, which ids must not contain")
    if not placeholders and text in PLACEHOLDERS:
        raise BadUserId(f"userId is the text {text}: is a variable not set? (the setting placeholder_ids allows it)")
    return text


def is_json_number(user_id: str) -> bool:
    """Return whether the id is a JSON number on the wire: a canonical decimal integer from 0 to 2^53-1."""
    return (
        user_id.isascii()
        and user_id.isdigit()
        and (user_id[0] != "0" or user_id == "0")
        and len(user_id) <= 16
        and int(user_id) <= MAX_SAFE_INTEGER
    )
