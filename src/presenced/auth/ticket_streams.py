"""Event streams that tickets opened, and how each of them comes back after a loss.

A browser's `EventSource` reconnects by itself, with the URL it was made with and the id of the last event in the
header `Last-Event-ID` (HTML standard, section 9.2). A ticket in that URL is used by then. So each event id of such a
stream ends with a secret, and the used ticket together with this secret opens the same stream again. The URL alone,
which proxies may log, opens nothing.
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
from presenced.core.model import Instant

RETURN_WINDOW_S = 3600.0
"""Seconds after a loss in which a stream may come back; later its page needs a new ticket."""

MAX_LOST = 10_000
"""Lost streams that may come back, some 5 MB beside what tickets allow their users. One more makes the server forget
the stream that was lost first: its page needs a new ticket."""

MAX_LOST_OF_USER = 20
"""Of these, lost streams of one user, so that nobody makes the server forget those of others."""

SEPARATOR = "."
"""Stands between cursor and secret in the id of an event."""


class Opening(NamedTuple):
    """A stream that may be opened now, or again."""

    key: bytes
    secret: str
    """For the ids of its events."""
    ticket: str
    """A one-time ticket for this opening, to be authenticated with at once."""


class _Stream:
    __slots__ = ("end", "principal", "secret_digest", "until")

    def __init__(self, principal: Principal, secret: str, until: float) -> None:
        self.principal = principal
        """As the ticket named it. A visibility hook is asked again at each opening."""
        self.secret_digest = digest(secret)
        self.until = until
        self.end: Callable[[], None] | None = None
        """Ends the open connection; None: the stream is lost."""


class TicketStreams:
    """Streams that tickets opened.

    A ticket has at most one open stream: one that comes back ends the connection before it. No stream comes back after
    the ticket's `lasts`, `lifetime` seconds after its first opening, after `RETURN_WINDOW_S` of absence, or after its
    user was disconnected. Revoked tokens are refused by `Admission` as ever. Everything is kept in memory, so no
    stream comes back to another process.

    Bounds: `MAX_LOST`, `MAX_LOST_OF_USER`; open streams by the bounds of `Followers`.

    Args:
        lifetime: Seconds for which revocations are remembered. A longer return would outlive one.
    """

    def __init__(self, tickets: Tickets, lifetime: float) -> None:
        self._tickets = tickets
        self._lifetime = lifetime
        self._streams: dict[bytes, _Stream] = {}
        self._lost: OrderedDict[bytes, float] = OrderedDict()  # when; lost first, first
        self._of_user: dict[str, dict[bytes, None]] = {}  # in the order of their making

    def __len__(self) -> int:
        return len(self._streams)

    def begin(self, ticket: str, secret: str, now: Instant) -> Opening | None:
        """Use a ticket to open a stream, or return to the one it opened.

        Args:
            secret: From the id of the last event; empty when there was none.

        Returns:
            None: The ticket opens no stream. `Admission` says why.

        Raises:
            BadToken: The secret is not that of the ticket's stream.
        """
        self._forget(now.monotonic)
        key = digest(ticket)
        stream = self._streams.get(key)
        if stream is None:
            return self._first(key, ticket, now)
        if not secret or stream.until <= now.monotonic:
            return None
        if not hmac.compare_digest(stream.secret_digest, digest(secret)):
            raise refused(is_genuine=False)  # the ticket is genuine, but whoever shows it guesses the secret
        return Opening(key, secret, self._tickets.reissue(stream.principal, now.monotonic))

    def take_over(self, key: bytes) -> None:
        """End the open connection of a stream that comes back. The server may not know yet that it was lost."""
        if (stream := self._streams.get(key)) is not None and stream.end is not None:
            stream.end()

    def opened(self, key: bytes, end: Callable[[], None]) -> bool:
        """Register a connection of a stream.

        Args:
            end: Ends it.

        Returns:
            False: The stream was ended while its opening was being authenticated.
        """
        stream = self._streams.get(key)
        if stream is None:
            return False
        self._lost.pop(key, None)
        stream.end = end
        return True

    def closed(self, key: bytes, end: Callable[[], None], now: float) -> None:
        """Register the end of a connection; no-op when the stream has another one, or may not come back."""
        stream = self._streams.get(key)
        if stream is not None and stream.end is end:
            stream.end = None
            self._lose(key, now)

    def forget_user(self, user_id: str) -> None:
        """Let no stream of a user come back."""
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
