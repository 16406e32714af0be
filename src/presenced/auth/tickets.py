"""Tickets for one-time use: a backend requests one for a user it has authenticated, and the user's client connects with
it.

    "ticket_" + 256 random bits + mark

The mark is an HMAC of the rest. It grants nothing. It only proves that this server issued the ticket, even if the
ticket is used, expired or from before a restart. Invented tickets are guesses and count against their address; genuine
ones do not.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Iterable
from typing import Any, NamedTuple

from presenced.auth.authenticator import Authenticator, AuthResult, OnAuthResult
from presenced.auth.grants import with_grants
from presenced.auth.principal import Principal
from presenced.errors import BadToken, CapacityError
from presenced.runtime.instant import Instant
from presenced.runtime.limits import BoundedMap

TICKET_LIFETIME_S = 30.0
"""Seconds from issue in which a ticket can be used."""

MAX_TICKETS = 100_000
"""Maximum number of unused tickets, about 30 MB, plus 1 KB for each with display data. At the bound new ones are
refused."""

PREFIX = "ticket_"

_MARK_LENGTH = 16
"""Length in characters of the mark at the end of a ticket: 96 bits."""


class _Ticket(NamedTuple):
    principal: Principal
    lasts: float | None
    """Maximum number of seconds for the connection; None for no limit."""


class Tickets(Authenticator):
    """Tickets that were issued and not used yet, and the authenticator for `auth = "ticket"`.

    Only digests are stored, so nobody who reads this memory can use a ticket. The time of looking up a digest says
    nothing about the ticket either (comparing secrets directly: CVE-2021-33880).

    Bounds: `MAX_TICKETS`, each for `TICKET_LIFETIME_S`.

    Args:
        api_keys: Entries of the setting `api_keys`. The key of the mark derives from them, so that tickets from before
            a restart, or from another process with the same settings, are recognised.
    """

    def __init__(self, api_keys: Iterable[str] = ()) -> None:
        # One more than may be unused, for a reissued ticket: evicting an unused one would break its promise.
        self._tickets: BoundedMap[bytes, _Ticket] = BoundedMap(MAX_TICKETS + 1, ttl=TICKET_LIFETIME_S)
        entries = "\n".join(sorted(api_keys)).encode()
        self._mark_key = hashlib.sha256(b"presenced ticket mark\n" + (entries or secrets.token_bytes(32))).digest()

    def __len__(self) -> int:
        return len(self._tickets)

    def issue(self, user_id: str, now: Instant, lasts: float | None = None, grants: Any = None) -> str:
        """Issue a ticket for this user.

        Args:
            lasts: Maximum number of seconds for the connection it opens; None for no limit.
            grants: Visibility, rooms and display data of the user: decoded JSON as for `Grants`.

        Raises:
            CapacityError: Too many tickets are unused.
            ValueError: `grants` is invalid.
        """
        self._tickets.expire(now.monotonic)
        if len(self._tickets) >= MAX_TICKETS:
            raise CapacityError(f"{MAX_TICKETS:,} tickets wait to be used; try again in {TICKET_LIFETIME_S:g} s")
        principal = Principal(user_id, issued_at=now.epoch_ms / 1000)
        if grants is not None:
            principal = with_grants(principal, grants)
        return self._put(_Ticket(principal, lasts), now.monotonic)

    def authenticate(self, token: str, now: Instant, on_result: OnAuthResult) -> AuthResult:
        """Redeem a ticket. It cannot be used again, even if the connection fails."""
        return self.take(token, now) or refused_ticket(is_genuine=self._is_marked(token))

    def take(self, ticket: str, now: Instant) -> Principal | None:
        """Redeem a ticket and return its principal; None if it was never issued, was used, or has expired."""
        self._tickets.expire(now.monotonic)
        key = ticket_digest(ticket)
        found = self._tickets.pop(key, now.monotonic)
        if found is None:
            return None
        principal = found.principal
        if found.lasts is not None:
            principal = principal._replace(expires_at=now.epoch_ms / 1000 + found.lasts)
        return principal if principal.token_id else principal._replace(token_id=key.hex())

    def reissue(self, principal: Principal, now: float) -> str:
        """Issue a ticket with the rights of an earlier one, to be redeemed immediately.

        It never leaves the server, so it does not count towards `MAX_TICKETS`.
        """
        return self._put(_Ticket(principal, None), now)

    def _put(self, ticket: _Ticket, now: float) -> str:
        unmarked = PREFIX + secrets.token_urlsafe(32)
        text = unmarked + self._mark(unmarked)
        self._tickets.set(ticket_digest(text), ticket, now)
        return text

    def _mark(self, unmarked: str) -> str:
        made = hmac.digest(self._mark_key, unmarked.encode("utf-8", "surrogatepass"), hashlib.sha256)
        return base64.urlsafe_b64encode(made[: _MARK_LENGTH * 3 // 4]).decode()

    def _is_marked(self, ticket: str) -> bool:
        unmarked, mark = ticket[:-_MARK_LENGTH], ticket[-_MARK_LENGTH:].encode("utf-8", "surrogatepass")
        return hmac.compare_digest(mark, self._mark(unmarked).encode())


def ticket_digest(ticket: str) -> bytes:
    """Return the key under which a ticket is stored."""
    return hashlib.sha256(ticket.encode("utf-8", "surrogatepass")).digest()


def refused_ticket(is_genuine: bool) -> BadToken:
    """Return the refusal of an invalid ticket.

    Args:
        is_genuine: This server issued the ticket, now or before a restart.
    """
    detail = "the ticket is unknown, used or expired; request a new one from the backend"
    return BadToken("ticket", detail, is_genuine=is_genuine)
