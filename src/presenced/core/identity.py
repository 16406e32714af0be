"""User ids: which texts are one, and where the classic URL carries it."""

from __future__ import annotations

import unicodedata
from urllib.parse import unquote_to_bytes

from presenced.errors import BadUserId

MAX_USER_ID_LENGTH = 128
"""Characters (code points) of the longest user id."""

MAX_SAFE_INTEGER = 2**53 - 1
"""The largest integer that every JSON reader holds exactly (RFC 8259 section 6)."""

_TURNS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Embeddings, overrides and isolates of the bidirectional algorithm (UAX 9)."""

_EXAMPLE = "connect to /ws-online-status?userId=ID"


def parse_user_id(value: str | int) -> str:
    """The user id in its one form, a text; an integer means its decimal digits.

    Raises:
        BadUserId: It is not 1 to 128 printable characters (`str.isprintable`: no control characters, no line
            breaks, no bidirectional overrides, no lone surrogates).
    """
    text = str(value)
    if not text:
        raise BadUserId(f"userId is empty: {_EXAMPLE}")
    if len(text) > MAX_USER_ID_LENGTH:
        raise BadUserId(f"userId has {len(text)} characters; at most {MAX_USER_ID_LENGTH} are allowed")
    if not text.isprintable():
        raise BadUserId("userId holds control or unprintable characters; use printable ones only")
    return text


def is_displayable(text: str) -> bool:
    """Whether a text can be shown in a line among others: no control characters, line breaks, lone surrogates, or
    characters that turn the direction of what follows. Joiners are allowed: emoji and some scripts need them."""
    return not any(
        unicodedata.category(char) in ("Cc", "Zl", "Zp", "Cs") or char in _TURNS
        for char in text
        if not char.isprintable()
    )


def user_id_from_query(query: bytes) -> str:
    """The user id in the query of `/ws-online-status?userId=ID`; other parameters are ignored.

    Decoded as HTML forms are: `+` is a space, `%XX` a byte of UTF-8.

    Raises:
        BadUserId: It is missing, given more than once, not UTF-8, or refused by `parse_user_id`.
    """
    found = parameter(query, b"userId")
    if not found:
        raise BadUserId(f"userId is missing: {_EXAMPLE}")
    if len(found) > 1:
        raise BadUserId(f"userId is given {len(found)} times; give it once")
    try:
        return parse_user_id(found[0].decode())
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
