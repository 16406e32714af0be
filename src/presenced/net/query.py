"""Parameters in the query of a URL."""

from __future__ import annotations

from urllib.parse import unquote_to_bytes


def parameter(query: bytes, name: bytes) -> list[bytes]:
    """The values of a parameter of a query, decoded as HTML forms are, in their order."""
    return [
        _plain(value) for key, _, value in (part.partition(b"=") for part in query.split(b"&")) if _plain(key) == name
    ]


def _plain(encoded: bytes) -> bytes:
    if b"%" in encoded or b"+" in encoded:
        return unquote_to_bytes(encoded.replace(b"+", b" "))
    return encoded
