"""The protocol presenced.v1: sessions that are resumed, requests, subscriptions and rooms.

`docs/reference/websocket-v1.md` is its specification.

A connection opens in one of these ways:

    the client names    the directory    its position is      session        the client receives
    ----------------    -------------    ----------------     -------        -------------------
    no session          --               --                   new            SELF and snapshots
    a session           knows it         within the journal   resumed        SELF and what it missed
    a session           knows it         not usable           resumed        SELF and snapshots
    a session           has forgotten it --                   new            SELF and snapshots

A position is not usable if it is unknown, older than the journal, or from before the end of the last snapshot. If the
visibility has changed, no position is usable.

A request is parsed once, checked by its handler, and answered with ACK or ERROR (`handlers`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

import msgspec

from presenced.config.settings import WEBSOCKET_PATH
from presenced.delivery.connection import Connection
from presenced.errors import Close, Fault
from presenced.presence.journal import Cursor
from presenced.presence.model import OwnState
from presenced.presence.outcome import Outcome
from presenced.presence.subscriptions import MAX_ROOMS, MAX_WATCHED_USERS, Selection, Subscription
from presenced.presence.visibility import Visibility
from presenced.protocols.base import Admitted, ClientProtocol, ConnectRequest, ProtocolParts, Resumption
from presenced.protocols.ids import wire_user_id
from presenced.protocols.requests import RequestRefused
from presenced.protocols.v1 import codec
from presenced.protocols.v1 import handlers as _registered  # noqa: F401  # importing registers them
from presenced.protocols.v1.connect import ConnectParameters, parse_connect_query
from presenced.protocols.v1.context import Context, handlers
from presenced.protocols.v1.digests import ROOM_DIGEST_PERIOD_S
from presenced.protocols.v1.encoder import V1Encoder
from presenced.protocols.v1.extensions import FeedExtension
from presenced.protocols.v1.feed import V1Feed
from presenced.protocols.v1.messages import (
    MAX_DATA_BYTES,
    MAX_TEXT_CHARACTERS,
    AuthExpiring,
    Error,
    EstablishedV1,
    GoingAway,
    LimitsV1,
    RequestId,
)
from presenced.runtime.instant import Instant, timestamp
from presenced.runtime.limits import Bucket

MAX_UNREAD_ANSWERS = 100
"""Maximum number of answers that wait for a client that does not read, each perhaps with a snapshot. One more request
closes the connection."""

MAX_REASON_CHARACTERS = 300
"""Maximum number of characters in the text of an ERROR, which may repeat what the client sent. The rest is cut off."""


@dataclass(slots=True, eq=False)
class _Requests:
    """Counters of the requests of one connection."""

    bucket: Bucket
    refused: int = 0
    """Requests refused in a row because the client sent them too fast."""
    unread: int = 0
    """Requests received since the client stopped reading, whose answers wait."""


class V1Protocol(ClientProtocol):
    """The protocol presenced.v1.

    Bounds: requests by `request_rate` and `request_burst`. As many again are refused, then the connection is closed
    with 4429. Answers to a client that does not read are bounded by `MAX_UNREAD_ANSWERS`, sessions and subscriptions by
    the directory.

    Args:
        feed_extensions: Extensions of the feed by modules.
    """

    name = "presenced.v1"
    path = WEBSOCKET_PATH.encode()
    subprotocols = ("presenced.v1",)
    is_compressed = True
    warns_of_expiry = True
    feed: V1Feed

    def __init__(self, parts: ProtocolParts, encoder: V1Encoder, feed_extensions: Sequence[FeedExtension] = ()) -> None:
        self.feed = V1Feed(
            encoder, self._schedule_digest, parts.broadcaster.flush, feed_extensions, parts.directory.certainty
        )
        self._parts = parts
        self._settings = parts.settings
        self._settled_at = 0.0
        """Monotonic time after which users who have not returned since the server started count as gone."""
        self._requests: dict[Connection, _Requests] = {}

    # Opening.

    def started(self, now: Instant, settling_s: float) -> None:
        """Give users time to return after a restart of the server. After that, the others count as gone."""
        self._settled_at = now.monotonic + settling_s

    def parse_parameters(self, request: ConnectRequest) -> ConnectParameters:
        """Return the parameters of the URL, parsed."""
        return parse_connect_query(request.query)

    def resumption(self, parameters: ConnectParameters) -> Resumption | None:
        """Return the session that the URL names."""
        return Resumption(parameters.session_id, parameters.position) if parameters.session_id else None

    def with_cursor(self, parameters: ConnectParameters, cursor: Cursor) -> ConnectParameters:
        """Return the parameters with this cursor instead of the position in the URL."""
        return parameters._replace(cursor=cursor)

    def replaces(self, user_id: str, parameters: ConnectParameters) -> bool:
        """Return whether the session that the client names has an open connection."""
        session = self._parts.directory.users.sessions.get(parameters.session_id)
        return session is not None and session.user_id == user_id and session.connection is not None

    def opened(self, connection: Connection, user: Admitted, parameters: ConnectParameters, now: Instant) -> None:
        """Enter a connection: a new session, or one that is resumed."""
        outcome, position = self._enter(connection, user, parameters, now)
        assert outcome.session is not None, "it opened"
        connection.session = outcome.session
        # Close the old connection before the visibility of the session changes. The feed needs the old visibility to
        # remove it.
        if outcome.replaced is not None:
            outcome.replaced.close(Close.REPLACED, "another connection resumed this session")
        forbidden: list[str] = []
        if user.visibility != connection.session.visibility:
            position = None  # the client needs snapshots, because it may see other users now
            forbidden = self._apply_visibility(connection, user.visibility)
        connection.connection_id = outcome.connection_id
        self._parts.publisher.session_opened(connection)
        self._requests[connection] = _Requests(Bucket(self._settings.request_burst, now.monotonic))
        connection.send(self._established(connection, position is not None, now))
        self._report_forbidden(connection, forbidden)
        self._parts.publisher.apply(outcome, now)
        missed = self.feed.missed(connection, position) if position is not None else None
        self._parts.broadcaster.catch_up(connection, missed or self.feed.everything(connection))

    def _enter(
        self, connection: Connection, user: Admitted, parameters: ConnectParameters, now: Instant
    ) -> tuple[Outcome[Connection], int | None]:
        """Resume the session that the client names, or open a new one.

        Returns:
            The result, and the position from which the client continues; None if it needs snapshots.
        """
        outcome = self._parts.directory.resume(
            parameters.session_id, user.user_id, connection, now, user.display, parameters.active
        )
        if outcome is None:
            self._parts.metrics.sessions.labels("new").inc()
            session_id = self.feed.encoder.names.new_session()
            subscription = Subscription(Selection(parameters.everyone))
            outcome = self._parts.directory.open(
                user.user_id,
                connection,
                now,
                session_id=session_id,
                device=parameters.device,
                subscription=subscription,
                active=parameters.active is not False,
                client_choice=parameters.choice,
                display=user.display,
            )
            return outcome, None
        # A client that can name its session has read an earlier CONNECTION_ESTABLISHED, so it counts as heard.
        connection.opened_at = -inf
        cursor = parameters.cursor or self.feed.encoder.names.cursor(parameters.position)
        if cursor is not None and outcome.session and cursor < outcome.session.snapshot_end:
            cursor = None  # the client did not receive the last snapshot completely
        position = None if cursor is None else cursor.position
        self._parts.metrics.sessions.labels("resynced" if position is None else "resumed").inc()
        return outcome, position

    def _established(self, connection: Connection, resumed: bool, now: Instant) -> bytes:
        """Return CONNECTION_ESTABLISHED, the first message."""
        session, settings = connection.session, self._settings
        limits = LimitsV1(
            max_message_size=settings.max_message_size,
            max_watched_users=MAX_WATCHED_USERS,
            max_rooms=MAX_ROOMS,
            max_data_size=MAX_DATA_BYTES,
            max_text_length=MAX_TEXT_CHARACTERS,
            requests_per_second=settings.request_rate,
            request_burst=settings.request_burst,
        )
        return codec.encode(
            EstablishedV1(
                user_id=wire_user_id(session.user_id),
                timestamp=timestamp(now.epoch_ms),
                connection_id=connection.connection_id,
                session_id=session.session_id,
                resumed=resumed,
                epoch=self.feed.encoder.names.epoch,
                server_time=now.epoch_ms,
                heartbeat_interval=settings.heartbeat_interval,
                resume_window=settings.resume_window,
                settling=max(0.0, round(self._settled_at - now.monotonic, 3)),
                limits=limits,
                stale_since=self.feed.notices.opened(connection) if self.feed.notices is not None else 0,
            )
        )

    # Requests.

    def received(self, connection: Connection, message: str | bytes, now: Instant) -> None:
        """Process one request, or refuse it."""
        requests = self._requests[connection]
        if not self._may_send(connection, requests, message, now):
            return
        request_id = None
        try:
            if not isinstance(message, str):
                raise RequestRefused(Fault.BAD_JSON, "send text frames with JSON, not binary ones")
            try:
                request = handlers.parse(message)
            except msgspec.ValidationError as error:
                raise RequestRefused(
                    Fault.BAD_REQUEST, f"{error}; the requests are in docs/reference/websocket-v1.md"
                ) from None
            except msgspec.DecodeError as error:
                raise RequestRefused(Fault.BAD_JSON, f"not JSON: {error}") from None
            request_id = request.id
            handlers.call(Context(self._parts, self.feed, connection, request_id, now), request)
        except RequestRefused as error:
            if request_id is None and isinstance(message, str):
                request_id = codec.request_id(message)
            self.refuse(connection, request_id, error)

    def refuse(self, connection: Connection, request_id: RequestId | None, error: RequestRefused) -> None:
        """Send ERROR."""
        self._parts.metrics.requests_refused.labels(error.fault.name).inc()
        reason = str(error)
        reason = reason if len(reason) <= MAX_REASON_CHARACTERS else f"{reason[: MAX_REASON_CHARACTERS - 1]}…"
        connection.send(codec.encode(Error(error.fault.code, error.fault.name, reason, request_id)))

    def is_open(self, connection: Connection) -> bool:
        """Return whether the connection is open."""
        return connection in self._requests

    def _may_send(self, connection: Connection, requests: _Requests, message: str | bytes, now: Instant) -> bool:
        """Return whether the client may send a request now. If not, it has been refused or closed."""
        settings = self._settings
        if connection.paused:
            requests.unread += 1
            if requests.unread > MAX_UNREAD_ANSWERS:
                connection.close(Close.FELL_BEHIND, "reading too slowly")
                return False
        if requests.bucket.take(settings.request_rate, settings.request_burst, now.monotonic):
            requests.refused = 0
            return True
        requests.refused += 1
        if requests.refused > settings.request_burst:
            connection.close(Close.TOO_MANY_REQUESTS, "too many requests; reconnect and send them more slowly")
        else:
            rate = f"{settings.request_rate:g} requests a second, {settings.request_burst} at once"
            request_id = codec.request_id(message) if isinstance(message, str) else None
            self.refuse(connection, request_id, RequestRefused(Fault.RATE_LIMITED, f"at most {rate}; this was ignored"))
        return False

    # Events that the node reports.

    def self_changed(self, connection: Connection, own: OwnState) -> None:
        """Send SELF. A client that is behind receives it when it catches up."""
        if self.feed.keeps_up(connection):
            connection.send(codec.self_message(own))
        else:
            self._parts.broadcaster.remind(connection)

    def visibility_changed(self, connection: Connection, visibility: Visibility, now: Instant) -> None:
        """Apply the visibility that a newer token grants, and send everything again."""
        with self._parts.broadcaster.changing(connection):
            forbidden = self._apply_visibility(connection, visibility)
        self._report_forbidden(connection, forbidden)
        self._parts.publisher.update_rooms(connection.session.user_id, now)
        self._parts.broadcaster.restart_catch_up(connection, self.feed.everything(connection))

    def token_expires(self, connection: Connection, expires_at: float) -> None:
        """Send AUTH_EXPIRING."""
        connection.send(codec.encode(AuthExpiring(int(expires_at * 1000))))

    def certainty_changed(self) -> None:
        """Send CERTAINTY. A client that is behind receives the newest one when it catches up."""
        self._parts.broadcaster.flush()
        position = self._parts.directory.users.journal.next_position()
        self._parts.broadcaster.send(self.feed.certainty_changed(), position)

    def drained(self, connection: Connection) -> None:
        """Reset the counter of requests with unread answers."""
        if (requests := self._requests.get(connection)) is not None:
            requests.unread = 0

    def closed(self, connection: Connection) -> None:
        """Forget the requests of a connection, and what it knows."""
        self._requests.pop(connection, None)
        if self.feed.notices is not None:
            self.feed.notices.closed(connection)

    def goodbye(self, connection: Connection, retry_in: float) -> None:
        """Send GOING_AWAY, unless the client is behind and would not read it in time."""
        if self.feed.keeps_up(connection):
            connection.send(codec.encode(GoingAway(retry_in)))

    def _apply_visibility(self, connection: Connection, visibility: Visibility) -> list[str]:
        """Apply a visibility to a connection that no feed includes. The session leaves rooms that it may not enter.

        Returns:
            The rooms that it was in or subscribed to, in full or by count, and may no longer enter.
        """
        session = connection.session
        session.visibility = visibility
        if session.subscription is None:
            return []
        full, counted = session.subscription.full, session.subscription.counted
        before = {*full.rooms, *counted.rooms, *(session.rooms or ())}
        visibility.restrict(full)
        visibility.restrict(counted)
        self._parts.rooms.leave_forbidden(session, visibility)
        return sorted(name for name in before if not visibility.may_enter(name))

    def _report_forbidden(self, connection: Connection, rooms: Sequence[str]) -> None:
        """Send an ERROR for each room that a newer token does not allow, because nothing else tells the client."""
        for name in rooms:
            reason = f"the room {name} is not among those your newer token names"
            connection.send(codec.encode(Error(Fault.NOT_ALLOWED.code, Fault.NOT_ALLOWED.name, reason, room=name)))

    # Digests.

    def _schedule_digest(self) -> None:
        if self._send_digest not in self._parts.timer:
            self._parts.timer.set(self._send_digest, self._parts.clock.monotonic() + ROOM_DIGEST_PERIOD_S)

    def _send_digest(self) -> None:
        self._parts.broadcaster.flush()
        position = self._parts.directory.users.journal.next_position()
        self._parts.broadcaster.send(tuple(self.feed.digests.due(position)), position)
