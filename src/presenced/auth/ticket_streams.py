"""Event streams opened with tickets, and their return after a loss.

A browser's `EventSource` reconnects with its original URL and sends the id of the last event in the `Last-Event-ID`
header (HTML standard, section 9.2). By then the ticket in that URL is used. Each event id of such a stream therefore
ends with a secret. The used ticket together with this secret opens the same stream again. The URL alone, which proxies
may log, opens nothing.
"""

from __future__ import annotations

import hmac
import math
import secrets
from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

from presenced.auth.principal import Principal
from presenced.auth.tickets import Tickets, digest, refused
from presenced.runtime.instant import Instant

RETURN_WINDOW_S = 3600.0
"""Seconds after a loss in which a stream may return. After that its page needs a new ticket."""

MAX_LOST = 10_000
"""Maximum number of lost streams that may return, about 5 MB without the permissions from their tickets. At the bound
the stream lost first is evicted, and its page needs a new ticket."""

MAX_LOST_OF_USER = 20
"""Maximum number of lost streams of one user, so that no user can evict the streams of others."""

SEPARATOR = "."
"""Separator between cursor and secret in an event id."""


class Opening(NamedTuple):
    """A stream that may be opened now, for the first time or again."""

    key: bytes
    secret: str
    """Secret for the ids of its events."""
    ticket: str
    """One-time ticket that authenticates this opening."""


class _Stream:
    __slots__ = ("end", "principal", "secret_digest", "until")

    def __init__(self, principal: Principal, secret: str, until: float) -> None:
        self.principal = principal
        """Principal that the ticket named. Each opening calls the visibility hook again."""
        self.secret_digest = digest(secret)
        self.until = until
        self.end: Callable[[], None] | None = None
        """Function that ends the open connection; None if the stream is lost."""


class TicketStreams:
    """Streams opened with tickets.

    A ticket has at most one open stream, so a returning stream ends its earlier connection. A stream cannot return in
    these cases: the ticket's `lasts` is over; `lifetime` seconds have passed since the first opening; it was absent for
    `RETURN_WINDOW_S`; its user was disconnected. `Gatekeeper` refuses revoked tokens. All state is in memory, so no
    stream returns to another process.

    Bounds: `MAX_LOST`, `MAX_LOST_OF_USER`; `WaitingRequests` bounds the open streams.

    Args:
        lifetime: Seconds for which revocations are remembered. A later return could bypass a revocation.
    """

    def __init__(self, tickets: Tickets, lifetime: float) -> None:
        self._tickets = tickets
        self._lifetime = lifetime
        self._streams: dict[bytes, _Stream] = {}
        self._lost: OrderedDict[bytes, float] = OrderedDict()  # when each was lost, oldest first
        self._of_user: dict[str, dict[bytes, None]] = {}  # in order of creation

    def __len__(self) -> int:
        return len(self._streams)

    def begin(self, ticket: str, secret: str, now: Instant) -> Opening | None:
        """Use a ticket to open a stream, or to return to the stream it opened.

        Args:
            secret: Secret from the id of the last event; empty if there was none.

        Returns:
            None: The ticket opens no stream. `Gatekeeper` says why.

        Raises:
            BadToken: The secret does not belong to the ticket's stream.
        """
        self._forget(now.monotonic)
        key = digest(ticket)
        stream = self._streams.get(key)
        if stream is None:
            return self._first(key, ticket, now)
        if not secret or stream.until <= now.monotonic:
            return None
        if not hmac.compare_digest(stream.secret_digest, digest(secret)):
            raise refused(is_genuine=False)  # the ticket is genuine, but the client guesses the secret
        return Opening(key, secret, self._tickets.reissue(stream.principal, now.monotonic))

    def take_over(self, key: bytes) -> None:
        """End the open connection of a returning stream. The server may not have detected its loss."""
        if (stream := self._streams.get(key)) is not None and stream.end is not None:
            stream.end()

    def opened(self, key: bytes, end: Callable[[], None]) -> bool:
        """Register a connection of a stream.

        Args:
            end: Function that ends the connection.

        Returns:
            False: The stream ended while its opening was being authenticated.
        """
        stream = self._streams.get(key)
        if stream is None:
            return False
        self._lost.pop(key, None)
        stream.end = end
        return True

    def closed(self, key: bytes, end: Callable[[], None], now: float) -> None:
        """Register the end of a connection; no-op if the stream has another one or may not return."""
        stream = self._streams.get(key)
        if stream is not None and stream.end is end:
            stream.end = None
            self._lose(key, now)

    def forget_user(self, user_id: str) -> None:
        """Forget all streams of a user, so that none returns."""
        for key in list(self._of_user.get(user_id, ())):
            self._discard(key)

    def _first(self, key: bytes, ticket: str, now: Instant) -> Opening | None:
        epoch = now.epoch_ms / 1000
        principal = self._tickets.take(ticket, now.monotonic, epoch)
        if principal is None:
            return None
        secret = secrets.token_urlsafe(16)
        lasts = math.inf if principal.expires_at is None else principal.expires_at - epoch
        self._streams[key] = _Stream(principal, secret, now.monotonic + min(lasts, self._lifetime))
        self._of_user.setdefault(principal.user_id, {})[key] = None
        self._lose(key, now.monotonic)  # until it is open
        return Opening(key, secret, self._tickets.reissue(principal, now.monotonic))

    def _lose(self, key: bytes, now: float) -> None:
        self._lost[key] = now
        of_user = [one for one in self._of_user[self._streams[key].principal.user_id] if one in self._lost]
        if len(of_user) > MAX_LOST_OF_USER:
            self._discard(min(of_user, key=self._lost.__getitem__))
        if len(self._lost) > MAX_LOST:
            self._discard(next(iter(self._lost)))

    def _forget(self, now: float) -> None:
        while self._lost and self._lost[first := next(iter(self._lost))] + RETURN_WINDOW_S <= now:
            self._discard(first)

    def _discard(self, key: bytes) -> None:
        user_id = self._streams.pop(key).principal.user_id
        self._lost.pop(key, None)
        keys = self._of_user[user_id]
        del keys[key]
        if not keys:
            del self._of_user[user_id]
