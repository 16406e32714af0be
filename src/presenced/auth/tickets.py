"""Tickets for one-time use.

A backend requests a ticket for a user that it has authenticated, and the user's client connects with it.

    "ticket_" + 256 random bits + mark

The mark is an HMAC of the rest. It grants nothing. It only proves that this server issued the ticket, even if the
ticket is used, expired or from before a restart. Invented tickets are guesses and count against their address; genuine
ones do not.

In a cluster, a ticket works on every node. It is always in one place: in the store that the nodes share, or in the
memory of one node. Only one node can take it from there, so no failure lets a ticket work twice.

    issue                      the store; while it is out of reach, the memory of this node
    the store returns          tickets in memory move to the store (`share`)
    a client presents one      this node's memory, otherwise the store
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, Protocol

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

TICKET_PREFIX = "ticket_"
"""Start of every ticket."""

_LEAST_FETCHED_S = 1.0
"""Least seconds in which a fetched ticket can be used. The clock of the node that issued it may be behind."""

_MARK_CHARACTERS = 16
"""Length in characters of the mark at the end of a ticket: 96 bits."""


class IssuedTicket(NamedTuple):
    """Rights and time limit that a ticket grants."""

    principal: Principal
    max_connection_s: float | None
    """Maximum number of seconds for the connection; None for no limit."""


OnTaken = Callable[[IssuedTicket | BadToken | None], None]


class SharedTickets(Protocol):
    """Unused tickets of all nodes of a cluster: `cluster.commands.tickets`."""

    def put(self, key: bytes, ticket: IssuedTicket, seconds: float) -> bool:
        """Keep a ticket for the next `seconds`, for whichever node it is presented to.

        Returns:
            False if the store is out of reach. It does not get the ticket later either.
        """

    def take(self, key: bytes, is_genuine: bool, on_taken: OnTaken) -> None:
        """Take a ticket, which at most one caller gets.

        Args:
            is_genuine: Whether the mark is valid. If the ticket is missing, the store is asked once more, because the
                ticket may still be on its way.
            on_taken: Function called later, once unless the server stops: with the ticket, with None if it is not
                there, or with `UNAVAILABLE` if that is not known.
        """


class Tickets(Authenticator):
    """Tickets that were issued and not used yet, and the authenticator for `auth = "ticket"`.

    Only digests are stored, so nobody who reads this memory can use a ticket. Looking up a digest leaks nothing through
    timing. Comparing secrets directly does (CVE-2021-33880).

    Bounds: `MAX_TICKETS`, each for `TICKET_LIFETIME_S`. In a cluster, those that this node has put into the store count
    for that time, even if they are used.

    Args:
        api_keys: Entries of the setting `api_keys`. The key of the mark derives from them, so that tickets from before
            a restart, or from another process with the same settings, are recognised.
    """

    def __init__(self, api_keys: Iterable[str] = ()) -> None:
        # With room for tickets that are fetched or reissued. They are redeemed at once, and must not evict unused ones.
        self._tickets: BoundedMap[bytes, IssuedTicket] = BoundedMap(MAX_TICKETS + 1_000, ttl=TICKET_LIFETIME_S)
        self.shared: SharedTickets | None = None
        """Tickets of all nodes; None if this node is alone. Set before the first ticket is issued."""
        self._shared_until: deque[float] = deque()
        """Monotonic ends of the tickets that this node has put into the store."""
        entries = "\n".join(sorted(api_keys)).encode()
        self._has_random_key = not entries  # then other nodes cannot recognise the mark
        self._mark_key = hashlib.sha256(b"presenced ticket mark\n" + (entries or secrets.token_bytes(32))).digest()

    def __len__(self) -> int:
        return len(self._tickets)

    def issue(self, user_id: str, now: Instant, max_connection_s: float | None = None, grants: Any = None) -> str:
        """Issue a ticket for this user.

        Args:
            max_connection_s: Maximum number of seconds for the connection it opens; None for no limit.
            grants: Visibility, rooms and display data of the user: decoded JSON as for `Grants`.

        Raises:
            CapacityError: Too many tickets are unused.
            ValueError: `grants` is invalid.
        """
        self._tickets.expire(now.monotonic)
        while self._shared_until and self._shared_until[0] <= now.monotonic:
            self._shared_until.popleft()
        if len(self._tickets) + len(self._shared_until) >= MAX_TICKETS:
            raise CapacityError(f"{MAX_TICKETS:,} tickets wait to be used; try again in {TICKET_LIFETIME_S:g} s")
        principal = Principal(user_id, issued_at=now.epoch_ms / 1000)
        if grants is not None:
            principal = with_grants(principal, grants)
        text, ticket = self._new_text(), IssuedTicket(principal, max_connection_s)
        key = ticket_digest(text)
        if not self._put_into_store(key, ticket, TICKET_LIFETIME_S, now.monotonic):
            self._tickets.set(key, ticket, now.monotonic)
        return text

    def authenticate(self, token: str, now: Instant, on_result: OnAuthResult) -> AuthResult | None:
        """Redeem a ticket. It cannot be used again, even if the connection fails."""
        if (principal := self.take(token, now)) is not None:
            return principal
        key = ticket_digest(token)

        def on_taken(found: IssuedTicket | BadToken) -> None:
            on_result(found if isinstance(found, BadToken) else _redeemed(found, key, now))

        return (
            None if self._take_from_store(token, key, on_taken) else refused_ticket(is_genuine=self._is_marked(token))
        )

    def take(self, ticket: str, now: Instant) -> Principal | None:
        """Redeem a ticket and return its principal; None if it was never issued, was used, or has expired."""
        self._tickets.expire(now.monotonic)
        key = ticket_digest(ticket)
        found = self._tickets.pop(key, now.monotonic)
        return None if found is None else _redeemed(found, key, now)

    def fetch(self, ticket: str, now: Instant, on_fetched: Callable[[BadToken | None], None]) -> bool:
        """Move a ticket that another node may have issued into the memory of this node, where `take` finds it.

        It expires there at the time set at its issue, as far as the clocks of the two nodes agree.

        Args:
            on_fetched: Function called later: with None if the ticket is here, otherwise with the reason for a refusal.

        Returns:
            False if the store need not be asked: the ticket is here, is a guess, or there is no store. `on_fetched` is
            not called then.
        """
        key = ticket_digest(ticket)

        def on_taken(found: IssuedTicket | BadToken) -> None:
            if isinstance(found, BadToken):
                on_fetched(found)
            else:
                age_s = min(max(0.0, ticket_age_s(found, now.epoch_ms)), TICKET_LIFETIME_S - _LEAST_FETCHED_S)
                self._tickets.set(key, found, now.monotonic - age_s)
                on_fetched(None)

        return key not in self._tickets and self._take_from_store(ticket, key, on_taken)

    def reissue(self, principal: Principal, now: float) -> str:
        """Issue a ticket with the rights of an earlier one, to be redeemed immediately.

        It never leaves the server and is used at once, so it is issued even at `MAX_TICKETS`.
        """
        text = self._new_text()
        self._tickets.set(ticket_digest(text), IssuedTicket(principal, None), now)
        return text

    def share(self, now: float) -> None:
        """Move the tickets of this node to the store, which is in reach again."""
        self._tickets.expire(now)
        for key in list(self._tickets):
            ticket = self._tickets.get(
                key, now
            )  # a fetched one expires before older ones, so `expire` may have missed it
            if ticket is not None and self._put_into_store(key, ticket, self._tickets.seconds_left(key, now), now):
                self._tickets.pop(key)

    def _put_into_store(self, key: bytes, ticket: IssuedTicket, seconds: float, now: float) -> bool:
        """Put a ticket into the store. Return False if there is none, or if it is out of reach."""
        is_put = self.shared is not None and self.shared.put(key, ticket, seconds)
        if is_put:
            self._shared_until.append(now + seconds)
        return is_put

    def _take_from_store(self, ticket: str, key: bytes, on_taken: Callable[[IssuedTicket | BadToken], None]) -> bool:
        """Take a ticket out of the store. Return False, and do nothing, if it cannot be there."""
        if self.shared is None or not ticket.startswith(TICKET_PREFIX):
            return False
        is_genuine = self._is_marked(ticket)
        if not is_genuine and not self._has_random_key:
            return False  # a guess costs the store nothing
        self.shared.take(key, is_genuine, lambda found: on_taken(found or refused_ticket(is_genuine)))
        return True

    def _new_text(self) -> str:
        unmarked = TICKET_PREFIX + secrets.token_urlsafe(32)
        return unmarked + self._mark(unmarked)

    def _mark(self, unmarked: str) -> str:
        made = hmac.digest(self._mark_key, unmarked.encode("utf-8", "surrogatepass"), hashlib.sha256)
        return base64.urlsafe_b64encode(made[: _MARK_CHARACTERS * 3 // 4]).decode()

    def _is_marked(self, ticket: str) -> bool:
        unmarked, mark = ticket[:-_MARK_CHARACTERS], ticket[-_MARK_CHARACTERS:].encode("utf-8", "surrogatepass")
        return hmac.compare_digest(mark, self._mark(unmarked).encode())


def _redeemed(ticket: IssuedTicket, key: bytes, now: Instant) -> Principal:
    """Return the principal of a ticket that is used now."""
    principal = ticket.principal
    if ticket.max_connection_s is not None:
        principal = principal._replace(expires_at=now.epoch_ms / 1000 + ticket.max_connection_s)
    return principal if principal.token_id else principal._replace(token_id=key.hex())


def ticket_age_s(ticket: IssuedTicket, epoch_ms: int) -> float:
    """Return the seconds from a ticket's issue, by the clock of its node, to `epoch_ms`, by the clock of this node.

    0 if the time of issue is unknown.
    """
    issued_at = ticket.principal.issued_at
    return epoch_ms / 1000 - issued_at if issued_at is not None else 0.0


def ticket_digest(ticket: str) -> bytes:
    """Return the digest of a ticket, which is its key in memory and in the store."""
    return hashlib.sha256(ticket.encode("utf-8", "surrogatepass")).digest()


def refused_ticket(is_genuine: bool) -> BadToken:
    """Return the refusal of an invalid ticket.

    Args:
        is_genuine: Whether a server with the same `api_keys` issued it.
    """
    detail = "the ticket is unknown, used or expired; request a new one from the backend"
    return BadToken("ticket", detail, is_genuine=is_genuine)
