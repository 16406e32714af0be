"""Tickets: a backend that knows its user asks for one, and the user's client connects with it, once."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections import OrderedDict
from collections.abc import Iterable
from typing import Any, NamedTuple

from presenced.auth.allowed import with_allowed
from presenced.auth.principal import Principal
from presenced.errors import BadToken, CapacityError

LIFETIME = 30.0
"""Seconds after its issue in which a ticket can be used."""

MAX_TICKETS = 100_000
"""Unused tickets at a time, some 30 MB; a KB more each with display data. One more is refused."""

PREFIX = "ticket_"

_MARK_LENGTH = 16
"""Characters of the mark at the end of a ticket: 96 bits."""


class _Ticket(NamedTuple):
    until: float
    lasts: float | None
    principal: Principal


class Tickets:
    """Tickets that were issued and are not used yet.

    Only digests are kept, so nobody who reads this memory can use them. A ticket ends with a mark, by which a used or
    expired one is told from one that somebody made up. The mark admits nobody. Times are monotonic seconds, except
    `epoch`.

    Bounds: `MAX_TICKETS`, each for `LIFETIME`.

    Args:
        api_keys: Entries of the setting of that name. The mark is made with them, so that tickets from before a
            restart are still recognised.
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
            epoch: The time now as epoch seconds.
            lasts: Seconds for which the connection it opens may stay; None: no limit.
            allowed: Whom they may see, where they may go, what others see of them: decoded JSON as of `Allowed`.

        Raises:
            CapacityError: Too many tickets are unused.
            ValueError: `allowed` can't be used.
        """
        self._forget(now)
        if len(self._tickets) >= MAX_TICKETS:
            raise CapacityError(f"{MAX_TICKETS:,} tickets wait to be used; try again in {LIFETIME:g} s")
        principal = Principal(user_id, issued_at=epoch)
        if allowed is not None:
            principal = with_allowed(principal, allowed)
        return self._put(_Ticket(now + LIFETIME, lasts, principal))

    def redeem(self, ticket: str, now: float, epoch: float) -> Principal:
        """Return whose ticket it is, and use it up.

        Raises:
            BadToken: It was never issued, was used, or is too old.
        """
        found = self.take(ticket, now, epoch)
        if found is None:
            raise refused(self._is_marked(ticket))
        return found

    def take(self, ticket: str, now: float, epoch: float) -> Principal | None:
        """Return whose ticket it is, and use it up; None for one that can't be used."""
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
        """Issue a ticket for what an earlier one stood for, to be redeemed at once.

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
    """Return what is kept of a ticket."""
    return hashlib.sha256(ticket.encode("utf-8", "surrogatepass")).digest()


def refused(is_genuine: bool) -> BadToken:
    """Return the answer to a ticket that can't be used.

    Args:
        is_genuine: It was issued here, now or before a restart.
    """
    detail = "the ticket is unknown, used or expired; have the backend ask for a new one"
    return BadToken("ticket", detail, is_genuine=is_genuine)
