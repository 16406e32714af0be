"""User ids and other names: the allowed texts, and the place of a user id in the classic URL."""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

from presenced.errors import BadUserId

MAX_USER_ID_LENGTH = 128
"""Characters (code points) of the longest user id."""

MAX_SAFE_INTEGER = 2**53 - 1
"""The largest integer that every JSON reader holds exactly (RFC 8259 section 6)."""

PLACEHOLDERS = frozenset(("undefined", "null", "NaN", "None", "[object Object]"))
"""Texts that JavaScript and Python templates produce from a variable without a value or with the wrong value."""

_REFUSED = re.compile(
    "["
    "\x00-\x1f\x7f-\x9f"  # controls, category Cc
    "\u2028\u2029"  # the line and the paragraph separator, Zl and Zp
    "\u202a-\u202e\u2066-\u2069"  # bidirectional embeddings, overrides and isolates (UAX 9 section 2)
    "\ud800-\udfff"  # surrogates, Cs
    "\ufdd0-\ufdef" + "".join(f"{chr(plane << 16 | 0xFFFE)}{chr(plane << 16 | 0xFFFF)}" for plane in range(17)) + "]"
)
"""Characters that no name holds.

Unicode never changes these sets (its stability policy fixes Cc, Zl, Zp, Cs and the noncharacters), so which ids are
allowed does not depend on the Unicode version of Python. `spec/protocol.md` lists the same characters.
"""

_EXAMPLE = "connect to /ws-online-status?userId=ID"


def refused_character(text: str) -> str:
    """Return the first character that names must not contain, as `U+202E`; empty if the text fits in one line.

    Refused are controls, line and paragraph separators, surrogates, noncharacters, and characters that change the
    direction of the following text. Joiners, spaces of all kinds and unassigned characters are allowed, because scripts
    and emoji need them.
    """
    # Each refused character is unprintable in every version of Unicode. The cheaper test decides for most texts.
    if text.isprintable() or (found := _REFUSED.search(text)) is None:
        return ""
    return f"U+{ord(found[0]):04X}"


def escaped(text: str) -> str:
    """Return a text that stays on one log line: characters not allowed in names become Python escapes."""
    return text if text.isprintable() else _REFUSED.sub(lambda found: ascii(found[0])[1:-1], text)


def parse_user_id(value: str | int, placeholders: bool = True) -> str:
    """Return the canonical user id, a text; an integer becomes its decimal digits.

    Args:
        placeholders: Whether texts such as `undefined` are valid user ids.

    Raises:
        BadUserId: It does not have 1 to 128 characters, contains a refused one, or is a placeholder.
    """
    if not isinstance(value, str) and (isinstance(value, bool) or not isinstance(value, int)):
        raise BadUserId("userId must be a text or a whole number")
    text = str(value)
    if not text:
        raise BadUserId(f"userId is empty: {_EXAMPLE}")
    if len(text) > MAX_USER_ID_LENGTH:
        raise BadUserId(f"userId has {len(text)} characters; at most {MAX_USER_ID_LENGTH} are allowed")
    if character := refused_character(text):
        raise BadUserId(f"userId contains {character}, which ids must not contain")
    if not placeholders and text in PLACEHOLDERS:
        raise BadUserId(f"userId is the text {text}: is a variable not set? (the setting placeholder_ids allows it)")
    return text


def user_id_from_query(query: bytes, placeholders: bool = True) -> str:
    """Return the user id in the query of `/ws-online-status?userId=ID`; other parameters are ignored.

    The query is decoded like an HTML form: `+` is a space, `%XX` a byte of UTF-8.

    Args:
        placeholders: Whether texts such as `undefined` are valid user ids.

    Raises:
        BadUserId: The id is missing, given more than once, not UTF-8, or refused by `parse_user_id`.
    """
    found = parameter(query, b"userId")
    if not found:
        raise BadUserId(f"userId is missing: {_EXAMPLE}")
    if len(found) > 1:
        raise BadUserId(f"userId is given {len(found)} times; give it once")
    try:
        return parse_user_id(found[0].decode(), placeholders)
    except UnicodeDecodeError:
        raise BadUserId("userId is not percent-encoded UTF-8; use encodeURIComponent(id)") from None


def parameter(query: bytes, name: bytes) -> list[bytes]:
    """The values of a parameter of a query, decoded as HTML forms are, in their order."""
    return [
        _plain(value) for key, _, value in (part.partition(b"=") for part in query.split(b"&")) if _plain(key) == name
    ]


def is_json_number(user_id: str) -> bool:
    """Whether the id is a JSON number on the wire: a canonical decimal integer from 0 to 2^53-1."""
    return (
        user_id.isascii()
        and user_id.isdigit()
        and (user_id[0] != "0" or user_id == "0")
        and len(user_id) <= 16
        and int(user_id) <= MAX_SAFE_INTEGER
    )


def _plain(encoded: bytes) -> bytes:
    if b"%" in encoded or b"+" in encoded:
        return unquote_to_bytes(encoded.replace(b"+", b" "))
    return encoded
