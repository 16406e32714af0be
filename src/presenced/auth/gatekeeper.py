"""Admission of connections: which ones are admitted, and for how long.

The states of one connection, from the accepted handshake to its end:

                      token with the handshake, verified at once
        handshake  ------------------------------------------------------------>  admitted
            |                                                                     ^   |
            | no token, or its verification takes a while                         |   |  AUTH with a newer token:
            v                                                                     |   |  the end moves
         waiting   -- AUTH, or the verification ends, within `auth_timeout` ------+   |
            |                                                                         |
            | nothing, a bad token, or another message                                | expired, or revoked
            v                                                                         v
        refused: 4401, 4403, 1013                                              closed: 4401

If the protocol can warn a client, it does so `auth_warning` seconds before the token expires. It never does so in the
first quarter of the token's time (`EARLIEST_WARNING`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, Literal, Protocol

from presenced.auth.authenticator import UNAVAILABLE, Authenticator, AuthResult
from presenced.auth.principal import Principal
from presenced.auth.revocations import Revocations
from presenced.config.settings import Settings
from presenced.delivery.connection import Connection
from presenced.errors import BadToken, BadUserId, Close
from presenced.net.query import parameter_values
from presenced.presence.identity import PLACEHOLDERS
from presenced.presence.session import Session
from presenced.protocols.base import ConnectRequest
from presenced.runtime.clock import Clock, Timer
from presenced.runtime.deadlines import Deadlines
from presenced.runtime.instant import Instant
from presenced.runtime.limits import Bucket
from presenced.runtime.metrics import Metrics
from presenced.storage.records import StoredRevocation

OnRenewed = Callable[[BadToken | None], None]
"""Function called with the result of renewing a token: the reason for a refusal, or None if the token was accepted."""

EARLIEST_WARNING = 0.25
"""Fraction of a token's time that passes before its client is warned.

Without this bound, a client whose tokens last no longer than `auth_warning` would be warned immediately after each
newer token. It would request tokens without pause, and exceed its rate of requests.
"""


class GatekeeperListener(Protocol):
    """Receiver of the gatekeeper's decisions: the node."""

    def admitted(self, connection: Connection, request: ConnectRequest, principal: Principal, now: Instant) -> None:
        """Handle the admission of a connection. Its client is the user of `principal`."""

    def refused(self, connection: Connection, close: Close, reason: str, now: Instant, *, is_guess: bool) -> None:
        """Close a connection that is not admitted.

        Args:
            is_guess: Count the attempt as a failed authentication of the client's address.
        """

    def renewed(self, connection: Connection, principal: Principal, now: Instant) -> None:
        """Handle a newer token of a connection. It may allow more or less than before."""


class _Admitted:
    """An admitted connection."""

    __slots__ = ("begins", "bucket", "ends", "is_verifying", "principal", "warned")

    def __init__(self, principal: Principal, now: Instant) -> None:
        self.is_verifying = False
        """Whether the verification of a newer token is pending."""
        self.bucket: Bucket | None = None
        """Rate limit of newer tokens; created with the first one."""
        self.renew(principal, now)

    def renew(self, principal: Principal, now: Instant) -> None:
        """Set the principal of the newest token."""
        self.principal = principal
        self.warned = False
        self.begins = now.monotonic
        self.ends: float | None = None
        """Monotonic seconds, so that a step of the wall clock afterwards changes nothing."""
        if principal.expires_at is not None:
            self.ends = now.monotonic + principal.expires_at - now.epoch_ms / 1000


class Gatekeeper:
    """Admits connections that authenticate, and closes those whose tokens are no longer valid.

    Bounds: `max_unauthenticated` and `auth_timeout` for connections waiting to authenticate. `request_rate` and
    `request_burst` for newer tokens of an admitted connection, which are verified one at a time.

    Args:
        sessions: Sessions by id, including those without a connection.
        on_revoked: Function that stores each new revocation.
    """

    def __init__(
        self,
        *,
        settings: Settings,
        clock: Clock,
        timer: Timer,
        metrics: Metrics,
        authenticator: Authenticator,
        sessions: Mapping[str, Session[Any]],
        on_revoked: Callable[[StoredRevocation], None] | None = None,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._timer = timer
        self._metrics = metrics
        self._authenticator = authenticator
        self._sessions = sessions
        self._listener: GatekeeperListener  # set by `listen`
        self._waiting: dict[Connection, ConnectRequest] = {}
        self._admitted: dict[Connection, _Admitted] = {}
        self._deadlines: Deadlines[Connection] = Deadlines()
        self.revocations = Revocations(settings.token_lifetime + settings.jwt_leeway, on_revoked)
        """Revoked users and tokens (read-only): `revoke` and `restore` also close connections."""
        metrics.gauge("presenced_unauthenticated", "Connections waiting to authenticate.", lambda: len(self._waiting))

    def listen(self, listener: GatekeeperListener) -> None:
        """Report to `listener`. The node calls this once, before the first connection."""
        self._listener = listener

    # Connections.

    def opened(self, connection: Connection, request: ConnectRequest, now: Instant) -> None:
        """Handle an accepted handshake. Its response has not been sent yet."""
        if not request.token:
            self._wait(connection, request, now)
        elif (result := self.authenticate(request.token, partial(self._verified, connection), now)) is not None:
            self._decide(connection, request, result, now)
        else:
            self._wait(connection, request, now)

    def received(self, connection: Connection, message: str | bytes, now: Instant) -> bool:
        """Process a message of a connection that waits. Return whether it waits; otherwise the message is untouched."""
        request = self._waiting.get(connection)
        if request is None:
            return False
        if request.token:  # its verification is under way
            connection.close(Close.UNAUTHORIZED, "wait for CONNECTION_ESTABLISHED before you send")
            return True
        token = connection.protocol.token_in(message)
        if not token:
            reason = 'the first message has to be {"type":"AUTH","token":"..."}'
            self._listener.refused(connection, Close.UNAUTHORIZED, reason, now, is_guess=True)
            return True
        self._waiting[connection] = request._replace(token=token)
        result = self.authenticate(token, partial(self._verified, connection), now)
        if result is not None:
            self._verified(connection, result, now)
        return True

    def renew(self, connection: Connection, token: str, on_renewed: OnRenewed) -> None:
        """Authenticate a newer token of an admitted connection.

        Args:
            on_renewed: Function called with the reason for a refusal, or with None if the token was accepted.
        """
        admitted, settings, now = self._admitted[connection], self._settings, self._clock.now()
        admitted.bucket = admitted.bucket or Bucket(settings.request_burst, now.monotonic)
        if not admitted.bucket.take(settings.request_rate, settings.request_burst, now.monotonic):
            on_renewed(BadToken("pace", "too many tokens in too short a time"))
            return
        if admitted.is_verifying:
            on_renewed(BadToken("pace", "the previous token is still being verified"))
            return
        admitted.is_verifying = True
        verified = partial(self._verified_newer, connection, on_renewed)
        if (result := self.authenticate(token, verified, now)) is not None:
            verified(result, now)

    def closed(self, connection: Connection) -> None:
        """Forget a connection that ended. No-op for one that is unknown."""
        self._waiting.pop(connection, None)
        self._admitted.pop(connection, None)
        self._deadlines.cancel(connection)

    # Revocations.

    def revoke(self, kind: Literal["user", "token"], subject: str, now: Instant) -> int:
        """Reject all tokens of a user issued until now, or the token with this id.

        Returns:
            Number of connections closed by that.

        Raises:
            CapacityError: Too many revocations are remembered already.
        """
        self.revocations.revoke(kind, subject, now.epoch_ms / 1000)
        return self._close_revoked(now)

    def token_of(self, user_id: str, session_id: str) -> str:
        """Return the id of the token that a session of the user authenticated with; empty if there is none.

        A session that has lost its connection counts as long as it can be resumed.
        """
        session = self._sessions.get(session_id)
        return session.token_id if session is not None and session.user_id == user_id else ""

    def restore(self, revocations: Iterable[StoredRevocation]) -> None:
        """Adopt revocations from before the start or from other nodes, and close connections that they concern."""
        for revocation in revocations:
            self.revocations.restore(revocation)
        self._close_revoked(self._clock.now())

    # Authentication, and questions about admitted connections.

    def authenticate(
        self, token: str, on_result: Callable[[AuthResult, Instant], None], now: Instant
    ) -> AuthResult | None:
        """Authenticate the token of a connection or a request.

        Returns:
            The result. None if it is not available yet; then `on_result` is called later, with it and the time.
        """

        def later(result: AuthResult) -> None:
            now = self._clock.now()
            on_result(self._checked(result, now), now)

        result = self._authenticator.authenticate(token, now, later)
        return None if result is None else self._checked(result, now)

    def count(self, result: AuthResult) -> None:
        """Count a result that did not come from `authenticate`, which counts its own."""
        self._metrics.authentications.labels(result.kind if isinstance(result, BadToken) else "accepted").inc()

    def still_holds(self, principal: Principal, now: Instant) -> bool:
        """Return whether a token has neither expired nor been revoked."""
        epoch_s = now.epoch_ms / 1000
        ends = principal.expires_at
        return (ends is None or epoch_s < ends) and not self.revocations.is_revoked(principal, epoch_s)

    def roles(self, connections: Iterable[Connection]) -> tuple[str, ...]:
        """Return the roles in the tokens of admitted connections, each once, sorted."""
        return tuple(sorted({role for one in connections for role in self._admitted[one].principal.roles}))

    # Results of authentication.

    def _checked(self, result: AuthResult, now: Instant) -> AuthResult:
        """Apply the rules that hold for every kind of authentication, and count the result."""
        if isinstance(result, Principal):
            epoch_s = now.epoch_ms / 1000
            if result.expires_at is not None and result.expires_at <= epoch_s:  # a callback or function may do this
                result = BadToken("expired", "the token has expired", is_genuine=True)
            elif self.revocations.is_revoked(result, epoch_s):
                result = BadToken("revoked", "the token was revoked", is_genuine=True)
            elif result.user_id in PLACEHOLDERS and not self._settings.placeholder_ids:
                question = f"the token is for the user {result.user_id}: is a variable not set where it is made?"
                result = BadToken("claims", f"{question} (placeholder_ids)", is_genuine=True)
        self.count(result)
        return result

    def _verified(self, connection: Connection, result: AuthResult, now: Instant) -> None:
        if (request := self._waiting.pop(connection, None)) is not None:  # it may have closed meanwhile
            self._deadlines.cancel(connection)
            self._decide(connection, request, result, now)

    def _decide(self, connection: Connection, request: ConnectRequest, result: AuthResult, now: Instant) -> None:
        """Admit a connection, or refuse it."""
        if isinstance(result, BadToken):
            if result.kind == "unavailable":
                self._listener.refused(connection, Close.TRY_AGAIN_LATER, str(result), now, is_guess=False)
            else:
                self._listener.refused(connection, Close.UNAUTHORIZED, str(result), now, is_guess=not result.is_genuine)
            return
        try:
            names_user = parameter_values(request.query, b"userId")
            claimed = connection.protocol.user_id(request, True) if names_user else result.user_id
        except BadUserId as error:
            self._listener.refused(connection, Close.BAD_USER_ID, str(error), now, is_guess=False)
            return
        if claimed != result.user_id:
            # The token is genuine: its owner has proved their identity, so this is not a guess.
            reason = "userId is not the user of the token"
            self._listener.refused(connection, Close.FORBIDDEN, reason, now, is_guess=False)
            return
        self._admitted[connection] = _Admitted(result, now)
        self._listener.admitted(connection, request, result, now)
        if connection in self._admitted:  # the node may have refused it
            self._schedule_end(connection)

    def _verified_newer(self, connection: Connection, on_renewed: OnRenewed, result: AuthResult, now: Instant) -> None:
        admitted = self._admitted.get(connection)
        if admitted is None:  # it has closed meanwhile
            return
        admitted.is_verifying = False
        if isinstance(result, BadToken):
            on_renewed(result)
        elif result.user_id != admitted.principal.user_id:
            on_renewed(BadToken("claims", "the token is for another user; open another connection for them"))
        else:
            admitted.renew(result, now)
            connection.session.token_id = result.token_id
            on_renewed(None)
            self._listener.renewed(connection, result, now)
            self._schedule_end(connection)

    def _close_revoked(self, now: Instant) -> int:
        epoch_s = now.epoch_ms / 1000
        revoked = [c for c, one in self._admitted.items() if self.revocations.is_revoked(one.principal, epoch_s)]
        for connection in revoked:
            connection.close(Close.UNAUTHORIZED, "the token was revoked")
        return len(revoked)

    # Deadlines.

    def _wait(self, connection: Connection, request: ConnectRequest, now: Instant) -> None:
        """Wait for AUTH, or for the verification of the token that came with the handshake."""
        if len(self._waiting) >= self._settings.max_unauthenticated:
            reason = "too many connections are waiting to authenticate; retry later"
            self._listener.refused(connection, Close.TRY_AGAIN_LATER, reason, now, is_guess=False)
            return
        connection.accept()
        self._waiting[connection] = request
        self._set_deadline(connection, now.monotonic + self._settings.auth_timeout)

    def _schedule_end(self, connection: Connection) -> None:
        """Set the deadline of an admitted connection: the warning first, then the end of its token."""
        admitted = self._admitted.get(connection)
        if admitted is None or admitted.ends is None:
            self._deadlines.cancel(connection)
        elif connection.protocol.warns_of_expiry and not admitted.warned:
            earliest = admitted.begins + (admitted.ends - admitted.begins) * EARLIEST_WARNING
            self._set_deadline(connection, max(admitted.ends - self._settings.auth_warning, earliest))
        else:
            self._set_deadline(connection, admitted.ends)

    def _set_deadline(self, connection: Connection, at: float) -> None:
        self._deadlines.set(connection, at)
        self._arm()

    def _arm(self) -> None:
        if (deadline := self._deadlines.next()) is not None:
            self._timer.set(self._deadline_passed, deadline)

    def _deadline_passed(self) -> None:
        now = self._clock.now()
        while (connection := self._deadlines.pop_due(now.monotonic)) is not None:
            admitted = self._admitted.get(connection)
            if admitted is None:
                self._time_out(connection, now)
            elif connection.protocol.warns_of_expiry and not admitted.warned:
                admitted.warned = True
                if not connection.paused:  # a client that does not read would not get it in time
                    connection.protocol.token_expires(connection, admitted.principal.expires_at or 0.0)
                self._schedule_end(connection)
            else:
                connection.close(Close.UNAUTHORIZED, "the token has expired")
        self._arm()

    def _time_out(self, connection: Connection, now: Instant) -> None:
        """Refuse a connection that has waited for too long."""
        if self._waiting[connection].token:  # the verification is late, which is not the client's fault
            self._listener.refused(connection, Close.TRY_AGAIN_LATER, str(UNAVAILABLE), now, is_guess=False)
            return
        # Most of these clients were never given a token. Their developers see this reason in the browser's console.
        reason = (
            f"this server requires a token, and none came within {self._settings.auth_timeout:g} s: "
            "set the client's token, or send AUTH"
        )
        self._listener.refused(connection, Close.UNAUTHORIZED, reason, now, is_guess=True)
