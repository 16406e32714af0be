"""The token of a client: a string, or a function that fetches one."""

from __future__ import annotations

import base64
import binascii
import inspect
import json
from collections.abc import Awaitable, Callable

TokenSource = str | Callable[[], str | Awaitable[str | None] | None] | None
"""A JSON Web Token or a ticket, or a function that returns one, or an awaitable of one. None means signed out."""

REUSE_UNTIL_S = 60
"""Seconds before its expiry from which on a token is not used again."""


class Tokens:
    """Fetches tokens. A JSON Web Token is reused until shortly before its expiry; anything else is used once.

    Args:
        source: Where tokens come from.
        wall_clock: Returns epoch seconds, because `exp` is a wall-clock time.
    """

    def __init__(self, source: TokenSource, wall_clock: Callable[[], float]) -> None:
        self.can_renew = callable(source)
        self._source = source
        self._wall_clock = wall_clock
        self._cached = ""

    async def get(self) -> str | None:
        """Return the token for a connection; None if the function says that the user is signed out."""
        if not callable(self._source):
            return self._source or ""
        if self._cached and self._is_reusable(self._cached):
            return self._cached
        found = self._source()
        token = await found if inspect.isawaitable(found) else found
        self._cached = token or ""
        return token

    def forget(self) -> None:
        """Do not use the cached token again, because the server wants another one."""
        self._cached = ""

    def _is_reusable(self, token: str) -> bool:
        expires = expiry(token)
        return expires is not None and self._wall_clock() < expires - REUSE_UNTIL_S


def expiry(token: str) -> float | None:
    """Return `exp` of a JSON Web Token, read but not verified; None for anything else, such as a ticket."""
    parts = token.split(".")
    if len(parts) != 3:
        return None
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (ValueError, binascii.Error):
        return None
    found = claims.get("exp") if isinstance(claims, dict) else None
    return found if isinstance(found, int | float) and not isinstance(found, bool) else None


def fits_into_header(token: str) -> bool:
    """Return whether a header may contain the token: visible ASCII (RFC 9110 section 5.5)."""
    return all("!" <= character <= "~" for character in token)
