"""Parameters in the query of a URL."""

from __future__ import annotations

from urllib.parse import unquote_to_bytes


def parameter_values(query: bytes, name: bytes) -> list[bytes]:
    """Return all values of a parameter, in order, decoded like HTML forms."""
    return [
        _decoded(value)
        for key, _, value in (part.partition(b"=") for part in query.split(b"&"))
        if _decoded(key) == name
    ]


def _decoded(encoded: bytes) -> bytes:
    if b"%" in encoded or b"+" in encoded:
        return unquote_to_bytes(encoded.replace(b"+", b" "))
    return encoded
