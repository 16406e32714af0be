"""Event streams opened with tickets, and how they resume after a loss.

A browser's `EventSource` reconnects with its original URL and sends the id of the last event in the `Last-Event-ID`
header (HTML standard, section 9.2). By then the ticket in that URL is used. Each event id of such a stream therefore
ends with a secret. The used ticket together with this secret opens the same stream again. The URL alone, which proxies
may log, opens nothing.

    begin(unused ticket) ──> LOST ──opened──> OPEN ──closed──> LOST ──begin(used ticket, secret), opened──> OPEN
                              │                │                │
                              └────────────────┴─── DISCARDED <─┘

A new stream counts as lost until its connection is registered, because it may never be. A stream is discarded when it
was lost for `RESUME_WINDOW_S`, when a bound evicts it, and when its user is disconnected. A stream whose `until` has
passed stays until one of these, but opens nothing.

`begin` issues a fresh one-time ticket for each opening. Every opening is therefore authenticated like the first one:
revocation, expiry and the visibility callback apply again.
"""

from __future__ import annotations

import hmac
import math
import secrets
from collections.abc import Callable
from typing import NamedTuple

from presenced.auth.principal import Principal
from presenced.auth.tickets import Tickets, refused_ticket, ticket_digest
from presenced.errors import BadToken
from presenced.runtime.instant import Instant
from presenced.runtime.limits import BoundedMap

RESUME_WINDOW_S = 3600.0
"""Seconds after a loss in which a stream may resume. After that its page needs a new ticket."""

MAX_LOST_STREAMS = 10_000
"""Maximum number of lost streams that may resume, about 5 MB without the grants of their tickets. At the bound the
stream lost first is evicted, and its page needs a new ticket."""

MAX_LOST_STREAMS_OF_USER = 20
"""Maximum number of lost streams of one user, so that no user can evict the streams of others. At the bound the stream
lost first is evicted."""

SEPARATOR = "~"
"""Separator between cursor and secret in an event id. No cursor has it; those of a cluster have full stops."""


class Opening(NamedTuple):
    """A stream that may be opened now, for the first time or again."""

    key: bytes
    secret: str
    """Secret for the ids of its events."""
    ticket: str
    """One-time ticket that authenticates this opening."""


class _TicketStream:
    __slots__ = ("end", "principal", "secret_digest", "until")

    def __init__(self, principal: Principal, secret: str, until: float) -> None:
        self.principal = principal
        """Principal that the ticket named, before the visibility callback."""
        self.secret_digest = ticket_digest(secret)
        self.until = until
        """Monotonic time after which it opens nothing."""
        self.end: Callable[[], None] | None = None
        """Function that ends the open connection; None if the stream is lost."""


class ResumableStreams:
    """Streams opened with tickets.

    A ticket has at most one open stream, so a resuming stream ends its earlier connection. A stream cannot resume after
    the ticket's `lasts`, nor later than `lifetime` seconds after its first opening. All state is in memory, so no
    stream resumes in another process, or on another node. Times are monotonic seconds.

    Bounds: `MAX_LOST_STREAMS`, `MAX_LOST_STREAMS_OF_USER`; `WaitingRequests` bounds the open streams.

    Args:
        lifetime: Seconds for which revocations are remembered. A stream that resumed later could bypass one.
    """

    def __init__(self, tickets: Tickets, lifetime: float) -> None:
        self._tickets = tickets
        self._lifetime = lifetime
        self._streams: dict[bytes, _TicketStream] = {}
        self._lost_at: BoundedMap[bytes, float] = BoundedMap(MAX_LOST_STREAMS)  # in order of loss
        self._of_user: dict[str, dict[bytes, None]] = {}  # in order of creation

    def __len__(self) -> int:
        return len(self._streams)

    def fetch(self, ticket: str, now: Instant, on_fetched: Callable[[BadToken | None], None]) -> bool:
        """Fetch a ticket that another node may have issued, so that `begin` finds it on this node (`Tickets.fetch`).

        Returns:
            Whether the caller must wait for `on_fetched`. Otherwise it is not called.
        """
        return ticket_digest(ticket) not in self._streams and self._tickets.fetch(ticket, now, on_fetched)

    def begin(self, ticket: str, secret: str, now: Instant) -> Opening | None:
        """Use a ticket to open a stream, or to resume the stream it opened.

        Args:
            secret: Secret from the id of the last event; empty if there was none.

        Returns:
            None: The ticket opens no stream. `Gatekeeper` says why.

        Raises:
            BadToken: The secret does not belong to the ticket's stream.
        """
        self._expire(now.monotonic)
        key = ticket_digest(ticket)
        stream = self._streams.get(key)
        if stream is None:
            return self._open_first(key, ticket, now)
        if not secret or stream.until <= now.monotonic:
            return None
        if not hmac.compare_digest(stream.secret_digest, ticket_digest(secret)):
            raise refused_ticket(is_genuine=False)  # the secret is a guess, which counts as a guessed ticket
        return Opening(key, secret, self._tickets.reissue(stream.principal, now.monotonic))

    def take_over(self, key: bytes) -> None:
        """End the open connection of a resuming stream. The server may not have detected its loss."""
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
        self._lost_at.pop(key)
        stream.end = end
        return True

    def closed(self, key: bytes, end: Callable[[], None], now: float) -> None:
        """Register the end of a connection; no-op if the stream has another one or may not resume."""
        stream = self._streams.get(key)
        if stream is not None and stream.end is end:
            stream.end = None
            self._lose(key, stream, now)

    def forget_user(self, user_id: str) -> None:
        """Discard all streams of a user, so that none resumes."""
        for key in list(self._of_user.get(user_id, ())):
            self._discard(key)

    def _open_first(self, key: bytes, ticket: str, now: Instant) -> Opening | None:
        principal = self._tickets.take(ticket, now)
        if principal is None:
            return None
        secret = secrets.token_urlsafe(16)
        lasts = math.inf if principal.expires_at is None else principal.expires_at - now.epoch_ms / 1000
        stream = self._streams[key] = _TicketStream(principal, secret, now.monotonic + min(lasts, self._lifetime))
        self._of_user.setdefault(principal.user_id, {})[key] = None
        self._lose(key, stream, now.monotonic)
        return Opening(key, secret, self._tickets.reissue(principal, now.monotonic))

    def _lose(self, key: bytes, stream: _TicketStream, now: float) -> None:
        # The user's own bound first: otherwise this loss could evict a stream of someone else.
        of_user = self._of_user[stream.principal.user_id]
        lost_at = {one: at for one in of_user if (at := self._lost_at.get(one)) is not None}
        if len(lost_at) >= MAX_LOST_STREAMS_OF_USER:
            self._discard(min(lost_at, key=lost_at.__getitem__))
        if (evicted := self._lost_at.set(key, now)) is not None:
            self._discard(evicted[0])

    def _expire(self, now: float) -> None:
        while (first := next(iter(self._lost_at), None)) is not None:
            if (self._lost_at.get(first) or 0.0) + RESUME_WINDOW_S > now:
                return
            self._discard(first)

    def _discard(self, key: bytes) -> None:
        user_id = self._streams.pop(key).principal.user_id
        self._lost_at.pop(key)
        keys = self._of_user[user_id]
        del keys[key]
        if not keys:
            del self._of_user[user_id]
