"""Tickets: a backend that knows its user asks for one, and the user's client comes with it, once."""

from __future__ import annotations

import hashlib
import secrets
from collections import OrderedDict
from typing import Any, NamedTuple

from presenced.auth.allowed import with_allowed
from presenced.auth.principal import Principal
from presenced.errors import BadToken, CapacityError

LIFETIME = 30.0
"""Seconds from its making in which a ticket can be used."""

MAX_TICKETS = 100_000
"""Unused at a time; some 30 MB, and what they say of their users (`Allowed`): a KB more each with display data."""

PREFIX = "ticket_"


class _Ticket(NamedTuple):
    until: float
    lasts: float | None
    principal: Principal


class Tickets:
    """Tickets that were made and not used.

    Only digests are kept: who reads this memory can't use them. Times are monotonic seconds, but for `epoch`.

    Bounds: `MAX_TICKETS`, each for `LIFETIME`.
    """

    def __init__(self) -> None:
        self._tickets: OrderedDict[bytes, _Ticket] = OrderedDict()  # oldest first

    def __len__(self) -> int:
        return len(self._tickets)

    def issue(self, user_id: str, now: float, epoch: float, lasts: float | None = None, allowed: Any = None) -> str:
        """A ticket for this user.

        Args:
            epoch: The time now as epoch seconds.
            lasts: Seconds for which the connection it opens may stay; None: for good.
            allowed: Whom they may see, where they may go, what others see of them: decoded JSON as of `Allowed`.

        Raises:
            CapacityError: Too many are waiting to be used.
            ValueError: `allowed` can't be used.
        """
        self._forget(now)
        if len(self._tickets) >= MAX_TICKETS:
            raise CapacityError(f"{MAX_TICKETS:,} tickets wait to be used; try again in {LIFETIME:g} s")
        principal = Principal(user_id, issued_at=epoch)
        if allowed is not None:
            principal = with_allowed(principal, allowed)
        ticket = PREFIX + secrets.token_urlsafe(32)
        self._tickets[_digest(ticket)] = _Ticket(now + LIFETIME, lasts, principal)
        return ticket

    def redeem(self, ticket: str, now: float, epoch: float) -> Principal:
        """Whose ticket it is; it is used up by that.

        Raises:
            BadToken: It was never made, was used, or is too old.
        """
        self._forget(now)
        key = _digest(ticket)
        found = self._tickets.pop(key, None)
        if found is None:
            raise BadToken("ticket", "the ticket is unknown, used or expired; have the backend ask for a new one")
        ends = None if found.lasts is None else epoch + found.lasts
        return found.principal._replace(expires_at=ends, token_id=key.hex())

    def _forget(self, now: float) -> None:
        while self._tickets and self._tickets[next(iter(self._tickets))].until <= now:
            self._tickets.popitem(last=False)


def _digest(ticket: str) -> bytes:
    return hashlib.sha256(ticket.encode("utf-8", "surrogatepass")).digest()
