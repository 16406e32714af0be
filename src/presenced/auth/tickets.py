"""Tickets for one-time use: a backend requests one for an authenticated user, and the user's client connects with
it."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections import OrderedDict
from collections.abc import Iterable
from typing import Any, NamedTuple

from presenced.auth.grants import with_allowed
from presenced.auth.principal import Principal
from presenced.errors import BadToken, CapacityError

LIFETIME = 30.0
"""Seconds from issue in which a ticket can be used."""

MAX_TICKETS = 100_000
"""Maximum number of unused tickets, about 30 MB, plus 1 KB for each with display data. At the bound new ones are
refused."""

PREFIX = "ticket_"

_MARK_LENGTH = 16
"""Length in characters of the mark at the end of a ticket: 96 bits."""


class _Ticket(NamedTuple):
    until: float
    lasts: float | None
    principal: Principal


class Tickets:
    """Tickets that were issued and not used yet.

    Only digests are stored, so nobody who reads this memory can use a ticket. A ticket ends with a mark, which
    distinguishes a used or expired ticket from an invented one. The mark grants no access. Times are monotonic seconds,
    except `epoch`.

    Bounds: `MAX_TICKETS`, each for `LIFETIME`.

    Args:
        api_keys: Entries of the setting `api_keys`. The mark derives from them, so that tickets from before a restart
            are still recognised.
    """

    def __init__(self, api_keys: Iterable[str] = ()) -> None:
        self._tickets: OrderedDict[bytes, _Ticket] = OrderedDict()  # oldest first
        entries = "\n".join(sorted(api_keys)).encode()
        self._mark_key = hashlib.sha256(b"presenced ticket mark\n" + (entries or secrets.token_bytes(32))).digest()

    def __len__(self) -> int:
        return len(self._tickets)

    def issue(self, user_id: str, now: float, epoch: float, lasts: float | None = None, allowed: Any = None) -> str:
        """Issue a ticket for this user.

        Args:
            epoch: Current time in epoch seconds.
            lasts: Maximum number of seconds for the connection it opens; None for no limit.
            allowed: Visibility, rooms and display data of the user: decoded JSON as for `Allowed`.

        Raises:
            CapacityError: Too many tickets are unused.
            ValueError: `allowed` is invalid.
        """
        self._forget(now)
        if len(self._tickets) >= MAX_TICKETS:
            raise CapacityError(f"{MAX_TICKETS:,} tickets wait to be used; try again in {LIFETIME:g} s")
        principal = Principal(user_id, issued_at=epoch)
        if allowed is not None:
            principal = with_allowed(principal, allowed)
        return self._put(_Ticket(now + LIFETIME, lasts, principal))

    def redeem(self, ticket: str, now: float, epoch: float) -> Principal:
        """Redeem a ticket and return its principal.

        Raises:
            BadToken: The ticket was never issued, was used, or has expired.
        """
        found = self.take(ticket, now, epoch)
        if found is None:
            raise refused(self._is_marked(ticket))
        return found

    def take(self, ticket: str, now: float, epoch: float) -> Principal | None:
        """Redeem a ticket and return its principal; None if it is not valid."""
        self._forget(now)
        key = digest(ticket)
        found = self._tickets.pop(key, None)
        if found is None:
            return None
        principal = found.principal
        if found.lasts is not None:
            principal = principal._replace(expires_at=epoch + found.lasts)
        return principal if principal.token_id else principal._replace(token_id=key.hex())

    def reissue(self, principal: Principal, now: float) -> str:
        """Issue a ticket with the rights of an earlier one, to be redeemed immediately.

        It never leaves the server, so it does not count towards `MAX_TICKETS`.
        """
        return self._put(_Ticket(now + LIFETIME, None, principal))

    def _put(self, made: _Ticket) -> str:
        text = PREFIX + secrets.token_urlsafe(32)
        ticket = text + self._mark(text)
        self._tickets[digest(ticket)] = made
        return ticket

    def _mark(self, text: str) -> str:
        made = hmac.digest(self._mark_key, text.encode("utf-8", "surrogatepass"), hashlib.sha256)
        return base64.urlsafe_b64encode(made[: _MARK_LENGTH * 3 // 4]).decode()

    def _is_marked(self, ticket: str) -> bool:
        text, mark = ticket[:-_MARK_LENGTH], ticket[-_MARK_LENGTH:].encode("utf-8", "surrogatepass")
        return hmac.compare_digest(mark, self._mark(text).encode())

    def _forget(self, now: float) -> None:
        while self._tickets and self._tickets[next(iter(self._tickets))].until <= now:
            self._tickets.popitem(last=False)


def digest(ticket: str) -> bytes:
    """Return the key under which a ticket is stored."""
    return hashlib.sha256(ticket.encode("utf-8", "surrogatepass")).digest()


def refused(is_genuine: bool) -> BadToken:
    """Return the refusal of an invalid ticket.

    Args:
        is_genuine: This server issued the ticket, now or before a restart.
    """
    detail = "the ticket is unknown, used or expired; request a new one from the backend"
    return BadToken("ticket", detail, is_genuine=is_genuine)
